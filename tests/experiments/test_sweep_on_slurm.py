"""A sweep through a real Slurm of one node: six runs, two at a time, one that crashes, one sent away and back."""

import csv
import os
import signal
import threading
from pathlib import Path

import pytest
import yaml

from hf_speech.experiments.jobs import Job
from hf_speech.testing import write_fake_corpus
from tests.training.runs import command, write_yaml

from .cluster import PARTITION
from .test_launchers import said, wait_for, writers
from .test_slurm import TRAINED, Watching, cluster, needs_slurm, one_thread

__all__ = ["cluster", "one_thread"]  # fixtures


@pytest.mark.slow
@needs_slurm
def test_six_runs(cluster: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus = write_fake_corpus(tmp_path / "corpus", speakers=6, per_speaker=4)
    rules = {"validation": "speaker_id=speaker04", "test": "speaker_id=speaker05"}
    root = tmp_path / "sweep"
    config = write_yaml(tmp_path / "run.yaml", dataset=str(corpus), **rules, **TRAINED)
    names = [f"learning_rate={rate}-seed{seed}" for rate in ("0.001", "0.003") for seed in (1, 2, 3)]
    jobs = [Job(name, root / "jobs" / f"{name}.yaml", root / "jobs" / f"{name}.log") for name in names]
    watching = Watching(root, jobs[0], 5, "scontrol requeue {}")

    def crash() -> None:
        wait_for(lambda: "step 3 of" in said(jobs[4]), 300)
        for process in writers(jobs[4].log):
            os.kill(process, signal.SIGKILL)

    crashing = threading.Thread(target=crash, daemon=True)
    watching.start()
    crashing.start()
    words = ["--grid", "learning_rate=0.001,0.003", "--seeds", "1,2,3", "--output-dir", root, "--launcher", "slurm"]
    words += ["--partition", PARTITION, "--parallel", 2, "--cpus", 1, "--minutes", 10, "--save-seconds", 30]
    status = command("sweep", config, *words)
    watching.stop()
    with (root / "sweep.csv").open(newline="") as file:
        rows = {row["run"]: row for row in csv.DictReader(file)}
    assert list(rows) == names and watching.most == 2
    assert [rows[name]["state"] for name in names] == [*["finished"] * 4, "dead", "finished"] and status == 1
    assert rows[names[4]]["value"] == "" and "SIGKILL" in rows[names[4]]["reason"]
    assert "5 of 6 runs are finished" in capsys.readouterr().err
    assert f"going on from {root / names[0]}/checkpoint-" in said(jobs[0])
    best = yaml.safe_load((root / "best.yaml").read_text())
    assert best["learning_rate"] == 0.001  # of the other one a seed is missing
    # The same command runs the one that died, and nothing else.
    before = {name: said(job) for name, job in zip(names, jobs, strict=True)}
    assert command("sweep", config, *words) == 0
    assert [name for name, job in zip(names, jobs, strict=True) if said(job) != before[name]] == [names[4]]
