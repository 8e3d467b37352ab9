"""A model's labels by the data's names: which is which, what becomes of probabilities, and what an evaluation says."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import AutoModelForAudioClassification, Wav2Vec2FeatureExtractor

from hf_speech.data.checks import check_rows
from hf_speech.data.recordings import rows_of_files
from hf_speech.errors import InputError
from hf_speech.inference import infer, load_model
from hf_speech.label_map import fit_labels, read_label_map
from hf_speech.models.tasks import Task
from hf_speech.outcome import probabilities
from hf_speech.testing import tiny_backbone_config

from .models.tiny import lively
from .training.runs import command, read_results, read_table, refusal, write_table

MOODS = Task("label", ("ang", "hap", "exc", "Neutral", "oth"))


def test_names_are_given_and_labels_are_left_out() -> None:
    given = {"ang": "anger", "hap": "happiness", "exc": "happiness", "oth": None}
    found = fit_labels(MOODS, given, {"anger", "happiness", "Neutral"})
    assert found is not None
    assert found.classes == {"anger": (0,), "happiness": (1, 2), "Neutral": (3,)}
    assert found.labels == ("anger", "happiness", "Neutral") and found.changes == given
    logits = np.log([[0.3, 0.2, 0.15, 0.05, 0.3], [0.1, 0.1, 0.1, 0.1, 0.6]])
    # Without the last label: of 0.7 and of 0.4.
    wanted = [[0.3 / 0.7, 0.35 / 0.7, 0.05 / 0.7], [0.25, 0.5, 0.25]]
    np.testing.assert_allclose(probabilities(found.merged(logits)), wanted, atol=1e-12)


def test_a_label_alone_keeps_its_logit_to_the_last_bit() -> None:
    found = fit_labels(MOODS, {"ang": "anger"}, {"anger"})
    logits = np.random.default_rng(0).normal(0, 30, (100, 5)).astype(np.float32)
    assert found is not None
    np.testing.assert_array_equal(found.merged(logits), logits)


def test_case_alone_is_no_difference(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    found = fit_labels(MOODS, {}, {"ANG", "neutral", "hap"})
    assert found is not None and found.labels == ("ANG", "hap", "exc", "neutral", "oth")
    assert found.changes == {"ang": "ANG", "Neutral": "neutral"}
    assert "the model's ang is ANG, Neutral is neutral in the data" in caplog.text


@pytest.mark.parametrize(
    ("labels", "given", "there"),
    [
        (("low", "high"), {}, {"low", "high"}),
        (("low", "high"), {}, {"low", "Low"}),  # the data tells them apart
        (("low", "high"), {}, {"LOW", "Low"}),  # which of them?
        (("low", "Low"), {}, {"low"}),  # or two labels would become one
        (("low", "lower"), {"low": "low"}, {"Low"}),  # as it was said
    ],
)
def test_what_is_not_clear_is_left_as_it_is(labels: tuple[str, ...], given: dict[str, str], there: set[str]) -> None:
    assert fit_labels(Task("label", labels), given, there) is None


@pytest.mark.parametrize(
    ("task", "given", "said"),
    [
        (MOODS, {"angry": "anger"}, r"unknown label of the model in label_map 'angry' \(did you mean 'ang'\?\)"),
        (MOODS, dict.fromkeys(("ang", "hap", "exc", "oth")), "label_map leaves 1 of 5 labels; leave two or more"),
        (Task("age", ("a", "b", "c"), ordered=True), {"a": "b"}, "'b', but the model's stand in an order"),
        (Task("m", ("a", "b"), loss="binary_cross_entropy"), {"a": "b"}, "but the model's may hold together"),
    ],
)  # fmt: skip
def test_maps_that_make_no_sense(task: Task, given: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        fit_labels(task, given, set(task.labels))


def test_several_labels_an_utterance_are_called_otherwise() -> None:
    found = fit_labels(Task("m", ("a", "b", "c"), loss="binary_cross_entropy"), {"a": "A", "c": None}, {"A", "b"})
    assert found is not None and found.labels == ("A", "b")
    np.testing.assert_array_equal(found.merged(np.array([[1.0, 2.0, 3.0]])), [[1.0, 2.0]])


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("{yes: no, 1: 2.50, on: ~, off: }", {"yes": "no", "1": "2.50", "on": None, "off": None}),
        ("{a b: 'c, d', 'e: f': \"null\"}", {"a b": "c, d", "e: f": "null"}),
        ("LABEL_0=low, LABEL_1=high", {"LABEL_0": "low", "LABEL_1": "high"}),
    ],
)
def test_labels_are_texts_as_they_are_written(text: str, wanted: dict[str, str | None]) -> None:
    assert read_label_map(text) == wanted


@pytest.mark.parametrize("text", ["{a: b", "{a: [b]}", "{}", "low", "{a: b, a: c}", "{a: b} c"])
def test_what_is_no_map_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="^--label-map: ") as caught:
        read_label_map(text)
    assert "\n" not in str(caught.value)


# --- in an evaluation ------------------------------------------------------------------------------------------------


def saved(folder: Path, *labels: str, **fields: Any) -> Path:
    """A stock classifier; without labels it has the two that transformers makes up."""
    config = tiny_backbone_config(**({"id2label": dict(enumerate(labels))} if labels else {}), **fields)
    lively(AutoModelForAudioClassification.from_config(config)).save_pretrained(folder)
    Wav2Vec2FeatureExtractor().save_pretrained(folder)
    return folder


def test_labels_that_are_called_otherwise(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = saved(tmp_path / "model")
    out = ("--output-dir", tmp_path / "out")
    line = refusal(capsys, "evaluate", model, corpus, *out)
    assert "row 0 (" in line and "label 'low' is not a class that the model knows (24 such rows)" in line
    assert "its classes: LABEL_0; LABEL_1; the data's: high; low; " in line
    assert "say which is which, such as --label-map '{LABEL_0: low}'" in line and not (tmp_path / "out").exists()
    assert command("evaluate", model, corpus, "--label-map", "{LABEL_0: low, LABEL_1: high}", *out) == 0
    results = read_results(tmp_path / "out")
    assert results["run"]["arguments"]["label_map"] == {"LABEL_0": "low", "LABEL_1": "high"}
    assert results["confusion"]["labels"] == ["low", "high"] and sum(map(sum, results["confusion"]["counts"])) == 24
    table = read_table(tmp_path / "out" / "predictions.csv")
    files = [corpus.parent / row["id"] for row in table]
    logits = infer(*load_model(model), check_rows(rows_of_files(files))[0]).logits
    assert [row["predicted"] for row in table] == [("low", "high")[i] for i in logits.argmax(axis=1)]
    assert len({row["predicted"] for row in table}) == 2


def test_labels_that_are_one_and_one_that_does_not_count(corpus: Path, tmp_path: Path) -> None:
    """As the probabilities of the model itself say."""
    model = saved(tmp_path / "model", "LOW", "bass", "treble", "noise")
    flag = "{bass: low, treble: high, noise: none, LOW: low}"
    assert command("evaluate", model, corpus, "--label-map", flag, "--output-dir", tmp_path / "out") == 0
    table = read_table(tmp_path / "out" / "predictions.csv")
    files = [corpus.parent / row["id"] for row in table]
    said = probabilities(infer(*load_model(model), check_rows(rows_of_files(files))[0]).logits)
    wanted = np.stack([said[:, 0] + said[:, 1], said[:, 2]], axis=1) / said[:, :3].sum(axis=1, keepdims=True)
    np.testing.assert_allclose([[float(row[name]) for name in ("low", "high")] for row in table], wanted, atol=1e-5)
    changes = {"LOW": "low", "bass": "low", "treble": "high", "noise": None}
    assert read_results(tmp_path / "out")["run"]["arguments"]["label_map"] == changes


def test_rows_of_other_labels_may_be_left_out(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{**row, "label": "middle" if i % 4 == 3 else row["label"]} for i, row in enumerate(read_table(corpus))]
    table = write_table(corpus.with_name("middle.csv"), rows)
    words = ("evaluate", saved(tmp_path / "model", "low", "high"), table, "--output-dir", tmp_path / "out")
    line = refusal(capsys, *words)
    assert "label 'middle' is not a class that the model knows (6 such rows); its classes: low; high; " in line
    assert line.endswith("or leave such rows out with --only label=low,high")
    assert command(*words, "--only", "label=low,high") == 0
    results = read_results(tmp_path / "out")
    assert results["metrics"][0]["n"] == 18 and results["run"]["arguments"]["only"] == "label=low,high"


def test_case_is_noted_in_the_results(corpus: Path, tmp_path: Path) -> None:
    model = saved(tmp_path / "model", "High", "LOW")
    assert command("evaluate", model, corpus, "--revision", "main", "--output-dir", tmp_path / "out") == 0
    arguments = read_results(tmp_path / "out")["run"]["arguments"]
    assert arguments["label_map"] == {"High": "high", "LOW": "low"} and arguments["revision"] == "main"
    assert "trust_remote_code" not in arguments
    assert json.loads((tmp_path / "model" / "config.json").read_text())["id2label"] == {"0": "High", "1": "LOW"}


def test_several_labels_a_row(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{**row, "mood": ("low;calm", "calm", ";")[i % 3]} for i, row in enumerate(read_table(corpus))]
    table = write_table(corpus.with_name("mapped_moods.csv"), rows)
    model = saved(tmp_path / "model", "LOW", "clm", problem_type="multi_label_classification")
    words = ("evaluate", model, table, "--target", "mood", "--output-dir", tmp_path / "out")
    line = refusal(capsys, *words)
    assert "mood 'calm' is not a class" in line and "such as --label-map '{clm: calm}'" in line
    assert command(*words, "--label-map", "clm=calm") == 0
    results = read_results(tmp_path / "out")
    assert results["data"]["splits"]["all"]["labels"] == {"low": 8, "calm": 16}
    assert results["run"]["arguments"]["label_map"] == {"LOW": "low", "clm": "calm"}


def test_a_number_has_no_labels(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = saved(tmp_path / "model", "age")
    words = ("evaluate", model, corpus, "--target", "age", "--output-dir", tmp_path / "out", "--label-map", "age=years")
    assert "label_map has no part where the model predicts a number" in refusal(capsys, *words)
    assert command(*words[:-2]) == 0 and read_results(tmp_path / "out")["metrics"][0]["name"] == "mae"


def test_several_numbers_are_measured_by_their_names(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each column that the model has a name for, without a word; a map is for one task."""
    rows = [{**row, "arousal": i / 24, "valence": 1 - i / 48} for i, row in enumerate(read_table(corpus))]
    table = write_table(corpus.with_name("dimensions.csv"), rows)
    model = saved(tmp_path / "model", "arousal", "dominance", "valence", problem_type="regression")
    words = ("evaluate", model, table, "--output-dir", tmp_path / "out")
    assert "label_map is for a model with one task" in refusal(capsys, *words, "--label-map", "arousal=a")
    assert command(*words) == 0
    metrics = read_results(tmp_path / "out")["metrics"]
    assert {metric["name"].partition("/")[0] for metric in metrics} == {"arousal", "valence"}
