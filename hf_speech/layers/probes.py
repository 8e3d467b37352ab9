"""Small models that are fitted on what layers say of utterances: how much of the target is there, linearly?

The numbers of a layer are standardised by the rows that a probe is fitted on, and nothing else of any other row enters
it. Classes: logistic regression; numbers: ridge regression. How strongly either is held back (its C, or one over its
alpha) is chosen from `STRENGTHS` on validation rows, or by inner folds of the training rows where there are none.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

STRENGTHS = (1.0, 1e-1, 1e-2, 1e-3, 1e-4)  # of logistic regression C, of ridge regression 1 / alpha: from free to stiff
INNER_FOLDS = 3
_ITERATIONS = 2_000  # of logistic regression at most; from the few hundreds on nothing changes
_STEPS = 200  # of L-BFGS on a weighted sum
_LITTLE = 1e-12  # of the loss and of what is learned, below which L-BFGS ends
_SLIGHT = 1e-6  # what varies less, beside the largest deviation, is a constant that was rounded

Predict = Callable[[NDArray], NDArray]  # (n, D) or (n, L, D) -> (n,) numbers of classes, or values
Score = Callable[[NDArray, NDArray], float]  # (n,) labels, (n,) predictions -> what decides


@dataclass(frozen=True)
class Goal:
    """What a probe is fitted for.

    Attributes:
        classes: how many there are; 0: a number is predicted.
        score: the metric that decides.
        more_is_better: of it.
        weights: of the classes in the loss: "balanced", a factor each, or None.
    """

    classes: int
    score: Score
    more_is_better: bool
    weights: str | Sequence[float] | None = None

    def best(self, scores: Sequence[float]) -> int:
        """The place of the best score, the first of equal ones; what is not defined is the worst."""
        signed = [score if self.more_is_better else -score for score in scores]
        return int(np.argmax([-np.inf if np.isnan(score) else score for score in signed]))

    def row_weights(self, labels: NDArray) -> NDArray:
        """(N,) how much each row counts in the loss; their mean is 1 where classes are balanced."""
        if self.weights is None or not self.classes:
            return np.ones(len(labels))
        if self.weights == "balanced":
            counts = np.bincount(labels, minlength=self.classes)
            return (len(labels) / (np.count_nonzero(counts) * np.maximum(counts, 1)))[labels]
        return np.asarray(self.weights, dtype=np.float64)[labels]


@dataclass(frozen=True)
class Fitted:
    """A probe with the strength that was chosen for it.

    Attributes:
        strength: of `STRENGTHS`.
        score: by which it was chosen: on validation rows, or on the held-out rows of the inner folds together.
        predict: what it says of rows.
    """

    strength: float
    score: float
    predict: Predict


def linear_probes(features: NDArray, labels: NDArray, goal: Goal, strengths: Sequence[float]) -> list[Predict]:
    """Linear probes of the same rows, one for each strength.

    Args:
        features: (N, D).
        labels: (N,) class numbers, or values.
        goal: what they are.
        strengths: see `STRENGTHS`.
    """
    from sklearn.linear_model import LogisticRegression, Ridge  # slow to import

    standardise = _standardised(features)
    turned, turn = _in_their_span(standardise(features))
    if goal.classes and len(present := np.unique(labels)) == 1:
        return [lambda rows: np.full(len(rows), present[0])] * len(strengths)
    probes = []
    for strength in strengths:
        model: Any = LogisticRegression(C=strength, max_iter=_ITERATIONS) if goal.classes else Ridge(1 / strength)
        model.fit(turned, labels, sample_weight=goal.row_weights(labels))
        probes.append(_predicting(model, standardise, turn))
    return probes


def _predicting(model: Any, standardise: Callable[[NDArray], NDArray], turn: NDArray | None) -> Predict:
    return lambda rows: model.predict(standardise(rows) if turn is None else standardise(rows) @ turn)


def _standardised(features: NDArray) -> Callable[[NDArray], NDArray]:
    """What brings rows to the mean 0 and the deviation 1 of these (N, D); what is constant here becomes 0."""
    mean, deviation = features.mean(0, dtype=np.float64), features.std(0, dtype=np.float64)
    varies = deviation > _SLIGHT * deviation.max(initial=0.0)
    factors = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=varies)
    return lambda rows: (rows - mean) * factors


def _in_their_span(features: NDArray) -> tuple[NDArray, NDArray | None]:
    """Fewer rows than dimensions, turned into the few that they span, and by what (D, N); else as they are, and None.

    A probe whose weights are held back by their square has none outside of that span, so it is the same probe.
    """
    if len(features) >= features.shape[1]:
        return features, None
    turn = np.linalg.svd(features, full_matrices=False)[2].T
    return features @ turn, turn


def fit_probe(
    features: NDArray,
    labels: NDArray,
    goal: Goal,
    held_out: tuple[NDArray, NDArray] | None,
    inner: Sequence[tuple[NDArray, NDArray]] = (),
) -> Fitted:
    """A linear probe of one layer, with the best of all strengths.

    Args:
        features: (N, D) of the training rows.
        labels: (N,) of the same.
        goal: what they are.
        held_out: features and labels of the validation rows; None: there are none.
        inner: of inner folds, the places of the rows that are fitted on and of those that are held out; these decide
            where there are no validation rows.
    """
    if held_out is not None:
        probes = linear_probes(features, labels, goal, STRENGTHS)
        scores = [goal.score(held_out[1], probe(held_out[0])) for probe in probes]
        best = goal.best(scores)
        return Fitted(STRENGTHS[best], scores[best], probes[best])
    said: list[list[NDArray]] = [[] for _ in STRENGTHS]
    for fitted, left in inner:
        for found, probe in zip(said, linear_probes(features[fitted], labels[fitted], goal, STRENGTHS), strict=True):
            found.append(probe(features[left]))
    asked = labels[np.concatenate([left for _, left in inner])]
    scores = [goal.score(asked, np.concatenate(found)) for found in said]
    best = goal.best(scores)
    (probe,) = linear_probes(features, labels, goal, STRENGTHS[best : best + 1])
    return Fitted(STRENGTHS[best], scores[best], probe)


def inner_folds(
    labels: NDArray, speakers: Sequence[str] | None, goal: Goal, seed: int
) -> list[tuple[NDArray, NDArray]]:
    """Training rows in folds: of speakers, where each class has two or more; else of rows, with all classes in each.

    Args:
        labels: (N,).
        speakers: (N,) who speaks; None: not known.
        goal: what the labels are.
        seed: of the draw.

    Returns:
        For each fold the places of the rows that are fitted on, and of those that are held out.
    """
    from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold

    kinds = labels if goal.classes else np.zeros(len(labels), dtype=np.int64)
    groups = None if speakers is None else np.unique(np.asarray(speakers), return_inverse=True)[1]
    if groups is not None:
        least = min(len(np.unique(groups[kinds == kind])) for kind in np.unique(kinds))
        groups = None if least < 2 else groups
    if groups is not None:
        count = min(INNER_FOLDS, len(np.unique(groups)))
        by_speaker: Any = StratifiedGroupKFold if goal.classes else GroupKFold
        return list(by_speaker(count, shuffle=True, random_state=seed).split(kinds, kinds, groups))
    largest = int(np.bincount(kinds).max())  # no more folds than that have some of each class
    by_row: Any = StratifiedKFold if goal.classes and largest > 1 else KFold
    with warnings.catch_warnings():  # a class of a row or two can't be in every fold
        warnings.simplefilter("ignore", UserWarning)
        count = min(INNER_FOLDS, largest if largest > 1 else len(labels))
        folds = by_row(count, shuffle=True, random_state=seed)
        return list(folds.split(kinds, kinds))


def fit_weighted_sum(means: NDArray, labels: NDArray, goal: Goal, strength: float) -> tuple[Predict, NDArray]:
    """A linear probe on a learned sum of the layers: weights that are above 0 and sum to 1, learned with the rest.

    The mean of a sum is the sum of the means, so this is a model of ours with `layer` "weighted_sum" and `pooling`
    "mean". That the shares can be compared, each layer is divided by its deviation, of all dimensions together. A prior
    holds them near equal ones where the rows don't say otherwise (the logarithms of the shares, but for what all have
    in common, are normal with deviation 1): with none, the largest numbers take all.

    Args:
        means: (N, L, D) over the frames of each layer.
        labels: (N,).
        goal: what they are.
        strength: of `STRENGTHS`.

    Returns:
        The probe, of (n, L, D); and (L,) the share of each layer.
    """
    centre = means.mean(0, dtype=np.float64)
    deviations = np.sqrt(((means - centre) ** 2).mean(0))  # (L, D)
    of_layers = np.maximum(np.sqrt((deviations**2).mean(1, keepdims=True)), np.finfo(np.float64).tiny)
    of_dimensions = np.sqrt(((deviations / of_layers) ** 2).mean(0))
    varies = of_dimensions > _SLIGHT
    factors = np.divide(1.0, of_dimensions, out=np.zeros_like(of_dimensions), where=varies) / of_layers

    def scaled(rows: NDArray) -> Tensor:
        return torch.from_numpy(((rows - centre) * factors).astype(np.float32))

    middle, spread = (0.0, 1.0) if goal.classes else (float(labels.mean()), float(labels.std()) or 1.0)
    wanted = torch.from_numpy(labels if goal.classes else (labels - middle) / spread)
    learned = _least_loss(scaled(means), wanted, torch.from_numpy(goal.row_weights(labels)), goal, strength)

    def predict(rows: NDArray) -> NDArray:
        with torch.no_grad():
            said = _mixed(scaled(rows), *learned)
        return (said.argmax(-1) if goal.classes else said[:, 0] * spread + middle).numpy()

    return predict, learned[0].softmax(0).double().numpy()


def _mixed(rows: Tensor, mix: Tensor, weights: Tensor, bias: Tensor) -> Tensor:
    """(n, L, D), (L,), (D, C), (C,) -> (n, C)."""
    return (torch.einsum("l,nld->nd", mix.softmax(0).float(), rows) @ weights.float()).double() + bias


def _least_loss(rows: Tensor, wanted: Tensor, counted: Tensor, goal: Goal, strength: float) -> tuple[Tensor, ...]:
    """The mix (L,), the weights (D, C) and the bias (C,) of the least loss that L-BFGS finds from equal shares.

    A stiff probe has small weights, and what the mix gains by them is smaller yet: the weights are sought as multiples
    of the strength, the loss is divided by it, and summed in double precision.
    """
    outputs = max(goal.classes, 1)
    shapes = ((rows.shape[1],), (rows.shape[2], outputs), (outputs,))
    mix, multiples, bias = (torch.zeros(shape, dtype=torch.float64, requires_grad=True) for shape in shapes)
    optimizer = torch.optim.LBFGS(
        [mix, multiples, bias], max_iter=_STEPS, tolerance_change=_LITTLE, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        said = _mixed(rows, mix, strength * multiples, bias)
        if goal.classes:
            each = torch.nn.functional.cross_entropy(said, wanted, reduction="none")
        else:
            each = (said[:, 0] - wanted).square() / 2  # as ridge regression, where alpha is 1 / strength
        held_back = multiples.square().sum() * strength / 2 + mix.square().sum() / 2
        whole = ((each * counted).sum() + held_back) / (strength * len(rows))
        whole.backward()
        return whole

    optimizer.step(loss)
    return mix.detach(), strength * multiples.detach(), bias.detach()
