"""Checkpoints: whole or not there, of this run or refused; a full disk and a loss that is NaN lose nothing."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from hf_speech.errors import InputError
from hf_speech.training.checkpoints import MANIFEST, faults, last_whole, publish

from .runs import command, interrupted, read_json, read_results, refusal, same_weights, train_tiny, write_yaml

FIELDS: dict[str, Any] = {"test": "0.3", "save_strategy": "steps", "save_steps": 2, "max_steps": 6}


def write(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_text(content)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> Path:
    """A finished run with all its checkpoints: 2, 4, 6."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    return train_tiny(folder, corpus, **{**FIELDS, "save_total_limit": 9})


@pytest.fixture
def unfinished(run: Path, tmp_path: Path) -> Path:
    """The same, as if it had been killed before it was measured."""
    return interrupted(run, tmp_path / "run", 6)


def again(folder: Path, corpus: Path, *flags: object, **fields: Any) -> list[object]:
    """The words of the same command on a folder."""
    config = write_yaml(
        folder.parent / "again.yaml", dataset=str(corpus), **{**FIELDS, "save_total_limit": 9, **fields}
    )
    return ["train", config, "--output-dir", folder, *flags]


def test_a_checkpoint_is_published_with_its_files_and_facts(tmp_path: Path) -> None:
    staged, checkpoint = write(tmp_path / ".staged", a="one", b="two"), tmp_path / "checkpoint-3"
    publish(staged, checkpoint, {"fields": {"seed": 1}})
    assert not staged.exists() and faults(checkpoint) == []
    assert read_json(checkpoint / MANIFEST)["fields"] == {"seed": 1}
    publish(write(tmp_path / ".staged", c="three"), checkpoint, {})
    assert sorted(path.name for path in checkpoint.iterdir()) == ["c", MANIFEST]


@pytest.mark.parametrize(
    ("spoil", "wrong"),
    [
        (lambda folder: (folder / "a").unlink(), "a is missing"),
        (lambda folder: (folder / "a").write_text("on"), "a has 2 bytes, not 3"),
        (lambda folder: (folder / "a").write_text("eno"), "a is damaged"),
        (lambda folder: (folder / MANIFEST).unlink(), f"{MANIFEST} is missing or can't be read"),
        (lambda folder: (folder / MANIFEST).write_text("{"), f"{MANIFEST} is missing or can't be read"),
        (lambda folder: (folder / MANIFEST).write_text("[]"), f"{MANIFEST} is missing or can't be read"),
    ],
)
def test_what_is_wrong_is_found(tmp_path: Path, spoil: Any, wrong: str) -> None:
    for step in (1, 2):
        publish(write(tmp_path / f".{step}", a="one", b="two"), tmp_path / f"checkpoint-{step}", {})
    assert last_whole(tmp_path) == tmp_path / "checkpoint-2"
    spoil(tmp_path / "checkpoint-2")
    assert faults(tmp_path / "checkpoint-2") == [wrong]
    assert last_whole(tmp_path) == tmp_path / "checkpoint-1"
    spoil(tmp_path / "checkpoint-1")
    with pytest.raises(InputError, match="none of its checkpoints is whole; --overwrite starts anew"):
        last_whole(tmp_path)
    assert last_whole(tmp_path / "checkpoint-1") is None


def test_a_run_keeps_its_checkpoints_whole_and_unpickled(run: Path) -> None:
    found = sorted(path.name for path in run.glob("checkpoint-*"))
    assert found == ["checkpoint-2", "checkpoint-4", "checkpoint-6"]
    for name in found:
        assert faults(run / name) == []
        files = {path.name for path in (run / name).iterdir()}
        assert {"model.safetensors", "optimizer.pt", "scheduler.pt", "trainer_state.json", MANIFEST} <= files
        assert "training_args.bin" not in files
        for file in ("optimizer.pt", "scheduler.pt"):
            torch.load(run / name / file, weights_only=True)
    assert not list(run.glob(".*"))


def test_a_damaged_checkpoint_is_passed_over(
    unfinished: Path, run: Path, corpus: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = unfinished / "checkpoint-6" / "optimizer.pt"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    with caplog.at_level("INFO"):
        assert command(*again(unfinished, corpus)) == 0
    assert f"{unfinished}/checkpoint-6 is not whole: optimizer.pt is damaged" in caplog.text
    assert f"going on from {unfinished}/checkpoint-4" in caplog.text
    assert same_weights(unfinished, run) and faults(unfinished / "checkpoint-6") == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"learning_rate": 2e-3}, "learning_rate is 0.003 there and 0.002 here"),
        ({"pooling": "max"}, 'pooling is "mean+std" there and "max" here'),
        ({"seed": 7}, "seed is 42 there and 7 here"),
        ({"max_steps": 8, "schedule": "constant"}, "max_steps is 6 there and 8 here; schedule is"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(
    unfinished: Path, corpus: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any], said: str
) -> None:
    line = refusal(capsys, *again(unfinished, corpus, **change))
    assert f"{unfinished}/checkpoint-6: is of another run: {said}" in line and "--overwrite to start anew" in line
    assert len(list(unfinished.glob("checkpoint-*"))) == 3


