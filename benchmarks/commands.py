"""What one of our commands costs: seconds, and the most memory it held, in a process of its own."""

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from .real_speech import ROOT


@dataclass(frozen=True)
class Cost:
    """Of one command: wall seconds without the start of the interpreter, and the largest resident set, bytes."""

    seconds: float
    bytes: int


def cost_of(*words: object) -> Cost:
    """Runs `hf-speech` with those words.

    Raises:
        SystemExit: it ended with another status than 0.
    """
    command = [sys.executable, "-m", "benchmarks.commands", *map(str, words)]
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    if run.returncode:
        raise SystemExit(f"hf-speech {words[0]} ended with status {run.returncode}: {run.stderr[-2000:]}")
    return Cost(**json.loads(run.stdout.splitlines()[-1]))


def most_memory() -> int:
    """The largest resident set of this process, bytes."""
    # Not getrusage: it counts what the process that started this one held as well.
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def main() -> None:
    from hf_speech.cli import main as command

    begun = time.perf_counter()
    status = command(sys.argv[1:])
    seconds = time.perf_counter() - begun
    print(json.dumps({"seconds": seconds, "bytes": most_memory()}))
    raise SystemExit(status)


if __name__ == "__main__":
    main()
