"""Utterances that are to be embedded: each file looked at once, by whichever rank, and what can't be used by name."""

import hashlib
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset
from tqdm import tqdm

from ..audio import AudioInfo, check_audio
from ..data.checks import channel_fault, span_of
from ..data.schema import channel_of, file_name
from ..errors import InputError, list_some
from ..files import sha256_of
from ..ranks import from_all, join_ranks

logger = logging.getLogger(__name__)

Source = str | os.PathLike[str] | Mapping[str, Any]  # a file; or a row with `audio`, and perhaps start, end, channel
_THREADS = 8  # at most; more of them wait for the disk
_TOGETHER = 64  # rows that are held at a time: audio may lie in them


@dataclass(frozen=True)
class BadUtterance:
    """An utterance that has no embedding.

    Attributes:
        id: its name.
        file: where it lies.
        reason: what is wrong, and the mend.
    """

    id: str
    file: str
    reason: str

    def __str__(self) -> str:
        """`id (file): reason`."""
        return f"{self.file}: {self.reason}" if self.id == self.file else f"{self.id} ({self.file}): {self.reason}"


@dataclass(frozen=True)
class Sound:
    """What there is to run: a file, or a piece of one.

    Attributes:
        id: name of the utterance that it is.
        file: where it lies.
        digest: SHA-256 of the file's content.
        start: where it begins there, seconds; None: at the start.
        end: where it ends, seconds; None: at the end.
        channel: that is heard.
        length: samples at 16 kHz.
        seconds: how long it is.
    """

    id: str
    file: str
    digest: str
    start: float | None
    end: float | None
    channel: int | str
    length: int
    seconds: float

    def content(self) -> tuple[Any, ...]:
        """The same for what sounds the same."""
        return self.digest, self.start or 0.0, self.end, self.channel


class NamedRows(Mapping[str, Mapping[str, Any]]):
    """Rows of a data set by name, each read when it is asked for: their audio may be more than fits in memory.

    Args:
        names: of the rows, each once.
        rows: with `audio`, and perhaps `start`, `end` and `channel`.
    """

    def __init__(self, names: Sequence[str], rows: Dataset) -> None:
        self.places = {name: place for place, name in enumerate(names)}
        heard = ("audio", "start", "end", "channel")
        self.rows = rows.select_columns([name for name in heard if name in rows.column_names])

    def __getitem__(self, name: str) -> Mapping[str, Any]:
        return self.rows[self.places[name]]

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)


class Utterances:
    """What of some files can be embedded.

    Every file is decoded once, so what is broken is known before the model runs. Under torchrun each rank looks at a
    share, and all hear of all.

    Args:
        sources: name of an utterance -> where it lies.
        channel: that will be read: "mean" of all, or a number from 0; that of a row stands above it.
        min_seconds: the shortest utterance that can be used.

    Attributes:
        sounds: what there is to run, each once.
        rows: name -> its place among these.
        bad: utterances that can't be used.
    """

    def __init__(self, sources: Mapping[str, Source], channel: int | str, min_seconds: float) -> None:
        self.sources = sources
        self.bad: list[BadUtterance] = []
        self.sounds: list[Sound] = []
        self.rows: dict[str, int] = {}
        self._files: dict[str, str] = {}
        places: dict[tuple[Any, ...], int] = {}
        for look in _looked_at(sources, channel, min_seconds):
            if isinstance(look, BadUtterance):
                self.bad.append(look)
                continue
            if look.content() not in places:
                places[look.content()] = len(self.sounds)
                self.sounds.append(look)
            self.rows[look.id], self._files[look.id] = places[look.content()], look.file

    def __getitem__(self, place: int) -> Mapping[str, Any]:
        """The row of the sound at that place, as a collator takes it."""
        return _row(self.sources[self.sounds[place].id])

    def named(self, rows: Iterable[int], reason: str) -> list[BadUtterance]:
        """The utterances of some rows, with what is wrong with them."""
        there = set(rows)
        return [BadUtterance(name, self._files[name], reason) for name, row in self.rows.items() if row in there]

    def settle(self, bad: Sequence[BadUtterance], refuse: bool, option: str) -> None:
        """Refuses what can't be used, or says what is left out.

        Args:
            bad: what can't be used.
            refuse: whether to refuse.
            option: the flag by which it is left out.

        Raises:
            InputError: there is some and `refuse`, or nothing is left.
        """
        if not bad:
            return
        none_left = self.rows.keys() <= {one.id for one in bad}
        told = f"{len(bad)} of {len(self.sources)} utterances can't be embedded"
        if refuse or none_left:
            mend = "there is no other" if none_left else f"leave them out with {option} skip"
            raise InputError(f"{told} ({mend}): {list_some(bad)}")
        if join_ranks()[0] == 0:
            logger.warning("%s and were left out: %s", told, list_some(bad))


def _row(source: Source) -> Mapping[str, Any]:
    return source if isinstance(source, Mapping) else {"audio": {"bytes": None, "path": os.fspath(source)}}


def _looked_at(sources: Mapping[str, Source], channel: int | str, min_seconds: float) -> list[Sound | BadUtterance]:
    """What each utterance is, or what is wrong with it, in order."""
    rank, ranks = join_ranks()
    names = list(sources)
    mine = names[rank::ranks]
    found: list[Sound | BadUtterance] = []
    known: dict[str, tuple[str, AudioInfo] | str] = {}
    bar = tqdm(total=len(mine), desc="audio", unit="file", disable=True if rank else None)
    with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as pool, bar:
        for first in range(0, len(mine), _TOGETHER):
            rows = {name: _row(sources[name]) for name in mine[first : first + _TOGETHER]}
            keys = {name: _key(name, row["audio"]) for name, row in rows.items()}
            new = {keys[name]: row["audio"] for name, row in rows.items() if keys[name] not in known}
            known |= zip(new, pool.map(_inspected, new.values()), strict=True)
            found += [_judged(name, row, known[keys[name]], channel, min_seconds) for name, row in rows.items()]
            bar.update(len(rows))
    looks: list[Any] = [None] * len(names)
    for r, share in enumerate(from_all(found)):
        looks[r::ranks] = share
    return looks


def _key(name: str, audio: Mapping[str, Any]) -> str:
    """The same for pieces of one file; embedded audio stands for itself."""
    return f"file {audio['path']}" if audio.get("bytes") is None else f"row {name}"


def _inspected(audio: Mapping[str, Any]) -> tuple[str, AudioInfo] | str:
    """The digest of a file and what its header says, or what is wrong with it."""
    content = audio.get("bytes")
    try:
        info = check_audio(audio)
        return sha256_of(Path(audio["path"])) if content is None else hashlib.sha256(content).hexdigest(), info
    except InputError as error:
        return str(error).removeprefix(f"{file_name(audio)}: ")


def _judged(
    name: str, row: Mapping[str, Any], look: tuple[str, AudioInfo] | str, channel: int | str, min_seconds: float
) -> Sound | BadUtterance:
    file = file_name(row["audio"])
    if isinstance(look, str):
        return BadUtterance(name, file, look)
    digest, info = look
    span = channel_fault(row, info, channel) or span_of(row, info, min_seconds)
    if not isinstance(span, tuple):
        return BadUtterance(name, file, span.reason)
    return Sound(name, file, digest, row.get("start"), row.get("end"), channel_of(row, channel), *span)