def test_a_checkpoint_of_other_rows_is_refused(
    unfinished: Path, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refusal(capsys, *again(unfinished, corpus, test="0.5", split_seed=0))
    assert "test is " in line
    table = corpus.parent / "fewer.csv"
    lines = corpus.read_text().splitlines(keepends=True)
    table.write_text("".join(line for i, line in enumerate(lines) if i % 4 != 1))  # one clip less of each speaker
    line = refusal(capsys, *again(unfinished, table))
    assert "its training rows were others than those of the data as it is now" in line


def test_what_changes_nothing_may_change(unfinished: Path, run: Path, corpus: Path, tmp_path: Path) -> None:
    shutil.rmtree(unfinished / "checkpoint-6")
    moved = tmp_path / "moved"
    os.rename(unfinished, moved)
    flags = ("--logging-steps", 1, "--name", "other", "--seed", 42)
    assert command(*again(moved, corpus, *flags)) == 0
    assert same_weights(moved, run) and read_results(moved)["model"]["name"] == "other"


def test_an_unfinished_run_starts_anew_where_it_is_told_to(
    unfinished: Path, run: Path, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refusal(capsys, *again(unfinished, corpus, "--resume-from-checkpoint", "false"))
    assert line.endswith("holds checkpoint-6 of an unfinished run; --overwrite starts anew")
    assert command(*again(unfinished, corpus, "--overwrite", max_steps=2)) == 0
    assert [path.name for path in unfinished.glob("checkpoint-*")] == ["checkpoint-2"]


def test_the_best_is_remembered_where_a_folder_was_moved(corpus: Path, tmp_path: Path) -> None:
    fields = {"validation": "0.3", "test": "none", "save_strategy": "steps", "save_steps": 1, "eval_strategy": "steps"}
    fields |= {"eval_steps": 1, "max_steps": 6, "save_total_limit": 20, "learning_rate": 1e-2}
    whole = train_tiny(tmp_path / "whole", corpus, **fields)
    state = read_json(whole / "checkpoint-6" / "trainer_state.json")
    best = state["best_global_step"]
    assert state["best_model_checkpoint"] == str(whole / f"checkpoint-{best}")
    weights = load_file(whole / f"checkpoint-{best}" / "model.safetensors")
    finished = load_file(whole / "model.safetensors")
    assert all(torch.equal(weights[name], finished[name]) for name in finished)
    moved = tmp_path / "moved"
    shutil.copytree(whole, moved)
    shutil.rmtree(whole)
    (moved / "results.json").unlink()
    config = write_yaml(tmp_path / "moved.yaml", dataset=str(corpus), **fields)
    assert command("train", config, "--output-dir", moved) == 0
    again = load_file(moved / "model.safetensors")
    assert all(torch.equal(weights[name], again[name]) for name in again)


def test_a_disk_that_fills_up_loses_nothing(
    small_disk: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The checkpoint before it stays loadable, and with room the same command goes on to the same weights."""
    fields = {**FIELDS, "save_total_limit": 9, "max_steps": 12, "dataset": str(corpus)}
    whole = train_tiny(tmp_path / "whole", corpus, **{name: fields[name] for name in fields if name != "dataset"})
    config, folder = write_yaml(tmp_path / "run.yaml", **fields), small_disk / "model"
    capsys.readouterr()
    assert command("train", config, "--output-dir", folder) == 2
    (line,) = capsys.readouterr().err.splitlines()
    found = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    assert found and len(found) < 6
    assert f"{folder}: the disk is full, and " in line and "could not be written" in line
    assert f"the last whole checkpoint is {found[-1]}" in line and "the same command" in line
    assert all(faults(checkpoint) == [] for checkpoint in found)
    assert not list(folder.glob(".*"))  # room is made again
    load_file(found[-1] / "model.safetensors")
    subprocess.run(["mount", "-o", "remount,size=60m", str(small_disk)], check=True)
    assert command("train", config, "--output-dir", folder) == 0
    assert same_weights(folder, whole)


def test_a_loss_that_is_nan_names_step_files_and_checkpoint(
    unfinished: Path, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A weight turned to NaN in a checkpoint that is whole otherwise: the next loss is NaN."""
    shutil.rmtree(unfinished / "checkpoint-6")
    path = unfinished / "checkpoint-4" / "model.safetensors"
    weights = load_file(path)
    name = next(name for name in weights if name.endswith("heads.0.linear.weight") or "heads" in name)
    weights[name] = torch.full_like(weights[name], torch.nan)
    save_file(weights, path, metadata={"format": "pt"})
    manifest = json.loads((path.parent / MANIFEST).read_text())
    facts = {name: manifest[name] for name in manifest if name != "files"}
    (path.parent / MANIFEST).unlink()
    publish(path.parent.rename(unfinished / ".staged"), unfinished / "checkpoint-4", facts)
    line = refusal(capsys, *again(unfinished, corpus))
    assert line.startswith("hf-speech train: training diverged: the loss is nan at step 5 on ")
    assert ".wav" in line and f"the last whole checkpoint is {unfinished}/checkpoint-4" in line
    assert not (unfinished / "results.json").exists()
