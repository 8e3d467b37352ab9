"""What it brings that an encoder has learnt of speech first: from scratch, pretrained, TAPT and P-TAPT, by fold.

    python -m benchmarks.adaptation --speech ../shared/data/speech      # an hour and a half on two cores

The encoder of the small models learns of the speaker pack without labels, as its recipe says
(wav2vec2-small-pretrained; 34 minutes of speech, and at most ten minutes on two cores). Then emotion of acted German
speech, each actor tested once:

    scratch      wav2vec2-small-emodb, from random weights
    pretrained   the same from that encoder
    tapt         the same, after the encoder has learnt of the training rows of the fold, without labels
    ptapt        the same, after the four phases of P-TAPT on them: labels in every frame, clusters, masked prediction

All four learn by the same fields from there on. Everything is run by the commands that a user types.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

from hf_speech.files import replacing
from hf_speech.results import FILE_NAME, Results

from .limits import hold
from .real_speech import ROOT, SPEECH

OUTPUT = ROOT / "benchmarks" / "results" / "adaptation.json"
NAME = "wav2vec2-small-pretrained"
KEPT = ("README.md", FILE_NAME, "curves.png")
RUNS = 1
LIMITS = {"seconds of pretraining": 600.0, "chance over accuracy": 0.1, "codes not in use": 0.9}
# Dropouts and masks of fine-tuning: a checkpoint brings those of its pretraining.
FINE_TUNING = {
    "hidden_dropout": 0.1,
    "attention_dropout": 0.1,
    "activation_dropout": 0.1,
    "feat_proj_dropout": 0.1,
    "mask_time_prob": 0.0,
}
STEPS: dict[str, Any] = {"crop_seconds": 3.0, "batch_seconds": 16.0, "learning_rate": 5e-4}
MASKING = {"prob": 0.3, "length": 4}
LABELS = {**STEPS, "objective": "labels", "class_weights": "balanced", "max_steps": 300}
ADAPTATION: dict[str, list[dict[str, Any]]] = {
    "tapt": [{"pretrain": {**STEPS, "masking": MASKING, "temperature": {"start": 0.5}, "max_steps": 600}}],
    "ptapt": [
        {"pretrain": LABELS},
        {"cluster": {"layer": 3, "counts": [8, 64]}},
        {"pretrain": {**STEPS, "objective": "clusters", "masking": MASKING, "max_steps": 600}},
    ],
}


def command(*words: object) -> None:
    """One command in a process of its own."""
    subprocess.run([sys.executable, "-m", "hf_speech.cli", *map(str, words)], check=True)


def pretrain(dataset: Path, folder: Path) -> Results:
    """The pretraining; its card and numbers are kept beside its recipe."""
    recipe = ROOT / "model_cards" / NAME / "pretrain.yaml"
    command("pretrain", recipe, "--dataset", dataset, "--output-dir", folder, "--name", NAME)
    for name in KEPT:
        shutil.copy(folder / name, recipe.parent / name)
    return Results.read(folder)


def compare(dataset: Path, encoder: Path, folder: Path, runs: int, parallel: int) -> dict[str, Any]:
    """All four on the same folds -> what the command says of them."""
    base = ROOT / "model_cards" / "wav2vec2-small-emodb" / "train.yaml"
    start = {"base": str(base), "backbone": str(encoder), "backbone_config": FINE_TUNING}
    recipes = {"scratch": {"base": str(base)}, "pretrained": start}
    recipes |= {name: {**start, "adaptation": stages} for name, stages in ADAPTATION.items()}
    files = []
    for name, fields in recipes.items():
        files.append(folder / f"{name}.yaml")
        files[-1].write_text(yaml.safe_dump(fields, sort_keys=False), encoding="utf-8")
    output = folder / "folds"
    flags = ["--dataset", dataset, "--test", "none", "--folds", "speaker_id", "--runs", runs, "--parallel", parallel]
    command("crossval", *files, *flags, "--output-dir", output)
    return json.loads((output / "comparison.json").read_text(encoding="utf-8"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", type=Path, default=SPEECH, help="folder with speaker/ and emotion/ (%(default)s)")
    parser.add_argument("--folder", type=Path, help="where runs are kept, and gone on with; none: nowhere")
    parser.add_argument("--runs", type=int, default=RUNS, help="of each fold (%(default)s)")
    parser.add_argument("--parallel", type=int, default=2, help="runs at a time (%(default)s)")
    options = parser.parse_args()
    speaker, emotion = (options.speech / name / "metadata.csv" for name in ("speaker", "emotion"))
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        encoder = folder / "encoder"
        results = Results.read(encoder) if (encoder / FILE_NAME).exists() else pretrain(speaker, encoder)
        comparison = compare(emotion, encoder, folder, options.runs, options.parallel)
    (accuracy,) = results.metrics
    learnt = results.run["pretraining"]
    figures = {
        "seconds of pretraining": results.run["train_seconds"],
        "chance over accuracy": results.model["chance"]["accuracy"] / accuracy["low"],
        "codes not in use": 1 - learnt["perplexity"] / learnt["codes"],
    }
    hold(figures, LIMITS)
    told = {"accuracy": accuracy, "chance": results.model["chance"]["accuracy"], "run": results.run}
    content = {"pretraining": told, "figures": figures, "limits": LIMITS, "comparison": comparison}
    with replacing(OUTPUT) as temporary_file:
        temporary_file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    print(f"written: {OUTPUT}")


if __name__ == "__main__":
    main()
