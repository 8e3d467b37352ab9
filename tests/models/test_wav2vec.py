"""wav2vec 1.0: what it computes, blind to padding."""

from math import isfinite
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hf_speech.errors import InputError
from hf_speech.models.configuration import HfSpeechConfig
from hf_speech.models.modeling import HfSpeechModel
from hf_speech.models.wav2vec import UtteranceNorm, Wav2Vec

from .tiny import lively, waveforms

TINY: dict[str, Any] = {
    "conv_layers": [[8, 10, 5], [12, 8, 4], [16, 4, 2], [16, 4, 2], [16, 4, 2], [16, 1, 1]],
    "context_kernels": [2, 3, 4, 5],
}
VARIANTS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "zero padding": {"context_padding": "zero", "context_bias": False},
    "plain": {"skip": False, "log_compression": False, "residual_scale": 1.0},
    "gelu": {"activation": "gelu", "residual_scale": 0.25},
    "fewer frames": {"reduction": [4, 2]},
}
variants = pytest.mark.parametrize("variant", VARIANTS)


def tiny(variant: str = "defaults") -> Wav2Vec:
    return lively(Wav2Vec(**TINY, **VARIANTS[variant]))


def batch(waves: list[Tensor], size: int, junk: float) -> tuple[Tensor, Tensor]:
    """Waveforms with junk behind their ends (B, size), and their lengths (B,)."""
    noise = torch.randn(len(waves), size, generator=torch.Generator().manual_seed(5))
    values = junk * noise if isfinite(junk) else torch.full_like(noise, junk)
    for row, wave in enumerate(waves):
        values[row, : len(wave)] = wave
    return values, torch.tensor([len(wave) for wave in waves])


def transcribed(waveform: Tensor, model: Wav2Vec, options: dict[str, Any]) -> Tensor:
    """The paper's and the published model's steps on one utterance, in float64: (T,) -> (F, C)."""
    weights = {name: value.double() for name, value in model.state_dict().items()}
    activation = F.gelu if options.get("activation") == "gelu" else F.relu
    x = waveform.double()[None, None]
    for i, (channels, kernel, stride) in enumerate(options["conv_layers"]):
        assert weights[f"encoder.{i}.conv.weight"].shape[0] == channels
        assert weights[f"encoder.{i}.conv.weight"].shape[2] == kernel
        x = F.conv1d(x, weights[f"encoder.{i}.conv.weight"], stride=stride)
        x = activation(F.group_norm(x, 1, weights[f"encoder.{i}.norm.weight"], weights[f"encoder.{i}.norm.bias"], 1e-5))
    if options.get("log_compression", True):
        x = (x.abs() + 1).log()
    for i, kernel in enumerate(options["context_kernels"]):
        residual = x
        edge = x[..., :1] if options.get("context_padding") != "zero" else torch.zeros_like(x[..., :1])
        x = torch.cat([edge.expand(-1, -1, kernel - 1), x], dim=-1)
        x = F.conv1d(x, weights[f"context.{i}.conv.weight"], weights.get(f"context.{i}.conv.bias"))
        x = activation(F.group_norm(x, 1, weights[f"context.{i}.norm.weight"], weights[f"context.{i}.norm.bias"], 1e-5))
        if options.get("skip", True):
            x = (x + residual) * options.get("residual_scale", 0.5) ** 0.5
    if "reduction" in options:
        x = F.conv1d(x, weights["reduction.weight"], weights["reduction.bias"], stride=options["reduction"][1]).relu()
    return x[0].T


@torch.inference_mode()
@variants
def test_it_computes_what_the_paper_and_the_published_model_say(variant: str) -> None:
    model = tiny(variant)
    for wave in waveforms((4_000, model.min_samples, 1_234)):
        expected = transcribed(wave, model, TINY | VARIANTS[variant])
        frames, counts = model(wave[None])
        assert counts is None and frames.shape[1] == model.count(len(wave))
        assert expected.std() > 0.1
        torch.testing.assert_close(frames[0].double(), expected, atol=1e-5, rtol=0)


@torch.inference_mode()
@variants
@pytest.mark.parametrize("junk", [5.0, 1e4, float("inf"), float("nan")])
def test_padding_changes_nothing(variant: str, junk: float) -> None:
    model = tiny(variant)
    waves = waveforms((6_000, model.min_samples, 3_333, 1_000))
    values, lengths = batch(waves, 7_000, junk)
    frames, counts = model(values, lengths)
    assert counts.tolist() == [model.count(len(wave)) for wave in waves]
    worst = 0.0
    for row, wave in enumerate(waves):
        alone = model(wave[None])[0][0]
        worst = max(worst, float((frames[row, : len(alone)] - alone).abs().max()))
    print(f"{variant}, junk {junk}: {worst:.1e}")
    assert worst <= 1e-5


def test_later_sound_changes_earlier_frames_only_through_the_norms() -> None:
    """Without norms the context looks back only: a frame depends on those before it."""
    model = tiny()
    for layer in model.context:
        layer.norm = torch.nn.Identity()
        layer.forward = lambda frames, counts, layer=layer: layer.activation(layer.conv(frames))
    frames = torch.randn(1, 20, 16)
    changed = frames.clone()
    changed[:, 12:] += 1
    first, second = model.contextual(frames), model.contextual(changed)
    assert torch.equal(first[:, :12], second[:, :12])
    assert not torch.equal(first[:, 12], second[:, 12])


