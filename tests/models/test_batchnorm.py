"""Batch norm over real frames: torch's own on the same frames without padding."""

import pytest
import torch
from torch import Tensor, nn

from hf_speech.errors import InputError
from hf_speech.models.batchnorm import MaskedBatchNorm1d, MaskedBatchNorm2d, VectorBatchNorm1d
from hf_speech.models.masking import length_mask

COUNTS = torch.tensor([9, 4, 1])


def norms(size: int) -> tuple[MaskedBatchNorm1d, nn.BatchNorm1d]:
    torch.manual_seed(0)
    ours, stock = MaskedBatchNorm1d(size), nn.BatchNorm1d(size)
    nn.init.normal_(ours.weight)
    nn.init.normal_(ours.bias)
    stock.load_state_dict(ours.state_dict())
    return ours, stock


def frames(size: int, junk: float) -> Tensor:
    """Values (3, size, 11) far from 0, with junk behind COUNTS."""
    values = 5 + 3 * torch.randn(3, size, 11, generator=torch.Generator().manual_seed(1))
    return values.masked_fill(~length_mask(COUNTS, 11)[:, None], junk)


@pytest.mark.parametrize("junk", [0.0, 1e30, float("inf"), float("nan")])
def test_training_is_torch_s_on_the_real_frames(junk: float) -> None:
    ours, stock = norms(4)
    padded = frames(4, junk).requires_grad_()
    mask = length_mask(COUNTS, 11)
    real = padded.detach().transpose(1, 2)[mask].requires_grad_()
    factors = torch.randn(14, 4)
    found, expected = ours(padded, COUNTS).transpose(1, 2)[mask], stock(real)
    (found * factors).sum().backward()
    (expected * factors).sum().backward()
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(padded.grad.transpose(1, 2)[mask], real.grad, atol=1e-5, rtol=0)
    assert (padded.grad.transpose(1, 2)[~mask] == 0).all()
    for name, weight in stock.named_parameters():
        torch.testing.assert_close(ours.get_parameter(name).grad, weight.grad, atol=1e-5, rtol=0)
    for name, value in stock.named_buffers():
        torch.testing.assert_close(ours.get_buffer(name), value, atol=1e-5, rtol=0)
    assert ours.running_var.ne(1).all()


def test_without_padding_it_is_torch_s() -> None:
    ours, stock = norms(4)
    values = frames(4, 2.0)
    assert torch.equal(ours(values), stock(values))
    assert torch.equal(ours.eval()(values, COUNTS), stock.eval()(values))


@pytest.mark.parametrize("counts", [None, torch.tensor([1])])
def test_one_frame_in_all_gives_the_bias(counts: Tensor | None) -> None:
    ours, _ = norms(4)
    values = torch.randn(1, 4, 1 if counts is None else 3, requires_grad=True)
    found = ours(values, counts)
    found.square().sum().backward()
    assert torch.equal(found[0, :, 0], ours.bias) and values.grad.eq(0).all()
    assert ours.running_var.eq(1).all()
    torch.testing.assert_close(ours.running_mean, 0.1 * values[0, :, 0].detach())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("counts", [None, torch.tensor([1])])
def test_the_running_variance_outlasts_batches_of_one_place(counts: Tensor | None, dtype: torch.dtype) -> None:
    ours, _ = norms(4)
    ours.to(dtype)(frames(4, 2.0).to(dtype), COUNTS)
    learned = ours.running_var.clone()
    assert learned.ne(1).all()
    for _ in range(20):
        ours(torch.full((1, 4, 1 if counts is None else 3), 2.0, dtype=dtype), counts)
    assert torch.equal(ours.running_var, learned)
    torch.testing.assert_close(ours.running_mean.float(), torch.full((4,), 2.0), atol=0.5, rtol=0)
    assert ours.num_batches_tracked == 21


@pytest.mark.parametrize("counts", [None, COUNTS])
def test_half_precision_goes_in_and_out(counts: Tensor | None) -> None:
    ours, _ = norms(4)
    values = frames(4, 2.0)
    expected = ours(values, counts)
    found = ours.bfloat16()(values.bfloat16(), counts)
    assert found.dtype == torch.bfloat16
    mask = length_mask(COUNTS, 11)[:, None]
    torch.testing.assert_close((found.float() * mask), expected * mask, atol=0.05, rtol=0.02)


@pytest.mark.parametrize("junk", [7.0, float("nan")])
def test_pictures_learn_from_real_frames_and_all_bands(junk: float) -> None:
    torch.manual_seed(0)
    values = (3 + 2 * torch.randn(3, 5, 11, 4)).masked_fill(~length_mask(COUNTS, 11)[:, None, :, None], junk)
    stock, ours = nn.BatchNorm2d(5).train(), MaskedBatchNorm2d(5).train()
    nn.init.normal_(stock.weight)
    nn.init.normal_(stock.bias)
    ours.load_state_dict(stock.state_dict())
    real = torch.cat([row[:, :count] for row, count in zip(values, COUNTS, strict=True)], dim=1)[None]
    for _ in range(2):
        expected, found = stock(real)[0], ours(values, COUNTS)
        taken = torch.cat([row[:, :count] for row, count in zip(found, COUNTS, strict=True)], dim=1)
        torch.testing.assert_close(taken, expected, atol=1e-5, rtol=0)
    for name, value in stock.named_buffers():
        torch.testing.assert_close(ours.get_buffer(name), value, atol=1e-5, rtol=0)


def test_one_place_in_a_picture_gives_the_bias() -> None:
    norm = MaskedBatchNorm2d(3).train()
    nn.init.normal_(norm.bias)
    for counts in (None, torch.tensor([1])):
        assert torch.equal(norm(torch.randn(1, 3, 1, 1), counts)[0, :, 0, 0], norm.bias)


def test_vectors_need_two_utterances_in_training_only() -> None:
    norm = VectorBatchNorm1d(3, "head 'x'", "head 'y'")
    with pytest.raises(InputError, match="^head 'x' can't train on a batch of one: use a larger batch, or head 'y'$"):
        norm(torch.randn(1, 3))
    torch.testing.assert_close(norm(torch.tensor([[1.0, 2, 3], [3, 2, 5]])), torch.tensor([[-1.0, 0, -1], [1, 0, 1]]))
    assert norm.eval()(torch.randn(1, 3)).shape == (1, 3)
