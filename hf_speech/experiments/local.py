"""Runs on this machine, several at a time, each in a process of its own.

Each job is forked from a server that has imported torch and transformers once (several seconds), so it starts at once,
with nothing left over from the job before it: no seed, no log handler, no memory of a device. The server itself
computes nothing and never opens a device.
"""

import contextlib
import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing import connection, forkserver, resource_tracker
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any

from ..errors import EXIT_OK, EXIT_STOPPED, InputError, StoppedError
from .jobs import Job, Outcome, check_names, reason_of, size_of
from .worker import train_alone

logger = logging.getLogger(__name__)

_PATIENCE = 60.0  # seconds that a run has for saving when it is told to end
_LOST = 255  # multiprocessing's status where the server of forks is gone, and with it what it knew of the process
_LOOK = 0.5  # seconds after which a signal is seen
# What a run imports sooner or later; models of transformers are imported by name when one is built.
_PRELOADED = ["hf_speech.training.run", "hf_speech.training.arguments", "hf_speech.training.parts"]
_PRELOADED += ["matplotlib.backends.backend_agg", "matplotlib.figure", "transformers.models.wav2vec2"]
# What `hf-speech` sets before it imports anything, for a log that is no terminal; and a device is not to be opened
# by the process that is forked (torch then asks the driver's management library instead).
_SERVER = {
    "TRANSFORMERS_VERBOSITY": "error",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
}


