"""All numbers of one evaluation, each with its interval: {name, value, low, high, unit, interval_unit}.

`value` is in `unit`; `low` and `high` are the ends of the 95 % interval in the same unit; `interval_unit` says what was
resampled for it, "speaker", "utterance" or "trial" (see bootstrap.py). All numbers of one call share their resamples.
The interval of macro-F1 can lie below its value where classes have only a handful of items: a draw then misses some of
a class's few and has others twice.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import classification, multilabel, regression, verification
from .bootstrap import MIN_SPEAKERS, Interval, bootstrap, bootstrap_trials
from .ordinal import METRICS as ORDINAL_METRICS
from .ordinal import UNITS as ORDINAL_UNITS
from .ranking import Ranking

P_TARGETS = (0.01, 0.05)  # what most results on VoxCeleb were reported with, and what the VoxCeleb challenges take


@dataclass(frozen=True)
class Measure:
    """Several numbers of the same items.

    Attributes:
        units: name of a number -> its unit, in order.
        count: items, N.
        of: (N,) whole weights, how many times each item counts -> the numbers.
    """

    units: dict[str, str]
    count: int
    of: Callable[[NDArray], list[float]]

    def values(self) -> dict[str, float]:
        """The numbers, every item counted once."""
        return dict(zip(self.units, self.of(np.ones(self.count, dtype=np.int64)), strict=True))


def classification_measure(
    labels: Sequence[int] | NDArray, predictions: Sequence[int] | NDArray, num_classes: int, *, ordinal: bool = False
) -> Measure:
    """The numbers of `classification_numbers`."""
    whole = classification.confusion_matrix(labels, predictions, num_classes)
    metrics = classification.METRICS | {"macro_f1": partial(classification.macro_f1, unlabelled=whole.sum(axis=1) == 0)}
    metrics |= ORDINAL_METRICS if ordinal else {}

    def measure(weights: NDArray) -> list[float]:
        confusion = classification.confusion_matrix(labels, predictions, num_classes, weights)
        return [metric(confusion) for metric in metrics.values()]

    return Measure(dict.fromkeys(metrics, "fraction") | (ORDINAL_UNITS if ordinal else {}), len(labels), measure)


def regression_measure(labels: Sequence[float] | NDArray, predictions: Sequence[float] | NDArray, unit: str) -> Measure:
    """The numbers of `regression_numbers`."""

    def measure(weights: NDArray) -> list[float]:
        return [metric(labels, predictions, weights) for metric in regression.METRICS.values()]

    units = {"mae": unit, "rmse": unit, "pearson_r": "correlation", "ccc": "correlation"}
    return Measure(units, len(labels), measure)


def multilabel_measure(
    labels: Sequence[Sequence[int]] | NDArray,
    scores: Sequence[Sequence[float]] | NDArray,
    threshold: float = multilabel.THRESHOLD,
) -> Measure:
    """The numbers of `multilabel_numbers`."""
    y, x = np.asarray(labels), np.asarray(scores)
    rankings = multilabel.rank_classes(y, x)
    macro_f1 = partial(multilabel.macro_f1, threshold=threshold, unlabelled=y.sum(axis=0) == 0)

    def measure(weights: NDArray) -> list[float]:
        return [
            macro_f1(y, x, weights),
            multilabel.micro_f1(y, x, weights, threshold),
            multilabel.mean_average(rankings, weights),
            multilabel.exact_match(y, x, weights, threshold),
        ]

    return Measure(dict.fromkeys(multilabel.METRICS, "fraction"), len(y), measure)


def voices(labels: Sequence[Any] | NDArray, speakers: Sequence[str] | None) -> Sequence[str] | None:
    """Speakers to resample; None where each class is one speaker: then they are no sample of others."""
    if speakers is not None and len(set(zip(labels, speakers, strict=True))) == len(set(labels)):
        return None
    return speakers


def classification_numbers(
    labels: Sequence[int] | NDArray,
    predictions: Sequence[int] | NDArray,
    num_classes: int,
    speakers: Sequence[str] | None = None,
    seed: int = 0,
    *,
    ordinal: bool = False,
) -> list[dict[str, Any]]:
    """UAR (UA), accuracy (WA) and macro-F1, as fractions; for classes in an order also how far off.

    Args:
        labels: (N,) true classes, 0 to num_classes - 1.
        predictions: (N,) predicted classes.
        num_classes: how many there are.
        speakers: (N,) who speaks; None: not known. Where every class is one speaker, the speakers are no sample of
            others but the classes themselves, so utterances are resampled then.
        seed: of the resamples.
        ordinal: whether the classes stand in an order: then the metrics of ordinal.py follow.

    Raises:
        ValueError: no items, lengths differ, or a class does not exist.

    Example:
        >>> uar = classification_numbers([0, 1, 1, 0], [0, 1, 0, 0], 2)[0]
        >>> uar["name"], round(uar["value"], 3), uar["interval_unit"]
        ('uar', 0.75, 'utterance')
    """
    measure = classification_measure(labels, predictions, num_classes, ordinal=ordinal)
    _check_speakers(speakers, len(labels))
    return _numbers(measure, voices(labels, speakers), seed)


def regression_numbers(
    labels: Sequence[float] | NDArray,
    predictions: Sequence[float] | NDArray,
    unit: str,
    speakers: Sequence[str] | None = None,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Mean absolute error, root mean squared error, Pearson's r and Lin's concordance correlation.

    Args:
        labels: (N,) true values.
        predictions: (N,) predicted values.
        unit: of both, in words ("years").
        speakers: (N,) who speaks; None: not known.
        seed: of the resamples.

    Raises:
        ValueError: no items, or lengths differ.
    """
    _check_speakers(speakers, len(labels))
    return _numbers(regression_measure(labels, predictions, unit), speakers, seed)


