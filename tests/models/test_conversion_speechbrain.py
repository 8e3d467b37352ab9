"""SpeechBrain's ECAPA-TDNN and x-vector become our parts, with their numbers for an utterance alone."""

from typing import Any

import pytest
import torch
from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN
from speechbrain.lobes.models.Xvector import Xvector
from torch import Tensor, nn

from hf_speech.errors import InputError
from hf_speech.models.attention_pooling import AttentivePooling
from hf_speech.models.conversion_speechbrain import ecapa_parts, xvector_parts
from hf_speech.models.ecapa import EcapaTDNN
from hf_speech.models.pooling import MeanStdPooling
from hf_speech.models.projections import PROJECTIONS
from hf_speech.models.tdnn import XVectorTDNN

from .tiny import lively

BANDS = 20
ECAPAS: dict[str, dict[str, Any]] = {
    "default": {},
    "small": {"channels": [64, 64, 64, 64, 96], "lin_neurons": 24, "res2net_scale": 4, "se_channels": 16},
    "five layers deep": {
        "channels": [32] * 6,
        "kernel_sizes": [3, 3, 5, 3, 3, 1],
        "dilations": [1, 2, 3, 4, 5, 1],
        "attention_channels": 12,
    },
    "uneven": {"channels": [16, 32, 32, 32, 40], "global_context": False},
}


def outputs(model: nn.Module, parts: dict[str, nn.Module], features: Tensor) -> dict[str, Tensor]:
    """What the named modules of a model give for these features."""
    found: dict[str, Tensor] = {}
    hooks = [
        module.register_forward_hook(lambda _, __, output, name=name: found.update({name: output}))
        for name, module in parts.items()
    ]
    found["embedding"] = model(features)
    for hook in hooks:
        hook.remove()
    return found


@torch.inference_mode()
@pytest.mark.parametrize("case", ECAPAS)
def test_ecapa_gives_speechbrain_s_numbers(case: str) -> None:
    stock = lively(ECAPA_TDNN(BANDS, **ECAPAS[case]))
    parts = ecapa_parts(stock.state_dict())
    assert parts.input_size == BANDS
    network = EcapaTDNN(BANDS, **parts.options["network"]).eval()
    network.load_state_dict(parts.states["network"])
    pooling = AttentivePooling(network.output_size, **parts.options["pooling"]).eval()
    pooling.load_state_dict(parts.states["pooling"])
    projection = PROJECTIONS["batchnorm+linear"](pooling.output_size, **parts.options["projection"]).eval()
    projection.load_state_dict(parts.states["projection"])
    for size in (150, 9):  # SpeechBrain needs more frames than a convolution reaches
        features = torch.randn(1, size, BANDS)
        expected = outputs(stock, {"frames": stock.mfa, "pooled": stock.asp}, features)
        found = network(features).transpose(1, 2)
        assert expected["frames"].std() > 0.3
        print(f"{case}, {size} frames: {(found - expected['frames']).abs().max():.1e}")
        torch.testing.assert_close(found, expected["frames"], atol=1e-4, rtol=0)
        pooled = pooling(found.transpose(1, 2), torch.ones(1, size, dtype=torch.bool))
        torch.testing.assert_close(pooled, expected["pooled"][..., 0], atol=1e-4, rtol=0)
        torch.testing.assert_close(projection(pooled), expected["embedding"][:, 0], atol=1e-4, rtol=0)


@torch.inference_mode()
@pytest.mark.parametrize("options", [{}, {"tdnn_channels": [32, 32, 32, 32, 50], "lin_neurons": 24}])
def test_the_xvector_gives_speechbrain_s_numbers(options: dict[str, Any]) -> None:
    stock = lively(Xvector(in_channels=BANDS, **options))
    parts = xvector_parts(stock.state_dict())
    network = XVectorTDNN(parts.input_size, **parts.options["network"]).eval()
    network.load_state_dict(parts.states["network"])
    pooling = MeanStdPooling(network.output_size, **parts.options["pooling"])
    projection = PROJECTIONS["linear"](pooling.output_size, **parts.options["projection"])
    projection.load_state_dict(parts.states["projection"])
    features = torch.randn(1, 150, BANDS)
    expected = outputs(stock, {"frames": stock.blocks[-3], "pooled": stock.blocks[-2]}, features)
    found = network(features)
    assert expected["frames"].std() > 0.3
    print(f"x-vector: {(found - expected['frames']).abs().max():.1e}")
    torch.testing.assert_close(found, expected["frames"], atol=1e-4, rtol=0)
    assert parts.states["pooling"] == {}
    pooled = pooling(found, torch.ones(1, 150, dtype=torch.bool))
    # What theirs adds to it: noise of 1e-5 to 9e-5, and 1e-5.
    added = expected["pooled"][0] - pooled
    assert added[:, : network.output_size].min() > 0 and added[:, : network.output_size].max() < 1e-4
    torch.testing.assert_close(
        added[:, network.output_size :], torch.full((1, network.output_size), 1e-5), atol=2e-6, rtol=0
    )
    # The mean of many calls comes as near to ours as its own standard error, 1e-5 / sqrt(400), and rounding.
    several = stock.blocks[-1](stock.blocks[-2](expected["frames"].expand(400, -1, -1))).mean(0)
    print(f"x-vector: one call {(projection(pooled) - expected['embedding'][0]).abs().max():.1e}, ", end="")
    print(f"the mean of 400 {(projection(pooled) - several).abs().max():.1e}")
    torch.testing.assert_close(projection(pooled), expected["embedding"][0], atol=1e-4, rtol=0)
    torch.testing.assert_close(projection(pooled), several, atol=5e-6, rtol=0)


