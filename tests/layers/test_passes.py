"""One pass gives of each layer what a model that ends with it gives, alone and in batches, whole and in pieces."""

import math
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
from datasets import Dataset

from hf_speech.audio import read_audio
from hf_speech.data.checks import check_rows
from hf_speech.data.recordings import rows_of_files
from hf_speech.errors import InputError
from hf_speech.layers.encoders import LayeredEncoder, load_layers
from hf_speech.layers.passes import frames_of_rows, pooled_of_rows
from hf_speech.models.configuration import SSL_BACKBONES
from hf_speech.models.modeling import HfSpeechForSequenceClassification, HfSpeechModel
from hf_speech.testing import tiny_backbone_config

from ..models.tiny import STABLE, TOLERANCE, lively, tiny_config
from ..sounds import voice_like
from .encoders import write_encoder

SECONDS = (1.3, 0.4, 2.1, 0.9)
ENCODERS = [(backbone, {}) for backbone in SSL_BACKBONES]
ENCODERS += [(backbone, STABLE) for backbone in ("wav2vec2", "hubert", "wavlm", "unispeech-sat")]

Checkpoint = Callable[..., Path]


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Four recordings of different lengths."""
    folder = tmp_path_factory.mktemp("sounds")
    for i, seconds in enumerate(SECONDS):
        sf.write(folder / f"{i}.wav", voice_like(seconds, seed=i), 16_000)
    return check_rows(rows_of_files([folder]))[0]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """Writes the checkpoint of a tiny encoder with a feature extractor; each kind once."""
    made: dict[str, Path] = {}

    def write(backbone: str = "wav2vec2", normalize: bool = True, **values: object) -> Path:
        name = f"{backbone}-{normalize}-{sorted(values.items())}"
        if name not in made:
            made[name] = write_encoder(tmp_path_factory.mktemp(backbone), backbone, normalize, **values)
        return made[name]

    return write


def waveform(encoder: LayeredEncoder, row: dict) -> dict[str, torch.Tensor]:
    """A row as its model takes it, alone."""
    samples = read_audio(row["audio"])
    return encoder.extractor(samples, sampling_rate=16_000, return_tensors="pt")


@torch.inference_mode()
@pytest.mark.parametrize(("backbone", "values"), ENCODERS)
def test_layer_k_of_one_pass_is_that_of_a_model_with_layer_k(
    backbone: str, values: dict, checkpoint: Checkpoint, rows: Dataset
) -> None:
    folder = checkpoint(backbone, **values)
    encoder = load_layers(folder, "1,3")
    found = dict(frames_of_rows(encoder, rows))
    pooled = pooled_of_rows(encoder, rows)
    assert sorted(found) == [0, 1, 2, 3] and (encoder.layers, encoder.depth, encoder.size) == ((1, 3), 3, 32)
    for place, k in enumerate(encoder.layers):
        model = HfSpeechModel.from_backbone(str(folder), layer=k, pooling="mean+std").eval()
        for row in range(len(rows)):
            expected = model(**waveform(encoder, rows[row]))
            frames = torch.from_numpy(found[row][place])
            torch.testing.assert_close(frames, expected.last_hidden_state[0], atol=TOLERANCE, rtol=0)
            assert len(frames) == encoder.frames(rows[row]["length"]), "as many as were announced"
            torch.testing.assert_close(
                torch.from_numpy(pooled[row, place]), expected.embeddings[0], atol=TOLERANCE, rtol=0
            )
    assert np.abs(found[0][0] - found[0][1]).max() > 0.1


def test_rows_that_are_named_and_half_precision(checkpoint: Checkpoint, rows: Dataset) -> None:
    encoder, half = (load_layers(checkpoint(), "2,3", dtype=dtype) for dtype in ("float32", "bfloat16"))
    whole, some = (dict(frames_of_rows(one, rows, places=[3, 1])) for one in (encoder, half))
    assert sorted(whole) == sorted(some) == [1, 3]
    for row, layers in whole.items():
        for exact, rounded in zip(layers, some[row], strict=True):
            assert rounded.dtype == np.float32 and not np.array_equal(exact, rounded)
            assert np.corrcoef(exact.ravel(), rounded.ravel())[0, 1] > 0.999
    np.testing.assert_allclose(
        pooled_of_rows(encoder, rows, "mean", places=[3, 1]),
        [[layer.mean(0) for layer in whole[row]] for row in (3, 1)],
        atol=TOLERANCE,
    )
    assert encoder.identity() != half.identity() == load_layers(checkpoint(), [3, 2], dtype="bfloat16").identity()


@torch.inference_mode()
@pytest.mark.parametrize("layer", ["last", 2, "weighted_sum"])
def test_a_finished_model_gives_the_layers_that_it_was_built_with(
    layer: int | str, rows: Dataset, tmp_path: Path
) -> None:
    # A class token stands before the frames of one of them; what lies above the encoder has no part in it.
    settings = {"pooling": "first+cls-learned", "neck": "relu"} if layer == 2 else {}
    overrides = {"num_hidden_layers": 3, **STABLE}
    model = lively(HfSpeechForSequenceClassification(tiny_config(overrides=overrides, layer=layer, **settings)))
    model.save_pretrained(tmp_path)
    encoder = load_layers(tmp_path)
    assert encoder.layers == ((1, 2) if layer == 2 else (1, 2, 3))
    assert encoder.first_centre == 0.0125, "of the first frame, before which there may be a class token"
    assert getattr(load_layers(tmp_path, class_token=False).encoder, "class_token", None) is None
    for row, frames in frames_of_rows(encoder, rows):
        states = model(**waveform(encoder, rows[row]), output_hidden_states=True).hidden_states
        for k, found in zip(encoder.layers, frames, strict=True):
            assert len(found) == encoder.frames(rows[row]["length"])
            if k < model.config.depth or layer != "last":  # of the last one, transformers gives what the norm makes
                torch.testing.assert_close(torch.from_numpy(found), states[k][0, -len(found) :], atol=1e-5, rtol=0)


@pytest.mark.parametrize(("reduction", "hop"), [((1, 1), 160), ([4, 2], 320)])
def test_wav2vec_1_has_one_layer(reduction: Sequence[int], hop: int, rows: Dataset, tmp_path: Path) -> None:
    network = {**tiny_backbone_config("wav2vec").network_config, "reduction": reduction}
    model = lively(HfSpeechForSequenceClassification(tiny_config("wav2vec", {"network_config": network})))
    model.save_pretrained(tmp_path)
    encoder = load_layers(tmp_path)
    assert (encoder.layers, encoder.hop) == ((1,), hop)
    with torch.inference_mode():
        for row, (frames,) in frames_of_rows(encoder, rows):
            expected = model.encoder(**waveform(encoder, rows[row])).frames[0]
            torch.testing.assert_close(torch.from_numpy(frames), expected, atol=TOLERANCE, rtol=0)
            assert len(frames) == encoder.frames(rows[row]["length"])


@pytest.mark.parametrize(("rate", "start", "end"), [(16_000, None, None), (44_100, 0.3137, 3.7071), (8_000, 0.5, None)])
def test_a_long_row_in_pieces_has_the_frames_of_the_whole(
    rate: int, start: float | None, end: float | None, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    """And below the transformer the same numbers, as a layer shows that adds nothing to what enters it."""
    sf.write(tmp_path / "long.wav", voice_like(4.1, rate), rate)
    table = {
        "audio": [{"bytes": None, "path": str(tmp_path / "long.wav")}] * 2,
        "start": [start, 0.0],
        "end": [end, 0.7],
    }
    rows, _ = check_rows(Dataset.from_dict(table))
    encoder = load_layers(checkpoint(normalize=False, **STABLE), 1)
    transformer = encoder.encoder.backbone.encoder
    transformer.pos_conv_embed = Nothing()
    for part in (transformer.layers[0].attention.out_proj, transformer.layers[0].feed_forward.output_dense):
        torch.nn.init.zeros_(part.weight)
        torch.nn.init.zeros_(part.bias)
    for seconds in (0.8, 1.0, 1.7):
        whole, cut = (
            dict(frames_of_rows(encoder, rows, max_seconds=s, batch_seconds=2.0)) for s in (math.inf, seconds)
        )
        assert len(cut[0][0]) == len(whole[0][0]) == encoder.frames(rows[0]["length"]) > 2 * encoder.frames(12_800)
        np.testing.assert_allclose(cut[0][0], whole[0][0], atol=TOLERANCE)
        np.testing.assert_allclose(cut[1][0], whole[1][0], atol=TOLERANCE)
        for pooling, size in (("mean", 32), ("mean+std", 64)):
            one, other = (pooled_of_rows(encoder, rows, pooling, max_seconds=s) for s in (30.0, seconds))
            assert one.shape == (2, 1, size)
            np.testing.assert_allclose(one, other, atol=TOLERANCE)


class Nothing(torch.nn.Module):
    """Adds nothing to frames."""

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(frames)


DAMAGED = {
    "[]": "can't be read",
    '"x"': "can't be read",
    '{"feature_extractor_type": 5}': "can't be read",
    '{"feature_extractor_type": "Wav2Vec2Processor"}': "can't be read",
    '{"auto_map": 5}': "can't be read",
    '{"feature_extractor_type": "ViTImageProcessor"}': "which is not for audio",
    '{"feature_extractor_type": "Wav2Vec2FeatureExtractor", "sampling_rate": null}': "says sampling_rate None",
    '{"feature_extractor_type": "Wav2Vec2FeatureExtractor", "do_normalize": "maybe"}': "do_normalize 'maybe'",
}


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_feature_extractor_is_refused_in_a_line(content: str, checkpoint: Checkpoint, tmp_path: Path) -> None:
    folder = shutil.copytree(checkpoint("wav2vec2"), tmp_path / "model")
    (folder / "preprocessor_config.json").write_text(content)
    with pytest.raises(InputError) as refused:
        load_layers(folder, "1")
    said = str(refused.value)
    assert said.startswith(f"{folder}: its preprocessor_config.json ") and DAMAGED[content] in said and "\n" not in said
