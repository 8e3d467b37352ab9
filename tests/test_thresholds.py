"""What the project promises of whole runs; minutes each, so `make test-slow`."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.real_speech import FOLDS, train
from benchmarks.speakers import LIMITS, ours, own_trials, rows_of, score
from hf_speech.results import Results

pytestmark = pytest.mark.slow


def value(results: Results, name: str) -> float:
    return next(row["value"] for row in results.metrics if row["split"] == "test" and row["name"] == name)


def test_quickstart_learns_the_shipped_voices_in_time(tmp_path: Path) -> None:
    started = time.monotonic()
    words = ["-m", "hf_speech.cli", "quickstart", "--output-dir", str(tmp_path / "model")]
    run = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=True)
    assert time.monotonic() - started <= 180
    assert value(Results.read(tmp_path / "model"), "accuracy") >= 0.90
    assert "Next:" in run.stdout and "hf-speech predict" in run.stdout


def test_emotion_of_actors_that_were_not_trained_on(speech: Path, tmp_path: Path) -> None:
    uars = []
    for actors in FOLDS:
        test = f"speaker_id={','.join(f'emodb_{actor}' for actor in actors)}"
        output = tmp_path / "-".join(actors)
        results = train("wav2vec2-small-emodb", speech / "emotion/metadata.csv", output, "--test", test)
        assert results.run["train_seconds"] <= 240
        uars.append(value(results, "uar"))
    assert sum(uars) / len(uars) >= 0.45, uars
    assert min(uars) >= 0.36, uars


def test_gender_of_speakers_that_were_not_trained_on(speech: Path, tmp_path: Path) -> None:
    results = train("wav2vec2-small-gender", speech / "speaker/metadata.csv", tmp_path / "gender")
    assert results.run["train_seconds"] <= 180
    assert value(results, "uar") >= 0.88


def test_double_attention_hears_emotion(speech: Path, tmp_path: Path) -> None:
    results = train("vgg-small-emodb", speech / "emotion/metadata.csv", tmp_path / "vgg")
    assert results.run["train_seconds"] <= 300
    assert value(results, "uar") >= 0.4


def test_speakers_that_were_trained_on_are_known(speech: Path, tmp_path: Path) -> None:
    folder = speech / "speaker"
    rows = rows_of(folder)
    embed, facts = ours(rows, folder, 1, tmp_path / "speakers")
    assert facts["train_seconds"] <= LIMITS["training, s"]
    measured = score(embed, folder, own_trials(folder, rows), rows)
    assert measured["backend"]["eer"]["value"] <= LIMITS["EER, all speakers"]
