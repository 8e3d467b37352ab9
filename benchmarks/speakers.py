"""Speaker verification from scratch on a CPU: our recipe against SpeechBrain's ECAPA-TDNN, on unheard speakers.

    python -m benchmarks.speakers                    # three seeds each, and all speakers: three quarters of an hour
    python -m benchmarks.speakers --seeds 1 --only ours

Test speakers are those with crc32(speaker) % 3 == 0; their trials are all target pairs, and all non-target pairs within
a corpus and a gender. Ours is `hf-speech train model_cards/ecapa-small/train.yaml` on the other speakers. The baseline
is SpeechBrain's network of the same size and features with additive angular margin (0.2, scale 30), Adam, one cycle to
a learning rate of 2e-3, 30 epochs of batches of 32 random crops of 2 s, nothing else. Both embed whole utterances. The
baseline is scored by cosine; ours by the back end of hf_speech.verification, fitted on the training recordings. Each is
scored in the other ways too. The last run trains ours on all speakers and scores the pack's own trials, of heard ones.
"""

import argparse
import csv
import itertools
import json
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hf_speech.audio import read_audio
from hf_speech.data.problems import Problems
from hf_speech.files import replacing
from hf_speech.metrics import verification_numbers
from hf_speech.models.margins import additive_angular_margin
from hf_speech.results import Results, metric_rows, run_facts
from hf_speech.verification import Backend, read_trials

from .limits import hold
from .real_speech import keep_card

ROOT = Path(__file__).resolve().parents[1]
SPEECH = ROOT.parent / "shared" / "data" / "speech"
RECIPE = ROOT / "model_cards" / "ecapa-small" / "train.yaml"
OUTPUT = ROOT / "benchmarks" / "results" / "speakers.json"
SEEDS = (1, 2, 3)
# Relative to the baseline; seconds of one training; EER on speakers that were heard.
LIMITS = {"EER / baseline": 0.9, "training, s": 300, "EER, all speakers": 0.01}

# What is fitted on the training recordings: whitening within speakers, normalisation by a cohort, both.
BACKENDS: dict[str, dict[str, Any]] = {"whitened": {"top": None}, "normalised": {"shrinkage": None}, "backend": {}}

Row = dict[str, str]
Embed = Callable[[Sequence[np.ndarray]], Tensor]


