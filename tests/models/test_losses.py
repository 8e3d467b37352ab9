"""Losses against numbers worked out by hand, what goes with what, and labels that are not known."""

import logging
from math import exp, log
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hf_speech.errors import InputError
from hf_speech.models.heads import HEADS, MULTI_LABEL, REGRESSION, SINGLE_LABEL
from hf_speech.models.losses import LOSSES, LossFacts, apply_loss, check_options, check_pair, known_labels, valid_heads
from hf_speech.models.registry import build

# p(correct) = 3/4 for the first and 1/5 for the second utterance
SCORES = torch.tensor([[log(3.0), 0.0], [log(4.0), 0.0]])
LABELS = torch.tensor([0, 1])
WEIGHTED = LossFacts(class_weights=[1.0, 3.0])
# 30 for 20 and 35 for 40, a deviation of 5 about 28: errors of 2 and -1 deviations
AGES, AGE_FACTS = torch.tensor([20.0, 40.0]), LossFacts(target_mean=28.0, target_std=5.0)
AGE_SCORES = (torch.tensor([[30.0], [35.0]]) - 28) / 5
PAIRS = [(loss, head) for loss in LOSSES for head in valid_heads(loss)]


def value(name: str, scores: Tensor, labels: Tensor, facts: LossFacts | None = None, **options: Any) -> float:
    return LOSSES[name].function(scores, labels, facts or LossFacts(), **options).item()


def test_cross_entropy() -> None:
    assert value("cross_entropy", SCORES, LABELS) == pytest.approx((log(4 / 3) + log(5)) / 2, rel=1e-6)
    assert value("cross_entropy", torch.zeros(3, 7), torch.tensor([0, 3, 6])) == pytest.approx(log(7), rel=1e-6)


def test_cross_entropy_with_class_weights_divides_by_their_sum() -> None:
    expected = (1 * log(4 / 3) + 3 * log(5)) / (1 + 3)
    assert value("cross_entropy", SCORES, LABELS, WEIGHTED) == pytest.approx(expected, rel=1e-6)


def test_label_smoothing_by_hand_and_as_torch_has_it() -> None:
    # A fifth of the label spread over two classes: 0.9 for the right one, 0.1 for the other.
    expected = (0.9 * log(4 / 3) + 0.1 * log(4) + 0.9 * log(5) + 0.1 * log(5 / 4)) / 2
    assert value("cross_entropy", SCORES, LABELS, label_smoothing=0.2) == pytest.approx(expected, rel=1e-6)
    theirs = F.cross_entropy(SCORES, LABELS, torch.tensor([1.0, 3.0]), label_smoothing=0.2).item()
    assert value("cross_entropy", SCORES, LABELS, WEIGHTED, label_smoothing=0.2) == pytest.approx(theirs)


def test_focal() -> None:
    expected = [0.25**2 * log(4 / 3), 0.8**2 * log(5)]
    assert value("focal", SCORES, LABELS) == pytest.approx(sum(expected) / 2, rel=1e-6)
    assert value("focal", SCORES, LABELS, WEIGHTED) == pytest.approx((expected[0] + 3 * expected[1]) / 4, rel=1e-6)
    root = (0.5 * log(4 / 3) + 0.8**0.5 * log(5)) / 2
    assert value("focal", SCORES, LABELS, gamma=0.5) == pytest.approx(root, rel=1e-6)


@pytest.mark.parametrize("facts", [LossFacts(), WEIGHTED])
def test_focal_without_gamma_is_cross_entropy(facts: LossFacts) -> None:
    assert value("focal", SCORES, LABELS, facts, gamma=0) == pytest.approx(
        value("cross_entropy", SCORES, LABELS, facts), rel=1e-6
    )


