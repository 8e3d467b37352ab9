"""`.eval_results/*.yaml`: numbers on data sets that the Hub knows as benchmarks, as its leaderboards read them.

A data set is a benchmark if its repository holds eval.yaml, whose tasks have an id each, and may name a configuration
and a split (https://huggingface.co/docs/hub/eval-results). The number is the first of those measured on all of that
split; where none is named, on a split that had no part in training and in choosing.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from ..errors import one_line
from .connection import in_our_words, patiently
from .words import interval_of, is_held_out, is_hub_id, metric_title, whole

if TYPE_CHECKING:
    from huggingface_hub import EvalResultEntry, HfApi

logger = logging.getLogger(__name__)

BENCHMARK = "eval.yaml"
FOLDER = ".eval_results"


def benchmark_files(
    api: "HfApi",
    metrics: Sequence[Mapping[str, Any]],
    config: str | None,
    source: str,
    on_hub: Callable[[str], bool] = is_hub_id,
) -> dict[str, str]:
    """The files of a model's repository for those of its numbers that are of benchmarks.

    Args:
        api: asks the Hub which data sets are benchmarks.
        metrics: those of results.json.
        config: the configuration of the data set that was measured on; None: its default.
        source: the address that tells more of the numbers.
        on_hub: whether a data set of that name is the Hub's; one of a folder here may be called like one of the Hub's.

    Returns:
        Path in the repository -> content, YAML.
    """
    from huggingface_hub import eval_result_entries_to_yaml

    files = {}
    for dataset in dict.fromkeys(metric["dataset"] for metric in metrics if on_hub(metric["dataset"])):
        entries = list(_entries(api, dataset, [m for m in metrics if m["dataset"] == dataset], config, source))
        if entries:
            name = f"{FOLDER}/{dataset.replace('/', '--')}.yaml"
            files[name] = yaml.safe_dump(eval_result_entries_to_yaml(entries), sort_keys=False, allow_unicode=True)
    return files


def _entries(
    api: "HfApi", dataset: str, metrics: Sequence[Mapping[str, Any]], config: str | None, source: str
) -> Iterator["EvalResultEntry"]:
    from huggingface_hub import EvalResultEntry

    for task in _tasks(api, dataset):
        if task.get("config") not in (None, config or "default"):
            continue
        split = task.get("split")
        measured = [m for m in whole(metrics) if m["value"] is not None]
        own = [m for m in measured if (is_held_out(m["split"]) if split is None else m["split"] == split)]
        if own:
            number = own[0]
            what = f"{metric_title(number['name'])} on split {number['split']}"
            notes = f"{what}, 95 % interval {interval_of(number)}, n = {number['n']}"
            yield EvalResultEntry(
                dataset_id=dataset, task_id=task["id"], value=number["value"], source_url=source, notes=notes
            )


def _tasks(api: "HfApi", dataset: str) -> list[dict[str, Any]]:
    """The tasks of a benchmark; none, where the data set is none, or can't be seen."""
    from huggingface_hub.errors import RemoteEntryNotFoundError, RepositoryNotFoundError

    with in_our_words(dataset):
        try:
            path = patiently(lambda: api.hf_hub_download(dataset, BENCHMARK, repo_type="dataset"), dataset)
        except (RemoteEntryNotFoundError, RepositoryNotFoundError):
            return []
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (ValueError, yaml.YAMLError) as error:
        logger.warning("%s: its %s can't be read and is left out (%s)", dataset, BENCHMARK, one_line(error))
        return []
    tasks = content.get("tasks") if isinstance(content, dict) else None
    listed = tasks if isinstance(tasks, list) else []
    return [task for task in listed if isinstance(task, dict) and isinstance(task.get("id"), str)]
