"""The split audit: counted by hand, and again with Python's own sets."""

import csv
import hashlib
import itertools
import json
import statistics
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from datasets import Audio, Dataset

from hf_speech.data.audit import audit, describe, facts, in_words, overlaps, places, repeated, require_disjoint, texts
from hf_speech.data.readers import load_rows
from hf_speech.data.schema import as_text
from hf_speech.errors import InputError

SPLITS = {
    "train": pa.table({"id": ["a", "b", "c", "d"], "speaker_id": ["s1", "s2", " s3 ", None], "fold": ["1"] * 4}),
    "validation": pa.table({"id": ["e", "f"], "speaker_id": ["s4", ""], "session_id": ["x", "y"]}),
    "test": pa.table({"id": ["g", "h", "i"], "speaker_id": ["s3", "s2", "s4"], "session_id": ["y", "y", "z"]}),
}
HASHES = {
    "train": np.array([7, 8, 0, 7], np.uint64),
    "validation": np.array([9, 0], np.uint64),
    "test": np.array([7, 8, 7], np.uint64),
}


def drawn(seed: int = 0, rows: int = 400) -> tuple[dict[str, pa.Table], dict[str, np.ndarray]]:
    """Three splits in which everything overlaps by chance, with hashes of which some are unknown."""
    generator = np.random.default_rng(seed)
    splits, hashes = {}, {}
    for i, name in enumerate(("train", "dev", "test")):
        count = rows // (i + 1)
        cells: dict[str, Any] = {"id": [f"{name}-{j:04d}" for j in generator.permutation(count)]}
        for column, values in (("speaker_id", 60), ("session_id", 900), ("recording_id", 3000), ("emotion", 4)):
            cells[column] = [f"{column[0]}{value}" for value in generator.integers(0, values, count)]
        splits[name] = pa.table({**cells, "duration": generator.uniform(0.5, 9, count)})
        hashes[name] = generator.integers(0, 2_000, count).astype(np.uint64)
    return splits, hashes


def test_overlaps_are_of_pairs_of_splits() -> None:
    assert overlaps(SPLITS) == [
        {"between": ["train", "validation"], "what": "speaker_id", "count": 0, "of": [3, 1], "examples": []},
        {"between": ["train", "test"], "what": "speaker_id", "count": 2, "of": [3, 3], "examples": ["s2", "s3"]},
        {"between": ["validation", "test"], "what": "speaker_id", "count": 1, "of": [1, 3], "examples": ["s4"]},
        {"between": ["validation", "test"], "what": "session_id", "count": 1, "of": [2, 2], "examples": ["y"]},
    ]


def test_equal_audio_is_found_by_its_hash_and_told_by_ids() -> None:
    found = [overlap for overlap in overlaps(SPLITS, content=HASHES) if overlap["what"] == "content"]
    assert found == [
        {"between": ["train", "validation"], "what": "content", "count": 0, "of": [2, 1], "examples": []},
        {
            "between": ["train", "test"],
            "what": "content",
            "count": 2,
            "of": [2, 2],
            "examples": [["a", "g"], ["b", "h"]],
        },
        {"between": ["validation", "test"], "what": "content", "count": 0, "of": [1, 2], "examples": []},
    ]
    assert repeated(SPLITS["train"], HASHES["train"]) == {"count": 1, "examples": [["a", "d"]]}
    assert repeated(SPLITS["validation"], HASHES["validation"]) == {"count": 0, "examples": []}


def test_a_split_without_hashes_is_not_compared_by_content() -> None:
    found = overlaps(SPLITS, content={"train": HASHES["train"], "test": HASHES["test"]})
    assert [overlap["between"] for overlap in found if overlap["what"] == "content"] == [["train", "test"]]
    assert not [overlap for overlap in overlaps(SPLITS) if overlap["what"] == "content"]
    with pytest.raises(ValueError, match="3 hashes for the 4 rows of train"):
        overlaps(SPLITS, content={"train": HASHES["test"]})


def test_rows_without_ids_are_named_by_their_places() -> None:
    assert repeated(SPLITS["train"].drop_columns(["id"]), HASHES["train"])["examples"] == [["row 0", "row 3"]]