def test_logit_adjustment_multiplies_the_odds_by_the_shares() -> None:
    facts = LossFacts(class_counts=[30, 10])
    # Odds 3 : 1 and 4 : 1 become 9 : 1 and 12 : 1.
    expected = (log(10 / 9) + log(13)) / 2
    assert value("logit_adjusted", SCORES, LABELS, facts) == pytest.approx(expected, rel=1e-6)
    half = (-log(3 * 3**0.5 / (3 * 3**0.5 + 1)) + log(4 * 3**0.5 + 1)) / 2
    assert value("logit_adjusted", SCORES, LABELS, facts, tau=0.5) == pytest.approx(half, rel=1e-6)
    plain = value("cross_entropy", SCORES, LABELS)
    assert value("logit_adjusted", SCORES, LABELS, facts, tau=0) == pytest.approx(plain, rel=1e-6)
    assert value("logit_adjusted", SCORES, LABELS, LossFacts(class_counts=[7, 7])) == pytest.approx(plain, rel=1e-6)
    # A class without rows counts as one.
    none = [value("logit_adjusted", SCORES, LABELS, LossFacts(class_counts=[9, n])) for n in (0, 1)]
    assert none[0] == none[1] < 10
    with pytest.raises(InputError, match="'logit_adjusted' needs class_counts"):
        value("logit_adjusted", SCORES, LABELS)


@pytest.mark.parametrize("count", [2, 5, 40])
def test_coral_is_the_sum_of_binary_cross_entropies(count: int) -> None:
    torch.manual_seed(0)
    head: Any = build(HEADS, "ordinal", "head", {}, 6, count)
    head.bias.data.normal_()
    vectors, labels = torch.randn(16, 6), torch.randint(count, (16,))
    heights = (vectors @ head.classifier.weight.T + head.biases()).double()
    levels = (labels[:, None] > torch.arange(count - 1)).double()
    each = F.binary_cross_entropy_with_logits(heights, levels, reduction="none").sum(1)
    assert value("coral", head(vectors), labels) == pytest.approx(each.mean().item(), rel=1e-5)
    weights = torch.arange(1.0, count + 1)
    expected = (weights[labels] * each).sum() / weights[labels].sum()
    facts = LossFacts(class_weights=weights.tolist())
    assert value("coral", head(vectors), labels, facts) == pytest.approx(expected.item(), rel=1e-5)


def test_coral_by_hand() -> None:
    # P(y > 0) = 0.7 and P(y > 1) = 0.4; the class is 1: above 0, not above 1.
    scores = torch.tensor([[0.3, 0.3, 0.4]]).log()
    assert value("coral", scores, torch.tensor([1])) == pytest.approx(-log(0.7) - log(0.6), rel=1e-6)


def test_binary_cross_entropy() -> None:
    scores = torch.tensor([[log(3.0), 0.0], [log(4.0), log(0.25)]])  # probabilities 3/4, 1/2; 4/5, 1/5
    labels = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    expected = [log(4 / 3), log(2), log(5), log(5)]
    assert value("binary_cross_entropy", scores, labels) == pytest.approx(sum(expected) / 4, rel=1e-6)
    weighted = (expected[0] + expected[1] + expected[2] + 3 * expected[3]) / 4
    assert value("binary_cross_entropy", scores, labels, WEIGHTED) == pytest.approx(weighted, rel=1e-6)
    labels[1, 0] = torch.nan
    partly = (expected[0] + expected[1] + expected[3]) / 3
    assert value("binary_cross_entropy", scores, labels) == pytest.approx(partly, rel=1e-6)


def test_regression_losses_are_in_standard_deviations() -> None:
    assert value("mse", AGE_SCORES, AGES, AGE_FACTS) == pytest.approx((4 + 1) / 2)
    assert value("l1", AGE_SCORES, AGES, AGE_FACTS) == pytest.approx((2 + 1) / 2)
    assert value("mse", AGE_SCORES, AGES.long(), AGE_FACTS) == pytest.approx(2.5)


def test_huber_is_square_to_delta_and_straight_beyond() -> None:
    assert value("huber", AGE_SCORES, AGES, AGE_FACTS) == pytest.approx((1 * (2 - 0.5) + 0.5 * 1) / 2)
    assert value("huber", AGE_SCORES, AGES, AGE_FACTS, delta=0.5) == pytest.approx((0.5 * 1.75 + 0.5 * 0.75) / 2)
    assert value("huber", AGE_SCORES, AGES, AGE_FACTS, delta=3) == pytest.approx(2.5 / 2)


