"""A frozen encoder that is run once, against one that is run in every epoch: how long `hf-speech train` takes.

    python -m benchmarks.frozen --speech ../shared/data/speech

A wav2vec2 of base size (12 layers of 768, random weights), frozen, with mean+std pooling and a linear head, learns
seven emotions for 40 epochs from the first 240 s of the emotion recordings (two actors), without validation and without
checkpoints; it is tested on the first 60 s of the third actor. Each run is the command in a process of its own; the
cache is empty at first. Of the run without a cache two epochs are timed, and what 40 take is computed from them. Both
ways are then trained for those two epochs, and their predictions compared.
"""

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from hf_speech.files import replacing, write_table
from hf_speech.results import Results, run_facts

from .limits import hold
from .real_speech import ROOT, SPEECH, predictions

OUTPUT = ROOT / "benchmarks" / "results" / "frozen.json"
TEST_SECONDS, TIMED = 60.0, 2  # of audio; epochs
LIMITS = {"training with its pass, cached / not": 1 / 15, "whole command, cached / not": 1 / 8}
LIMITS |= {"predictions that differ": 0, "largest difference of a score": 1e-4}
FIELDS: dict[str, Any] = {
    "backbone_config": {"model_type": "wav2vec2"},
    "freeze": "backbone",
    "pooling": "mean+std",
    "target": "emotion",
    "columns": {"speaker_id": "speaker"},
    "validation": "none",
    "save_strategy": "no",
    "learning_rate": 1e-3,
    "seed": 0,
}
# What a run says first when it begins with something.
PASS, TRAINING = "the encoder is run once", "training on"


def first_seconds(rows: Sequence[dict[str, str]], seconds: float) -> list[dict[str, str]]:
    """Rows from the start on until they are so long together."""
    taken: list[dict[str, str]] = []
    while sum(float(row["duration"]) for row in taken) < seconds:
        taken.append(rows[len(taken)])
    return taken


def write_data(speech: Path, folder: Path, seconds: float) -> tuple[Path, dict[str, Any]]:
    """A table of the recordings that are used, and what it has."""
    source = speech / "emotion" / "metadata.csv"
    with source.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    train = first_seconds(rows, seconds)
    actors = list(dict.fromkeys(row["speaker"] for row in rows))
    tested = next(actor for actor in actors if actor not in {row["speaker"] for row in train})
    test = first_seconds([row for row in rows if row["speaker"] == tested], min(TEST_SECONDS, seconds))
    path = folder / "metadata.csv"
    write_table([{**row, "path": str(source.parent.absolute() / row["path"])} for row in (*train, *test)], path)
    facts = {
        part: {
            "recordings": len(used),
            "seconds": round(sum(float(row["duration"]) for row in used), 1),
            "speakers": sorted({row["speaker"] for row in used}),
        }
        for part, used in (("train", train), ("test", test))
    }
    return path, facts


def timed(name: str, folder: Path, data: Path, epochs: int, **fields: Any) -> dict[str, Any]:
    """One run of the command: its seconds, whole and part by part."""
    config = folder / f"{name}.yaml"
    tested = f"speaker_id={list(csv.DictReader(data.open(encoding='utf-8')))[-1]['speaker']}"
    values = {**FIELDS, "dataset": str(data), "test": tested, "num_train_epochs": epochs, **fields}
    config.write_text(yaml.safe_dump(values), encoding="utf-8")
    words = [sys.executable, "-m", "hf_speech.cli", "train", str(config), "--output-dir", str(folder / name)]
    begun, begins = time.perf_counter(), {}
    process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        print(line, end="", file=sys.stderr)
        for words_of in (PASS, TRAINING):
            if line.startswith(words_of):
                begins.setdefault(words_of, time.perf_counter() - begun)
    if process.wait():
        raise SystemExit(f"{name} ended with status {process.returncode}")
    whole = time.perf_counter() - begun
    training = Results.read(folder / name).run["train_seconds"]
    before = begins.get(PASS, begins[TRAINING])
    passed = begins[TRAINING] - before
    return {
        "epochs": epochs,
        "whole": whole,
        "start": before,
        "pass": passed,
        "training": training,
        "end": whole - begins[TRAINING] - training,
    }


def differences(folder: Path, names: Sequence[str]) -> tuple[int, float]:
    """Of two runs, the predictions that differ, and the largest difference of a score."""
    pairs = list(zip(*(predictions(folder / name) for name in names), strict=True))
    labels = set(pairs[0][0]) - {"id", "speaker_id", "label", "predicted"}
    apart = max(abs(float(one[label]) - float(two[label])) for one, two in pairs for label in labels)
    return sum(one["predicted"] != two["predicted"] for one, two in pairs), apart


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", type=Path, default=SPEECH, help="folder with emotion/ (%(default)s)")
    parser.add_argument("--seconds", type=float, default=240.0, help="of audio to learn from (%(default)g)")
    parser.add_argument("--epochs", type=int, default=40, help="(%(default)d)")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="(%(default)s)")
    given = parser.parse_args()
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data, facts = write_data(given.speech, folder, given.seconds)
        cache = str(folder / "cache")
        cached = timed("cached", folder, data, given.epochs, frozen_cache=cache)
        size = sum(path.stat().st_size for path in Path(cache).rglob("*.safetensors"))
        without = timed("without", folder, data, TIMED)
        timed("cached-short", folder, data, TIMED, frozen_cache=cache)
        differ, apart = differences(folder, ("cached-short", "without"))
    epochs = without["training"] * given.epochs / TIMED
    computed = {"epochs": given.epochs, "whole": without["whole"] - without["training"] + epochs, "training": epochs}
    learnt = cached["pass"] + cached["training"]
    content = {
        "data": facts,
        "cache_bytes": size,
        "seconds_cached": cached,
        "seconds_not_cached": without,
        "seconds_not_cached_computed": computed,
        "times_faster_training": computed["training"] / learnt,
        "times_faster_whole": computed["whole"] / cached["whole"],
        "compared_predictions": facts["test"]["recordings"],
        "run": run_facts(0, device="cpu", wall_seconds=time.perf_counter() - begun, arguments=FIELDS),
    }
    with replacing(given.output) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    print(f"cached: {given.epochs} epochs {learnt:.1f} s with the pass, whole command {cached['whole']:.1f} s")
    print(f"not cached, computed from {TIMED} epochs: {computed['training']:.0f} s, whole {computed['whole']:.0f} s")
    print(f"times faster: {content['times_faster_training']:.1f}, whole {content['times_faster_whole']:.1f}")
    figures = [learnt / computed["training"], cached["whole"] / computed["whole"], differ, apart]
    hold(dict(zip(LIMITS, figures, strict=True)), LIMITS)


if __name__ == "__main__":
    main()
