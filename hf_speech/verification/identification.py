"""Who is it? Speakers are enrolled in a gallery, and somebody who is heard is looked up there."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from transformers import PreTrainedModel
from transformers.feature_extraction_utils import FeatureExtractionMixin

from ..data.readers import audio_files
from ..errors import InputError
from ..files import sha256_of
from .gallery import UNKNOWN, Gallery, changing, check_name
from .kept import HOW_TO_KEEP, Kept
from .pairs import Judged, judge
from .recordings import embedder_digest, embeddings_of, longest_piece


@dataclass(frozen=True)
class Match:
    """A speaker of the gallery, beside somebody who was heard.

    Attributes:
        name: of the speaker.
        score: the higher, the likelier it is them.
        probability: that it is the same speaker, of the two alone; None: the model keeps no calibration.
    """

    name: str
    score: float
    probability: float | None = None


@dataclass(frozen=True)
class Identified:
    """Who was heard.

    Attributes:
        speaker: the likeliest one; "unknown" where they are under the threshold; None where there is no threshold.
        matches: speakers, the likeliest first.
        threshold: the score that the first one needs; None: there is no threshold.
    """

    speaker: str | None
    matches: tuple[Match, ...]
    threshold: float | None


def enroll(
    model: PreTrainedModel,
    feature_extractor: FeatureExtractionMixin,
    name: str,
    files: Sequence[str | Path],
    gallery_path: str | Path,
    *,
    kept: Kept | None = None,
    replace: bool = False,
) -> Gallery:
    """Adds recordings to a speaker of a gallery, which is made if it is not there. A recording counts once.

    Args:
        model: an audio classifier that gives embeddings.
        feature_extractor: the model's.
        name: of the speaker.
        files: audio files, and folders of them.
        gallery_path: the gallery's file.
        kept: what the model keeps, which says how long recordings are cut.
        replace: forget the speaker's earlier recordings.

    Returns:
        The gallery as it is now.

    Raises:
        InputError: no files, one that is broken, or that somebody else is enrolled with; a gallery of another model, or
            of long recordings that were cut otherwise; a name that can't be one. The gallery is then as it was.
    """
    check_name(name)
    paths = [path for given in files for path in audio_files(given)]
    if not paths:
        raise InputError(f"no recording of {name!r} was given; give one or more")
    digest = embedder_digest(model, feature_extractor)
    digests = [sha256_of(path) for path in paths]
    piece = longest_piece(None if kept is None else kept.chunk_seconds)
    forgotten = name if replace else None
    # Before the work, and once more after it.
    _gallery(gallery_path, digest, piece, forgotten).require_nobody_elses(name, digests)
    vectors, seconds = embeddings_of(model, feature_extractor, paths, piece)
    with changing(gallery_path):
        gallery = _gallery(gallery_path, digest, piece, forgotten)
        gallery = gallery.with_recordings(name, vectors, seconds.tolist(), digests)
        gallery.save(gallery_path)
    return gallery


def remove(name: str, gallery_path: str | Path, files: Sequence[str | Path] = ()) -> Gallery:
    """Takes a speaker out of a gallery, or some of their recordings.

    Args:
        name: of the speaker.
        gallery_path: the gallery's file.
        files: the recordings, known by their content; none: all of them.

    Returns:
        The gallery as it is now.

    Raises:
        InputError: no such gallery, speaker, or recording of theirs.
    """
    digests = [sha256_of(path) for given in files for path in audio_files(given)]
    with changing(gallery_path):
        gallery = Gallery.load(gallery_path).without(name, digests or None)
        gallery.save(gallery_path)
    return gallery


def identify(
    model: PreTrainedModel,
    feature_extractor: FeatureExtractionMixin,
    file: str | Path,
    gallery_path: str | Path,
    *,
    kept: Kept | None = None,
    threshold: float | str | None = None,
    top: int = 5,
    prior: float = 0.5,
) -> Identified:
    """Ranks the speakers of a gallery by how likely a recording is theirs.

    Of many speakers the likeliest is above a threshold more often than one is: who wants few false names in a large
    gallery takes a threshold with a lower rate of false acceptance.

    Args:
        model: the one that they were enrolled with.
        feature_extractor: the model's.
        file: an audio file.
        gallery_path: the gallery's file.
        kept: what the model keeps; None: they are ranked by the cosine of embeddings.
        threshold: a score, or the name of a kept threshold; None: the kept one that is meant to decide. Without any
            nobody is called unknown.
        top: how many are listed.
        prior: see `pairs.same_speaker`; the same for everybody.

    Raises:
        InputError: no such file, gallery or threshold; one of another model, or of long recordings that were cut
            otherwise; nobody in it.
    """
    if top < 1:
        raise InputError(f"top is {top}; give 1 or more speakers to list")
    check_threshold(threshold)
    if kept is None and isinstance(threshold, str):
        raise InputError(f"threshold {threshold!r}: none is kept with this model; give a score, or {HOW_TO_KEEP}")
    gallery = Gallery.load(gallery_path)
    gallery.require_model(embedder_digest(model, feature_extractor), gallery_path)
    piece = longest_piece(None if kept is None else kept.chunk_seconds)
    gallery = gallery.cut_to(piece, gallery_path)
    names, means, totals, counts = gallery.speakers()
    if not names:
        raise InputError(f"{gallery_path}: nobody is enrolled; enrol speakers with `hf-speech enroll`")
    heard, heard_seconds = embeddings_of(model, feature_extractor, [file], piece)
    gallery.require_size(heard.shape[1])
    vectors, seconds = np.concatenate([means, heard]), np.concatenate([totals / counts, heard_seconds])
    left, right = np.arange(len(names)), np.full(len(names), len(names))
    judged = judge(vectors, seconds, left, right, [*names, str(file)], kept, prior=prior)
    order = np.argsort(-(judged.scores if kept is None else judged.llrs), kind="stable")[:top].tolist()
    matches = tuple(_match(names, judged, i) for i in order)
    enough, reached = _reached(judged, order[0], kept, threshold)
    speaker = None if enough is None else matches[0].name if reached else UNKNOWN
    return Identified(speaker, matches, enough)


def check_threshold(threshold: float | str | None) -> None:
    """Refuses a score that decides nothing.

    Raises:
        InputError: it is not finite.
    """
    if isinstance(threshold, int | float) and not math.isfinite(threshold):
        raise InputError(f"threshold {threshold}: give a finite score, or the name of a kept threshold")


def _match(names: Sequence[str], judged: Judged, place: int) -> Match:
    probability = float(judged.probabilities[place]) if len(judged.probabilities) else None
    return Match(names[place], float(judged.scores[place]), probability)


def _reached(judged: Judged, place: int, kept: Kept | None, threshold: float | str | None) -> tuple[float | None, bool]:
    """The score that a trial needs (None: there is no threshold), and whether it has it."""
    score = float(judged.scores[place])
    if kept is not None and (threshold is None or isinstance(threshold, str)):
        llr = float(judged.llrs[place])
        enough = kept.enough(score, llr, threshold)
        return enough, bool(kept.accepts(llr, threshold))
    return (None, False) if threshold is None else (float(threshold), score >= float(threshold))


def in_words(found: Identified) -> list[str]:
    r"""Who was heard, then a line a speaker.

    >>> print(*in_words(Identified("unknown", (Match("eva", 0.3, 0.18), Match("jan", 0.1, 0.02)), 0.42)), sep="\n")
    unknown: the likeliest, eva, has a score of 0.300, under the threshold 0.420
      eva  score 0.300  probability 0.180
      jan  score 0.100  probability 0.020
    """
    best = found.matches[0]
    if found.threshold is None:
        said = f"likeliest: {best.name}; nobody can be called unknown without a threshold: give one, or {HOW_TO_KEEP}"
    elif found.speaker == UNKNOWN:
        under = f"under the threshold {found.threshold:.3f}"
        said = f"{UNKNOWN}: the likeliest, {best.name}, has a score of {best.score:.3f}, {under}"
    else:
        said = f"{found.speaker}: score {best.score:.3f}, threshold {found.threshold:.3f}"
    width = max(len(match.name) for match in found.matches)
    lines = [said]
    for match in found.matches:
        chance = "" if match.probability is None else f"  probability {match.probability:.3f}"
        lines.append(f"  {match.name:{width}}  score {match.score:.3f}{chance}")
    return lines


def _gallery(path: str | Path, digest: str, piece: float, forgotten: str | None) -> Gallery:
    """The gallery of a model without one of its speakers, empty where there is none yet."""
    if not Path(path).exists():
        return Gallery.empty(digest, piece)
    gallery = Gallery.load(path)
    gallery.require_model(digest, path)
    if forgotten in gallery.names:
        gallery = gallery.without(forgotten)
    return gallery.cut_to(piece, path)
