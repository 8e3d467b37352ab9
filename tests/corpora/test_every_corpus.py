"""What holds of every corpus script: the same rows from any directory order, in Parquet that needs none of our code."""

import random
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from huggingface_hub import DatasetCard

from hf_speech.corpora.options import builder_of, describe_options
from hf_speech.corpora.scripts import card_of, corpus_names
from hf_speech.testing import write_fake_aishell4, write_fake_iemocap, write_fake_voxceleb

from .prepared import Run, digest, files_of, read_elsewhere

Writer = Callable[[Path], Any]

CORPORA: dict[str, tuple[str, Writer, dict[str, Any]]] = {
    "voxceleb in zips": ("voxceleb", lambda path: write_fake_voxceleb(path), {}),
    "voxceleb in trees": ("voxceleb", lambda path: write_fake_voxceleb(path, layout="tree", format="wav"), {}),
    "voxceleb, a subset": (
        "voxceleb",
        lambda path: write_fake_voxceleb(path, format="wav"),
        {"config_name": "tiny_many_high", "utterances_per_speaker": 3},
    ),
    "voxceleb, identification": (
        "voxceleb",
        lambda path: write_fake_voxceleb(path, format="wav"),
        {"config_name": "identification"},
    ),
    "iemocap": ("iemocap", lambda path: write_fake_iemocap(path), {}),
    "iemocap, a fold": ("iemocap", lambda path: write_fake_iemocap(path), {"fold": 2, "validation": "session"}),
    "aishell4": ("aishell4", lambda path: write_fake_aishell4(path, channels=2), {}),
    "aishell4, by time": ("aishell4", lambda path: write_fake_aishell4(path, channels=2), {"split": "contiguous"}),
}


def shuffled_copy(source: Path, target: Path, seed: int) -> None:
    """The same tree, its files made in another order, the members of its archives in another order too."""
    names = sorted(files_of(source))
    generator = random.Random(seed)
    generator.shuffle(names)
    for name in names:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        if not name.endswith(".zip"):
            shutil.copyfile(source / name, target / name)
            continue
        with zipfile.ZipFile(source / name) as old, zipfile.ZipFile(target / name, "w", zipfile.ZIP_DEFLATED) as new:
            members = old.namelist()
            generator.shuffle(members)
            for member in members:
                new.writestr(member, old.read(member))


def ids_of(folder: Path) -> dict[str, list[str]]:
    """File name -> its ids in order."""
    return {
        path.name: pq.read_table(path, columns=["id"])["id"].to_pylist() for path in sorted(folder.glob("*.parquet"))
    }


@pytest.mark.parametrize("name", CORPORA)
def test_the_same_rows_twice_and_from_any_directory_order(name: str, run: Run, tmp_path: Path) -> None:
    corpus, write, options = CORPORA[name]
    write(tmp_path / "corpus")
    run(corpus, tmp_path / "corpus", "first", **options)
    first = ids_of(tmp_path / "first")
    assert sum(map(len, first.values())) > 20
    run(corpus, tmp_path / "corpus", "again", **options)
    assert ids_of(tmp_path / "again") == first
    shuffled_copy(tmp_path / "corpus", tmp_path / "shuffled", seed=1)
    run(corpus, tmp_path / "shuffled", "other", **options)
    assert ids_of(tmp_path / "other") == first
    for path in (tmp_path / "first").glob("*.parquet"):
        assert (tmp_path / "other" / path.name).read_bytes() == path.read_bytes()


def test_voxceleb_rows_are_the_files(run: Run, tmp_path: Path) -> None:
    write_fake_voxceleb(tmp_path / "corpus", layout="tree", format="wav")
    run("voxceleb", tmp_path / "corpus", validation="none")
    found = read_elsewhere(tmp_path / "out", tmp_path / "cache")
    files = {"/".join(path.with_suffix("").parts[-3:]): path for path in (tmp_path / "corpus").rglob("*.wav")}
    rows = [row for split in found.values() for row in split]
    assert len(rows) > 50
    for row in rows:
        path = files[row["id"]]
        assert row["sha"] == digest(path)
        assert row["speaker_id"] == path.parts[-3]
        assert row["session_id"] == "/".join(path.parts[-3:-1])
    assert {row["source"] for row in found["train"]} == {"voxceleb2"}
    assert {row["source"] for row in found["test"]} == {"voxceleb1"}


def test_each_meeting_is_a_configuration(run: Run, tmp_path: Path) -> None:
    write_fake_aishell4(tmp_path / "corpus", channels=2, meetings={"train_L": 2, "test": 1})
    run("aishell4", tmp_path / "corpus", sets=["train_L", "test"])
    everything = read_elsewhere(tmp_path / "out", tmp_path / "cache")
    meetings = {row["session_id"] for split in everything.values() for row in split}
    assert len(meetings) == 3
    for meeting in meetings:
        own = read_elsewhere(tmp_path / "out", tmp_path / "cache", meeting)
        for split, rows in own.items():
            assert rows == [row for row in everything[split] if row["session_id"] == meeting]


@pytest.mark.parametrize("corpus", corpus_names())
def test_the_card_beside_a_script_is_one_for_the_hub(corpus: str) -> None:
    card = DatasetCard.load(card_of(corpus))
    facts = card.data.to_dict()
    assert facts["license"]
    assert facts["pretty_name"]
    assert "audio-classification" in facts["task_categories"]
    assert "configs" not in facts  # the copies that `prepare` writes have them
    for part in ("load_dataset(", f"hf-speech prepare {corpus}", "icence"):
        assert part in card.text
    kind, _ = builder_of(corpus)
    for config in kind.BUILDER_CONFIGS:
        assert f"`{config.name}`" in card.text


@pytest.mark.parametrize("corpus", corpus_names())
def test_every_option_says_what_it_does(corpus: str) -> None:
    for line in describe_options(corpus).splitlines():
        if line.startswith("  "):
            assert len(line.split()) > 2, line


@pytest.mark.parametrize("corpus", corpus_names())
def test_the_card_of_a_copy_has_the_true_counts(corpus: str, run: Run, tmp_path: Path) -> None:
    write = {"voxceleb": write_fake_voxceleb, "iemocap": write_fake_iemocap, "aishell4": write_fake_aishell4}[corpus]
    write(tmp_path / "corpus")
    audit = run(corpus, tmp_path / "corpus")
    text = (tmp_path / "out" / "README.md").read_text()
    front = yaml.safe_load(text.split("---")[1])
    assert front["configs"]
    for split, facts in audit["splits"].items():
        written = sum(pq.read_metadata(path).num_rows for path in (tmp_path / "out").glob(f"{split}-*.parquet"))
        assert facts["rows"] == written
        assert f"| {split} | {written:,} |" in text
