"""Runs that take a second: a tiny encoder, trained by the real command on made-up voices."""

import csv
import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
import yaml
from safetensors.torch import load_file

from hf_speech.cli import main

Refuse = Callable[..., str]

# As the command has it in a process of its own; here transformers is imported before the command can say so.
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

TINY: dict[str, Any] = {
    "backbone_config": {
        "model_type": "wav2vec2",
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "conv_dim": [16] * 7,
        "num_conv_pos_embeddings": 16,
        "num_conv_pos_embedding_groups": 2,
        "mask_time_prob": 0.0,
    },
    "pooling": "mean+std",
    "crop_seconds": 0.5,
    "per_device_train_batch_size": 8,
    "num_train_epochs": 2,
    "learning_rate": 3e-3,
}


def command(*words: object) -> int:
    """Runs `hf-speech` in this process -> its exit status."""
    try:
        return main([str(word) for word in words])
    except SystemExit as stop:  # argparse's way
        return int(stop.code or 0)


def refusal(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """The one line with which a command refuses its input; exit status 2."""
    capsys.readouterr()
    assert command(*words) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def refusing(corpus: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> Refuse:
    """run(*flags, **fields) -> the line with which `hf-speech train` refuses them; the model would go to model/."""

    def run(*flags: object, **fields: Any) -> str:
        config = write_yaml(folder / "run.yaml", **{"dataset": str(corpus), "max_steps": 1, **fields})
        return refusal(capsys, "train", config, "--output-dir", folder / "model", *flags)

    return run


def write_yaml(path: Path, **fields: Any) -> Path:
    """A file of TINY's fields with others above them; None leaves a field out."""
    values = {name: value for name, value in {**TINY, **fields}.items() if value is not None}
    path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    return path


def train_tiny(folder: Path, dataset: Path, *flags: object, **fields: Any) -> Path:
    """A finished model in `folder`; TINY on a data set, with fields in YAML and flags."""
    config = write_yaml(folder.with_name(f"{folder.name}.yaml"), dataset=str(dataset), **fields)
    assert command("train", config, "--output-dir", folder, *flags) == 0
    return folder


def interrupted(run: Path, folder: Path, last: int) -> Path:
    """A copy of a finished run as a kill would have left it: not measured, and checkpoints up to a step only."""
    shutil.copytree(run, folder)
    (folder / "results.json").unlink()
    for path in folder.glob("checkpoint-*"):
        if int(path.name.rpartition("-")[2]) > last:
            shutil.rmtree(path)
    return folder


def read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def read_results(folder: Path) -> dict[str, Any]:
    return read_json(folder / "results.json")


def values_of(folder: Path, split: str) -> dict[str, float]:
    """Name -> value of the numbers on a split."""
    metrics = read_results(folder)["metrics"]
    return {metric["name"]: metric["value"] for metric in metrics if metric["split"] == split}


def read_table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write_table(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    listed = list(rows)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(listed[0]))
        writer.writeheader()
        writer.writerows(listed)
    return path


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def same_weights(first: Path, second: Path) -> bool:
    """Whether two models have the same weights, bit for bit."""
    one, two = weights_of(first), weights_of(second)
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
