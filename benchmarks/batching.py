"""Batches by seconds against random batches of as many rows: what is padding, and what a training step costs by it.

    python -m benchmarks.batching --speech ../shared/data/speech

Recordings of 0.5 to 8 s (longer ones are cropped to 8 s). The padding is the mean over five epochs, for several
budgets. The speed is that of training steps (forward, backward, AdamW) in float32 on the CPU, in seconds of real audio
a second, at one budget: an epoch of each kind of batches, decoded beforehand, in three parts; within a part the kinds
take turns batch by batch, so that other work on the machine falls on both.
"""

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from datasets import Dataset
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import Wav2Vec2FeatureExtractor

from hf_speech import HfSpeechConfig, HfSpeechForSequenceClassification
from hf_speech.audio import SAMPLE_RATE
from hf_speech.data.batching import BUCKETS, KeyedRows, SpeechBatchSampler
from hf_speech.data.checks import check_rows
from hf_speech.data.collator import SpeechCollator
from hf_speech.data.readers import load_rows
from hf_speech.files import replacing
from hf_speech.models.presets import PRESETS
from hf_speech.results import run_facts

from .limits import hold
from .real_speech import ROOT, SPEECH

OUTPUT = ROOT / "benchmarks" / "results" / "batching.json"
CROP, BUDGETS, BUDGET, EPOCHS, PARTS = 8.0, (32.0, 64.0, 128.0), 64.0, 5, 3
MODELS = ("wav2vec2-small", "ecapa-256")
LIMITS = {"padding": 0.05, **{f"{name}, time / random": 1.0 for name in MODELS}}


def rows_of(speech: Path) -> tuple[Dataset, np.ndarray]:
    """The rows with their speaker's number as label; (N,) samples of each in a batch."""
    rows, _ = check_rows(load_rows(speech / "speaker" / "metadata.csv")["train"], how="headers")
    rows = rows.add_column("labels", np.unique(rows["speaker"], return_inverse=True)[1].tolist())
    return rows, np.minimum(rows["length"], round(CROP * SAMPLE_RATE))


def padding(lengths: np.ndarray, budget: float) -> dict[str, Any]:
    """One row of the table: the padding of both kinds, mean over epochs."""
    sampler = SpeechBatchSampler(lengths, batch_seconds=budget)
    return {
        "batch_seconds": budget,
        "batches": len(sampler),
        "mean_rows": len(lengths) / len(sampler),
        "padding": statistics.mean(map(sampler.padding_share, range(EPOCHS))),
        "padding_random": statistics.mean(map(sampler.random_padding_share, range(EPOCHS))),
        "plan": sampler.describe(),
    }


def model_of(name: str, labels: int) -> nn.Module:
    """A classifier of speakers from scratch, with the settings of a card or of a preset."""
    settings = PRESETS.get(name)
    if settings is None:
        card = yaml.safe_load((ROOT / "model_cards" / f"{name}.yaml").read_text(encoding="utf-8"))
        settings = {key: card[key] for key in ("backbone_config", "pooling", "head", "head_config")}
    torch.manual_seed(0)
    return HfSpeechForSequenceClassification(HfSpeechConfig(num_labels=labels, **settings)).train()


def batches_of(rows: Dataset, sampler: SpeechBatchSampler, normalize: bool) -> list[dict[str, Tensor]]:
    """An epoch, decoded."""
    collate = SpeechCollator(Wav2Vec2FeatureExtractor(do_normalize=normalize), crop_seconds=CROP)
    return list(DataLoader(KeyedRows(rows, 0), batch_sampler=sampler, collate_fn=collate))


def step_seconds(model: nn.Module, optimizer: torch.optim.Optimizer, batch: dict[str, Tensor]) -> float:
    """The time of one training step."""
    start = time.perf_counter()
    optimizer.zero_grad()
    model(**batch).loss.backward()
    optimizer.step()
    return time.perf_counter() - start


def audio_seconds(batches: Sequence[dict[str, Tensor]]) -> float:
    return sum(int(batch["attention_mask"].sum()) for batch in batches) / SAMPLE_RATE


def speed(name: str, rows: Dataset, lengths: np.ndarray) -> dict[str, Any]:
    """One row a model: seconds of audio a second with both kinds of batches, and their ratio."""
    model = model_of(name, max(rows["labels"]) + 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    by_seconds = SpeechBatchSampler(lengths, batch_seconds=BUDGET)
    fixed = SpeechBatchSampler(lengths, batch_size=round(len(lengths) / len(by_seconds)))
    kinds = [batches_of(rows, sampler, name not in PRESETS) for sampler in (by_seconds, fixed)]
    for batches in kinds:
        step_seconds(model, optimizer, batches[0])  # the first step allocates
    times, ratios = np.zeros(2), []
    for k in range(PARTS):
        parts = [batches[k::PARTS] for batches in kinds]
        seconds = np.zeros(2)
        for turn in zip_longest(*parts):
            for i, batch in enumerate(turn):
                seconds[i] += step_seconds(model, optimizer, batch) if batch else 0.0
        rates = [audio_seconds(part) / spent for part, spent in zip(parts, seconds, strict=True)]
        ratios.append(rates[0] / rates[1])
        times += seconds
    own, others = (audio_seconds(batches) / spent for batches, spent in zip(kinds, times, strict=True))
    return {
        "model": name,
        "batches": [len(batches) for batches in kinds],
        "audio_seconds_per_second": own,
        "audio_seconds_per_second_random": others,
        "ratio": own / others,
        "ratio_of_parts": ratios,
    }


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", type=Path, default=SPEECH, help="folder with speaker/ (%(default)s)")
    begun = time.perf_counter()
    rows, lengths = rows_of(parser.parse_args().speech)
    table = [padding(lengths, budget) for budget in BUDGETS]
    for row in table:
        print(f"{row['batch_seconds']:g} s: {row['plan']}")
    speeds = [speed(name, rows, lengths) for name in MODELS]
    for row in speeds:
        own, others = row["audio_seconds_per_second"], row["audio_seconds_per_second_random"]
        print(f"{row['model']}: {own:.0f} s of audio a second, random {others:.0f}, {row['ratio']:.2f} times")
    content = {
        "recordings": len(lengths),
        "audio_seconds": lengths.sum() / SAMPLE_RATE,
        "crop_seconds": CROP,
        "buckets": BUCKETS,
        "epochs": EPOCHS,
        "padding": table,
        "batch_seconds": BUDGET,
        "speed": speeds,
        "run": run_facts(0, device="cpu", wall_seconds=time.perf_counter() - begun),
    }
    with replacing(OUTPUT) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    figures = {f"{row['model']}, time / random": 1 / row["ratio"] for row in speeds}
    hold({"padding": table[BUDGETS.index(BUDGET)]["padding"], **figures}, LIMITS)


if __name__ == "__main__":
    main()
