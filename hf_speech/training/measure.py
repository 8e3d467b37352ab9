"""A model and a labelled data set, of whatever origin -> results.json and plots; `hf-speech evaluate`."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from datasets import Dataset, concatenate_datasets

from ..data.checks import check_rows
from ..data.home import find_dataset
from ..data.multilabel import label_names, multi_label_rows
from ..data.schema import as_text, column_texts, file_name, require_column
from ..data.several import binned_rows, label_table
from ..data.targets import label_rows, rows_with_target
from ..errors import InputError, list_some, lookup, unknown_name
from ..foreign import check_labels
from ..inference import label_map_of, load_model, relabel, shortest_seconds, tasks_of
from ..label_map import fit_labels
from ..model_facts import model_facts
from ..models.registry import options_of
from ..models.tasks import Task
from ..results import FILE_NAME, Results, run_facts
from .arguments import read_config
from .config import RunConfig
from .evaluation import evaluate_split, write_evaluation
from .facts import data_facts, public_arguments
from .rows import RunRows, load_used
from .work import DEFAULT_SEED

# The fields of a run that a measurement reads; any other would be without effect.
FIELDS = {"dataset_config", "reader", "audio_root", "columns", "target", "bins", "only", "data_dir", "channel", "seed"}
FIELDS |= {"on_bad_audio", "check_audio", "max_seconds", "data_name", "data_license", "language", "synthetic", "unit"}
FIELDS |= {"tasks"}  # of these, only their bins


def measure(
    model_name: str,
    dataset: str,
    folder: Path,
    fields: Mapping[str, Any] | None = None,
    *,
    split: str | None = None,
    revision: str | None = None,
    label_map: Mapping[str, str | None] | None = None,
    trust_remote_code: bool = False,
    overwrite: bool = False,
) -> Results:
    """Measures a model on labelled rows and writes results.json, predictions.csv and plots.

    Args:
        model_name: a model's folder or Hub name; ours, or any audio classifier.
        dataset: a folder, a csv, or a name on the Hub.
        folder: where to write.
        fields: fields of a run that say how to read the data (`FIELDS`), as flags: `columns.speaker_id` too.
        split: which split; None: "test" if there is one, else all rows there are.
        revision: branch, tag or commit of the model on the Hub.
        label_map: label of the model -> the data's name for it, or None where it is to be left out; see
            `label_map.fit_labels`.
        trust_remote_code: whether code that lies beside the model's weights may be run.
        overwrite: whether results that are there may be replaced.

    Raises:
        InputError: no such model or data, a field that has no part in this, a label that the model does not know, or
            files that can't be used.
    """
    _check(fields or {}, folder, overwrite)
    started = time.monotonic()
    model, extractor = load_model(model_name, revision, trust_remote_code=trust_remote_code)
    check_labels(model)
    first, *others = tasks_of(model)
    # Of several tasks, each says its own.
    trained = {} if others else {"target": first.name, "unit": first.unit}
    known = {name: value for name, value in trained.items() if value}
    # Before the labels get the data's names: these are of this measurement, not of the model.
    facts = model_facts(model, name=Path(model_name).absolute().name, backbone=None, licence=None)
    config = read_config(None, {"dataset": dataset, "backbone": model_name, **known, **(fields or {})})
    rows = _read(config, model, extractor, split, label_map or {})
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: can't be made ({error.strerror}); give another --output-dir") from error
    name = split or ("test" if "test" in rows.splits else "all")
    evaluation = evaluate_split(config, rows, name, model, extractor, config.training.get("seed", DEFAULT_SEED))
    results = Results(
        model=facts,
        data=data_facts(config, rows),
        metrics=evaluation.metrics,
        confusion=evaluation.confusion,
        run=run_facts(
            None,
            device=str(model.device),
            wall_seconds=round(time.monotonic() - started, 1),
            arguments=public_arguments(config) | _of_the_model(model, revision, trust_remote_code),
        ),
    )
    write_evaluation(evaluation, folder, results.data["unit"])
    results.write(folder)
    return results


def _check(fields: Mapping[str, Any], folder: Path, overwrite: bool) -> None:
    """Refuses fields that a measurement does not read, and a folder whose results would be lost."""
    for name in fields:
        if name.partition(".")[0] not in FIELDS:
            flags = dict.fromkeys(options_of(measure), "and the flags of `hf-speech evaluate --help`")
            raise unknown_name(name, FIELDS, "field of an evaluation", flags)
    if (folder / "config.json").exists():
        raise InputError(f"{folder}: holds a model, whose own numbers would be lost; give another --output-dir")
    if (folder / FILE_NAME).exists() and not overwrite:
        raise InputError(f"{folder}: holds results already; give another --output-dir, or --overwrite")


def _of_the_model(model: Any, revision: str | None, trust_remote_code: bool) -> dict[str, Any]:
    """What was said of the model besides its name, for results.json; of labels, all that are called otherwise here."""
    said: dict[str, Any] = {"revision": revision} if revision else {}
    renamed = label_map_of(model)
    said |= {"label_map": dict(renamed.changes)} if renamed else {}
    return said | ({"trust_remote_code": True} if trust_remote_code else {})


def _read(
    config: RunConfig, model: Any, extractor: Any, split: str | None, label_map: Mapping[str, str | None]
) -> RunRows:
    """The rows to measure on, labelled with the model's own label numbers, or those of the names in the label map."""
    arguments = config.data
    place = find_dataset(str(arguments.dataset), arguments.data_dir)
    splits = load_used(replace(arguments, dataset=place), config.split.only)
    wanted = split or ("test" if "test" in splits else None)
    if wanted is not None and wanted not in splits:
        raise unknown_name(wanted, splits, f"split of {arguments.dataset}")
    rows = concatenate_datasets(list(splits.values())) if wanted is None else splits[wanted]
    name, tasks = wanted or "all", tasks_of(model)
    if len(tasks) > 1:
        if label_map:
            raise InputError("label_map is for a model with one task; leave it out")
        names = {task.name: None if task.problem_type == "regression" else list(task.labels) for task in tasks}
        for column in config.head.tasks:
            lookup(names, column, f"task of {config.model.backbone}")
        binned = rows
        for task in tasks:
            binned = _binned(name, binned, task.name, task, config.head.tasks.get(task.name, {}).get("bins"))
        labelled = label_table(name, binned, names)
    else:
        labelled = _label(name, rows, arguments, model, label_map)
        (task,) = tasks_of(model)  # by the names that it was given
        names = {arguments.target: None if task.problem_type == "regression" else list(task.labels)}
    checked, bad = check_rows(
        labelled,
        how=arguments.check_audio,
        on_bad=arguments.on_bad_audio,
        min_duration=shortest_seconds(model, extractor),
        channel=arguments.channel,
    )
    return RunRows({name: checked}, names, len(rows) - len(labelled), {name: bad}, root=place)


