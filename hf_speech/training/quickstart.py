"""The whole way in minutes: train a small model, measure it on held-out speech, load it back, predict."""

import csv
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from ..data.readers import guess_reader, load_rows
from ..errors import InputError
from ..inference import load_model, predict, tasks_of
from ..outcome import in_words
from ..results import Results
from ..samples import sample_corpus
from .arguments import read_config
from .config import RunConfig
from .run import summary, train

CONFIG = "quickstart.yaml"


def quickstart(
    output_dir: str, data_dir: str | None, fields: Mapping[str, Any] | None = None, *, overwrite: bool = False
) -> str:
    """Trains on the shipped voices, or on somebody's own folder or csv, and tries the finished model.

    Args:
        output_dir: folder of the model.
        data_dir: a folder with a sub-folder a class, or a csv; None: the shipped synthetic voices.
        fields: fields of a run that stand above the quickstart's own.
        overwrite: whether a finished model in the folder may be replaced.

    Returns:
        The last screen: what was measured, one prediction, and what to type next.
    """
    config = _config(
        data_dir, {**(fields or {}), "output_dir": output_dir, "overwrite": overwrite, "dataset": data_dir}
    )
    results = train(config)
    model, extractor = load_model(output_dir)
    example = _held_out_file(Path(output_dir), config.data.dataset)
    said = predict(model, extractor, [example])[0]
    return "\n".join(
        [
            "",
            summary(results, Path(output_dir)),
            *_explained(results, len(tasks_of(model)[0].labels)),
            "",
            f"Loaded again with AutoModelForAudioClassification, it hears in {Path(example).name}: {in_words(said)}",
            "",
            "Next:",
            f"  the card, with plots:     {output_dir}/README.md",
            f"  any recording:            hf-speech predict {output_dir} YOUR.wav",
            "  your own, a sub-folder a class, or a csv:",
            "      hf-speech quickstart --output-dir mine --data-dir YOUR-FOLDER",
            "  your own, on a pretrained encoder of the Hub:",
            "      hf-speech train --dataset YOUR-FOLDER --test 0.2 --output-dir better \\",
            "          --backbone facebook/wav2vec2-base --pooling mean+std --freeze cnn --crop-seconds 3",
        ]
    )


def _explained(results: Results, labels: int) -> list[str]:
    """A word on the metric whose name says least."""
    if "uar" not in {number["name"] for number in results.metrics}:
        return []
    said = "the share of each class that is recognised, averaged over the classes"
    return [f"  uar, unweighted average recall: {said}; guessing gives {1 / labels:.3f}"]


def _config(data_dir: str | None, given: dict[str, Any]) -> RunConfig:
    """The run: on the shipped voices, or on a data set that need not have splits."""
    path = str(files(__package__) / CONFIG)
    if data_dir is None:
        shipped: dict[str, Any] = {"target": "speaker_id", "data_name": "hf_speech samples", "language": ["en"]}
        shipped |= {"data_license": "CC0-1.0", "synthetic": True}
        return read_config(path, {**shipped, **given, "dataset": str(sample_corpus())})
    if not Path(data_dir).exists():
        raise InputError(f"{data_dir}: there is no such file or folder; give class folders, or a csv")
    if guess_reader(data_dir) == "dataset":
        raise InputError(
            f"{data_dir}: has neither class folders nor is it a csv; make a sub-folder for each class and move its "
            "recordings there (what `datasets` has saved is for `hf-speech train --dataset`)"
        )
    config = read_config(path, given)
    if config.split.test == "none":
        raise InputError(
            "quickstart shows what a held-out file sounds like to the model; use `hf-speech train` for none"
        )
    if config.split.test is None and "test" not in load_rows(data_dir, columns=config.data.columns):
        return read_config(path, {**given, "test": "0.2"})  # of the speakers, where they are known
    return config


def _held_out_file(folder: Path, dataset: str | None) -> Path:
    """The first utterance of predictions.csv, which was not trained on."""
    with (folder / "predictions.csv").open(encoding="utf-8", newline="") as file:
        first = next(csv.DictReader(file))
    path = Path(first["id"].partition("#t=")[0])
    root = Path(str(dataset))
    return path if path.is_absolute() else (root.parent if root.is_file() else root) / path
