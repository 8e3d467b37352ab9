"""Benchmarks: `python -m benchmarks [SUITE or NAME ...]`.

    python -m benchmarks                 # suite cpu, or gpu where there is one: speed, within an hour
    python -m benchmarks ecapa imports   # some of it
    python -m benchmarks results         # what docs/results.md and docs/cost.md say beside, five hours
    python -m benchmarks --table         # writes the table of the README anew from the figures that are there

Of speed, ours and what a user would take instead run by turns, and the figures go to benchmarks/results/<device>.json,
with what the machine itself can do.
"""

import argparse
import importlib
import subprocess
import sys
import time
from pathlib import Path

import torch

from . import machine
from .real_speech import ROOT, SPEECH
from .rows import read_rows, results_file, table, write_rows
from .sample import drawn

SUITES: dict[str, tuple[str, ...]] = {
    "cpu": ("imports", "equal_error", "trial_scores", "reading", "encoder", "ecapa", "layer_sweep", "probe"),
    "gpu": ("gpu",),
    "results": ("padding", "corpora", "batching", "real_speech", "speakers", "folds", "augmentations", "onnx"),
}
SUITES["cpu"] += ("finetuning", "growth")
SUITES["results"] += ("verification_metrics", "verification_speech", "cluster_memory", "adaptation", "wavlm_sdpa")
FROM, TO = "<!-- speed -->", "<!-- end of speed -->"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help=f"suites ({', '.join(SUITES)}) or benchmarks")
    parser.add_argument("--speech", type=Path, default=SPEECH, help="folder with speaker/ and emotion/ (%(default)s)")
    parser.add_argument("--table", action="store_true", help="only write the README's table anew")
    given = parser.parse_args()
    known = {name for suite in SUITES.values() for name in suite}
    names = [one for name in given.names for one in SUITES.get(name, (name,))]
    if unknown := sorted(set(names) - known):
        parser.error(f"there is no {unknown[0]!r}; there are {', '.join([*SUITES, *sorted(known)])}")
    short: list[str] = []
    if not given.table:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        short = run(names or list(SUITES["gpu" if device == "cuda" else "cpu"]), given.speech, device)
    write_table()
    if short:
        raise SystemExit("short of what it is held to: " + "; ".join(short))


def run(names: list[str], speech: Path, device: str) -> list[str]:
    """Runs benchmarks, one after the other -> what falls short; those of speed leave figures in the device's file."""
    path, short = results_file(device), []
    for name in names:
        print(f"== {name}", flush=True)
        module, begun = importlib.import_module(f"benchmarks.{name}"), time.perf_counter()
        if hasattr(module, "rows"):
            sample = drawn(speech)
            rates = machine.rates(device)
            found = module.rows(sample)
            write_rows(path, found, {"sample": sample.facts(), "machine": rates}, device, begun)
            short += [f"{row.name} ({'; '.join(row.broken)})" for row in found if row.broken]
            print(*found, sep="\n", flush=True)
        elif hasattr(module, "measure"):
            short += module.measure(drawn(speech), path, device)
        else:
            subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], cwd=ROOT, check=True)
        print(f"== {name}: {time.perf_counter() - begun:.0f} s", flush=True)
    return short


def write_table() -> None:
    """Puts the rows of this machine's CPU into the README."""
    readme = ROOT / "README.md"
    text, path = readme.read_text(encoding="utf-8"), results_file("cpu")
    if path.exists() and FROM in text:
        before, rest = text.split(FROM)
        readme.write_text(f"{before}{FROM}\n{table(read_rows(path))}\n{TO}{rest.split(TO)[1]}", encoding="utf-8")


if __name__ == "__main__":
    main()
