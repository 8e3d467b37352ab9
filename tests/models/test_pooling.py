"""Poolings against numbers worked out by hand, and what they must not depend on."""

import pytest
import torch
from torch import Tensor

from hf_speech.models.pooling import EPS, POOLINGS

# Two utterances, D = 2: three frames (1, 2), (3, 8), (5, -4), and one frame (7, -1) with padding behind it.
FRAMES = torch.tensor([[[1.0, 2.0], [3.0, 8.0], [5.0, -4.0]], [[7.0, -1.0], [0.0, 0.0], [0.0, 0.0]]])
MASK = torch.tensor([[True, True, True], [True, False, False]])
# The mean of (1, 3, 5) is 3 and of (2, 8, -4) is 2; the squared deviations add up to 8 and 72, divided by N = 3.
EXPECTED = {
    "mean": [[3.0, 2.0], [7.0, -1.0]],
    "mean+std": [[3.0, 2.0, (8 / 3) ** 0.5, 24**0.5], [7.0, -1.0, 0.0, 0.0]],
    "max": [[5.0, 8.0], [7.0, -1.0]],
    "first": [[1.0, 2.0], [7.0, -1.0]],
    "last": [[5.0, -4.0], [7.0, -1.0]],
}


def pool(name: str, frames: Tensor, mask: Tensor) -> Tensor:
    return POOLINGS[name](frames.shape[-1])(frames, mask)


def test_every_pooling_has_numbers() -> None:
    assert EXPECTED.keys() == POOLINGS.keys()


@pytest.mark.parametrize("name", POOLINGS)
def test_the_numbers(name: str) -> None:
    # The deviation of a single frame is sqrt(EPS), not 0.
    torch.testing.assert_close(pool(name, FRAMES, MASK), torch.tensor(EXPECTED[name]), atol=1.01 * EPS**0.5, rtol=1e-6)


@pytest.mark.parametrize("name", POOLINGS)
def test_the_size_is_known_beforehand(name: str) -> None:
    pooling = POOLINGS[name](6)
    assert pooling(torch.randn(2, 5, 6), torch.ones(2, 5, dtype=torch.bool)).shape == (2, pooling.output_size)


@pytest.mark.parametrize("junk", [1e30, float("inf"), float("nan")])
@pytest.mark.parametrize("name", POOLINGS)
def test_what_stands_in_the_padding_is_not_read(name: str, junk: float) -> None:
    frames = FRAMES.masked_fill(~MASK[..., None], junk)
    assert torch.equal(pool(name, frames, MASK), pool(name, FRAMES, MASK))


@pytest.mark.parametrize("name", ["mean", "mean+std", "max"])
def test_the_order_of_frames_does_not_matter(name: str) -> None:
    torch.manual_seed(0)
    frames, mask = torch.randn(2, 7, 5), torch.ones(2, 7, dtype=torch.bool)
    torch.testing.assert_close(pool(name, frames[:, torch.randperm(7)], mask), pool(name, frames, mask))


@pytest.mark.parametrize("name", POOLINGS)
def test_a_single_frame_gives_finite_numbers_and_gradients(name: str) -> None:
    frames = torch.full((1, 1, 4), 2.0, requires_grad=True)
    pooled = pool(name, frames, torch.ones(1, 1, dtype=torch.bool))
    pooled.sum().backward()
    assert pooled.isfinite().all() and frames.grad.isfinite().all()
    torch.testing.assert_close(frames.grad, torch.ones_like(frames))  # every pooling is the frame itself, std apart
    torch.testing.assert_close(pooled[:, :4], frames[:, 0])


@pytest.mark.parametrize("name", POOLINGS)
def test_padded_frames_get_no_gradient(name: str) -> None:
    frames = FRAMES.clone().requires_grad_()
    pool(name, frames, MASK).square().sum().backward()
    assert (frames.grad[1, 1:] == 0).all() and (frames.grad[1, 0] != 0).all()


@pytest.mark.parametrize("name", POOLINGS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays_finite(name: str, dtype: torch.dtype) -> None:
    # A sum of 1,500 frames near 20 stays below 65,504, the largest float16.
    frames = (20 + torch.randn(1, 1_500, 3, generator=torch.Generator().manual_seed(0))).to(dtype)
    pooled = pool(name, frames, torch.ones(1, 1_500, dtype=torch.bool))
    assert pooled.dtype == dtype and pooled.isfinite().all()
