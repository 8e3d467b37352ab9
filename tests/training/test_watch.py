"""What a run says of how it goes, and metrics.csv."""

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hf_speech.data.collator import BatchOrigin
from hf_speech.training.watch import Watch

from .runs import read_json, read_results, read_table, train_tiny, write_yaml


def test_counts_of_audio_waiting_and_padding(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    watch = Watch(sample_rate=1_000, processes=2)
    with watch.waiting():
        now = 103.0
    with watch.apart():  # a validation
        now = 203.0
    watch.count(BatchOrigin(("a", "b"), 3_000, 4_000))
    watch.count(BatchOrigin(("c",), 3_000, 4_000))
    now = 210.0
    numbers = watch.numbers()
    assert numbers["audio_seconds_per_second"] == pytest.approx(2 * 6.0 / 10.0)
    assert (numbers["data_wait"], numbers["padding"]) == (0.3, 0.25)
    assert numbers["memory_gb"] > 0.05  # torch alone
    now = 211.0
    assert watch.numbers()["audio_seconds_per_second"] == 0


def test_metrics_are_kept_as_a_table(corpus: Path, tmp_path: Path) -> None:
    fields = {"validation": "0.3", "test": "none", "num_train_epochs": 3}
    folder = train_tiny(tmp_path / "model", corpus, "--logging-steps", 1, **fields)
    rows = read_table(folder / "metrics.csv")
    assert list(rows[0])[:5] == ["step", "epoch", "loss", "learning_rate", "grad_norm"]
    trained, validated = [row for row in rows if row["loss"]], [row for row in rows if row["eval_loss"]]
    assert [int(row["step"]) for row in trained] == list(range(1, read_results(folder)["run"]["steps"] + 1))
    assert len(validated) == 3 and all(0 <= float(row["eval_uar"]) <= 1 for row in validated)
    for row in trained:
        assert float(row["audio_seconds_per_second"]) > 0 and 0 <= float(row["data_wait"]) <= 1
        assert 0 <= float(row["padding"]) < 0.6 and float(row["memory_gb"]) > 0.05
    assert (folder / "curves.png").is_file()


def test_tensorboard_is_written(corpus: Path, tmp_path: Path) -> None:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    folder = train_tiny(
        tmp_path / "model", corpus, "--report-to", "tensorboard", "--logging-steps", 1, max_steps=2, test="none"
    )
    (file,) = folder.rglob("events.out.tfevents.*")
    events = reader.EventAccumulator(str(file)).Reload()
    assert {"train/loss", "train/learning_rate", "train/audio_seconds_per_second"} <= set(events.Tags()["scalars"])
    assert [event.step for event in events.Scalars("train/loss")] == [1, 2]


def test_trackio_is_written(corpus: Path, tmp_path: Path) -> None:
    pytest.importorskip("trackio")
    config = write_yaml(tmp_path / "run.yaml", dataset=str(corpus), max_steps=2, test="none", logging_steps=1)
    words = ["train", str(config), "--output-dir", str(tmp_path / "model"), "--report-to", "trackio"]
    home = {**os.environ, "HF_HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    run = subprocess.run([sys.executable, "-m", "hf_speech.cli", *words], env=home, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    with sqlite3.connect(next(tmp_path.rglob("*.db"))) as table:
        logged = [json.loads(text) for (text,) in table.execute("select metrics from metrics order by step")]
    steps = [entry for entry in logged if "train/loss" in entry]
    assert [entry["train/global_step"] for entry in steps] == [1, 2]
    assert all(entry["train/audio_seconds_per_second"] > 0 for entry in steps)


def test_a_run_that_is_shorter_than_the_log_s_steps_has_a_curve(corpus: Path, tmp_path: Path) -> None:
    fields = {"max_steps": 3, "logging_steps": 100, "validation": "0.3", "test": "none"}
    folder = train_tiny(tmp_path / "model", corpus, **fields)
    assert [row["step"] for row in read_table(folder / "metrics.csv") if row["loss"]] == ["3"]
    assert (folder / "curves.png").stat().st_size > 1_000


def test_the_log_has_no_rates_of_batches_that_never_were(
    corpus: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    fields: dict[str, Any] = {"batch_seconds": 4.0, "balance": "speaker_id", "max_steps": 2, "test": "none"}
    folder = train_tiny(tmp_path / "model", corpus, **fields, augment={"speeds": [0.9, 1.0]})
    summary = read_json(folder / "checkpoint-2" / "trainer_state.json")["log_history"]
    said = "\n".join(caplog.messages)
    assert " s in all, mean loss " in said and " s of audio a second, " in said
    for name in ("train_samples_per_second", "train_steps_per_second", "total_flos"):
        assert name not in said and not any(name in entry for entry in summary)
    assert "; before speeds: every row as at the slowest" in said
    recipe = read_results(folder)["run"]["recipe"]
    assert "batch" not in recipe and (recipe["batch_seconds"], recipe["balance"]) == (4.0, "speaker_id")
    card = (folder / "README.md").read_text()
    assert "| batch seconds | 4.0 |" in card and "| balance | speaker_id |" in card
