"""Probabilistic linear discriminant analysis: a log-likelihood ratio that two embeddings are of one speaker."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError
from .scoring import times

_LEAST = 1e-10  # of the largest variance: below it a direction was not measured


@dataclass(frozen=True)
class Plda:
    """The two-covariance model: a speaker is drawn with covariance B about the mean, a recording with W about it.

    Bruemmer & de Villiers, "The speaker partitioning problem", Odyssey 2010, section 3. In coordinates where W is the
    identity and B diagonal (Ioffe, "Probabilistic linear discriminant analysis", ECCV 2006, section 3) the ratio is a
    sum over directions, and splits into a product of both sides and a term of each.

    Attributes:
        mean: (E,), of the speakers.
        transform: (E, D), to those coordinates: (x - mean) @ transform.
        between: (D,) variances of B there, above 0.

    Raises:
        InputError: other shapes, numbers that are not finite, or variances that are not above 0.
    """

    mean: NDArray
    transform: NDArray
    between: NDArray

    def __post_init__(self) -> None:
        if self.mean.ndim != 1 or self.transform.ndim != 2 or self.between.ndim != 1 or not self.between.size:
            shapes = [values.shape for values in vars(self).values()]
            raise InputError(f"PLDA: mean, transform and between have shapes {shapes}; give (E,), (E, D) and (D,)")
        if self.transform.shape != (len(self.mean), len(self.between)):
            wanted = (len(self.mean), len(self.between))
            raise InputError(
                f"PLDA: the transform has shape {self.transform.shape}; give {wanted}, as mean and between"
            )
        for name, values in vars(self).items():
            if values.dtype.kind != "f" or not np.isfinite(values).all():
                raise InputError(f"PLDA: {name} holds something that is no finite number; fit it again")
        if not (self.between > 0).all():
            raise InputError(f"PLDA: a variance between speakers is {self.between.min():g}; fit it again")

    @classmethod
    def fit(cls, vectors: ArrayLike, speakers: Sequence[str]) -> "Plda":
        """From recordings of known speakers, by moments.

        B and W are the unbiased estimates of the analysis of variance, exact for any number of recordings a speaker
        (Searle, Casella & McCulloch, "Variance components", 1992, chapter 3). Directions in which the speakers differ
        no more than their recordings do say nothing of who speaks, and are left out.

        Args:
            vectors: (N, E).
            speakers: (N,) who speaks.

        Raises:
            InputError: one speaker only, too few recordings to measure W in all directions, or speakers who don't
                differ.
        """
        rows = np.asarray(vectors, dtype=np.float64)
        means, place, counts = speaker_means(rows, speakers)
        number, classes = len(rows), len(counts)
        if classes < 2:
            raise InputError(f"PLDA needs two speakers or more, and has {classes}; give recordings of others")
        mean = rows.mean(axis=0)
        within = _covariance(rows - means[place], number - classes)
        spread = means - mean
        size = (number - (counts**2).sum() / number) / (classes - 1)  # recordings of a speaker, averaged
        between = (_covariance(spread * np.sqrt(counts)[:, None], classes - 1) - within) / size
        values, directions = np.linalg.eigh(within)
        if number - classes < len(values) or values[0] <= _LEAST * values[-1]:
            raise InputError(
                f"PLDA of {len(values)} dimensions: {number} recordings of {classes} speakers don't measure how "
                "recordings differ in all of them; reduce the dimensions by LDA, or give more recordings"
            )
        whitening = directions * values**-0.5
        variances, turn = np.linalg.eigh(whitening.T @ between @ whitening)
        if variances[-1] <= 0:
            raise InputError("PLDA: the speakers differ no more than their recordings do; give others")
        kept = variances > 0
        return cls(mean, (whitening @ turn)[:, kept], variances[kept])

    def coordinates(self, vectors: NDArray) -> NDArray:
        """(N, E) -> (N, D), where W is the identity."""
        return times(vectors - self.mean, self.transform)

    def sides(self, vectors: NDArray) -> tuple[NDArray, NDArray]:
        """What of a log-likelihood ratio (natural logarithm) is each side's own.

        Args:
            vectors: (N, E).

        Returns:
            (N, D) factors and (N,) terms: the ratio of i and j is factors[i] @ factors[j] + terms[i] + terms[j].
        """
        x, psi = self.coordinates(vectors), self.between
        # Two recordings have the variances 1 + psi, and the covariance psi if they are of one speaker, else 0.
        constant = (np.log1p(psi) - 0.5 * np.log1p(2 * psi)).sum()
        weights = psi**2 / ((1 + psi) * (1 + 2 * psi))
        terms = 0.5 * (constant - np.einsum("nd,nd->n", x * weights, x))
        return x * np.sqrt(psi / (1 + 2 * psi)), terms


def speaker_means(vectors: NDArray, speakers: Sequence[str]) -> tuple[NDArray, NDArray, NDArray]:
    """The mean of each speaker's rows (S, E), sorted by name; the place of each row's speaker (N,); their rows (S,)."""
    _, place, counts = np.unique(np.asarray(speakers), return_inverse=True, return_counts=True)
    starts = np.concatenate(([0], np.cumsum(counts)[:-1]))
    sums = np.add.reduceat(vectors[np.argsort(place, kind="stable")], starts, axis=0)
    return sums / counts[:, None], place, counts


def _covariance(rows: NDArray, degrees: int) -> NDArray:
    return rows.T @ rows / max(degrees, 1)
