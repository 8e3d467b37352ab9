"""Pictures of what was measured: maps of embeddings, trials, learned layers."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hf_speech.metrics.verification import roc
from hf_speech.models.tasks import Task
from hf_speech.training.evaluation import Evaluation
from hf_speech.training.pictures import FEWEST, _names, draw_map, draw_run

from .runs import read_results, train_tiny


def evaluation(task: Task, labels: list[Any], **more: Any) -> Evaluation:
    """An evaluation of as many rows, whose embeddings are noise."""
    rows = [{"id": str(i), "speaker_id": f"s{i % 4}", "label": label} for i, label in enumerate(labels)]
    embeddings = np.random.default_rng(0).normal(size=(len(labels), 8)).astype(np.float32)
    return Evaluation((task,), [], {}, rows, **{"embeddings": embeddings, **more})


EMOTION = Task("emotion", ("calm", "angry"))
AGE = Task("age", ("age",), loss="mse", unit="years")


@pytest.mark.parametrize(
    ("given", "drawn"),
    [
        (evaluation(EMOTION, ["calm", "angry"] * 15), True),
        (evaluation(AGE, [20.0 + i for i in range(30)]), True),
        (evaluation(EMOTION, (["calm", "angry"] * 15)[1:]), False),  # too few to see anything
        (evaluation(EMOTION, ["calm", ""] * 15), False),  # of half of them the label is not known
        (evaluation(EMOTION, ["calm", "angry"] * 15, embeddings=None), False),  # a stock model
    ],
)
def test_a_map_is_drawn_of_enough_utterances(given: Evaluation, drawn: bool, tmp_path: Path) -> None:
    assert FEWEST == 30
    draw_map(given, tmp_path / "map.png")
    assert (tmp_path / "map.png").exists() == drawn


def test_embeddings_without_a_direction_cost_the_picture_and_not_the_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    given = evaluation(EMOTION, ["calm", "angry"] * 15, embeddings=np.zeros((30, 8), np.float32))
    with caplog.at_level(logging.WARNING):
        draw_map(given, tmp_path / "map.png")
    assert not (tmp_path / "map.png").exists() and "no map of embeddings: embedding 0 is zero" in caplog.text


def test_points_have_the_names_of_labels_or_of_ranges() -> None:
    assert _names(evaluation(EMOTION, ["calm", "", "angry"])) == (["calm", "", "angry"], "labels")
    assert _names(evaluation(Task("speaker_id", ("ada", "bob")), ["ada"]))[1] == "speakers"
    names, noun = _names(evaluation(AGE, [20.0, 30.0, 40.0, 50.0, 60.0, ""]))
    assert noun == "ranges"
    assert names == ["20 to 30 years", "30 to 40 years", "40 to 50 years", "50 to 60 years", "50 to 60 years", ""]
    assert _names(evaluation(AGE, [30.0, 30.0]))[0] == ["30 to 30 years"] * 2
    assert _names(evaluation(AGE, [""]))[0] == [""]


def test_trials_and_layers_are_drawn_where_there_are_such(tmp_path: Path) -> None:
    plain = evaluation(EMOTION, ["calm"])
    draw_run({"test": plain}, "d", {"layer": "last"}, tmp_path)
    assert not list(tmp_path.iterdir())
    tried = replace(plain, curve=roc([1, 0, 1, 0], [0.9, 0.1, 0.4, 0.5]))
    draw_run({"validation": tried, "test": plain}, "d", {"layer_weights": [0.5, 0.25, 0.25]}, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"det.png", "layers.png"}


def test_a_run_that_learns_a_sum_of_layers_tells_their_shares(corpus: Path, tmp_path: Path) -> None:
    folder = train_tiny(tmp_path / "model", corpus, "--max-steps", 3, "--test", "0.3", layer="weighted_sum")
    shares = read_results(folder)["model"]["layer_weights"]
    assert len(shares) == 3 and sum(shares) == pytest.approx(1) and min(shares) > 0
    assert len(set(shares)) == 3  # they were trained
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "](layers.png)" in card and "its 2 layers, learned to be summed, these weigh most" in card
