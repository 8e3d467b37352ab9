"""Convolutions as products of matrices: the numbers of the layers run one after the other, and nothing where they don't
suit."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from hf_speech.models import padding
from hf_speech.models.conv_products import conv_features, convolve, packs, suits
from hf_speech.models.frames import conv_frames
from hf_speech.models.modeling import HfSpeechModel
from hf_speech.models.padding import MaskedGroupNorm

from .tiny import LENGTHS, RAW_BACKBONES, SIZE, STABLE, TOLERANCE, lively, padded, tiny_config, waveforms

KINDS: dict[str, dict[str, Any]] = {
    "group": {},
    "layer": STABLE,
    "biased": STABLE | {"conv_bias": True},
    "biased-group": {"conv_bias": True},
    "relu": {"feat_extract_activation": "relu"},
    "uneven": {"conv_dim": (6, 10, 8), "conv_kernel": (10, 7, 4), "conv_stride": (4, 3, 2)},
    "overlapping-last": {"conv_dim": (8, 8), "conv_kernel": (5, 9), "conv_stride": (5, 2)},
}


def encoder_of(kind: str = "group", backbone: str = "wav2vec2") -> Any:
    overrides = dict(KINDS[kind])
    if "conv_dim" in overrides:
        overrides["num_feat_extract_layers"] = len(overrides["conv_dim"])
    return lively(HfSpeechModel(tiny_config(backbone, overrides))).encoder.backbone.feature_extractor


def by_layers(encoder: Any, values: Tensor, lengths: Tensor, monkeypatch: pytest.MonkeyPatch) -> Tensor:
    with monkeypatch.context() as patch:
        patch.setattr(padding, "suits", lambda *_: False)
        return encoder(values, lengths)


def real_frames(encoder: Any, features: Tensor, lengths: Tensor) -> list[Tensor]:
    convs = [layer.conv for layer in encoder.conv_layers]
    counts = conv_frames(lengths, [conv.kernel_size[0] for conv in convs], [conv.stride[0] for conv in convs])
    return [row[:, :count] for row, count in zip(features, counts.tolist(), strict=True)]


@pytest.mark.parametrize("pack_frames", [3, 7, 20, 1_000])
@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_products_give_what_the_layers_give(kind: str, pack_frames: int, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, batch, lengths = encoder_of(kind), padded(waveforms(LENGTHS), SIZE), torch.tensor(LENGTHS)
    values = batch["input_values"]
    assert suits(encoder.conv_layers, values, MaskedGroupNorm)
    wanted = by_layers(encoder, values, lengths, monkeypatch)
    found = conv_features(encoder.conv_layers, values, lengths, pack_frames)
    assert found.shape == wanted.shape
    pairs = zip(real_frames(encoder, found, lengths), real_frames(encoder, wanted, lengths), strict=True)
    for ours, other in pairs:
        torch.testing.assert_close(ours, other, atol=TOLERANCE, rtol=TOLERANCE)


@pytest.mark.parametrize("backbone", RAW_BACKBONES)
@torch.no_grad()
def test_every_encoder_takes_that_way_and_gives_what_its_layers_give(
    backbone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, values, lengths = encoder_of(backbone=backbone), waveforms((5_000,))[0][None], torch.tensor([5_000])
    assert suits(encoder.conv_layers, values, MaskedGroupNorm)
    wanted = by_layers(encoder, values, lengths, monkeypatch)
    torch.testing.assert_close(encoder(values, lengths), wanted, atol=TOLERANCE, rtol=TOLERANCE)


@torch.no_grad()
def test_nothing_in_the_padding_reaches_any_frame_of_the_result() -> None:
    encoder, lengths = encoder_of(), torch.tensor(LENGTHS)
    values = padded(waveforms(LENGTHS), SIZE)["input_values"]
    clean = conv_features(encoder.conv_layers, values, lengths, 20)
    for row, length in enumerate(LENGTHS):
        values[row, length:] = torch.nan
    assert torch.equal(conv_features(encoder.conv_layers, values, lengths, 20), clean)
    for row, frames in zip(clean, real_frames(encoder, clean, lengths), strict=True):
        assert (row[:, frames.shape[1] :] == 0).all() and frames.any()


@torch.no_grad()
def test_an_utterance_of_no_numbers_leaves_its_neighbours_as_they_are() -> None:
    encoder, lengths = encoder_of(), torch.tensor([2_000, 3_000, 2_500])
    values = padded(waveforms(lengths.tolist()), 3_100)["input_values"]
    clean = conv_features(encoder.conv_layers, values, lengths)
    values[1] = torch.nan
    found = conv_features(encoder.conv_layers, values, lengths)
    assert torch.equal(found[[0, 2]], clean[[0, 2]]) and found[1, :, :5].isnan().all()


@torch.no_grad()
def test_a_steady_offset_and_silence_are_normed_as_by_the_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, lengths = encoder_of(), torch.tensor([4_000, 4_000])
    values = torch.stack([waveforms((4_000,))[0] + 3.0, torch.full((4_000,), 0.0)])
    wanted = by_layers(encoder, values, lengths, monkeypatch)
    torch.testing.assert_close(encoder(values, lengths), wanted, atol=10 * TOLERANCE, rtol=TOLERANCE)


@pytest.mark.parametrize("kind", ["group", "layer", "biased"])
@pytest.mark.parametrize("autocast", [True, False])
@torch.no_grad()
def test_in_16_bits_it_is_no_farther_from_float32_than_the_layers_are(
    autocast: bool, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, lengths = encoder_of(kind), torch.tensor(LENGTHS)
    values = padded(waveforms(LENGTHS), SIZE)["input_values"]
    exact = conv_features(encoder.conv_layers, values, lengths)
    if not autocast:
        encoder = encoder.bfloat16()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        found = encoder(values, lengths)
        other = by_layers(encoder, values if autocast else values.bfloat16(), lengths, monkeypatch)
    assert found.dtype == other.dtype == torch.bfloat16
    apart = [
        max(float((row - one).abs().max()) for row, one in zip(*both, strict=True))
        for both in (
            (real_frames(encoder, features.float(), lengths), real_frames(encoder, exact, lengths))
            for features in (found, other)
        )
    ]
    assert 0 < apart[0] <= apart[1] * 1.1


def test_a_part_that_is_trained_or_listened_to_or_replaced_is_left_to_torch() -> None:
    encoder, values = encoder_of(), torch.randn(1, 4_000)
    assert not suits(encoder.conv_layers, values, MaskedGroupNorm)  # all is trained
    encoder.requires_grad_(False)
    assert suits(encoder.conv_layers, values, MaskedGroupNorm)
    assert not suits(encoder.conv_layers, values.requires_grad_(), MaskedGroupNorm)
    with torch.no_grad():
        assert suits(encoder.conv_layers, values, MaskedGroupNorm)
        handle = encoder.conv_layers[1].conv.register_forward_hook(lambda *_: None)
        assert not suits(encoder.conv_layers, values, MaskedGroupNorm)
        handle.remove()
        encoder.conv_layers[1].conv.forward = lambda values: values
        assert not suits(encoder.conv_layers, values, MaskedGroupNorm)
        del encoder.conv_layers[1].conv.forward
        listener = register_module_forward_hook(lambda *_: None)
        assert not suits(encoder.conv_layers, values, MaskedGroupNorm)
        listener.remove()
        norm, encoder.conv_layers[0].layer_norm = encoder.conv_layers[0].layer_norm, nn.InstanceNorm1d(8)
        assert not suits(encoder.conv_layers, values, MaskedGroupNorm)
        encoder.conv_layers[0].layer_norm = norm
        assert suits(encoder.conv_layers, values, MaskedGroupNorm)
        assert not suits(encoder.conv_layers, values.to("meta"), MaskedGroupNorm)
        encoder.conv_layers[1].conv = nn.Conv1d(8, 8, 3, stride=2, padding=1)
        assert not suits(encoder.conv_layers, values, MaskedGroupNorm)


def test_features_of_a_frozen_stack_carry_gradients_to_what_stands_behind() -> None:
    model = lively(HfSpeechModel(tiny_config())).train()
    model.encoder.backbone.feature_extractor.requires_grad_(False)
    model(torch.randn(2, 4_000)).embeddings.sum().backward()
    trained = [name for name, parameter in model.named_parameters() if parameter.grad is not None]
    assert trained and not any("feature_extractor" in name for name in trained)


@pytest.mark.parametrize(("kernel", "dilation", "bias"), [(1, 1, True), (3, 1, False), (3, 4, True), (5, 2, True)])
def test_one_convolution_and_its_gradients_are_torch_s(kernel: int, dilation: int, bias: bool) -> None:
    conv = nn.Conv1d(6, 4, kernel, dilation=dilation, bias=bias)
    found, wanted = (torch.randn(2, 6, 20, generator=torch.Generator().manual_seed(0)) for _ in range(2))
    slopes = torch.randn(2, 4, 20 - dilation * (kernel - 1))
    gradients = []
    for values, way in ((found, lambda values: convolve(conv, values)), (wanted, conv)):
        conv.zero_grad()
        out = way(values.requires_grad_())
        (out * slopes).sum().backward()
        gradients.append([out, values.grad, *[p.grad.clone() for p in conv.parameters()]])
    for ours, other in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, other, atol=TOLERANCE, rtol=TOLERANCE)
    assert gradients[0][0].transpose(1, 2).is_contiguous()


def test_one_convolution_that_is_padded_strided_or_listened_to_is_torch_s_own() -> None:
    values, heard = torch.randn(1, 2, 9), []
    for options in ({"stride": 2}, {"padding": 1}, {"groups": 2}):
        conv = nn.Conv1d(2, 2, 3, **options)
        assert torch.equal(convolve(conv, values), conv(values))
    conv = nn.Conv1d(2, 2, 3)
    conv.register_forward_hook(lambda *_: heard.append(True))
    convolve(conv, values)
    assert heard


@pytest.mark.parametrize("seed", range(20))
def test_packs_hold_each_frame_once_and_no_more_than_they_may(seed: int) -> None:
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 50, rng.integers(0, 8)).tolist()
    spare, most = int(rng.integers(0, 4)), int(rng.integers(4, 30))
    seen = [[0] * count for count in counts]
    for pack in packs(counts, spare, most):
        assert 0 < sum(piece.frames + spare for piece in pack) <= most
        for piece in pack:
            for frame in range(piece.first, piece.first + piece.frames):
                seen[piece.row][frame] += 1
    assert all(times == 1 for row in seen for times in row)
