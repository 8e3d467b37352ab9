"""results.json: the form, what is refused, what is written, and the facts a run collects."""

import copy
import hashlib
import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from hf_speech.errors import InputError
from hf_speech.metrics import classification_numbers
from hf_speech.results import (
    Results,
    commit_of,
    device_name,
    fingerprint,
    metric_rows,
    replacing,
    run_facts,
    validate,
)


def example() -> dict:
    """An emotion classifier's results, small enough to read; made of no run."""
    return {
        "model": {
            "name": "emotion-demo",
            "task": "audio-classification",
            "problem_type": "single_label_classification",
            "labels": ["anger", "neutral", "sadness"],
            "backbone": "facebook/wav2vec2-base",
            "parameters": 94371712,
            "layer": 9,
            "pooling": "mean+std",
            "head": "linear",
            "loss": "cross_entropy",
            "sample_rate": 16000,
            "architecture": "HfSpeechForSequenceClassification",
        },
        "data": {
            "name": "Berlin acted emotions",
            "target": "emotion",
            "synthetic": False,
            "language": ["de"],
            "license": "CC0",
            "splits": {
                "train": {
                    "utterances": 312,
                    "speakers": 8,
                    "seconds": 868.32,
                    "labels": {"anger": 101, "neutral": 109, "sadness": 102},
                },
                "validation": {
                    "utterances": 40,
                    "speakers": 1,
                    "seconds": 110.5,
                    "labels": {"anger": 14, "neutral": 13, "sadness": 13},
                },
                "test": {
                    "utterances": 37,
                    "speakers": 1,
                    "seconds": 97.25,
                    "labels": {"anger": 12, "neutral": 13, "sadness": 12},
                },
            },
            "split_rule": {"validation": "speaker_id=03", "test": "speaker_id=08|09"},
            "left_out": [{"file": "03a01Fa.wav", "reason": "no samples"}],
            "unlabelled": 5,
            "overlaps": [
                {"between": ["train", "test"], "what": "session_id", "count": 2, "of": [9, 3], "examples": ["a", "b"]}
            ],
        },
        "metrics": [
            {
                "name": "uar",
                "value": 0.7312,
                "low": 0.5821,
                "high": 0.8649,
                "unit": "fraction",
                "interval_unit": "utterance",
                "dataset": "Berlin acted emotions",
                "split": "test",
                "n": 37,
                "fingerprint": "0123456789abcdef",
            },
            {
                "name": "accuracy",
                "value": 0.7297,
                "low": 0.5676,
                "high": 0.8649,
                "unit": "fraction",
                "interval_unit": "utterance",
                "dataset": "Berlin acted emotions",
                "split": "test",
                "n": 37,
                "fingerprint": "0123456789abcdef",
            },
        ],
        "confusion": {"labels": ["anger", "neutral", "sadness"], "counts": [[9, 2, 1], [1, 9, 3], [1, 2, 9]]},
        "run": {
            "seed": 7,
            "commit": "a88850e0c1d2e3f4a5b6c7d8e9f00112233445566",
            "versions": {"python": "3.11.7", "torch": "2.13.0"},
            "device": "CPU (2 threads)",
            "wall_seconds": 412.6,
            "steps": 300,
            "epochs": 15.0,
            "arguments": {"learning_rate": 0.0001, "target": "emotion"},
            "recipe": {"optimizer": "adamw", "learning_rate": 0.0001, "batch": 16, "crop_seconds": 3.0},
        },
    }


def test_what_is_written_is_read_back_equal(tmp_path: Path) -> None:
    results = Results(**example())
    assert results.write(tmp_path / "new" / "folder").name == "results.json"
    assert Results.read(tmp_path / "new" / "folder") == results
    assert [path.name for path in (tmp_path / "new" / "folder").iterdir()] == ["results.json"]


