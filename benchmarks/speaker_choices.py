"""What each choice of the speaker recipe brings, measured without the speakers that the recipe is tested on.

    python -m benchmarks.speaker_choices              # half an hour; where it was stopped, it goes on

Speakers with crc32(speaker) % 3 == 0 are left out: they are for `benchmarks.speakers`. Of the others, one half is
trained on and the other half scored, and then the other way round. Each choice is `hf-speech train
model_cards/ecapa-small/train.yaml` with half the steps, as there are half the recordings, and with what differs, for
two seeds. Two runs at a time, on one thread each: the seconds are not those of a run alone. All are scored on the
trials of `benchmarks.speakers`, by cosine and by back ends fitted on the training recordings.
"""

import argparse
import functools
import itertools
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hf_speech.results import run_facts

from .speakers import BACKENDS, RECIPE, ROOT, SPEECH, fold_of, ours, rows_of, score, split_by_speaker, trials_of
from .stages import finish, measured

OUTPUT = ROOT / "benchmarks" / "results" / "speaker_choices.json"
PARTIAL = OUTPUT.with_suffix(".partial")  # a line a run: a benchmark that was stopped goes on
FOLDS, SEEDS = (1, 2), (1, 2)
WAYS = ("cosine", *BACKENDS)
STEPS = ("--max-steps", "250")
# What differs from the recipe.
CHOICES: dict[str, Sequence[str]] = {
    "recipe": STEPS,
    "one speed": (*STEPS, "--augment", "{}"),
    "60 % of the steps": ("--max-steps", "150"),
}


def measure(speech: Path, name: str, seed: int, fold: int) -> dict[str, Any]:
    folder = speech / "speaker"
    train, test = split_by_speaker([row for row in rows_of(folder) if fold_of(row)], fold)
    with tempfile.TemporaryDirectory() as temporary:
        embed, facts = ours(train, folder, seed, Path(temporary) / "run", CHOICES[name])
        found = score(embed, folder, trials_of(test), train)
    return {"choice": name, "fold": fold, "seed": seed, **facts, **{way: found[way]["eer"]["value"] for way in WAYS}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", type=Path, default=SPEECH, help="folder with speaker/ (%(default)s)")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # of the commands
    torch.set_num_threads(1)
    plan = list(itertools.product(CHOICES, SEEDS, FOLDS))
    runs = measured(PARTIAL, plan, functools.partial(measure, options.speech))
    mean = {
        name: {way: float(np.mean([run[way] for run in runs if run["choice"] == name])) for way in WAYS}
        for name in CHOICES
    }
    print(json.dumps(mean, indent=2))
    content = {"mean_eer": mean, "runs": runs, "choices": CHOICES, "recipe": RECIPE.read_text(encoding="utf-8")}
    finish(OUTPUT, PARTIAL, {**content, "run": run_facts(None)})


if __name__ == "__main__":
    main()
