"""Margins against logits worked out by hand, and at the ends of the circle."""

from math import acos, cos, pi, sin

import pytest
import torch
from torch import Tensor

from hf_speech.models.losses import LossFacts, aam_softmax, am_softmax, cross_entropy
from hf_speech.models.margins import additive_angular_margin, additive_margin, annealed, warmed

SCALE = 30.0
# Cosines 0.6, 0.8 (sine 0.8, 0.6) and so on; the right class is the first, the second, the first.
COSINES = [[0.6, 0.28], [0.0, 0.8], [-0.28, 0.96]]
SCORES = SCALE * torch.tensor(COSINES)
LABELS = torch.tensor([0, 1, 0])


def log_loss(rows: list[list[float]]) -> float:
    """Mean of -log softmax at the right class, in float64."""
    values = torch.tensor(rows, dtype=torch.float64)
    return (values.exp().sum(1).log() - values[torch.arange(len(rows)), LABELS]).mean().item()


def test_the_additive_margin_by_hand() -> None:
    shifted = additive_margin(SCORES, LABELS, SCALE, 0.4)
    expected = [[30 * 0.2, 30 * 0.28], [0.0, 30 * 0.4], [30 * -0.68, 30 * 0.96]]
    torch.testing.assert_close(shifted, torch.tensor(expected))
    loss = am_softmax(SCORES, LABELS, LossFacts(scale=SCALE), margin=0.4)
    assert loss.item() == pytest.approx(log_loss(expected), rel=1e-6)


def test_the_additive_angular_margin_by_hand() -> None:
    # cos(a + m) = cos a cos m - sin a sin m, with the sines 0.8, 0.6 and 0.96
    c, s = cos(0.2), sin(0.2)
    own = [0.6 * c - 0.8 * s, 0.8 * c - 0.6 * s, -0.28 * c - 0.96 * s]
    assert own == pytest.approx([cos(acos(x) + 0.2) for x in (0.6, 0.8, -0.28)])
    expected = [[30 * own[0], 30 * 0.28], [0.0, 30 * own[1]], [30 * own[2], 30 * 0.96]]
    torch.testing.assert_close(additive_angular_margin(SCORES, LABELS, SCALE, 0.2), torch.tensor(expected))
    loss = aam_softmax(SCORES, LABELS, LossFacts(scale=SCALE), margin=0.2)
    assert loss.item() == pytest.approx(log_loss(expected), rel=1e-6)


def test_the_easy_margin_leaves_angles_beyond_a_right_one() -> None:
    easy = additive_angular_margin(SCORES, LABELS, SCALE, 0.2, easy_margin=True)
    assert torch.equal(easy[2], SCORES[2])
    assert torch.equal(easy[:2], additive_angular_margin(SCORES, LABELS, SCALE, 0.2)[:2])
    nearly_opposite = torch.tensor([[-29.9, 3.0]])
    assert torch.equal(
        additive_angular_margin(nearly_opposite, torch.tensor([0]), SCALE, 0.5, easy_margin=True), nearly_opposite
    )


def shifted_cosines(cosines: Tensor, margin: float) -> Tensor:
    """The right class's cosine with the angular margin, for many cosines."""
    zeros = torch.zeros(len(cosines), dtype=torch.long)
    return additive_angular_margin(SCALE * cosines[:, None], zeros, SCALE, margin)[:, 0] / SCALE


@pytest.mark.parametrize("margin", [0.2, 0.5, 1.0])
def test_beyond_pi_less_m_the_margin_is_a_constant(margin: float) -> None:
    before, beyond = pi - margin - 0.01, pi - margin + 0.01
    values = shifted_cosines(torch.tensor([cos(before), cos(beyond), -1.0], dtype=torch.float64), margin).tolist()
    taken = margin * sin(pi - margin)
    assert values == pytest.approx([cos(before + margin), cos(beyond) - taken, -1 - taken], abs=1e-12)


@pytest.mark.parametrize("margin", [0.2, 0.5])
def test_the_loss_never_rewards_a_larger_angle(margin: float) -> None:
    angles = torch.linspace(0, pi, 1001, dtype=torch.float64)
    assert (shifted_cosines(angles.cos(), margin).diff() < 0).all()


