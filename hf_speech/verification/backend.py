"""Embeddings -> scores: centring, within-class whitening, cosine, and normalisation against a cohort.

All that is fitted is fitted on training recordings; nothing of a trial is used but its own two sides.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from safetensors.numpy import load, save

from ..errors import InputError, one_line
from ..files import replacing

# Chosen on a third of the speakers of a small corpus of read speech, whose networks had not heard it.
SHRINKAGE = 0.3
TOP = 10


@dataclass(frozen=True)
class Backend:
    """What stands between embeddings and a score; made by `fit`, or `cosine` for none.

    Attributes:
        mean: (E,), subtracted.
        transform: (E, E), applied then: vectors @ transform.
        cohort: (S, E) unit vectors of other speakers, that scores are normalised against; empty: they are not.
        top: how many of the cohort's scores count, the highest for each side.
    """

    mean: NDArray
    transform: NDArray
    cohort: NDArray
    top: int = TOP

    @classmethod
    def cosine(cls, size: int) -> "Backend":
        """Plain cosine similarity of embeddings with so many dimensions."""
        return cls(np.zeros(size), np.eye(size), np.zeros((0, size)))

    @classmethod
    def fit(
        cls,
        embeddings: ArrayLike,
        speakers: Sequence[str],
        *,
        shrinkage: float | None = SHRINKAGE,
        top: int | None = TOP,
    ) -> "Backend":
        """Within-class covariance normalisation, and the speakers' means as the cohort.

        Hatch, Kajarekar & Stolcke, "Within-class covariance normalization", Interspeech 2006: directions in which one
        speaker's recordings differ count less. The covariance W is shrunk: W + shrinkage * mean(diag W) * I, as there
        may be fewer recordings than dimensions.

        Args:
            embeddings: (N, E), of training recordings.
            speakers: (N,) who speaks.
            shrinkage: share of the identity, above 0; None: all directions count alike.
            top: see the class; None: scores are not normalised.

        Raises:
            InputError: numbers that don't match or are not finite, fewer than two speakers, none with two recordings
                that differ, a shrinkage that is not above 0, or a top below 2.
        """
        vectors, names = np.asarray(embeddings, dtype=np.float64), np.asarray(speakers)
        if vectors.ndim != 2 or len(vectors) != len(names):
            raise InputError(f"embeddings have shape {vectors.shape} for {len(names)} speakers; give one row for each")
        if not np.isfinite(vectors).all():
            row = int(np.argmin(np.isfinite(vectors).all(axis=1)))
            raise InputError(f"embedding {row}, of speaker {str(names[row])!r}, is not finite; leave it out")
        if shrinkage is not None and not 0 < shrinkage < np.inf:
            raise InputError(f"shrinkage is {shrinkage}; give a number above 0")
        if top is not None and (not isinstance(top, int) or top < 2):
            raise InputError(f"top is {top}; give 2 or more of the cohort's scores, a whole number")
        mean = vectors.mean(axis=0)
        _, place, counts = np.unique(names, return_inverse=True, return_counts=True)
        if len(counts) < 2 or counts.max() < 2:
            raise InputError("the back end needs two speakers or more, and two recordings of one of them at least")
        means = np.zeros((len(counts), vectors.shape[1]))
        np.add.at(means, place, vectors - mean)
        means /= counts[:, None]
        transform = np.eye(vectors.shape[1])
        if shrinkage is not None:
            within = vectors - mean - means[place]
            transform = _whitening(within[counts[place] > 1], shrinkage)  # of one recording nothing is known
        cohort = np.zeros((0, vectors.shape[1])) if top is None else _unit(means @ transform)
        return cls(mean, transform, cohort, top or TOP)

    def vectors(self, embeddings: ArrayLike) -> NDArray:
        """Unit vectors whose products are the scores before normalisation: (N, E) -> (N, E)."""
        return _unit((np.asarray(embeddings, dtype=np.float64) - self.mean) @ self.transform)

    def score(self, embeddings: ArrayLike, left: ArrayLike, right: ArrayLike) -> NDArray:
        """Scores of trials: the cosine, normalised against the cohort where there is one.

        Adaptive symmetric score normalisation (Matejka et al., "Analysis of score normalization in multilingual speaker
        recognition", Interspeech 2017, section 2.3): the mean of the two sides' standard scores, each against the
        cohort speakers that it is most like.

        Args:
            embeddings: (N, E).
            left: (T,) places of the trials' left sides among the embeddings.
            right: (T,) of the right sides.

        Returns:
            (T,) the higher, the likelier the same speaker.
        """
        vectors, first, second = self.vectors(embeddings), np.asarray(left), np.asarray(right)
        scores = np.einsum("te,te->t", vectors[first], vectors[second])
        if not len(self.cohort):
            return scores
        likeness = vectors @ self.cohort.T
        nearest = np.partition(likeness, -min(self.top, likeness.shape[1]), axis=1)[:, -self.top :]
        means, deviations = nearest.mean(axis=1), np.maximum(nearest.std(axis=1), 1e-6)
        return sum((scores - means[side]) / deviations[side] for side in (first, second)) / 2

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes it as safetensors, whole or not at all."""
        tensors = {"mean": self.mean, "transform": self.transform, "cohort": self.cohort, "top": np.array([self.top])}
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
            return cls(tensors["mean"], tensors["transform"], tensors["cohort"], int(tensors["top"][0]))
        except Exception as error:  # safetensors raises a class of its own for each thing that is wrong
            raise InputError(
                f"{path}: is no back end of speaker verification ({one_line(error)}); fit it again"
            ) from error


def _whitening(within: NDArray, shrinkage: float) -> NDArray:
    """(E, E), the symmetric root of the inverse of the shrunk covariance of differences (N, E)."""
    covariance = within.T @ within / len(within)
    if not np.trace(covariance) > np.finfo(np.float64).tiny:
        raise InputError("each speaker's recordings have the same embedding; give recordings that differ")
    covariance += shrinkage * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    values, directions = np.linalg.eigh(covariance)
    return directions @ np.diag(values**-0.5) @ directions.T


def _unit(vectors: NDArray) -> NDArray:
    """Each row divided by its length; a row of zeros stays."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
