"""Meetings as AISHELL-4 has them: folders, names, eight channels, RTTM and TextGrid; the voices are made up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile as sf

from ..audio import SAMPLE_RATE, read_audio
from ..errors import InputError
from ..files import replacing

ROOMS = ("L", "M", "S")
LOUDER = 0.1  # a channel's gain is 1 / (1 + 0.1 * channel), so that channels can be told apart
_BLOCK = 10 * SAMPLE_RATE


@dataclass(frozen=True)
class _Turn:
    """Speaker (from 0), start and duration in hundredths of a second."""

    speaker: int
    start: int
    duration: int


def write_fake_aishell4(
    folder: str | Path,
    *,
    meetings: Mapping[str, int] | None = None,
    speakers: int = 4,
    turns: int = 24,
    channels: int = 8,
    seconds: tuple[float, float] = (0.6, 4.0),
    gap: tuple[float, float] = (-0.5, 0.8),
    seed: int = 0,
    recordings: Sequence[str | Path | Sequence[str | Path]] | None = None,
) -> Path:
    """Write meetings in the layout and with the names of AISHELL-4.

        <folder>/train_L/wav/20200601_L_R001S01C01.flac
        <folder>/train_L/TextGrid/20200601_L_R001S01C01.rttm, .TextGrid

    Speakers take turns, now and then over the end of the one before. Each is a tone with a frequency of its own
    (`speaker_frequency`) in faint noise, or, where recordings are given, one of these, over and over; or several of
    one voice, which turn by turn go on where the last turn ended. All channels hold the same sound, each fainter than
    the one before it.

    Args:
        folder: where to write; made if it is not there.
        meetings: set -> how many; None: {"train_L": 2}.
        speakers: of each meeting, named 001-M, 002-F, ...
        turns: of each meeting.
        channels: of the audio.
        seconds: shortest and longest turn; those below 1.5 s are what preparation leaves out.
        gap: least and greatest silence between two turns in seconds; below 0: both speak.
        seed: of everything that is random.
        recordings: audio files, or lists of them; speaker k of a meeting is the k-th, counted on from meeting to
            meeting.

    Returns:
        The folder.

    Raises:
        InputError: numbers that make no meeting.
    """
    root = Path(folder).absolute()
    meetings = {"train_L": 2} if meetings is None else meetings
    if speakers < 1 or turns < 1 or channels < 1 or not 0.1 <= seconds[0] <= seconds[1] or -gap[0] >= seconds[0]:
        raise InputError(
            "a meeting needs a speaker, a turn, a channel, and turns of 0.1 s or more that outlast overlaps"
        )
    sounds = [_sound(one) for one in recordings or []]
    for place, (name, count) in enumerate(meetings.items()):
        for number in range(count):
            meeting = _meeting_name(name, place, number)
            generator = np.random.default_rng([seed, place, number])
            plan = _plan(generator, speakers, turns, seconds, gap)
            for part in ("wav", "TextGrid"):
                (root / name / part).mkdir(parents=True, exist_ok=True)
            own = [sounds[(number * speakers + k) % len(sounds)] for k in range(speakers)] if sounds else []
            _write_audio(root / name / "wav" / f"{meeting}.flac", plan, own, channels, generator)
            (root / name / "TextGrid" / f"{meeting}.rttm").write_text(_rttm(meeting, plan), encoding="utf-8")
            (root / name / "TextGrid" / f"{meeting}.TextGrid").write_text(_textgrid(plan, speakers), encoding="utf-8")
    return root


def speaker_frequency(speaker: int) -> float:
    """The tone of a speaker (from 0) in Hz: 200, 300, ... up to 3,900, and around again.

    >>> speaker_frequency(0), speaker_frequency(3)
    (200.0, 500.0)
    """
    return 200.0 + 100.0 * (speaker % 38)


def _meeting_name(name: str, place: int, number: int) -> str:
    """Date, room, session; meetings of test have no date, and rooms of all sizes."""
    if name.startswith("train_"):
        return f"{20200601 + place * 100 + number // 9}_{name[-1]}_R{place + 1:03d}S{number + 1:02d}C01"
    return f"{ROOMS[number % 3]}_R{place + 1:03d}S{number + 1:02d}C01"


def _speaker_name(speaker: int) -> str:
    return f"{speaker + 1:03d}-{'MF'[speaker % 2]}"


def _plan(
    generator: np.random.Generator, speakers: int, turns: int, seconds: tuple[float, float], gap: tuple[float, float]
) -> list[_Turn]:
    """Who speaks when: never the same speaker twice in a row, and never one who is still speaking."""
    plan: list[_Turn] = []
    here, speaker = 50, 0
    for _ in range(turns):
        duration = round(100 * generator.uniform(*seconds))
        plan.append(_Turn(speaker, here, duration))
        here = max(0, here + duration + round(100 * generator.uniform(*gap)))
        speaker = (speaker + int(generator.integers(1, max(2, speakers)))) % speakers
        ends = (turn.start + turn.duration for turn in plan if turn.speaker == speaker)
        here = max(here, max(ends, default=0))
    return plan


def _write_audio(
    path: Path,
    plan: Sequence[_Turn],
    sounds: Sequence[tuple[np.ndarray, bool]],
    channels: int,
    generator: np.random.Generator,
) -> None:
    step = SAMPLE_RATE // 100
    said = [0] * len(sounds)  # samples of each voice so far
    track = np.zeros((max(turn.start + turn.duration for turn in plan) + 50) * step, np.float32)
    for turn in plan:
        where = slice(turn.start * step, (turn.start + turn.duration) * step)
        if sounds:
            sound, goes_on = sounds[turn.speaker]
            count = turn.duration * step
            voice = np.take(sound, range(said[turn.speaker], said[turn.speaker] + count), mode="wrap")
            said[turn.speaker] += count if goes_on else 0
        else:
            time = np.arange(turn.duration * step) / SAMPLE_RATE
            voice = 0.3 * np.sin(2 * np.pi * speaker_frequency(turn.speaker) * time)
        track[where] += 0.5 * voice
    gains = 1 / (1 + LOUDER * np.arange(channels))
    with (
        replacing(path) as temporary,
        sf.SoundFile(temporary, "w", SAMPLE_RATE, channels, format="FLAC", subtype="PCM_16") as file,
    ):
        for first in range(0, len(track), _BLOCK):  # eight channels of an hour at once would take gigabytes
            block = track[first : first + _BLOCK].astype(np.float64)
            block += 0.001 * generator.standard_normal(len(block))
            file.write(np.clip(np.outer(block, gains), -1, 1))


def _sound(files: str | Path | Sequence[str | Path]) -> tuple[np.ndarray, bool]:
    """The sound of a speaker, and whether each turn goes on where the last one ended."""
    if isinstance(files, str | Path):
        return read_audio(files), False
    return np.concatenate([read_audio(file) for file in files]), True


def _rttm(meeting: str, plan: Sequence[_Turn]) -> str:
    return "".join(
        f"SPEAKER {meeting} 1 {turn.start / 100:.4f} {turn.duration / 100:.4f} "
        f"<NA> <NA> {_speaker_name(turn.speaker)} <NA> <NA>\n"
        for turn in plan
    )


def _textgrid(plan: Sequence[_Turn], speakers: int) -> str:
    """Praat's long text format: a tier a speaker, whose intervals cover the whole meeting."""
    end = max(turn.start + turn.duration for turn in plan) + 50
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", f"xmax = {end / 100}"]
    lines += ["tiers? <exists>", f"size = {speakers}", "item []:"]
    for speaker in range(speakers):
        spans: list[tuple[int, int, str]] = []
        for turn in (turn for turn in plan if turn.speaker == speaker):
            here = spans[-1][1] if spans else 0
            spans += [(here, turn.start, "")] if turn.start > here else []
            spans.append((turn.start, turn.start + turn.duration, "<sil>"))
        here = spans[-1][1] if spans else 0
        spans.append((here, end, ""))
        lines += [f"    item [{speaker + 1}]:", '        class = "IntervalTier"']
        lines += [f'        name = "{_speaker_name(speaker)}"', "        xmin = 0", f"        xmax = {end / 100}"]
        lines.append(f"        intervals: size = {len(spans)}")
        for number, (first, last, text) in enumerate(spans, start=1):
            lines += [f"        intervals [{number}]:", f"            xmin = {first / 100}"]
            lines += [f"            xmax = {last / 100}", f'            text = "{text}"']
    return "\n".join(lines) + "\n"