def test_it_counts_what_sets_count() -> None:
    splits, hashes = drawn()
    found = {(*o["between"], o["what"]): o for o in overlaps(splits, content=hashes)}
    assert len(found) == 3 * 4
    for a, b in itertools.combinations(splits, 2):
        for column in ("speaker_id", "session_id", "recording_id"):
            first, second = (set(splits[name].column(column).to_pylist()) for name in (a, b))
            told = found[a, b, column]
            assert told["count"] == len(first & second) > 0 and told["of"] == [len(first), len(second)]
            assert told["examples"] == sorted(first & second)[:10]
        sounds = [dict(zip(splits[n]["id"].to_pylist(), hashes[n].tolist(), strict=True)) for n in (a, b)]
        told = found[a, b, "content"]
        assert told["count"] == len(set(sounds[0].values()) & set(sounds[1].values()) - {0}) > 10
        assert len(told["examples"]) == 10
        assert all(sounds[0][one] == sounds[1][other] != 0 for one, other in told["examples"])
    for name in splits:
        known = [value for value in hashes[name].tolist() if value]
        told = repeated(splits[name], hashes[name])
        assert told["count"] == len(known) - len(set(known)) > 0


def test_the_order_of_the_rows_changes_nothing() -> None:
    splits, hashes = drawn()
    turned = {name: np.random.default_rng(9).permutation(len(rows)) for name, rows in splits.items()}
    shuffled = {name: rows.take(pa.array(turned[name])) for name, rows in splits.items()}
    content = {name: found[turned[name]] for name, found in hashes.items()}
    assert json.dumps(audit(splits, hashes)) == json.dumps(audit(shuffled, content))


def test_data_sets_and_tables_are_audited_alike() -> None:
    splits, hashes = drawn()
    order = {name: np.random.default_rng(3).permutation(len(rows))[:90] for name, rows in splits.items()}
    chosen = {name: Dataset(rows).select(order[name]) for name, rows in splits.items()}
    tables = {name: rows.take(pa.array(order[name])) for name, rows in splits.items()}
    content = {name: hashes[name][order[name]] for name in splits}
    assert audit(chosen, content) == audit(tables, content)


def test_facts_are_those_counted_by_hand() -> None:
    rows = pa.table(
        {
            "id": ["b", "a", "c", "d"],
            "speaker_id": ["x", "x", "y", None],
            "recording_id": ["r", "r", "r", "s"],
            "emotion": ["sad", "glad", "sad", "sad"],
            "gender": [None, "female", "male", "male"],
            "age": pa.array([31.0, 31, None, 68]),
            "duration": [1.0, 2.0, 3.0, 6.0],
        }
    )
    assert facts({"train": rows})["train"] == {
        "rows": 4,
        "seconds": 12.0,
        "hours": 0.003,
        "speakers": 2,
        "sessions": None,
        "recordings": 2,
        "duration": {"min": 1.0, "mean": 3.0, "max": 6.0},
        "by": {
            "emotion": {
                "values": 2, "empty": 0, "min": 1, "median": 2.0, "max": 3, "counts": {"glad": 1, "sad": 3},
            },
            "gender": {
                "values": 2, "empty": 1, "min": 1, "median": 1.5, "max": 2, "counts": {"female": 1, "male": 2},
            },
            "speaker_id": {"values": 2, "empty": 1, "min": 1, "median": 1.5, "max": 2, "counts": {"x": 2, "y": 1}},
        },
        "age": {"min": 31.0, "mean": 43.3, "max": 68.0, "decades": {"30": 2, "60": 1}},
        "fingerprint": hashlib.sha256(b"a\nb\nc\nd\n").hexdigest()[:16],
    }  # fmt: skip


def test_what_rows_do_not_say_is_none() -> None:
    told = facts({"train": pa.table({"text": ["a", "b"]})})["train"]
    assert told.pop("rows") == 2 and told.pop("by") == {}
    assert set(told.values()) == {None}
    nothing = facts({"train": pa.table({"speaker_id": pa.array([None, None], pa.string())})})["train"]
    assert nothing["speakers"] == 0 and nothing["by"]["speaker_id"]["empty"] == 2


def test_segments_last_from_start_to_end() -> None:
    rows = pa.table({"start": pa.array([None, 1.5, 2.0]), "end": pa.array([0.5, 3.5, None])})
    assert facts({"train": rows})["train"]["duration"] == {"min": 0.5, "mean": 1.25, "max": 2.0}


@pytest.mark.parametrize(("speakers", "listed"), [(50, True), (51, False)])
def test_many_values_are_summed_up(speakers: int, listed: bool) -> None:
    names = [f"s{i}" for i in range(speakers) for _ in range(1 + i % 3)]
    told = facts({"train": pa.table({"speaker_id": names})})["train"]["by"]["speaker_id"]
    assert ("counts" in told) is listed
    counts = Counter(names).values()
    assert (told["values"], told["min"], told["max"]) == (speakers, 1, 3)
    assert told["median"] == statistics.median(counts)


