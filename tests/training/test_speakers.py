"""A small preset that tells speakers apart: margins that grow, speeds as speakers, noise, resuming."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from transformers import AutoConfig, AutoModel, AutoModelForAudioClassification, AutoModelForAudioXVector

from hf_speech.models.modeling import HfSpeechModel

from .runs import command, interrupted, read_results, read_table, same_weights, train_tiny, values_of

SPEAKERS = [f"speaker{i:02d}" for i in range(6)]
SPEEDS = {
    "speeds": [0.9, 1.0, 1.1],
    "speed_classes": True,
    "noise": {"probability": 0.5},
    "babble": {"probability": 0.3},
}
SMALL: dict[str, Any] = {
    "backbone": "ecapa-256",
    "backbone_config": {"network_config": {"channels": [16, 16, 16, 16, 24], "scale": 4, "se_channels": 8}},
    "pooling": None,
    "pooling_config": {"bottleneck": 8},
    "projection_config": {"size": 12},
    "target": "speaker_id",
    "loss_config": {"warmup_steps": 4},
}
AUGMENTED = {**SMALL, "augment": SPEEDS, "test": "0.25"}


@pytest.fixture(scope="module")
def speakers(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> Path:
    """A finished model of 6 speakers at 3 speeds."""
    return train_tiny(tmp_path_factory.mktemp("runs") / "speakers", corpus, **AUGMENTED)


def test_every_speed_makes_speakers_and_the_first_are_the_speakers_themselves(speakers: Path) -> None:
    config = AutoConfig.from_pretrained(speakers)
    labels = [config.id2label[i] for i in range(config.num_labels)]
    assert labels == SPEAKERS + [f"{name} at {speed}" for speed in ("0.9", "1.1") for name in SPEAKERS]
    assert config.class_counts == [3] * 18
    assert read_results(speakers)["data"]["splits"]["test"]["labels"] == dict.fromkeys(SPEAKERS, 1)


def test_a_speaker_is_heard_at_any_speed(speakers: Path, corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is predicted, measured and written is a speaker, by the sum of the probabilities at all speeds."""
    model = AutoModelForAudioClassification.from_pretrained(speakers).eval()
    rows = read_table(speakers / "predictions.csv")
    assert [name for name in rows[0] if name.startswith("speaker0")] == SPEAKERS
    for row in rows:
        waveform, _ = soundfile.read(corpus.parent / row["id"], dtype="float32")
        with torch.no_grad():
            shares = model(torch.from_numpy(waveform)[None]).logits[0].double().softmax(-1).numpy()
        wanted = {
            name: sum(share for i, share in enumerate(shares) if model.config.id2label[i].startswith(name))
            for name in SPEAKERS
        }
        assert {name: float(row[name]) for name in SPEAKERS} == pytest.approx(wanted, abs=1e-5)
        assert row["predicted"] == max(wanted, key=lambda name: wanted[name])
    right = np.mean([row["label"] == row["predicted"] for row in rows])
    assert values_of(speakers, "test")["accuracy"] == pytest.approx(right)
    results = read_results(speakers)
    assert results["model"]["labels"] == results["confusion"]["labels"] == SPEAKERS
    assert results["model"]["tasks"][0]["speeds"] == 3
    capsys.readouterr()
    assert command("predict", speakers, corpus.parent / rows[0]["id"], "--json") == 0
    (said,) = json.loads(capsys.readouterr().out)
    assert said["label"] == rows[0]["predicted"] and list(said["scores"]) == SPEAKERS


def test_the_numbers_of_validation_and_of_evaluate_are_of_speakers(corpus: Path, tmp_path: Path) -> None:
    folder = train_tiny(tmp_path / "model", corpus, **{**AUGMENTED, "test": "none", "validation": "0.25"})
    state = json.loads(sorted(folder.glob("checkpoint-*/trainer_state.json"))[-1].read_text())
    logged = [entry["eval_accuracy"] for entry in state["log_history"] if "eval_accuracy" in entry]
    assert values_of(folder, "validation")["accuracy"] == pytest.approx(max(logged))
    # The best by UAR, which is the accuracy where each speaker has as many rows.
    assert command("evaluate", folder, corpus, "--output-dir", tmp_path / "out") == 0
    rows = read_table(tmp_path / "out" / "predictions.csv")
    assert {row["predicted"] for row in rows} <= set(SPEAKERS)
    right = np.mean([row["label"] == row["predicted"] for row in rows])
    assert values_of(tmp_path / "out", "all")["accuracy"] == pytest.approx(right)


def test_it_is_what_the_preset_says_with_what_was_given_above_it(speakers: Path) -> None:
    config = AutoConfig.from_pretrained(speakers)
    assert (config.pooling, config.projection, config.projection_config) == (
        "attentive", "batchnorm+linear", {"size": 12},
    )  # fmt: skip
    assert (config.head, config.loss, config.loss_config) == ("cosine", "aam_softmax", {"warmup_steps": 4})
    assert config.backbone_config.frontend == "speechbrain-fbank"
    card = (speakers / "README.md").read_text(encoding="utf-8")
    assert "| network | ecapa-tdnn (channels: [16, 16, 16, 16, 24], scale: 4, se channels: 8) |" in card.replace(
        "_", " "
    )
    assert "| front end | speechbrain-fbank (norm: mean) |" in card
    assert "| projection | batchnorm+linear (size: 12) |" in card and "| head | cosine |" in card
    assert "model.embed([waveform, other], sampling_rate=rate)" in card
    assert "speeds: [0.9, 1.0, 1.1]" in card
    assert "one of 6 labels" in card and "lists each speaker at each of 3 speeds" in card