def _label(split: str, rows: Dataset, arguments: Any, model: Any, label_map: Mapping[str, str | None]) -> Dataset:
    """The rows that have the target, labelled as the one task of the model has it, which is told the data's names."""
    (task,), target = tasks_of(model), arguments.target
    several = task.problem_type == "multi_label_classification"
    if not several:
        rows = rows_with_target(split, _binned(split, rows, target, task, arguments.bins), target)
    if task.problem_type == "regression":
        if label_map:
            raise InputError("label_map has no part where the model predicts a number; leave it out")
        return label_rows(split, rows, target, None)
    require_column(rows, target, f"target in {split}")
    cells = [label_names(cell) or [] for cell in rows[target]] if several else [[str(as_text(c))] for c in rows[target]]
    relabel(model, fit_labels(task, label_map, {name for cell in cells for name in cell}))
    labels = tasks_of(model)[0].labels
    _check_known(split, rows, target, cells, labels)
    return (multi_label_rows if several else label_rows)(split, rows, target, list(labels))


def _check_known(split: str, rows: Dataset, target: str, cells: list[list[str]], labels: Sequence[str]) -> None:
    """Refuses labels that the model does not know, and says how to tell it."""
    known, there = set(labels), {name for cell in cells for name in cell}
    strange = [i for i, cell in enumerate(cells) if not known.issuperset(cell)]
    if not strange:
        return
    first = strange[0]
    name = next(name for name in cells[first] if name not in known)
    unused = next((label for label in labels if label not in there), labels[0])
    both = [label for label in labels if [label] in cells]
    without = f"leave such rows out with --only {target}={','.join(both)}" if both else "empty such cells"
    raise InputError(
        f"{split}, row {first} ({file_name(rows[first]['audio'])}): {target} {name!r} is not a class that the model "
        f"knows ({len(strange)} such rows); its classes: {list_some(labels)}; the data's: {list_some(sorted(there))}; "
        f"say which is which, such as --label-map '{{{unused}: {name}}}', or {without}"
    )


def _binned(split: str, rows: Dataset, column: str, task: Task, given: str | None) -> Dataset:
    """The rows with the numbers of a column as classes, by the rule that the model was trained with, or a given one."""
    if given is not None and task.problem_type == "regression":
        raise InputError(f"bins make classes, but the model predicts the number {column!r} itself; leave bins out")
    if given is not None and task.bins not in (None, given):
        raise InputError(f"bins is {given!r}, but {column!r} was trained with bins {task.bins!r}; leave bins out")
    rule = given or task.bins
    named = column in rows.column_names and not set(task.labels).isdisjoint(column_texts(rows, column))
    return rows if rule is None or named else binned_rows(split, rows, column, rule)