class LocalLauncher:
    """Trains jobs on this machine.

    Threads: each run computes on its share of the cores, unless OMP_NUM_THREADS is set. Devices: where there are
    several GPUs and runs beside each other, the i-th place has GPU i modulo their number to itself.

    A Ctrl-C or SIGTERM tells the runs to save and end, and waits for that up to a minute; a second one kills them.

    Args:
        parallel: runs beside each other.

    Raises:
        InputError: it is below 1.
    """

    def __init__(self, parallel: int = 1) -> None:
        if parallel < 1:
            raise InputError(f"parallel is {parallel}; give a whole number of 1 or more")
        self.parallel = parallel

    def run(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """Runs all jobs; one that dies never stops the others.

        Yields:
            How each ended, in the order in which they end.

        Raises:
            StoppedError: SIGTERM came; the message says what became of the runs at work.
            KeyboardInterrupt: the same, by Ctrl-C.
        """
        check_names(jobs)
        waiting, running = list(reversed(jobs)), list[_Place]()
        places = [_Place(self._environment(index)) for index in range(min(self.parallel, len(jobs)))]
        with _Signals() as signals:
            told = "no run at work"
            try:
                while (waiting or running) and not signals.heard:
                    for place in places:
                        if waiting and place not in running:
                            place.start(waiting.pop(), f"run {len(jobs) - len(waiting)} of {len(jobs)}")
                            running.append(place)
                    connection.wait([place.process.sentinel for place in running], _LOOK)
                    for place in [place for place in running if not (signals.heard or place.process.is_alive())]:
                        running.remove(place)
                        yield place.outcome()
            finally:
                if running:
                    told = _end(running, signals)
                signals.raise_heard(told)

    def _environment(self, index: int) -> dict[str, str]:
        """Variables of the runs in a place."""
        values = {"OMP_NUM_THREADS": str(max(1, _cores() // self.parallel))} | _SERVER | dict(os.environ)
        devices = _devices() if self.parallel > 1 else []
        if len(devices) > 1:
            values["CUDA_VISIBLE_DEVICES"] = devices[index % len(devices)]
        return values


@dataclass(eq=False)
class _Place:
    """Where one job after another runs."""

    environment: dict[str, str]
    process: BaseProcess = field(init=False)
    job: Job = field(init=False)
    begin: int = 0

    def start(self, job: Job, number: str) -> None:
        context = multiprocessing.get_context("forkserver")
        _start_server(self.environment["OMP_NUM_THREADS"])
        self.job, self.begin = job, size_of(job.log)
        job.log.parent.mkdir(parents=True, exist_ok=True)
        arguments = (str(job.config), str(job.log), self.environment)
        # No daemon: a run may have workers of its own, for its data.
        self.process = context.Process(target=train_alone, args=arguments, name=job.name, daemon=False)
        self.process.start()
        logger.info("%s: started, %s, process %d", job.name, number, self.process.pid)

    def outcome(self) -> Outcome:
        self.process.join()
        status = self.process.exitcode
        assert status is not None
        if status == _LOST:
            _kill(self.process)
        self.process.close()
        reason = "the server of forks was killed" if status == _LOST else reason_of(status, self.job.log, self.begin)
        return Outcome(self.job, -signal.SIGKILL if status == _LOST else status, reason)


def _start_server(threads: str) -> None:
    """Starts the server of forks, if it does not run yet.

    A signal to the launcher's process group, or to all of a cluster's job, is not for it: it has to say how runs ended.
    """
    forkserver.set_forkserver_preload(_PRELOADED)
    resource_tracker.ensure_running()  # which would unblock them again if the server had to start it
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        with _variables({"OMP_NUM_THREADS": threads} | _SERVER | dict(os.environ)):
            forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Signals:
    """Hears SIGINT and SIGTERM while jobs run; they are acted on between two looks at the runs, wherever they come."""

    def __init__(self) -> None:
        self.heard: list[int] = []
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "_Signals":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._hear)
        return self

    def __exit__(self, *error: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self.heard.append(number)

    def raise_heard(self, message: str) -> None:
        if self.heard and self.heard[0] == signal.SIGINT:
            raise KeyboardInterrupt(f"by Ctrl-C: {message}; the same command goes on from there")
        if self.heard:
            raise StoppedError(message)


def _end(running: Sequence[_Place], signals: _Signals) -> str:
    """Tells runs to save and end, waits, then kills what is left; at once where a second signal comes.

    Returns:
        What became of them, in words.
    """
    logger.info("told to end: waiting for %d runs, which save if they train by now; again to kill them", len(running))
    heard, until = len(signals.heard), time.monotonic() + _PATIENCE
    for place in running:
        place.process.terminate()
    while any(place.process.is_alive() for place in running):
        if len(signals.heard) > heard or time.monotonic() > until:
            for place in running:
                _kill(place.process)
            break
        connection.wait([place.process.sentinel for place in running if place.process.is_alive()], _LOOK)
    for place in running:
        place.process.join()
    return _what_became([place.process.exitcode for place in running])


def _what_became(statuses: Sequence[int | None]) -> str:
    """What became of runs that were told to end, in words.

    >>> _what_became([143, 0])
    '2 of 2 runs at work have saved'
    >>> _what_became([143, -15, -9])
    '1 of 3 runs at work has saved, 1 had nothing to save yet and starts as it did before, 1 was ended before it saved'
    """
    saved = sum(status in (EXIT_OK, EXIT_STOPPED) for status in statuses)
    early = sum(status == -signal.SIGTERM for status in statuses)  # nobody listens for it before there is training
    late = len(statuses) - saved - early
    words = f"{saved} of {len(statuses)} runs at work {'has' if saved == 1 else 'have'} saved"
    if early:
        words += f", {early} had nothing to save yet and {'starts as it' if early == 1 else 'start as they'} did before"
    if late:
        words += f", {late} {'was' if late == 1 else 'were'} ended before {'it' if late == 1 else 'they'} saved"
    return words


def _kill(process: BaseProcess) -> None:
    """Kills a run and the workers of its data loaders."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if process.pid is not None:
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()


@contextlib.contextmanager
def _variables(values: dict[str, str]) -> Iterator[None]:
    """Within, this process has these environment variables, which what it starts inherits."""
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _cores() -> int:
    count: Callable[[int], set[int]] | None = getattr(os, "sched_getaffinity", None)
    return len(count(0)) if count else os.cpu_count() or 1


def _devices() -> list[str]:
    """GPUs by the names that CUDA_VISIBLE_DEVICES takes; no device is opened."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [name.strip() for name in given.split(",") if name.strip()]
    with _variables({"PYTORCH_NVML_BASED_CUDA_CHECK": "1"}):
        import torch

        return [str(index) for index in range(torch.cuda.device_count())]
