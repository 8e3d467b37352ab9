"""Rows of a corpus -> examples as they are written: the audio embedded, converted, cut out, or named by its path."""

import os
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import PurePosixPath
from typing import Any, Protocol

import datasets
import numpy as np
import pyarrow as pa
from datasets import Features, Value

from ..audio import SAMPLE_RATE, AudioInfo, encode_audio, read_audio, samples_at
from ..data.problems import Problems
from ..data.schema import channel_of
from ..data.stored import LISTED
from ..errors import InputError
from .places import PLACE, MemberFile, open_place, place_of, read_place

# Columns that say where the audio is; embedded audio has its own beginning, so there they get other names or go.
SEGMENT = {"start": "segment_start", "end": "segment_end"}
PRIVATE = frozenset({*PLACE.names, *LISTED, "file_rate"})
TRANSCODERS = {"flac": "FLAC"}
_AHEAD = 16  # rows that are read before they are asked for, a thread
_AHEAD_SAMPLES = 16_000 * 60 * 20  # and how long they may be together: 20 minutes, at 16 kHz


class Options(Protocol):
    """What of a `CorpusConfig` is read here."""

    embed_audio: bool
    transcode: str | None


def features_of(columns: Mapping[str, Any], embed_audio: bool) -> Features:
    """The features of the rows: those of every corpus, then the given ones.

    Embedded audio is already cut out and of one channel: `start` and `end` become `segment_start` and `segment_end`,
    places in the recording that it comes from, and `channel` goes.
    """
    common = {"id": Value("string"), "audio": datasets.Audio(), "length": Value("int64"), "duration": Value("float64")}
    if embed_audio:
        columns = {SEGMENT.get(name, name): kind for name, kind in columns.items() if name != "channel"}
    return Features({**common, **columns})


def read_examples(
    rows: pa.Table, features: Features, options: Options, problems: Problems
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows as examples with those features, each with its place in the table; `audio` is {"bytes", "path"}.

    Args:
        rows: with the columns of a place, `id`, `length`, `duration`, and what the features name.
        features: of the examples.
        options: whether audio is embedded, and whether it is converted.
        problems: takes what can't be read or decoded; such rows are left out.
    """
    threads = min(8, os.cpu_count() or 1)
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[tuple[int, dict[str, Any], Future[dict[str, Any]]]] = deque()
        samples = 0
        for i, row in enumerate(_each(rows)):
            waiting.append((i, row, pool.submit(_audio, row, options)))
            samples += row["length"]
            while len(waiting) > _AHEAD * threads or (samples > _AHEAD_SAMPLES and len(waiting) > 1):
                samples -= waiting[0][1]["length"]
                yield from _finished(waiting.popleft(), features, problems)
        while waiting:
            yield from _finished(waiting.popleft(), features, problems)


def _each(rows: pa.Table) -> Iterator[dict[str, Any]]:
    for batch in rows.to_batches(max_chunksize=500):
        yield from batch.to_pylist()


def _finished(
    work: tuple[int, dict[str, Any], "Future[dict[str, Any]]"], features: Features, problems: Problems
) -> Iterator[tuple[int, dict[str, Any]]]:
    i, row, future = work
    try:
        audio = future.result()
    except InputError as error:
        problems.add("damaged", row["path"], str(error).removeprefix(f"{row['path']}: "))
        return
    given = {SEGMENT.get(name, name): row[name] for name in row} if audio["bytes"] is not None else dict(row)
    if "samples" in audio:  # of what was cut out, to the sample
        given["length"] = audio.pop("samples")
    yield i, {name: audio if name == "audio" else given.get(name) for name in features}


def _audio(row: Mapping[str, Any], options: Options) -> dict[str, Any]:
    if not options.embed_audio:
        return {"bytes": None, "path": row["path"]}
    cut = any(row.get(name) is not None for name in ("start", "end", "channel"))
    if cut or options.transcode:
        # A file of its own keeps the rate that it has; what is converted on request gets the models' one.
        rate = SAMPLE_RATE if options.transcode else int(row["file_rate"])
        waveform = _waveform(row, rate)
        samples = samples_at(AudioInfo(len(waveform), rate, 1))
        # Lossy sources may overshoot full scale by a little.
        content = encode_audio(np.clip(waveform, -1, 1), rate, name=row["path"])
        return {"bytes": content, "path": f"{row['id']}.flac", "samples": samples}
    suffix = PurePosixPath(row["path"]).suffix.lower()
    return {"bytes": read_place(place_of(row)), "path": f"{row['id']}{suffix}"}


def _waveform(row: Mapping[str, Any], rate: int) -> np.ndarray:
    start = row.get("start") or 0.0
    duration = None if row.get("end") is None else row["end"] - start
    channel: Any = channel_of(row, "mean")
    source = open_place(place_of(row))
    if isinstance(source, MemberFile) and not start and duration is None:
        source.read_whole()  # for its CRC-32: decoders notice little; a piece of a long one is not worth the time
    return read_audio(source, sample_rate=rate, start=start, duration=duration, channel=channel)
