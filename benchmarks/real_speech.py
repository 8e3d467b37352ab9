"""Small models on real speech, by the command a user types; test speakers are never trained on.

Emotion (7 classes, acted German), by wav2vec2 and by VGG with double multi-head attention: three folds of two actors
each. Gender (2 classes): speakers with crc32(speaker) % 3 == 0. Age, in years and in ordered groups, of two actors of
the seven: that shows that it runs, not what it is worth. The recordings are given by path:

    python -m benchmarks.real_speech --speech ../shared/data/speech
"""

import argparse
import csv
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from hf_speech.files import replacing
from hf_speech.metrics import classification_numbers
from hf_speech.results import FILE_NAME, Results, metric_rows, run_facts

ROOT = Path(__file__).resolve().parents[1]
SPEECH = ROOT.parent / "shared" / "data" / "speech"
OUTPUT = ROOT / "benchmarks" / "results" / "real_speech.json"
FOLDS = (("03", "09"), ("10", "14"), ("13", "15"))
EMOTION = ("wav2vec2-small-emodb", "vgg-small-emodb")
# Run -> the recordings.
OTHERS = {"wav2vec2-small-gender": "speaker", "age-small-emodb": "emotion", "age-groups-small-emodb": "emotion"}


def train(name: str, dataset: Path, output: Path, *flags: str) -> Results:
    """One run of `hf-speech train` in a process of its own."""
    command = ["-m", "hf_speech.cli", "train", str(ROOT / "model_cards" / name / "train.yaml")]
    data = ["--dataset", str(dataset), "--output-dir", str(output), "--name", name]
    subprocess.run([sys.executable, *command, *data, *flags], check=True)
    return Results.read(output)


def predictions(folder: Path) -> list[dict[str, str]]:
    with (folder / "predictions.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def pooled(rows: list[dict[str, str]], dataset: str) -> list[dict]:
    """Numbers over the predictions of all folds together, resampled as those of a single run."""
    names = sorted({row["label"] for row in rows} | {row["predicted"] for row in rows})
    numbers = classification_numbers(
        [names.index(row["label"]) for row in rows],
        [names.index(row["predicted"]) for row in rows],
        len(names),
        [row["speaker_id"] for row in rows],
    )
    return metric_rows(numbers, dataset=dataset, split="all folds", ids=[row["id"] for row in rows])


def summary(name: str, results: Results) -> dict:
    return {
        "run": name,
        "train_seconds": results.run["train_seconds"],
        "parameters": results.model["parameters"],
        "metrics": [number for number in results.metrics if number["split"] == "test"],
    }


def keep_card(folder: Path, name: str) -> None:
    """The card and the numbers of a run, beside its train.yaml; pictures stay behind."""
    home = ROOT / "model_cards" / name
    shutil.copy(folder / FILE_NAME, home / FILE_NAME)
    for picture in folder.glob("*.png"):
        picture.unlink()
    subprocess.run([sys.executable, "-m", "hf_speech.cli", "card", str(folder)], check=True)
    shutil.copy(folder / "README.md", home / "README.md")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", type=Path, default=SPEECH, help="folder with speaker/ and emotion/ (%(default)s)")
    speech = parser.parse_args().speech
    emotion, speaker = speech / "emotion/metadata.csv", speech / "speaker/metadata.csv"
    runs, content = [], {}
    with tempfile.TemporaryDirectory() as folder:
        for name in EMOTION:
            rows, uars = [], []
            for first, second in FOLDS:
                output = Path(folder) / f"{name}-{first}-{second}"
                results = train(name, emotion, output, "--test", f"speaker_id=emodb_{first},emodb_{second}")
                runs.append(summary(f"{name}, actors {first} and {second}", results))
                uars += [number["value"] for number in runs[-1]["metrics"] if number["name"] == "uar"]
                rows += predictions(output)
                if (first, second) == FOLDS[0]:
                    keep_card(output, name)
            content[name] = {"mean_uar": sum(uars) / len(uars), "pooled": pooled(rows, "emotion")}
            print(f"{name}: UAR {', '.join(f'{uar:.3f}' for uar in uars)}, mean {sum(uars) / len(uars):.3f}")
        for name, dataset in OTHERS.items():
            output = Path(folder) / name
            runs.append(summary(name, train(name, speaker if dataset == "speaker" else emotion, output)))
            keep_card(output, name)
    content = {"runs": runs, **content, "run": run_facts(None)}
    with replacing(OUTPUT) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
