"""Folds x runs by the real command: the table, what goes on after a kill, what is refused."""

import csv
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from hf_speech.files import write_table
from hf_speech.results import Results
from hf_speech.testing import write_fake_corpus

from ..training.runs import command, refusal, write_yaml

TABLES = ("table.csv", "results.json")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_fake_corpus(tmp_path_factory.mktemp("corpus"), speakers=6, per_speaker=4)


def config_of(folder: Path, corpus: Path, **fields: object) -> Path:
    return write_yaml(folder / "run.yaml", dataset=str(corpus), validation="none", max_steps=4, **fields)


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.open(newline="")))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> Path:
    """Two runs of three folds."""
    folder = tmp_path_factory.mktemp("crossval")
    words = ["--folds", "speaker_id/3", "--runs", 2, "--parallel", 2, "--output-dir", folder / "table"]
    assert command("crossval", config_of(folder, corpus), *words) == 0
    return folder / "table"


def test_the_table_is_what_the_runs_measured(finished: Path) -> None:
    results, rows = Results.read(finished), rows_of(finished / "table.csv")
    assert [(row["fold"], row["run"], row["seed"], row["state"]) for row in rows] == [
        (f"fold{fold}", str(run), str(41 + run), "finished") for run in (1, 2) for fold in (1, 2, 3)
    ]
    for number in results.metrics:
        values = np.array([float(row[number["name"]]) for row in rows]).reshape(2, 3)
        assert number["value"] == pytest.approx(values.mean())
        assert number["fold_std"] == pytest.approx(values.std(axis=1).mean())
        assert number["run_std"] == pytest.approx(values.mean(axis=1).std())
        assert number["low"] <= number["value"] <= number["high"] and number["n"] == 24
    for row in rows:
        own = Results.read(finished / f"{row['fold']}-run{row['run']}")
        assert {n["name"]: n["value"] for n in own.metrics}["uar"] == pytest.approx(float(row["uar"]))
        assert own.run["seed"] == int(row["seed"])
    added = np.array(results.confusion["counts"])  # type: ignore[index]
    assert added.sum() == 48 and added.sum(axis=1).tolist() == [24, 24]


def test_the_page_shows_fold_by_fold(finished: Path) -> None:
    page = (finished / "README.md").read_text()
    table, rest = page.split("\n\n", 3)[2:]
    names = [line.split(" | ")[0] for line in table.splitlines()[2:]]
    assert names == ["| fold1", "| fold2", "| fold3", "| **mean**", "| 95 % interval", "| fold std", "| run std"]
    assert "they cover neither the variation between speakers nor another seed" in page
    assert "  " not in page.replace("|  |", "|")
    held_out = [line for line in rest.splitlines() if line.startswith("| fold")]
    assert len(held_out) == 3 and all(line.count("speaker0") == 2 for line in held_out)
    counts = np.array(Results.read(finished).confusion["counts"])  # type: ignore[index]
    recall = (np.diag(counts) / counts.sum(1)).mean()
    assert f"taken together: UAR (unweighted average recall, UA) {recall:.3f}" in page and "UAR is 0.500." in page
    assert "the last step's: there are no validation rows" in page
    card = (finished / "fold1-run1" / "README.md").read_text()
    assert "| checkpoint | the last step's |" in card
    assert (finished / "folds.png").stat().st_size > 5_000 and (finished / "confusion.png").exists()


def test_the_same_command_trains_nothing_again(finished: Path, corpus: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.glob("fold*/model.safetensors")}
    words = ["--folds", "speaker_id/3", "--runs", 2, "--output-dir", finished]
    assert command("crossval", finished.parent / "run.yaml", *words) == 0
    assert before == {path: path.stat().st_mtime_ns for path in finished.glob("fold*/model.safetensors")}