def rows_of(folder: Path) -> list[Row]:
    with (folder / "metadata.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def fold_of(row: Row) -> int:
    return zlib.crc32(row["speaker"].encode()) % 3


def split_by_speaker(rows: Sequence[Row], fold: int) -> tuple[list[Row], list[Row]]:
    """Rows to train on and rows to test on, the speakers of one third."""
    return [row for row in rows if fold_of(row) != fold], [row for row in rows if fold_of(row) == fold]


def trials_of(rows: Sequence[Row]) -> list[tuple[int, Row, Row]]:
    """All pairs of one speaker, and all pairs of two of one corpus and gender: (1 or 0, left, right)."""
    trials = []
    for left, right in itertools.combinations(rows, 2):
        same = left["speaker"] == right["speaker"]
        if same or (left["corpus"], left["gender"]) == (right["corpus"], right["gender"]):
            trials.append((int(same), left, right))
    return trials


def write_rows(table: Path, rows: Sequence[Row], folder: Path) -> None:
    """A table of rows with the whole paths of their files."""
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows({**row, "path": str(folder / row["path"])} for row in rows)


def score(
    embed: Embed, folder: Path, trials: Sequence[tuple[int, Row, Row]], learnt: Sequence[Row]
) -> dict[str, dict[str, Any]]:
    """EER and minDCF of trials, with intervals by speaker: by cosine, and by back ends fitted on what was learnt."""
    paths = sorted({row["path"] for _, *pair in trials for row in pair})
    vectors = embed([read_audio(str(folder / path)) for path in paths]).numpy()
    known = embed([read_audio(str(folder / row["path"])) for row in learnt]).numpy()
    speakers = [row["speaker"] for row in learnt]
    backends = {name: Backend.fit(known, speakers, **options) for name, options in BACKENDS.items()}
    backends["cosine"] = Backend.cosine(vectors.shape[1])
    place = {path: i for i, path in enumerate(paths)}
    left, right = ([place[pair[side]["path"]] for _, *pair in trials] for side in (0, 1))
    labels = [label for label, *_ in trials]
    who = tuple([pair[side]["speaker"] for _, *pair in trials] for side in (0, 1))
    measured: dict[str, Any] = {"metrics": []}
    ids = [f"{first['path']} {second['path']}" for _, first, second in trials]
    for name, backend in backends.items():
        scores = backend.score(vectors, left, right)
        numbers = verification_numbers(labels, scores, who)  # type: ignore[arg-type]
        measured[name] = {one["name"]: {key: one[key] for key in ("value", "low", "high")} for one in numbers}
        measured["metrics"] += metric_rows(numbers, dataset=f"trials, scored by {name}", split="unheard", ids=ids)
    counts = {"targets": sum(labels), "non_targets": len(labels) - sum(labels)}
    return {**measured, "trials": counts}


def ours(
    rows: Sequence[Row], folder: Path, seed: int, output: Path, flags: Sequence[str] = ()
) -> tuple[Embed, dict[str, Any]]:
    """Our recipe, by the command that a user types; the rows are given as a table of their own."""
    from hf_speech.inference import load_model

    output.mkdir(parents=True)
    table = output / "rows.csv"
    write_rows(table, rows, folder)
    command = ["-m", "hf_speech.cli", "train", str(RECIPE), "--dataset", str(table), "--seed", str(seed)]
    target = ["--output-dir", str(output / "model"), "--name", RECIPE.parent.name]
    subprocess.run([sys.executable, *command, *target, *flags], check=True)
    model, _ = load_model(output / "model")
    results = Results.read(output / "model")
    return model.embed, {"train_seconds": results.run["train_seconds"], "steps": results.run["steps"]}


class Baseline(nn.Module):
    """SpeechBrain's features, network and cosine classifier."""

    def __init__(self, speakers: int) -> None:
        super().__init__()
        from speechbrain.lobes.features import Fbank
        from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN
        from speechbrain.processing.features import InputNormalization

        self.features, self.normalise = Fbank(n_mels=80), InputNormalization(norm_type="sentence", std_norm=False)
        self.network = ECAPA_TDNN(80, lin_neurons=192, channels=[256, 256, 256, 256, 768])
        self.centres = nn.Parameter(nn.init.xavier_uniform_(torch.empty(speakers, 192)))

    def forward(self, waveforms: Tensor) -> Tensor:
        """(B, samples) -> (B, 192)."""
        features = self.normalise(self.features(waveforms), torch.ones(len(waveforms)))
        return self.network(features).squeeze(1)

    def loss(self, waveforms: Tensor, labels: Tensor) -> Tensor:
        """Additive angular margin 0.2, scale 30."""
        cosines = nn.functional.normalize(self(waveforms)) @ nn.functional.normalize(self.centres).T
        return nn.functional.cross_entropy(additive_angular_margin(30 * cosines, labels, 30, 0.2, False), labels)

    @torch.inference_mode()
    def embed(self, waveforms: Sequence[np.ndarray]) -> Tensor:
        """Whole utterances, one at a time: (N, 192)."""
        self.eval()
        return torch.cat([self(torch.from_numpy(waveform)[None]) for waveform in waveforms])


def baseline(rows: Sequence[Row], folder: Path, seed: int, output: Path) -> tuple[Embed, dict[str, Any]]:
    """The baseline recipe: Adam, one cycle, 30 epochs of batches of 32 random crops of 2 s."""
    torch.manual_seed(seed)
    speakers = sorted({row["speaker"] for row in rows})
    labels = torch.tensor([speakers.index(row["speaker"]) for row in rows])
    waveforms = [torch.from_numpy(read_audio(str(folder / row["path"]))) for row in rows]
    model, started = Baseline(len(speakers)).train(), time.monotonic()
    optimizer = torch.optim.Adam(model.parameters())
    # Permutations without end, cut into full batches.
    order = torch.cat([torch.randperm(len(rows)) for _ in range(31)])
    steps = -(-30 * len(rows) // 32)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    for batch in order.split(32)[:steps]:
        loss = model.loss(torch.stack([crop(waveforms[i], 32_000) for i in batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model.embed, {"train_seconds": round(time.monotonic() - started, 1), "steps": steps}


def crop(waveform: Tensor, samples: int) -> Tensor:
    """A random piece; a shorter recording is repeated first."""
    repeated = waveform.repeat(-(-samples // len(waveform)))
    start = int(torch.randint(0, len(repeated) - samples + 1, ()))
    return repeated[start : start + samples]


def keep_speaker_card(folder: Path, metrics: list[dict[str, Any]]) -> None:
    """The card of our model, with what was measured of it here: the training command knows of no trials."""
    shown = [metric for metric in metrics if metric["dataset"].endswith(("cosine", "backend"))]
    replace(Results.read(folder), metrics=shown).write(folder)
    keep_card(folder, RECIPE.parent.name)


def own_trials(folder: Path, rows: Sequence[Row]) -> list[tuple[int, Row, Row]]:
    """The pack's own trials, of speakers that all were trained on."""
    by_path = {row["path"]: row for row in rows}
    table = read_trials(folder / "trials.txt", Problems("raise")).to_pylist()
    return [(int(t["label"]), *(by_path[f"{t[side]}.flac"] for side in ("left", "right"))) for t in table]  # type: ignore[misc]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", type=Path, default=SPEECH, help="folder with speaker/ (%(default)s)")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--only", choices=("ours", "baseline", "all"), help="one part; then only our card is written")
    options = parser.parse_args()
    folder = options.speech / "speaker"
    rows = rows_of(folder)
    train, test = split_by_speaker(rows, 0)
    plan = [(name, seed) for seed in options.seeds for name in ("baseline", "ours")] + [("all", options.seeds[0])]
    runs = []
    with tempfile.TemporaryDirectory() as temporary:
        for name, seed in plan:
            if options.only not in (None, name):
                continue
            recipe, learnt = baseline if name == "baseline" else ours, rows if name == "all" else train
            embed, facts = recipe(learnt, folder, seed, Path(temporary) / f"{name}-{seed}")
            trials = own_trials(folder, rows) if name == "all" else trials_of(test)
            measured = score(embed, folder, trials, learnt)
            metrics = measured.pop("metrics")
            if name == "ours" and seed == options.seeds[0]:
                keep_speaker_card(Path(temporary) / f"{name}-{seed}" / "model", metrics)
            runs.append({"run": name, "seed": seed, **facts, **measured})
            print(json.dumps(runs[-1]), flush=True)
    if options.only:
        return
    eers = {
        f"{name}, {way}": [run[way]["eer"]["value"] for run in runs if run["run"] == name]
        for name in ("baseline", "ours", "all")
        for way in ("cosine", *BACKENDS)
    }
    means = {name: float(np.mean(values)) for name, values in eers.items()}
    ratios = {
        "ours, backend / baseline, cosine": means["ours, backend"] / means["baseline, cosine"],
        "ours, cosine / baseline, cosine": means["ours, cosine"] / means["baseline, cosine"],
        "ours, backend / baseline, backend": means["ours, backend"] / means["baseline, backend"],
    }
    print(json.dumps({"mean_eer": means, "ratios": ratios}, indent=2))
    content = {
        "runs": runs,
        "mean_eer": means,
        "ratios": ratios,
        "recipe": RECIPE.read_text(encoding="utf-8"),
        "run": run_facts(None),
    }
    with replacing(OUTPUT) as temporary_file:
        temporary_file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    slowest = max(run["train_seconds"] for run in runs if run["run"] != "baseline")
    figures = {"EER / baseline": ratios["ours, backend / baseline, cosine"], "training, s": slowest}
    hold({**figures, "EER, all speakers": means["all, backend"]}, LIMITS)


if __name__ == "__main__":
    main()
