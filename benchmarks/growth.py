"""How time and memory grow with the data: prepare, embed, verify and an epoch of training over 1, 2, 4 and 8 parts.

    python -m benchmarks growth        # six minutes

A part is 120 s of the speaker pack, for `prepare` 1,200 s. Where more are wanted than there are, recordings come again
a little softer, so that none is the same as another and nothing is kept from an earlier one. Embeddings are those of a
small wav2vec2 with random weights, of 4 layers and 256 dimensions, and it is trained too. Each command runs in a
process of its own, twice, the sizes by turns; told are the faster time and the largest resident set. Time should be a
start and so much a part: how far the four are from one line is said. A picture of both is drawn beside the figures.
"""

import itertools
import shutil
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

from hf_speech import HfSpeechForSequenceClassification
from hf_speech.audio import SAMPLE_RATE, read_audio, write_audio
from hf_speech.files import replacing, write_table

from .commands import cost_of
from .rows import write_facts
from .sample import FIELDS, Sample

TIMES, ROUNDS = (1, 2, 4, 8), 2
PARTS = {"prepare": 1200.0, "embed": 120.0, "verify": 120.0, "training epoch": 120.0}  # seconds of speech
TRIALS = 10_000 / 120  # a second of speech
LINEAR, FLAT = 0.10, 1.10  # of the line; of the memory of one part
SOFTER = 0.97  # each time that a recording comes again
SIZES: dict[str, Any] = {
    "hidden_size": 256,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 1024,
    "conv_dim": (128,) * 7,
    "num_conv_pos_embeddings": 32,
}
RECIPE = FIELDS | {"freeze": "cnn", "batch_seconds": 40, "num_train_epochs": 1, "learning_rate": 1e-4}


def write_part(sample: Sample, seconds: float, folder: Path) -> list[dict[str, Any]]:
    """Recordings as wav files, a folder a speaker -> a row of each."""
    rows: list[dict[str, Any]] = []
    left = seconds
    for turn in itertools.count():
        for file, speaker in zip(sample.files, sample.speakers, strict=True):
            if left <= 0:
                return rows
            wave = read_audio(file)
            path = folder / speaker / f"{len(rows):05d}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_audio(path, wave * SOFTER**turn)
            rows.append({"path": str(path), "speaker_id": speaker, "label": speaker})
            left -= len(wave) / SAMPLE_RATE
    raise AssertionError("there is no speech")


def write_trials(rows: list[dict[str, Any]], count: int, path: Path) -> None:
    """Pairs of recordings; every other one is of one speaker, if somebody was recorded twice."""
    rng, of_speaker = np.random.default_rng(0), defaultdict(list)
    for place, row in enumerate(rows):
        of_speaker[row["speaker_id"]].append(place)
    several = [places for places in of_speaker.values() if len(places) > 1]
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            one_of = several[rng.integers(len(several))] if several and number % 2 else range(len(rows))
            i, j = rng.choice(one_of, 2, replace=False)
            same = int(rows[i]["speaker_id"] == rows[j]["speaker_id"])
            file.write(f"{same} {rows[i]['path']} {rows[j]['path']}\n")


class Places:
    """Corpora of any size, each written once: a folder of speech, a table of it, a list of trials, a recipe.

    Args:
        sample: the recordings.
        folder: for all.
        encoder: that is trained.
    """

    def __init__(self, sample: Sample, folder: Path, encoder: Path) -> None:
        self.sample, self.folder, self.encoder = sample, folder, encoder

    def of(self, seconds: float) -> Path:
        """The place with so much speech."""
        place = self.folder / f"{seconds:.0f}s"
        if not place.exists():
            rows = write_part(self.sample, seconds, place / "speech")
            write_table([{"path": row["path"], "label": row["label"]} for row in rows], place / "rows.csv")
            write_trials(rows, round(seconds * TRIALS), place / "trials.txt")
            fields = RECIPE | {"backbone": str(self.encoder), "dataset": str(place / "rows.csv")}
            (place / "train.yaml").write_text(yaml.safe_dump(fields), encoding="utf-8")
        return place


