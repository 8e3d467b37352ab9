"""Shards: every row once, none too large, whole or absent, and never written twice."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile as sf
from datasets import Value
from tqdm import tqdm

from hf_speech.corpora.examples import features_of
from hf_speech.corpora.lengths import measure
from hf_speech.corpora.shards import Written, content_hash, parse_size, plan_shards, write_shards
from hf_speech.data.problems import Problems
from hf_speech.errors import InputError

EMBEDDED = SimpleNamespace(embed_audio=True, transcode=None)
PATHS = SimpleNamespace(embed_audio=False, transcode=None)
AS_FLAC = SimpleNamespace(embed_audio=True, transcode="flac")
MB = 10**6


@pytest.mark.parametrize(
    ("text", "size"),
    [("500MB", 500 * MB), ("2 GB", 2_000 * MB), (" 1.5gb ", 1_500 * MB), ("1000KB", MB), ("1e3 mb", 1_000 * MB)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "MB", "500", "500 M", "-5MB", "0.9MB", "infMB", "1e999GB", "nanMB", "5MiB", "500 000", "5 M B"]
)
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(InputError, match="^size .*give"):
        parse_size(text)


def packed(sizes: list[int], **columns: Any) -> pa.Table:
    """Rows that are members of an archive, of which only the sizes matter here."""
    given = {"id": [str(i) for i in range(len(sizes))], "size": pa.array(sizes, pa.int64())}
    return pa.table(given | {"duration": [1.0] * len(sizes), "file_rate": [16_000] * len(sizes)} | columns)


@pytest.mark.parametrize("seed", range(20))
def test_a_plan_has_every_row_once_and_no_shard_that_could_take_the_next_row(seed: int) -> None:
    rng = np.random.default_rng(seed)
    limit = int(rng.integers(MB, 20 * MB))
    sizes = rng.choice([0, 1_000, 100_000, limit // 3, limit - 1, 3 * limit], int(rng.integers(1, 300))).tolist()
    parts = np.sort(rng.integers(0, 5, len(sizes))).astype(str).tolist()
    for column in (None, "part"):
        plan = plan_shards("train", packed(sizes, part=parts), EMBEDDED, column, limit)
        rows = [i for shard in plan for i in range(shard.first, shard.first + shard.count)]
        assert rows == list(range(len(sizes)))
        assert len({shard.name for shard in plan}) == len(plan)
        for shard, after in zip(plan, [*plan[1:], None], strict=True):
            held = sum(sizes[shard.first : shard.first + shard.count])
            assert shard.count and (held < limit or shard.count == 1)
            inside = {parts[i] for i in range(shard.first, shard.first + shard.count)}
            assert column is None or len(inside) == 1
            if after is not None and (column is None or parts[after.first] in inside):
                # What is kept free for the file's own data is under a quarter of a megabyte and 1 KB a row.
                assert held + sizes[after.first] + 250_000 + 1_000 * shard.count > limit


def test_names_say_the_part_and_count_the_shards_of_it() -> None:
    rows = packed([900_000] * 6, meeting=["a", "a", "a", "a-1", "b", "b"])
    named = [(s.name, s.first, s.count) for s in plan_shards("test", rows, EMBEDDED, "meeting", 2_200_000)]
    assert named == [
        ("test-a-00000-of-00002.parquet", 0, 2),
        ("test-a-00001-of-00002.parquet", 2, 1),
        ("test-a-1-00000-of-00001.parquet", 3, 1),
        ("test-b-00000-of-00001.parquet", 4, 2),
    ]
    assert plan_shards("test", rows.slice(0, 0), EMBEDDED, None, MB) == []
    assert plan_shards("test", rows.slice(0, 0), EMBEDDED, "meeting", MB) == []


@pytest.fixture
def recordings(tmp_path: Path) -> pa.Table:
    """30 rows of noise, which no coder makes smaller: whole files, pieces, channels, at three rates."""
    rng = np.random.default_rng(0)
    paths, starts, ends, channels = [], [], [], []
    for i in range(30):
        rate, count = [(16_000, 1), (44_100, 2), (8_000, 1)][i % 3]
        paths.append(str(tmp_path / f"{i}.{'flac' if i % 2 else 'wav'}"))
        sf.write(paths[-1], rng.integers(-(2**15), 2**15, (rate * (2 + i % 3), count)).astype(np.int16), rate)
        starts.append(0.5 if i % 4 == 1 else None)
        ends.append(1.75 if i % 4 > 1 else None)
        channels.append(count - 1 if i % 5 == 0 else None)
    given = {"id": [str(i) for i in range(30)], "path": paths, "start": starts, "end": ends, "channel": channels}
    table = pa.table(given).append_column("text", pa.array([f"words {i}" for i in range(30)]))
    return measure(table, Problems(), 1)


def write(folder: Path, rows: pa.Table, options: Any, limit: int, on_bad: str = "raise") -> tuple[Written, Problems]:
    features = features_of({"text": Value("string")}, options.embed_audio)
    problems = Problems(on_bad)
    plan = plan_shards("train", rows, options, None, limit)
    with tqdm(total=len(rows), disable=True) as bar:
        written = write_shards(folder, plan, rows, features, options, problems, bar)
    return written, problems


@pytest.mark.parametrize("options", [EMBEDDED, AS_FLAC, PATHS], ids=["embedded", "as flac", "paths"])
def test_no_file_is_larger_than_asked_for_and_all_rows_are_there(
    recordings: pa.Table, tmp_path: Path, options: Any
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    written, _ = write(out, recordings, options, MB)
    shards = sorted(out.glob("*.parquet"))
    assert all(shard.stat().st_size <= MB for shard in shards)
    assert (len(shards) > 1) == options.embed_audio
    rows = [row for shard in shards for row in pq.read_table(shard).to_pylist()]
    assert [(row["id"], row["text"]) for row in rows] == [(str(i), f"words {i}") for i in range(30)]
    assert written.kept.tolist() == [True] * 30
    contents = [row["audio"]["bytes"] for row in rows if row["audio"]["bytes"] is not None]
    assert written.bytes == sum(map(len, contents))
    assert written.hashes.tolist() == [content_hash(content) for content in contents]
    assert all(pq.read_metadata(shard).row_group(0).num_rows <= 100 for shard in shards)


def damage(path: str) -> bytes:
    """Break a flac at two fifths; what it was."""
    whole = Path(path).read_bytes()
    at = len(whole) * 2 // 5
    Path(path).write_bytes(whole[:at] + bytes(2_000) + whole[at + 2_000 :])
    return whole


def test_what_is_whole_is_not_written_again_and_what_is_not_is(recordings: pa.Table, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    bad = recordings["path"][3].as_py()
    whole = damage(bad)
    first, problems = write(out, recordings, AS_FLAC, MB)
    assert [p.file for p in problems] == [bad] and not first.kept[3]
    plan = plan_shards("train", recordings, AS_FLAC, None, MB)
    broken = next(shard.name for shard in plan if shard.first <= 3 < shard.first + shard.count)
    there = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    assert {name for name in there if name.endswith(".parquet")} == {shard.name for shard in plan} - {broken}
    assert len(there) == 2 * (len(plan) - 1)  # nothing half, nothing hidden
    Path(bad).write_bytes(whole)
    second, problems = write(out, recordings, AS_FLAC, MB)
    assert not len(problems) and second.kept.all()
    assert {name: (out / name).stat().st_mtime_ns for name in there} == there
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    third, _ = write(fresh, recordings, AS_FLAC, MB)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == {
        path.name: path.read_bytes() for path in fresh.iterdir()
    }
    assert (second.hashes == third.hashes).all() and second.bytes == third.bytes


def test_rows_that_are_left_out_are_remembered_by_the_next_run(recordings: pa.Table, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    bad = [i for i in (3, 7, 9) if recordings["path"][i].as_py().endswith(".flac")]
    for i in bad:
        damage(recordings["path"][i].as_py())
    first, said = write(out, recordings, AS_FLAC, MB, "skip")
    there = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    second, again = write(out, recordings, AS_FLAC, MB, "skip")
    assert {path.name: path.stat().st_mtime_ns for path in out.iterdir()} == there
    assert np.flatnonzero(~first.kept).tolist() == bad == [3, 7, 9]
    assert again.to_dict() == said.to_dict() and again.counts == {"damaged": 3}
    assert (first.kept == second.kept).all() and (first.hashes == second.hashes).all() and first.bytes == second.bytes
    ids = [name for path in sorted(out.glob("*.parquet")) for name in pq.read_table(path)["id"].to_pylist()]
    assert ids == [str(i) for i in range(30) if i not in bad]


def test_a_shard_of_which_no_row_can_be_read_is_an_empty_one(recordings: pa.Table, tmp_path: Path) -> None:
    rows = recordings.slice(3, 1)
    damage(rows["path"][0].as_py())
    out = tmp_path / "out"
    out.mkdir()
    written, _ = write(out, rows, AS_FLAC, MB, "skip")
    assert written.kept.tolist() == [False] and written.bytes == 0 and len(written.hashes) == 0
    (shard,) = out.glob("*.parquet")
    table = pq.read_table(shard)
    assert len(table) == 0 and table.column_names == ["id", "audio", "length", "duration", "text"]
    assert json.loads(shard.with_suffix(".json").read_text())["left_out"] == [0]


def test_an_error_of_ours_leaves_no_half_shard(recordings: pa.Table, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    wrong = recordings.set_column(recordings.column_names.index("text"), "text", pa.array([{"a": 1}] * 30))
    with pytest.raises((pa.ArrowInvalid, pa.ArrowTypeError, TypeError)):
        write(out, wrong, EMBEDDED, MB)
    assert list(out.iterdir()) == []


def test_hashes_are_those_of_blake2b() -> None:
    # Reference: b2sum -l 64 of no bytes and of "abc", first byte lowest.
    assert content_hash(b"") == int.from_bytes(bytes.fromhex("e4a6a0577479b2b4"), "little")
    assert content_hash(b"abc") == int.from_bytes(bytes.fromhex("d8bb14d833d59559"), "little")
