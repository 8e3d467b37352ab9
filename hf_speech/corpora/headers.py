"""The headers of many files, read in other processes: a module of its own so that these start with little in memory."""

import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection

from ..audio import AudioInfo, audio_info
from ..data.problems import Problems
from ..errors import InputError, one_line
from .places import Member, open_place


@dataclass(frozen=True)
class Headers:
    """What the headers of some files say.

    Attributes:
        samples: of each file, a channel.
        rates: samples per second of each file; 0 where it can't be used.
        channels: of each file.
        problems: why not.
    """

    samples: list[int]
    rates: list[int]
    channels: list[int]
    problems: Problems


def read_headers(places: Sequence[str | Member]) -> Headers:
    """Samples, rates and channels of some files; nothing is decoded."""
    problems = Problems()
    samples, rates, channels = [0] * len(places), [0] * len(places), [0] * len(places)
    for i, place in enumerate(places):
        path = place if isinstance(place, str) else place.path
        try:
            info = _info(place)
            samples[i], rates[i], channels[i] = info.samples, info.sample_rate, info.channels
        except InputError as error:
            missing = isinstance(place, str) and not os.path.exists(place)
            reason = str(error).removeprefix(f"{path}: ")
            problems.add("missing file" if missing else "not audio", path, reason)
    return Headers(samples, rates, channels, problems)


def serve(pipe: Connection) -> None:
    """Read the headers of every list of places that comes through a pipe, and answer; for a process of its own."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process: the one that asks ends the others
    while True:
        try:
            places = pipe.recv()
        except EOFError:
            return
        try:
            answer: Headers | Exception = read_headers(places)
        except Exception as error:
            answer = error
        pipe.send(answer)


def _info(place: str | Member) -> AudioInfo:
    try:
        info = audio_info(open_place(place))
    except InputError:
        raise
    except (OSError, ValueError) as error:  # what the libraries say of a file that ends too soon
        raise InputError(f"not audio ({one_line(error)}); leave it out") from error
    if info.samples == 0:
        raise InputError("no samples (0 s long); leave it out")
    return info
