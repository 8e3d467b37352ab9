"""What a launcher is given and what it says: jobs, each a run in a YAML file, and how each of them ended."""

import re
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..errors import EXIT_STOPPED, InputError

_SAID = "hf-speech train: "  # how the command begins the one line with which it ends
_EXCEPTION = re.compile(r"[\w.]*(Error|Exception|Exit|Interrupt|Warning)(: .*|)$")
_TAIL = 1 << 16  # bytes of a log in which the reason is looked for


@dataclass(frozen=True)
class Job:
    """One run: a YAML file of all its fields, output_dir among them.

    Attributes:
        name: unique among the jobs, fit for a file name.
        config: absolute path of the YAML file.
        log: what the run says (stderr and stdout) is added to this file, over restarts.

    Raises:
        InputError: the name is no name of a file, or a path is relative.
    """

    name: str
    config: Path
    log: Path

    def __post_init__(self) -> None:
        if self.name in ("", ".", "..") or "/" in self.name or "\0" in self.name:
            raise InputError(f"job {self.name!r}: give a name that a file can have")
        for path in (self.config, self.log):
            if not path.is_absolute():
                raise InputError(f"job {self.name}: {path} is relative; give an absolute path")


@dataclass(frozen=True)
class Outcome:
    """How a job ended.

    Attributes:
        job: the job.
        status: 0 done; else the exit status of `hf-speech train` (2 its input is at fault, 1 a fault of ours, 143
            stopped and saved), or minus the signal that killed it.
        reason: why it is not done, in one line; empty where it is.
    """

    job: Job
    status: int
    reason: str


class Launcher(Protocol):
    """Runs jobs somewhere."""

    def run(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """Runs all jobs; one that dies never stops the others.

        Yields:
            How each ended, in the order in which they end.
        """
        ...


def check_names(jobs: Sequence[Job]) -> None:
    """Refuses jobs that share a name, or a log.

    Raises:
        InputError: two do.
    """
    for what in ("name", "log"):
        seen: set[object] = set()
        for job in jobs:
            value = getattr(job, what)
            if value in seen:
                raise InputError(f"two jobs have the {what} {value}; give each its own")
            seen.add(value)


def size_of(log: Path) -> int:
    """Bytes that a log has by now; what a run adds comes after them."""
    return log.stat().st_size if log.exists() else 0


def reason_of(status: int, log: Path, begin: int = 0) -> str:
    """Why a run ended as it did, in one line.

    Args:
        status: as in `Outcome`.
        log: what it said.
        begin: bytes of the log that are of earlier runs.
    """
    if status == 0:
        return ""
    lines = [line.strip() for line in _tail(log, begin).splitlines() if line.strip()]
    said = [line.removeprefix(_SAID) for line in lines if line.startswith(_SAID)]
    if said and status > 0:
        return said[-1]
    if status < 0 or status == EXIT_STOPPED:
        return _killed(-status if status < 0 else status - 128)
    thrown = [line for line in lines if _EXCEPTION.match(line) and "ChildFailedError" not in line]  # torchrun's own
    if thrown or lines:
        return (thrown or lines)[-1]
    return f"ended with status {status} and said nothing"


def _killed(number: int) -> str:
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = "unknown"
    perhaps = ", perhaps for its memory" if name == "SIGKILL" else ""
    return f"killed by signal {number} ({name}){perhaps}"


def status_of_ranks(status: int, log: Path, begin: int = 0) -> int:
    """The status of a run of several processes, of which torchrun's own is 1 however they ended.

    Args:
        status: torchrun's.
        log: what it said: the first process that failed stands last.
        begin: bytes of the log that are of earlier runs.
    """
    said = _tail(log, begin)
    codes = re.findall(r"^\s*exitcode\s*: (-?\d+) ", said, flags=re.MULTILINE)
    if status != 1 or not codes and "SignalException" not in said:
        return status
    return int(codes[-1]) if codes else EXIT_STOPPED


def _tail(log: Path, begin: int) -> str:
    """The last of what a log has after `begin` bytes."""
    if not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(max(begin, size_of(log) - _TAIL))
        return file.read().decode("utf-8", errors="replace")
