"""Runs that go on from any of their checkpoints, in every way in which they can be set: as if nothing had been."""

import fcntl
import os
import time
from pathlib import Path
from typing import Any

import pytest

from .runs import command, interrupted, read_json, read_table, refusal, same_weights, train_tiny, write_yaml

VALIDATED = {"validation": "speaker_id=speaker05", "test": "none", "save_total_limit": 99, "learning_rate": 1e-2}
BY_STEPS = {"save_strategy": "steps", "save_steps": 1}
# 20 rows by 8: three batches an epoch. What is set, and after which steps it is cut.
SLOW = ("at the end, in the middle of an epoch", "one epoch and a half", "accumulated, with a rest")
RUNS: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {
    "at the end, in the middle of an epoch": ({**BY_STEPS, "max_steps": 4}, (3, 4)),
    "one epoch and a half": ({**BY_STEPS, "num_train_epochs": 1.5}, (4, 5)),
    "accumulated, with a rest": ({**BY_STEPS, "gradient_accumulation_steps": 2, "num_train_epochs": 2}, (1, 2, 3)),
    "validated by epochs, saved by steps": (
        {**BY_STEPS, "eval_strategy": "epoch", "load_best_model_at_end": False, "num_train_epochs": 3}
        | {"schedule": "plateau", "schedule_config": {"patience": 0, "factor": 0.1, "threshold": 0.5}},
        (3, 4, 6),
    ),
    "stopped early": (
        {**BY_STEPS, "eval_strategy": "steps", "eval_steps": 1, "early_stopping_patience": 3, "max_steps": 30}
        | {"learning_rate": 1e-9},
        (2, 3, 4),
    ),
    "layers skipped and unfrozen": (
        {**BY_STEPS, "layerdrop": 0.3, "freeze_steps": 0.2, "unfreeze_every": 0.2, "layer_decay": 0.9, "max_steps": 6},
        (2, 5),
    ),
    "balanced": ({**BY_STEPS, "balance": "speaker_id", "max_steps": 5}, (2, 4)),
}


def validations(folder: Path) -> list[dict[str, Any]]:
    """What the last checkpoint remembers of them."""
    last = max(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    return [entry for entry in read_json(last / "trainer_state.json")["log_history"] if "eval_loss" in entry]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in RUNS]
)
def test_it_goes_on_as_if_nothing_had_been(name: str, corpus: Path, tmp_path: Path) -> None:
    fields, cuts = RUNS[name]
    values = {**VALIDATED, **fields}
    whole = train_tiny(tmp_path / "whole", corpus, **values)
    for cut in cuts:
        folder = interrupted(whole, tmp_path / f"cut-{cut}", cut)
        train_tiny(folder, corpus, **values)
        names = [sorted(path.name for path in place.glob("checkpoint-*")) for place in (whole, folder)]
        assert names[0] == names[1], cut
        assert same_weights(folder, whole), cut
        assert validations(folder) == validations(whole), cut


def test_the_best_is_found_by_its_name_wherever_the_folder_is(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Begun with a relative path, gone on with by an absolute one: the best is still kept from being rotated away."""
    values = {**VALIDATED, **BY_STEPS, "eval_strategy": "steps", "eval_steps": 1, "max_steps": 8, "save_total_limit": 2}
    config = write_yaml(tmp_path / "run.yaml", dataset=str(corpus), **{**values, "save_total_limit": 99})
    monkeypatch.chdir(tmp_path)
    assert command("train", config, "--output-dir", "begun") == 0
    best = read_json(tmp_path / "begun" / "checkpoint-8" / "trainer_state.json")["best_global_step"]
    assert best < 8
    folder = interrupted(tmp_path / "begun", tmp_path / "moved", max(best, 5))
    monkeypatch.chdir("/")
    config = write_yaml(tmp_path / "run.yaml", dataset=str(corpus), **values)
    assert command("train", config, "--output-dir", folder) == 0
    assert (folder / f"checkpoint-{best}").is_dir() and same_weights(folder, tmp_path / "begun")


def test_what_was_there_stays_until_training_begins(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = train_tiny(tmp_path / "model", corpus, **BY_STEPS, max_steps=2)
    config = tmp_path / "model.yaml"
    wrong = ("--overwrite", "--max-steps", -1, "--schedule-config.warmup_steps", 999)
    assert "the run has" in refusal(capsys, "train", config, "--output-dir", folder, *wrong)
    assert len(list(folder.glob("checkpoint-*"))) == 2
    both = ("--overwrite", "--resume-from-checkpoint", "true")
    assert "leave one of them out" in refusal(capsys, "train", config, "--output-dir", folder, *both)
    assert len(list(folder.glob("checkpoint-*"))) == 2


def test_two_runs_do_not_write_to_one_folder(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hf_speech.training.folder._OUTLIVED", 0.3)
    folder = tmp_path / "model"
    folder.mkdir()
    config = write_yaml(tmp_path / "run.yaml", dataset=str(corpus), max_steps=1)
    handle = os.open(folder, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    begun = time.monotonic()
    line = refusal(capsys, "train", config, "--output-dir", folder)
    assert line.startswith(f"hf-speech train: {folder}: another run is writing there; wait for it")
    assert time.monotonic() - begun < 60
    os.close(handle)
    assert command("train", config, "--output-dir", folder) == 0


def test_what_a_killed_run_left_half_written_goes(corpus: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    for name in (".finishing-x", ".checkpoint-3.partial/checkpoint-3"):
        (folder / name).mkdir(parents=True)
    train_tiny(folder, corpus, max_steps=1)
    assert not list(folder.glob(".*"))


def test_how_often_is_logged_may_change(corpus: Path, tmp_path: Path) -> None:
    fields: dict[str, Any] = {**BY_STEPS, "save_total_limit": 99, "max_steps": 6, "logging_steps": 3}
    whole = train_tiny(tmp_path / "whole", corpus, **fields)
    again = interrupted(whole, tmp_path / "again", last=2)
    train_tiny(again, corpus, **{**fields, "logging_steps": 1})
    assert [int(row["step"]) for row in read_table(whole / "metrics.csv") if row["loss"]] == [3, 6]
    assert [int(row["step"]) for row in read_table(again / "metrics.csv") if row["loss"]] == [3, 4, 5, 6]
    assert same_weights(whole, again)
