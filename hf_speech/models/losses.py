"""Losses as pure functions of tensors, computed in float32 whatever the model's precision.

Each takes `(scores (B, S), labels, facts)`, and its options by keyword, and gives a scalar. Its labels are known:
`apply_loss` leaves out those that are not.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf, pi
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.utils import logging

from .heads import HEADS, MULTI_LABEL, REGRESSION, SINGLE_LABEL, Head, bin_values, expectation
from .margins import additive_angular_margin, additive_margin, annealed, warmed
from .registry import InputError, lookup, with_options

logger = logging.get_logger(__name__)

UNKNOWN = -100  # the label of what is not known, as torch has it; so is NaN


@dataclass(frozen=True)
class LossFacts:
    """What the model tells a loss beside scores and labels.

    Attributes:
        scale: factor on the cosines in the scores; 1 where they are no cosines.
        class_weights: one factor a class, in label order; None: all 1.
        class_counts: training rows a class, in label order.
        target_mean: mean of a regression target over the training rows, in its own unit.
        target_std: standard deviation of the same.
        bins: lowest and highest value and step of a distribution head.
        step: optimiser steps so far, in training; None: not told, margins are full.
        total: optimiser steps of the run; None: not told.
    """

    scale: float = 1.0
    class_weights: Sequence[float] | None = None
    class_counts: Sequence[float] | None = None
    target_mean: float = 0.0
    target_std: float = 1.0
    bins: tuple[float, float, float] | None = None
    step: int | None = None
    total: int | None = None


@dataclass(frozen=True)
class Loss:
    """A loss and what it goes with.

    Attributes:
        function: `(scores, labels, facts, *, options) -> scalar`.
        problem_type: as transformers names it.
        heads: the only heads it goes with; None: any that serve the problem type, with standardised scores if numbers.
        limits: option -> its lowest and highest value.
    """

    function: Callable[..., Tensor]
    problem_type: str
    heads: tuple[str, ...] | None = None
    limits: Mapping[str, tuple[float, float]] = field(default_factory=dict)


def cross_entropy(scores: Tensor, labels: Tensor, facts: LossFacts, *, label_smoothing: float = 0.0) -> Tensor:
    """Mean cross-entropy; with class weights, the weighted mean (sum of weights below the line).

    Args:
        scores: (B, C).
        labels: (B,) class numbers.
        facts: its `class_weights`.
        label_smoothing: share of the label that is spread over all classes (Szegedy et al., "Rethinking the Inception
            architecture", CVPR 2016, section 7).
    """
    weights = _vector(facts.class_weights, scores)
    return F.cross_entropy(scores.float(), labels, weights, label_smoothing=label_smoothing)


def focal(scores: Tensor, labels: Tensor, facts: LossFacts, *, gamma: float = 2.0) -> Tensor:
    """Cross-entropy times (1 - p)^gamma, p the right class's probability: what is right already counts less.

    Lin et al., "Focal loss for dense object detection", ICCV 2017, section 3.2; class weights as in `cross_entropy`.

    Args:
        scores: (B, C).
        labels: (B,) class numbers.
        facts: its `class_weights`.
        gamma: 0 gives cross-entropy.
    """
    log_p = scores.float().log_softmax(-1).gather(1, labels[:, None]).squeeze(1)
    wrong = (-log_p.expm1()).clamp(min=1e-12)  # at 0 a power below 1 has an infinite slope
    return _weighted_mean(-log_p * wrong**gamma, labels, facts)


def logit_adjusted(scores: Tensor, labels: Tensor, facts: LossFacts, *, tau: float = 1.0) -> Tensor:
    """Cross-entropy of scores + tau * log(share of the class): scores alone are then fair to rare classes.

    Menon et al., "Long-tail learning via logit adjustment", ICLR 2021. A class without training rows is
    taken to have one.

    Args:
        scores: (B, C).
        labels: (B,) class numbers.
        facts: its `class_counts` and `class_weights`.
        tau: 0 gives cross-entropy.

    Raises:
        InputError: the counts are not known.
    """
    counts = _vector(facts.class_counts, scores)
    if counts is None:
        raise InputError("loss 'logit_adjusted' needs class_counts: give the training rows of each class")
    counts = counts.clamp(min=1)
    return cross_entropy(scores.float() + tau * (counts / counts.sum()).log(), labels, facts)


def am_softmax(
    scores: Tensor, labels: Tensor, facts: LossFacts, *, margin: float = 0.4, annealing: bool = False
) -> Tensor:
    """Cross-entropy of scaled cosines, the right class's less a margin (CosFace): see `additive_margin`.

    Args:
        scores: (B, C), scale * cosine.
        labels: (B,) class numbers.
        facts: its `scale`, `step` and `class_weights`.
        margin: as a cosine.
        annealing: lets the margin grow over the steps: see `annealed`.
    """
    margin = annealed(margin, facts.step) if annealing else margin
    return cross_entropy(additive_margin(scores.float(), labels, facts.scale, margin), labels, facts)


def aam_softmax(
    scores: Tensor,
    labels: Tensor,
    facts: LossFacts,
    *,
    margin: float = 0.2,
    easy_margin: bool = False,
    warmup_steps: float = 0.0,
) -> Tensor:
    """Cross-entropy of scaled cosines, the right class's angle enlarged (ArcFace): see `additive_angular_margin`.

    Args:
        scores: (B, C), scale * cosine.
        labels: (B,) class numbers.
        facts: its `scale`, `step`, `total` and `class_weights`.
        margin: in radians.
        easy_margin: no margin where the angle is beyond a right one.
        warmup_steps: optimiser steps over which the margin grows from 0; below 1 a share of the run.
    """
    margin = warmed(margin, facts.step, warmup_steps, facts.total)
    shifted = additive_angular_margin(scores.float(), labels, facts.scale, margin, easy_margin)
    return cross_entropy(shifted, labels, facts)


def coral(scores: Tensor, labels: Tensor, facts: LossFacts) -> Tensor:
    """Binary cross-entropies of the questions "is the class above k?", summed over k = 0 .. C - 2.

    Cao et al., "Rank consistent ordinal regression", Pattern Recognition Letters 2020, section 3.2, with equal
    importance of the questions; class weights as in `cross_entropy`.

    Args:
        scores: (B, C), logarithms of the classes' probabilities.
        labels: (B,) class numbers.
        facts: its `class_weights`.
    """
    log_p = scores.float()
    up_to = log_p.logcumsumexp(1)[:, :-1]
    above = log_p.flip(1).logcumsumexp(1).flip(1)[:, 1:]
    is_above = labels[:, None] > torch.arange(up_to.shape[1], device=labels.device)
    return _weighted_mean(-torch.where(is_above, above, up_to).sum(1), labels, facts)


def binary_cross_entropy(scores: Tensor, labels: Tensor, facts: LossFacts) -> Tensor:
    """Mean binary cross-entropy over the known labels of all rows; class weights are factors on the positive ones.

    Args:
        scores: (B, C).
        labels: (B, C) float, 0 to 1; NaN where not known, as `apply_loss` has it.
        facts: its `class_weights`.
    """
    known = ~labels.isnan()
    weights = _vector(facts.class_weights, scores)
    targets = labels.float().nan_to_num(0.0)
    each = F.binary_cross_entropy_with_logits(scores.float(), targets, pos_weight=weights, reduction="none")
    return torch.where(known, each, 0.0).sum() / known.sum()


def mse(scores: Tensor, labels: Tensor, facts: LossFacts) -> Tensor:
    """Mean squared error in units of the target's standard deviation.

    Args:
        scores: (B, 1), standardised.
        labels: (B,), in the target's own unit.
        facts: its `target_mean` and `target_std`.
    """
    return F.mse_loss(*_standardised(scores, labels, facts))


def l1(scores: Tensor, labels: Tensor, facts: LossFacts) -> Tensor:
    """Mean absolute error in units of the target's standard deviation; arguments as in `mse`."""
    return F.l1_loss(*_standardised(scores, labels, facts))


def huber(scores: Tensor, labels: Tensor, facts: LossFacts, *, delta: float = 1.0) -> Tensor:
    """Mean of e^2 / 2 up to an error of delta, delta * (e - delta / 2) beyond; arguments as in `mse`.

    Huber, "Robust estimation of a location parameter", Annals of Mathematical Statistics 1964.

    Args:
        scores: (B, 1), standardised.
        labels: (B,), in the target's own unit.
        facts: its `target_mean` and `target_std`.
        delta: in standard deviations of the target.
    """
    return F.huber_loss(*_standardised(scores, labels, facts), delta=delta)


def ccc(scores: Tensor, labels: Tensor, facts: LossFacts) -> Tensor:
    """1 - the concordance correlation coefficient of the batch; arguments as in `mse`.

    Lin, "A concordance correlation coefficient to evaluate reproducibility", Biometrics 1989, with variances divided
    by N. One row has none: there it is the squared error, with a warning. Where all labels are equal it is 1, and
    without gradient.
    """
    values, targets = _standardised(scores, labels, facts)
    if len(values) < 2:
        logger.warning_once("loss 'ccc' of a batch with one known label is its squared error; use larger batches")
        return F.mse_loss(values, targets)
    deviations, target_deviations = values - values.mean(), targets - targets.mean()
    apart = deviations.square().mean() + target_deviations.square().mean() + (values.mean() - targets.mean()).square()
    return 1 - 2 * (deviations * target_deviations).mean() / apart.clamp(min=1e-12)


def label_distribution(
    scores: Tensor, labels: Tensor, facts: LossFacts, *, sigma: float = 2.0, l1_weight: float = 1.0
) -> Tensor:
    """Divergence from a normal distribution around the label, plus the absolute error of the mean.

    Gao et al., "Age estimation using expectation of label distribution learning" (DLDL-v2), IJCAI 2018, section 3:
    KL(label || scores) + l1_weight * |mean - label| / standard deviation of the target.

    Args:
        scores: (B, values), logits of the distribution.
        labels: (B,), in the target's own unit.
        facts: its `bins` and `target_std`.
        sigma: standard deviation of the normal distribution, in the target's own unit.
        l1_weight: factor on the absolute error.

    Raises:
        InputError: the values of the distribution are not known.
    """
    if facts.bins is None:
        raise InputError("loss 'label_distribution' needs the bins of head 'distribution'")
    labels = labels.float()
    values = bin_values(facts.bins, scores.shape[-1], scores.device)
    log_targets = (-0.5 * ((values - labels[:, None]) / sigma).square()).log_softmax(-1)
    log_p = scores.float().log_softmax(-1)
    divergence = (log_targets.exp() * (log_targets - log_p)).sum(-1).mean()
    error = F.l1_loss(expectation(scores, facts.bins), labels) / facts.target_std
    return divergence + l1_weight * error


LOSSES: dict[str, Loss] = {
    "cross_entropy": Loss(cross_entropy, SINGLE_LABEL, limits={"label_smoothing": (0, 1)}),
    "focal": Loss(focal, SINGLE_LABEL, limits={"gamma": (0, inf)}),
    "logit_adjusted": Loss(logit_adjusted, SINGLE_LABEL, limits={"tau": (0, inf)}),
    "am_softmax": Loss(am_softmax, SINGLE_LABEL, ("cosine",), {"margin": (0, 2)}),
    "aam_softmax": Loss(aam_softmax, SINGLE_LABEL, ("cosine",), {"margin": (0, pi), "warmup_steps": (0, inf)}),
    "coral": Loss(coral, SINGLE_LABEL, ("ordinal",)),
    "binary_cross_entropy": Loss(binary_cross_entropy, MULTI_LABEL),
    "mse": Loss(mse, REGRESSION),
    "l1": Loss(l1, REGRESSION),
    "huber": Loss(huber, REGRESSION, limits={"delta": (1e-6, inf)}),
    "ccc": Loss(ccc, REGRESSION),
    "label_distribution": Loss(
        label_distribution, REGRESSION, ("distribution",), {"sigma": (1e-3, inf), "l1_weight": (0, inf)}
    ),
}


def apply_loss(loss: Loss, options: Mapping[str, Any], scores: Tensor, labels: Tensor, facts: LossFacts) -> Tensor:
    """The loss over the rows whose labels are known; 0, with a gradient of 0, where none is.

    Not known are -100 and NaN, whatever the labels are; a row of several labels counts as long as one is known.

    Args:
        loss: an entry of `LOSSES`.
        options: its options.
        scores: (B, S).
        labels: (B,) class numbers or numbers in the target's own unit, or (B, C) from 0 to 1 for several labels.
        facts: what the loss needs beside.

    Raises:
        InputError: labels of another shape or type, or out of range.
    """
    kind = loss.problem_type
    if not isinstance(labels, Tensor):
        raise InputError(f"labels are a {type(labels).__name__}: give a tensor")
    shape = scores.shape if kind == MULTI_LABEL else scores.shape[:1]
    if labels.shape != shape:
        raise InputError(f"labels have the shape {tuple(labels.shape)}, but this model's loss takes {tuple(shape)}")
    if kind == SINGLE_LABEL:
        if labels.is_floating_point():
            raise InputError(f"labels are {labels.dtype}, but classes are whole numbers: give torch.long")
    known = known_labels(labels)
    # the losses of several labels know them by NaN
    labels = labels.long() if kind == SINGLE_LABEL else labels.float().masked_fill(~known, torch.nan)
    if not (torch.compiler.is_compiling() or torch.jit.is_tracing()):
        _check_range(kind, labels, known, scores.shape[1])
    rows = known.any(1) if kind == MULTI_LABEL else known
    if not rows.all():
        scores, labels = scores[rows], labels[rows]
    if not len(scores):
        return scores.float().sum()  # of nothing: 0, and the graph still reaches every parameter
    return loss.function(scores, labels, facts, **options)


def known_labels(labels: Tensor) -> Tensor:
    """Which labels are known, that is neither -100 nor NaN: bool, of the same shape."""
    numbers = labels if labels.is_floating_point() else labels.long()  # 156 is no -100, though both are 8 bits
    return (numbers != UNKNOWN) & ~numbers.isnan()


def valid_heads(loss_name: str, heads: Mapping[str, type[Head]] = HEADS) -> list[str]:
    """Names of the heads that a loss goes with.

    Args:
        loss_name: a name in `LOSSES`.
        heads: name -> head.

    Raises:
        InputError: no such loss.
    """
    loss = lookup(LOSSES, loss_name, "loss")
    if loss.heads is not None:
        return [name for name in loss.heads if name in heads]
    # The scores of a head in units are its own affair: a loss that knows them names it.
    return [name for name, head in heads.items() if loss.problem_type in head.problem_types and not head.in_units]


def check_pair(loss_name: str, head_name: str) -> None:
    """Raises InputError where a loss and a head do not go together; the heads and losses that do are listed."""
    lookup(HEADS, head_name, "head")
    valid = valid_heads(loss_name)
    if head_name not in valid:
        losses = ", ".join(name for name in LOSSES if head_name in valid_heads(name))
        raise InputError(
            f"loss {loss_name!r} does not go with head {head_name!r}; valid heads for the loss: {', '.join(valid)}; "
            f"valid losses for the head: {losses}"
        )


def check_options(loss_name: str, options: Mapping[str, Any]) -> None:
    """Raises InputError for an option that the loss does not have, or a value of another kind or outside its limits."""
    loss = lookup(LOSSES, loss_name, "loss")
    with_options(loss.function, options, f"loss {loss_name!r}")
    for name, value in options.items():
        low, high = loss.limits.get(name, (-inf, inf))
        if not low <= value <= high:
            raise InputError(f"loss {loss_name!r}: {name} is {value}; give a number from {low:g} to {high:g}")


def _check_range(kind: str, labels: Tensor, known: Tensor, count: int) -> None:
    if kind == REGRESSION:
        wrong, valid = labels.isinf(), "finite numbers"
    elif kind == MULTI_LABEL:
        wrong, valid = (labels < 0) | (labels > 1), "0 to 1"
    else:
        wrong, valid = (labels < 0) | (labels >= count), f"0 to {count - 1}"
    wrong = wrong & known
    if wrong.any():
        unknown = f"{UNKNOWN} where not known" if kind == SINGLE_LABEL else f"{UNKNOWN} or NaN where not known"
        raise InputError(f"label {labels[wrong][0].item():g} is out of range; valid: {valid}, or {unknown}")


def _standardised(scores: Tensor, labels: Tensor, facts: LossFacts) -> tuple[Tensor, Tensor]:
    return scores.float().squeeze(-1), (labels.float() - facts.target_mean) / facts.target_std


def _weighted_mean(values: Tensor, labels: Tensor, facts: LossFacts) -> Tensor:
    weights = _vector(facts.class_weights, values)
    if weights is None:
        return values.mean()
    return (weights[labels] * values).sum() / weights[labels].sum()


def _vector(values: Sequence[float] | None, like: Tensor) -> Tensor | None:
    return None if values is None else torch.tensor(values, dtype=torch.float32, device=like.device)
