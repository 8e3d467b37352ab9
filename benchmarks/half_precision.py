"""Training in bfloat16 against float32: the losses of 50 steps on the same crops of real speech.

    python -m benchmarks.half_precision --speech ../shared/data/speech    # for a GPU; long on a CPU

ECAPA-TDNN with 1024 channels and an encoder of wav2vec2-base's size, both from scratch with an additive angular margin,
under autocast as the Trainer does it; on a GPU where there is one. The two trainings start from the same weights and
see the same batches without dropout, so that the precision alone differs.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import Wav2Vec2Config

from hf_speech import HfSpeechForXVector
from hf_speech.audio import read_audio
from hf_speech.files import replacing
from hf_speech.results import run_facts

from .limits import hold
from .speakers import ROOT, SPEECH, crop, rows_of

OUTPUT = ROOT / "benchmarks" / "results" / "half_precision.json"
STEPS, BATCH, SAMPLES = 50, 8, 32_000
QUIET = {f"{name}_dropout": 0.0 for name in ("attention", "activation", "hidden", "feat_proj", "final")}
BASE = Wav2Vec2Config(**QUIET, mask_time_prob=0.0, layerdrop=0.0)  # its sizes are the base model's
MODELS = {"ecapa-1024": ("ecapa-1024", 1e-3), "wav2vec2-base": (BASE, 1e-4)}
# Of the mean over the last ten losses, which starts near 15; relative to float32.
LIMITS = {"ecapa-1024": 0.1, "wav2vec2-base": 0.1}


def batches(speech: Path) -> tuple[list[tuple[Tensor, Tensor]], list[str]]:
    """Crops of 2 s, each with its speaker's number."""
    torch.manual_seed(0)
    rows = rows_of(speech / "speaker")
    speakers = sorted({row["speaker"] for row in rows})
    order = torch.cat([torch.randperm(len(rows)) for _ in range(-(-STEPS * BATCH // len(rows)))])
    made = []
    for chosen in order[: STEPS * BATCH].split(BATCH):
        waves = [torch.from_numpy(read_audio(str(speech / "speaker" / rows[i]["path"]))) for i in chosen]
        labels = torch.tensor([speakers.index(rows[i]["speaker"]) for i in chosen])
        made.append((torch.stack([crop(wave, SAMPLES) for wave in waves]), labels))
    return made, speakers


def losses(
    backbone: Any, rate: float, given: list[tuple[Tensor, Tensor]], labels: list[str], half: bool, device: str
) -> tuple[Tensor, float]:
    """The loss of each step, and seconds a step over the second half of them."""
    torch.manual_seed(0)
    model = HfSpeechForXVector.from_backbone(backbone, labels=labels).train().to(device)
    optimizer, found = torch.optim.AdamW(model.parameters(), lr=rate), []
    for step, (waves, numbers) in enumerate(given):
        if step == STEPS // 2:
            started = time.perf_counter()
        with torch.autocast(device, torch.bfloat16, enabled=half):
            loss = model(waves.to(device), labels=numbers.to(device)).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0, error_if_nonfinite=True)
        optimizer.step()
        found.append(loss.item())
    return torch.tensor(found), (time.perf_counter() - started) / (STEPS - STEPS // 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", type=Path, default=SPEECH, help="folder with speaker/ (%(default)s)")
    given, speakers = batches(parser.parse_args().speech)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    content, figures = {}, {}
    for name, (backbone, rate) in MODELS.items():
        full, seconds = losses(backbone, rate, given, speakers, False, device)
        half, half_seconds = losses(backbone, rate, given, speakers, True, device)
        each = (half - full).abs() / full
        figures[name] = float((half[-10:].mean() / full[-10:].mean() - 1).abs())
        content[name] = {
            "float32": [round(value, 4) for value in full.tolist()],
            "bfloat16": [round(value, 4) for value in half.tolist()],
            "relative_difference": {"first": float(each[0]), "largest": float(each.max()), "last_ten": figures[name]},
            "time_ratio": seconds / half_seconds,
        }
        print(name, json.dumps({key: content[name][key] for key in ("relative_difference", "time_ratio")}), flush=True)
    with replacing(OUTPUT) as temporary:
        temporary.write_text(json.dumps({**content, "run": run_facts(None)}, indent=2) + "\n", encoding="utf-8")
    hold(figures, LIMITS)


if __name__ == "__main__":
    main()
