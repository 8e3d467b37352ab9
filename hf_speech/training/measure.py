"""A model and a labelled data set, of whatever origin -> results.json and plots; `hf-speech evaluate`."""

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from datasets import Dataset, concatenate_datasets

from ..audio import SAMPLE_RATE
from ..data.checks import check_rows
from ..data.home import find_dataset
from ..data.multilabel import multi_label_rows
from ..data.schema import column_texts
from ..data.several import binned_rows, label_table
from ..data.targets import label_rows, rows_with_target
from ..errors import InputError, lookup, unknown_name
from ..inference import load_model, shortest, tasks_of
from ..model_facts import model_facts
from ..models.tasks import Task
from ..results import FILE_NAME, Results, run_facts
from .arguments import read_config
from .config import RunConfig
from .evaluation import evaluate_split, write_evaluation
from .facts import data_facts, public_arguments
from .rows import RunRows, load_used
from .run import DEFAULT_SEED

# The fields of a run that a measurement reads; any other would be without effect.
FIELDS = {
    "dataset_config",
    "reader",
    "audio_root",
    "columns",
    "target",
    "on_bad_audio",
    "check_audio",
    "channel",
    "max_seconds",
}
FIELDS |= {
    "data_dir",
    "data_name",
    "language",
    "synthetic",
    "unit",
    "seed",
    "bins",
    "tasks",
}  # of tasks, only their bins


def measure(
    model_name: str,
    dataset: str,
    folder: Path,
    fields: Mapping[str, Any] | None = None,
    *,
    split: str | None = None,
    overwrite: bool = False,
) -> Results:
    """Measures a model on labelled rows and writes results.json, predictions.csv and plots.

    Args:
        model_name: a model's folder or Hub name; ours, or any audio classifier.
        dataset: a folder, a csv, or a name on the Hub.
        folder: where to write.
        fields: fields of a run that say how to read the data (`FIELDS`), as flags: `columns.speaker_id` too.
        split: which split; None: "test" if there is one, else all rows there are.
        overwrite: whether results that are there may be replaced.

    Raises:
        InputError: no such model or data, a field that has no part in this, a label that the model does not know, or
            files that can't be used.
    """
    for name in fields or {}:
        if name.partition(".")[0] not in FIELDS:
            raise unknown_name(name, FIELDS, "field of an evaluation")
    if (folder / FILE_NAME).exists() and not overwrite:
        raise InputError(f"{folder}: holds results already; give another --output-dir, or --overwrite")
    started = time.monotonic()
    model, extractor = load_model(model_name)
    first, *others = tasks_of(model)
    # Of several tasks, each says its own.
    trained = {} if others else {"target": first.name, "unit": first.unit}
    known = {name: value for name, value in trained.items() if value}
    config = read_config(None, {"dataset": dataset, "backbone": model_name, **known, **(fields or {})})
    rows = _read(config, model, split)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: can't be made ({error.strerror}); give another --output-dir") from error
    name = split or ("test" if "test" in rows.splits else "all")
    evaluation = evaluate_split(config, rows, name, model, extractor, config.training.get("seed", DEFAULT_SEED))
    results = Results(
        model=model_facts(model, name=Path(model_name).absolute().name, backbone=None, licence=None),
        data=data_facts(config, rows),
        metrics=evaluation.metrics,
        confusion=evaluation.confusion,
        run=run_facts(
            None,
            device=str(model.device),
            wall_seconds=round(time.monotonic() - started, 1),
            arguments=public_arguments(config),
        ),
    )
    write_evaluation(evaluation, folder, results.data["unit"])
    results.write(folder)
    return results


def _read(config: RunConfig, model: Any, split: str | None) -> RunRows:
    """The rows to measure on, labelled with the model's own label numbers."""
    arguments = config.data
    place = find_dataset(str(arguments.dataset), arguments.data_dir)
    splits = load_used(replace(arguments, dataset=place), only=None)
    wanted = split or ("test" if "test" in splits else None)
    if wanted is not None and wanted not in splits:
        raise unknown_name(wanted, splits, f"split of {arguments.dataset}")
    rows = concatenate_datasets(list(splits.values())) if wanted is None else splits[wanted]
    name, tasks = wanted or "all", tasks_of(model)
    names = {task.name: None if task.problem_type == "regression" else list(task.labels) for task in tasks}
    if len(tasks) > 1:
        for column in config.head.tasks:
            lookup(names, column, f"task of {config.model.backbone}")
        binned = rows
        for task in tasks:
            binned = _binned(name, binned, task.name, task, config.head.tasks.get(task.name, {}).get("bins"))
        labelled = label_table(name, binned, names)
    else:
        names = {arguments.target: next(iter(names.values()))}
        labelled = _label(name, rows, arguments, tasks[0])
    checked, bad = check_rows(
        labelled,
        how=arguments.check_audio,
        on_bad=arguments.on_bad_audio,
        min_duration=shortest(model) / SAMPLE_RATE,
        channel=arguments.channel,
    )
    return RunRows({name: checked}, names, len(rows) - len(labelled), {name: bad}, root=place)


def _label(split: str, rows: Dataset, arguments: Any, task: Task) -> Dataset:
    """The rows that have the target, labelled as the one task of the model has it."""
    target = arguments.target
    if task.problem_type == "multi_label_classification":
        return multi_label_rows(split, rows, target, list(task.labels))
    rows = _binned(split, rows, target, task, arguments.bins)
    names = None if task.problem_type == "regression" else list(task.labels)
    return label_rows(split, rows_with_target(split, rows, target), target, names)


def _binned(split: str, rows: Dataset, column: str, task: Task, given: str | None) -> Dataset:
    """The rows with the numbers of a column as classes, by the rule that the model was trained with, or a given one."""
    if given is not None and task.problem_type == "regression":
        raise InputError(f"bins make classes, but the model predicts the number {column!r} itself; leave bins out")
    if given is not None and task.bins not in (None, given):
        raise InputError(f"bins is {given!r}, but {column!r} was trained with bins {task.bins!r}; leave bins out")
    rule = given or task.bins
    named = column in rows.column_names and not set(task.labels).isdisjoint(column_texts(rows, column))
    return rows if rule is None or named else binned_rows(split, rows, column, rule)
