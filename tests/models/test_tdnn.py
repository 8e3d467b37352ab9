"""Time-delay networks: their arithmetic, and that no frame hears of the padding."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hf_speech.errors import InputError
from hf_speech.models.ecapa import EcapaTDNN, Res2Layer, SqueezeExcitation
from hf_speech.models.initialisation import reset_as_torch
from hf_speech.models.masking import length_mask
from hf_speech.models.tdnn import ACTIVATIONS, TDNNLayer, XVectorTDNN

from .tiny import lively

BANDS = 7
COUNTS = (23, 12, 5, 2, 1)  # the last three are shorter than the widest convolution reaches
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "x-vector": lambda: XVectorTDNN(BANDS, channels=[8, 8, 8, 8, 12]),
    "x-vector relu": lambda: XVectorTDNN(
        BANDS, channels=[8, 6], kernel_sizes=[1, 3], dilations=[1, 2], activation="relu"
    ),
    "ecapa": lambda: EcapaTDNN(BANDS, channels=[8, 8, 8, 8, 12], scale=4, se_channels=6),
    "ecapa uneven": lambda: EcapaTDNN(
        BANDS, channels=[8, 12, 6, 10], kernel_sizes=[5, 3, 5, 3], dilations=[1, 2, 3, 2], scale=2
    ),
    "ecapa last block": lambda: EcapaTDNN(
        BANDS, channels=[8, 8, 12, 16], kernel_sizes=[1, 3, 3, 1], dilations=[1, 2, 4, 1], scale=4, aggregate=False
    ),
}


def made(name: str) -> nn.Module:
    torch.manual_seed(3)
    return lively(NETWORKS[name]())


def batch(size: int, junk: float) -> tuple[Tensor, Tensor]:
    """Features (5, size, BANDS) with junk behind COUNTS, and the counts."""
    generator, counts = torch.Generator().manual_seed(0), torch.tensor(COUNTS)
    features = torch.full((len(COUNTS), size, BANDS), junk)
    for row, count in enumerate(COUNTS):
        features[row, :count] = torch.randn(count, BANDS, generator=generator)
    return features, counts


def convolved(values: Tensor, layer: TDNNLayer, dilation: int) -> Tensor:
    """The layer's convolution, tap by tap with reflected places: (C, T) -> (C', T)."""
    size, taps = values.shape[1], layer.conv.weight.shape[2]
    columns = []
    for t in range(size):
        total = layer.conv.bias.double()
        for tap in range(taps):
            place = t + (tap - taps // 2) * dilation
            while not 0 <= place < size:  # back and forth between the ends
                place = -place if place < 0 else 2 * (size - 1) - place
                place = 0 if size == 1 else place
            total = total + layer.conv.weight[:, :, tap].double() @ values[:, place].double()
        columns.append(total)
    return torch.stack(columns, dim=1)


@torch.no_grad()
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_layer_is_convolution_activation_norm(activation: str) -> None:
    layer, counts = lively(TDNNLayer(BANDS, 4, 5, 3, activation)), torch.tensor(COUNTS)
    features, _ = batch(30, 9.0)
    found = layer(features.transpose(1, 2), counts)
    slope = 0.01 if activation == "leaky-relu" else 0.0
    for row, count in enumerate(COUNTS):
        values = convolved(features[row, :count].T, layer, 3)
        values = torch.where(values > 0, values, slope * values)
        norm = layer.norm
        values = (values - norm.running_mean[:, None]) / (norm.running_var + norm.eps).sqrt()[:, None]
        values = values * norm.weight[:, None] + norm.bias[:, None]
        torch.testing.assert_close(found[row, :, :count].double(), values, atol=1e-5, rtol=0)


@torch.no_grad()
def test_each_scale_sees_the_one_before() -> None:
    layer = lively(Res2Layer(6, 3, 3, 1))
    values = torch.randn(2, 6, 9)
    second = layer.layers[0](values[:, 2:4])
    third = layer.layers[1](values[:, 4:] + second)
    torch.testing.assert_close(layer(values), torch.cat([values[:, :2], second, third], dim=1), atol=0, rtol=0)


@torch.no_grad()
def test_squeeze_excitation_by_hand() -> None:
    squeeze = SqueezeExcitation(2, 1)
    squeeze.load_state_dict(
        {
            "squeeze.weight": torch.tensor([[1.0, -1.0]]),
            "squeeze.bias": torch.tensor([0.5]),
            "excite.weight": torch.tensor([[1.0], [-2.0]]),
            "excite.bias": torch.zeros(2),
        }
    )
    # Means over the two real frames 3 and 2: 3 - 2 + 0.5 = 1.5; then the sigmoids of 1.5 and -3.
    values = torch.tensor([[[1.0, 5.0, 100.0], [2.0, 2.0, -50.0]]])
    expected = torch.tensor([[[0.8175745], [0.0474259]]])
    torch.testing.assert_close(squeeze(values, torch.tensor([2])), expected)
    torch.testing.assert_close(squeeze(values[..., :2]), expected)


@torch.no_grad()
def test_squeeze_excitation_counts_exactly_in_bfloat16() -> None:
    # 1,501 is no bfloat16: rounded to 1,504, the means were off by 0.2%, and so the factors in the second batch.
    torch.manual_seed(0)
    squeeze, values = SqueezeExcitation(4, 3).bfloat16(), (3 + torch.randn(1, 4, 1_501)).bfloat16()
    padded = torch.cat([values, torch.full((1, 4, 20), 9.0).bfloat16()], dim=2)
    means = []
    squeeze.squeeze.register_forward_pre_hook(lambda _, given: means.append(given[0]))
    together, alone = squeeze(padded, torch.tensor([1_501])), squeeze(values)
    expected = values.double().mean(2).bfloat16()
    assert torch.equal(means[0], expected) and torch.equal(means[1], expected)
    assert torch.equal(together, alone) and together.dtype == torch.bfloat16


@torch.no_grad()
@pytest.mark.parametrize("junk", [5.0, float("inf"), float("nan")])
@pytest.mark.parametrize("name", NETWORKS)
def test_an_utterance_is_the_same_in_any_batch(name: str, junk: float) -> None:
    network = made(name)
    features, counts = batch(31, junk)
    together = network(features, counts)
    assert together.shape == (len(COUNTS), 31, network.output_size) and network.count(31) == 31
    worst = 0.0
    for row, count in enumerate(COUNTS):
        alone = network(features[row : row + 1, :count])[0]
        assert count == 1 or alone.std() > 0.1
        torch.testing.assert_close(together[row, :count], alone, atol=1e-5, rtol=0)
        worst = max(worst, (together[row, :count] - alone).abs().max().item())
    print(f"{name}: {worst:.1e}")


def trained(network: nn.Module, features: Tensor, counts: Tensor | None) -> tuple[Tensor, dict[str, Tensor]]:
    """Real frames of one step in training; gradients and running statistics after it."""
    frames = network.train()(features, counts)
    mask = torch.ones(frames.shape[:2], dtype=torch.bool) if counts is None else length_mask(counts, frames.shape[1])
    real = frames[mask]
    (real * torch.linspace(-1, 1, real.numel()).view_as(real)).sum().backward()
    gradients = {name: weight.grad for name, weight in network.named_parameters()}
    return real.detach(), {**gradients, **dict(network.named_buffers())}


@pytest.mark.parametrize("name", NETWORKS)
def test_training_does_not_see_the_padding(name: str) -> None:
    narrow, expected = trained(made(name), *batch(23, 0.0))
    wide, found = trained(made(name), *batch(40, float("nan")))
    torch.testing.assert_close(wide, narrow, atol=1e-5, rtol=1e-5)
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, atol=1e-4, rtol=1e-4, msg=lambda text, key=key: f"{key}: {text}")


@pytest.mark.parametrize("name", NETWORKS)
def test_the_way_without_padding_is_the_same(name: str) -> None:
    features = torch.randn(3, 14, BANDS, generator=torch.Generator().manual_seed(5))
    plain, expected = trained(made(name), features, None)
    masked, found = trained(made(name), features, torch.tensor([14, 14, 14]))
    torch.testing.assert_close(masked, plain, atol=1e-5, rtol=1e-5)
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, atol=1e-4, rtol=1e-4, msg=lambda text, key=key: f"{key}: {text}")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_single_frame_is_finite(name: str, training: bool, dtype: torch.dtype) -> None:
    network = made(name).train(training).to(dtype)
    features = torch.randn(1, 1, BANDS).to(dtype).requires_grad_()
    for counts in (None, torch.tensor([1])):
        frames = network(features, counts)
        frames.square().sum().backward()
        assert frames.dtype == dtype and frames.shape == (1, 1, network.output_size) and frames.isfinite().all()
    assert features.grad.isfinite().all()
    assert all(value.isfinite().all() for value in network.state_dict().values())
    assert all(weight.grad.isfinite().all() for weight in network.parameters() if weight.grad is not None)


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
def test_half_precision_is_near(name: str, padded: bool) -> None:
    network = made(name).train()
    features, counts = batch(23, 0.0)
    given = counts if padded else None
    expected = network(features, given).detach()
    with torch.autocast("cpu", torch.bfloat16):
        found = network(features, given)
    found.float().square().mean().backward()
    mask = length_mask(counts, 23)
    assert (found.float() - expected)[mask].abs().mean() < 0.05 * expected[mask].abs().mean()
    assert all(weight.grad.isfinite().all() for weight in network.parameters())


@torch.no_grad()
def test_without_aggregation_the_last_block_comes_out() -> None:
    network, features = made("ecapa last block"), torch.randn(2, 9, BANDS)
    values = network.first(features.transpose(1, 2))
    for block in network.blocks:
        values = block(values)
    torch.testing.assert_close(network(features), values.transpose(1, 2), atol=0, rtol=0)
    assert network.aggregation is None and network.output_size == 12


def test_weights_are_drawn_as_torch_draws_them_and_loaded_ones_stay() -> None:
    network = EcapaTDNN(BANDS, channels=[64, 64, 32, 64, 96])
    for layer in network.modules():
        if isinstance(layer, nn.Conv1d | nn.Linear):
            bound = layer.weight[0].numel() ** -0.5
            assert 0.9 * bound < layer.weight.abs().max() <= bound and 0 < layer.bias.abs().max() <= bound
    layer = nn.Linear(3, 3)
    layer.weight._is_hf_initialized = True  # transformers' mark on what it loaded
    kept, replaced = layer.weight.clone(), layer.bias.clone()
    reset_as_torch(layer)
    assert torch.equal(layer.weight, kept) and not torch.equal(layer.bias, replaced)


@pytest.mark.parametrize(
    ("network", "options", "message"),
    [
        (XVectorTDNN, {"channels": [4, 4]}, "x-vector: kernel_sizes has 5 values for 2 layers; give one a layer"),
        (XVectorTDNN, {"channels": []}, "x-vector: channels has 0 values for 0 layers; give one a layer"),
        (XVectorTDNN, {"dilations": [1, 2, 0, 1, 1]}, "x-vector: dilations has 0; give whole numbers of 1 or more"),
        (XVectorTDNN, {"kernel_sizes": [5, 3, 2, 1, 1]}, "x-vector: kernel_sizes has 2; give odd numbers"),
        (XVectorTDNN, {"activation": "gelu"}, "unknown activation of x-vector 'gelu'.*valid: leaky-relu, relu"),
        (EcapaTDNN, {"scale": 7}, "ecapa-tdnn: scale 7 does not divide 512 channels"),
        (EcapaTDNN, {"scale": 0}, "ecapa-tdnn: scale has 0; give whole numbers"),
        (EcapaTDNN, {"se_channels": 0}, "ecapa-tdnn: se_channels has 0; give whole numbers"),
        (
            EcapaTDNN,
            {"channels": [8, 8], "kernel_sizes": [1, 1], "dilations": [1, 1]},
            "ecapa-tdnn: channels has 2 values",
        ),
    ],
)
def test_options_that_cannot_be_are_refused(network: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        network(BANDS, **options)
