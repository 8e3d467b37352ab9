"""Rows -> batches: decode, crop, pad, mask."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from transformers import Wav2Vec2FeatureExtractor

from ..audio import audio_info, read_audio
from ..errors import InputError, list_some, lookup
from .augment import DRAWN, Augmentation, augmented, collate_drawn
from .checks import MIN_SAMPLES
from .effects import VARIANCE_FLOOR
from .problems import ON_BAD
from .schema import channel_of, file_name
from .speeds import change_speed, source_samples, speed_class

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class BatchOrigin:
    """Where a batch is from: the file of each row; how many samples are real, and how many there are with padding."""

    files: tuple[str, ...]
    real_samples: int
    padded_samples: int


class SpeechCollator:
    """Makes a padded batch from rows, in the data loader's workers; only what the batch needs is decoded.

    All that is random about a row comes from one generator, in this order: the speed (with an augmentation), the place
    of the crop (where it is shorter than the row), then the effects (`Augmentation.draw`). A row with a `draw`, whole
    numbers from 0 up such as (seed, epoch, index, turn), is seeded by it, so it comes out the same whoever else is in
    the batch and whichever worker makes it; but for babble of the other rows. A row without is seeded from torch's
    global generator, which a data loader seeds anew for each worker and epoch.

    Args:
        feature_extractor: a `Wav2Vec2FeatureExtractor`: its rate, its padding, its normalisation over real samples.
        crop_seconds: longest clip; a random piece of a longer one is read. None: everything, as for evaluation.
        channel: which channel (from 0), or "mean" of all; the column `channel` of a row stands above it.
        min_samples: the shortest clip in samples at the extractor's rate; by default one receptive field.
        on_bad: "raise" at a clip that can't be decoded, or "skip" it with a warning that names it.
        augmentation: what is done to every clip; None: nothing.
        num_speakers: of a classifier of speakers, where each speed of the augmentation makes new ones: the label is
            then that of `speeds.speed_class`. A clip that a speed would make too short keeps its own, and its label.
            None: the speed leaves the label as it is.
        augment_later: True: of the augmentation, only the speed is changed here; the batch carries what was drawn
            beside as yet unnormalised waveforms, and `augment.augmented` makes of it what goes into the model.
        with_origin: True: the batch has a `BatchOrigin` under "origin", to be taken out before the model sees it.

    Attributes:
        skipped: file name -> reason, of the clips that this process has left out.

    Shape:
        rows [{audio, start?, end?, channel?, length?, duration?, labels?, draw?}] -> input_values (B, T) float32,
        attention_mask (B, T) int64, 1 at real samples, labels (B,) int64 or float32, or (B, C) float32 where a row has
        a list; a table of such where a row has a table; with augment_later augmentation, see `augment.collate_drawn`

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
        augment_later: bool = False,
        with_origin: bool = False,
    ) -> None:
        self.feature_extractor = feature_extractor
        self.crop_seconds = crop_seconds
        self.channel: Any = channel
        self.min_samples = min_samples
        self.refuse = lookup(ON_BAD, on_bad, "answer to bad audio")
        self.skipped: dict[str, str] = {}
        self.augmentation, self.num_speakers = augmentation, num_speakers
        self.augment_later, self.with_origin = augment_later, with_origin
        self.sample_rate = int(feature_extractor.sampling_rate)
        if crop_seconds is not None and round(crop_seconds * self.sample_rate) < min_samples:
            raise InputError(f"crop_seconds {crop_seconds:g} is under {min_samples} samples; give a longer crop")

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """See the class."""
        clips = self._read(rows)
        if not clips:
            raise InputError(f"no clip of a batch can be used: {list_some([file_name(row['audio']) for row in rows])}")
        return self.batch_of(clips)

    def batch_of(self, clips: "Sequence[Clip]") -> dict[str, Any]:
        """The batch of clips that were read."""
        if self.augmentation is not None:
            batch = self._drawn(clips, self.augmentation)
            batch = batch if self.augment_later else augmented(batch)
        else:
            batch = self._extracted([clip.waveform for clip in clips])
        if self.with_origin:
            files, mask = tuple(file_name(clip.row["audio"]) for clip in clips), batch["attention_mask"]
            batch["origin"] = BatchOrigin(files, int(mask.sum()), mask.numel())
        labels = batch_labels([self._of_speed(clip.row, clip.speed) for clip in clips])
        return batch if labels is None else {**batch, "labels": labels}

    def _read(self, rows: Sequence[Mapping[str, Any]]) -> "list[Clip]":
        """What can be used of the rows."""
        clips = []
        for row in rows:
            # Where nothing is random, torch's global generator is left as it is.
            rng = None if self.augmentation is None and self.crop_seconds is None else _generator(row)
            speed = self.augmentation.draw_speed(rng) if self.augmentation and rng else 1.0
            try:
                start, duration = self._crop(row, speed, rng)
                waveform = self._samples(row, start, duration)
            except InputError as error:
                if self.refuse:
                    raise
                if file_name(row["audio"]) not in self.skipped:
                    logger.warning("left out: %s", error)
                self.skipped[file_name(row["audio"])] = str(error)
            else:
                offset = start - (row.get("start") or 0.0)
                clips.append(Clip(row, waveform, self._in_force(waveform, speed), rng, offset))
        return clips

    def _extracted(self, waveforms: Sequence[np.ndarray]) -> dict[str, Any]:
        """The batch as the feature extractor makes it; of the plain one to the bit."""
        if _is_plain(self.feature_extractor):
            return _padded(waveforms, normalize=self.feature_extractor.do_normalize)
        features = self.feature_extractor(
            waveforms,
            sampling_rate=self.sample_rate,
            padding=True,
            return_attention_mask=True,
            return_tensors="pt",
        )
        return {"input_values": features["input_values"].float(), "attention_mask": features["attention_mask"].long()}

    def _drawn(self, clips: "Sequence[Clip]", augmentation: Augmentation) -> dict[str, Any]:
        """The batch at its speeds, not normalised, with what was drawn for it; a crop has its length again."""
        samples = None if self.crop_seconds is None else round(self.crop_seconds * self.sample_rate)
        waveforms = [change_speed(clip.waveform, clip.speed)[:samples] for clip in clips]
        drawn = []
        for i, (clip, waveform) in enumerate(zip(clips, waveforms, strict=True)):
            others = [other for k, other in enumerate(waveforms) if k != i]
            drawn.append(augmentation.draw(len(waveform), cast(np.random.Generator, clip.rng), others))
        tables = collate_drawn(drawn, normalize=self.feature_extractor.do_normalize)
        return {**_padded(waveforms), DRAWN: tables}

    def _in_force(self, waveform: np.ndarray, speed: float) -> float:
        """The speed that was drawn; 1 where it would leave too few samples of a short clip."""
        return speed if len(waveform) >= source_samples(self.min_samples, speed) else 1.0

    def _of_speed(self, row: Mapping[str, Any], speed: float) -> Mapping[str, Any]:
        if self.num_speakers is None or self.augmentation is None:
            return row
        label = speed_class(row["labels"], speed, self.num_speakers, self.augmentation.speeds)
        return {**row, "labels": label}

    def waveform(self, row: Mapping[str, Any], speed: float = 1.0, rng: np.random.Generator | None = None) -> Any:
        """The samples of one row: (samples,) float32 at the extractor's rate, cropped.

        Args:
            row: with `audio`.
            speed: at which it will be played: of a faster one a longer crop is read.
            rng: of the place of the crop; None: see the class.

        Raises:
            InputError: broken, or under `min_samples`, by file name.
        """
        return self._samples(row, *self._crop(row, speed, rng))

    def _samples(self, row: Mapping[str, Any], start: float, duration: float | None) -> np.ndarray:
        """The samples of a file from a time on (seconds)."""
        channel: Any = channel_of(row, self.channel)
        samples = read_audio(
            row["audio"], sample_rate=self.sample_rate, start=start, duration=duration, channel=channel
        )
        if len(samples) < self.min_samples:
            what = f"{len(samples)} samples at {start:g} s, the model needs {self.min_samples}"
            raise InputError(f"{file_name(row['audio'])}: {what}; leave it out")
        return samples

    def _crop(
        self, row: Mapping[str, Any], speed: float, rng: np.random.Generator | None
    ) -> tuple[float, float | None]:
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
        offset = int((rng or _generator(row)).integers(available - wanted + 1))
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


