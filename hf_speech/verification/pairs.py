"""Two voices: is it the same speaker? A score and, with what a model keeps, a probability and a decision."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from numpy.typing import ArrayLike, NDArray
from transformers import PreTrainedModel
from transformers.feature_extraction_utils import FeatureExtractionMixin

from ..data.readers import audio_files
from ..errors import InputError
from ..outcome import MAX_SECONDS
from .backend import Backend
from .calibration import check_prior
from .kept import HOW_TO_KEEP, Kept
from .recordings import embeddings_of, longest_piece

Files = str | Path | Sequence[str | Path]  # one file, or a folder or several files of one speaker


@dataclass(frozen=True)
class PairAnswer:
    """What is said of two sides; without a calibration the score alone.

    Attributes:
        score: the higher, the likelier the same speaker.
        llr: log-likelihood ratio, natural logarithm: same speaker against two.
        probability: that it is the same speaker.
        decision: whether it is taken for the same.
        threshold: the score from which on it is.
    """

    score: float
    llr: float | None = None
    probability: float | None = None
    decision: bool | None = None
    threshold: float | None = None


def same_speaker(
    model: PreTrainedModel,
    feature_extractor: FeatureExtractionMixin,
    one: Files,
    other: Files,
    *,
    kept: Kept | None = None,
    prior: float = 0.5,
    threshold: str | None = None,
) -> PairAnswer:
    """Compares two sides, each one recording, or several of one speaker whose embeddings are averaged.

    Args:
        model: an audio classifier that gives embeddings.
        feature_extractor: the model's.
        one: an audio file, several, or a folder.
        other: the same.
        kept: what the model keeps (`kept_of`); None: the cosine of the embeddings, and no decision.
        prior: how likely the same speaker was before anybody listened.
        threshold: the name of one of the kept thresholds; None: the one that is meant to decide. The prior does not
            change it.

    Raises:
        InputError: a file is missing, broken or too short, a model without embeddings, or no such threshold.
    """
    sides = [_files_of(side) for side in (one, other)]
    chunk = None if kept is None else kept.chunk_seconds
    vectors, seconds = embeddings_of(model, feature_extractor, [*sides[0], *sides[1]], chunk)
    parts = (slice(len(sides[0])), slice(len(sides[0]), None))
    averaged = np.stack([vectors[part].mean(axis=0, dtype=np.float64) for part in parts]).astype(vectors.dtype)
    names = [", ".join(map(str, side)) for side in sides]
    return compare(averaged, [seconds[part].mean() for part in parts], names, kept, prior=prior, threshold=threshold)


def pair_of_prediction(
    model: PreTrainedModel,
    feature_extractor: FeatureExtractionMixin,
    rows: Dataset,
    embeddings: NDArray | None,
    kept: Kept | None,
    *,
    prior: float = 0.5,
    threshold: str | None = None,
) -> dict[str, Any] | None:
    """Whether two files that were just predicted are of one speaker, their embeddings not made again.

    Args:
        model: that was asked.
        feature_extractor: the model's.
        rows: N rows with `path` and `duration`, as `check_rows` gives them.
        embeddings: (N, E) of these rows, as `infer` gives them.
        kept: what the model keeps.
        prior: see `same_speaker`.
        threshold: see `same_speaker`.

    Returns:
        {"files": [one, other], "same_speaker": the fields of `PairAnswer`}; None where there are not two files, or the
        model keeps nothing of verification.
    """
    if kept is None or embeddings is None or len(rows) != 2:
        return None
    files, seconds = list(rows["path"]), list(rows["duration"])
    piece = longest_piece(kept.chunk_seconds)
    if piece != MAX_SECONDS and max(seconds) > min(piece, MAX_SECONDS):  # cut otherwise than for prediction
        answer = same_speaker(model, feature_extractor, files[0], files[1], kept=kept, prior=prior, threshold=threshold)
    else:
        answer = compare(embeddings, seconds, files, kept, prior=prior, threshold=threshold)
    return {"files": files, "same_speaker": asdict(answer)}


def compare(
    embeddings: ArrayLike,
    seconds: ArrayLike,
    names: Sequence[str],
    kept: Kept | None,
    *,
    prior: float = 0.5,
    threshold: str | None = None,
) -> PairAnswer:
    """What is said of two embeddings.

    Args:
        embeddings: (2, E).
        seconds: (2,), how long they are; of several recordings the mean.
        names: (2,), for messages.
        kept: see `same_speaker`.
        prior: see `same_speaker`.
        threshold: see `same_speaker`.

    Raises:
        InputError: as `judge`, or no such threshold.
    """
    judged = judge(embeddings, seconds, [0], [1], names, kept, prior=prior)
    score = float(judged.scores[0])
    if kept is None:
        if threshold is not None:
            raise InputError(f"threshold {threshold!r}: none is kept with this model; {HOW_TO_KEEP}")
        return PairAnswer(score)
    llr = float(judged.llrs[0])
    enough = kept.enough(score, llr, threshold)
    return PairAnswer(score, llr, float(judged.probabilities[0]), bool(kept.accepts(llr, threshold)), enough)


@dataclass(frozen=True, eq=False)
class Judged:
    """What is said of T trials.

    Attributes:
        scores: (T,).
        llrs: (T,) log-likelihood ratios; empty where the model keeps no calibration.
        probabilities: (T,) of the same speaker; empty likewise.
    """

    scores: NDArray
    llrs: NDArray
    probabilities: NDArray


def judge(
    embeddings: ArrayLike,
    seconds: ArrayLike,
    left: ArrayLike,
    right: ArrayLike,
    names: Sequence[str],
    kept: Kept | None,
    *,
    prior: float = 0.5,
) -> Judged:
    """Scores trials with what a model keeps, or by the cosine where it keeps nothing.

    Args:
        embeddings: (N, E), of the sides of trials.
        seconds: (N,), how long they are; of several recordings the mean.
        left: (T,) places of the left sides.
        right: (T,) of the right sides.
        names: (N,), for messages.
        kept: what the model keeps; None: nothing.
        prior: how likely the same speaker was.

    Raises:
        InputError: an embedding that is not finite or of another size than the back end's, or a prior that is not
            between 0 and 1.
    """
    check_prior(prior)
    vectors = np.asarray(embeddings)
    backend = (kept.backend if kept is not None else None) or Backend.cosine(vectors.shape[1])
    scores = backend.score(vectors, left, right, names)
    if kept is None:
        return Judged(scores, np.zeros(0), np.zeros(0))
    qualities = kept.qualities(vectors, seconds, left, right)
    llrs = kept.calibration.llr(scores, qualities)
    return Judged(scores, llrs, kept.calibration.probability(scores, qualities, prior=prior))


def in_words(answer: PairAnswer) -> str:
    """An answer in a line.

    >>> in_words(PairAnswer(0.61, 2.6, 0.93, True, 0.42))
    'same speaker: probability 0.930 (score 0.610, threshold 0.420)'
    >>> in_words(PairAnswer(0.31, -1.5, 0.18, False, 0.42))
    'different speakers: probability of the same 0.180 (score 0.310, threshold 0.420)'
    >>> in_words(PairAnswer(0.61)).partition(" with")[0]
    'no decision: score 0.610 (cosine), and no threshold is kept'
    """
    if answer.probability is None:
        score = f"score {answer.score:.3f} (cosine)"
        return f"no decision: {score}, and no threshold is kept with this model that it could be held to: {HOW_TO_KEEP}"
    said = "same speaker: probability" if answer.decision else "different speakers: probability of the same"
    return f"{said} {answer.probability:.3f} (score {answer.score:.3f}, threshold {answer.threshold:.3f})"


def _files_of(side: Files) -> list[Path]:
    """The recordings of a side, each once.

    Raises:
        InputError: there are none.
    """
    given = [side] if isinstance(side, str | Path) else list(side)
    if not given:
        raise InputError("no file was given for one of the two speakers; give one recording of each at least")
    return list(dict.fromkeys(path for one in given for path in audio_files(one)))