def test_other_labels_are_never_mixed_into_one_table(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = Path(shutil.copytree(corpus.parent, tmp_path / "own")) / corpus.name
    words = ["crossval", config_of(tmp_path, own), "--folds", "speaker_id/2", "--output-dir", tmp_path / "table"]
    assert command(*words) == 0
    before = Results.read(tmp_path / "table")
    text = own.read_text()
    swapped = {"low": "high", "high": "low"}
    own.write_text(re.sub(r"\b(low|high)\b", lambda match: swapped[match[0]], text))
    assert "the data has other rows or labels now" in refusal(capsys, *words, "--runs", 2)
    own.write_text("\n".join(text.splitlines()[:-1]) + "\n")
    assert "the data has other rows or labels now" in refusal(capsys, *words)
    own.write_text(text)
    assert command(*words) == 0
    again = Results.read(tmp_path / "table")
    assert again.metrics == before.metrics and again.run["wall_seconds"] == before.run["wall_seconds"]
    (tmp_path / "table/fold1-run1/train.yaml").unlink()
    mend = f"delete the folder {tmp_path / 'table/fold1-run1'}, and it is run again"
    assert mend in refusal(capsys, *words)


def test_an_experiment_that_never_began_holds_no_folder(corpus: Path, tmp_path: Path) -> None:
    """A file stands in the place of the only folders; the experiment that is given then is another one."""
    place = tmp_path / "t"
    place.mkdir()
    for name in ("fold1-run1", "fold2-run1"):
        (place / name).write_text("")
    words = ["crossval", config_of(tmp_path, corpus), "--output-dir", place]
    assert command(*words, "--folds", "speaker_id/2") == 2
    assert (place / "experiment.yaml").exists()
    assert command(*words, "--folds", "speaker_id/3", "--learning-rate", "0.1") == 2  # fold3 is run
    assert rows_of(place / "table.csv")[2]["state"] == "finished"


def test_a_task_that_a_fold_can_not_test_is_refused(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{**row, "mood": "" if row["speaker_id"] == "speaker02" else row["label"]} for row in rows_of(corpus)]
    rows = [{**row, "path": str(corpus.parent / row["path"])} for row in rows]
    write_table(rows, tmp_path / "moods.csv")
    config = config_of(tmp_path, tmp_path / "moods.csv", tasks={"label": {}, "mood": {}})
    said = refusal(capsys, "crossval", config, "--folds", "speaker_id", "--output-dir", tmp_path / "t")
    assert "fold speaker02: no test row has a mood; leave that task out, or the rows" in said


def test_another_experiment_in_the_folder_is_refused(
    finished: Path, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = finished.parent / "run.yaml"
    words = ["--output-dir", finished]
    said = refusal(capsys, "crossval", config, "--folds", "speaker_id/3", *words, "--learning-rate", "0.1")
    assert f"{finished}: holds another cross-validation: learning_rate is 0.003 there and 0.1 here" in said
    said = refusal(capsys, "crossval", config, "--folds", "speaker_id/2", *words)
    assert "folds is speaker_id/3 there and speaker_id/2 here" in said
    said = refusal(capsys, "sweep", config, "--grid", "max_steps=1,2", "--validation", "0.3", *words)
    assert "holds a cross-validation; give another --output-dir" in said
    said = refusal(capsys, "crossval", config, "--folds", "speaker_id/3", "--output-dir", finished / "fold1-run1")
    assert "holds a model; give another --output-dir" in said


def test_a_run_that_dies_is_named_and_the_others_are_kept(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file stands in the place of one run's folder; the same command goes on when it is gone."""
    place = tmp_path / "t"
    place.mkdir()
    (place / "fold2-run1").write_text("")
    words = ["crossval", config_of(tmp_path, corpus), "--folds", "speaker_id/2", "--output-dir", place]
    status = command(*words)
    said = capsys.readouterr().err.splitlines()[-1]
    states = {row["fold"]: row["state"] for row in rows_of(place / "table.csv")}
    assert states == {"fold1": "finished", "fold2": "dead"} and status == 2
    wrong = f"fold2-run1: {place / 'fold2-run1'}: is a file"
    assert f"1 of 2 runs are finished ({place / 'table.csv'}), 1 run is not: {wrong}" in said
    assert not (place / "results.json").exists()
    (place / "fold2-run1").unlink()
    assert command(*words) == 0 and (place / "results.json").exists()


@pytest.mark.slow
def test_killed_three_times_it_ends_with_the_same_table(finished: Path, corpus: Path, tmp_path: Path) -> None:
    """Each time it is killed a random while after it has begun a run: some runs are then finished, and others not."""
    words = ["--folds", "speaker_id/3", "--runs", "2", "--output-dir", str(tmp_path / "table")]
    line = [sys.executable, "-m", "hf_speech.cli", "crossval", str(config_of(tmp_path, corpus)), *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    draw = random.Random(5)
    for _ in range(3):
        process = subprocess.Popen(line, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True)
        assert process.stderr is not None
        assert any(": started" in said for said in process.stderr)
        time.sleep(draw.uniform(0.0, 2.0))
        assert process.poll() is None  # it is at work
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        time.sleep(3.0)  # its runs notice that they are alone
    assert subprocess.run(line, env=environment, stderr=subprocess.DEVNULL, check=False).returncode == 0
    one, two = Results.read(finished), Results.read(tmp_path / "table")
    assert one.metrics == two.metrics and one.confusion == two.confusion
    assert (finished / "table.csv").read_text() == (tmp_path / "table" / "table.csv").read_text()
