"""`.eval_results/*.yaml`: numbers on data sets that the Hub knows as benchmarks, as its leaderboards read them.

A data set is a benchmark if its repository holds eval.yaml, whose tasks have an id each, and may name a configuration
and a split (https://huggingface.co/docs/hub/eval-results). The number is the first of those measured on that split.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from ..errors import one_line
from .connection import in_our_words, patiently
from .words import interval_of, is_hub_id, metric_title

if TYPE_CHECKING:
    from huggingface_hub import EvalResultEntry, HfApi

logger = logging.getLogger(__name__)

BENCHMARK = "eval.yaml"
FOLDER = ".eval_results"


def benchmark_files(
    api: "HfApi", metrics: Sequence[Mapping[str, Any]], config: str | None, source: str
) -> dict[str, str]:
    """The files of a model's repository for those of its numbers that are of benchmarks.

    Args:
        api: asks the Hub which data sets are benchmarks.
        metrics: those of results.json.
        config: the configuration of the data set that was measured on; None: its default.
        source: the address that tells more of the numbers.

    Returns:
        Path in the repository -> content, YAML.
    """
    from huggingface_hub import eval_result_entries_to_yaml

    files = {}
    for dataset in dict.fromkeys(metric["dataset"] for metric in metrics if is_hub_id(metric["dataset"])):
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
        fits = task.get("config") in (None, config or "default")
        own = [m for m in metrics if fits and task.get("split") in (None, m["split"]) and m["value"] is not None]
        if own:
            number = own[0]
            notes = f"{metric_title(number['name'])}, 95 % interval {interval_of(number)}, n = {number['n']}"
            yield EvalResultEntry(
                dataset_id=dataset, task_id=task["id"], value=number["value"], source_url=source, notes=notes
            )


def _tasks(api: "HfApi", dataset: str) -> list[dict[str, Any]]:
    """The tasks of a benchmark; none, where the data set is none, or can't be seen."""
    from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError

    with in_our_words(dataset):
        try:
            path = patiently(lambda: api.hf_hub_download(dataset, BENCHMARK, repo_type="dataset"), dataset)
        except (EntryNotFoundError, RepositoryNotFoundError):
            return []
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (ValueError, yaml.YAMLError) as error:
        logger.warning("%s: its %s can't be read and is left out (%s)", dataset, BENCHMARK, one_line(error))
        return []
    tasks = content.get("tasks") if isinstance(content, dict) else None
    return [task for task in tasks or [] if isinstance(task, dict) and isinstance(task.get("id"), str)]