@pytest.mark.parametrize(
    "cells",
    [
        pa.array([" a", "b ", "", None, "\tc\n", "ä "]),
        pa.array(["a", " "], pa.large_string()),
        pa.array([31.0, 1.5, None, float("nan")]),
        pa.array([3, None, -1]),
        pa.array(["x", None, " x"]).dictionary_encode(),
    ],
    ids=["text", "long text", "floats", "numbers", "dictionary"],
)
def test_cells_become_the_text_that_rules_compare(cells: pa.Array) -> None:
    found = texts(pa.table({"c": cells}), "c")
    assert found is not None and found.to_pylist() == [as_text(value) for value in cells.to_pylist()]


def test_numbers_and_text_are_the_same_speaker() -> None:
    splits = {"train": pa.table({"speaker_id": [31, 4]}), "test": pa.table({"speaker_id": ["31", "5"]})}
    assert overlaps(splits)[0]["examples"] == ["31"]


def test_places_are_files_and_pieces_of_them(tmp_path: Path) -> None:
    audio = [{"bytes": None, "path": "/x/a.wav"}] * 4 + [{"bytes": b"RIFF", "path": "a.wav"}]
    more = {"start": [None, 0.0, 0.5, None, 0.5], "end": [None, 2.0, None, None, 2.0], "channel": [None, None, 1, 0, 0]}
    rows = Dataset.from_dict({"audio": audio, **more}).cast_column("audio", Audio(decode=False))
    named = ["/x/a.wav", "/x/a.wav#t=0,2", "/x/a.wav#t=0.5,#channel=1", "/x/a.wav#channel=0", None]
    assert places(rows).to_pylist() == named
    assert places(rows.select([4, 1])).to_pylist() == [None, named[1]]
    assert places(rows.remove_columns(["start", "end", "channel"])).to_pylist() == ["/x/a.wav"] * 4 + [None]


def test_real_speech_counted_twice(speech: Path) -> None:
    rows = load_rows(speech / "emotion", columns={"speaker_id": "speaker"})["train"]
    with (speech / "emotion" / "metadata.csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    told = facts({"train": rows})["train"]
    assert told["rows"] == len(table) > 100
    assert told["by"]["emotion"]["counts"] == dict(sorted(Counter(line["emotion"] for line in table).items()))
    speakers = Counter(line["speaker"] for line in table)
    assert told["speakers"] == len(speakers) > 1 and told["by"]["speaker_id"]["max"] == max(speakers.values())
    ages = [float(line["age"]) for line in table]
    assert told["age"]["mean"] == round(statistics.fmean(ages), 1)
    assert told["age"]["decades"] == {k: n for k, n in sorted(Counter(f"{int(age // 10)}0" for age in ages).items())}
    assert told["seconds"] == pytest.approx(sum(float(line["duration"]) for line in table), abs=0.001)
    alternate = {"train": rows.select(range(0, len(rows), 2)), "test": rows.select(range(1, len(rows), 2))}
    shared = {line["speaker"] for line in table[::2]} & {line["speaker"] for line in table[1::2]}
    assert overlaps(alternate)[0]["count"] == len(shared)


def test_the_lines_say_what_was_found() -> None:
    lines = describe(audit(SPLITS, HASHES))
    assert lines[0] == "train: 4 rows, 3 speakers"
    assert "2 of the 3 speakers in test are in train as well (s2, s3)" in lines
    assert "1 of the 3 speakers in test is in validation as well (s4)" in lines
    assert "2 of the 2 clips in test are in train as well (a = g, b = h)" in lines
    assert "train and validation: no speaker, no clip in common" in lines
    assert lines[-2:] == ["content twice in train: 1 (a = d)", "content twice in test: 1 (g = i)"]
    splits, _ = drawn()
    hours = splits["train"]["duration"].to_numpy().sum() / 3600
    assert f"{hours:.2f} hours" in describe(audit(splits))[0] and "emotion: e0 " in describe(audit(splits))[0]


def test_examples_are_counted_where_they_are_cut() -> None:
    told = {"between": ["train", "test"], "what": "speaker_id", "count": 12, "of": [80, 1200], "examples": list("abc")}
    assert in_words(told) == "12 of the 1,200 speakers in test are in train as well"
    assert in_words(told, 2) == "12 of the 1,200 speakers in test are in train as well (a, b and 10 more)"


def test_shared_speakers_are_refused_by_name() -> None:
    with pytest.raises(InputError) as caught:
        require_disjoint(overlaps(SPLITS), "speaker_id", "emotion")
    said = str(caught.value)
    assert "target emotion" in said and "2 of the 3 speakers in test are in train as well (s2, s3)" in said
    assert "in validation as well (s4)" in said and "\n" not in said
    assert "--group-by speaker_id" in said and "--speaker-independent false" in said
    require_disjoint(overlaps(SPLITS), "recording_id", "emotion")
    require_disjoint(overlaps({name: SPLITS[name] for name in ("train", "validation")}), "speaker_id", "emotion")
