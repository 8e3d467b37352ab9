"""Poolings against numbers worked out by hand, and what they must not depend on."""

import pytest
import torch
from torch import Tensor, nn

from hf_speech.models.pooled import AttentionPooling
from hf_speech.models.pooling import EPS, POOLINGS, TORCH_STD, ClassTokenPooling
from hf_speech.models.registry import InputError, build

# Two utterances, D = 2: three frames (1, 2), (3, 8), (5, -4), and one frame (7, -1) with padding behind it.
FRAMES = torch.tensor([[[1.0, 2.0], [3.0, 8.0], [5.0, -4.0]], [[7.0, -1.0], [0.0, 0.0], [0.0, 0.0]]])
MASK = torch.tensor([[True, True, True], [True, False, False]])
# The mean of (1, 3, 5) is 3 and of (2, 8, -4) is 2; the squared deviations add up to 8 and 72, divided by N = 3.
# Of three values in order, the quartiles lie half-way between two: (1, 3, 5) -> 2 and 4, (-4, 2, 8) -> -1 and 5.
EXPECTED = {
    "mean": [[3.0, 2.0], [7.0, -1.0]],
    "mean+std": [[3.0, 2.0, (8 / 3) ** 0.5, 24**0.5], [7.0, -1.0, 0.0, 0.0]],
    "max": [[5.0, 8.0], [7.0, -1.0]],
    "quantile": [[1.0, -4.0, 2.0, -1.0, 3.0, 2.0, 4.0, 5.0, 5.0, 8.0], [7.0, -1.0] * 5],
    "first": [[1.0, 2.0], [7.0, -1.0]],
    "first+cls": [[1.0, 2.0], [7.0, -1.0]],
    "first+cls-learned": [[1.0, 2.0], [7.0, -1.0]],
    "last": [[5.0, -4.0], [7.0, -1.0]],
    "middle": [[3.0, 8.0], [7.0, -1.0]],
    "random": [[3.0, 8.0], [7.0, -1.0]],
}
LEARNED = [name for name, part in POOLINGS.items() if issubclass(part, AttentionPooling)]
ORDERED = ["first", "first+cls", "first+cls-learned", "last", "middle", "random"]
SIZE = 16
LENGTHS = (9, 4, 1, 6)


def pooling_of(name: str, size: int = SIZE) -> nn.Module:
    """A pooling with numbers of order 1 in all its weights, in evaluation mode."""
    torch.manual_seed(0)
    pooling = POOLINGS[name](size)
    for values in (*pooling.parameters(), *pooling.buffers()):
        if values.is_floating_point():
            nn.init.uniform_(values, 0.3, 1.0) if values.dim() == 1 else nn.init.normal_(values)
    return pooling.eval()


def batch(junk: float = 0.0, lengths: tuple[int, ...] = LENGTHS) -> tuple[Tensor, Tensor]:
    """Noise at very different levels, and junk behind it: frames (B, F, SIZE), mask (B, F)."""
    generator = torch.Generator().manual_seed(1)
    mask = torch.arange(max(lengths) + 2) < torch.tensor(lengths)[:, None]
    noise = torch.randn(*mask.shape, SIZE, generator=generator)
    levels = 0.5 + torch.arange(len(lengths))[:, None, None]
    return (levels * noise + levels).masked_fill(~mask[..., None], junk), mask


def test_every_pooling_has_numbers_or_learns_them() -> None:
    assert EXPECTED.keys() | set(LEARNED) == POOLINGS.keys()


@pytest.mark.parametrize("name", EXPECTED)
def test_the_numbers(name: str) -> None:
    # The deviation of a single frame is sqrt(EPS), not 0.
    pooled = pooling_of(name, 2)(FRAMES, MASK)
    torch.testing.assert_close(pooled, torch.tensor(EXPECTED[name]), atol=1.01 * EPS**0.5, rtol=1e-6)


@pytest.mark.parametrize("name", POOLINGS)
def test_the_size_is_known_beforehand(name: str) -> None:
    pooling = POOLINGS[name](24)
    assert pooling(torch.randn(2, 5, 24), torch.ones(2, 5, dtype=torch.bool)).shape == (2, pooling.output_size)


