"""Recordings -> labels by an ONNX file, as `hf_speech.inference.predict` gives them by torch.

torch is loaded only where a recording has to be resampled.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from tqdm import tqdm

from ..audio import SAMPLE_RATE, read_audio
from ..data.checks import check_rows
from ..data.chunks import chunk_rows
from ..data.recordings import rows_of_files
from ..data.schema import channel_of
from ..models.frames import length_batches
from ..outcome import BATCH_SECONDS, MAX_SECONDS, Inference, answers, average_of_pieces
from .session import OnnxClassifier


def predict(
    classifier: OnnxClassifier,
    files: Sequence[str | Path],
    *,
    channel: int | str = "mean",
    on_bad: str = "raise",
) -> list[dict[str, Any]]:
    """Labels with scores, or for regression values, of audio files.

    Args:
        classifier: an ONNX file, loaded.
        files: audio files, and folders of them.
        channel: of multi-channel files.
        on_bad: "raise" at files that can't be used, or "skip" them with a warning that names each.

    Returns:
        As `hf_speech.inference.predict`.

    Raises:
        InputError: files are missing, broken, or too short for the model.
    """
    least = classifier.facts.min_samples / classifier.facts.sampling_rate
    rows, _ = check_rows(rows_of_files(files), how="full", on_bad=on_bad, min_duration=least, channel=channel)
    return answers(classifier.facts.tasks, rows["path"], infer(classifier, rows, channel=channel))


def infer(
    classifier: OnnxClassifier, rows: Dataset, *, max_seconds: float = MAX_SECONDS, channel: int | str = "mean"
) -> Inference:
    """What a file says of whole utterances, in the order of the rows; long ones in pieces, as by torch.

    In 8 bits every piece is asked about alone, since what is said would hang on the others in the batch.

    Args:
        classifier: an ONNX file, loaded.
        rows: N rows with `audio` and `length`, as `check_rows` gives them.
        max_seconds: the longest piece.
        channel: of multi-channel files; the column `channel` of a row stands above it.
    """
    pieces = chunk_rows(rows, max_seconds)
    owners = np.array([piece.row for piece in pieces])
    lengths = np.array([piece.length / SAMPLE_RATE for piece in pieces])
    facts = classifier.facts
    collected: dict[str, np.ndarray] = {}
    inputs = rows.select_columns([name for name in ("audio", "channel") if name in rows.column_names])
    budget = 0.0 if facts.precision == "int8" else BATCH_SECONDS
    for batch in tqdm(length_batches(lengths.tolist(), budget), desc="predicting", disable=None, leave=False):
        cut = [pieces[i].of(inputs[pieces[i].row]) for i in batch]
        said = classifier([_read(row, facts.sampling_rate, channel) for row in cut])
        for name in (*facts.logits.values(), "embeddings"):
            values = said[name]
            collected.setdefault(name, np.zeros((len(pieces), values.shape[1]), np.float32))[batch] = values
    averaged = {name: average_of_pieces(values, owners, lengths, len(rows)) for name, values in collected.items()}
    return Inference({task: averaged[name] for task, name in facts.logits.items()}, None, averaged["embeddings"])


def _read(piece: dict[str, Any], rate: int, channel: int | str) -> np.ndarray:
    """The samples of a piece of a row: (samples,) float32."""
    start, end = piece["start"] or 0.0, piece["end"]
    wanted: Any = channel_of(piece, channel)
    duration = None if end is None else end - start
    return read_audio(piece["audio"], sample_rate=rate, start=start, duration=duration, channel=wanted)
