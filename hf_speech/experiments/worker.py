"""What runs in a process of its own for a job of `LocalLauncher`: `hf-speech train`, its words in the job's log."""

import gc
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Mapping
from pathlib import Path


def train_alone(config: str, log: str, environment: Mapping[str, str]) -> None:
    """Trains as a file says, then ends the process with the status of the command.

    Args:
        config: the YAML file.
        log: what is said goes there, of libraries in C as well.
        environment: variables of the process that asked, which may have been set after the server of forks began.
    """
    gc.freeze()  # what the server has imported stays: to look through it for garbage would copy all of its memory
    os.setsid()  # a Ctrl-C, or a signal to all processes of a job, is for the launcher, which passes it on
    speak_into(Path(log))
    end_with_parent()
    os.environ.clear()
    os.environ.update(environment)
    set_threads()
    # As in a process of its own: a data loader's workers are forked from the run, not from a server of its own.
    multiprocessing.set_start_method(None, force=True)
    # The server of forks has it blocked, and so had this process: one that came meanwhile is heard here.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    from ..cli import main

    sys.exit(main(["train", config]))


def speak_into(log: Path) -> None:
    """Standard output and error of this process, the file descriptors themselves, are added to a file from now on."""
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)
    # Python's own may have been replaced, or closed, in the process that this one was forked from.
    sys.stdout = open(1, "w", buffering=1, encoding="utf-8", errors="replace", closefd=False)
    sys.stderr = open(2, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)


def end_with_parent() -> None:
    """Where the process that asked is killed, this one and its data loaders' workers end as well.

    They are killed rather than told: whoever kills the launcher wants the machine, and a run goes on from any kill.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=wait, name="parent", daemon=True).start()


def set_threads() -> None:
    """Torch computes on OMP_NUM_THREADS threads, whatever the server of forks was started with."""
    import torch

    threads = os.environ.get("OMP_NUM_THREADS", "")
    if threads.isdigit() and int(threads) > 0 and torch.get_num_threads() != int(threads):
        torch.set_num_threads(int(threads))
