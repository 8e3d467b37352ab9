"""What a measurement says of its model and of its data."""

import csv
from pathlib import Path

import pytest

from hf_speech.cli import main
from hf_speech.hub.card import render_card
from hf_speech.hub.words import hub_dataset
from hf_speech.results import Results
from hf_speech.training.arguments import read_config
from hf_speech.training.facts import data_name, is_on_hub
from hf_speech.training.measure import measure

from ..conftest import write_fake_corpus
from ..foreign import saved


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_fake_corpus(tmp_path / "corpus")


def card_of(results: Results) -> str:
    return render_card(vars(results))


def test_a_label_map_changes_the_numbers_and_not_the_model(corpus: Path, tmp_path: Path) -> None:
    model = saved(tmp_path / "model", "wav2vec2", labels=("a", "b", "c", "d"))
    renamed = {"a": "high", "b": "high", "c": "low", "d": None}
    results = measure(str(model), str(corpus), tmp_path / "out", {"target": "label"}, label_map=renamed)
    assert results.model["labels"] == ["a", "b", "c", "d"]
    assert results.run["arguments"]["label_map"] == renamed
    assert results.confusion is not None and results.confusion["labels"] == ["high", "low"]
    card = card_of(results)
    assert "one of 4 labels (`a`, `b`, `c`, `d`)" in card
    assert "read as the data's: `a` and `b` as `high`, `c` as `low`; `d` was left out" in card
    assert "guessing among the 2 labels of the data gives 50 %." in card
    assert "| high | " in card and "| low | " in card


def test_labels_that_do_not_occur_are_told_of(corpus: Path, tmp_path: Path) -> None:
    model = saved(tmp_path / "model", "wav2vec2", labels=("high", "low", "c"))
    card = card_of(measure(str(model), str(corpus), tmp_path / "out", {"target": "label"}))
    assert "of the 3 labels 2 occur there, and naming always the same one of these gives 50 %." in card
    assert "Of the 3 labels, 2 occur in the split `all`: the UAR is of these alone." in card
    assert "only this language" not in card and "How it was trained is not recorded." in card


def test_labels_of_groups_are_recorded(corpus: Path, tmp_path: Path) -> None:
    with corpus.open() as file:
        rows = list(csv.DictReader(file))
    with corpus.with_name("groups.csv").open("w") as file:
        writer = csv.DictWriter(file, [*rows[0], "gender"])
        writer.writeheader()
        for row in rows:  # men say both, women one
            writer.writerow({**row, "gender": "male"})
            if row["label"] == "low":
                writer.writerow({**row, "gender": "female"})
    model = saved(tmp_path / "model", "wav2vec2", labels=("high", "low"))
    results = measure(str(model), str(corpus.with_name("groups.csv")), tmp_path / "out", {"target": "label"})
    found = results.data["splits"]["all"]["group_labels"]
    assert found["label"]["gender"] == {"male": ["high", "low"], "female": ["low"]}


def test_a_prepared_corpus_is_not_on_the_hub(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    words = ["prepare", "csv", "--data-dir", corpus.parent, "--output-dir", home / "lab" / "levels", "--test", "0.25"]
    assert main([str(word) for word in words]) == 0
    monkeypatch.chdir(tmp_path)
    model = saved(tmp_path / "model", "wav2vec2", labels=("high", "low"))
    fields = {"target": "label", "data_dir": str(home)}
    results = measure(str(model), "lab/levels", tmp_path / "out", fields)
    assert (results.data["name"], results.data["on_hub"]) == ("lab/levels", False)
    assert hub_dataset(vars(results)) is None and "huggingface.co/datasets" not in card_of(results)


@pytest.mark.parametrize(
    ("fields", "on_hub"),
    [({}, True), ({"data_name": "lab/renamed"}, False), ({"data_dir": "home"}, False), ({"dataset": "."}, False)],
)
def test_what_is_read_from_the_hub_is_on_it(
    fields: dict, on_hub: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_SPEECH_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "home" / "lab" / "levels").mkdir(parents=True)
    given = {"dataset": "lab/levels", "backbone": "owner/model", "target": "label", **fields}
    assert is_on_hub(read_config(None, given)) is on_hub


@pytest.mark.parametrize(
    ("place", "name"),
    [("home/labelled.csv", "labelled"), ("home/metadata.csv", "home"), ("home/wav.scp", "home"), ("home", "home")],
)
def test_a_table_is_called_by_its_own_name(place: str, name: str, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    path = tmp_path / place
    if not path.exists():
        path.write_text("path\n")
    given = {"dataset": str(path), "backbone": "owner/model", "target": "label"}
    assert data_name(read_config(None, given)) == name
