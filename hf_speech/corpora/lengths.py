"""How long every row is, from file headers alone; what is no audio is found on the way."""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tqdm.auto import tqdm

from ..audio import AudioInfo
from ..data.checks import channel_fault, span_of
from ..data.problems import Problem, Problems
from ..data.stored import LISTED
from ..errors import InputError
from .headers import Headers, read_headers, serve
from .places import PLACE, Member, place_of

_ROWS = 500  # rows of a piece of work
_ALONE = 2_000  # files up to here are looked at without other processes: they take a second to start


def measure(table: pa.Table, problems: Problems, workers: int | None = None) -> pa.Table:
    """The rows whose audio can be read, with `length` (samples at 16 kHz), `duration` (s) and `file_rate` (Hz).

    Every file is opened once, whatever the number of rows cut from it; only its header is read.

    Args:
        table: rows with the columns of a place, and perhaps `start` and `end` (s), `channel`, and where the row stands
            in a list (`LISTED`), by which its problems are named; what is returned is without that.
        problems: takes what is missing, no audio, cut short, shorter than one receptive field (400 samples), a segment
            that ends beyond its file, or a channel that its file lacks.
        workers: processes; None: one a core, at most 8.
    """
    files, file_of_row = _files(table)
    headers = _headers(files, problems, workers)
    return _with_lengths(table, headers[file_of_row], problems)


def _files(table: pa.Table) -> tuple[pa.Table, np.ndarray]:
    """The distinct places, with where the first row of each stands in a list; and for each row which is its own."""
    places = table.select([name for name in (*PLACE.names, *LISTED) if name in table.column_names])
    if not {"start", "end", "channel"} & set(table.column_names):
        return places, np.arange(len(table))  # nothing is cut, so no paths are compared: a million of them cost memory
    number = pc.dictionary_encode(table["path"].combine_chunks()).indices.to_numpy(zero_copy_only=False)
    _, first = np.unique(number, return_index=True)
    return places.take(pa.array(first)), number


def _headers(files: pa.Table, problems: Problems, workers: int | None) -> np.ndarray:
    """Samples, rate and channels of every file, (files, 3) int64; zeros where it can't be used."""
    headers = np.zeros((len(files), 3), np.int64)
    here = 0
    with tqdm(total=len(files), desc="lengths", unit="file", disable=None) as bar:
        for found in _results(files, workers):
            count = len(found.samples)
            headers[here : here + count] = np.transpose([found.samples, found.rates, found.channels])
            faults = {problem.file: problem for problem in found.problems}
            for row in files.slice(here, count).to_pylist() if faults else ():
                if row["path"] in faults:
                    fault = faults[row["path"]]
                    _note(problems, fault.kind, row, row["path"], fault.reason)
            here += count
            bar.update(count)
    return headers


def _note(problems: Problems, kind: str, row: Mapping[str, Any], what: str, reason: str) -> None:
    """Note a problem: by the line of the list that names the row, where there is one, else by the file."""
    if row.get("list_file") is not None:
        problems.add(kind, row["list_file"], f"{what}: {reason}", row["list_line"])
    else:
        problems.add(kind, row["path"], reason if what == row["path"] else f"{what}: {reason}")


def _results(files: pa.Table, workers: int | None) -> Iterator[Headers]:
    pieces = ([place_of(row) for row in files.slice(first, _ROWS).to_pylist()] for first in range(0, len(files), _ROWS))
    count = workers or min(8, os.cpu_count() or 1)
    if count == 1 or len(files) <= _ALONE:
        yield from map(read_headers, pieces)
        return
    with _readers(count) as pipes:
        try:
            yield from _answers(pipes, pieces)
        except (EOFError, ConnectionError) as error:
            mend = "run again with --num-workers 1"
            raise InputError(f"a process that reads headers was stopped, perhaps for want of memory; {mend}") from error


@contextmanager
def _readers(count: int) -> Iterator[list[Connection]]:
    """Processes that read headers, each with a pipe of its own; they end with the context.

    A ProcessPoolExecutor of Python 3.11 waits for ever when a process of its dies while a list is on its way to it.
    """
    context = get_context("spawn")  # not forked: threads of pyarrow and torch do not survive a fork
    processes, pipes = [], []
    try:
        for _ in range(count):
            ours, theirs = context.Pipe()
            pipes.append(ours)
            processes.append(context.Process(target=serve, args=(theirs,), daemon=True))
            processes[-1].start()
            theirs.close()  # so that the end of the process is the end of the pipe
        yield pipes
    finally:
        for pipe in pipes:
            pipe.close()
        for process in processes:
            if process.pid is not None:
                process.terminate()
                process.join()


def _answers(pipes: list[Connection], pieces: Iterable[list[str | Member]]) -> Iterator[Headers]:
    """What the processes answer, in the order of the pieces; each has one piece at a time."""
    numbered = enumerate(pieces)
    busy: dict[Connection, int] = {}
    done: dict[int, Headers] = {}
    free = list(pipes)
    wanted = 0
    while free:
        for pipe, (number, piece) in zip(free, numbered, strict=False):
            pipe.send(piece)
            busy[pipe] = number
        free = cast(list[Connection], wait(busy)) if busy else []
        for pipe in free:
            answer: Headers | Exception = pipe.recv()
            if isinstance(answer, Exception):
                raise answer
            done[busy.pop(pipe)] = answer
        while wanted in done:
            yield done.pop(wanted)
            wanted += 1


def _with_lengths(table: pa.Table, headers: np.ndarray, problems: Problems) -> pa.Table:
    lengths, durations = np.zeros(len(table), np.int64), np.zeros(len(table))
    wanted = ("id", "path", "start", "end", "channel", *LISTED)
    cells = table.select([name for name in wanted if name in table.column_names])
    for first in range(0, len(table), _ROWS):
        for i, row in enumerate(cells.slice(first, _ROWS).to_pylist(), start=first):
            info = AudioInfo(*headers[i].tolist())
            if not info.sample_rate:
                continue  # its file has been complained of
            span = channel_fault(row, info) or span_of(row, info)
            if isinstance(span, Problem):
                _note(problems, span.kind, row, row["id"], span.reason)
            else:
                lengths[i], durations[i] = span
    table = table.drop_columns([name for name in LISTED if name in table.column_names])
    for name, values in (("length", lengths), ("duration", durations), ("file_rate", headers[:, 1].astype(np.int32))):
        table = table.append_column(name, pa.array(values))
    return table if lengths.all() else table.filter(pa.array(lengths > 0))