def test_nan_and_the_infinities_become_null_and_numpy_becomes_python(tmp_path: Path) -> None:
    content = example()
    content["metrics"][0] |= {"value": float("nan"), "low": np.float32("nan"), "high": float("inf")}
    content["confusion"]["counts"] = np.eye(3, dtype=np.int64)
    content["run"]["arguments"] = {"data": tmp_path, "splits": ("train", np.int32(3))}
    path = Results(**content).write(tmp_path)

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    written = json.loads(path.read_text(), parse_constant=refuse)
    assert [written["metrics"][0][key] for key in ("value", "low", "high")] == [None, None, None]
    assert written["confusion"]["counts"] == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert written["run"]["arguments"] == {"data": str(tmp_path), "splits": ["train", 3]}


@pytest.mark.parametrize(
    "keys",
    [(s, k) for s, fields in example().items() if isinstance(fields, dict) for k in fields if k != "overlaps"],
)
def test_a_missing_field_is_named(keys: tuple[str, str]) -> None:
    content = example()
    del content[keys[0]][keys[1]]
    with pytest.raises(InputError, match=rf"{keys[0]} has no '{keys[1]}'; the fields are .*{keys[1]}"):
        validate(content)


@pytest.mark.parametrize("section", ["model", "data", "metrics", "confusion", "run"])
def test_a_missing_section_is_named(section: str) -> None:
    content = example()
    del content[section]
    with pytest.raises(InputError, match=f"has no '{section}'"):
        validate(content)


def _change(change: str, value: object) -> dict:
    """The example with one field changed; the path to it is written with dots."""
    content: dict = copy.deepcopy(example())
    *path, last = [int(part) if part.isdigit() else part for part in change.split(".")]
    place: dict = content
    for part in path:
        place = place[part]
    place[last] = value
    return content


@pytest.mark.parametrize(
    ("change", "value", "message"),
    [
        ("metrics.0.low", None, r"metrics\[0\]\.low is null beside the value 0.7312; a number needs its 95 % interval"),
        ("metrics.1.high", None, r"metrics\[1\]\.high is null beside the value"),
        ("metrics.0.low", 0.9, r"metrics\[0\]\.low is 0.9, above high, 0.8649"),
        ("metrics.0.value", "0.73", r"metrics\[0\]\.value is '0.73'; it must be a whole number or a number or null"),
        ("metrics.0.interval_unit", "session", r"interval_unit is 'session'; valid: speaker, utterance, trial"),
        ("model.tasks", [{"name": "age"}], r"model\.tasks\[0\] has no 'problem_type'"),
        ("model.tasks", {"age": 1}, r"model\.tasks is \{'age': 1\}; it must be a list"),
        ("metrics.0", {"name": "uar", "value": 0.5}, r"metrics\[0\] has no 'low'"),
        ("model.parameters", "94M", r"model\.parameters is '94M'; it must be a whole number"),
        ("model.parameters", True, r"model\.parameters is True; it must be a whole number"),
        ("data.synthetic", 0, r"data\.synthetic is 0; it must be a bool"),
        ("data.splits.test", {"utterances": 3}, r"data\.splits\.test has no 'speakers'"),
        ("data.overlaps", 3, r"data\.overlaps is 3; it must be a list or null"),
        ("data.overlaps.0", {"between": ["train", "test"]}, r"data\.overlaps\[0\] has no 'what'"),
        ("data.overlaps.0.of", [9], r"data\.overlaps\[0\]\.of has 1 entries; it must have one for each of two splits"),
        ("model.problem_type", "regression", r"data has no 'unit'"),
        ("model.bytes", "377 MB", r"model\.bytes is '377 MB'; it must be a whole number"),
        ("model.layer_weights", 0.5, r"model\.layer_weights is 0.5; it must be a list"),
        ("data.compared", None, r"data\.compared is None; it must be a list"),
        ("data.splits.test.groups", [], r"data\.splits\.test\.groups is \[\]; it must be an object"),
        ("data.splits.test.group_labels", [], r"data\.splits\.test\.group_labels is \[\]; it must be an object"),
        ("data.on_hub", "yes", r"data\.on_hub is 'yes'; it must be a bool"),
        ("run.speed", 3.0, r"run\.speed is 3.0; it must be an object"),
        ("run.speed", {"split": "test"}, r"run\.speed has no 'audio_seconds_per_second'"),
        ("run.energy", {"kwh": 1.0}, r"run\.energy has no 'co2_kg'"),
        ("confusion.counts", [[1, 2, 3], [4, 5, 6]], r"confusion\.counts must be 3 rows of 3"),
        ("run", [], r"run is \[\]; it must be an object"),
    ],
)
def test_what_lacks_the_form_is_refused_and_not_written(
    change: str, value: object, message: str, tmp_path: Path
) -> None:
    content = _change(change, value)
    with pytest.raises(InputError, match=message) as raised:
        Results(**content).write(tmp_path)
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.iterdir())


