"""Kaldi data folders: wav.scp, segments, utt2spk, spk2gender, utt2age and whatever else is said of utterances.

The recordings of the NIST corpora stand in wav.scp as pipes, `sph2pipe -f wav -p -c 1 a.sph |`. Such a line says no
more than a file and a channel, and these are read natively; no line is ever executed.
"""

import getopt
import logging
import math
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from ..audio import audio_info, is_sphere
from ..errors import InputError
from .problems import Problems, read_lines
from .schema import ALIASES, GENDERS
from .stored import LISTED, MEASURED, cell_of

logger = logging.getLogger(__name__)

TABLE_NAME = re.compile(r"(?P<of>utt|spk)2(?P<what>[A-Za-z]\w*)")
# What Kaldi counts itself; it is read from the audio's header here.
COUNTED = frozenset({"utt", "dur", "num_frames", "uniq"})
# Columns that say where the audio is: a table may not set them.
PLACES = frozenset({"id", "audio", "start", "end", "channel", *MEASURED, *LISTED})
SHELL = re.compile(r"[|&;<>$`]")
ARCHIVED = re.compile(r".+:\d+(\[.*\])?")


@dataclass(frozen=True)
class Recording:
    """A recording of wav.scp: a file and, where the line names one, its channel from 0; and the number of the line."""

    path: str
    channel: int | None
    line: int = 0


class _BadEntry(Exception):  # noqa: N818
    """What is wrong with one entry: kind and reason."""


def kaldi_rows(folder: Path, problems: Problems) -> list[dict[str, Any]]:
    """The rows of a Kaldi data folder, in the order of `segments` or, without it, of wav.scp.

    `wav.scp` names files (relative to the folder, else to the current directory), or `sph2pipe -f wav -p -c N FILE |`.
    `segments` cuts them: `utterance recording start end [channel from 0]`; an end of -1 is that of the recording.
    `utt2<x>` and `spk2<x>` give a column x each: utt2spk speaker_id, spk2gender gender (m, f), utt2age age; `text` is
    text. What is said of speakers who are not there is passed over, since such tables serve several sets; what is said
    of utterances that are not there is a problem.

    Args:
        folder: the data folder.
        problems: takes every line that can't be used, by file and line; its row is left out.

    Returns:
        Rows with `id`, `audio` (absolute path), `recording_id`, and where known start, end, channel and the columns;
        with the line that makes them rows, in `segments` or wav.scp (`LISTED` in stored.py).

    Raises:
        InputError: there is no wav.scp, or a file can't be read.
    """
    folder = Path(folder)
    recordings = _recordings(folder / "wav.scp", problems)
    segments = folder / "segments"
    if segments.is_file():
        rows, names = _segments(segments, recordings, problems)
    else:
        names = set(recordings)
        rows = {
            name: {**_row(name, name, found), "list_file": str(folder / "wav.scp"), "list_line": found.line}
            for name, found in recordings.items()
            if found is not None
        }
    spoken = sorted(path for path in folder.iterdir() if path.name == "text" or TABLE_NAME.fullmatch(path.name))
    # utt2spk first, since tables of speakers need it; what is said of an utterance stands above what is of its speaker.
    for path in sorted(spoken, key=lambda path: (path.name != "utt2spk", path.name.startswith("spk2"), path.name)):
        _add_column(path, rows, names, problems)
    return list(rows.values())


def _row(name: str, recording: str, found: Recording) -> dict[str, Any]:
    row = {"id": name, "audio": found.path, "recording_id": recording}
    return row if found.channel is None else {**row, "channel": found.channel}


def _table(path: Path, problems: Problems) -> dict[str, tuple[int, str]]:
    """First word of a line -> its number, and the rest; a word may stand there once."""
    found: dict[str, tuple[int, str]] = {}
    for line, text in read_lines(path, problems):
        key, *rest = text.split(maxsplit=1)
        if key in found:
            problems.add("duplicate id", path, f"{key} stands on line {found[key][0]} as well; remove one", line)
        else:
            found[key] = (line, rest[0] if rest else "")
    return found


def _recordings(path: Path, problems: Problems) -> dict[str, Recording | None]:
    """Every recording that wav.scp names; None where it can't be used."""
    found: dict[str, Recording | None] = {}
    for name, (line, value) in _table(path, problems).items():
        found[name] = None
        try:
            recording = _sphere_pipe(value[:-1], path.parent) if value.endswith("|") else _file(value, path.parent)
            _check_sphere(recording)
        except _BadEntry as bad:
            problems.add(bad.args[0], path, f"{name}: {bad.args[1]}", line)
        else:
            found[name] = replace(recording, line=line)
    return found


def _file(value: str, folder: Path, channel: int | None = None) -> Recording:
    if not value:
        raise _BadEntry("malformed line", "names no file; write recording and path")
    if value == "-":
        raise _BadEntry("unsupported source", "standard input can't be read again; give a file")
    for path in (folder / value, Path(value).absolute()):
        if path.is_file():
            return Recording(str(path), channel)
    if ARCHIVED.fullmatch(value):
        raise _BadEntry("unsupported source", f"{value} lies in a Kaldi archive; write it out as a file (wav-copy)")
    raise _BadEntry("missing file", f"there is no {value}; mend the path, or remove the line")


