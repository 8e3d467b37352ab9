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
import os
import subprocess
import sys
import time
from pathlib import Path

import torch
import transformers

from . import machine
from .real_speech import ROOT, SPEECH
from .rows import read_rows, results_file, section, write_rows
from .sample import drawn

SPEED = (
    "imports",
    "equal_error",
    "trial_scores",
    "reading",
    "convolutions",
    "ecapa",
    "encoder",
    "layer_sweep",
    "probe",
)
MODELS = ("padding", "corpora", "batching", "real_speech", "speakers", "folds", "augmentations", "onnx")
OTHERS = ("verification_metrics", "verification_speech", "cluster_memory", "adaptation", "wavlm_sdpa", "compiled")
SUITES: dict[str, tuple[str, ...]] = {
    "cpu": (*SPEED, "finetuning", "growth"),
    "gpu": ("gpu",),
    "results": (*MODELS, *OTHERS),
}
FROM, TO = "<!-- speed -->", "<!-- end of speed -->"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help=f"suites ({', '.join(SUITES)}) or benchmarks")
    parser.add_argument("--speech", type=Path, default=SPEECH, help="folder with speaker/ and emotion/ (%(default)s)")
    parser.add_argument("--table", action="store_true", help="only write the README's table anew")
    parser.add_argument("--within", help=argparse.SUPPRESS)
    given = parser.parse_args()
    known = {name for suite in SUITES.values() for name in suite}
    names = [one for name in given.names for one in SUITES.get(name, (name,))]
    if unknown := sorted(set(names) - known):
        parser.error(f"there is no {unknown[0]!r}; there are {', '.join([*SUITES, *sorted(known)])}")
    if given.within:
        return measure(given.within, given.speech)
    short: list[str] = []
    if not given.table:
        device = "gpu" if torch.cuda.is_available() else "cpu"
        short = run(names or list(SUITES[device]), given.speech)
    write_table()
    if short:
        raise SystemExit(f"short of what they are held to, or ended early: {', '.join(short)}")


def run(names: list[str], speech: Path) -> list[str]:
    """Runs benchmarks one after the other, each in a process of its own -> those that fell short or ended early."""
    short = []
    for name in names:
        print(f"== {name}", flush=True)
        begun, command = time.perf_counter(), [sys.executable, "-m", "benchmarks"]
        if name in (*SUITES["cpu"], *SUITES["gpu"]):
            command += ["--within", name, "--speech", str(speech)]
        else:
            command[-1] += f".{name}"
        # What is compared on the CPU stays there, on both sides.
        unseen = {"CUDA_VISIBLE_DEVICES": ""} if name in SUITES["cpu"] else {}
        if subprocess.run(command, cwd=ROOT, env={**os.environ, **unseen}).returncode:
            short.append(name)
        print(f"== {name}: {time.perf_counter() - begun:.0f} s", flush=True)
    return short


def measure(name: str, speech: Path) -> None:
    """Runs one benchmark of speed, whose figures go to the device's file."""
    transformers.logging.set_verbosity_error()  # each model that is loaded without its head would be told of
    begun, device = time.perf_counter(), "cuda" if torch.cuda.is_available() else "cpu"
    module, sample, path = importlib.import_module(f"benchmarks.{name}"), drawn(speech), results_file(device)
    if hasattr(module, "rows"):
        rates = machine.rates(device)
        found = module.rows(sample)
        write_rows(path, found, {"sample": sample.facts(), "machine": rates}, device, begun)
        print(*found, sep="\n", flush=True)
        short = [f"{row.name} ({'; '.join(row.broken)})" for row in found if row.broken]
    else:
        short = module.measure(sample, path, device)
    if short:
        raise SystemExit("short of what it is held to: " + "; ".join(short))


def write_table() -> None:
    """Puts the rows of this machine's CPU into the README."""
    readme = ROOT / "README.md"
    text, path = readme.read_text(encoding="utf-8"), results_file("cpu")
    if not (FROM in text and TO in text):
        raise SystemExit(f"{readme}: has no {FROM} with {TO} behind it, where the table belongs")
    if read_rows(path):
        before, rest = text.split(FROM)
        readme.write_text(f"{before}{FROM}\n{section(path)}\n{TO}{rest.split(TO)[1]}", encoding="utf-8")


if __name__ == "__main__":
    main()