def test_ccc_against_its_formula() -> None:
    # Means 2 and 4, variances 2/3 and 8/3, covariance 4/3: 2 * 4/3 / (2/3 + 8/3 + 4) = 4/11.
    scores, labels = torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([2.0, 4.0, 6.0])
    assert value("ccc", scores, labels) == pytest.approx(1 - 4 / 11, rel=1e-6)
    assert value("ccc", labels[:, None], labels) == pytest.approx(0, abs=1e-6)
    assert value("ccc", 8 - labels[:, None], labels) == pytest.approx(2, rel=1e-6)
    facts = LossFacts(target_mean=4.0, target_std=2.0)  # a line through both changes nothing
    assert value("ccc", (scores - 4) / 2, labels, facts) == pytest.approx(1 - 4 / 11, rel=1e-6)


def test_ccc_of_one_row_is_the_squared_error_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    logging.Logger.warning_once.cache_clear()  # type: ignore[attr-defined]
    assert value("ccc", AGE_SCORES[:1], AGES[:1], AGE_FACTS) == pytest.approx(4)
    assert "'ccc' of a batch with one known label is its squared error" in caplog.text


def test_ccc_of_equal_numbers_is_finite() -> None:
    scores = torch.full((3, 1), 2.0, requires_grad=True)
    for labels in (torch.full((3,), 2.0), torch.full((3,), 5.0), torch.tensor([1.0, 2.0, 3.0])):
        loss = LOSSES["ccc"].function(scores, labels, LossFacts())
        (gradient,) = torch.autograd.grad(loss, scores)
        assert loss.item() == pytest.approx(1) and gradient.isfinite().all()


def test_label_distribution_by_hand() -> None:
    # Bins 10, 20, 30 and a label of 20 with a deviation of 10: weights exp(-1/2), 1, exp(-1/2).
    side, middle = exp(-0.5) / (1 + 2 * exp(-0.5)), 1 / (1 + 2 * exp(-0.5))
    p = [0.5, 0.25, 0.25]
    divergence = side * log(side / p[0]) + middle * log(middle / p[1]) + side * log(side / p[2])
    error = 20 - (10 * 0.5 + 20 * 0.25 + 30 * 0.25)
    scores, labels = torch.tensor([p]).log(), torch.tensor([20.0])
    facts = LossFacts(bins=(10.0, 30.0, 10.0), target_std=5.0)
    assert error == 2.5
    for weight in (0.0, 1.0, 3.0):
        loss = value("label_distribution", scores, labels, facts, sigma=10, l1_weight=weight)
        assert loss == pytest.approx(divergence + weight * error / 5, rel=1e-5)
    exact = torch.tensor([[side, middle, side]]).log()
    assert value("label_distribution", exact, labels, facts, sigma=10) == pytest.approx(0, abs=1e-6)
    far = value("label_distribution", scores, torch.tensor([1000.0]), facts)  # all at the last bin
    assert far == pytest.approx(log(4) + (1000 - 17.5) / 5, rel=1e-6)
    with pytest.raises(InputError, match="needs the bins of head 'distribution'"):
        value("label_distribution", scores, labels)


