"""RTTM, who speaks when: its turns, and for how long others speak at the same time.

The format is NIST's, "The 2009 (RT-09) Rich Transcription Meeting Recognition Evaluation Plan", appendix A: ten fields
a line, of which a turn uses six:

    SPEAKER <recording> <channel> <start> <duration> <NA> <NA> <speaker> <NA> <NA>
"""

import logging
import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .problems import Problems, read_lines

logger = logging.getLogger(__name__)

FIELDS = 10
OTHER_RECORDS = frozenset(
    "SEGMENT NOSCORE NO_RT_METADATA LEXEME NON-LEX NON-SPEECH FILLER EDIT IP SU CB A/P SPKR-INFO".split()
)
COMMENT = ";;"
TICKS = 1_000_000  # a second, where times are added up: whole numbers add up exactly


@dataclass(frozen=True, slots=True)
class Turn:
    """Somebody speaks, from `start` for `duration` (s).

    Attributes:
        line: where it stands in its file, from 1.
        recording: name of the recording.
        start: in seconds from the beginning of the recording.
        duration: in seconds, above 0.
        speaker: who.
        channel: the field as it stands, mostly "1".
    """

    line: int
    recording: str
    start: float
    duration: float
    speaker: str
    channel: str

    @property
    def index(self) -> int:
        """Its line counted from 0, whatever stands on the lines before: the number in the names of cut segments."""
        return self.line - 1

    @property
    def end(self) -> float:
        """Where it ends, in seconds; rounded to the microsecond, so that 0.1 + 0.2 is 0.3."""
        return round(self.start + self.duration, 6)


def read_rttm(path: str | Path, problems: Problems, others: Counter[str] | None = None) -> list[Turn]:
    """The turns of an RTTM file, in the order of its lines.

    Args:
        path: the file.
        problems: takes lines that can't be read ("malformed line") and times that can't be ("bad time").
        others: counts the records of other types (SPKR-INFO, LEXEME, ...) and the comments, which are passed over.

    Raises:
        InputError: the file can't be read.
    """
    turns: list[Turn] = []
    passed: Counter[str] = Counter()
    for line, text in read_lines(path, problems):
        fields = text.split()
        if fields[0] in OTHER_RECORDS or fields[0].startswith(COMMENT):
            passed["comment" if fields[0].startswith(COMMENT) else fields[0]] += 1
            continue
        wrong = _wrong(fields)
        if wrong:
            problems.add(wrong[0], path, wrong[1], line)
            continue
        turns.append(Turn(line, fields[1], float(fields[3]), float(fields[4]), fields[7], fields[2]))
    if passed:
        logger.info("%s: passed over: %s", path, ", ".join(f"{n} {kind}" for kind, n in sorted(passed.items())))
    if others is not None:
        others.update(passed)
    return turns


def _wrong(fields: Sequence[str]) -> tuple[str, str] | None:
    """Kind and reason, if the fields of a line are no turn."""
    if fields[0] != "SPEAKER":
        return "malformed line", f"{fields[0]!r} is no type of record; write SPEAKER"
    if len(fields) != FIELDS:
        return "malformed line", f"{len(fields)} fields, RTTM has {FIELDS}; fill up with <NA>, and no blanks in names"
    try:
        start, duration = float(fields[3]), float(fields[4])
    except ValueError:
        return "bad time", f"start {fields[3]!r} and duration {fields[4]!r} must be numbers; give seconds"
    if not (0 <= start < math.inf and 0 < duration < math.inf):
        return "bad time", f"start {fields[3]} and duration {fields[4]}; give seconds from 0 up, and a duration above 0"
    return None


def overlap_seconds(turns: Sequence[Turn]) -> list[float]:
    """Seconds of every turn during which another speaker of its recording talks, however many they are.

    One sweep over all beginnings and ends in the order of time: n turns take n log n steps.

    >>> a, b, c = Turn(1, "m", 0.0, 5.0, "a", "1"), Turn(2, "m", 4.0, 2.0, "b", "1"), Turn(3, "m", 4.5, 3.0, "a", "1")
    >>> overlap_seconds([a, b, c])
    [1.0, 2.0, 1.5]
    """
    together = [0] * len(turns)
    of_recording: dict[str, list[int]] = defaultdict(list)
    for number, turn in enumerate(turns):
        of_recording[turn.recording].append(number)
    for numbers in of_recording.values():
        # A turn's own speaker talks all through it, so another one does where two or more talk: it is enough to know,
        # at its beginning and at its end, for how long that has been so since the recording began.
        events = sorted((_ticks(at), edge, n) for n in numbers for at, edge in _edges(turns[n]))
        talking: Counter[str] = Counter()
        speakers = here = shared = 0
        for at, edge, number in events:
            shared += (at - here) * (speakers >= 2)
            here = at
            before = talking[turns[number].speaker] > 0
            talking[turns[number].speaker] += edge
            speakers += (talking[turns[number].speaker] > 0) - before
            together[number] += -shared if edge > 0 else shared
    return [ticks / TICKS for ticks in together]


def _edges(turn: Turn) -> tuple[tuple[float, int], tuple[float, int]]:
    return (turn.start, +1), (turn.end, -1)


def _ticks(seconds: float) -> int:
    return round(seconds * TICKS)
