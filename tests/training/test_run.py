"""A finished run's folder, and what is left of a run that failed."""

import logging
import math
import shutil
from pathlib import Path

import pytest
import soundfile
import torch
import yaml
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, recall_score
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

from hf_speech.results import Results

from .runs import (
    command,
    read_results,
    read_table,
    refusal,
    same_weights,
    train_tiny,
    values_of,
    weights_of,
    write_table,
    write_yaml,
)

TEST_SPEAKERS = {"speaker04", "speaker05"}


def test_the_auto_classes_load_it_and_say_what_predictions_csv_says(finished: Path, corpus: Path) -> None:
    model = AutoModelForAudioClassification.from_pretrained(finished).eval()
    extractor = AutoFeatureExtractor.from_pretrained(finished)
    rows = read_table(finished / "predictions.csv")
    assert {row["speaker_id"] for row in rows} == TEST_SPEAKERS and len(rows) == 8
    for row in rows:
        waveform, rate = soundfile.read(corpus.parent / row["id"], dtype="float32")
        with torch.inference_mode():
            logits = model(**extractor(waveform, sampling_rate=rate, return_tensors="pt")).logits[0]
        scores = dict(zip(("high", "low"), logits.softmax(-1).tolist(), strict=True))
        assert {name: float(row[name]) for name in scores} == pytest.approx(scores, abs=1e-5)
        assert row["predicted"] == max(scores, key=scores.__getitem__)


def test_its_numbers_are_those_of_scikit_learn_on_its_predictions(finished: Path) -> None:
    rows = read_table(finished / "predictions.csv")
    labels, predicted = [row["label"] for row in rows], [row["predicted"] for row in rows]
    assert values_of(finished, "test") == pytest.approx(
        {
            "uar": recall_score(labels, predicted, average="macro"),
            "accuracy": accuracy_score(labels, predicted),
            "macro_f1": f1_score(labels, predicted, average="macro"),
        }
    )
    assert read_results(finished)["confusion"] == {
        "labels": ["high", "low"],
        "counts": confusion_matrix(labels, predicted, labels=["high", "low"]).tolist(),
    }


def test_results_json_is_whole(finished: Path) -> None:
    results = Results.read(finished)  # checks the form
    assert {metric["split"]: metric["n"] for metric in results.metrics} == {"validation": 4, "test": 8}
    assert all(metric["low"] <= metric["value"] <= metric["high"] for metric in results.metrics)
    assert {metric["interval_unit"] for metric in results.metrics} == {"utterance"}  # too few speakers to resample
    assert {name: split["speakers"] for name, split in results.data["splits"].items()} == {
        "train": 3, "validation": 1, "test": 2,
    }  # fmt: skip
    assert results.run["steps"] == 4 * math.ceil(12 / 8)
    assert results.run["seed"] == 42 and results.run["versions"]["torch"] == str(torch.__version__)
    assert results.run["recipe"]["learning_rate"] == 3e-3 and results.run["recipe"]["crop_seconds"] == 0.5
    assert results.run["arguments"]["dataset"] == "metadata.csv"  # not where it lies on this machine


def test_nothing_in_it_is_pickled(finished: Path) -> None:
    mine = [path for path in finished.iterdir() if not path.name.startswith("checkpoint-")]
    assert {path.suffix for path in mine} == {".json", ".safetensors", ".md", ".png", ".csv", ".yaml", ".py"}
    wanted = {"config.json", "model.safetensors", "preprocessor_config.json", "README.md", "results.json"}
    wanted |= {"predictions.csv", "train.yaml", "confusion.png", "curves.png", "numbers.png"}
    assert wanted <= {path.name for path in mine}


def test_the_card_says_what_results_json_says(finished: Path) -> None:
    card = (finished / "README.md").read_text(encoding="utf-8")
    front = yaml.safe_load(card.split("---")[1])
    listed = {
        (result["dataset"]["split"], metric["name"].split()[0].lower()): metric["value"]
        for result in front["model-index"][0]["results"]
        for metric in result["metrics"]
    }
    assert listed[("test", "uar")] == values_of(finished, "test")["uar"]
    assert "![Confusion matrix" in card and "(confusion.png)" in card and "curves.png" in card
    before = (finished / "README.md").read_bytes()
    assert command("card", finished) == 0
    assert (finished / "README.md").read_bytes() == before


