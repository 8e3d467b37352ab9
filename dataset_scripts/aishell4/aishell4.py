"""AISHELL-4, and any folder of meetings with RTTM files: turns of speakers, named by meeting, speaker and RTTM line.

A turn is a row that points into the long recording; nothing is cut to disk. Speaker ids of AISHELL-4 are local to a
meeting (`001-M` is someone else in the next one), so the label is `<meeting>_<speaker>`.
"""

import csv
import math
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import pyarrow as pa
from datasets import Features, Value

from hf_speech.audio import audio_info
from hf_speech.corpora.builder import Corpus, CorpusBuilder, CorpusConfig, can_be_part, option
from hf_speech.corpora.listing import list_audio
from hf_speech.corpora.turns import SPLITS, TEST, TRAIN
from hf_speech.data.checks import END_TOLERANCE
from hf_speech.data.problems import Problems, read_lines
from hf_speech.data.rttm import Turn, overlap_seconds, read_rttm
from hf_speech.data.stored import AUDIO_EXTENSIONS
from hf_speech.errors import InputError, lookup, unknown_name

OFFICIAL_TEST = "test"
SETS = ("train_L", "train_M", "train_S", OFFICIAL_TEST)
# 20200706_L_R001S01C01: date, size of the room, room, session; those of test/ have no date.
MEETING = re.compile(r"(?:\d{8}_)?(?P<room>[LMS])_R\d+S\d+C\d+")
GENDERS = {"-M": "male", "-F": "female"}  # how the speaker ids of AISHELL-4 end
SEGMENT_NAME = re.compile(r"(?P<label>.+)_(?P<index>\d{4,})")
OVERLAPS = ("keep", "drop", "mark")

COLUMNS = {
    "start": Value("float64"),
    "end": Value("float64"),
    "channel": Value("int64"),  # none: the mean of all
    "speaker_id": Value("string"),
    "recording_id": Value("string"),
    "session_id": Value("string"),
    "gender": Value("string"),
    "room": Value("string"),  # L, M or S, where the name of the meeting says so
    "set": Value("string"),  # train_L, ...
    "overlap": Value("float64"),  # s during which others speak; none where it was not asked for
}
ROW = pa.schema([("id", pa.string()), ("path", pa.string()), *Features(COLUMNS).arrow_schema])


@dataclass
class Aishell4Config(CorpusConfig):
    """Which turns are rows, and how they are split."""

    rttm_dir: str | None = option(None, "folder of the RTTM files; none: they lie in the folder of the corpus")
    sets: list[str] | None = option(None, "such as train_L,train_M; none: those to train on, if there are any")
    meeting: str | None = option(None, "the one meeting to prepare; none: all")
    min_duration: float = option(1.5, "shorter turns are left out, seconds")
    max_duration: float | None = option(None, "longer turns are cut into equal pieces no longer than it, seconds")
    overlap: Literal["keep", "drop", "mark"] = option(
        "keep", "turns during which others speak: keep, drop, or mark with the seconds that others speak"
    )
    channel: int | str = option("mean", "which of the channels, from 0, or the mean of all")
    split: Literal["random", "contiguous", "none"] = option(
        "random", "test rows of every meeting: drawn speaker by speaker, the last in time, or none"
    )
    test_share: float = option(0.2, "share of the test rows")
    seed: int = option(42, "of the draw")
    segment_list: str | None = option(None, "a csv path,label of <meeting>_<speaker>_<line> to take, exactly those")


@dataclass(frozen=True)
class Meeting:
    """A recording and its RTTM file."""

    name: str
    set: str | None
    audio: str
    rttm: str

    @property
    def room(self) -> str | None:
        """L, M or S, where the name says so."""
        match = MEETING.fullmatch(self.name)
        return match["room"] if match else None


@dataclass(frozen=True)
class Named:
    """A segment that a list names: its line in the list, whose it is, and the line of the turn from 0."""

    line: int
    speaker: str
    index: int