def multilabel_numbers(
    labels: Sequence[Sequence[int]] | NDArray,
    scores: Sequence[Sequence[float]] | NDArray,
    threshold: float = multilabel.THRESHOLD,
    speakers: Sequence[str] | None = None,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Macro-F1, micro-F1, mean average precision and exact match, as fractions.

    Args:
        labels: (N, C), 1 where an item has a class, else 0.
        scores: (N, C) probabilities, each on its own.
        threshold: the lowest score that says yes.
        speakers: (N,) who speaks; None: not known.
        seed: of the resamples.

    Raises:
        ValueError: no items, shapes differ, a label that is neither 0 nor 1, or a score that is not finite.
    """
    _check_speakers(speakers, len(labels))
    return _numbers(multilabel_measure(labels, scores, threshold), speakers, seed)


def share_numbers(
    counts: Mapping[str, Sequence[int] | NDArray],
    total: Sequence[int] | NDArray,
    speakers: Sequence[str] | None = None,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Shares of the parts of N items, such as of the hidden frames of utterances those that were told right.

    Args:
        counts: name of a share -> (N,) parts of each item that count for it.
        total: (N,) parts of each item.
        speakers: (N,) who speaks; None: not known.
        seed: of the bootstrap, which resamples items, or speakers.

    Raises:
        ValueError: no items, or lengths differ.

    Example:
        >>> (number,) = share_numbers({"accuracy": [1, 3]}, [2, 4])
        >>> number["name"], round(number["value"], 3), number["interval_unit"]
        ('accuracy', 0.667, 'utterance')
    """
    parts, whole = np.array(list(counts.values())), np.asarray(total)

    def measure(weights: NDArray) -> list[float]:
        return list(parts @ weights / (whole @ weights))

    _check_speakers(speakers, len(whole))
    return _numbers(Measure(dict.fromkeys(counts, "fraction"), len(whole), measure), speakers, seed)


def verification_units(p_targets: Sequence[float] = P_TARGETS, *, calibrated: bool = False) -> dict[str, str]:
    """The names of `verification_numbers` and their units: costs of the first prior by their name, then `min_dcf_0.05`.

    >>> list(verification_units(calibrated=True))
    ['eer', 'min_dcf', 'min_dcf_0.05', 'act_dcf', 'act_dcf_0.05', 'cllr', 'min_cllr']
    """
    units = {"eer": "fraction"}
    for name in ("min_dcf", "act_dcf") if calibrated else ("min_dcf",):
        for i, prior in enumerate(p_targets):
            units[f"{name}_{prior:g}" if i else name] = f"cost at p_target {prior:g}"
    return units | ({"cllr": "bits", "min_cllr": "bits"} if calibrated else {})


def verification_measure(
    labels: Sequence[int] | NDArray,
    scores: Sequence[float] | NDArray,
    *,
    llrs: Sequence[float] | NDArray | None = None,
    p_target: float | Sequence[float] = P_TARGETS,
    c_miss: float = 1.0,
    c_fa: float = 1.0,
) -> Measure:
    """The numbers of `verification_numbers`."""
    priors = (p_target,) if isinstance(p_target, int | float) else tuple(p_target)
    if not priors or len({f"{prior:g}" for prior in priors}) < len(priors):
        raise ValueError(f"p_target {list(priors)}: give one prior or several, none twice")
    ranking = Ranking.of(labels, scores).corners()
    thresholds = [verification.bayes_threshold(prior, c_miss, c_fa) for prior in priors]
    table = None
    if llrs is not None:
        ratios = np.asarray(llrs, dtype=np.float64)
        verification.act_dcf(labels, ratios)  # has the words for what is wrong with them
        table = _sums(np.asarray(labels) == 1, ratios, thresholds)

    def measure(weights: NDArray) -> list[float]:
        curve = verification.ranked_roc(ranking, weights)
        numbers = [curve.eer, *(curve.min_dcf(prior, c_miss, c_fa) for prior in priors)]
        if table is None:
            return numbers
        sums = (table @ weights.astype(np.float64)).reshape(-1, 2)
        with np.errstate(invalid="ignore"):  # a kind that was not drawn has no mean
            *rates, bits = sums[:-1] / sums[-1]
        for prior, (fnmr, fmr) in zip(priors, rates, strict=True):
            numbers.append(float(verification.detection_cost(fnmr, fmr, prior, c_miss, c_fa)))
        return [*numbers, float(bits.mean()), curve.min_cllr]

    return Measure(verification_units(priors, calibrated=llrs is not None), len(ranking.order), measure)


def _sums(is_target: NDArray, llrs: NDArray, thresholds: list[float]) -> NDArray:
    """(2 * (thresholds + 2), N): a product with weights gives the sums that means over either kind are made of.

    In turn of targets and of non-targets: the mistakes at each threshold, the bits, the trials themselves.
    """
    costs = [verification.mistakes(is_target, llrs, threshold) for threshold in thresholds]
    costs += [verification.surprises(is_target, llrs), np.ones(len(llrs))]
    return np.stack([cost * kind for cost in costs for kind in (is_target, ~is_target)])


def verification_numbers(
    labels: Sequence[int] | NDArray,
    scores: Sequence[float] | NDArray,
    speakers: tuple[Sequence[str], Sequence[str]] | None = None,
    seed: int = 0,
    *,
    llrs: Sequence[float] | NDArray | None = None,
    p_target: float | Sequence[float] = P_TARGETS,
    c_miss: float = 1.0,
    c_fa: float = 1.0,
) -> list[dict[str, Any]]:
    """Equal error rate, as a fraction, and the normalised minimum of the detection cost at each prior.

    With log-likelihood ratios also the cost of decisions by them, and Cllr and its minimum, in bits. EER and the minima
    are those of the scores: what the order of trials tells. That is the order of the ratios too, where they were found
    by one rising map; not so of ratios by several maps, such as those across speakers.

    Args:
        labels: (N,) 1 for a target trial (the same speaker), 0 for a non-target.
        scores: (N,) finite; the higher, the likelier the same speaker.
        speakers: (N,) who speaks on the left and (N,) on the right; None: not known. The order of the trials does not
            matter where they are.
        seed: of the resamples.
        llrs: (N,) log-likelihood ratios (natural logarithm) of the same trials; None: there are none.
        p_target: prior probabilities of a target, one or several; the first one's costs have no number in their name.
        c_miss: cost of a refused target.
        c_fa: cost of an accepted non-target.

    Raises:
        ValueError: no trials, lengths differ, other labels, a score that is not finite, a target between two speakers
            or a non-target within one; a prior or a cost that is none.
    """
    if speakers is not None:
        check_trial_speakers(labels, *speakers)
    # Sorted once for all: a resample of millions of trials is then read from memory in order.
    order = Ranking.of(labels, scores).order
    kinds, ratios = np.asarray(labels)[order], None if llrs is None else np.asarray(llrs)[order]
    options: dict[str, Any] = {"p_target": p_target, "c_miss": c_miss, "c_fa": c_fa}
    measure = verification_measure(kinds, np.asarray(scores)[order], llrs=ratios, **options)
    sides = None if speakers is None else tuple(np.asarray(side, dtype=object)[order] for side in speakers)
    interval = bootstrap_trials(measure.of, voices_of_trials(kinds, sides) or measure.count, seed=seed)
    return number_rows(measure.units, list(measure.values().values()), interval)


def voices_of_trials(labels: NDArray, speakers: Any) -> Any:
    """Speakers to resample; None where targets are of fewer than 10: a draw has these few whole or not at all.

    Args:
        labels: (N,).
        speakers: (N,) on the left and (N,) on the right; None: not known.
    """
    if speakers is None or 0 < len(set(np.asarray(speakers[0], dtype=object)[labels == 1])) < MIN_SPEAKERS:
        return None
    return speakers


def check_trial_speakers(labels: Sequence[int] | NDArray, left: Sequence[str], right: Sequence[str]) -> None:
    """Raises ValueError where the speakers are more or fewer than the trials, or belie a label."""
    if not len(left) == len(right) == len(labels):
        what = f"{len(labels)} trials, {len(left)} left and {len(right)} right speakers"
        raise ValueError(f"{what}; give one of each a trial")
    for i, (label, one, other) in enumerate(zip(labels, left, right, strict=True)):
        if (one == other) != bool(label) and one is not None and other is not None:
            kind = "target" if label else "non-target"
            raise ValueError(f"trial {i} is a {kind}, but its speakers are {str(one)!r} and {str(other)!r}; mend one")


def _check_speakers(speakers: Sequence[str] | None, count: int) -> None:
    if speakers is not None and len(speakers) != count:
        raise ValueError(f"{count} items and {len(speakers)} speakers; give one speaker an item")


def _numbers(measure: Measure, speakers: Sequence[str] | None, seed: int) -> list[dict[str, Any]]:
    interval = bootstrap(measure.of, measure.count if speakers is None else speakers, seed=seed)
    return number_rows(measure.units, list(measure.values().values()), interval)


def number_rows(units: dict[str, str], values: list[float], interval: Interval) -> list[dict[str, Any]]:
    """Numbers with the interval that they were resampled to, as results.json has them."""
    return [
        {
            "name": name,
            "value": float(value),
            "low": float(low),
            "high": float(high),
            "unit": unit,
            "interval_unit": interval.unit,
        }
        for (name, unit), value, low, high in zip(units.items(), values, interval.low, interval.high, strict=True)
    ]
