"""Rows -> batches: decode, crop, pad, mask; and long rows -> chunks."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor

from ..audio import SAMPLE_RATE, audio_info, read_audio
from ..errors import InputError, list_some, lookup
from .augment import Augmentation, source_samples, speed_class
from .checks import MIN_SAMPLES
from .problems import ON_BAD
from .schema import channel_of, file_name, require_column

logger = logging.getLogger(__name__)


class SpeechCollator:
    """Makes a padded batch from rows, in the data loader's workers; only what the batch needs is decoded.

    A random crop draws from torch's global generator, which a data loader seeds anew for each worker and epoch.

    Args:
        feature_extractor: a `Wav2Vec2FeatureExtractor`: its rate, its padding, its normalisation over real samples.
        crop_seconds: longest clip; a random piece of a longer one is read. None: everything, as for evaluation.
        channel: which channel (from 0), or "mean" of all; the column `channel` of a row stands above it.
        min_samples: the shortest clip in samples at the extractor's rate; by default one receptive field.
        on_bad: "raise" at a clip that can't be decoded, or "skip" it with a warning that names it.
        augmentation: what is done to every clip; None: nothing. It draws as the crops do.
        num_speakers: of a classifier of speakers, where each speed of the augmentation makes new ones: the label is
            then that of `augment.speed_class`. A clip that a speed would make too short keeps its own, and its label.
            None: the speed leaves the label as it is.

    Attributes:
        skipped: file name -> reason, of the clips that this process has left out.

    Shape:
        rows [{audio, start?, end?, channel?, length?, duration?, labels?}] -> input_values (B, T) float32,
        attention_mask (B, T) int64, 1 at real samples, labels (B,) int64 or float32, or (B, C) float32 where a row has
        a list; a table of such where a row has a table

    Raises:
        InputError: a clip that is broken or too short, by file name; labels in some rows only; no clip left.
    """

    def __init__(
        self,
        feature_extractor: Any,
        *,
        crop_seconds: float | None = None,
        channel: int | str = "mean",
        min_samples: int = MIN_SAMPLES,
        on_bad: str = "raise",
        augmentation: Augmentation | None = None,
        num_speakers: int | None = None,
    ) -> None:
        self.feature_extractor = feature_extractor
        self.crop_seconds = crop_seconds
        self.channel: Any = channel
        self.min_samples = min_samples
        self.refuse = lookup(ON_BAD, on_bad, "answer to bad audio")
        self.skipped: dict[str, str] = {}
        self.augmentation, self.num_speakers = augmentation, num_speakers
        self.sample_rate = int(feature_extractor.sampling_rate)
        if crop_seconds is not None and round(crop_seconds * self.sample_rate) < min_samples:
            raise InputError(f"crop_seconds {crop_seconds:g} is under {min_samples} samples; give a longer crop")

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """See the class."""
        waveforms, kept, speeds = [], [], []
        rng = _generator() if self.augmentation else None
        for row in rows:
            speed = self.augmentation.draw_speed(rng) if self.augmentation and rng else 1.0
            try:
                waveforms.append(self.waveform(row, speed))
                kept.append(row)
                speeds.append(self._in_force(waveforms[-1], speed))
            except InputError as error:
                if self.refuse:
                    raise
                if file_name(row["audio"]) not in self.skipped:
                    logger.warning("left out: %s", error)
                self.skipped[file_name(row["audio"])] = str(error)
        if not kept:
            raise InputError(f"no clip of a batch can be used: {list_some([file_name(row['audio']) for row in rows])}")
        if self.augmentation and rng:
            waveforms = self._augmented(waveforms, speeds, rng)
            kept = [self._of_speed(row, speed) for row, speed in zip(kept, speeds, strict=True)]
        features = self.feature_extractor(
            waveforms,
            sampling_rate=self.sample_rate,
            padding=True,
            return_attention_mask=True,
            return_tensors="pt",
        )
        batch = {"input_values": features["input_values"].float(), "attention_mask": features["attention_mask"].long()}
        labels = _labels(kept)
        return batch if labels is None else {**batch, "labels": labels}

    def _augmented(self, waveforms: Sequence[np.ndarray], speeds: Sequence[float], rng: Any) -> list[np.ndarray]:
        """The waveforms as they came, each made different, with babble of the others; a crop has its length again."""
        samples = None if self.crop_seconds is None else round(self.crop_seconds * self.sample_rate)
        made = []
        for i, (waveform, speed) in enumerate(zip(waveforms, speeds, strict=True)):
            others = [other for k, other in enumerate(waveforms) if k != i]
            made.append(self.augmentation(waveform, rng, others, speed, samples) if self.augmentation else waveform)
        return made

    def _in_force(self, waveform: np.ndarray, speed: float) -> float:
        """The speed that was drawn; 1 where it would leave too few samples of a short clip."""
        return speed if len(waveform) >= source_samples(self.min_samples, speed) else 1.0

    def _of_speed(self, row: Mapping[str, Any], speed: float) -> Mapping[str, Any]:
        if self.num_speakers is None or self.augmentation is None:
            return row
        label = speed_class(row["labels"], speed, self.num_speakers, self.augmentation.speeds)
        return {**row, "labels": label}

    def waveform(self, row: Mapping[str, Any], speed: float = 1.0) -> Any:
        """The samples of one row: (samples,) float32 at the extractor's rate, cropped.

        Args:
            row: with `audio`.
            speed: at which it will be played: of a faster one a longer crop is read.

        Raises:
            InputError: broken, or under `min_samples`, by file name.
        """
        start, duration = self._crop(row, speed)
        channel: Any = channel_of(row, self.channel)
        samples = read_audio(
            row["audio"], sample_rate=self.sample_rate, start=start, duration=duration, channel=channel
        )
        if len(samples) < self.min_samples:
            what = f"{len(samples)} samples at {start:g} s, the model needs {self.min_samples}"
            raise InputError(f"{file_name(row['audio'])}: {what}; leave it out")
        return samples

    def _crop(self, row: Mapping[str, Any], speed: float) -> tuple[float, float | None]:
        """Where to read, in seconds: start, and duration or None for all that follows."""
        start, end = row.get("start") or 0.0, row.get("end")
        duration = None if end is None else end - start
        if duration is not None and duration <= 0:
            raise InputError(f"{file_name(row['audio'])}: start {start:g} s is not before end {end:g} s; mend the row")
        if self.crop_seconds is None:
            return start, duration
        available = self._samples_of(row, start, duration)
        wanted = source_samples(round(self.crop_seconds * self.sample_rate), speed)
        if available <= wanted:
            return start, duration
        offset = int(torch.randint(0, available - wanted + 1, ()))
        return start + offset / self.sample_rate, wanted / self.sample_rate

    def _samples_of(self, row: Mapping[str, Any], start: float, duration: float | None) -> int:
        """Samples of the row at the extractor's rate: from its columns, else from the file's header."""
        if row.get("length") is not None and row.get("duration") is not None:
            # Both are there once `check_rows` has measured them. Not `length` itself: what groups batches by length may
            # cap it at the crop; nor a lone `duration`: a table may say anything.
            duration = row["duration"]
        elif duration is None:
            duration = audio_info(row["audio"]).duration - start
        return round(duration * self.sample_rate)


def _generator() -> np.random.Generator:
    """A generator seeded by torch's global one, as a data loader's worker has it."""
    return np.random.default_rng(int(torch.randint(0, 2**62, ())))


def _labels(rows: Sequence[Mapping[str, Any]]) -> Tensor | dict[str, Tensor] | None:
    """Labels of a batch: whole numbers as classes (int64), others as values (float32); of several tasks a table."""
    labels = [row.get("labels") for row in rows]
    missing = [row for row, label in zip(rows, labels, strict=True) if label is None]
    if len(missing) == len(rows):
        return None
    if missing:
        raise InputError(f"{file_name(missing[0]['audio'])}: no label, though others of its batch have one")
    first = labels[0]
    if isinstance(first, Mapping):
        return {task: _tensor([row["labels"][task] for row in rows]) for task in first}
    return _tensor(labels)


def _tensor(labels: Sequence[Any]) -> Tensor:
    whole = all(isinstance(label, int) for label in labels)
    return torch.tensor(labels, dtype=torch.long if whole else torch.float32)


@dataclass(frozen=True)
class Chunk:
    """A piece of a row: of which one, from where to where (seconds in the file; None: its ends), how many samples."""

    row: int
    start: float | None
    end: float | None
    length: int

    def of(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The row, cut to this piece, as `SpeechCollator` takes it."""
        own = {"start": self.start, "end": self.end, "length": self.length, "duration": self.length / SAMPLE_RATE}
        return {**row, **own}


