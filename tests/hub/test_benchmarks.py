"""Which numbers go to the leaderboards of benchmarks."""

from collections.abc import Callable
from typing import Any

import huggingface_hub
import pytest
import yaml

from hf_speech.errors import InputError
from hf_speech.hub.benchmarks import benchmark_files

from ..test_results import example
from .conftest import Command

FILE = ".eval_results/lab--bench.yaml"


@pytest.fixture
def benchmark(ada: Command) -> Callable[[object], huggingface_hub.HfApi]:
    """Makes a data set a benchmark, whose eval.yaml has that content."""

    def made(content: object) -> huggingface_hub.HfApi:
        api = ada.hub.api("ada")
        api.create_repo("lab/bench", repo_type="dataset", exist_ok=True)
        text = content if isinstance(content, bytes) else yaml.safe_dump(content).encode()
        api.upload_file(path_or_fileobj=text, path_in_repo="eval.yaml", repo_id="lab/bench", repo_type="dataset")
        return huggingface_hub.HfApi()

    return made


def _metrics(**splits: float) -> list[dict[str, Any]]:
    one = example()["metrics"][0]
    ends = {"low": 0.0, "high": 1.0, "dataset": "lab/bench"}
    return [{**one, **ends, "split": split.replace("_", ", "), "value": value} for split, value in splits.items()]


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ({}, [(0.5, "test")]),
        ({"split": "test"}, [(0.5, "test")]),
        ({"split": "validation"}, [(0.9, "validation")]),
        ({"split": "elsewhere"}, []),
        ({"config": "default"}, [(0.5, "test")]),
        ({"config": "other"}, []),
    ],
)
def test_a_task_takes_the_split_that_it_names_or_one_that_is_held_out(
    benchmark: Callable[[object], huggingface_hub.HfApi], task: dict[str, str], expected: list[tuple[float, str]]
) -> None:
    api = benchmark({"tasks": [{"id": "t", **task}]})
    metrics = _metrics(train=1.0, validation=0.9, test_women=0.7, test=0.5)
    files = benchmark_files(api, metrics, None, "https://example.org")
    entries = yaml.safe_load(files[FILE]) if files else []
    assert [entry["value"] for entry in entries] == [value for value, _ in expected]
    for entry, (_, split) in zip(entries, expected, strict=True):
        assert entry["notes"].startswith(f"UAR (unweighted average recall, UA) on split {split}, 95 % interval ")


def test_validation_alone_is_not_taken_for_a_result(benchmark: Callable[[object], huggingface_hub.HfApi]) -> None:
    api = benchmark({"tasks": [{"id": "t"}]})
    assert benchmark_files(api, _metrics(train=1.0, validation=0.9, test_women=0.7), None, "https://example.org") == {}


def test_data_here_that_are_called_like_a_benchmark_are_none(
    benchmark: Callable[[object], huggingface_hub.HfApi],
) -> None:
    api, metrics = benchmark({"tasks": [{"id": "t"}]}), _metrics(test=0.5)
    assert list(benchmark_files(api, metrics, None, "https://example.org")) == [FILE]
    assert benchmark_files(api, metrics, None, "https://example.org", lambda name: False) == {}


@pytest.mark.parametrize("content", [[], {"tasks": 3}, {"tasks": ["t", {"id": 3}]}, b"\xff\xfe", b"tasks: ["])
def test_an_eval_yaml_of_another_shape_has_no_tasks(
    benchmark: Callable[[object], huggingface_hub.HfApi], content: object
) -> None:
    assert benchmark_files(benchmark(content), _metrics(test=0.5), None, "https://example.org") == {}


def test_a_hub_that_breaks_off_is_not_taken_for_one_without_benchmarks(
    ada: Command, benchmark: Callable[[object], huggingface_hub.HfApi]
) -> None:
    api = benchmark({"tasks": [{"id": "t"}]})
    ada.hub.fail("HEAD /datasets/lab/bench/resolve", status=400, times=99)
    with pytest.raises(InputError, match="lab/bench: "):
        benchmark_files(api, _metrics(test=0.5), None, "https://example.org")