def test_its_train_yaml_gives_the_same_weights_again(finished: Path, tmp_path: Path) -> None:
    assert command("train", finished / "train.yaml", "--output-dir", tmp_path / "again") == 0
    assert same_weights(finished, tmp_path / "again")
    assert values_of(finished, "test") == values_of(tmp_path / "again", "test")
    assert (finished / "predictions.csv").read_bytes() == (tmp_path / "again" / "predictions.csv").read_bytes()
    assert command("train", finished / "train.yaml", "--output-dir", tmp_path / "other", "--seed", 7) == 0
    assert not same_weights(finished, tmp_path / "other")


def test_evaluate_on_the_same_rows_gives_the_same_numbers(finished: Path, corpus: Path, tmp_path: Path) -> None:
    held_out = [row for row in read_table(corpus) if row["speaker_id"] in TEST_SPEAKERS]
    table = write_table(corpus.with_name("held_out.csv"), held_out)
    assert command("evaluate", finished, table, "--output-dir", tmp_path, "--data-name", corpus.parent.name) == 0
    wanted = [metric for metric in read_results(finished)["metrics"] if metric["split"] == "test"]
    assert read_results(tmp_path)["metrics"] == [{**metric, "split": "all"} for metric in wanted]  # fingerprints too
    assert (tmp_path / "predictions.csv").read_bytes() == (finished / "predictions.csv").read_bytes()


def test_a_finished_model_is_replaced_only_when_asked_for(
    finished: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(finished, folder)
    again = ("train", finished / "train.yaml", "--output-dir", folder, "--max-steps", 1)
    assert "holds a finished model" in refusal(capsys, *again)
    assert same_weights(finished, folder)
    numbers = ("--loss", "l1", "--target", "age", "--unit", "years", "--max-seconds", 5)
    assert command(*again, "--overwrite", *numbers) == 0
    assert read_results(folder)["model"]["problem_type"] == "regression"
    assert [path.name for path in folder.glob("checkpoint-*")] == ["checkpoint-1"]
    assert not (folder / "confusion.png").exists()  # the old model's


def test_a_model_that_no_run_has_made_is_not_written_over(
    finished: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("config.json", "model.safetensors"):
        shutil.copy(finished / name, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    config = write_yaml(tmp_path.with_suffix(".yaml"), dataset=str(corpus), max_steps=1)
    flags = ["--backbone", str(tmp_path), "--overwrite", "true"]
    for more, told in (([], "holds a model of something else"), (flags, "is the backbone, which would be lost")):
        assert command("train", config, "--output-dir", tmp_path, *more) == 2
        assert told in capsys.readouterr().err.splitlines()[-1]
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_an_overwrite_that_is_refused_leaves_all_as_it_was(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(finished, folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    line = refusal(capsys, "train", folder / "train.yaml", "--overwrite", "--target", "emotion", "--output-dir", folder)
    assert "no column 'emotion'" in line
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


class RemoveFile(logging.Handler):
    """Removes a file at the moment when training starts, after all checks."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage().startswith("training on"):
            self.path.unlink()


@pytest.mark.parametrize("workers", [0, 1])
def test_a_run_that_fails_in_training_leaves_no_model(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], workers: int
) -> None:
    shutil.copytree(corpus.parent, tmp_path / "corpus")
    lost = tmp_path / "corpus" / "audio" / "speaker00_002.wav"
    config = write_yaml(tmp_path / "run.yaml", dataset=str(tmp_path / "corpus"), dataloader_num_workers=workers)
    log, remover = logging.getLogger("hf_speech.training.run"), RemoveFile(lost)
    log.addHandler(remover)
    level, log.level = log.level, logging.INFO
    try:
        line = refusal(capsys, "train", config, "--output-dir", tmp_path / "model")
    finally:
        log.removeHandler(remover)
        log.setLevel(level)
    assert line.startswith(f"hf-speech train: {lost}: no such file")
    assert not (tmp_path / "model").exists()


def test_a_run_that_fails_in_its_last_second_leaves_no_results(corpus: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "README.md").mkdir(parents=True)  # no file can take its place
    config = write_yaml(tmp_path / "run.yaml", dataset=str(corpus))
    with pytest.raises(OSError, match=r"README\.md"):
        command("train", config, "--output-dir", folder, "--max-steps", 1)
    assert not (folder / "results.json").exists()
    assert not list(folder.glob(".*"))  # .finishing-* and the like


def test_checkpoints_need_not_stay(corpus: Path, tmp_path: Path) -> None:
    folder = train_tiny(tmp_path / "model", corpus, "--keep-checkpoints", "false", "--max-steps", 1)
    assert not list(folder.glob("checkpoint-*")) and weights_of(folder)
