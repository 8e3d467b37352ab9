"""Masked prediction, and labels in every frame: losses by hand, blind to padding, targets at their times."""

import math
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from datasets import Dataset
from safetensors.torch import load_file
from transformers import Wav2Vec2FeatureExtractor

from hf_speech.audio import write_audio
from hf_speech.errors import InputError
from hf_speech.models.backbones import Wav2VecConfig
from hf_speech.models.configuration import SSL_BACKBONES
from hf_speech.models.modeling import HfSpeechModel
from hf_speech.pretraining.frame_labels import LabelWriter, read_frame_labels
from hf_speech.pretraining.labelled import LabelledFrames, VotesCollator
from hf_speech.pretraining.model import PretrainingModel, PretrainingOutput, make_encoder, save_encoder, with_masks
from hf_speech.pretraining.prediction import NONE, MaskedPrediction, TargetCollator, nearest
from hf_speech.pretraining.spans import Masking
from hf_speech.testing import tiny_backbone_config

from ..models.tiny import lively
from ..sounds import voice_like

COUNTS = (4, 8)
WAV2VEC = {
    "conv_layers": [[8, 10, 5], [12, 8, 4], [16, 4, 2], [16, 4, 2], [16, 4, 2]],
    "context_kernels": [2, 3],
    "reduction": [4, 2],
}


def predictor(kind: str = "wav2vec2") -> MaskedPrediction:
    config = with_masks(tiny_backbone_config(kind))
    return lively(MaskedPrediction(config, make_encoder(config, None), COUNTS, {4: 0.5, 8: 0.25})).eval()


def classifier(kind: str) -> LabelledFrames:
    config = Wav2VecConfig(network_config=WAV2VEC) if kind == "wav2vec" else tiny_backbone_config(kind)
    return lively(LabelledFrames(config, make_encoder(config, None), 3, [1.0, 2.0, 0.5], 0.4)).eval()


def batch(lengths: tuple[int, ...] = (8_000, 5_000, 6_500)) -> dict[str, torch.Tensor]:
    values = torch.zeros(len(lengths), max(lengths))
    for row, length in enumerate(lengths):
        values[row, :length] = torch.from_numpy(voice_like(length / 16_000, seed=row)[:length])
    mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()
    return {"input_values": values, "attention_mask": mask}


