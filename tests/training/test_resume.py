"""A run that is killed goes on by the same command, and ends with the weights of one that was not, bit for bit."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from hf_speech.training.checkpoints import checkpoints, step_of

from .runs import TINY, command, read_json, same_weights, write_yaml

Finish = Callable[[Path, Path], list[str]]

STEPS, SAVED_EVERY = 40, 3
# All that is random, or remembered from step to step: masks, dropout, crops, speeds, noise, babble, reverberation,
# workers, a schedule of cycles, a backbone that is frozen at first, and the best of the checkpoints.
EVERYTHING: dict[str, Any] = {
    "backbone_config": {**TINY["backbone_config"], "mask_time_prob": 0.2, "mask_time_length": 2, "hidden_dropout": 0.2},
    "max_steps": STEPS,
    "learning_rate": 1e-3,
    "validation": "speaker_id=speaker05",
    "test": "none",
    "logging_steps": 1,
    "save_strategy": "steps",
    "save_steps": SAVED_EVERY,
    "eval_strategy": "steps",
    "eval_steps": SAVED_EVERY,
    "early_stopping_patience": 100,
    "dataloader_num_workers": 2,
    "schedule": "triangular2",
    "schedule_config": {"cycles": 2, "base": 1e-6},
    "freeze_steps": 0.3,
    "augment": {
        "speeds": [0.9, 1.0, 1.1],
        "noise": {"probability": 0.5},
        "babble": {"probability": 0.3},
        "reverb": {"probability": 0.5},
        "gain": {"probability": 0.5},
    },
}
BATCHES = {"rows": {"per_device_train_batch_size": 4}, "seconds": {"batch_seconds": 3.0, "crop_seconds": None}}


def start(config: Path, folder: Path) -> subprocess.Popen[str]:
    """The command, in a process group of its own, so that its workers die with it.

    Some twenty lines after what was read last it waits to be read, so that a signal never comes too late.
    """
    return subprocess.Popen(
        [sys.executable, "-m", "hf_speech.cli", "train", str(config), "--output-dir", str(folder)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        pipesize=4096,
        start_new_session=True,
    )


@pytest.fixture
def finish(caplog: pytest.LogCaptureFixture) -> Finish:
    """Runs to the end in this process, which costs no imports -> what was said."""

    def run(config: Path, folder: Path) -> list[str]:
        caplog.clear()
        with caplog.at_level("INFO"):
            assert command("train", config, "--output-dir", folder) == 0
        return list(caplog.messages)

    return run


def kill(config: Path, folder: Path, step: int, delay: float, how: signal.Signals = signal.SIGKILL) -> list[str]:
    """Runs until a step is logged, and so many seconds more -> what was said."""
    process = start(config, folder)
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line.rstrip())
        if line.startswith(f"step {step} of"):
            break
    else:
        raise AssertionError(said[-5:])
    time.sleep(delay)
    os.killpg(process.pid, how)  # workers too, as a cluster does it
    said += process.communicate(timeout=120)[1].splitlines()
    assert process.returncode == (-how if how is signal.SIGKILL else 128 + how)
    return said


def check(finish: Finish, corpus: Path, folder: Path, batches: str, kills: int, seed: int, steps: int = STEPS) -> None:
    fields = {**EVERYTHING, **BATCHES[batches], "dataset": str(corpus), "max_steps": steps}
    config = write_yaml(folder / "run.yaml", **fields)
    finish(config, folder / "whole")
    draw = random.Random(seed)
    resumed = 0
    for step in sorted(draw.sample(range(1, steps), kills)):
        said = kill(config, folder / "killed", step, draw.uniform(0.0, 0.1))
        resumed += any(line.startswith("going on from") for line in said)
    said = finish(config, folder / "killed")
    assert resumed and any(line.startswith("going on from") for line in said)
    whole, killed = folder / "whole", folder / "killed"
    assert same_weights(whole, killed)
    last = f"checkpoint-{steps}"
    first, second = (load_file(place / last / "model.safetensors") for place in (whole, killed))
    assert all((first[key] == second[key]).all() for key in first)
    states = [read_json(place / last / "trainer_state.json") for place in (whole, killed)]
    for name in ("best_metric", "best_global_step", "global_step", "epoch"):
        assert states[0][name] == states[1][name]
    validated = [[entry for entry in state["log_history"] if "eval_loss" in entry] for state in states]
    assert validated[0] == validated[1] and len(validated[0]) == len(range(SAVED_EVERY, steps, SAVED_EVERY)) + 1
    assert not list(killed.glob(".*"))  # nothing half-written is left


def test_a_killed_run_ends_like_one_that_was_not(corpus: Path, tmp_path: Path, finish: Finish) -> None:
    check(finish, corpus, tmp_path, "seconds", kills=2, seed=3, steps=20)


@pytest.mark.slow
@pytest.mark.parametrize("batches", BATCHES)
def test_ten_kills_change_nothing(corpus: Path, tmp_path: Path, finish: Finish, batches: str) -> None:
    check(finish, corpus, tmp_path, batches, kills=10, seed=2)


def test_sigterm_saves_first(corpus: Path, tmp_path: Path, finish: Finish) -> None:
    """Between two of its checkpoints, and mid-epoch; the run that goes on is the run that was not stopped."""
    fields = {
        **EVERYTHING,
        **BATCHES["rows"],
        "max_steps": 30,
        "save_steps": 100,
        "eval_steps": 4,
        "save_strategy": "no",
    }
    fields |= {"dataset": str(corpus), "early_stopping_patience": None}
    config = write_yaml(tmp_path / "run.yaml", **fields)
    finish(config, tmp_path / "whole")
    said = kill(config, tmp_path / "stopped", 7, 0.0, signal.SIGTERM)
    (line,) = [line for line in said if "SIGTERM" in line]
    (saved,) = (tmp_path / "stopped").glob("checkpoint-*")
    step = int(saved.name.rpartition("-")[2])
    assert 7 <= step < 30
    assert line == (
        f"hf-speech train: stopped by SIGTERM at step {step} of 30, which is saved; the same command goes on from there"
    )
    said = finish(config, tmp_path / "stopped")
    assert f"going on from {saved}" in said
    assert same_weights(tmp_path / "whole", tmp_path / "stopped")


@pytest.mark.slow
def test_steps_are_gone_on_from_and_not_made_again(corpus: Path, tmp_path: Path, finish: Finish) -> None:
    fields = {**EVERYTHING, **BATCHES["rows"], "max_steps": 30, "dataset": str(corpus)}
    config = write_yaml(tmp_path / "run.yaml", **fields)
    kill(config, tmp_path / "killed", 7, 0.0)
    saved = max(step_of(path) for path in checkpoints(tmp_path / "killed"))
    said = finish(config, tmp_path / "killed")
    steps = [int(line.split()[1]) for line in said if line.startswith("step ") and "loss" in line]
    assert saved >= 6 and set(steps) == set(range(saved + 1, 31)) and steps == sorted(steps)


@pytest.mark.slow
def test_ctrl_c_says_where_the_run_goes_on(corpus: Path, tmp_path: Path) -> None:
    config = write_yaml(
        tmp_path / "run.yaml", **{**EVERYTHING, **BATCHES["rows"], "dataset": str(corpus), "save_total_limit": 1}
    )
    for step, folder in ((1, tmp_path / "early"), (8, tmp_path / "later")):
        said = kill(config, folder, step, 0.0, signal.SIGINT)
        saved = sorted(folder.glob("checkpoint-*"))
        goes_on = f"the same command goes on from {saved[-1]}" if saved else "there is no checkpoint yet"
        match = re.fullmatch(rf"hf-speech train: interrupted at step (\d+) of {STEPS}; {re.escape(goes_on)}", said[-1])
        assert match and step <= int(match[1]) < STEPS, said[-5:]
        assert not [line for line in said if "worker processes" in line]
    assert saved


@pytest.mark.slow
def test_a_worker_says_nothing_of_a_process_that_is_gone() -> None:
    """Ctrl-C may come while a worker hands a batch over: the line about the run is the last that is said."""
    code = """
import multiprocessing.resource_sharer as handing, socket, sys, time
if sys.argv[1] == "worker":
    from hf_speech.training.stopping import ignore_signals
    ignore_signals(0)
address, _ = handing._resource_sharer.register(None, None)
peer = socket.socket(socket.AF_UNIX)
peer.connect(address)
peer.close()  # in the middle of the greeting
time.sleep(0.5)
sys.excepthook(ValueError, ValueError("heard"), None)
"""
    said = {
        kind: subprocess.run([sys.executable, "-c", code, kind], capture_output=True, text=True, timeout=120).stderr
        for kind in ("worker", "stock")
    }
    assert said["worker"].splitlines() == ["ValueError: heard"]
    assert "in accept" in said["stock"] and said["stock"].endswith("ValueError: heard\n")
