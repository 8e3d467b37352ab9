"""The card of a copy: metadata that the Hub and `datasets` take, and the words of the corpus's own card kept."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from datasets import Dataset, Features, Value, get_dataset_config_names, load_dataset
from huggingface_hub import DatasetCard

from hf_speech.corpora.card import render_data_card
from hf_speech.corpora.examples import features_of
from hf_speech.corpora.scripts import card_of, corpus_names
from hf_speech.data.audit import audit as audit_of
from hf_speech.data.problems import Problems

COLUMNS = features_of({"speaker_id": Value("string")}, True)


def audit_with(**rows: int) -> dict[str, Any]:
    """What `prepare` says of splits with so many rows of 36 s, of two speakers each."""
    splits = {
        split: Dataset.from_dict(
            {
                "id": [f"{split}{i}" for i in range(count)],
                "speaker_id": [f"{split}-{i % 2}" for i in range(count)],
                "length": [576_000] * count,
                "duration": [36.0] * count,
            }
        ).data.table
        for split, count in rows.items()
    }
    return {
        "corpus": "mine",
        "config_name": "default",
        "hf_speech": "1.2.3",
        "fingerprint": "0123456789abcdef",
        "options": {"embed_audio": True, "transcode": None, "on_bad_row": "skip"},
        "given": {"on_bad_row": "skip"},
        **audit_of(splits, None),
        "problems": Problems().to_dict(),
        "audio_bytes": {split: 1_234_567 for split in rows},
    }


def front_of(card: str) -> dict[str, Any]:
    assert card.startswith("---\n")
    return yaml.safe_load(card.split("\n---\n")[0])


SOURCE = """---
pretty_name: 'Ours: ä, "quoted"'
license: other
license_name: by-request
language:
- 'no'
- de
tags: [speech, 语音]
task_categories:
- audio-classification
configs:
- config_name: old
  data_files: "*.wav"
---

# Ours

What we say --- of it.

---

## First
A table | b
## Second
Words.
"""


def test_the_words_and_the_facts_of_the_source_are_kept() -> None:
    card = render_data_card(audit_with(train=100, test=12), COLUMNS, {}, SOURCE)
    front = front_of(card)
    given = yaml.safe_load(SOURCE.split("\n---\n")[0])
    assert {k: v for k, v in front.items() if k not in ("configs", "size_categories")} == {
        k: v for k, v in given.items() if k != "configs"
    }
    body = card.split("\n---\n", 1)[1]
    before, after = body.split("## This copy")
    assert before.strip() == "# Ours\n\nWhat we say --- of it.\n\n---"
    assert after.endswith("## First\nA table | b\n## Second\nWords.\n")
    assert "| train | 100 | 1.00 | 2 | - | 1.2 |" in after and "| test | 12 | 0.12 | 2 | - | 1.2 |" in after
    assert "configuration `default`, with `on_bad_row: skip`." in after
    assert "configs" in front and "old" not in str(front["configs"])


@pytest.mark.parametrize("source", [None, "Only words.", "# Title\n\n## Part\nx\n", "---\n---\nEmpty front.\n", ""])
def test_any_source_becomes_a_card(source: str | None, tmp_path: Path) -> None:
    card = render_data_card(audit_with(train=2), COLUMNS, {}, source)
    (tmp_path / "README.md").write_text(card)
    loaded = DatasetCard.load(tmp_path / "README.md")
    assert loaded.data.size_categories == ["n<1K"]
    assert loaded.text.count("## This copy") == 1
    assert all(line in card for line in (source or "").replace("---", "").splitlines())


@pytest.mark.parametrize(
    ("rows", "band"),
    [(999, "n<1K"), (1_000, "1K<n<10K"), (99_999, "10K<n<100K"), (1_092_009, "1M<n<10M"), (10**7, "n>10M")],
)
def test_bands_of_size(rows: int, band: str) -> None:
    audit = audit_with(train=1)
    audit["splits"]["train"]["rows"] = rows
    assert front_of(render_data_card(audit, COLUMNS, {}, None))["size_categories"] == [band]


# Names that begin with one another, or that YAML takes for a number, a date, a truth.
PARTS = ["a", "a-b", "a-00000", "20200601", "2020-06-01", "no", "1e3", "M_R001S01C01", "a b", "ä"]


def write_copy(folder: Path, parts: list[str]) -> None:
    """Rows of every part in splits train and, for every second, test, with the card that says so."""
    folder.mkdir()
    splits: dict[str, list[str]] = {}
    for i, part in enumerate(parts):
        splits[part] = ["train", "test"] if i % 2 else ["train"]
        for split in splits[part]:
            for k in range(2):
                rows = Dataset.from_dict({"id": [f"{split} {part} {k}"]}, features=Features({"id": Value("string")}))
                rows.to_parquet(str(folder / f"{split}-{part}-{k:05d}-of-00002.parquet"))
    card = render_data_card(audit_with(train=len(parts), test=1), COLUMNS, splits, SOURCE)
    (folder / "README.md").write_text(card, encoding="utf-8")


def test_each_part_is_a_configuration_of_its_own_files_alone(tmp_path: Path) -> None:
    write_copy(tmp_path / "out", PARTS)
    found = get_dataset_config_names(str(tmp_path / "out"))
    assert sorted(found) == sorted(["default", *PARTS])
    everything = load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert {split: len(rows) for split, rows in everything.items()} == {"train": 20, "test": 10}
    for i, part in enumerate(PARTS):
        loaded = load_dataset(str(tmp_path / "out"), part, cache_dir=str(tmp_path / "cache"))
        wanted = ["train", "test"] if i % 2 else ["train"]
        assert {split: rows["id"][:] for split, rows in loaded.items()} == {
            split: [f"{split} {part} 0", f"{split} {part} 1"] for split in wanted
        }


def test_another_copy_has_another_card() -> None:
    one = audit_with(train=2)
    other = {**one, "fingerprint": "fedcba9876543210"}
    assert render_data_card(one, COLUMNS, {}, SOURCE) != render_data_card(other, COLUMNS, {}, SOURCE)
    assert render_data_card(one, COLUMNS, {}, SOURCE) == render_data_card(one, COLUMNS, {}, SOURCE)


def test_what_was_left_out_and_rows_of_paths_are_said() -> None:
    audit = audit_with(train=3)
    problems = Problems("skip")
    for line in (3, 7):
        problems.add("missing file", "list.txt", "there is no a.wav; remove the line", line)
    audit["problems"] = problems.to_dict()
    audit["options"]["embed_audio"] = False
    card = render_data_card(audit, COLUMNS, {}, None)
    assert "missing file: 2 (`audit.json` names them)" in card
    assert "| train | 3 | 0.03 | 2 | - | paths |" in card


@pytest.mark.parametrize("corpus", corpus_names())
def test_the_cards_of_the_corpora_keep_all_their_words(corpus: str) -> None:
    source = card_of(corpus).read_text(encoding="utf-8")
    card = render_data_card(audit_with(train=3, validation=1, test=1), COLUMNS, {}, source)
    front, body = source.split("\n---\n", 1)
    words = [line for line in body.splitlines() if line.strip()]
    assert [line for line in card.splitlines() if line in set(words)][-1] == words[-1]
    assert set(words) <= set(card.splitlines())
    given = yaml.safe_load(front)
    assert {**front_of(card), **given} == front_of(card) | {"size_categories": given.get("size_categories", ["n<1K"])}