class Aishell4(CorpusBuilder):
    """Turns of meetings; shards and configurations of their own for each meeting."""

    BUILDER_CONFIG_CLASS = Aishell4Config
    BUILDER_CONFIGS = [Aishell4Config(name="all", description="every meeting; one configuration a meeting besides")]
    DEFAULT_CONFIG_NAME = "all"
    COLUMNS = COLUMNS

    def find_rows(self, problems: Problems) -> Corpus:
        """See `CorpusBuilder`.

        Raises:
            InputError: options that make no sense, no meeting, or no turn left.
        """
        config = self.config
        channel = _check(config)
        meetings = self._meetings(problems)
        listed = read_segment_list(config.segment_list, meetings, problems) if config.segment_list else None
        rows: dict[str, list[dict[str, Any]]] = {TRAIN: [], TEST: []}
        counts, left_out, others = Counter[str](), Counter[str](), Counter[str]()
        untested = []
        for name in sorted(meetings if listed is None else {*listed} & {*meetings}):
            meeting = meetings[name]
            turns = _turns(meeting, channel, problems, others)
            counts.update(meetings=1, turns=len(turns))
            if listed is None:
                chosen = self._long_and_alone(turns, left_out)
            else:
                chosen = _named_turns(listed[name], meeting, turns, config.segment_list, problems)
            parts = SPLITS[config.split](chosen, config.test_share, config.seed)
            left_out.update(part for part in parts if part not in rows)
            untested += [name] if TEST not in parts else []
            pieces = {turn.line: _pieces(turn, config.max_duration) for turn in turns}
            overlaps = _overlaps(pieces) if config.overlap == "mark" else {}
            for turn, part in zip(chosen, parts, strict=True):
                if part in rows:
                    counts["turns cut into pieces"] += len(pieces[turn.line]) > 1
                    rows[part] += _rows(meeting, pieces[turn.line], overlaps.get(turn.line), channel)
        if not rows[TRAIN] and not (problems.refuse and len(problems)):  # they say more
            raise InputError(f"{self.data_dir}: no turn is left to train on; lower --min-duration, or keep overlaps")
        facts = {**counts, "turns left out": dict(left_out), "records that are no turns": dict(others)}
        facts["sets"] = sorted({meeting.set for meeting in meetings.values() if meeting.set})
        facts["meetings without test rows"] = untested if config.split != "none" else []
        tables = {part: pa.Table.from_pylist(found, schema=ROW) for part, found in rows.items()}
        splits = {part: table for part, table in tables.items() if part == TRAIN or len(table)}
        known = any(meeting.room for meeting in meetings.values())
        return Corpus(splits, facts={"segmentation": facts}, parts="session_id", is_corpus=known)

    def _meetings(self, problems: Problems) -> dict[str, Meeting]:
        """The wanted meetings that have both audio and an RTTM file.

        Raises:
            InputError: no such set, no such meeting, or none at all.
        """
        config = self.config
        there = _set_folders(self.data_dir)
        sets = _taken(there, config)
        audio = _by_stem(sets, problems)
        rttm = _by_stem({None: Path(config.rttm_dir)} if config.rttm_dir else sets, problems, frozenset({".rttm"}))
        if config.meeting is not None:
            if config.meeting not in audio and config.meeting not in rttm:
                raise unknown_name(config.meeting, sorted({*audio, *rttm}), "meeting")
            audio, rttm = ({k: v for k, v in found.items() if k == config.meeting} for found in (audio, rttm))
        if not audio:
            raise InputError(f"{self.data_dir}: no recordings in it; give the folder of train_L/, ... or of one set")
        if config.segment_list is None:  # a list says itself what it needs
            for name in sorted(set(audio) - set(rttm)):
                problems.add("missing file", audio[name][1], f"there is no {name}.rttm; add it, or give --rttm-dir")
            # RTTM files of a folder of their own may well cover more than the sets that are taken.
            for name in sorted(set(rttm) - set(audio)) if not config.rttm_dir or len(sets) == len(there) else ():
                problems.add("missing file", rttm[name][1], f"there is no audio {name}.flac; add it, or remove this")
        meetings = {name: Meeting(name, *audio[name], rttm[name][1]) for name in audio if name in rttm}
        for name in [name for name in meetings if not can_be_part(name, config.name)]:
            mend = "rename audio, RTTM file and its lines with letters, digits, '-', '_' and '.'"
            problems.add("unsafe name", meetings.pop(name).audio, f"no configuration can be called {name!r}; {mend}")
        return meetings

    def _long_and_alone(self, turns: Sequence[Turn], left_out: Counter[str]) -> list[Turn]:
        """The turns that are long enough and, if that is asked for, during which nobody else speaks."""
        kept = []
        drop = self.config.overlap == "drop"
        for turn, shared in zip(turns, overlap_seconds(turns), strict=True):
            if turn.duration < self.config.min_duration:
                left_out["shorter than min_duration"] += 1
            elif drop and shared > 0:
                left_out["others speak"] += 1
            else:
                kept.append(turn)
        return kept


