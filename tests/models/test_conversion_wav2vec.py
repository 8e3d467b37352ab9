"""fairseq's wav2vec 1.0 checkpoints become our network, which computes what fairseq's source says."""

from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hf_speech.errors import InputError
from hf_speech.models.checkpoints import read_checkpoint
from hf_speech.models.conversion_wav2vec import wav2vec_options, wav2vec_weights
from hf_speech.models.fairseq_settings import fairseq_parts
from hf_speech.models.wav2vec import LARGE, Wav2Vec

from .tiny import waveforms

WIDTH = 16
FEATURES = "[(8, 10, 5), (12, 8, 4)] + [(16, 4, 2)] * 3 + [(16, 1, 1)] * 2"
LAYERS = ((8, 10, 5), (12, 8, 4), (16, 4, 2), (16, 4, 2), (16, 4, 2), (16, 1, 1), (16, 1, 1))
AGGREGATOR = [2, 3, 4, 5]
LARGE_FLAGS = {  # examples/wav2vec/README.md: --skip-connections-agg --residual-scale 0.5 --log-compression
    "skip_connections_agg": True,
    "skip_connections_feat": False,
    "residual_scale": 0.5,
    "log_compression": True,
    "agg_zero_pad": False,
    "no_conv_bias": False,
    "activation": "relu",
    "aggregator": "cnn",
}
VARIANTS: dict[str, dict[str, Any]] = {
    "large": {},
    "zero padding, no bias": {"agg_zero_pad": True, "no_conv_bias": True},
    "plain, gelu": {"skip_connections_agg": False, "log_compression": False, "activation": "gelu"},
    "another scale": {"residual_scale": 0.3},
}


# Facts from fairseq's source, fairseq/models/wav2vec/wav2vec.py, by which names and steps are written here.
# ConvFeatureExtractionModel: conv_layers[i] = Sequential(conv without bias 0, dropout 1, norm 2, activation 3); the
#   norm is a group norm with one group; x.abs(), + 1, log at the end where log_compression is set.
# ConvAggegator: conv_layers[i] = Sequential(padding 0, conv 1, dropout 2, norm 3, activation 4); the padding is
#   ReplicationPad1d((k - 1, 0)), or zeros with agg_zero_pad; (x + residual) * sqrt(residual_scale) with its shortcuts.
# Wav2VecPredictionsModel: project_to_steps, a transposed convolution.
def in_fairseq(flags: dict[str, Any], layers: Sequence[tuple[int, int, int]], kernels: list[int]) -> dict[str, Tensor]:
    """Random weights as fairseq would have saved them."""
    generator = torch.Generator().manual_seed(3)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    state, before = {}, 1
    for i, (channels, kernel, _) in enumerate(layers):
        block = f"feature_extractor.conv_layers.{i}"
        state[f"{block}.0.weight"] = normal(channels, before, kernel) / (before * kernel) ** 0.5
        state[f"{block}.2.weight"], state[f"{block}.2.bias"] = 1 + 0.3 * normal(channels), 0.3 * normal(channels)
        before = channels
    for i, kernel in enumerate(kernels):
        block = f"feature_aggregator.conv_layers.{i}"
        state[f"{block}.1.weight"] = normal(before, before, kernel) / (before * kernel) ** 0.5
        if not flags["no_conv_bias"]:
            state[f"{block}.1.bias"] = 0.3 * normal(before)
        state[f"{block}.3.weight"], state[f"{block}.3.bias"] = 1 + 0.3 * normal(before), 0.3 * normal(before)
    state["wav2vec_predictions.project_to_steps.weight"] = normal(before, before, 1, 12)
    state["wav2vec_predictions.project_to_steps.bias"] = normal(before)
    return state