@pytest.mark.parametrize("case", ECAPAS)
def test_the_options_are_read_off_the_shapes(case: str) -> None:
    given = ECAPAS[case]
    options = ecapa_parts(ECAPA_TDNN(BANDS, **given).state_dict()).options
    assert options == {
        "network": {
            "channels": given.get("channels", [512, 512, 512, 512, 1536]),
            "kernel_sizes": given.get("kernel_sizes", [5, 3, 3, 3, 1]),
            "dilations": given.get("dilations", [1, 2, 3, 4, 1]),
            "scale": given.get("res2net_scale", 8),
            "se_channels": given.get("se_channels", 128),
        },
        "pooling": {
            "bottleneck": given.get("attention_channels", 128),
            "global_context": given.get("global_context", True),
        },
        "projection": {"size": given.get("lin_neurons", 192)},
    }


def test_the_order_of_the_names_does_not_matter() -> None:
    xvector, ecapa = Xvector(in_channels=BANDS).state_dict(), ECAPA_TDNN(BANDS).state_dict()
    # safetensors writes names in alphabetical order: blocks.12 before blocks.3
    assert xvector_parts(dict(sorted(xvector.items()))).options == xvector_parts(xvector).options
    assert ecapa_parts(dict(sorted(ecapa.items()))).options == ecapa_parts(ecapa).options
    assert xvector_parts(xvector).options["network"] == {
        "channels": [512, 512, 512, 512, 1500],
        "kernel_sizes": [5, 3, 3, 1, 1],
        "dilations": [1, 2, 3, 1, 1],
        "activation": "leaky-relu",
    }


def test_a_prefix_and_what_stands_beside_do_not_matter() -> None:
    state = ECAPA_TDNN(BANDS, channels=[16] * 4 + [24]).state_dict()
    wrapped = {f"module.embedding_model.{name}": value for name, value in state.items()}
    wrapped |= {"module.mean_var_norm.glob_mean": torch.zeros(1), "module.classifier.weight": torch.zeros(2, 2)}
    plain, found = ecapa_parts(state), ecapa_parts(wrapped)
    assert found.options == plain.options and len(state) == sum(map(len, plain.states.values()))
    for part, weights in plain.states.items():
        assert weights.keys() == found.states[part].keys()
        assert all(torch.equal(weights[name], found.states[part][name]) for name in weights)


@pytest.mark.parametrize(
    ("channels", "total"),
    [([512] * 4 + [1536], 6_194_048), ([1024] * 4 + [1536], 14_660_416), ([1024] * 4 + [3072], 20_767_552)],
)
def test_parameters_are_as_many_as_speechbrain_s(channels: list[int], total: int) -> None:
    def count(*modules: nn.Module) -> int:
        return sum(weight.numel() for module in modules for weight in module.parameters())

    with torch.device("meta"):
        stock = ECAPA_TDNN(80, channels=channels)
        network = EcapaTDNN(80, channels=channels)
        pooling = AttentivePooling(channels[-1])
        projection = PROJECTIONS["batchnorm+linear"](2 * channels[-1], size=192)
    print(f"ECAPA-TDNN {channels}: {count(stock):,}, of which network {count(network):,}, pooling {count(pooling):,}")
    assert count(network) == count(stock.blocks, stock.mfa)
    assert count(pooling) == count(stock.asp) and count(projection) == count(stock.asp_bn, stock.fc)
    assert count(network, pooling, projection) == total
    assert count(projection) == count(stock.asp_bn, stock.fc)


def test_what_is_no_such_state_dict_is_refused() -> None:
    xvector, ecapa = Xvector(in_channels=BANDS).state_dict(), ECAPA_TDNN(BANDS).state_dict()
    with pytest.raises(InputError, match="no state dict of SpeechBrain's ECAPA_TDNN"):
        ecapa_parts(xvector)
    with pytest.raises(InputError, match="no state dict of SpeechBrain's Xvector"):
        xvector_parts(ecapa)
    with pytest.raises(InputError, match="'projection.linear.weight'"):
        ecapa_parts({name: value for name, value in ecapa.items() if not name.startswith("fc")})
    grouped = ECAPA_TDNN(BANDS, channels=[16] * 4 + [24], groups=[1, 2, 2, 2, 1]).state_dict()
    with pytest.raises(InputError, match="grouped convolutions"):
        ecapa_parts(grouped)
