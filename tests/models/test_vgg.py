"""The networks on spectrograms: their sizes by hand, against torch's own modules, and blind to padding."""

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hf_speech.models.registry import InputError
from hf_speech.models.vgg import VGG, ResidualVGG, SpectralNetwork

TOLERANCE = 1e-5
BANDS = 20
COUNTS = (37, 33, 17, 16, 2, 1)  # odd at one halving or another, and even at all
SIZE = 40
KINDS = {
    "VGG4L": lambda: VGG(BANDS, size=32),
    "VGG3L": lambda: VGG(BANDS, blocks=3, size=32),
    "residual": lambda: ResidualVGG(BANDS, size=32),
}


def conv(before: int, after: int, kernel: int = 3, bias: bool = True) -> int:
    """Parameters of a square convolution."""
    return before * after * kernel**2 + after * bias


@torch.no_grad()
def lively(network: SpectralNetwork) -> SpectralNetwork:
    torch.manual_seed(0)
    network.reset_parameters()
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.bias is not None:
            module.bias.normal_(0, 0.3)
        if isinstance(module, nn.BatchNorm2d):
            module.weight.uniform_(0.5, 1.5)
            module.bias.normal_(0, 0.3)
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return network.eval()


def spectrograms(counts: tuple[int, ...] = COUNTS, bands: int = BANDS) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [(0.5 + i / 4) * torch.randn(count, bands, generator=generator) for i, count in enumerate(counts)]


def padded(rows: list[Tensor], size: int = SIZE, junk: float = 20.0) -> tuple[Tensor, Tensor]:
    batch = junk * torch.randn(len(rows), size, rows[0].shape[1], generator=torch.Generator().manual_seed(9))
    for values, row in zip(batch, rows, strict=True):
        values[: len(row)] = row
    return batch, torch.tensor([len(row) for row in rows])