@dataclass(frozen=True)
class Clip:
    """A row that was read.

    Attributes:
        row: the row.
        waveform: its samples, or those of a crop.
        speed: that they get.
        rng: of what is yet to be drawn; None: nothing is.
        offset: where the crop begins in the row, seconds.
    """

    row: Mapping[str, Any]
    waveform: np.ndarray
    speed: float
    rng: np.random.Generator | None
    offset: float = 0.0


def _is_plain(extractor: Any) -> bool:
    """Whether it does no more than to pad with zeros behind, and to normalise if it is told to."""
    if type(extractor) is not Wav2Vec2FeatureExtractor:
        return False
    return (extractor.padding_side, extractor.padding_value) == ("right", 0.0)


def _padded(waveforms: Sequence[np.ndarray], normalize: bool = False) -> dict[str, Tensor]:
    """Waveforms with zeros behind, and their mask.

    Normalised as `Wav2Vec2FeatureExtractor` does it, by NumPy: a sum of torch's depends on the number of its threads,
    which a data loader's worker has another one of.
    """
    lengths = [len(waveform) for waveform in waveforms]
    values = np.zeros((len(lengths), max(lengths)), np.float32)
    for row, waveform in zip(values, waveforms, strict=True):
        real = row[: len(waveform)]
        real[:] = waveform
        if normalize:
            real -= real.mean()
            real /= np.sqrt(np.square(real).mean() + VARIANCE_FLOOR)
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return {"input_values": torch.from_numpy(values), "attention_mask": mask.long()}


def _generator(row: Mapping[str, Any]) -> np.random.Generator:
    """Seeded by the row's `draw`; without one by torch's global generator, as a data loader's worker has it."""
    if row.get("draw") is not None:
        return np.random.default_rng([int(number) for number in row["draw"]])
    return np.random.default_rng(int(torch.randint(0, 2**62, ())))


def batch_labels(rows: Sequence[Mapping[str, Any]]) -> Tensor | dict[str, Tensor] | None:
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