@pytest.mark.parametrize("name", POOLINGS)
def test_alone_as_in_a_batch(name: str) -> None:
    pooling, (frames, mask) = pooling_of(name), batch(junk=1e3)
    together = pooling(frames, mask)
    alone = [pooling(row[None, :size], mask[:1, :size]) for row, size in zip(frames, LENGTHS, strict=True)]
    assert together.std(0).min() > 0.1  # nearly equal numbers would hide a leak
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=0)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("junk", [1e30, float("inf"), float("nan")])
@pytest.mark.parametrize("name", POOLINGS)
def test_what_stands_in_the_padding_is_not_read_and_gets_no_gradient(name: str, junk: float, training: bool) -> None:
    found = []
    for filling in (junk, 0.0):
        pooling, (frames, mask) = pooling_of(name).train(training), batch(filling)
        frames.requires_grad_()
        torch.manual_seed(2)
        pooled = pooling(frames, mask)
        pooled.square().sum().backward()
        gradients = [frames.grad, *(values.grad for values in pooling.parameters())]
        assert all(gradient.isfinite().all() for gradient in gradients)
        assert (frames.grad[~mask] == 0).all() and (frames.grad.abs().sum((1, 2)) > 0).all()
        found.append([pooled, *gradients, *pooling.buffers()])
    for with_junk, without in zip(*found, strict=True):
        assert torch.equal(with_junk, without)