def words_of(what: str, place: Path, model: Path) -> tuple[object, ...]:
    """A command over a place, up to the folder of its output."""
    return {
        "prepare": ("prepare", "folder", "--data-dir", place / "speech", "--output-dir"),
        "embed": ("embed", model, place / "rows.csv", "--output-dir"),
        "verify": ("verify", model, place / "trials.txt", "--output-dir"),
        "training epoch": ("train", place / "train.yaml", "--output-dir"),
    }[what]


def fitted(seconds: list[float]) -> dict[str, float]:
    """The line through the seconds of all sizes, by relative least squares, and how far the farthest is from it."""
    slope, start = np.polyfit(TIMES, seconds, 1, w=1 / np.array(seconds))
    line = start + slope * np.array(TIMES)
    return {"start": start, "a_part": slope, "from_the_line": float(np.abs(np.array(seconds) / line - 1).max())}


def facts(sample: Sample) -> dict[str, Any]:
    """What each command takes, by its name."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model, encoder = folder / "model", folder / "encoder"
        torch.manual_seed(0)
        extractor = Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True)
        Wav2Vec2Model(Wav2Vec2Config(**SIZES)).save_pretrained(encoder)
        HfSpeechForSequenceClassification.from_backbone(
            encoder, pooling="mean", labels=["one", "other"]
        ).save_pretrained(model)
        for place in (model, encoder):
            extractor.save_pretrained(place)
        places = Places(sample, folder, encoder)
        costs: dict[str, dict[int, list[Any]]] = {what: {times: [] for times in TIMES} for what in PARTS}
        for turn, what, times in itertools.product(range(ROUNDS), PARTS, TIMES):
            output = folder / f"out-{turn}-{what}-{times}"
            words = words_of(what, places.of(times * PARTS[what]), model)
            costs[what][times].append(cost_of(*words, output))
            shutil.rmtree(output)
            print(f"{what}, {times} parts: {costs[what][times][-1]}", flush=True)
    found = {}
    for what, by_size in costs.items():
        seconds = [min(cost.seconds for cost in by_size[times]) for times in TIMES]
        held = [max(cost.bytes for cost in by_size[times]) for times in TIMES]
        line = fitted(seconds)
        short = []
        if line["from_the_line"] > LINEAR:
            short.append(f"time is {line['from_the_line']:.0%} from a line")
        if held[-1] > FLAT * held[0]:
            short.append(f"memory of {TIMES[-1]} parts is {held[-1] / held[0]:.2f} times that of one")
        found[what] = {
            "part_seconds": PARTS[what],
            "parts": TIMES,
            "seconds": seconds,
            "bytes": held,
            **line,
            "falls_short": "; ".join(short),
        }
    return found


def draw(found: dict[str, Any], path: Path) -> None:
    """Time with its line, and memory, by the parts."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    times, memory = figure.subplots(1, 2)
    parts = np.array(TIMES)
    for what, cost in found.items():
        name = f"{what} (parts of {PARTS[what]:,.0f} s)"
        (line,) = times.plot(parts, cost["seconds"], "o", label=name)
        times.plot(parts, cost["start"] + cost["a_part"] * parts, "-", color=line.get_color(), linewidth=1)
        memory.plot(parts, np.array(cost["bytes"]) / 1e6, "o-", label=name)
    times.set(xlabel="parts", ylabel="seconds", title="time, and a line through it", ylim=(0, None))
    memory.set(xlabel="parts", ylabel="MB", title="most memory held", ylim=(0, None))
    times.legend()
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def measure(sample: Sample, path: Path, device: str) -> list[str]:
    """Measures, writes the figures and the picture -> what falls short, in words."""
    begun = time.perf_counter()
    found = facts(sample)
    write_facts(path, {"growth": found}, device, begun)
    draw(found, path.with_name(f"{path.stem}-growth.png"))
    return [f"{what}: {cost['falls_short']}" for what, cost in found.items() if cost["falls_short"]]
