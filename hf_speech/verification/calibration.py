"""Scores -> log-likelihood ratios, probabilities and decisions, learnt from trials whose answer is known.

A score orders trials; it does not say how likely it is the same speaker. A calibration does, for trials of the kind
that it was fitted on: other trials than those that it is measured on.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError, lookup, one_line
from ..metrics.verification import roc
from ..models.registry import is_number

SCORE = "score"


@dataclass(frozen=True)
class Calibration:
    """An affine map of the score, and of the quality of both sides, to the log-likelihood ratio; made by `fit`.

    Attributes:
        names: what is weighted: "score", then the quality measures.
        weights: of each, the first above 0.
        offset: is added.
        p_target: the prior at which it was fitted.
        thresholds: name -> log-likelihood ratio from which on a trial is accepted: "eer", and such as "fmr_0.01" where
            that share of the non-targets may be accepted; as on the trials that it was fitted on.

    Raises:
        InputError: numbers that are not finite, or out of the bounds above; names that can't be printed.

    Example:
        >>> calibration = Calibration.fit([0.1, 0.2, 0.35, 0.3, 0.5, 0.7], [0, 0, 0, 1, 1, 1])
        >>> low, high = calibration.probability([0.0, 1.0])
        >>> bool(low < 0.05 < 0.95 < high)
        True
    """

    names: tuple[str, ...]
    weights: tuple[float, ...]
    offset: float
    p_target: float
    thresholds: Mapping[str, float]

    def __post_init__(self) -> None:
        numbers = [*self.weights, self.offset, self.p_target, *self.thresholds.values()]
        if self.names[:1] != (SCORE,) or len(self.names) != len(self.weights) or not all(map(is_number, numbers)):
            raise InputError(f"the calibration has names {list(self.names)} and numbers {numbers}; fit it again")
        if not self.weights[0] > 0:
            raise InputError(f"the weight of the score is {self.weights[0]:g}, and must be above 0; fit it again")
        if not 0 < self.p_target < 1:
            raise InputError(f"p_target is {self.p_target:g}; give a probability between 0 and 1")
        for name in (*self.names, *self.thresholds):
            if not name.isprintable():  # it would reach the terminal as it is
                raise InputError(f"the calibration has a name {name!r}; fit it again with names that can be printed")

    @classmethod
    def fit(
        cls,
        scores: ArrayLike,
        labels: ArrayLike,
        qualities: ArrayLike | None = None,
        *,
        names: Sequence[str] | None = None,
        p_target: float = 0.5,
        false_acceptance_rates: Sequence[float] = (),
    ) -> "Calibration":
        """Logistic regression without penalty, the targets weighted to the share `p_target` of all trials.

        Bruemmer & du Preez, "Application-independent evaluation of speaker detection", Computer Speech and Language
        2006; on qualities: Thienpondt, Desplanques & Demuynck, "The IDLab VoxSRC-20 submission: large margin
        fine-tuning and quality-aware score calibration", ICASSP 2021.

        Args:
            scores: (N,) the higher, the likelier the same speaker.
            labels: (N,) 1 for a target, 0 for a non-target.
            qualities: (N, Q) measures of the trials, from `pair_qualities`; None: the score alone.
            names: of the Q measures; None: quality_1 and so on.
            p_target: between 0 and 1; near the prior that counts, decisions there are a little better.
            false_acceptance_rates: of the thresholds that are wished beside that at the EER.

        Raises:
            InputError: shapes that don't match, other labels, a number that is not finite (named), trials of one kind
                only, kinds that don't overlap (the ratios would be infinite), scores that fall where the speakers are
                the same, a measure that is always the same, or fewer non-targets than a wished rate needs.
        """
        if not 0 < p_target < 1:
            raise InputError(f"p_target is {p_target}; give a probability between 0 and 1")
        is_target = _check_trials(labels, scores)
        known = _names_of(qualities, names)
        columns = _columns(scores, qualities, known)
        for rate in false_acceptance_rates:
            _check_rate(rate, int((~is_target).sum()))
        weights, offset = _regress(columns, is_target, p_target, known)
        if not weights[0] > 0:
            raise InputError("scores don't rise where the speakers are the same; are the labels the wrong way round?")
        llrs = _weigh(columns, weights, offset)
        if llrs[is_target].min() >= llrs[~is_target].max():
            raise InputError(
                "every target is above every non-target: ratios have no bound; fit on more or harder trials"
            )
        curve = roc(is_target, llrs)
        thresholds = {"eer": curve.eer_threshold}
        thresholds |= {f"fmr_{rate:g}": curve.threshold_at_fmr(rate) for rate in false_acceptance_rates}
        for name, value in thresholds.items():
            if not np.isfinite(value):
                raise InputError(f"threshold {name}: too many non-targets have the highest score; give a higher rate")
        return cls(known, tuple(weights.tolist()), float(offset), float(p_target), thresholds)

    def llr(self, scores: ArrayLike, qualities: ArrayLike | None = None) -> NDArray:
        """Log-likelihood ratios, natural logarithm: same speaker against two.

        Args:
            scores: (N,), or one score.
            qualities: (N, Q), or (Q,) of one score; as at the fit.

        Returns:
            (N,), or a number.

        Raises:
            InputError: other shapes, qualities where there were none or the other way round, a number that is not
                finite (named).
        """
        values = np.asarray(scores, dtype=np.float64)
        given = None if qualities is None else np.asarray(qualities, dtype=np.float64)
        if values.ndim == 0:
            values, given = values[None], None if given is None else given[None]
        ratios = _weigh(_columns(values, given, self.names), np.array(self.weights), self.offset)
        return ratios if np.ndim(scores) else ratios[0]

    def probability(self, scores: ArrayLike, qualities: ArrayLike | None = None, *, prior: float = 0.5) -> NDArray:
        """How likely it is the same speaker, where that was `prior` before; see `llr`.

        Raises:
            InputError: a prior that is not between 0 and 1, or as for `llr`.
        """
        check_prior(prior)
        log_odds = self.llr(scores, qualities) + np.log(prior) - np.log1p(-prior)
        return np.exp(-np.logaddexp(0.0, -log_odds))

    def accepts(self, scores: ArrayLike, qualities: ArrayLike | None = None, *, threshold: str = "eer") -> NDArray:
        """Whether a trial is accepted as the same speaker, at one of the thresholds; see `llr`.

        Raises:
            InputError: no such threshold, or as for `llr`.
        """
        return self.llr(scores, qualities) >= lookup(self.thresholds, threshold, "threshold")

    def score_threshold(self, threshold: str = "eer") -> float:
        """A threshold as a score, where no qualities are weighed.

        Raises:
            InputError: no such threshold, or there are qualities: the score then depends on them.
        """
        if len(self.names) > 1:
            raise InputError(f"the score that is enough depends on {', '.join(self.names[1:])}; decide with `accepts`")
        return (lookup(self.thresholds, threshold, "threshold") - self.offset) / self.weights[0]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as a model's config has them."""
        plain = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
        return plain | {"thresholds": dict(self.thresholds)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Calibration":
        """What `to_dict` gave.

        Raises:
            InputError: something is missing, unknown, or no number.
        """
        wanted = [field.name for field in fields(cls)]
        if not isinstance(values, Mapping) or set(values) != set(wanted):
            found = list(values) if isinstance(values, Mapping) else repr(values)
            raise InputError(f"a calibration has {', '.join(wanted)}, and not {found}; fit it again")
        for name, kind in (("names", list), ("weights", list), ("thresholds", Mapping)):
            if not isinstance(values[name], kind):
                raise InputError(f"the calibration can't be read ({name} is {values[name]!r}); fit it again")
        names, thresholds = values["names"], values["thresholds"]
        if not all(isinstance(name, str) for name in (*names, *thresholds)):
            raise InputError("the calibration can't be read (a name is no text); fit it again")
        numbers = [*values["weights"], values["offset"], values["p_target"], *thresholds.values()]
        for value in numbers:
            if not is_number(value):
                raise InputError(f"the calibration can't be read ({value!r} is no finite number); fit it again")
        weights = tuple(map(float, values["weights"]))
        kept = {name: float(value) for name, value in thresholds.items()}
        return cls(tuple(names), weights, float(values["offset"]), float(values["p_target"]), kept)


def check_prior(prior: float) -> None:
    """Refuses what can't be how likely the same speaker was.

    Raises:
        InputError: it is not between 0 and 1.
    """
    if not 0 < prior < 1:
        raise InputError(f"prior is {prior}; give a probability between 0 and 1")


def cross_calibrated(
    scores: ArrayLike,
    labels: ArrayLike,
    speakers: tuple[Sequence[Any], Sequence[Any]],
    qualities: ArrayLike | None = None,
    *,
    names: Sequence[str] | None = None,
    p_target: float = 0.5,
    parts: int = 5,
    seed: int = 0,
) -> NDArray:
    """Log-likelihood ratios of trials, each by a calibration that was fitted on trials of other speakers.

    The speakers are dealt out into parts; trials between two parts are calibrated by the trials that have no speaker of
    either. So nothing that is measured on the ratios has been fitted on, where there is no second list to fit on.

    Args:
        scores: (N,) see `Calibration.fit`.
        labels: (N,) see there.
        speakers: (N,) who speaks on the left, and (N,) on the right.
        qualities: (N, Q) see there.
        names: see there.
        p_target: see there.
        parts: of the speakers, 3 or more.
        seed: of the deal.

    Raises:
        InputError: fewer than two speakers a part, or as for `Calibration.fit` of the trials of the others.
    """
    voices, numbers = np.unique([np.asarray(side, dtype=str) for side in speakers], return_inverse=True)
    if parts < 3 or len(voices) < 2 * parts:
        raise InputError(
            f"{len(voices)} speakers can't be dealt out into {parts} parts of two or more; calibrate on another list"
        )
    part = np.random.default_rng(seed).permutation(np.arange(len(voices)) % parts)
    one, other = np.sort(part[numbers.reshape(2, -1)], axis=0)
    values, kinds = np.asarray(scores, dtype=np.float64), np.asarray(labels)
    measures = None if qualities is None else np.asarray(qualities, dtype=np.float64)
    llrs = np.empty(len(values))
    for first, second in sorted(set(zip(one.tolist(), other.tolist(), strict=True))):
        asked = (one == first) & (other == second)
        apart = ~(np.isin(one, (first, second)) | np.isin(other, (first, second)))
        fitted = Calibration.fit(
            values[apart],
            kinds[apart],
            None if measures is None else measures[apart],
            names=names,
            p_target=p_target,
        )
        llrs[asked] = fitted.llr(values[asked], None if measures is None else measures[asked])
    return llrs


def pair_qualities(
    measures: Mapping[str, ArrayLike], left: ArrayLike, right: ArrayLike
) -> tuple[NDArray, tuple[str, ...]]:
    """Quality measures of utterances as those of trials: the lesser of both sides and the greater.

    So a trial has the same whichever side is called left. Measures that serve: the logarithm of the duration, the
    length of the embedding before it is normalised, the mean of its highest scores against a cohort.

    Args:
        measures: name -> (U,) one number an utterance.
        left: (N,) places of the left sides among the utterances.
        right: (N,) of the right sides.

    Returns:
        (N, 2 * len(measures)) and the names of the columns.

    >>> columns, names = pair_qualities({"log_duration": [1.0, 2.0, 3.0]}, [0, 2], [1, 1])
    >>> columns.tolist(), names
    ([[1.0, 2.0], [2.0, 3.0]], ('log_duration_min', 'log_duration_max'))
    """
    columns, names = [], []
    for name, values in measures.items():
        one, other = (np.asarray(values, dtype=np.float64)[np.asarray(side)] for side in (left, right))
        columns += [np.minimum(one, other), np.maximum(one, other)]
        names += [f"{name}_min", f"{name}_max"]
    return np.stack(columns, axis=1), tuple(names)


def _check_trials(labels: ArrayLike, scores: ArrayLike) -> NDArray:
    """(N,) bool, True at the targets."""
    try:
        defined = np.isfinite(roc(labels, scores).eer)
    except ValueError as error:
        raise InputError(one_line(error)) from None
    is_target = np.asarray(labels) == 1
    if not defined:
        missing = "non-targets" if is_target.all() else "targets"
        raise InputError(f"there are no {missing} among {len(is_target)} trials: the EER is not defined; add some")
    return is_target


def _check_rate(rate: float, others: int) -> None:
    if not 0 < rate < 1:
        raise InputError(f"a false acceptance rate is {rate}; give a share between 0 and 1")
    if rate * others < 1:
        needed = f"give {int(np.ceil(1 / rate))}, or a higher rate"
        raise InputError(f"a false acceptance rate of {rate:g} can't be seen in {others} non-targets; {needed}")


def _names_of(qualities: ArrayLike | None, names: Sequence[str] | None) -> tuple[str, ...]:
    shape = np.shape(qualities) if qualities is not None else (0, 0)
    if len(shape) != 2:
        raise InputError(f"qualities are {shape}; give (N, Q), a column a measure")
    given = tuple(names) if names is not None else tuple(f"quality_{i + 1}" for i in range(shape[1]))
    if len(given) != shape[1] or len({SCORE, *given}) != len(given) + 1:
        raise InputError(f"names {list(given)} for {shape[1]} qualities; give a name of its own to each")
    return (SCORE, *given)


def _columns(scores: ArrayLike, qualities: ArrayLike | None, names: Sequence[str]) -> NDArray:
    """(N, 1 + Q) of finite numbers."""
    values = np.asarray(scores, dtype=np.float64)
    measures = np.zeros((values.size, 0)) if qualities is None else np.asarray(qualities, dtype=np.float64)
    wanted = (values.size, len(names) - 1)
    if values.ndim != 1 or measures.shape != wanted:
        listed = ", ".join(names[1:]) or "none"
        raise InputError(
            f"scores are {values.shape} and qualities {measures.shape}; give one score and {wanted[1]} qualities "
            f"({listed}) a trial"
        )
    columns = np.column_stack([values, measures])
    finite = np.isfinite(columns)
    if not finite.all():
        row, column = np.argwhere(~finite)[0]
        raise InputError(f"{names[column]} of trial {row} is {columns[row, column]}; mend it or leave the trial out")
    return columns


def _weigh(columns: NDArray, weights: NDArray, offset: float) -> NDArray:
    """(N,) ratios. Row by row: a matrix product may round a trial otherwise among others than alone."""
    return (columns * weights).sum(axis=1) + offset


def _regress(columns: NDArray, is_target: NDArray, p_target: float, names: Sequence[str]) -> tuple[NDArray, float]:
    """(C,) weights and the offset of log-likelihood ratios."""
    from sklearn.linear_model import LogisticRegression  # slow to import

    means, spreads = columns.mean(axis=0), columns.std(axis=0)
    for name, mean, spread in zip(names, means, spreads, strict=True):
        if not spread > 1e-12 * abs(mean):
            raise InputError(f"{name} is {mean:g} in all trials; leave it out")
    targets = int(is_target.sum())
    shares = np.where(is_target, p_target / targets, (1 - p_target) / (len(is_target) - targets)) * len(is_target)
    model = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-9, max_iter=1000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of kinds that don't overlap, which are refused afterwards
        model.fit((columns - means) / spreads, is_target, sample_weight=shares)
    weights = model.coef_[0] / spreads
    return weights, float(model.intercept_[0] - weights @ means - np.log(p_target) + np.log1p(-p_target))
