"""What each augmentation brings to the small emotion model and to the small speaker model, on real speech.

    python -m benchmarks.augmentations              # an hour and a half; where it was stopped, it goes on

Emotion is `hf-speech train model_cards/vgg-small-emodb/train.yaml` on three folds of two held-out actors each, pooled;
speakers is `model_cards/ecapa-small/train.yaml` without its speeds, scored by cosine on the trials of speakers with
crc32(speaker) % 3 == 0, whom it has not heard. Each is trained as it is, with one augmentation at its default values
and a probability of a half, and with all of them. One seed; intervals by speaker. Two runs at a time, on one thread
each: the seconds are not those of a run alone.
"""

import argparse
import functools
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from hf_speech.results import run_facts

from .real_speech import FOLDS, ROOT, SPEECH, pooled, predictions, train
from .speakers import ours, rows_of, score, split_by_speaker, trials_of
from .stages import finish, measured

OUTPUT = ROOT / "benchmarks" / "results" / "augmentations.json"
PARTIAL = OUTPUT.with_suffix(".partial")  # a line a run: a benchmark that was stopped goes on
SEED = 1
_HALF = {"probability": 0.5}
# SpecAugment is a part of the model, the others are of the training audio.
MASKS = {"spec_augment": {"time_masks": [1, 2], "time_width": 20, "band_masks": [1, 2], "band_width": 10}}
CHOICES: dict[str, dict[str, Any]] = {
    "none": {},
    "speed": {"speeds": [0.9, 1.0, 1.1]},
    "noise": {"noise": _HALF},
    "babble": {"babble": _HALF},
    "reverberation": {"reverb": _HALF},
    "codec": {"mu_law": _HALF, "lowpass": _HALF},
    "gain": {"gain": _HALF},
    "SpecAugment": MASKS,
}
CHOICES["all"] = {name: value for choice in CHOICES.values() for name, value in choice.items()}


def flags_of(choice: str) -> list[str]:
    table = dict(CHOICES[choice])
    masks = {"spec_augment": table.pop("spec_augment")} if "spec_augment" in table else {}
    flags = ["--augment", json.dumps(table), "--seed", str(SEED)]
    return [*flags, "--backbone-config.spec_augment", json.dumps(masks["spec_augment"])] if masks else flags


def emotion(speech: Path, choice: str, fold: Sequence[str], folder: Path) -> dict[str, Any]:
    held_out = ",".join(f"emodb_{actor}" for actor in fold)
    flags = ["--test", f"speaker_id={held_out}", *flags_of(choice)]
    results = train("vgg-small-emodb", speech / "emotion/metadata.csv", folder, *flags)
    return {"predictions": predictions(folder), "train_seconds": results.run["train_seconds"]}


def speakers(speech: Path, choice: str, folder: Path) -> dict[str, Any]:
    place = speech / "speaker"
    learnt, test = split_by_speaker(rows_of(place), 0)
    embed, facts = ours(learnt, place, SEED, folder / "run", flags_of(choice))
    return {**facts, "cosine": score(embed, place, trials_of(test), learnt)["cosine"]}


def measure(speech: Path, choice: str, what: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "run"
        if what == "speakers":
            found = speakers(speech, choice, folder)
        else:
            found = emotion(speech, choice, FOLDS[int(what.partition(" ")[2])], folder)
    return {"choice": choice, "what": what, **found}


def table_of(runs: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Choice -> UAR of emotion and EER of speakers, each with its interval."""
    table: dict[str, dict[str, Any]] = {}
    for choice in CHOICES:
        mine = [run for run in runs if run["choice"] == choice]
        rows = [row for run in mine if run["what"] != "speakers" for row in run["predictions"]]
        (uar,) = [number for number in pooled(rows, "emotion") if number["name"] == "uar"]
        (eer,) = [run["cosine"]["eer"] for run in mine if run["what"] == "speakers"]
        table[choice] = {"uar": {key: uar[key] for key in ("value", "low", "high", "n")}, "eer": eer}
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", type=Path, default=SPEECH, help="folder with speaker/ and emotion/ (%(default)s)")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # of the commands
    torch.set_num_threads(1)
    kinds = ("speakers", *(f"emotion {i}" for i in range(len(FOLDS))))
    plan = [(choice, kind) for kind in kinds for choice in CHOICES]
    runs = measured(PARTIAL, plan, functools.partial(measure, options.speech))
    table = table_of(runs)
    print(json.dumps(table, indent=2))
    seconds = [{name: run[name] for name in ("choice", "what", "train_seconds")} for run in runs]
    finish(OUTPUT, PARTIAL, {"table": table, "choices": CHOICES, "seed": SEED, "runs": seconds, "run": run_facts(SEED)})


if __name__ == "__main__":
    main()