def _sphere_pipe(command: str, folder: Path) -> Recording:
    """File and channel of `sph2pipe -f wav -p -c N FILE`; N counts from 1.

    -f and -p only choose how the same samples are handed on.
    """
    mend = "write the files out first, and name them"
    try:
        program, *words = shlex.split(command)
    except ValueError as error:
        raise _BadEntry("malformed line", f"a pipe that can't be read ({error}); mend its quotes") from error
    programs = [PurePosixPath(part.split()[0]).name for part in command.split("|") if part.split()]
    if SHELL.search(command) or PurePosixPath(program).name != "sph2pipe":
        raise _BadEntry("unsupported pipe", f"would run {' and '.join(programs)}; nothing is executed: {mend}")
    try:
        options, files = getopt.gnu_getopt(words, "f:pc:")
    except getopt.GetoptError as error:
        reason = f"sph2pipe: {error}; of its options -f, -p and -c are understood: {mend}"
        raise _BadEntry("unsupported pipe", reason) from error
    given = dict(options)
    if len(files) != 1:
        raise _BadEntry("malformed line", f"sph2pipe with {len(files)} files; give one")
    if given.get("-f") == "raw":
        raise _BadEntry("unsupported pipe", "sph2pipe -f raw: sound without a rate; write -f wav")
    number = given.get("-c")
    if number is not None and not (number.isdecimal() and int(number) > 0):
        raise _BadEntry("malformed line", f"sph2pipe -c {number}: channels count from 1; mend the number")
    return _file(files[0], folder, None if number is None else int(number) - 1)


def _check_sphere(recording: Recording) -> None:
    """Refuse a SPHERE file that is compressed or cut short, or that lacks the channel; other files are passed over.

    All that is wrong with other files is found where their lengths are measured. Here the line of wav.scp is known, and
    SPHERE is what sph2pipe would have unpacked.
    """
    try:
        if not is_sphere(recording.path):
            return
        channels = audio_info(recording.path).channels
    except OSError as error:
        raise _BadEntry("missing file", f"{recording.path} can't be read ({error.strerror}); check it") from error
    except InputError as error:
        raise _BadEntry("not audio", str(error)) from error
    if recording.channel is not None and recording.channel >= channels:
        reason = (
            f"{recording.path} has {channels} channels, there is no number {recording.channel + 1}; mend the number"
        )
        raise _BadEntry("unknown channel", reason)


def _segments(
    path: Path, recordings: Mapping[str, Recording | None], problems: Problems
) -> tuple[dict[str, dict[str, Any]], set[str]]:
    """Utterance -> row of those that can be used, and the names of all."""
    table = _table(path, problems)
    rows = {}
    for name, (line, value) in table.items():
        try:
            row = _segment(name, value.split(), recordings)
        except _BadEntry as bad:
            problems.add(bad.args[0], path, f"{name}: {bad.args[1]}", line)
        else:
            if row is not None:
                rows[name] = {**row, "list_file": str(path), "list_line": line}
    return rows, set(table)


def _segment(name: str, fields: list[str], recordings: Mapping[str, Recording | None]) -> dict[str, Any] | None:
    """A row; None where its recording can't be used, which has been said."""
    if len(fields) not in (3, 4):
        found = f"{len(fields) + 1} fields"
        raise _BadEntry("malformed line", f"{found}; write utterance, recording, start, end and perhaps the channel")
    try:
        start, end = float(fields[1]), float(fields[2])
    except ValueError:
        raise _BadEntry("bad time", f"{fields[1]!r} and {fields[2]!r} must be numbers; give seconds") from None
    # Kaldi, extract-segments.cc: -1 is "to the end".
    if not (0 <= start < math.inf and (end == -1 or start < end < math.inf)):
        raise _BadEntry("bad time", f"from {fields[1]} to {fields[2]}; the end must come after the start, from 0 up")
    if fields[0] not in recordings:
        raise _BadEntry("missing file", f"wav.scp has no recording {fields[0]}; add it, or remove the line")
    recording = recordings[fields[0]]
    if recording is None:
        return None
    row = {**_row(name, fields[0], recording), "start": start, "end": None if end == -1 else end}
    if len(fields) == 4:
        if not fields[3].isdecimal():
            raise _BadEntry("malformed line", f"channel {fields[3]!r} is no number from 0; mend it")
        if recording.channel is not None and int(fields[3]) > 0:
            raise _BadEntry("malformed line", f"channel {fields[3]} of what wav.scp makes one channel; write 0")
        row.setdefault("channel", int(fields[3]))
    return row


def _add_column(path: Path, rows: Mapping[str, dict[str, Any]], names: set[str], problems: Problems) -> None:
    """What one table says, as a column of the rows."""
    match = TABLE_NAME.fullmatch(path.name)
    what = match["what"] if match else path.name
    column = ALIASES.get(what, what)
    if what in COUNTED or column in PLACES:
        logger.info("%s: passed over; it is read from the audio", path)
        return
    of_speakers = match is not None and match["of"] == "spk"
    speakers = {row.get("speaker_id") for row in rows.values()} if of_speakers else set()
    values = {}
    for name, (line, text) in _table(path, problems).items():
        if not of_speakers and name not in names:
            problems.add("unknown utterance", path, f"there is no utterance {name}; remove the line", line)
        elif not of_speakers or name in speakers:
            try:
                values[name] = _value(column, text)
            except _BadEntry as bad:
                problems.add(bad.args[0], path, f"{name}: {bad.args[1]}", line)
    for name, row in rows.items():
        said = values.get(str(row.get("speaker_id")) if of_speakers else name)
        if said is not None:
            row.setdefault(column, said)


def _value(column: str, text: str) -> Any:
    """A cell as the column holds it; None for an empty one."""
    if not text:
        return None
    if column == "gender":
        if text.lower() not in GENDERS:
            raise _BadEntry("unknown label", f"gender {text!r}; write m or f")
        return GENDERS[text.lower()]
    try:
        return cell_of(column, text)
    except ValueError as error:
        raise _BadEntry("malformed line", str(error)) from error
