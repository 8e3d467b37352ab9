"""What runs on a node of a cluster for a job of `SlurmLauncher`: one training, told to save when its time is up."""

import dataclasses
import json
import os
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import EXIT_OK, EXIT_STOPPED
from ..files import replacing
from .jobs import reason_of, size_of, status_of_ranks

# By one of these submitit hears that it has to leave; Slurm sends it to all processes of a job.
_SIGNALS = {signal.SIGUSR1, signal.SIGUSR2}
_LEFT = 10.0  # seconds of those that Slurm gives, for what comes after saving


@dataclass
class Task:
    """A command that can be stopped and goes on when it is run again, as submitit wants it.

    Attributes:
        command: what is run, with its words in `log`.
        record: JSON, written once, when the job has ended for good: {"status": as in `Outcome`, "reason": ...}.
        requeues: so often it may be started again.
        patience: seconds from Slurm's signal to its kill.
        threads: that the command may compute on, unless OMP_NUM_THREADS is set.
        processes: of the command; several have torchrun above them.
        finished: what the run writes last, if that is known: it is done where this is there after it was stopped.
    """

    command: list[str]
    log: Path
    record: Path
    requeues: int
    patience: float
    threads: int
    processes: int = 1
    finished: Path | None = None
    _child: Any = field(default=None, init=False, repr=False, compare=False)
    _begin: int = field(default=0, init=False, repr=False, compare=False)

    def __call__(self) -> int:
        """Runs the command to its end -> its status."""
        if restarts() and self._is_finished():
            return self._end(EXIT_OK, "")
        if restarts() > self.requeues:  # Slurm requeues by itself, too: where a node fails, or makes room
            return self._end(EXIT_STOPPED, self._too_often())
        self._begin = size_of(self.log)
        self._start()
        status = self._ended(wait=True)
        assert status is not None
        if self._is_stopped(status):
            # Nobody told us, so Slurm did: it wants the place of a job that it will run again, or ends it for good.
            if slurm_state() == "RUNNING":
                signal.raise_signal(signal.SIGUSR2)  # as if it had asked submitit
            raise SystemExit(EXIT_STOPPED)  # Slurm's own state says the rest
        return self._end(status, reason_of(status, self.log, self._begin))

    def checkpoint(self) -> Any:
        """Called by submitit when Slurm's signal has come -> what is run when the job comes to its turn again.

        None: it does not; the record says why.
        """
        from submitit.helpers import DelayedSubmission

        status = self._stop()
        if self._child is not None and self._is_finished():
            status = EXIT_OK
        if not self._is_stopped(status):
            self._end(status, reason_of(status, self.log, self._begin))
            return None
        if restarts() >= self.requeues:
            self._end(EXIT_STOPPED, self._too_often())
            return None
        return DelayedSubmission(dataclasses.replace(self))

    def _start(self) -> None:
        environment = {"OMP_NUM_THREADS": str(self.threads)} | dict(os.environ)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        # What is blocked here stays so in the child: the signal is for us, who tell the child in its own way.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            with self.log.open("ab") as file:
                self._child = subprocess.Popen(
                    self.command,
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    env=environment,
                    start_new_session=True,
                )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _stop(self) -> int:
        """Tells the command to save and end, and kills it where that takes too long -> its status."""
        if self._child is None:
            return EXIT_STOPPED
        until = time.monotonic() + max(self.patience - _LEFT, 1.0)
        if self._ended() is None:
            os.killpg(self._child.pid, signal.SIGTERM)
        while self._ended() is None and time.monotonic() < until:
            time.sleep(0.2)
        if self._ended() is None:
            os.killpg(self._child.pid, signal.SIGKILL)
            self._ended(wait=True)
            return -signal.SIGTERM  # it goes on from the checkpoint before
        status = self._ended()
        assert status is not None
        return status

    def _ended(self, wait: bool = False) -> int | None:
        """The status of the command, None while it runs.

        Not through Popen, whose lock a signal handler would wait for when it comes while the lock is held.
        """
        flags = os.WEXITED | os.WNOWAIT | (0 if wait else os.WNOHANG)
        result = os.waitid(os.P_PID, self._child.pid, flags)
        if result is None:
            return None
        status = result.si_status if result.si_code == os.CLD_EXITED else -result.si_status
        return status if self.processes == 1 else status_of_ranks(status, self.log, self._begin)

    def _is_stopped(self, status: int) -> bool:
        return status in (EXIT_STOPPED, -signal.SIGTERM)

    def _is_finished(self) -> bool:
        return self.finished is not None and self.finished.exists()

    def _too_often(self) -> str:
        return f"stopped by Slurm after it was requeued {self.requeues} times, the most it may be (requeues)"

    def _end(self, status: int, reason: str) -> int:
        with replacing(self.record) as path:
            path.write_text(json.dumps({"status": status, "reason": reason}), encoding="utf-8")
        return status


def restarts() -> int:
    """How often Slurm has started this job again."""
    return int(os.environ.get("SLURM_RESTART_COUNT", "0"))


def slurm_state() -> str:
    """Slurm's word for the state of this job; empty where it has none."""
    command = ["squeue", "--noheader", "--format=%T", "--jobs", os.environ.get("SLURM_JOB_ID", "0")]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stdout.strip()