def batch(loss: str, head: str, dtype: torch.dtype = torch.float32) -> tuple[Any, Tensor, Tensor, LossFacts]:
    """A head, vectors for it, their labels, and the facts: 6 utterances, 3 classes."""
    torch.manual_seed(0)
    kind = LOSSES[loss].problem_type
    module: Any = build(HEADS, head, "head", {}, 8, 1 if kind == REGRESSION else 3).to(dtype)
    labels = torch.tensor([0, 1, 2, 2, 1, 0])
    if kind == MULTI_LABEL:
        labels = F.one_hot(labels, 3).float()
    elif kind == REGRESSION:
        labels = torch.tensor([20.0, 31.0, 47.0, 52.0, 48.0, 65.0])
    weights, counts = (None, None) if kind == REGRESSION else ([0.5, 1.0, 2.0], [10, 5, 2])
    facts = LossFacts(module.scale, weights, counts, target_mean=42.0, target_std=14.0, bins=module.bins, step=100)
    return module, torch.randn(6, 8, dtype=dtype), labels, facts


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "autocast"])
@pytest.mark.parametrize(("loss", "head"), PAIRS)
def test_every_head_learns_with_every_valid_loss(loss: str, head: str, precision: str) -> None:
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    module, vectors, labels, facts = batch(loss, head, dtype)
    vectors.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "autocast"):
        scores = module(vectors)
        result = apply_loss(LOSSES[loss], {}, scores, labels, facts)
    result.backward()
    assert result.dtype == torch.float32 and result.isfinite() and result.shape == ()
    gradients = {name: parameter.grad for name, parameter in [*module.named_parameters(), ("vectors", vectors)]}
    for name, gradient in gradients.items():
        assert gradient is not None and gradient.isfinite().all() and gradient.abs().sum() > 0, name
    if precision == "float32":  # a step down the slope
        with torch.no_grad():
            for parameter in module.parameters():
                parameter -= 1e-3 * parameter.grad / parameter.grad.norm()
        if head not in ("mlp", "batchnorm"):  # they have dropout
            assert apply_loss(LOSSES[loss], {}, module(vectors), labels, facts) < result


def test_every_head_and_every_loss_is_in_the_table() -> None:
    assert {loss for loss, _ in PAIRS} == LOSSES.keys()
    assert {head for _, head in PAIRS} == HEADS.keys()


@pytest.mark.parametrize(("loss", "head"), PAIRS)
def test_losses_are_float32_inside(loss: str, head: str) -> None:
    module, vectors, labels, facts = batch(loss, head)
    for dtype in (torch.bfloat16, torch.float16):
        scores = module(vectors).detach().to(dtype)
        half = apply_loss(LOSSES[loss], {}, scores, labels, facts)
        assert half.dtype == torch.float32
        torch.testing.assert_close(half, apply_loss(LOSSES[loss], {}, scores.float(), labels, facts), atol=0, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("loss", "head"), PAIRS)
def test_gradients_stay_finite_for_certain_and_wrong_scores(loss: str, head: str, dtype: torch.dtype) -> None:
    module, _, labels, facts = batch(loss, head)
    width = module(torch.zeros(6, 8)).shape[1]
    size = facts.scale if head == "cosine" else 1000.0
    scores = size * torch.ones(6, width).index_fill(1, torch.arange(1, width), -1.0)
    if head == "ordinal":
        scores = scores.log_softmax(-1)
    scores = scores.to(dtype).requires_grad_()
    options: dict[str, Any] = {"gamma": 0.5} if loss == "focal" else {}
    result = apply_loss(LOSSES[loss], options, scores, labels, facts)
    result.backward()
    assert result.isfinite() and scores.grad is not None and scores.grad.isfinite().all()


def missing(loss: str) -> tuple[float, ...]:
    return (-100,) if LOSSES[loss].problem_type == SINGLE_LABEL else (-100, torch.nan)


MISSING = [(loss, head, unknown) for loss, head in PAIRS for unknown in missing(loss)]


@pytest.mark.parametrize(("loss", "head", "without"), MISSING)
def test_rows_without_a_label_change_nothing(loss: str, head: str, without: float) -> None:
    module, vectors, labels, facts = batch(loss, head)
    scores = module.eval()(vectors).detach()
    alone = apply_loss(LOSSES[loss], {}, scores, labels, facts)
    more_scores = torch.cat([scores[:2], torch.full_like(scores[:1], torch.nan), scores[2:], 9 + scores[:1]])
    more_scores.requires_grad_()
    unknown = torch.full_like(labels[:1], without)
    more_labels = torch.cat([labels[:2], unknown, labels[2:], unknown])
    result = apply_loss(LOSSES[loss], {}, more_scores, more_labels, facts)
    result.backward()
    assert torch.equal(result, alone)
    assert more_scores.grad is not None and torch.equal(more_scores.grad[[2, 7]], torch.zeros_like(scores[:2]))