def test_what_may_be_left_out_may_be_there() -> None:
    content = example()
    content["model"] |= {"bytes": 1, "layer_weights": [0.5, 0.5]}
    content["data"] |= {"compared": ["file"], "on_hub": True}
    content["data"]["splits"]["test"]["groups"] = {"gender": {"female": 3}}
    speed = {"audio_seconds_per_second": None, "split": None, "latency_seconds": 0.1, "utterance_seconds": 5.0}
    content["run"]["speed"] = speed | {"repetitions": 5, "threads": 1, "dtype": "float32"}
    content["run"]["energy"] = {"kwh": 0.1, "co2_kg": 0.02, "source": "codecarbon 3.3.2", "from_step": 0}
    validate(content)


@pytest.mark.parametrize("overlaps", [[], None])
def test_overlaps_may_be_none_not_looked_for_or_left_out(overlaps: list | None) -> None:
    content = _change("data.overlaps", overlaps)
    validate(content)
    del content["data"]["overlaps"]
    validate(content)


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"no results.json in {tmp_path}; `hf-speech evaluate` writes one"):
        Results.read(tmp_path)
    (tmp_path / "results.json").write_text("{")
    with pytest.raises(InputError, match="results.json is not JSON"):
        Results.read(tmp_path)
    (tmp_path / "results.json").write_text("[]")
    with pytest.raises(InputError, match="results.json is a list, not an object"):
        Results.read(tmp_path)


def test_an_error_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), replacing(path) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_pipe_is_written_to_and_stays_one(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with replacing(path) as itself:
        itself.write_text("whole")
    assert os.read(reader, 100) == b"whole" and path.is_fifo()
    os.close(reader)


def test_fingerprint_is_that_of_the_sorted_lines() -> None:
    assert fingerprint(["b", "a"]) == hashlib.sha256(b"a\nb\n").hexdigest()[:16]
    assert fingerprint(["a", "b"]) != fingerprint(["ab"])


def test_metric_rows_have_the_form() -> None:
    numbers = classification_numbers([0, 1, 2, 1], [0, 1, 1, 1], 3)
    rows = metric_rows(numbers, dataset="d", split="test", ids=["a", "b", "c", "d"])
    validate(example() | {"metrics": rows})
    undefined = [{"name": "pearson_r", "value": float("nan"), "low": float("nan"), "high": float("nan")}]
    assert metric_rows(undefined, dataset="d", split="test", ids=["a"])[0]["value"] is None
    assert {(row["n"], row["split"], row["fingerprint"]) for row in rows} == {(4, "test", fingerprint("abcd"))}


def test_run_facts_are_those_of_this_process() -> None:
    facts = run_facts(3, steps=10, recipe={"optimizer": "adamw"})
    validate(example() | {"run": facts})
    assert facts["versions"]["torch"] == torch.__version__
    assert facts["versions"]["numpy"] == np.__version__
    assert (facts["seed"], facts["steps"], facts["wall_seconds"]) == (3, 10, None)


def test_a_cpu_is_named_with_its_threads() -> None:
    assert device_name("cpu").startswith("CPU (")
    assert device_name("cpu").endswith(f"{torch.get_num_threads()} threads)")


def test_commit_is_that_of_the_files_own_checkout(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=A", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
        done = subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    file = tmp_path / "code.py"
    file.write_text("1")
    assert commit_of(file) is None
    git("init")
    assert commit_of(file) is None
    git("add", "code.py")
    git("commit", "-m", "x")
    git("tag", "v1")
    head = git("rev-parse", "HEAD")
    assert commit_of(file) == head
    (tmp_path / "stranger.py").write_text("1")
    assert commit_of(tmp_path / "stranger.py") is None
    file.write_text("2")
    assert commit_of(file) == head + "-dirty"
