"""The losses of pretraining against numbers worked out by hand."""

import math

import pytest
import torch

from hf_speech.pretraining.objectives import contrastive_loss, diversity_loss, perplexity

EYE = torch.eye(4)
OTHERS = torch.tensor([[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]])
CODES = torch.arange(4)[:, None]


def test_a_perfect_match() -> None:
    contrast = contrastive_loss(3.0 * EYE, 0.5 * EYE, CODES, OTHERS, 0.1)  # cosines know no length
    assert contrast.loss == pytest.approx(math.log(1 + 3 * math.exp(-10)), abs=1e-6) and contrast.correct.all()


def test_what_is_alike_to_all_is_told_from_none() -> None:
    contrast = contrastive_loss(torch.ones(4, 4), EYE, CODES, OTHERS, 0.1)
    assert contrast.loss == pytest.approx(math.log(4)) and not contrast.correct.any()


def test_one_of_two_is_told() -> None:
    predicted = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    targets = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    contrast = contrastive_loss(predicted, targets, CODES[:2], torch.tensor([[1], [0]]), 1.0)
    right, wrong = math.log(1 + math.exp(-1)), math.log(1 + math.exp(1))
    assert contrast.loss == pytest.approx((right + wrong) / 2) and contrast.correct.float().mean() == 0.5


def test_distractors_of_the_same_code_are_left_out() -> None:
    codes = torch.tensor([[0], [0], [1], [2]])
    contrast = contrastive_loss(EYE, EYE, codes, OTHERS, 1.0)
    two, three = math.log(1 + 2 * math.exp(-1)), math.log(1 + 3 * math.exp(-1))
    assert contrast.loss == pytest.approx((2 * two + 2 * three) / 4)
    assert contrast.chance == pytest.approx((2 / 3 + 2 / 4) / 4)  # two or three distractors are left


def test_a_collapsed_codebook_is_never_right() -> None:
    contrast = contrastive_loss(EYE, torch.ones(4, 4), torch.zeros(4, 2), OTHERS, 0.1)
    assert contrast.loss == 0 and not contrast.correct.any()


def test_half_precision_does_not_overflow() -> None:
    # A sum over 4,000 frames with 100 distractors each would be above 65,504, the largest float16.
    predicted, targets = torch.randn(2, 4_000, 8, generator=torch.Generator().manual_seed(0)).half()
    negatives = torch.randint(4_000, (4_000, 100), generator=torch.Generator().manual_seed(0))
    contrast = contrastive_loss(predicted, targets, torch.arange(4_000)[:, None], negatives, 0.01)
    assert contrast.loss * 4_000 > 65_504 and contrast.loss.isfinite() and contrast.loss.dtype == torch.float32


def test_autocast_does_not_round_it() -> None:
    targets = 1 + 0.01 * torch.randn(6, 8, generator=torch.Generator().manual_seed(0))  # near-alike: bfloat16 has ties
    negatives = torch.tensor([[j for j in range(6) if j != i] for i in range(6)])
    plain = contrastive_loss(targets, targets, torch.arange(6)[:, None], negatives, 0.1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = contrastive_loss(targets, targets, torch.arange(6)[:, None], negatives, 0.1)
    assert found.loss.dtype == torch.float32 and found.correct.all() and found.loss == plain.loss


def test_uniform_codes_are_all_in_use() -> None:
    assert perplexity(torch.full((5, 2, 8), 1 / 8)) == pytest.approx(16)
    assert diversity_loss(torch.tensor(16.0), 16) == 0
    one_each = torch.nn.functional.one_hot(torch.zeros(5, 2, dtype=torch.long), 8).float()
    assert perplexity(one_each) == pytest.approx(2)  # one code of each codebook
    assert diversity_loss(torch.tensor(2.0), 16) == pytest.approx(7 / 8)
    half = torch.zeros(4, 1, 8)
    half[torch.arange(4), 0, torch.arange(4)] = 1  # hard choices of four of the eight codes
    assert perplexity(half) == pytest.approx(4)


def test_a_code_that_is_never_likely_leaves_a_gradient() -> None:
    scores = torch.zeros(3, 2, 4)
    scores[..., 1] = -200.0  # its probability is 0 in float32
    scores.requires_grad_()
    probabilities = scores.softmax(-1)
    assert (probabilities == 0).any()
    perplexity(probabilities).backward()
    assert scores.grad is not None and scores.grad.isfinite().all()
    wanted = torch.autograd.functional.jacobian(lambda x: perplexity(x.softmax(-1)), scores.detach().clamp_min(-60.0))
    torch.testing.assert_close(scores.grad, wanted, atol=1e-6, rtol=0)