def _check(config: Aishell4Config) -> int | None:
    """The channel, None for the mean.

    Raises:
        InputError: an option that makes no sense.
    """
    lookup(SPLITS, config.split, "split")
    lookup(dict.fromkeys(OVERLAPS), config.overlap, "overlap")
    if config.split != "none" and not 0 < config.test_share < 1:
        raise InputError(f"test_share {config.test_share}: give a share between 0 and 1, or split none")
    if config.min_duration < 0 or (config.max_duration is not None and config.max_duration <= config.min_duration):
        raise InputError(f"--min-duration {config.min_duration}: give seconds from 0 up, below --max-duration")
    if config.segment_list is not None and config.overlap == "drop":
        raise InputError("overlap drop: the segment list says what is taken; leave one of them out")
    if config.channel == "mean":
        return None
    if not str(config.channel).isdecimal():
        raise InputError(f"channel {config.channel!r}: give a number from 0, or mean")
    return int(config.channel)


def _set_folders(folder: Path) -> dict[str | None, Path]:
    """Set -> its folder; a folder without any of `SETS` is itself one set without a name."""
    there: dict[str | None, Path] = {name: folder / name for name in SETS if (folder / name).is_dir()}
    return there or {None: folder}


def _taken(there: Mapping[str | None, Path], config: Aishell4Config) -> dict[str | None, Path]:
    """The sets that are asked for; without a word, all but the official test set, unless there is nothing else.

    Where a meeting or a list of segments is named, it is looked for everywhere.

    Raises:
        InputError: a set that is not there.
    """
    if config.sets is not None:
        named = {name: folder for name, folder in there.items() if name is not None}
        return {name: lookup(named, name, f"set in {config.data_dir}") for name in config.sets}
    training = {name: folder for name, folder in there.items() if name != OFFICIAL_TEST}
    by_name = config.meeting is not None or config.segment_list is not None
    return dict(there) if by_name or not training else training


def _by_stem(
    folders: Mapping[str | None, Path], problems: Problems, extensions: frozenset[str] = AUDIO_EXTENSIONS
) -> dict[str, tuple[str | None, str]]:
    """Name without suffix -> set and path of the files of a kind, sorted; a name may occur once."""
    found: dict[str, tuple[str | None, str]] = {}
    for name, folder in folders.items():
        for path in list_audio(folder, problems, extensions, archives=False)["path"].to_pylist():
            stem = PurePosixPath(path).stem
            if stem in found:
                problems.add("duplicate id", path, f"{found[stem][1]} has the same name; remove one of them")
            else:
                found[stem] = (name, path)
    return dict(sorted(found.items()))


def _turns(meeting: Meeting, channel: int | None, problems: Problems, others: Counter[str]) -> list[Turn]:
    """The turns of a meeting that lie within its audio; none where the audio can't be used."""
    try:
        info = audio_info(meeting.audio)
    except InputError as error:
        problems.add("not audio", meeting.audio, str(error).removeprefix(f"{meeting.audio}: "))
        return []
    if channel is not None and channel >= info.channels:
        mend = "give a smaller number, or mean"
        problems.add(
            "unknown channel", meeting.audio, f"it has {info.channels} channels, there is no {channel}; {mend}"
        )
        return []
    turns = []
    for turn in read_rttm(meeting.rttm, problems, others):
        if turn.recording != meeting.name:
            reason = f"is of {turn.recording}, not of {meeting.name}; move the line to {turn.recording}.rttm"
            problems.add("unknown recording", meeting.rttm, reason, turn.line)
        elif turn.end > info.duration + END_TOLERANCE or turn.start >= info.duration:
            reason = f"from {turn.start:g} to {turn.end:g} s, the audio is {info.duration:.3f} s long; mend the times"
            problems.add("bad time", meeting.rttm, reason, turn.line)
        else:
            turns.append(turn)
    return turns


