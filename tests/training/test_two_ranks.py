"""Two processes that train one model: they decide alike, and go on alike when all of them were killed.

Run as a script it is one rank: it trains the config that it is given and writes what it validated.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file
from transformers import TrainerCallback

from hf_speech.inference import infer
from hf_speech.ranks import leave_process_group
from hf_speech.training.arguments import read_config
from hf_speech.training.setup import make_trainer, read_and_build
from hf_speech.training.trainer import validation_numbers
from tests.ranks import TORCHRUN, finish_ranks, start_ranks
from tests.training.runs import same_weights, write_yaml
from tests.training.test_resume import BATCHES, EVERYTHING


def test_ranks_decide_by_the_same_numbers(corpus: Path, tmp_path: Path) -> None:
    """Each rank's batch norms have seen other rows last; schedule and early stopping must not part over that."""
    config = write_yaml(
        tmp_path / "run.yaml",
        dataset=str(corpus),
        head="batchnorm",
        learning_rate=0.03,
        validation="speaker_id=speaker05",
        test="none",
        per_device_train_batch_size=2,
        max_steps=60,
        eval_strategy="steps",
        eval_steps=1,
        save_strategy="no",
        logging_steps=1,
        schedule="plateau",
        schedule_config={"patience": 1},
        early_stopping_patience=6,
    )
    finish_ranks(__file__, config, tmp_path / "model")
    first, second = (json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in range(2))
    assert first["statistics"] != second["statistics"]  # or nothing here could have gone wrong
    for name in ("step", "validated", "rates", "best", "alone"):
        assert first[name] == second[name], name
    assert first["step"] < 60 and len(set(first["rates"])) > 1  # both did have to decide
    assert first["together"] == pytest.approx(first["alone"], abs=1e-6)
    assert sorted(first["heard"] + second["heard"]) == [1, 1, 1, 1]  # every validation row by one of them, once
    assert len(first["heard"]) == len(second["heard"]) == 2


@pytest.mark.slow
def test_killed_ranks_go_on_alike(corpus: Path, tmp_path: Path) -> None:
    fields = {**EVERYTHING, **BATCHES["seconds"], "max_steps": 12, "dataset": str(corpus)}
    config = write_yaml(tmp_path / "run.yaml", **fields)
    words = ["-m", "hf_speech.cli", "train", config, "--output-dir"]
    finish_ranks(*words, tmp_path / "whole")
    process = start_ranks(*words, tmp_path / "killed", launcher=TORCHRUN)
    assert process.stderr is not None
    assert any(line.startswith("step 8 of") for line in process.stderr)
    kill_all(tmp_path / "killed")
    process.communicate(timeout=60)
    said = finish_ranks(*words, tmp_path / "killed")
    assert any(line.startswith("going on from") for line in said)
    assert same_weights(tmp_path / "whole", tmp_path / "killed")
    first, second = (load_file(tmp_path / run / "checkpoint-12/model.safetensors") for run in ("whole", "killed"))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_rank_that_dies_takes_the_others_along(corpus: Path, tmp_path: Path) -> None:
    config = write_yaml(tmp_path / "run.yaml", dataset=str(corpus), max_steps=5_000, logging_steps=5)
    words = ["-m", "hf_speech.cli", "train", config, "--output-dir", tmp_path / "model"]
    process = start_ranks(*words, launcher=TORCHRUN)
    assert process.stderr is not None
    assert any(line.startswith("step 10 of") for line in process.stderr)
    began = time.monotonic()
    kill_all(tmp_path / "model", only_rank=1)
    said = process.communicate(timeout=60)[1]
    assert time.monotonic() - began < 60 and process.returncode == 1
    [line] = [line for line in said.splitlines() if "another process of this run has ended (" in line]
    assert line.startswith("hf-speech train: ") and "GLHF" not in line and "): what it said itself" in line
    assert "rank      : 1 (local_rank: 1)\n  exitcode  : -9" in said  # torchrun names the first that failed


@pytest.mark.slow
def test_what_all_refuse_is_said_once(corpus: Path, tmp_path: Path) -> None:
    """A field that does not exist; and folds, whose runs are no ranks of each other."""
    config = write_yaml(tmp_path / "run.yaml", dataset=str(corpus))
    words = {"train": ["--polling", "mean"], "crossval": ["--folds", "speaker_id", "--output-dir", tmp_path / "new"]}
    expected = {"train": "(did you mean 'pooling'?)", "crossval": "start it without torchrun and accelerate launch"}
    for name, flags in words.items():
        process = start_ranks("-m", "hf_speech.cli", name, config, *flags)
        lines = process.communicate(timeout=60)[1].splitlines()
        [line] = [line for line in lines if line.startswith(f"hf-speech {name}: ")]
        assert expected[name] in line
        assert any(said.strip().startswith("exitcode  : 2 ") for said in lines)  # torchrun's own words
    assert not (tmp_path / "new").exists()


def kill_all(folder: Path, only_rank: int | None = None) -> None:
    """SIGKILL to each process that has the folder in its command line; torchrun gives its own other process groups."""
    for place in Path("/proc").glob("[0-9]*"):
        try:
            words = (place / "cmdline").read_bytes().split(b"\0")
            settings = (place / "environ").read_bytes().split(b"\0")
        except OSError:  # it has ended by now
            continue
        if str(folder).encode() in words and (only_rank is None or f"RANK={only_rank}".encode() in settings):
            os.kill(int(place.name), signal.SIGKILL)


class Statistics(TrainerCallback):
    """Notes what a batch norm has seen, step by step."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        self.seen.append(sum(float(v.double().sum()) for name, v in model.named_buffers() if "running_mean" in name))


def rank(config_file: Path, folder: Path) -> dict[str, Any]:
    """One rank's run -> what it validated and did."""
    config = read_config(config_file, {"output_dir": str(folder)})
    rows, model, extractor = read_and_build(config)
    trainer = make_trainer(config, rows, model, extractor)
    statistics = Statistics()
    trainer.add_callback(statistics)
    trainer.train()
    history = list(trainer.state.log_history)
    validation, heard = rows.splits["validation"], []
    hook = model.register_forward_hook(lambda module, inputs, output: heard.extend([1] * len(output.logits)))
    together = trainer.evaluate()["eval_loss"]
    hook.remove()
    return {
        "step": trainer.state.global_step,
        "statistics": statistics.seen,
        "together": together,
        "alone": validation_numbers(model, infer(model, extractor, validation), validation)["loss"],
        "heard": heard,
        "validated": [entry for entry in history if "eval_loss" in entry],
        "rates": [entry["learning_rate"] for entry in history if "learning_rate" in entry],
        "best": [trainer.state.best_metric, trainer.state.best_global_step],
    }


def main() -> None:
    config, folder = map(Path, sys.argv[1:])
    found = rank(config, folder)
    (folder.parent / f"rank{dist.get_rank()}.json").write_text(json.dumps(found))
    leave_process_group()


if __name__ == "__main__":
    main()
