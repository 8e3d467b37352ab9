"""Processes of a distributed run on this machine.

Run as a module it is a torchrun that imports the libraries once, and not once a process: its ranks are forks of it.
"""

import gc
import os
import runpy
import signal
import subprocess
import sys
import traceback
import uuid
from pathlib import Path

ROOT = Path(__file__).parents[1]
PATHS = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
ENVIRONMENT = {"PYTHONPATH": PATHS, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
TORCHRUN = ("torch.distributed.run", "--standalone", "--nproc_per_node")


def start_ranks(*words: object, ranks: int = 2, launcher: tuple[str, ...] = (__name__,)) -> subprocess.Popen[str]:
    """Starts so many processes of a script, or of `-m` and a module, on gloo."""
    return subprocess.Popen(
        [sys.executable, "-m", *launcher, str(ranks), *map(str, words)],
        cwd=ROOT,
        env=os.environ | ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish_ranks(*words: object, ranks: int = 2, seconds: float = 240) -> list[str]:
    """Runs them to the end -> what was said on stderr, line by line."""
    process = start_ranks(*words, ranks=ranks)
    said = process.communicate(timeout=seconds)[1].splitlines()
    assert process.returncode == 0, "\n".join(said[-40:])
    return said


def launch(ranks: int, words: list[str]) -> None:
    """What torchrun does with a script, done with forks."""
    os.environ["TRANSFORMERS_VERBOSITY"] = "error"  # as the command has it, before it imports them
    gc.disable()
    from torch.distributed.elastic.multiprocessing.errors import record
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    import hf_speech.training.run  # noqa: F401  # with all that a rank needs

    gc.freeze()
    gc.enable()
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=ranks,
        run_id=str(uuid.uuid4()),
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        monitor_interval=0.1,
        start_method="fork",
    )
    record(elastic_launch(config, run_words))(words)


def run_words(words: list[str]) -> None:
    """Runs what stands behind `python` on a command line, as a process of its own would."""
    for one in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):  # the launcher's own handlers
        signal.signal(one, signal.SIG_DFL)
    sys.argv = words[words[0] == "-m" :]
    try:
        if words[0] == "-m":
            runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(words[0], run_name="__main__")
    except Exception:  # said once, here, and not by the launcher again
        traceback.print_exc()
        sys.exit(1)


if __name__ == "__main__":
    launch(int(sys.argv[1]), sys.argv[2:])
