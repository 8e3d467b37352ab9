"""Ways in which a run could go wrong unseen; each was seen once."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
from transformers import (
    AutoFeatureExtractor,
    AutoModelForAudioClassification,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
)

from hf_speech.inference import infer
from hf_speech.models.modeling import HfSpeechForSequenceClassification
from hf_speech.models.tasks import Task
from hf_speech.outcome import describe
from hf_speech.testing import tiny_backbone_config

from ..models.tiny import lively, tiny_config
from ..ranks import finish_ranks
from .runs import read_results, read_table, refusal, train_tiny, write_table

SKIP = ("--on-bad-audio", "skip")


def test_the_best_checkpoint_by_loss_is_the_lowest(corpus: Path, tmp_path: Path) -> None:
    flags = ("--validation", "0.25", "--metric-for-best-model", "loss", "--save-total-limit", 9)
    folder = train_tiny(tmp_path / "model", corpus, *flags, num_train_epochs=4)
    last = max(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    state = json.loads((last / "trainer_state.json").read_text())
    losses = {entry["step"]: entry["eval_loss"] for entry in state["log_history"] if "eval_loss" in entry}
    assert len(set(losses.values())) > 1
    assert state["best_metric"] == min(losses.values())
    assert state["best_global_step"] == min(losses, key=losses.__getitem__)


def test_a_table_with_starts_but_no_ends_is_measured(corpus: Path, tmp_path: Path) -> None:
    rows = [{**row, "start": "0.1"} for row in read_table(corpus)]
    table = write_table(corpus.with_name("starts.csv"), rows)
    folder = train_tiny(tmp_path / "model", table, "--test", "0.25", "--max-steps", 1)
    assert all(row["id"].endswith("#t=0.1,") for row in read_table(folder / "predictions.csv"))


def test_regression_keeps_its_steps_under_autocast() -> None:
    torch.manual_seed(0)
    config = tiny_config("wav2vec2", num_labels=1, loss="mse", target_mean=65.0, target_std=12.0)
    model = lively(HfSpeechForSequenceClassification(config)).eval()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(torch.randn(8, 8_000) * torch.linspace(0.1, 2, 8)[:, None]).logits
    assert logits.dtype == torch.float32
    assert len(logits.unique()) == 8


def test_the_rate_is_the_checkpoint_s(corpus: Path, tmp_path: Path) -> None:
    backbone = tmp_path / "narrow"
    Wav2Vec2Model(tiny_backbone_config("wav2vec2")).save_pretrained(backbone)
    Wav2Vec2FeatureExtractor(sampling_rate=8_000).save_pretrained(backbone)
    folder = train_tiny(tmp_path / "model", corpus, "--max-steps", 1, "--backbone", backbone, backbone_config=None)
    assert AutoModelForAudioClassification.from_pretrained(folder).config.sampling_rate == 8_000
    assert AutoFeatureExtractor.from_pretrained(folder).sampling_rate == 8_000
    assert read_results(folder)["model"]["sample_rate"] == 8_000
    assert "at 8000 Hz" in (folder / "README.md").read_text()


def test_a_model_s_own_shortest_clip_is_what_counts(tmp_path: Path) -> None:
    config = tiny_config("wav2vec2", {"conv_kernel": (5, 3), "conv_stride": (4, 2), "conv_dim": (16, 16)})
    model = lively(HfSpeechForSequenceClassification(config)).eval()
    sf.write(tmp_path / "short.wav", np.random.default_rng(0).normal(size=200) * 0.1, 16_000)
    from hf_speech.inference import predict

    extractor = Wav2Vec2FeatureExtractor(return_attention_mask=True)
    assert model.encoder.min_samples == 13
    assert predict(model, extractor, [tmp_path / "short.wav"])[0]["label"] in model.config.label2id


def test_a_broken_test_file_is_found_before_training(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = read_table(corpus)
    bad = tmp_path / "nan.wav"
    sf.write(bad, np.where(np.arange(9_600) == 5_000, np.nan, 0.1), 16_000, subtype="FLOAT")
    held_out = [{**row, "split": "test" if i % 4 == 0 else "train"} for i, row in enumerate(rows)]
    held_out[0]["path"] = str(bad)
    table = write_table(corpus.with_name("broken.csv"), held_out)
    config = tmp_path / "model.yaml"
    with pytest.raises(AssertionError):
        train_tiny(tmp_path / "model", table, "--check-audio", "headers")
    line = refusal(capsys, "train", config, "--output-dir", tmp_path / "model", "--check-audio", "headers")
    assert "nan.wav" in line and not (tmp_path / "model").exists()
    line = refusal(capsys, "train", config, "--output-dir", tmp_path / "model", "--check-audio", "headers", *SKIP)
    assert "on_bad_audio skip needs check_audio full" in line


def test_streamed_files_that_are_left_out_are_reported(corpus: Path, tmp_path: Path) -> None:
    rows = read_table(corpus)
    bad = tmp_path / "cut.wav"
    bad.write_bytes(b"RIFF")
    table = write_table(corpus.with_name("streamed.csv"), [{**rows[0], "path": str(bad)}, *rows[1:]])
    stream = ("--streaming", "true", "--labels", "low,high", "--max-steps", 4, *SKIP)
    folder = train_tiny(tmp_path / "model", table, *stream)
    assert [entry["file"] for entry in read_results(folder)["data"]["left_out"]] == ["cut.wav"]


def test_a_run_s_seed_does_not_change_what_is_held_out(corpus: Path, tmp_path: Path) -> None:
    marks = []
    for seed in (1, 2):
        folder = train_tiny(tmp_path / str(seed), corpus, "--test", "0.25", "--max-steps", 1, "--seed", seed)
        marks.append(read_results(folder)["metrics"][0]["fingerprint"])
    assert marks[0] == marks[1]


@pytest.mark.parametrize("field", ["--class-weights=balanced", "--labels=a,b"])
def test_fields_of_classes_are_refused_in_a_regression(
    field: str, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--dataset", corpus, "--output-dir", tmp_path / "model", "--target", "age", "--loss", "mse", field)
    line = refusal(capsys, "train", "--backbone", "x", *flags)
    assert f"{field[2:].partition('=')[0].replace('-', '_')} has no part in a regression" in line


def test_a_broken_feature_extractor_is_named(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    backbone = tmp_path / "backbone"
    Wav2Vec2Model(tiny_backbone_config("wav2vec2")).save_pretrained(backbone)
    (backbone / "preprocessor_config.json").write_text("{bad")
    line = refusal(capsys, "train", "--dataset", corpus, "--backbone", backbone, "--output-dir", tmp_path / "model")
    assert "preprocessor_config.json can't be read" in line


def test_scores_of_a_multi_label_classifier_stand_alone() -> None:
    task = Task("label", ("a", "b", "c"), loss="binary_cross_entropy")
    said = describe(np.array([0.0, math.log(3), -math.log(3)]), task)
    assert said["labels"] == ["b"]
    assert list(said["scores"].values()) == pytest.approx([0.5, 0.75, 0.25])


def test_cutting_a_long_embedded_file_copies_nothing(tmp_path: Path) -> None:
    from datasets import Audio, Dataset

    from hf_speech.data.checks import check_rows

    sf.write(tmp_path / "long.wav", np.random.default_rng(0).normal(size=16_000 * 60) * 0.1, 16_000)
    content = (tmp_path / "long.wav").read_bytes()
    rows = Dataset.from_dict({"audio": [{"bytes": content, "path": None}]}).cast_column("audio", Audio(decode=False))
    rows, _ = check_rows(rows)
    from hf_speech.data.chunks import chunk_rows

    pieces = chunk_rows(rows, 2.0)
    assert len(pieces) == 30 and not any(hasattr(piece, "audio") for piece in pieces)
    model = lively(HfSpeechForSequenceClassification(tiny_config("wav2vec2"))).eval()
    outcome = infer(model, Wav2Vec2FeatureExtractor(return_attention_mask=True), rows, max_seconds=2.0)
    assert outcome.logits.shape == (1, model.config.num_labels)


def test_two_processes_share_a_stream(corpus: Path, tmp_path: Path) -> None:
    config = tmp_path / "model.yaml"
    from .runs import write_yaml

    write_yaml(config, dataset=str(corpus), streaming=True, labels=["low", "high"], max_steps=2)
    words = ["hf_speech.cli", "train", config, "--output-dir", tmp_path / "model", "--use-cpu", "true"]
    finish_ranks("-m", *words)
    assert read_results(tmp_path / "model")["run"]["steps"] == 2
