"""Speaker verification on real speech: the small ECAPA-TDNN on speakers that it has not heard, scored in several ways.

    python -m benchmarks.verification_speech                       # trains, 5 minutes, then scores; a few minutes more
    python -m benchmarks.verification_speech --model runs/ecapa    # a model that is there, trained on the same speakers

Everything by the commands that a user types. Trained is `model_cards/ecapa-small/train.yaml` on two thirds of the
speakers, tested are those with crc32(speaker) % 3 == 0: all target pairs, and all non-target pairs within a corpus and
a gender. Means, cohort and whitening come from the training recordings. A calibration is fitted, for each trial, on the
trials of other tested speakers. Written are the numbers with their intervals by speaker, differences from the cosine,
and the DET curves.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from hf_speech.files import replacing
from hf_speech.metrics.verification import roc
from hf_speech.results import Results, run_facts
from hf_speech.trial_plots import plot_det
from hf_speech.verification.backend import SHRINKAGE, TOP

from .speakers import RECIPE, ROOT, SPEECH, rows_of, split_by_speaker, trials_of, write_rows

OUTPUT = ROOT / "benchmarks" / "results" / "verification_speech.json"
PICTURE = OUTPUT.with_suffix(".png")
NORMALISED = ["--center", "--score-norm", "as-norm", "--top", str(TOP)]
CALIBRATED = ["--calibrate", "cross"]
# What is written in the table -> flags; those of the back end need the training recordings.
WAYS: dict[str, list[str]] = {
    "cosine": [],
    "centred": ["--center"],
    "AS-norm": NORMALISED,
    "whitened, AS-norm": [*NORMALISED, "--whiten", str(SHRINKAGE)],
    "cosine, calibrated": CALIBRATED,
    "AS-norm, calibrated": [*NORMALISED, *CALIBRATED],
    "AS-norm, calibrated with qualities": [*NORMALISED, *CALIBRATED, "--qualities", "log_duration,cohort_mean"],
}
DRAWN = ("cosine", "centred", "AS-norm", "whitened, AS-norm", "AS-norm, calibrated with qualities")
COMPARED = ("centred", "AS-norm", "whitened, AS-norm")  # with the cosine, on the same resamples


def run(*words: object) -> None:
    """One command of ours."""
    subprocess.run([sys.executable, "-m", "hf_speech.cli", *map(str, words)], check=True)


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", type=Path, default=SPEECH, help="folder with speaker/ (%(default)s)")
    parser.add_argument("--model", type=Path, help="a trained model; none: it is trained")
    parser.add_argument("--seed", type=int, default=1, help="of the training (%(default)s)")
    options = parser.parse_args()
    folder = options.speech.absolute() / "speaker"
    train, test = split_by_speaker(rows_of(folder), 0)
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        table, model, trials = place / "train.csv", options.model or place / "model", place / "unheard.txt"
        write_rows(table, train, folder)
        trials.write_text("".join(f"{label} {a['path']} {b['path']}\n" for label, a, b in trials_of(test)))
        if options.model is None:
            run("train", RECIPE, "--dataset", table, "--seed", options.seed, "--output-dir", model)
        columns = "speaker_id=speaker,session_id=session"
        known = ["--audio-root", folder, "--utterances", folder / "metadata.csv", "--columns", columns]
        found: dict[str, Any] = {}
        curves = {}
        for way, flags in WAYS.items():
            output = place / way.replace(" ", "-")
            learnt = ["--background", table] if NORMALISED[0] in flags else []
            cache = ["--embedding-cache", place / "embeddings", "--no-plots"]
            run("verify", model, trials, "--output-dir", output, *known, *learnt, *cache, *flags)
            results = Results.read(output)
            found[way] = {"metrics": results.metrics, "scoring": results.run["scoring"]}
            scores = pq.read_table(output / "trials.parquet")
            measured = scores["score" if scores["llr"].null_count else "llr"]
            curves[way] = roc(np.asarray(scores["label"]), np.asarray(measured))
        differences = {}
        for way in COMPARED:
            output = place / f"against-{way.replace(' ', '-')}"
            run("compare", place / "cosine", place / way.replace(" ", "-"), "--output-dir", output)
            differences[way] = json.loads((output / "comparison.json").read_text(encoding="utf-8"))["differences"]
        trained = Results.read(model)
        content = {
            "trials": results.data["trials"],
            "training": {"recipe": RECIPE.read_text(encoding="utf-8"), "seconds": trained.run["train_seconds"]},
            "ways": found,
            "against_cosine": differences,
            "run": run_facts(options.seed),
        }
    plot_det({way: curves[way] for way in DRAWN}, PICTURE)
    with replacing(OUTPUT) as temporary_file:
        temporary_file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    for way in WAYS:
        whole = [number for number in found[way]["metrics"] if number["split"] == "trials"]
        print(way, *(f"{m['name']} {m['value']:.4f} ({m['low']:.4f} to {m['high']:.4f})" for m in whole), sep="  ")


if __name__ == "__main__":
    main()