def test_all_auto_classes_give_the_same_embeddings(speakers: Path) -> None:
    waveforms = torch.randn(2, 9_000, generator=torch.Generator().manual_seed(0))
    kinds = (AutoModel, AutoModelForAudioClassification, AutoModelForAudioXVector)
    models = [kind.from_pretrained(speakers).eval() for kind in kinds]
    assert isinstance(models[0], HfSpeechModel)
    with torch.no_grad():
        first, *others = (model(waveforms).embeddings for model in models)
    assert first.shape == (2, 12) and all(torch.equal(first, other) for other in others)


def test_two_runs_are_equal_and_another_seed_is_another_model(speakers: Path, tmp_path: Path) -> None:
    for name, seed in (("again", 42), ("other", 7)):
        assert command("train", speakers / "train.yaml", "--output-dir", tmp_path / name, "--seed", seed) == 0
    assert same_weights(speakers, tmp_path / "again")
    assert (speakers / "predictions.csv").read_bytes() == (tmp_path / "again" / "predictions.csv").read_bytes()
    assert not same_weights(speakers, tmp_path / "other")


def test_a_resumed_run_ends_at_the_same_weights(corpus: Path, tmp_path: Path) -> None:
    values = {**AUGMENTED, "num_train_epochs": 2, "save_total_limit": 9}
    whole = train_tiny(tmp_path / "whole", corpus, **values)
    stopped = interrupted(whole, tmp_path / "stopped", 3)
    train_tiny(stopped, corpus, **values)
    assert read_results(stopped)["run"]["steps"] == 6
    # With a margin that grows over 4 steps, a count that began anew at the third would give others.
    assert same_weights(whole, stopped)


def losses_of(folder: Path) -> list[float]:
    """The logged loss of every step."""
    state = json.loads(next(folder.glob("checkpoint-*/trainer_state.json")).read_text())
    return [entry["loss"] for entry in state["log_history"] if "loss" in entry]


def test_the_margin_grows_with_the_steps_of_the_optimiser(corpus: Path, tmp_path: Path) -> None:
    def losses(name: str, **options: Any) -> list[float]:
        # Without learning, each step shows the loss of the same weights on the same batches.
        still = {"learning_rate": 1e-30, "logging_steps": 1, "max_steps": 3, "test": "none", "loss_config": options}
        return losses_of(train_tiny(tmp_path / name, corpus, **{**SMALL, **still}))

    none, full = losses("none", margin=0.0), losses("full", margin=0.3)
    grown = losses("grown", margin=0.3, warmup_steps=2)
    half = losses("half", margin=0.15)
    assert [a < b for a, b in zip(none, full, strict=True)] == [True] * 3
    assert grown == pytest.approx([none[0], half[1], full[2]], rel=1e-5)


def test_the_validation_loss_has_the_full_margin_from_the_start(corpus: Path, tmp_path: Path) -> None:
    """Or the loss of an early checkpoint could not be compared with that of a late one."""

    def validated(name: str, **options: Any) -> float:
        still = {"learning_rate": 1e-30, "num_train_epochs": 1, "validation": "0.25", "loss_config": options}
        folder = train_tiny(tmp_path / name, corpus, **{**SMALL, **still})
        state = json.loads(next(folder.glob("checkpoint-*/trainer_state.json")).read_text())
        return next(entry["eval_loss"] for entry in state["log_history"] if "eval_loss" in entry)

    full = validated("full", margin=0.3)
    assert validated("grown", margin=0.3, warmup_steps=1_000_000) == pytest.approx(full, rel=1e-6)
    assert full > validated("none", margin=0.0) + 0.5


def test_the_margin_counts_optimiser_steps_not_batches(corpus: Path, tmp_path: Path) -> None:
    still = {"learning_rate": 1e-30, "logging_steps": 1, "max_steps": 2, "test": "none", "save_steps": 2}
    two = {**SMALL, **still, "gradient_accumulation_steps": 2, "per_device_train_batch_size": 4}
    grown, none = (
        losses_of(train_tiny(tmp_path / name, corpus, **{**two, "loss_config": options}))
        for name, options in (("grown", {"margin": 0.3, "warmup_steps": 1}), ("none", {"margin": 0.0}))
    )
    assert grown[0] == pytest.approx(none[0], rel=1e-5)  # the first step, of two batches, has no margin
    assert grown[1] > none[1] + 0.5


def test_embeddings_of_a_finished_model(speakers: Path, corpus: Path) -> None:
    """In their order, whatever the lengths; each as the model gives it alone."""
    model = AutoModel.from_pretrained(speakers).train()
    files = [corpus.parent / row["path"] for row in read_table(corpus)][:7]
    waveforms = [soundfile.read(file, dtype="float32")[0] for file in files]
    found = model.embed(waveforms, sampling_rate=16_000, batch_seconds=2.5)
    assert model.training and found.dtype == torch.float32  # the mode is left as it was
    model.eval()
    with torch.no_grad():
        alone = torch.cat([model(torch.from_numpy(waveform)[None]).embeddings for waveform in waveforms])
    torch.testing.assert_close(found, alone, atol=1e-5, rtol=0)
    torch.testing.assert_close(model.embed(waveforms[::-1]), alone.flip(0), atol=1e-5, rtol=0)
    assert found.std(0).max() > 1e-2  # or anything would be near anything
