"""Embeddings -> scores: centring, LDA, within-class whitening, cosine or PLDA, and normalisation against a cohort.

All that is fitted is fitted on training recordings; nothing of a trial is used but its own two sides. So a score is the
same, to the last bit, whichever side comes first and whatever else is scored with it.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from safetensors.numpy import load, save

from ..errors import InputError, lookup, one_line
from ..files import replacing
from .plda import Plda, speaker_means
from .scoring import likeness, pair_products, times

# Chosen on a third of the speakers of a small corpus of read speech, whose networks had not heard it.
SHRINKAGE = 0.3
TOP = 10
# What normalises scores, and whether it takes the whole cohort.
NORMS = {"none": None, "s-norm": True, "as-norm": False}
_SMALLEST = 1e-6  # deviation of a cohort's scores; against one that is all alike nothing is divided by 0
_UNIT = 1e-3  # how far from 1 the length of a cohort's vector may be: kept as float16 it is 0.0005 off


@dataclass(frozen=True)
class Backend:
    """What stands between embeddings and a score; made by `fit`, `centred`, or `cosine` for none.

    Attributes:
        mean: (E,), subtracted.
        transform: (E, D), applied then: vectors @ transform.
        cohort: (S, D) unit vectors of others, that scores are normalised against; empty: they are not.
        top: how many of the cohort's scores count, the highest for each side.
        plda: gives the score of unit vectors; None: their cosine.

    Raises:
        InputError: shapes that don't match, numbers that are not finite, a cohort of other than unit vectors, or a top
            below 2.

    Example:
        >>> score = Backend.cosine(2).score([[1.0, 0.0], [3.0, 0.0], [0.0, 2.0]], left=[0, 0], right=[1, 2])
        >>> score.tolist()
        [1.0, 0.0]
    """

    mean: NDArray
    transform: NDArray
    cohort: NDArray
    top: int = TOP
    plda: Plda | None = None

    def __post_init__(self) -> None:
        for name, axes in (("mean", 1), ("transform", 2), ("cohort", 2)):
            values = getattr(self, name)
            if values.ndim != axes:
                raise InputError(f"the back end's {name} has shape {values.shape}; give one with {axes} axes")
            if values.dtype.kind != "f" or not np.isfinite(values).all():
                raise InputError(f"the back end's {name} holds something that is no finite number; fit it again")
        size = self.transform.shape[1]
        if len(self.transform) != len(self.mean) or not self.transform.size:
            raise InputError(f"the transform has shape {self.transform.shape}; give ({len(self.mean)}, D), as the mean")
        if self.cohort.shape[1] != size:
            raise InputError(f"the cohort has shape {self.cohort.shape}; give (S, {size}), as the transform")
        if self.plda is not None and len(self.plda.mean) != size:
            raise InputError(f"PLDA is of {len(self.plda.mean)} dimensions; give one of {size}, as the transform")
        if len(self.cohort) == 1:
            raise InputError("the cohort has 1 vector, and a deviation needs two; give none, or more")
        _check_top(self.top)
        lengths = np.linalg.norm(self.cohort, axis=1)
        wrong = np.flatnonzero(~(np.abs(lengths - 1) <= _UNIT))
        if len(wrong):
            raise InputError(f"row {wrong[0]} of the cohort has length {lengths[wrong[0]]:g}; give unit vectors")

    @classmethod
    def cosine(cls, size: int) -> "Backend":
        """Plain cosine similarity of embeddings with so many dimensions."""
        return cls(np.zeros(size), np.eye(size), np.zeros((0, size)))

    @classmethod
    def centred(cls, embeddings: ArrayLike, ids: Sequence[str] | None = None) -> "Backend":
        """The cosine about a mean: of training recordings or of a cohort, (N, E), with names for messages.

        Raises:
            InputError: no embeddings, or one that is not finite.
        """
        mean = _checked(embeddings, ids).mean(axis=0)
        return replace(cls.cosine(len(mean)), mean=mean)

    @classmethod
    def fit(
        cls,
        embeddings: ArrayLike,
        speakers: Sequence[str],
        *,
        lda: int | None = None,
        shrinkage: float | None = SHRINKAGE,
        plda: bool = False,
        top: int | None = TOP,
        ids: Sequence[str] | None = None,
    ) -> "Backend":
        """Centring, LDA, within-class covariance normalisation, PLDA; and the speakers' means as the cohort.

        LDA is scikit-learn's. Hatch, Kajarekar & Stolcke, "Within-class covariance normalization", Interspeech 2006:
        directions in which one speaker's recordings differ count less. The covariance W is shrunk: W + shrinkage *
        mean(diag W) * I, as there may be fewer recordings than dimensions. PLDA is of unit vectors, as in Garcia-Romero
        & Espy-Wilson, "Analysis of i-vector length normalization", Interspeech 2011.

        Args:
            embeddings: (N, E), of training recordings.
            speakers: (N,) who speaks.
            lda: dimensions to keep, those in which speakers differ most; None: all, as they are.
            shrinkage: share of the identity, above 0; None: all directions count alike.
            plda: whether the score is the log-likelihood ratio of PLDA, and not the cosine.
            top: of the cohort, for as-norm; None: scores are not normalised. Other cohorts: `normalised`.
            ids: (N,) names of the recordings, for messages.

        Raises:
            InputError: numbers that don't match or are not finite, fewer than two speakers, none with two recordings
                that differ, dimensions that LDA can't give, a shrinkage that is not above 0, or a top below 2.
        """
        vectors, names = _checked(embeddings, ids, speakers), np.asarray(speakers)
        if shrinkage is not None and not 0 < shrinkage < np.inf:
            raise InputError(f"shrinkage is {shrinkage}; give a number above 0")
        _, counts = np.unique(names, return_counts=True)
        if len(counts) < 2 or counts.max() < 2:
            raise InputError("the back end needs two speakers or more, and two recordings of one of them at least")
        mean = vectors.mean(axis=0)
        transform = np.eye(len(mean)) if lda is None else _lda(vectors, names, lda)
        if shrinkage is not None:
            means, place, _ = speaker_means(vectors, speakers)
            within = (vectors - means[place]) @ transform
            transform = transform @ _whitening(within[counts[place] > 1], shrinkage)  # of one nothing is known
        backend = cls(mean, transform, np.zeros((0, transform.shape[1])))
        if plda:
            backend = replace(backend, plda=Plda.fit(backend.vectors(vectors), speakers))
        return backend if top is None else backend.normalised(vectors, speakers, top=top)

    def normalised(
        self,
        embeddings: ArrayLike,
        speakers: Sequence[str] | None = None,
        *,
        norm: str = "as-norm",
        top: int = TOP,
        ids: Sequence[str] | None = None,
    ) -> "Backend":
        """The same back end with another cohort.

        Args:
            embeddings: (N, E), of recordings of people who are in no trial.
            speakers: (N,) whose means are the cohort; None: the recordings are.
            norm: "none", "s-norm" (against the whole cohort) or "as-norm" (against the `top` most like each side).
            top: of as-norm, 2 or more; a smaller cohort counts whole.
            ids: (N,) names of the recordings, for messages.

        Raises:
            InputError: an unknown norm, a top below 2, fewer than two in the cohort, or embeddings that don't match or
                are not finite.
        """
        whole = lookup(NORMS, norm, "score normalisation")
        if whole is None:
            return replace(self, cohort=self.cohort[:0])
        _check_top(top)
        vectors = _checked(embeddings, ids, speakers)
        self._check_size(vectors)
        if speakers is not None:
            vectors = speaker_means(vectors, speakers)[0]
        if len(vectors) < 2:
            what = "recording" if speakers is None else "speaker"
            raise InputError(
                f"the cohort has {len(vectors)} {what}; a deviation needs two, and some hundreds are usual"
            )
        return replace(self, cohort=self.vectors(vectors), top=len(vectors) if whole else top)

    def vectors(self, embeddings: ArrayLike, ids: Sequence[str] | None = None) -> NDArray:
        """Unit vectors, whose products are the scores before PLDA and normalisation: (N, E) -> (N, D).

        Raises:
            InputError: an embedding that is not finite, named by `ids` (N,), or of another size than the back end's.
        """
        given = np.asarray(embeddings)
        self._check_size(given)
        _check_finite(given, ids)
        vectors = np.subtract(given, self.mean, dtype=np.float64)
        if self.transform.shape[0] != self.transform.shape[1] or (self.transform != np.eye(len(self.mean))).any():
            vectors = times(vectors, self.transform)
        return _unit(vectors)

    def score(
        self, embeddings: ArrayLike, left: ArrayLike, right: ArrayLike, ids: Sequence[str] | None = None
    ) -> NDArray:
        """Scores of trials: cosine or PLDA, normalised against the cohort where there is one.

        Adaptive symmetric score normalisation (Matejka et al., "Analysis of score normalization in multilingual speaker
        recognition", Interspeech 2017, section 2.3): the mean of the two sides' standard scores, each against those of
        the cohort that it is most like. Nothing is clipped.

        Args:
            embeddings: (N, E); for enrolment with several utterances, what `averaged` gives.
            left: (T,) places of the trials' left sides among the embeddings.
            right: (T,) of the right sides.
            ids: (N,) names of the embeddings, for messages.

        Returns:
            (T,) the higher, the likelier the same speaker.

        Raises:
            InputError: as `vectors`.
        """
        given, first, second = np.asarray(embeddings), np.asarray(left), np.asarray(right)
        asked = np.zeros(len(given), dtype=bool)
        asked[first], asked[second] = True, True
        if not asked.all():
            place = np.cumsum(asked) - 1
            given, first, second = given[asked], place[first], place[second]
            ids = None if ids is None else [ids[i] for i in np.flatnonzero(asked).tolist()]
        factors, terms = self._sides(self.vectors(given, ids))
        scores = pair_products(factors, first, second)
        if terms.any():
            scores += terms[first] + terms[second]
        if not len(self.cohort):
            return scores
        means, deviations = self._likeness(factors, terms)
        one, other = ((scores - means[side]) / deviations[side] for side in (first, second))
        return (one + other) / 2

    def likeness(self, embeddings: ArrayLike, ids: Sequence[str] | None = None) -> tuple[NDArray, NDArray]:
        """Mean and deviation of each embedding's scores against the cohort: (N, E) -> (N,), (N,).

        What normalises its scores; also a measure of how usual a recording is, for calibration.

        Raises:
            InputError: there is no cohort; else as `vectors`.
        """
        if not len(self.cohort):
            raise InputError("this back end has no cohort; give it one: normalised(embeddings, speakers)")
        return self._likeness(*self._sides(self.vectors(embeddings, ids)))

    def _sides(self, vectors: NDArray) -> tuple[NDArray, NDArray]:
        """Factors (N, D) and terms (N,): a score is the product of factors and the sum of terms."""
        return (vectors, np.zeros(len(vectors))) if self.plda is None else self.plda.sides(vectors)

    def _likeness(self, factors: NDArray, terms: NDArray) -> tuple[NDArray, NDArray]:
        means, deviations = likeness(factors, *self._sides(self.cohort), self.top)
        return means + terms, np.maximum(deviations, _SMALLEST)

    def _check_size(self, embeddings: NDArray) -> None:
        if embeddings.ndim != 2 or embeddings.shape[1] != len(self.mean):
            raise InputError(f"embeddings have shape {embeddings.shape}; this back end is for (N, {len(self.mean)})")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes it as safetensors, whole or not at all."""
        tensors = {"mean": self.mean, "transform": self.transform, "cohort": self.cohort, "top": np.array([self.top])}
        if self.plda is not None:
            tensors |= {f"plda.{name}": values for name, values in vars(self.plda).items()}
        with replacing(Path(path)) as temporary:
            temporary.write_bytes(save({name: np.ascontiguousarray(values) for name, values in tensors.items()}))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Backend":
        """Reads what `save` wrote.

        Raises:
            InputError: no such file, or not one of these.
        """
        try:
            tensors = load(Path(path).read_bytes())
            plda = {name.removeprefix("plda."): values for name, values in tensors.items() if name.startswith("plda.")}
            model = Plda(**plda) if plda else None
            return cls(tensors["mean"], tensors["transform"], tensors["cohort"], tensors["top"].item(), model)
        except Exception as error:  # safetensors raises a class of its own for each thing that is wrong
            raise InputError(
                f"{path}: is no back end of speaker verification ({one_line(error)}); fit it again"
            ) from error


def cohort_overlap(cohort: Sequence[str], tested: Iterable[str]) -> tuple[list[str], int]:
    """Speakers of a cohort who are in the trials as well: scores against themselves are no measure of others.

    >>> cohort_overlap(["a", "a", "b", "c"], ["a", "c", "d"])
    (['a', 'c'], 3)

    Args:
        cohort: whose recordings the cohort has, one a recording.
        tested: who is in the trials.

    Returns:
        Those in both, sorted, and how many of the cohort's recordings are theirs.
    """
    both = set(cohort) & set(tested)
    return sorted(both), sum(speaker in both for speaker in cohort)


def _check_top(top: object) -> None:
    if not isinstance(top, int) or isinstance(top, bool) or top < 2:
        raise InputError(f"top is {top}; give 2 or more of the cohort's scores, a whole number")


def _checked(embeddings: ArrayLike, ids: Sequence[str] | None, speakers: Sequence[str] | None = None) -> NDArray:
    """(N, E) float64, finite, N above 0 and as many as the speakers."""
    vectors = np.asarray(embeddings, dtype=np.float64)
    if speakers is not None and (vectors.ndim != 2 or len(vectors) != len(speakers)):
        raise InputError(f"embeddings have shape {vectors.shape} for {len(speakers)} speakers; give one row for each")
    if vectors.ndim != 2 or not len(vectors):
        raise InputError(f"embeddings have shape {vectors.shape}; give (N, E), one row a recording")
    _check_finite(vectors, ids, speakers)
    return vectors


def _check_finite(vectors: NDArray, ids: Sequence[str] | None = None, speakers: Sequence[str] | None = None) -> None:
    # One sum for all: it is finite where all are, and so is found without a second array; else the rows are looked at.
    with np.errstate(all="ignore"):
        if np.isfinite(vectors.sum()):
            return
    finite = np.isfinite(vectors).all(axis=1)
    if finite.all():
        return
    row = int(np.argmin(finite))
    name = f"embedding {row}" if ids is None else f"the embedding of {ids[row]}"
    who = "" if speakers is None else f", of speaker {str(speakers[row])!r},"
    count = int((~finite).sum())
    more = f" ({count} in all)" if count > 1 else ""
    raise InputError(f"{name}{who} is not finite{more}; leave it out")


def _lda(vectors: NDArray, speakers: NDArray, size: int) -> NDArray:
    """(E, size), the directions in which speakers differ most for how much their recordings do."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    most = min(vectors.shape[1], len(np.unique(speakers)) - 1)
    if not isinstance(size, int) or isinstance(size, bool) or not 1 <= size <= most:
        raise InputError(f"lda is {size}; give 1 to {most} dimensions, fewer than speakers and no more than there are")
    found = LinearDiscriminantAnalysis(solver="svd").fit(vectors, speakers).scalings_[:, :size]
    if found.shape[1] < size:
        raise InputError(f"lda is {size}, but the speakers differ in {found.shape[1]} dimensions only; give fewer")
    return found


def _whitening(within: NDArray, shrinkage: float) -> NDArray:
    """(E, E), the symmetric root of the inverse of the shrunk covariance of differences (N, E)."""
    covariance = within.T @ within / len(within)
    if not np.trace(covariance) > np.finfo(np.float64).tiny:
        raise InputError("each speaker's recordings have the same embedding; give recordings that differ")
    covariance += shrinkage * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    values, directions = np.linalg.eigh(covariance)
    return directions @ np.diag(values**-0.5) @ directions.T


def _unit(vectors: NDArray) -> NDArray:
    """Each row divided by its length, in place; a row of zeros stays."""
    lengths = np.sqrt(np.einsum("ne,ne->n", vectors, vectors))
    lengths[lengths == 0] = 1
    vectors /= lengths[:, None]
    return vectors