def paired(together: Tensor, network: SpectralNetwork, rows: list[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """Each utterance's frames out of the batch, and alone."""
    for found, row in zip(together, rows, strict=True):
        alone = network(row[None])[0]
        assert len(alone) == network.count(len(row))
        yield found[: len(alone)], alone


def test_vgg4l_has_the_published_sizes() -> None:
    with torch.device("meta"):
        network = VGG(80)
    # Two convolutions a block: 1 to 128, 128; 256, 256; 512, 512; 1024, 1024.
    expected = 1_280 + 147_584 + 295_168 + 590_080 + 1_180_160 + 2_359_808 + 4_719_616 + 9_438_208
    found = sum(p.numel() for p in network.parameters())
    print(f"VGG4L, K = 1024: {found:,} parameters")
    assert found == expected == 18_731_904
    assert network.output_size == 5_120 and network.stride == 16 and network.count(350) == 22


def test_vgg3l_has_the_published_sizes() -> None:
    with torch.device("meta"):
        network = VGG(80, blocks=3, size=1024)
    channels = ((1, 256), (256, 256), (256, 512), (512, 512), (512, 1024), (1024, 1024))
    assert sum(p.numel() for p in network.parameters()) == sum(conv(*pair) for pair in channels)
    assert network.output_size == 10 * 1024 and network.stride == 8 and network.count(350) == 44


def test_the_residual_network_has_the_sizes_of_the_original() -> None:
    with torch.device("meta"):
        network = ResidualVGG(80)
    plain = [(1, 128), *[(128, 128)] * 4, (128, 256), *[(256, 256)] * 3, (256, 512), *[(512, 512)] * 3]
    around = [(128, 256), (256, 512)]
    expected = sum(conv(*pair, bias=False) for pair in plain) + sum(conv(*pair, 1, bias=False) for pair in around)
    expected += 2 * sum(after for _, after in plain + around)  # the batch norms
    found = sum(p.numel() for p in network.parameters())
    print(f"residual, K = 1024: {found:,} parameters")
    assert found == expected
    assert network.output_size == 512 and network.stride == 2 and network.count(350) == 175


@pytest.mark.parametrize("frames", [1, 2, 15, 16, 17, 35])
@pytest.mark.parametrize("kind", KINDS)
def test_frames_are_counted_as_they_come_out(kind: str, frames: int) -> None:
    network = KINDS[kind]()
    found = network(torch.randn(2, frames, BANDS))
    assert found.shape == (2, network.count(frames), network.output_size)
    assert network.count(torch.tensor([frames])).tolist() == [network.count(frames)]
    assert network.count(frames) == -(-frames // network.stride)


@pytest.mark.parametrize("blocks", [3, 4])
@pytest.mark.parametrize("count", COUNTS)
@torch.no_grad()
def test_alone_it_is_the_plain_vgg(blocks: int, count: int) -> None:
    network, weights = lively(VGG(BANDS, blocks=blocks, size=32)), []
    layers: list[nn.Module] = []
    for convolution in network.convolutions:
        layers += [nn.Conv2d(convolution.in_channels, convolution.out_channels, 3, padding=1), nn.ReLU()]
        weights.append(convolution.state_dict())
        layers[-2].load_state_dict(weights[-1])
        if len(weights) % 2 == 0:
            layers.append(nn.MaxPool2d(2, stride=2, ceil_mode=True))
    (features,) = spectrograms((count,))
    plain = nn.Sequential(*layers)(features[None, None])[0]  # (channels, frames, bands)
    expected = torch.stack([torch.cat([channel[frame] for channel in plain]) for frame in range(plain.shape[1])])
    torch.testing.assert_close(network(features[None])[0], expected, atol=1e-6, rtol=0)


@torch.no_grad()
def test_alone_the_residual_network_is_the_sum_of_its_parts() -> None:
    network = lively(ResidualVGG(BANDS, size=32))
    (features,) = spectrograms((21,))

    def normed(values: Tensor, norm: nn.BatchNorm2d) -> Tensor:
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        return (values - norm.running_mean[:, None, None]) * scale[:, None, None] + norm.bias[:, None, None]

    values = normed(F.conv2d(features[None, None], network.conv1.weight, padding=1), network.bn1).relu()
    values = F.max_pool2d(values, 3, stride=2, padding=1)
    for block in (block for stage in network.stages for block in stage):
        inner = normed(F.conv2d(values, block.conv1.weight, padding=1), block.bn1).relu()
        inner = normed(F.conv2d(inner, block.conv2.weight, padding=1), block.bn2)
        if block.downsample is not None:
            values = normed(F.conv2d(values, block.downsample[0].weight), block.downsample[1])
        values = (inner + values).relu()
    expected = values[0].mean(-1).T  # (channels, frames, bands) -> (frames, channels)
    assert expected.shape == (11, 16)
    torch.testing.assert_close(network(features[None])[0], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_padding_changes_nothing(kind: str) -> None:
    network, rows = lively(KINDS[kind]()), spectrograms()
    together = network(*padded(rows))
    assert together.std() > 0.1
    for found, alone in paired(together, network, rows):
        torch.testing.assert_close(found, alone, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_without_its_counts_a_padded_batch_does_change(kind: str) -> None:
    # The proof that the test above can see a leak.
    network, rows = lively(KINDS[kind]()), spectrograms()
    together = network(padded(rows)[0])
    assert max((found - alone).abs().max() for found, alone in paired(together, network, rows)) > 0.1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("junk", [float("inf"), float("nan")])
def test_what_stands_in_the_padding_is_not_read(kind: str, junk: float) -> None:
    network, rows = lively(KINDS[kind]()), spectrograms()
    features, counts = padded(rows)
    broken, _ = padded(rows, junk=junk)
    broken.requires_grad_()
    found = network(broken, counts)
    assert torch.equal(found, network(features, counts))
    found.sum().backward()
    assert broken.grad.isfinite().all()
    assert all((grad[count:] == 0).all() for grad, count in zip(broken.grad, counts, strict=True))
    assert all(p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_a_padded_batch_are_those_of_its_utterances(kind: str) -> None:
    network, rows = lively(KINDS[kind]()), spectrograms()
    together = network(*padded(rows))
    torch.stack([found.mean() for found, _ in paired(together, network, rows)]).sum().backward()
    found = {name: p.grad.clone() for name, p in network.named_parameters()}
    network.zero_grad()
    for row in rows:
        network(row[None]).mean().backward()
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, atol=1e-5, rtol=1e-4, msg=name)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_single_frame_gives_finite_numbers_and_gradients(kind: str, training: bool) -> None:
    network = lively(KINDS[kind]()).train(training)
    features = torch.randn(1, 1, BANDS, requires_grad=True)
    found = network(features, torch.tensor([1]))
    assert found.shape == (1, 1, network.output_size)
    found.square().sum().backward()
    assert found.isfinite().all() and features.grad.isfinite().all()
    assert all(p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_is_close(kind: str) -> None:
    network, (features, counts) = lively(KINDS[kind]()), padded(spectrograms())
    with torch.no_grad():
        expected = network(features, counts)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            mixed = network(features, counts)
    network.to(torch.bfloat16)
    found = network(features, counts)  # front ends give float32 whatever the weights are
    assert found.dtype == mixed.dtype == torch.bfloat16
    for half in (found, mixed):
        torch.testing.assert_close(half.float(), expected, atol=0.05 * float(expected.abs().max()), rtol=0)
    network.train()(features, counts).float().square().mean().backward()
    assert all(p.grad.isfinite().all() for p in network.parameters())


def test_training_statistics_do_not_depend_on_padding() -> None:
    rows = spectrograms((21, 21))
    tight, loose = lively(ResidualVGG(BANDS, size=32)), lively(ResidualVGG(BANDS, size=32))
    torch.testing.assert_close(
        tight.train()(torch.stack(rows)), loose.train()(*padded(rows))[:, :11], atol=1e-4, rtol=0
    )
    for (name, expected), found in zip(tight.named_buffers(), loose.buffers(), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5, msg=name)


@torch.no_grad()
def test_the_initial_weights_keep_the_variance() -> None:
    torch.manual_seed(0)
    found = VGG(80, size=64)(torch.randn(2, 64, 80))
    assert 0.1 < found.square().mean().sqrt() < 30


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: VGG(80, size=100), "multiple of 8"),
        (lambda: VGG(80, blocks=3, size=6), "multiple of 4"),
        (lambda: VGG(80, blocks=0), "1 or more"),
        (lambda: VGG(80, size=0), "multiple of 8"),
        (lambda: ResidualVGG(80, size=100), "multiple of 8"),
    ],
)
def test_impossible_sizes_are_refused(make, words: str) -> None:
    with pytest.raises(InputError, match=words):
        make()
