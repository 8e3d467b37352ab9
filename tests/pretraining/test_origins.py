"""Which labels clusters, and weights that a run begins with, know: what results.json says of them."""

import json
from pathlib import Path
from typing import Any

import pytest

from hf_speech.pretraining.clusters import FACTS
from hf_speech.pretraining.fields import check_pretraining
from hf_speech.pretraining.origins import origins
from hf_speech.results import FILE_NAME
from hf_speech.training.arguments import make_config

from ..test_results import example


def write_model(folder: Path, target: str = "", **learnt: Any) -> str:
    """The results.json of a model that was trained with labels, or without."""
    content = example()
    content["data"]["target"] = target
    content["run"]["pretraining"] = learnt
    folder.mkdir()
    (folder / FILE_NAME).write_text(json.dumps(content))
    return str(folder)


def told(folder: Path, model: str | None, backbone: str = "owner/encoder") -> dict[str, Any]:
    """What is said of a run that learns clusters of a layer of a model."""
    clusters = folder / "clusters"
    clusters.mkdir()
    if model is not None:
        (clusters / FACTS).write_text(json.dumps({"codebook": {"model": model, "layer": 3}}))
    values = {"objective": "clusters", "clusters": str(clusters), "dataset": "x", "backbone": backbone}
    return origins(make_config(values, check=check_pretraining))


@pytest.mark.parametrize(
    ("target", "learnt", "labels"),
    [
        ("emotion", {}, ["emotion"]),
        ("emotion, age", {"loss": 1.0}, ["age", "emotion"]),
        ("", {}, []),
        ("", {"clusters": {"model": "first", "layer": 1, "labels": ["emotion"]}}, ["emotion"]),
        ("", {"backbone_labels": ["gender"]}, ["gender"]),
    ],
)
def test_labels_are_known_of_the_model_that_was_clustered(
    target: str, learnt: dict[str, Any], labels: list[str], tmp_path: Path
) -> None:
    model = write_model(tmp_path / "1-pretrain", target, **learnt)
    assert told(tmp_path, model) == {"clusters": {"model": "1-pretrain", "layer": 3, "labels": labels}}


def test_labels_are_known_of_what_a_run_begins_with(tmp_path: Path) -> None:
    backbone = write_model(tmp_path / "emotion", "emotion")
    found = told(tmp_path, "facebook/wav2vec2-base", backbone)
    assert found["backbone_labels"] == ["emotion"]
    assert found["clusters"] == {"model": "facebook/wav2vec2-base", "layer": 3, "labels": []}


def test_clusters_of_another_program_are_of_nothing_that_is_known(tmp_path: Path) -> None:
    assert told(tmp_path, None) == {}