@pytest.mark.parametrize("junk", [1e30, float("inf"), float("nan")])
@pytest.mark.parametrize("name", POOLINGS)
def test_without_gradients_it_is_the_same(name: str, junk: float) -> None:
    # On a CPU utterances are then gone over one by one.
    pooling, (frames, mask) = pooling_of(name), batch(junk)
    expected = pooling(frames, mask)
    with torch.no_grad():
        found = pooling(frames, mask)
        weights = pooling.attend(frames, mask)[1] if hasattr(pooling, "attend") else None
    torch.testing.assert_close(found, expected.detach(), atol=1e-5, rtol=1e-5)
    if weights is not None:
        torch.testing.assert_close(weights, pooling.attend(frames, mask)[1].detach(), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("name", POOLINGS)
def test_the_order_of_the_batch_does_not_matter(name: str) -> None:
    pooling, (frames, mask), order = pooling_of(name), batch(), torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(pooling(frames[order], mask[order]), pooling(frames, mask)[order])


@pytest.mark.parametrize("name", sorted(POOLINGS.keys() - set(ORDERED)))
def test_the_order_of_frames_does_not_matter(name: str) -> None:
    torch.manual_seed(0)
    frames, mask = torch.randn(2, 7, SIZE), torch.ones(2, 7, dtype=torch.bool)
    pooling = pooling_of(name)
    torch.testing.assert_close(pooling(frames[:, torch.randperm(7)], mask), pooling(frames, mask))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("name", POOLINGS)
def test_equal_frames_give_that_frame_and_finite_gradients(name: str, count: int, training: bool) -> None:
    pooling = pooling_of(name).train(training)
    frames = torch.full((1, count, SIZE), 2.0, requires_grad=True)
    pooled = pooling(frames, torch.ones(1, count, dtype=torch.bool))
    pooled.sum().backward()
    # Statistics, quantiles and heads apart, every pooling is the frame itself; five quantiles are it five times, and
    # each of eight equal heads adds an eighth.
    copies = {"quantile": 5, "double-multi-head": 1 / 8}.get(name, 1)
    torch.testing.assert_close(pooled[:, :SIZE], torch.full_like(pooled[:, :SIZE], 2.0))
    torch.testing.assert_close(frames.grad.sum(1), torch.full((1, SIZE), float(copies)), atol=1e-5, rtol=1e-5)
    assert all(values.grad.isfinite().all() for values in pooling.parameters())


@pytest.mark.parametrize("name", POOLINGS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays_close(name: str, dtype: torch.dtype) -> None:
    # A sum of 5,000 frames near 20 is beyond 65,504, the largest float16; bfloat16 rounds their number to 4,992.
    frames = (20 + torch.randn(1, 5_000, SIZE, generator=torch.Generator().manual_seed(0))).to(dtype)
    mask = torch.ones(1, 5_000, dtype=torch.bool)
    pooling = POOLINGS[name](SIZE).eval()
    expected = pooling(frames.float(), mask)
    pooled = pooling.to(dtype)(frames, mask)
    assert pooled.dtype == dtype
    torch.testing.assert_close(pooled.float(), expected, atol=0.02, rtol=2 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("name", POOLINGS)
def test_training_under_autocast_stays_close(name: str) -> None:
    frames, mask = batch()
    vectors = {}
    for enabled in (False, True):
        torch.manual_seed(2)
        pooling, leaf = POOLINGS[name](SIZE), frames.bfloat16().requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            vectors[enabled] = pooling(leaf if enabled else leaf.float(), mask)
        vectors[enabled].float().square().sum().backward()
        assert leaf.grad.isfinite().all() and (leaf.grad[~mask] == 0).all()
        assert all(values.grad.isfinite().all() for values in pooling.parameters())
    torch.testing.assert_close(vectors[True].float(), vectors[False], atol=0.1, rtol=0.02)


@pytest.mark.parametrize("quantiles", [(0.0, 0.25, 0.5, 0.75, 1.0), [0.1, 0.9], [1 / 3]])
def test_quantiles_are_those_of_torch(quantiles: list[float]) -> None:
    pooling = build(POOLINGS, "quantile", "pooling", {"quantiles": quantiles}, SIZE)
    frames, mask = batch(junk=float("nan"))
    pooled = pooling(frames, mask).unflatten(1, (len(quantiles), SIZE))
    for row, size, found in zip(frames, LENGTHS, pooled, strict=True):
        torch.testing.assert_close(found, torch.quantile(row[:size], torch.tensor(quantiles), dim=0))


@pytest.mark.parametrize("quantiles", [[], [1.5], [-0.1, 0.5]])
def test_what_is_no_quantile_is_refused(quantiles: object) -> None:
    with pytest.raises(InputError, match="quantiles is .*; give a list of numbers from 0 to 1"):
        build(POOLINGS, "quantile", "pooling", {"quantiles": quantiles}, SIZE)


def test_in_training_every_real_frame_is_drawn_as_often() -> None:
    count, lengths = 12_000, (4, 1, 6)
    mask = (torch.arange(8) < torch.tensor(lengths)[:, None]).repeat(count, 1)
    places = torch.arange(8.0).expand(3 * count, -1)[..., None]
    torch.manual_seed(0)
    drawn = POOLINGS["random"](1).train()(places, mask).view(count, 3).long()
    for column, length in enumerate(lengths):
        shares = torch.bincount(drawn[:, column], minlength=8) / count
        # The standard error of a share is at most sqrt(0.25 / 12,000) = 0.0046.
        torch.testing.assert_close(shares, (torch.arange(8) < length) / length, atol=0.018, rtol=0)


def test_the_middle_of_an_even_number_is_the_later_one() -> None:
    frames = torch.arange(4.0).view(1, 4, 1)
    assert POOLINGS["middle"](1)(frames, torch.ones(1, 4, dtype=torch.bool)).item() == 2


def test_the_poolings_of_a_token_say_which() -> None:
    tokens = {name: part.token for name, part in POOLINGS.items() if issubclass(part, ClassTokenPooling)}
    assert tokens == {"first+cls": "constant", "first+cls-learned": "learned"}


def test_the_deviation_is_that_of_torch_if_so_wished() -> None:
    frames, mask = batch(junk=float("nan"))
    frames[..., 0] = 3.0  # a channel that says the same all the time
    pooled = build(POOLINGS, "mean+std", "pooling", TORCH_STD, SIZE)(frames, mask)
    for row, size, found in zip(frames, LENGTHS, pooled, strict=True):
        expected = row[:size].std(0) if size > 1 else torch.zeros(SIZE)
        torch.testing.assert_close(found[SIZE:], expected, atol=1.1e-7, rtol=1e-6)


def test_what_is_added_to_the_variance_by_hand() -> None:
    # Squares of 1 and 1 about the mean 1: their mean is 1, or 2 with one less; 3 or 7 are added.
    frames, mask = torch.tensor([[[0.0], [2.0]]]), torch.ones(1, 2, dtype=torch.bool)
    for options, deviation in (({"eps": 3}, 2.0), ({"eps": 7, "unbiased": True}, 3.0)):
        assert build(POOLINGS, "mean+std", "pooling", options, 1)(frames, mask).tolist() == [[1.0, deviation]]


@pytest.mark.parametrize("eps", [0, -1e-7])
def test_what_no_deviation_can_be_taken_with_is_refused(eps: float) -> None:
    with pytest.raises(InputError, match=rf"pooling 'mean\+std': eps is {eps}; give a number above 0"):
        build(POOLINGS, "mean+std", "pooling", {"eps": eps}, SIZE)