@pytest.mark.parametrize("dtype", [torch.int64, torch.int16, torch.float64, torch.float16, torch.bfloat16])
def test_minus_100_is_no_age(dtype: torch.dtype) -> None:
    labels = torch.tensor([-100, 40]).to(dtype)
    assert apply_loss(LOSSES["mse"], {}, AGE_SCORES, labels, AGE_FACTS).item() == pytest.approx(1)  # 35 for 40
    assert apply_loss(LOSSES["mse"], {}, AGE_SCORES, labels.neg(), AGE_FACTS).item() > 50


@pytest.mark.parametrize("dtype", [torch.int64, torch.float32])
def test_minus_100_is_none_of_several_labels(dtype: torch.dtype) -> None:
    def loss_of(*rows: list[int]) -> float:
        return apply_loss(
            LOSSES["binary_cross_entropy"], {}, SCORES, torch.tensor(rows, dtype=dtype), LossFacts()
        ).item()

    # Odds 3 : 1 and 1 : 1 of the first row, 4 : 1 and 1 : 1 of the second.
    assert loss_of([1, 0], [-100, -100]) == pytest.approx((log(4 / 3) + log(2)) / 2)
    assert loss_of([1, -100], [0, -100]) == pytest.approx((log(4 / 3) + log(5)) / 2)
    with pytest.raises(InputError, match="label 2 is out of range; valid: 0 to 1, or -100 or NaN where not known"):
        loss_of([-100, -100], [2, 0])


def test_only_minus_100_and_nan_are_not_known() -> None:
    assert known_labels(torch.tensor([-100, -99, 0, 100])).tolist() == [False, True, True, True]
    assert known_labels(torch.tensor([156, 0], dtype=torch.uint8)).tolist() == [True, True]  # -100 in 8 bits
    assert known_labels(torch.tensor([[-100.0, torch.nan], [torch.inf, -100.5]])).tolist() == [[False] * 2, [True] * 2]


@pytest.mark.parametrize(("loss", "head", "without"), MISSING)
def test_without_any_label_the_loss_is_zero_and_reaches_the_head(loss: str, head: str, without: float) -> None:
    module, vectors, labels, facts = batch(loss, head)
    result = apply_loss(LOSSES[loss], {}, module(vectors), torch.full_like(labels, without), facts)
    result.backward()
    assert result.item() == 0 and result.dtype == torch.float32
    assert all(torch.equal(p.grad, torch.zeros_like(p)) for p in module.parameters())


@pytest.mark.parametrize(("loss", "without"), [(loss, unknown) for loss in LOSSES for unknown in missing(loss)])
def test_a_compiled_loss_is_the_same(loss: str, without: float) -> None:
    module, vectors, labels, facts = batch(loss, valid_heads(loss)[0])
    scores = module.eval()(vectors).detach()
    labels[1] = without

    def run(scores: Tensor, labels: Tensor) -> Tensor:
        return apply_loss(LOSSES[loss], {}, scores, labels, facts)

    compiled = torch.compile(run, backend="eager")
    torch.testing.assert_close(compiled(scores, labels), run(scores, labels))


@pytest.mark.parametrize(
    ("loss", "labels", "words"),
    [
        ("cross_entropy", torch.tensor([0, 3]), "label 3 is out of range; valid: 0 to 1, or -100 where not known"),
        ("aam_softmax", torch.tensor([-1, 0]), "label -1 is out of range; valid: 0 to 1"),
        ("coral", torch.tensor([0.0, 1.0]), "labels are torch.float32, but classes are whole numbers"),
        ("focal", torch.tensor([[0], [1]]), "labels have the shape (2, 1), but this model's loss takes (2,)"),
        ("binary_cross_entropy", torch.tensor([0.0, 1.0]), "the shape (2,), but this model's loss takes (2, 2)"),
        ("binary_cross_entropy", torch.tensor([[0.0, 1.0], [2.0, 0.0]]), "label 2 is out of range; valid: 0 to 1"),
        ("mse", torch.tensor([[1.0], [2.0]]), "labels have the shape (2, 1)"),
        ("l1", torch.tensor([1.0, torch.inf]), "label inf is out of range; valid: finite numbers, or -100 or NaN"),
        ("cross_entropy", [0, 1], "labels are a list: give a tensor"),
    ],
)
def test_labels_that_no_loss_takes(loss: str, labels: Any, words: str) -> None:
    scores = SCORES[:, :1] if LOSSES[loss].problem_type == REGRESSION else SCORES
    with pytest.raises(InputError) as refusal:
        apply_loss(LOSSES[loss], {}, scores, labels, LossFacts())
    assert words in str(refusal.value)


