"""Fine-tuning an encoder of base size, the convolutions frozen: `hf-speech train` against the Trainer of transformers.

    python -m benchmarks finetuning        # twelve minutes

One epoch over utterances of 0.5 to 8 s, who speaks being what is learnt. Stock: batches of eight drawn at random,
padded to their longest, as the library's example of audio classification has it (benchmarks/stock_training.py). Ours:
as many batches, of like length; in float32, and in bfloat16. Optimiser, rate and rows are the same, and no layer is
dropped. Told are seconds of audio a second, padding not counted, of the training alone, as either says it; the losses
stand beside them, and what activation checkpointing costs and spares.
"""

import csv
import json
import math
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

from hf_speech.results import Results

from .real_speech import ROOT
from .rows import Row, audio_facts
from .sample import FIELDS, Sample
from .turns import by_turns, ratio

ROUNDS, BATCH = 3, 8
AT_LEAST = {"float32": 1.5, "bfloat16": 2.5}
RECIPE = FIELDS | {
    "freeze": "cnn",
    "crop_seconds": 20.0,
    "learning_rate": 3e-5,
    "num_train_epochs": 1,
    "logging_steps": 1,
}
HALF, CHECKPOINTING = ("--bf16", "true"), ("--activation_checkpointing", "true")


class Trained:
    """Training runs over a sample, by either way, each a process of its own.

    Args:
        folder: for the checkpoint, the table and what the runs write.
        sample: the recordings.
        encoder: of transformers, which is saved as the checkpoint that both begin with.
        recipe: fields of our runs; both have its learning rate.
        device: "cpu" or "cuda".

    Attributes:
        losses: name of a way -> the loss at each step, of its last run.
        gigabytes: name of a way of ours -> the most memory that was in use.
    """

    def __init__(
        self, folder: Path, sample: Sample, encoder: Any, recipe: Mapping[str, Any], device: str = "cpu"
    ) -> None:
        self.folder, self.device, self.rate = folder, device, recipe["learning_rate"]
        self.checkpoint, self.table, self.output = folder / "encoder", folder / "rows.csv", folder / "run"
        encoder.save_pretrained(self.checkpoint)
        Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True).save_pretrained(self.checkpoint)
        sample.write_table(self.table)
        self.recipe = folder / "train.yaml"
        fields = {**recipe, "backbone": str(self.checkpoint), "dataset": str(self.table)}
        self.recipe.write_text(yaml.safe_dump(fields), encoding="utf-8")
        self.losses: dict[str, list[float]] = {}
        self.gigabytes: dict[str, float] = {}

    def stock(self, name: str, *words: object) -> float:
        """Seconds of training with transformers' Trainer."""
        command = ["benchmarks.stock_training", self.checkpoint, self.table, "--output-dir", self.folder / "stock"]
        command += ["--batch", BATCH, "--learning-rate", self.rate, "--device", self.device]
        said = json.loads(_python(*command, *words).splitlines()[-1])
        self.losses[name] = said["losses"]
        return said["seconds"]

    def ours(self, name: str, *words: object) -> float:
        """Seconds of training with `hf-speech train`."""
        shutil.rmtree(self.output, ignore_errors=True)
        _python("hf_speech.cli", "train", self.recipe, "--output-dir", self.output, *words)
        with (self.output / "metrics.csv").open(encoding="utf-8", newline="") as file:
            lines = [row for row in csv.DictReader(file) if row.get("loss")]
        self.losses[name] = [float(row["loss"]) for row in lines]
        self.gigabytes[name] = max(float(row["memory_gb"]) for row in lines)
        return Results.read(self.output).run["train_seconds"]


def recipe_for(sample: Sample) -> dict[str, Any]:
    """Fields of a run with as many steps as the stock one has."""
    return RECIPE | {"batch_seconds": math.ceil(sample.total / math.ceil(len(sample.files) / BATCH))}


def rows(sample: Sample, rounds: int = ROUNDS, config: Wav2Vec2Config | None = None) -> list[Row]:
    """All rows of this file; arguments as in `encoder.rows`."""
    torch.manual_seed(0)
    encoder = Wav2Vec2Model(config or Wav2Vec2Config(layerdrop=0.0))
    with tempfile.TemporaryDirectory() as folder:
        trained = Trained(Path(folder), sample, encoder, recipe_for(sample))
        ways = {
            "stock": lambda: trained.stock("stock"),
            "float32": lambda: trained.ours("float32"),
            "bfloat16": lambda: trained.ours("bfloat16", *HALF),
            "checkpointing": lambda: trained.ours("checkpointing", *HALF, *CHECKPOINTING),
        }
        times = by_turns(ways, rounds, warm=False, clock=lambda way: way())
    steps = {name: len(losses) for name, losses in trained.losses.items()}
    if max(steps.values()) - min(steps.values()) > 1:
        raise SystemExit(f"the runs have other numbers of steps: {steps}")
    checkpointing = {
        "times_as_long": 1 / ratio(times["checkpointing"], times["bfloat16"]).median,
        "seconds": times["checkpointing"],
        "gigabytes": trained.gigabytes["checkpointing"],
    }
    return [
        Row(
            f"fine-tuning, {dtype}",
            f"fine-tuning steps, wav2vec2 of base size, {dtype}, CNN frozen, {sample.total:.0f} s of speech in "
            f"utterances of {min(sample.seconds):.1f} to {max(sample.seconds):.1f} s",
            "transformers' `Trainer`, float32, as its example sets it up",
            ratio(times[dtype], times["stock"]),
            target,
            facts={
                **audio_facts(times[dtype], times["stock"], sample.total),
                "gigabytes": trained.gigabytes[dtype],
                "losses": trained.losses[dtype],
                "stock_losses": trained.losses["stock"],
                **({"with_activation_checkpointing": checkpointing} if dtype == "bfloat16" else {}),
            },
        )
        for dtype, target in AT_LEAST.items()
    ]


def _python(module: str, *words: object) -> str:
    """The output of a module's command."""
    done = subprocess.run([sys.executable, "-m", module, *map(str, words)], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{module} ended with status {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout
