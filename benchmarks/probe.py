"""A linear probe on a frozen encoder of base size for 40 epochs: `hf-speech train` against transformers' Trainer.

    python -m benchmarks probe        # six minutes

Who speaks is learnt from mean frames. Ours runs the encoder once and keeps what it pools (the cache is empty at first);
the stock model, its base frozen as its own method does it, runs it in every epoch. Of the stock one two epochs are
timed, and what 40 take is computed from them. Each run is a command in a process of its own. "Training" is the pass and
the epochs; "the whole command" has the imports, reading the table and the files, and writing the model too.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from transformers import Wav2Vec2Config, Wav2Vec2Model

from hf_speech.results import Results

from .finetuning import Trained
from .real_speech import ROOT
from .rows import Row
from .sample import FIELDS, Sample
from .turns import by_turns, ratio

ROUNDS, EPOCHS, TIMED = 3, 40, 2
AT_LEAST = {"training": 20.0, "whole command": 10.0}
RECIPE = FIELDS | {"freeze": "backbone", "learning_rate": 1e-3, "num_train_epochs": EPOCHS}
# What a run says first when it begins with something.
PASS, TRAINING = "the encoder is run once", "training on"


def rows(sample: Sample, rounds: int = ROUNDS, config: Wav2Vec2Config | None = None) -> list[Row]:
    """All rows of this file; arguments as in `encoder.rows`."""
    torch.manual_seed(0)
    encoder = Wav2Vec2Model(config or Wav2Vec2Config(layerdrop=0.0))
    with tempfile.TemporaryDirectory() as name:
        cache = Path(name) / "cache"
        trained = Trained(Path(name), sample, encoder, RECIPE | {"frozen_cache": str(cache)})
        parts: dict[str, list[dict[str, float]]] = {"ours": [], "stock": []}

        def ours() -> float:
            for left in (cache, trained.output):
                shutil.rmtree(left, ignore_errors=True)
            parts["ours"].append(timed(trained.recipe, trained.output))
            return parts["ours"][-1]["whole"]

        def stock() -> float:
            begun = time.perf_counter()
            training = trained.stock("stock", "--freeze", "base", "--epochs", TIMED)
            whole, epochs = time.perf_counter() - begun, training * EPOCHS / TIMED
            parts["stock"].append({"whole": whole - training + epochs, "training": epochs, "timed": training})
            return whole

        by_turns({"ours": ours, "stock": stock}, rounds, warm=False, clock=lambda way: way())
    return [
        Row(
            f"probe, {what}",
            f"linear probe, {EPOCHS} epochs on {sample.total:.0f} s of speech, wav2vec2 of base size: {words}",
            "transformers' `Trainer` on the stock model, its base frozen",
            ratio([one[key] for one in parts["ours"]], [one[key] for one in parts["stock"]]),
            AT_LEAST[what],
            computed=True,
            facts=parts,
        )
        for what, key, words in (
            ("training", "training", "the pass and the epochs"),
            ("whole command", "whole", "the whole command"),
        )
    ]


def timed(recipe: Path, output: Path) -> dict[str, float]:
    """One run of our command: its seconds, whole and of the pass with the epochs."""
    words = [sys.executable, "-m", "hf_speech.cli", "train", str(recipe), "--output-dir", str(output)]
    begun, begins = time.perf_counter(), {}
    process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        for words_of in (PASS, TRAINING):
            if line.startswith(words_of):
                begins.setdefault(words_of, time.perf_counter() - begun)
    if process.wait():
        raise SystemExit(f"{recipe.name} ended with status {process.returncode}")
    whole = time.perf_counter() - begun
    passed, epochs = begins[TRAINING] - begins[PASS], Results.read(output).run["train_seconds"]
    return {"whole": whole, "training": passed + epochs, "pass": passed, "epochs": epochs}
