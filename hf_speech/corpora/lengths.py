"""How long every row is, from file headers alone; what is no audio is found on the way."""

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tqdm.auto import tqdm

from ..audio import AudioInfo
from ..data.checks import span_of
from ..data.problems import Problem, Problems
from .headers import Headers, read_headers
from .places import PLACE, place_of

_ROWS = 500  # rows of a piece of work
_ALONE = 2_000  # files up to here are looked at without other processes: they take a second to start


def measure(table: pa.Table, problems: Problems, workers: int | None = None) -> pa.Table:
    """The rows whose audio can be read, with `length` (samples at 16 kHz), `duration` (s) and `file_rate` (Hz).

    Every file is opened once, whatever the number of rows cut from it; only its header is read.

    Args:
        table: rows with the columns of a place, and perhaps `start` and `end` (s).
        problems: takes what is missing, no audio, cut short, shorter than one receptive field (400 samples), or a
            segment that ends beyond its file.
        workers: processes; None: one a core, at most 8.
    """
    files, file_of_row = _files(table)
    samples, rates = _headers(files, problems, workers)
    return _with_lengths(table, samples[file_of_row], rates[file_of_row], problems)


def _files(table: pa.Table) -> tuple[pa.Table, np.ndarray]:
    """The distinct places, and for each row which of them is its own."""
    places = table.select([name for name in PLACE.names if name in table.column_names])
    if "start" not in table.column_names and "end" not in table.column_names:
        return places, np.arange(len(table))  # nothing is cut, so no paths are compared: a million of them cost memory
    number = pc.dictionary_encode(table["path"].combine_chunks()).indices.to_numpy(zero_copy_only=False)
    _, first = np.unique(number, return_index=True)
    return places.take(pa.array(first)), number


def _headers(files: pa.Table, problems: Problems, workers: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Samples and rate of every file; a rate of 0 where it can't be used."""
    samples, rates = np.zeros(len(files), np.int64), np.zeros(len(files), np.int32)
    here = 0
    with tqdm(total=len(files), desc="lengths", unit="file", disable=None) as bar:
        for found in _results(files, workers):
            samples[here : here + len(found.samples)] = found.samples
            rates[here : here + len(found.samples)] = found.rates
            problems.take(found.problems)
            here += len(found.samples)
            bar.update(len(found.samples))
    return samples, rates


def _results(files: pa.Table, workers: int | None) -> Iterator[Headers]:
    pieces = ([place_of(row) for row in files.slice(first, _ROWS).to_pylist()] for first in range(0, len(files), _ROWS))
    count = workers or min(8, os.cpu_count() or 1)
    if count == 1 or len(files) <= _ALONE:
        yield from map(read_headers, pieces)
        return
    # Not forked: threads of pyarrow and torch do not survive a fork.
    with ProcessPoolExecutor(count, mp_context=get_context("spawn")) as pool:
        waiting: deque[Any] = deque()
        for piece in pieces:
            waiting.append(pool.submit(read_headers, piece))
            if len(waiting) > 4 * count:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _with_lengths(table: pa.Table, samples: np.ndarray, rates: np.ndarray, problems: Problems) -> pa.Table:
    lengths, durations = np.zeros(len(table), np.int64), np.zeros(len(table))
    columns = [name for name in ("id", "path", "start", "end") if name in table.column_names]
    for first in range(0, len(table), _ROWS):
        for i, row in enumerate(table.select(columns).slice(first, _ROWS).to_pylist(), start=first):
            if not rates[i]:
                continue  # its file has been complained of
            span = span_of(row, AudioInfo(int(samples[i]), int(rates[i]), 1))
            if isinstance(span, Problem):
                problems.add(span.kind, row["path"], f"{row['id']}: {span.reason}")
            else:
                lengths[i], durations[i] = span
    for name, values in (("length", lengths), ("duration", durations), ("file_rate", rates)):
        table = table.append_column(name, pa.array(values))
    return table if lengths.all() else table.filter(pa.array(lengths > 0))
