"""A grid x seeds by the real command: the table, the best by validation, dead runs, what is refused."""

import csv
from pathlib import Path

import numpy as np
import pytest
import yaml

from hf_speech.results import Results
from hf_speech.testing import write_fake_corpus

from ..training.runs import command, refusal, write_yaml

RULES = {"validation": "speaker_id=speaker04", "test": "speaker_id=speaker05"}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_fake_corpus(tmp_path_factory.mktemp("corpus"), speakers=6, per_speaker=4)


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.open(newline="")))


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> Path:
    """Three rates, one of which no run survives, with two seeds each; the loss decides."""
    folder = tmp_path_factory.mktemp("sweep")
    config = write_yaml(folder / "run.yaml", dataset=str(corpus), metric_for_best_model="loss", max_steps=6, **RULES)
    words = ["--grid", "learning_rate=1e-5,3e-3,1e30", "--seeds", "1,2", "--parallel", 2]
    assert command("sweep", config, *words, "--output-dir", folder / "rates") == 2
    return folder / "rates"


def test_the_table_has_every_run_and_no_score_of_a_dead_one(swept: Path) -> None:
    rows = rows_of(swept / "sweep.csv")
    assert [(float(row["learning_rate"]), row["seed"]) for row in rows] == [
        (rate, seed) for rate in (1e-5, 3e-3, 1e30) for seed in ("1", "2")
    ]
    assert [row["state"] for row in rows] == ["finished"] * 4 + ["dead"] * 2
    assert all(row["value"] == "" and "diverged" in row["reason"] for row in rows[4:])
    for row in rows[:4]:
        own = Results.read(swept / row["run"])
        assert row["metric"] == "loss" and float(row["value"]) == own.run["selection"]["value"]
        assert float(row["test/uar"]) == {n["name"]: n["value"] for n in own.metrics if n["split"] == "test"}["uar"]


def test_the_best_is_that_of_the_validation_rows(swept: Path, tmp_path: Path) -> None:
    rows = rows_of(swept / "sweep.csv")[:4]
    means = {rate: np.mean([float(row["value"]) for row in rows if row["learning_rate"] == rate])
             for rate in {row["learning_rate"] for row in rows}}  # fmt: skip
    best = yaml.safe_load((swept / "best.yaml").read_text())
    assert best["learning_rate"] == float(min(means, key=means.__getitem__)) and "seed" not in best
    assert command("train", swept / "best.yaml", "--max-steps", 1, "--output-dir", tmp_path / "model") == 0
    assert (swept / "sweep-learning_rate.png").stat().st_size > 5_000


def test_the_page_has_every_point(swept: Path) -> None:
    rows, page = rows_of(swept / "sweep.csv"), (swept / "README.md").read_text()
    means = [np.mean([float(row["value"]) for row in rows[i : i + 2]]) for i in (0, 2)]
    lines = [line.strip("| ").split(" | ") for line in page.splitlines() if "of 2" in line]
    assert [cells[1].strip("*") for cells in lines] == ["2 of 2", "2 of 2", "0 of 2"]
    assert [cells[2].strip("*").split(" ±")[0] for cells in lines] == [*(f"{mean:.3f}" for mean in means), "none"]
    assert [cells[0].startswith("**") for cells in lines] == [means[0] < means[1], means[1] < means[0], False]


def test_a_larger_grid_runs_only_what_is_new(swept: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in swept.glob("*/model.safetensors")}
    words = ["--grid", "learning_rate=1e-5,3e-3,1e-4", "--seeds", "1,2", "--output-dir", swept]
    assert command("sweep", swept.parent / "run.yaml", *words) == 0
    after = {path: path.stat().st_mtime_ns for path in swept.glob("*/model.safetensors")}
    assert after.items() > before.items() and len(after) == len(before) + 2


def test_sweeps_that_cannot_be_are_refused_by_name(
    swept: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, place = swept.parent / "run.yaml", ["--output-dir", tmp_path / "new"]
    said = refusal(capsys, "sweep", config, "--grid", "learning_rates=1,2", *place)
    assert "unknown field 'learning_rates' (did you mean 'learning_rate'?" in said
    said = refusal(capsys, "sweep", config, "--grid", "layer=1,9", *place, "--validation", "none")
    assert "a sweep chooses by validation rows, and there are none: give --validation" in said
    said = refusal(capsys, "sweep", config, "--grid", "validation=speaker_id=speaker04,none", *place)
    assert "a sweep chooses by validation rows, and there are none: give --validation" in said
    said = refusal(capsys, "sweep", config, "--grid", "layer=1,2", "--metric", "eer", *place)
    assert "unknown metric 'eer'; valid: accuracy, loss, macro_f1, uar" in said
    said = refusal(capsys, "sweep", config, "--grid", "layer=1,2", "--save-strategy", "no", *place)
    assert "metric loss: runs without checkpoints (save_strategy no) keep none; take uar" in said
    several = {"uar": {"metric_for_best_model": "uar"}, "loss": {"metric_for_best_model": "loss"}}
    (tmp_path / "two.yaml").write_text(yaml.safe_dump({"config": str(config), "settings": several}))
    said = refusal(capsys, "sweep", tmp_path / "two.yaml", *place)
    assert "metric_for_best_model can't be varied: the same number decides between all: give --metric" in said
    said = refusal(capsys, "sweep", config, "--grid", "layer=1,2", "--output-dir", swept)
    assert "axes is ['learning_rate'] there and ['layer'] here" in said
    said = refusal(capsys, "sweep", config, "--grid", "layer=1,2", "--output-dir", swept, "--crop-seconds", "0.4")
    assert f"{swept}: holds another sweep: run: crop_seconds is 0.5 there and 0.4 here" in said.replace(
        "sweep: crop", "sweep: run: crop"
    )
    said = refusal(capsys, "sweep", config, "--grid", "layer=1,2", *place, "--partition", "gpu")
    assert "--partition is for a cluster: give --launcher slurm too" in said
    assert not (tmp_path / "new").exists()
