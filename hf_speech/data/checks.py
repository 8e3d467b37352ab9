"""Every audio file looked at once, before training: what is broken is found by name now, not in the third hour."""

import logging
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from datasets import Dataset
from tqdm.auto import tqdm

from ..audio import SAMPLE_RATE, AudioInfo, check_audio, receptive_field, samples_at
from ..errors import InputError, list_some, lookup
from .problems import ON_BAD, Problem
from .schema import add_columns, batches, channel_of, file_name, require_column

logger = logging.getLogger(__name__)

# One frame of wav2vec 2.0 and its kin: a shorter clip crashes them, or gets a mask that calls its padding real.
MIN_SAMPLES = receptive_field((10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2))
MIN_DURATION = MIN_SAMPLES / SAMPLE_RATE
# Tables round their ends, and a compressed file may be a packet shorter than what was annotated.
END_TOLERANCE = 0.02  # seconds

WAYS = {"full": True, "headers": False}


@dataclass(frozen=True)
class BadAudio:
    """A row whose audio can't be used.

    Attributes:
        row: its index in the rows that were checked.
        file: path, or "<bytes of path>" where it is embedded.
        reason: what is wrong and the mend.
    """

    row: int
    file: str
    reason: str


def check_rows(
    rows: Dataset,
    *,
    how: str = "full",
    on_bad: str = "raise",
    min_duration: float = MIN_DURATION,
    channel: int | str = "mean",
    num_workers: int | None = None,
) -> tuple[Dataset, list[BadAudio]]:
    """Look at the audio of every row, each file once, and note its length.

    Args:
        rows: with `audio`, and perhaps `start` and `end` (seconds) and `channel`.
        how: "full" decodes everything, which finds truncation and NaN; "headers" opens each file and decodes its end.
        on_bad: "raise" after all were looked at, or "skip" the bad rows.
        min_duration: the shortest row that is accepted, in seconds; the default is one receptive field (400 samples).
        channel: the channel that will be read: "mean" of all, or a number that each file must have; the column
            `channel` of a row stands above it.
        num_workers: threads; None: one a core, at most 8.

    Returns:
        The good rows with the columns `length` (samples at 16 kHz) and `duration` (s), and the bad ones.

    Raises:
        InputError: a bad file and on_bad "raise", or no good row at all.
    """
    whole = lookup(WAYS, how, "way to check audio")
    refuse = lookup(ON_BAD, on_bad, "answer to bad audio")
    if not isinstance(rows, Dataset):
        raise InputError(
            "streamed rows can't be checked beforehand; leave the check out, the collator names a bad file"
        )
    require_column(rows, "audio", "check of the audio")
    if not len(rows):
        raise InputError("there are no rows to check; give at least one")
    threads = num_workers or min(8, os.cpu_count() or 1)
    spans: list[tuple[int, float] | BadAudio] = []
    known: dict[str, AudioInfo | str] = {}
    with ThreadPoolExecutor(threads) as pool, tqdm(total=len(rows), desc="audio", unit="row", disable=None) as bar:
        for batch in batches(rows, ("audio", "start", "end", "channel")):
            keys = [_key(row["audio"], len(spans) + i) for i, row in enumerate(batch)]
            new = {key: row["audio"] for key, row in zip(keys, batch, strict=True) if key not in known}
            known |= zip(new, pool.map(lambda audio: _inspect(audio, whole), new.values()), strict=True)
            for key, row in zip(keys, batch, strict=True):
                spans.append(_judge(len(spans), row, known[key], min_duration, channel))
            bar.update(len(batch))
    return _sort_out(rows, spans, refuse)


def _key(audio: Mapping[str, Any] | None, index: int) -> str:
    """The same for rows that are segments of one file; embedded audio stands for itself."""
    if audio and audio.get("bytes") is None and audio.get("path"):
        return f"file {audio['path']}"
    return f"row {index}"


def _inspect(audio: Mapping[str, Any] | None, whole: bool) -> AudioInfo | str:
    """What the file holds, or what is wrong with it."""
    try:
        return check_audio(audio, whole=whole)
    except InputError as error:
        return str(error).removeprefix(f"{file_name(audio)}: ")


def _judge(
    index: int, row: Mapping[str, Any], info: AudioInfo | str, min_duration: float, channel: int | str
) -> tuple[int, float] | BadAudio:
    """Length (samples at 16 kHz) and duration (s) of a row, or what is wrong with it."""
    found = (
        Problem("not audio", "", None, info)
        if isinstance(info, str)
        else channel_fault(row, info, channel) or span_of(row, info, min_duration)
    )
    return BadAudio(index, file_name(row["audio"]), found.reason) if isinstance(found, Problem) else found


def channel_fault(row: Mapping[str, Any], info: AudioInfo, default: int | str = "mean") -> Problem | None:
    """What is wrong with the channel of a row, or with the run's where it has none of its own."""
    wanted = channel_of(row, default)
    if wanted == "mean" or wanted in range(info.channels):
        return None
    fault = f"no channel {wanted!r}, it has {info.channels}; take another channel, or 'mean'"
    return Problem("unknown channel", "", None, fault)


def span_of(row: Mapping[str, Any], info: AudioInfo, min_duration: float = MIN_DURATION) -> tuple[int, float] | Problem:
    """Length (samples at 16 kHz) and duration (s) of a row, or what is wrong with its `start` and `end` (s).

    Args:
        row: with `start` and `end`, where it is a piece of its file.
        info: what the header of its file says.
        min_duration: the shortest row that is accepted, in seconds.
    """
    start = row.get("start") or 0.0
    end = info.duration if row.get("end") is None else row["end"]
    if not 0 <= start < end:
        return Problem("bad time", "", None, f"start {start:g} s is not before end {end:g} s; mend the row")
    if end > info.duration + END_TOLERANCE:
        beyond = f"end {end:g} s is beyond the file's {info.duration:.3f} s; mend the row"
        return Problem("bad time", "", None, beyond)
    end = min(end, info.duration)
    if round((end - start) * SAMPLE_RATE) < round(min_duration * SAMPLE_RATE):  # 2.0 - 1.975 is a little under 0.025
        short = f"{end - start:.4f} s long, at least {min_duration:g} s are wanted; leave it out"
        return Problem("too short", "", None, short)
    last = samples_at(info) if end == info.duration else round(end * SAMPLE_RATE)
    return last - round(start * SAMPLE_RATE), end - start


def _sort_out(rows: Dataset, spans: list[tuple[int, float] | BadAudio], refuse: bool) -> tuple[Dataset, list[BadAudio]]:
    bad = [span for span in spans if isinstance(span, BadAudio)]
    if bad:
        listed = list_some([f"row {b.row}, {b.file}: {b.reason}" for b in bad])
        if refuse or len(bad) == len(spans):
            mend = "leave such rows out with --on-bad-audio skip" if len(bad) < len(spans) else "there is no good row"
            raise InputError(f"{len(bad)} of {len(spans)} rows have bad audio ({mend}): {listed}")
        logger.warning("%d of %d rows have bad audio and were left out: %s", len(bad), len(spans), listed)
    lengths = [None if isinstance(span, BadAudio) else span[0] for span in spans]
    durations = [None if isinstance(span, BadAudio) else span[1] for span in spans]
    new = {"length": pa.array(lengths, type=pa.int64()), "duration": pa.array(durations, type=pa.float64())}
    good = [i for i, length in enumerate(lengths) if length is not None]
    checked = add_columns(rows, new)
    return (checked if not bad else checked.select(good)), bad
