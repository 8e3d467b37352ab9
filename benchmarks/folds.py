"""Cross-validation on real speech: emotion with one actor left out, three kinds of models; who speaks in a meeting.

    python -m benchmarks.folds --speech ../shared/data/speech

Emotion (7 classes, acted German, seven actors, each left out in turn, three runs with seeds of their own): the small
wav2vec2 of `model_cards/wav2vec2-small-emodb`; a probe (mean and deviation of the frames, one hidden layer) on the
frozen speaker ECAPA-TDNN of `model_cards/ecapa-small`, which is trained first; the same probe on log-mel energies
without any network. Meetings: four, put together from the speakers of the speaker pack with ten or more recordings,
five speakers and 80 turns of 1.5 to 3 s each, most of them over the end of the one before; a small ECAPA-TDNN for each
meeting, from scratch, that learns from the first half of it and is tested on the rest. Two runs at a time, on one
thread each.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from hf_speech.files import replacing
from hf_speech.results import Results, run_facts
from hf_speech.testing import write_fake_aishell4

from .real_speech import ROOT, SPEECH, train

OUTPUT = ROOT / "benchmarks" / "results" / "folds.json"
RUNS, MEETINGS, SPEAKERS, TURNS = 3, 4, 5, 80
PROBE: dict[str, Any] = {
    "columns": {"speaker_id": "speaker"},
    "target": "emotion",
    "validation": "none",
    "pooling": "mean+std",
    "head": "batchnorm",
    "head_config": {"size": 128},
    "freeze": "backbone",
    "learning_rate": 1e-3,
    "num_train_epochs": 25,
    "save_strategy": "no",
    "seed": 1,
}
MEETING: dict[str, Any] = {
    "backbone": "ecapa-256",
    "target": "speaker_id",
    "group_by": "none",
    "validation": "none",
    "crop_seconds": 2.0,
    "learning_rate": 2e-3,
    "per_device_train_batch_size": 16,
    "num_train_epochs": 25,
    "save_strategy": "no",
    "seed": 1,
}


def crossval(config: Path, dataset: Path, output: Path, *flags: str) -> Results:
    """One `hf-speech crossval` in a process of its own."""
    command = ["-m", "hf_speech.cli", "crossval", str(config), "--dataset", str(dataset), "--output-dir", str(output)]
    subprocess.run([sys.executable, *command, "--parallel", "2", *flags], check=True)
    return Results.read(output)


def write(fields: dict[str, Any], path: Path) -> Path:
    path.write_text(yaml.safe_dump(fields, sort_keys=False), encoding="utf-8")
    return path


def emotion(speech: Path, folder: Path) -> Iterator[tuple[str, Results]]:
    """The three kinds of models, by name, as each is done."""
    table, folds = speech / "emotion" / "metadata.csv", ["--folds", "speaker_id", "--runs", str(RUNS)]
    train("ecapa-small", speech / "speaker" / "metadata.csv", folder / "speakers")
    configs = {
        "wav2vec2-small": ROOT / "model_cards" / "wav2vec2-small-emodb" / "train.yaml",
        "probe on a frozen speaker ECAPA": write(
            {**PROBE, "backbone": str(folder / "speakers")}, folder / "ecapa.yaml"
        ),
        "probe on log-mel statistics": write(
            {**PROBE, "backbone_config": {"model_type": "spectrum"}}, folder / "log-mel.yaml"
        ),
    }
    for i, (name, config) in enumerate(configs.items()):
        yield name, crossval(config, table, folder / f"emotion{i}", *folds)


def recordings_by_speaker(speech: Path, least: int) -> list[list[Path]]:
    """The recordings of every speaker with so many or more, in the order of their names."""
    found: dict[str, list[Path]] = defaultdict(list)
    with (speech / "speaker" / "metadata.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            found[row["speaker"]].append(speech / "speaker" / row["path"])
    return [found[name] for name in sorted(found) if len(found[name]) >= least]


def meetings(speech: Path, folder: Path) -> Results:
    corpus = write_fake_aishell4(
        folder / "meetings",
        meetings={"train_L": MEETINGS},
        speakers=SPEAKERS,
        turns=TURNS,
        channels=1,
        seconds=(1.5, 3.0),
        gap=(-1.2, 0.4),
        recordings=recordings_by_speaker(speech, 10),
    )
    prepared = folder / "prepared"
    where = ["--data-dir", str(corpus), "--output-dir", str(prepared)]
    split = ["--split", "contiguous", "--test-share", "0.5"]
    subprocess.run([sys.executable, "-m", "hf_speech.cli", "prepare", "aishell4", *where, *split], check=True)
    return crossval(write(MEETING, folder / "meeting.yaml"), prepared, folder / "table", "--within", "recording_id")


def write_down(content: dict[str, Any]) -> None:
    content["run"] = run_facts(None)
    with replacing(OUTPUT) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def summary(results: Results) -> dict[str, Any]:
    run = results.run
    facts = {"seconds": run["wall_seconds"], "commit": run["commit"]}  # of all runs, one after the other
    return {"metrics": results.metrics, "experiment": run["experiment"], **facts}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", type=Path, default=SPEECH, help="folder with speaker/ and emotion/ (%(default)s)")
    parser.add_argument("--only", choices=("emotion", "meetings"), help="one of the two; the other one's figures stay")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # of the commands
    speech = options.speech.absolute()
    content = json.loads(OUTPUT.read_text("utf-8")) if OUTPUT.exists() else {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.only != "meetings":
            content["emotion"] = {}
            for name, results in emotion(speech, folder):
                content["emotion"][name] = summary(results)
                write_down(content)
        if options.only != "emotion":
            content["meetings"] = summary(meetings(speech, folder))
            write_down(content)


if __name__ == "__main__":
    main()
