"""Processes of a distributed run on this machine, as torchrun starts them."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PATHS = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
ENVIRONMENT = {"PYTHONPATH": PATHS, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def start_ranks(*words: object, ranks: int = 2) -> subprocess.Popen[str]:
    """Starts so many processes of a script, or of `-m` and a module, on gloo."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(ranks)]
    return subprocess.Popen(
        [*launch, *map(str, words)],
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