def by_fairseq(waveform: Tensor, state: dict[str, Tensor], flags: dict[str, Any]) -> Tensor:
    """fairseq's steps on one utterance, (T,) -> (F, C), in float64."""
    state = {name: value.double() for name, value in state.items()}
    activation: Callable[[Tensor], Tensor] = F.gelu if flags["activation"] == "gelu" else F.relu
    x = waveform.double()[None, None]
    for i, (_, _, stride) in enumerate(LAYERS):
        block = f"feature_extractor.conv_layers.{i}"
        x = F.conv1d(x, state[f"{block}.0.weight"], stride=stride)
        x = activation(F.group_norm(x, 1, state[f"{block}.2.weight"], state[f"{block}.2.bias"]))
    if flags["log_compression"]:
        x = (x.abs() + 1).log()
    for i, kernel in enumerate(AGGREGATOR):
        block, residual = f"feature_aggregator.conv_layers.{i}", x
        x = F.pad(x, (kernel - 1, 0)) if flags["agg_zero_pad"] else F.pad(x, (kernel - 1, 0), mode="replicate")
        x = F.conv1d(x, state[f"{block}.1.weight"], state.get(f"{block}.1.bias"))
        x = activation(F.group_norm(x, 1, state[f"{block}.3.weight"], state[f"{block}.3.bias"]))
        if flags["skip_connections_agg"]:
            x = (x + residual) * flags["residual_scale"] ** 0.5
    return x[0].T


@torch.inference_mode()
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_checkpoint_computes_what_fairseq_does(variant: str, tmp_path: Path) -> None:
    flags = LARGE_FLAGS | VARIANTS[variant]
    state = in_fairseq(flags, LAYERS, AGGREGATOR)
    torch.save({"model": state, "args": Namespace(conv_feature_layers=FEATURES, **flags)}, tmp_path / "wav2vec.pt")
    found, settings = fairseq_parts(read_checkpoint(tmp_path / "wav2vec.pt"))
    model = Wav2Vec(**wav2vec_options(settings, found)).eval()
    model.load_state_dict(wav2vec_weights(found))
    for wave in waveforms((4_000, 465, 1_234)):
        expected = by_fairseq(wave, state, flags)
        assert expected.std() > 0.1
        torch.testing.assert_close(model(wave[None])[0][0].double(), expected, atol=1e-5, rtol=0)


def test_without_settings_it_is_the_large_model() -> None:
    with torch.device("meta"):
        model = Wav2Vec()
    kernels = list(range(2, 14))
    shapes = {name: value.to("meta") for name, value in in_fairseq(LARGE_FLAGS, LARGE, kernels).items()}
    options = wav2vec_options(None, shapes)
    assert options["conv_layers"] == [list(layer) for layer in LARGE]
    assert options["context_kernels"] == kernels
    rest = ("context_bias", "context_padding", "skip", "residual_scale", "log_compression", "activation")
    assert [options[name] for name in rest] == [True, "replicate", True, 0.5, True, "relu"]
    model.load_state_dict(wav2vec_weights(shapes))  # every name and shape


def test_other_models_are_refused() -> None:
    state = in_fairseq(LARGE_FLAGS, LAYERS, AGGREGATOR)
    quantized = {**state, "vector_quantizer.vars": torch.ones(2)}
    with pytest.raises(InputError, match=r"1 weights have no place in it, such as vector_quantizer\.vars"):
        wav2vec_weights(quantized)
    encoder = {name: value for name, value in state.items() if "aggregator" not in name}
    with pytest.raises(InputError, match=r"nothing in it becomes context\.0\.norm\.weight"):
        wav2vec_weights(encoder)
    with pytest.raises(InputError, match="has shortcuts"):
        wav2vec_options({"skip_connections_feat": True}, state)
    wider = {**state, "feature_aggregator.conv_layers.3.1.weight": torch.ones(20, WIDTH, 5)}
    with pytest.raises(InputError, match="changes its channels from 16"):
        wav2vec_options({"conv_feature_layers": FEATURES}, wider)
    with pytest.raises(InputError, match="are not the checkpoint's: channels"):
        wav2vec_options({"conv_feature_layers": "[(512, 10, 5)]"}, state)
    with pytest.raises(InputError, match=r"strides of convolutions with kernels \(10, 8, 4\) are not known"):
        wav2vec_options(None, in_fairseq(LARGE_FLAGS, [(16, 10, 5), (16, 8, 4), (16, 4, 2)], AGGREGATOR))
