"""Benchmarks of many runs, which go on where they were stopped: a line a run in a file, until all are there."""

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from hf_speech.files import replacing

Run = dict[str, Any]


def measured(partial: Path, plan: Sequence[tuple[Any, ...]], measure: Callable[..., Run]) -> list[Run]:
    """The runs of a plan, two at a time; those that the file has already are not made again.

    Args:
        partial: the file.
        plan: what to call `measure` with; `run["key"]` is it, as a list.
        measure: makes one run.
    """
    runs = [json.loads(line) for line in partial.read_text("utf-8").splitlines()] if partial.exists() else []
    there = [run["key"] for run in runs]

    def make(key: tuple[Any, ...]) -> Run:
        run = {"key": list(key), **measure(*key)}
        with partial.open("a", encoding="utf-8") as file:
            file.write(json.dumps(run) + "\n")
        print(json.dumps(run)[:300], flush=True)
        return run

    with ThreadPoolExecutor(2) as pool:
        return [*runs, *pool.map(make, [key for key in plan if list(key) not in there])]


def finish(output: Path, partial: Path, content: Run) -> None:
    """Writes what came out, and takes the file of single runs away."""
    with replacing(output) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    partial.unlink(missing_ok=True)