@variants
def test_one_frame_has_finite_values_and_gradients(variant: str) -> None:
    model = tiny(variant).train()
    values = torch.randn(2, model.min_samples + 100, requires_grad=True)
    frames, counts = model(values, torch.tensor([model.min_samples, model.min_samples + 100]))
    assert counts.tolist() == [1, 1]
    frames[:, 0].square().sum().backward()
    for gradient in (values.grad, *(parameter.grad for parameter in model.parameters())):
        assert gradient.isfinite().all()
    assert not values.grad[0, model.min_samples :].any() and values.grad[0, : model.min_samples].any()
    silent = model(torch.zeros(1, model.min_samples))[0]
    assert silent.isfinite().all()


def test_gradients_do_not_see_the_padding() -> None:
    model, waves = tiny(), waveforms((2_000, 900))
    values, lengths = batch(waves, 2_500, float("nan"))
    frames, counts = model(values, lengths)
    sum(frames[row, :count].square().sum() for row, count in enumerate(counts.tolist())).backward()
    together = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    for wave in waves:
        model(wave[None])[0].square().sum().backward()
    for parameter, gradient in zip(model.parameters(), together, strict=True):
        torch.testing.assert_close(gradient, parameter.grad, atol=1e-3, rtol=1e-4)


@torch.inference_mode()
@pytest.mark.parametrize("how", ["weights", "autocast"])
def test_bfloat16_is_finite_and_close(how: str) -> None:
    model, waves = tiny(), waveforms((4_000, 2_000))
    values, lengths = batch(waves, 4_000, 5.0)
    expected, counts = model(values, lengths)
    if how == "weights":
        found = model.bfloat16()(values.bfloat16(), lengths)[0]
    else:
        with torch.autocast("cpu", torch.bfloat16):
            found = model(values, lengths)[0]
    for row, count in enumerate(counts.tolist()):
        difference = (found[row, :count].float() - expected[row, :count]).norm() / expected[row, :count].norm()
        print(f"{how}: {difference:.3f}")
        assert difference < 0.05  # bfloat16 has 8 bits: 0.004 an operation


def test_the_norm_by_hand() -> None:
    norm = UtteranceNorm(2)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, 2.0]))
        norm.bias.copy_(torch.tensor([0.0, 10.0]))
    # Real: 1, 3, 5, 7 with mean 4 and variance 5; the others are padding.
    frames = torch.tensor([[[1.0, 3.0, 99.0], [5.0, 7.0, -99.0]]])
    found = norm(frames, torch.tensor([2]))[..., :2]
    root = (5 + 1e-5) ** 0.5
    torch.testing.assert_close(found, torch.tensor([[[-3 / root, -1 / root], [10 + 2 / root, 10 + 6 / root]]]))


def test_the_large_model_has_the_published_sizes() -> None:
    with torch.device("meta"):
        model = Wav2Vec()
    # by hand: 512 * 10 + 512^2 * (8 + 3 * 4 + 2 * 1) of the encoder; 512^2 * (2 + ... + 13) + 12 * 512 biases; 19 norms
    expected = 512 * 10 + 512**2 * 22 + 512**2 * 90 + 12 * 512 + 19 * 2 * 512
    found = sum(parameter.numel() for parameter in model.parameters())
    predictor = 12 * 512**2 + 512  # of pretraining: 12 steps ahead, counted in the published 32.5 million
    print(f"{found:,} parameters, {found + predictor:,} with the predictor")
    assert found == expected and round((found + predictor) / 1e6, 1) == 32.5
    assert (model.output_size, model.hop, model.min_samples) == (512, 160, 465)
    assert model.count(16_000) == 98 and model.count(465) == 1 and model.count(464) == 0
    assert torch.equal(model.count(torch.tensor([16_000, 465])), torch.tensor([98, 1]))
    assert [layer.conv.kernel_size[0] for layer in model.context] == list(range(2, 14))
    seen = model.min_samples + model.hop * sum(layer.conv.kernel_size[0] - 1 for layer in model.context)
    assert (round(model.min_samples / 16), round(seen / 160)) == (29, 81)  # ms, and 10 ms: section 2.1 says 30 and 810


def test_a_model_starts_with_weights_that_keep_the_variance() -> None:
    own = {
        "model_type": "wav2vec",
        "network_config": {"conv_layers": [[64, 10, 5], [64, 8, 4]], "context_kernels": [2, 3]},
    }
    model = HfSpeechModel(HfSpeechConfig(backbone_config=own))
    network = model.encoder.backbone
    assert isinstance(network, Wav2Vec)
    for layer in (*network.encoder, *network.context):
        expected = (2 / layer.conv.weight[0].numel()) ** 0.5
        assert layer.conv.weight.std().item() == pytest.approx(expected, rel=0.2)
        assert layer.conv.bias is None or not layer.conv.bias.any()
        assert (layer.norm.weight == 1).all() and not layer.norm.bias.any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"conv_layers": []}, r"conv_layers of wav2vec are \[\]; give \[channels, kernel, stride\] a layer"),
        ({"conv_layers": [[8, 10]]}, r"conv_layers of wav2vec are \[\[8, 10\]\]"),
        ({"conv_layers": [[8, 10, 0]]}, "conv_layers of wav2vec are"),
        ({"context_kernels": [2, 0]}, r"context_kernels of wav2vec are \[2, 0\]; give the taps of each"),
        ({"residual_scale": 0}, "residual_scale of wav2vec is 0; give a number above 0"),
        ({"reduction": [4]}, r"reduction of wav2vec is \[4\]; give \[kernel, stride\], such as \[4, 2\]"),
        ({"activation": "tanh"}, "unknown activation of wav2vec 'tanh'; valid: gelu, relu"),
        ({"context_padding": "reflect"}, "unknown context_padding of wav2vec 'reflect'.*valid: replicate, zero"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Wav2Vec(**(TINY | options))
