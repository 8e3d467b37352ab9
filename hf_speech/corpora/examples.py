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

from ..audio import SAMPLE_RATE, encode_audio, read_audio
from ..data.problems import Problems
from ..data.schema import channel_of
from ..errors import InputError
from .places import PLACE, open_place, place_of, read_place

# Columns that say where the audio is; embedded audio has its own beginning, so there they get other names or go.
SEGMENT = {"start": "segment_start", "end": "segment_end"}
PRIVATE = frozenset({*PLACE.names, "file_rate"})
TRANSCODERS = {"flac": "FLAC"}
_AHEAD = 16  # rows that are read before they are asked for, a thread


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
        for i, row in enumerate(_each(rows)):
            waiting.append((i, row, pool.submit(_audio, row, options)))
            if len(waiting) > _AHEAD * threads:
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
    given = {SEGMENT.get(name, name): row[name] for name in row} if audio["bytes"] is not None else row
    yield i, {name: audio if name == "audio" else given.get(name) for name in features}


def _audio(row: Mapping[str, Any], options: Options) -> dict[str, Any]:
    if not options.embed_audio:
        return {"bytes": None, "path": row["path"]}
    cut = any(row.get(name) is not None for name in ("start", "end", "channel"))
    if cut or options.transcode:
        # A file of its own keeps the rate that it has; what is converted on request gets the models' one.
        rate = SAMPLE_RATE if options.transcode else int(row["file_rate"])
        return {"bytes": _flac(row, rate), "path": f"{row['id']}.flac"}
    suffix = PurePosixPath(row["path"]).suffix.lower()
    return {"bytes": read_place(place_of(row)), "path": f"{row['id']}{suffix}"}


def _flac(row: Mapping[str, Any], rate: int) -> bytes:
    start = row.get("start") or 0.0
    duration = None if row.get("end") is None else row["end"] - start
    channel: Any = channel_of(row, "mean")
    place = place_of(row)
    waveform = read_audio(open_place(place), sample_rate=rate, start=start, duration=duration, channel=channel)
    # Lossy sources may overshoot full scale by a little.
    return encode_audio(np.clip(waveform, -1, 1), rate, name=row["path"])