def masked_batch(model: PretrainingModel, lengths: tuple[int, ...] = (8_000, 5_000, 6_500)) -> dict[str, torch.Tensor]:
    tensors = batch(lengths)
    counts = [(length - model.encoder.min_samples) // model.encoder.hop + 1 for length in lengths]
    hidden = torch.zeros(len(lengths), max(counts), dtype=torch.bool)
    targets = torch.full((*hidden.shape, len(COUNTS)), NONE)
    for row, count in enumerate(counts):
        rng = np.random.default_rng(row)
        hidden[row, :count] = torch.from_numpy(Masking(0.5, 4).draw(count, rng))
        targets[row, :count] = torch.from_numpy(np.stack([rng.integers(k, size=count) for k in COUNTS], axis=1))
    return {**tensors, "hidden": hidden, "targets": targets}


def row_of(tensors: dict[str, torch.Tensor], row: int, model: PretrainingModel) -> dict[str, torch.Tensor]:
    """One utterance of a batch without its padding."""
    samples = int(tensors["attention_mask"][row].sum())
    frames = (samples - model.encoder.min_samples) // model.encoder.hop + 1
    sizes = {"input_values": samples, "attention_mask": samples, "hidden": frames, "targets": frames, "labels": None}
    return {name: values[row : row + 1] if sizes[name] is None else values[row : row + 1, : sizes[name]]
            for name, values in tensors.items()}  # fmt: skip


@torch.no_grad()
def said_of(model: PretrainingModel, tensors: dict[str, torch.Tensor]) -> PretrainingOutput:
    return model(**tensors)


@pytest.mark.parametrize("kind", SSL_BACKBONES)
def test_padding_changes_no_prediction(kind: str) -> None:
    model = predictor(kind)
    tensors = masked_batch(model)
    padded = said_of(model, tensors)
    alone = [said_of(model, row_of(tensors, row, model)) for row in range(3)]
    assert padded.weight == sum(one.weight for one in alone) == int(tensors["hidden"].sum())
    for name in ("loss_k4", "loss_k8"):
        mean = sum(one.weight * float(one.parts[name]) for one in alone) / padded.weight
        assert float(padded.parts[name]) == pytest.approx(mean, abs=1e-5)
    for name, told in padded.correct.items():
        assert torch.equal(told.right, torch.cat([one.correct[name].right for one in alone]))
        assert told.rows.bincount().tolist() == [one.weight for one in alone]


@torch.no_grad()
def test_only_hidden_frames_count_and_their_losses_add_up() -> None:
    model = predictor()
    tensors = masked_batch(model)
    said = said_of(model, tensors)
    others = tensors["targets"].clone()
    others[~tensors["hidden"]] = 0
    assert said_of(model, {**tensors, "targets": others}).loss == said.loss
    frames = model.encoder(tensors["input_values"], tensors["attention_mask"], hidden=tensors["hidden"]).frames
    wanted = tensors["targets"][tensors["hidden"]]
    losses = [F.cross_entropy(head(frames[tensors["hidden"]]), wanted[:, i]) for i, head in enumerate(model.heads)]
    assert float(said.loss) == pytest.approx(float(sum(losses)), abs=1e-5)


def test_heads_that_know_nothing_lose_the_logarithm_of_the_clusters() -> None:
    model = predictor()
    for head in model.heads:
        torch.nn.init.zeros_(head.classifier.weight)
        torch.nn.init.zeros_(head.classifier.bias)
    said = said_of(model, masked_batch(model))
    assert float(said.loss) == pytest.approx(math.log(4) + math.log(8), abs=1e-5)


def test_a_batch_without_known_targets_loses_nothing() -> None:
    model = predictor()
    tensors = masked_batch(model)
    said = model(**{**tensors, "targets": torch.full_like(tensors["targets"], NONE)})
    said.loss.backward()
    assert said.loss.item() == 0 and said.weight == 0


class TestTargets:
    """At the times of the frames, wherever a crop begins and whatever encoder was clustered."""

    @pytest.fixture
    def clip(self, tmp_path: Path) -> dict[str, Any]:
        write_audio(tmp_path / "a.wav", voice_like(2.0))
        return {"audio": {"bytes": None, "path": str(tmp_path / "a.wav")}, "draw": (0, 0, 0, 0), "labels_of": "a.wav"}

    def collator(self, folder: Path, first: float, hop: float, frames: int, crop: float | None) -> TargetCollator:
        with LabelWriter(folder / "labels.parquet", [1_000], first=first, hop=hop, codebook="") as writer:
            writer.add("a.wav", "train", 2.0, {1_000: np.arange(frames)})
        extractor = Wav2Vec2FeatureExtractor(do_normalize=False)

        def frames_of(samples: torch.Tensor) -> torch.Tensor:
            return (samples - 400) // 320 + 1

        labels = read_frame_labels(folder)
        return TargetCollator(labels, 0.0125, 0.02, extractor, Masking(), frames_of, crop_seconds=crop)

    def test_of_the_same_frames_they_are_the_same(self, clip: dict[str, Any], tmp_path: Path) -> None:
        collate = self.collator(tmp_path, 0.0125, 0.02, 99, None)
        assert collate([clip])["targets"][0, :, 0].tolist() == list(range(99))

    def test_of_a_crop_they_are_those_of_its_frames(self, clip: dict[str, Any], tmp_path: Path) -> None:
        collate = self.collator(tmp_path, 0.0125, 0.02, 99, 1.0)
        for draw in range(20):
            (read,) = collate._read([{**clip, "draw": (draw, 0, 0, 0), "length": 32_000, "duration": 2.0}])
            targets = collate.batch_of([read])["targets"][0, :, 0]
            assert len(targets) == 49 and 0 < read.offset < 1
            # The middle of frame i of the crop, and that of the frame of the whole that it has the label of.
            times = read.offset + 0.0125 + 0.02 * np.arange(49)
            assert np.abs(times - (0.0125 + 0.02 * targets.numpy())).max() <= 0.01 + 1e-9

    def test_a_row_begins_anywhere_in_its_file(self, clip: dict[str, Any], tmp_path: Path) -> None:
        collate = self.collator(tmp_path, 0.0125, 0.02, 49, None)  # labels are of the row
        cut = {**clip, "start": 0.5, "end": 1.5, "length": 16_000, "duration": 1.0}
        assert collate([cut])["targets"][0, :, 0].tolist() == list(range(49))
        crops = self.collator(tmp_path, 0.0125, 0.02, 49, 0.5)
        (read,) = crops._read([cut])
        assert 0 < read.offset < 0.5

    def test_of_frames_of_10_ms_every_second_counts(self, clip: dict[str, Any], tmp_path: Path) -> None:
        targets = self.collator(tmp_path, 0.0125, 0.01, 197, None)([clip])["targets"][0, :, 0]
        assert targets.tolist() == list(range(0, 197, 2))

    def test_ends_without_labels_have_none(self, clip: dict[str, Any], tmp_path: Path) -> None:
        # wav2vec 1.0 at 50 Hz: its first frame has its middle at 29.5 ms, so the first frame here lies before it.
        targets = self.collator(tmp_path, 0.0295, 0.02, 97, None)([clip])["targets"][0, :, 0]
        assert targets.tolist() == [NONE, *range(97), NONE]

    @pytest.mark.parametrize("first", [0.0125, 1.97, 2.03, 1e6])
    def test_rows_without_a_labelled_frame_are_refused(self, first: float, tmp_path: Path) -> None:
        collate = self.collator(tmp_path, first, 0.02, 99, None)
        rows = Dataset.from_dict({"labels_of": ["a.wav"], "duration": [2.0]})
        with nullcontext() if first < 2 else pytest.raises(InputError, match="no frame of 1 recordings has a label"):
            collate.require_labels(rows)

    def test_the_nearest_is_never_further_than_half_a_hop(self) -> None:
        rng = np.random.default_rng(0)
        times = rng.uniform(0, 10, 1_000)
        places = nearest(times, 0.0295, 0.02)
        assert np.abs(times - (0.0295 + 0.02 * places)).max() <= 0.01 + 1e-9


@pytest.mark.parametrize("kind", ["wav2vec", "wav2vec2", "wavlm"])
def test_padding_changes_no_label(kind: str) -> None:
    model = classifier(kind)
    model.weights = None  # a weighted mean over a batch is none of means
    tensors = {**batch(), "labels": torch.tensor([0, 2, 1])}
    padded, alone = said_of(model, tensors), [said_of(model, row_of(tensors, row, model)) for row in range(3)]
    assert padded.weight == 3
    frames = torch.tensor([float(len(one.correct["frame_accuracy"].rows)) for one in alone])
    of_frames = torch.tensor([one.parts["frame_loss"] for one in alone])
    assert float(padded.parts["frame_loss"]) == pytest.approx(
        float((of_frames * frames).sum() / frames.sum()), abs=1e-5
    )
    of_rows = torch.tensor([one.parts["utterance_loss"] for one in alone])
    assert float(padded.parts["utterance_loss"]) == pytest.approx(float(of_rows.mean()), abs=1e-5)
    for name in ("accuracy", "frame_accuracy"):
        assert torch.equal(padded.correct[name].right, torch.cat([one.correct[name].right for one in alone]))
    assert padded.correct["frame_accuracy"].rows.bincount().tolist() == frames.long().tolist()


@torch.no_grad()
def test_labels_count_by_their_weights() -> None:
    model = classifier("wav2vec2")
    tensors = {**batch(), "labels": torch.tensor([0, 2, 1])}
    encoded = model.encoder(tensors["input_values"], tensors["attention_mask"])
    losses, total = 0.0, 0.0
    for row, label in enumerate((0, 2, 1)):
        scores = model.frame_head(encoded.frames[row][encoded.frame_mask[row]])
        weight = [1.0, 2.0, 0.5][label]
        losses += weight * float(F.cross_entropy(scores, torch.full((len(scores),), label), reduction="sum"))
        total += weight * len(scores)
    assert float(said_of(model, tensors).parts["frame_loss"]) == pytest.approx(losses / total, abs=1e-5)


def test_votes_decide_as_often_as_they_were_given() -> None:
    collate = VotesCollator(["calm", "sad", "happy"], Wav2Vec2FeatureExtractor())
    row = {"labels": 1, "votes": {"sad": 2, "calm": 1, "happy": None, "odd": 9}}
    drawn = [collate._label_of({**row, "draw": (0, 0, i, 0)}) for i in range(3_000)]
    assert np.bincount(drawn, minlength=3) / 3_000 == pytest.approx([1 / 3, 2 / 3, 0], abs=0.03)  # 3.5 deviations
    assert drawn[:50] == [collate._label_of({**row, "draw": (0, 0, i, 0)}) for i in range(50)]
    assert collate._label_of({"labels": 1, "votes": {"odd": 3}}) == collate._label_of({"labels": 1, "votes": None}) == 1


def test_wav2vec_1_begins_without_its_last_convolution(tmp_path: Path) -> None:
    plain = Wav2VecConfig(network_config={name: value for name, value in WAV2VEC.items() if name != "reduction"})
    save_encoder(lively(make_encoder(plain, None)), plain, tmp_path)
    encoder = make_encoder(Wav2VecConfig(network_config=WAV2VEC), str(tmp_path))
    assert encoder.backbone.reduction is not None and encoder.hop == 320
    before, after = (load_file(tmp_path / "model.safetensors"), encoder.state_dict())
    for name, values in before.items():
        assert torch.equal(after[name.removeprefix("frame_encoder.")], values)


@pytest.mark.parametrize("kind", [*SSL_BACKBONES, "wav2vec"])
def test_the_checkpoint_gives_the_encoder_back(kind: str, tmp_path: Path) -> None:
    model = classifier(kind) if kind == "wav2vec" else predictor(kind)
    save_encoder(model.encoder, model.config, tmp_path)
    again = make_encoder(model.config, str(tmp_path)).eval()
    tensors = batch()
    with torch.no_grad():
        one, two = (encoder(**tensors).frames for encoder in (model.encoder, again))
    assert torch.equal(one, two)
    if kind != "wav2vec":  # every run of `train` starts from it
        started = HfSpeechModel.from_backbone(str(tmp_path), pooling="mean").eval()
        with torch.no_grad():
            assert torch.equal(started(**tensors).last_hidden_state, one)