def chunk_rows(rows: Dataset, max_seconds: float) -> list[Chunk]:
    """Every row in pieces of nearly equal length, none longer than `max_seconds`, which cover all of it once.

    A row of n samples becomes ceil(n / max) pieces, so no short rest is left over. Nothing of the rows is copied.

    Args:
        rows: with `length` (from `check_rows`), and perhaps `start` and `end`.
        max_seconds: the longest piece.

    Raises:
        InputError: no column `length`, or a limit that is not above one receptive field.
    """
    require_column(rows, "length", "chunks need the lengths that check_rows notes")
    longest = round(max_seconds * SAMPLE_RATE)
    if longest < 2 * MIN_SAMPLES:
        raise InputError(f"chunks of {max_seconds:g} s are too short; give at least {2 * MIN_SAMPLES / SAMPLE_RATE} s")
    starts, ends = (rows[name] if name in rows.column_names else [None] * len(rows) for name in ("start", "end"))
    chunks: list[Chunk] = []
    for i, (length, start, end) in enumerate(zip(rows["length"], starts, ends, strict=True)):
        count = math.ceil(length / longest)
        if count == 1:
            chunks.append(Chunk(i, start, end, length))
            continue
        bounds = [round(k * length / count) for k in range(count + 1)]
        for first, last in zip(bounds[:-1], bounds[1:], strict=True):
            begin = (start or 0.0) + first / SAMPLE_RATE
            chunks.append(Chunk(i, begin, begin + (last - first) / SAMPLE_RATE, last - first))
    return chunks