def test_small_whole_numbers_are_classes_too() -> None:
    expected = apply_loss(LOSSES["cross_entropy"], {}, SCORES, LABELS, LossFacts())
    for dtype in (torch.int32, torch.int8, torch.uint8):
        assert torch.equal(apply_loss(LOSSES["cross_entropy"], {}, SCORES, LABELS.to(dtype), LossFacts()), expected)


def test_what_goes_with_what() -> None:
    layered = ["linear", "projector", "tanh", "mlp", "batchnorm"]
    assert valid_heads("cross_entropy") == [*layered, "cosine", "ordinal"]
    assert valid_heads("aam_softmax") == valid_heads("am_softmax") == ["cosine"]
    assert valid_heads("coral") == ["ordinal"]
    assert valid_heads("mse") == valid_heads("binary_cross_entropy") == layered
    assert valid_heads("label_distribution") == ["distribution"]
    for loss, head in PAIRS:
        check_pair(loss, head)


@pytest.mark.parametrize(
    ("loss", "head", "words"),
    [
        ("aam_softmax", "linear", "'aam_softmax' does not go with head 'linear'; valid heads for the loss: cosine;"),
        ("mse", "cosine", "valid losses for the head: cross_entropy, focal, logit_adjusted, am_softmax, aam_softmax"),
        ("coral", "linear", "valid heads for the loss: ordinal;"),
        ("mse", "distribution", "valid losses for the head: label_distribution"),
        ("label_distribution", "linear", "valid heads for the loss: distribution;"),
        ("binary_cross_entropy", "cosine", "valid heads for the loss: linear, projector, tanh, mlp, batchnorm;"),
        ("arcface", "cosine", "unknown loss 'arcface'"),
        ("mse", "cosin", "unknown head 'cosin' (did you mean 'cosine'?)"),
    ],
)
def test_odd_combinations_are_refused(loss: str, head: str, words: str) -> None:
    with pytest.raises(InputError) as refusal:
        check_pair(loss, head)
    assert words in str(refusal.value)


@pytest.mark.parametrize(
    ("loss", "options", "words"),
    [
        ("aam_softmax", {"margins": 0.2}, "unknown option of loss 'aam_softmax' 'margins' (did you mean 'margin'?)"),
        ("mse", {"delta": 1}, "loss 'mse' has no options, but 'delta' was given"),
        ("cross_entropy", {"label_smoothing": 1.1}, "label_smoothing is 1.1; give a number from 0 to 1"),
        ("focal", {"gamma": -1}, "loss 'focal': gamma is -1; give a number from 0 to inf"),
        ("focal", {"gamma": float("inf")}, "gamma is inf"),
        ("huber", {"delta": 0}, "delta is 0; give"),
        ("am_softmax", {"margin": float("nan")}, "margin is nan; give a number"),
        ("am_softmax", {"margin": 2.1}, "margin is 2.1; give a number from 0 to 2"),
        ("am_softmax", {"margin": "0.4"}, "margin is '0.4'; give a number"),
        ("am_softmax", {"annealing": 1}, "annealing is 1; give true or false"),
        ("aam_softmax", {"warmup_steps": True}, "warmup_steps is True; give a number, such as 0.0"),
    ],
)
def test_options_that_no_loss_takes(loss: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError) as refusal:
        check_options(loss, options)
    assert words in str(refusal.value)
    check_options("aam_softmax", {"margin": 0.5, "easy_margin": True, "warmup_steps": 1000})


def test_options_reach_the_loss() -> None:
    expected = value("focal", SCORES, LABELS, gamma=0.5)
    assert apply_loss(LOSSES["focal"], {"gamma": 0.5}, SCORES, LABELS, LossFacts()).item() == expected
