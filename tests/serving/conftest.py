"""Tiny models that are exported once, by the real command."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from ..models.tiny import STABLE
from ..training.runs import command
from .cases import TWO_TASKS, Case, model_of

# With weights enough that their size shows beside the graph's.
XVECTOR: Case = (
    "x-vector",
    {"network_config": {"channels": [256, 256, 256, 256, 384]}},
    {"pooling": "mean+std", "projection": "linear", "projection_config": {"size": 128}},
)
LABELS = {"id2label": {0: "sad", 1: "glad", 2: "näher"}}


@dataclass(frozen=True)
class Exported:
    """A model's folder, and that of its files."""

    model: Path
    folder: Path


def export(case: Case, root: Path, *flags: str) -> Exported:
    model_of(case).save_pretrained(root / "model")
    assert command("export", root / "model", "--output-dir", root / "served", *flags) == 0
    return Exported(root / "model", root / "served")


@pytest.fixture(scope="session")
def xvector(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """An x-vector in all precisions."""
    backbone, overrides, settings = XVECTOR
    return export(
        (backbone, overrides, settings | LABELS), tmp_path_factory.mktemp("xvector"), "--quantize", "int8", "--half"
    )


@pytest.fixture(scope="session")
def two_tasks(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """An encoder that takes normalised waveforms, with a task of labels and one of a number."""
    settings = {"pooling": "attentive", "pooling_config": {"bottleneck": 6}, "tasks": TWO_TASKS}
    return export(("wav2vec2", STABLE, settings), tmp_path_factory.mktemp("two-tasks"))