@pytest.mark.parametrize("easy_margin", [False, True])
def test_without_a_margin_it_is_plain_scaled_softmax_exactly(easy_margin: bool) -> None:
    torch.manual_seed(0)
    scores = SCALE * torch.cat([torch.rand(50, 7) * 2 - 1, torch.ones(1, 7), -torch.ones(1, 7)])
    labels, facts = torch.randint(7, (52,)), LossFacts(scale=SCALE)
    assert torch.equal(additive_margin(scores, labels, SCALE, 0.0), scores)
    assert torch.equal(additive_angular_margin(scores, labels, SCALE, 0.0, easy_margin), scores)
    plain = cross_entropy(scores, labels, facts)
    assert torch.equal(am_softmax(scores, labels, facts, margin=0.0), plain)
    assert torch.equal(aam_softmax(scores, labels, facts, margin=0.0, easy_margin=easy_margin), plain)
    assert torch.equal(aam_softmax(scores, labels, LossFacts(scale=SCALE, step=0), warmup_steps=10), plain)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("easy_margin", [False, True])
def test_gradients_are_finite_at_the_ends_of_the_circle(dtype: torch.dtype, easy_margin: bool) -> None:
    ends = [1.0, -1.0, 1 - 2**-24, -1 + 2**-24, 1 + 2**-23, -1 - 2**-23, 0.0]  # rounding leads beyond 1
    scores = (SCALE * torch.tensor(ends)[:, None].repeat(1, 3)).to(dtype).requires_grad_()
    labels = torch.arange(len(ends)) % 3
    loss = aam_softmax(scores, labels, LossFacts(scale=SCALE), margin=0.5, easy_margin=easy_margin)
    loss.backward()
    assert loss.dtype == torch.float32 and loss.isfinite()
    assert scores.grad is not None and scores.grad.isfinite().all()
    assert (scores.grad.abs().sum(1) > 0).all()


def test_gradients_agree_with_finite_differences() -> None:
    scores = SCALE * torch.tensor(COSINES, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda s: additive_angular_margin(s, LABELS, SCALE, 0.2), scores)
    assert torch.autograd.gradcheck(lambda s: additive_margin(s, LABELS, SCALE, 0.4), scores)


@pytest.mark.parametrize("step", [0, 5_000, 306_228, None])
def test_annealing_mixes_the_cosine_with_the_margin_and_the_one_without(step: int | None) -> None:
    alpha = 0.0 if step is None else 1000 / (1 + 1e-4 * step) ** 2
    rows = [list(row) for row in COSINES]
    for row, label in zip(rows, LABELS.tolist(), strict=True):
        row[label] = ((row[label] - 0.4) + alpha * row[label]) / (1 + alpha)
    loss = am_softmax(SCORES, LABELS, LossFacts(scale=SCALE, step=step), margin=0.4, annealing=True)
    assert loss.item() == pytest.approx(log_loss([[SCALE * x for x in row] for row in rows]), rel=1e-6)
    # Half of the margin is reached where alpha = 1: 1e-4 step = sqrt(1000) - 1.
    assert annealed(0.4, 306_228) == pytest.approx(0.2, rel=1e-4)


def test_the_margin_warms_up_in_a_straight_line() -> None:
    assert [warmed(0.2, step, 10) for step in (0, 5, 10, 11, None)] == pytest.approx([0.0, 0.1, 0.2, 0.2, 0.2])
    assert [warmed(0.2, step, 0.1, 100) for step in (0, 5, 10, 11, None)] == pytest.approx([0.0, 0.1, 0.2, 0.2, 0.2])
    assert warmed(0.2, 0, 0) == warmed(0.2, 0, 0.5) == 0.2  # a share of nothing that was told
    half = aam_softmax(SCORES, LABELS, LossFacts(scale=SCALE, step=5), margin=0.2, warmup_steps=10)
    share = aam_softmax(SCORES, LABELS, LossFacts(scale=SCALE, step=5, total=40), margin=0.2, warmup_steps=0.25)
    assert torch.equal(half, share)
    assert torch.equal(half, aam_softmax(SCORES, LABELS, LossFacts(scale=SCALE), margin=0.1))
