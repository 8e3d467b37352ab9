"""A few audio files -> embeddings, and what tells one model's embeddings from another's."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from datasets import Audio, Dataset
from numpy.typing import NDArray
from transformers import PreTrainedModel
from transformers.feature_extraction_utils import FeatureExtractionMixin

from ..audio import SAMPLE_RATE, check_audio, read_audio, samples_at
from ..errors import InputError
from ..inference import infer
from ..outcome import MAX_SECONDS
from .embedder import Embedder

# What tells models apart for good: the rest of an embedder's identity changes with the libraries too.
_LASTING = ("class", "sampling_rate", "do_normalize", "weights")


def embeddings_of(
    model: PreTrainedModel,
    feature_extractor: FeatureExtractionMixin,
    files: Sequence[str | Path],
    chunk_seconds: float | None = None,
) -> tuple[NDArray, NDArray]:
    """Embeddings of audio files, and how long they are.

    Each is embedded alone: its numbers are the same, to the last bit, whatever else is asked.

    Args:
        model: an audio classifier.
        feature_extractor: the model's.
        files: N audio files.
        chunk_seconds: longer ones are cut into pieces of nearly equal length, whose embeddings are averaged; infinity:
            none is cut; None: 30.

    Returns:
        (N, E) float32, and (N,) seconds.

    Raises:
        InputError: a file is missing, broken, too short, or silent from end to end; or the model gives no embeddings.
    """
    embedder = Embedder(model, feature_extractor)
    least = embedder.min_samples / SAMPLE_RATE
    infos = [check_audio(str(file), min_duration=least) for file in files]
    for file in files:
        if np.ptp(read_audio(str(file))) == 0:
            raise InputError(f"{file}: is silent from end to end; give a recording of the voice")
    seconds = np.array([info.duration for info in infos])
    columns = {
        "audio": [{"bytes": None, "path": str(file)} for file in files],
        "length": [samples_at(info) for info in infos],
    }
    rows = Dataset.from_dict(columns).cast_column("audio", Audio(decode=False))
    return embeddings_of_rows(model, feature_extractor, rows, seconds, chunk_seconds), seconds


def embeddings_of_rows(
    model: PreTrainedModel,
    feature_extractor: FeatureExtractionMixin,
    rows: Dataset,
    seconds: NDArray,
    chunk_seconds: float | None = None,
) -> NDArray:
    """Embeddings of recordings that were looked at, each made alone: (N, E) float32.

    Args:
        model: one that gives embeddings.
        feature_extractor: the model's.
        rows: N rows with `audio` and `length`.
        seconds: (N,) how long they are.
        chunk_seconds: see `embeddings_of`.
    """
    longest = min(longest_piece(chunk_seconds), seconds.max() + 1.0)  # above all of them: nothing is cut
    found = infer(model, feature_extractor, rows, max_seconds=longest, batch_seconds=0.0)
    assert found.embeddings is not None  # whoever asks has seen to it
    return found.embeddings


def longest_piece(chunk_seconds: float | None) -> float:
    """How long pieces are: 30 seconds where nothing is said; infinity: nothing is cut."""
    return MAX_SECONDS if chunk_seconds is None else chunk_seconds


def embedder_digest(model: PreTrainedModel, feature_extractor: FeatureExtractionMixin) -> str:
    """SHA-256 of what decides a model's embeddings, hexadecimal; its heads have no part in them.

    Raises:
        InputError: the model gives none.
    """
    identity = Embedder(model, feature_extractor).identity()
    facts = {name: identity[name] for name in _LASTING}
    facts["settings"] = {name: value for name, value in identity["settings"].items() if name != "backbone"}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