def read_segment_list(path: str, meetings: Mapping[str, Meeting], problems: Problems) -> dict[str, list[Named]]:
    """Meeting -> what a csv `path,label` names of it, as `<meeting>_<speaker>_<line of the RTTM file from 0>.wav`.

    Raises:
        InputError: no such file, or another header.
    """
    lines = read_lines(path, problems)
    _, header = next(lines, (0, ""))
    if header != "path,label":
        raise InputError(f"{path}: its header is {header!r}; write path,label")
    found: dict[str, list[Named]] = defaultdict(list)
    seen: dict[str, int] = {}
    for line, text in lines:
        fields = next(csv.reader([text]))
        stem = PurePosixPath(fields[0].replace("\\", "/")).stem
        match = SEGMENT_NAME.fullmatch(stem)
        if match is None or len(fields) != 2:
            problems.add("malformed line", path, f"{text!r}; write <meeting>_<speaker>_<line>.wav,label", line)
            continue
        label = match["label"]
        # Both names may hold "_".
        name = next((label[:at] for at, sign in enumerate(label) if sign == "_" and label[:at] in meetings), None)
        if fields[1].strip() != label:
            reason = f"label {fields[1].strip()!r} of a segment of {label}; write <meeting>_<speaker>"
            problems.add("unknown label", path, reason, line)
        elif seen.setdefault(stem, line) != line:
            problems.add("duplicate id", path, f"{stem} stands on line {seen[stem]} as well; remove one", line)
        elif name is None:
            reason = f"there is no meeting of {label} (audio and RTTM); add its files, or remove the line"
            problems.add("unknown segment", path, reason, line)
        else:
            found[name].append(Named(line, label[len(name) + 1 :], int(match["index"])))
    return dict(found)


def _named_turns(
    listed: Sequence[Named], meeting: Meeting, turns: Sequence[Turn], path: str, problems: Problems
) -> list[Turn]:
    """The turns that a segment list names, in its order."""
    by_index = {turn.index: turn for turn in turns}
    found = []
    for named in listed:
        turn = by_index.get(named.index)
        if turn is not None and turn.speaker == named.speaker:
            found.append(turn)
            continue
        what = "is no turn that can be used" if turn is None else f"is of {turn.speaker}, not of {named.speaker}"
        reason = f"line {named.index + 1} of {meeting.rttm} {what}; use the RTTM files that the list was made from"
        problems.add("unknown segment", path, reason, named.line)
    return found


def _pieces(turn: Turn, longest: float | None) -> list[Turn]:
    """A turn in equal pieces no longer than `longest` (s); those of a cut turn are longer than half of it."""
    # Rounded, so that 6.3 s in pieces of 2.1 s are three and not four.
    count = 1 if longest is None else math.ceil(round(turn.duration / longest, 6))
    if count <= 1:
        return [turn]
    edges = [round(turn.start + turn.duration * k / count, 6) for k in range(count + 1)]
    return [replace(turn, start=a, duration=b - a) for a, b in zip(edges[:-1], edges[1:], strict=True)]


def _overlaps(pieces: Mapping[int, Sequence[Turn]]) -> dict[int, list[float]]:
    """Line of the turn -> for each of its pieces the seconds that others speak."""
    seconds = iter(overlap_seconds([piece for cut in pieces.values() for piece in cut]))
    return {line: [next(seconds) for _ in cut] for line, cut in pieces.items()}


def _rows(
    meeting: Meeting, pieces: Sequence[Turn], overlaps: Sequence[float] | None, channel: int | None
) -> list[dict[str, Any]]:
    """The rows of a turn: one, or one a piece, whose ids end in -1, -2, ..."""
    rows = []
    for number, piece in enumerate(pieces):
        speaker = f"{meeting.name}_{piece.speaker}"
        part = f"-{number + 1}" if len(pieces) > 1 else ""
        row: dict[str, Any] = {"id": f"{speaker}_{piece.index:04d}{part}", "path": meeting.audio, "speaker_id": speaker}
        row |= {"start": piece.start, "end": piece.end, "channel": channel}
        row |= {"recording_id": meeting.name, "session_id": meeting.name, "room": meeting.room, "set": meeting.set}
        row |= {"gender": GENDERS.get(piece.speaker[-2:]), "overlap": None if overlaps is None else overlaps[number]}
        rows.append(row)
    return rows
