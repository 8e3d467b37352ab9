"""What results.json says of a run: its model, its data, its recipe."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, IterableDataset

from ..data.home import find_dataset
from ..data.tables import TABLES
from ..data.targets import labels_of
from ..public import without_places
from .config import RunConfig
from .groups import group_counts, groups_of
from .publishing import FIELDS as OF_PUBLISHING
from .rows import RunRows


def data_name(config: RunConfig) -> str:
    """What the data is called: as given, a name on the Hub, a table by its own name, else the folder that it lies in.

    A metadata.csv is the table of its folder, and has no name of its own.
    """
    if config.run.data_name:
        return config.run.data_name
    path = Path(str(config.data.dataset))
    if not path.exists():
        return str(config.data.dataset)
    if path.is_file() and path.suffix.lower() in TABLES and path.stem != "metadata":
        return path.stem
    return path.absolute().parent.name if path.is_file() else path.absolute().name


def is_on_hub(config: RunConfig) -> bool:
    """Whether the data are read from the Hub and called as there: neither a folder, nor a prepared corpus, nor renamed.

    Raises:
        InputError: a prepared corpus that is not there any more.
    """
    name = str(config.data.dataset)
    return not config.run.data_name and not Path(name).exists() and find_dataset(name, config.data.data_dir) == name


def public_arguments(config: RunConfig) -> dict[str, Any]:
    """The fields of a run as results.json and the card show them: local paths by their last name only."""
    given = {name: value for name, value in config.to_dict().items() if name not in OF_PUBLISHING}
    return dict(without_places(given))


def data_facts(config: RunConfig, rows: RunRows) -> dict[str, Any]:
    """The `data` section."""
    rules = {"validation": config.split.validation, "test": config.split.test}
    return {
        "name": data_name(config),
        "on_hub": is_on_hub(config),
        "target": ", ".join(rows.targets),
        "unit": config.run.unit or "",
        "synthetic": config.run.synthetic,
        "language": config.run.language,
        "license": config.run.data_license,
        "splits": {name: _split_facts(split, rows) for name, split in rows.splits.items()},
        "split_rule": {part: rule or "the data set's own" for part, rule in rules.items() if part in rows.splits},
        "left_out": [
            {"file": Path(bad.file).name, "reason": bad.reason, "split": split}
            for split, found in rows.bad.items()
            for bad in found
        ],
        "unlabelled": rows.unlabelled,
        "overlaps": rows.overlaps,
        **({} if rows.compared is None else {"compared": rows.compared}),
    }


def recipe_facts(config: RunConfig, arguments: Any, trained_parameters: int) -> dict[str, Any]:
    """What a reader wants to know of the training, from the arguments as they were in force."""
    tasks = config.head.tasks.items()
    weights = {name: table["class_weights"] for name, table in tasks if table.get("class_weights")}
    return {
        "optimizer": str(getattr(arguments.optim, "value", arguments.optim)),
        "learning_rate": arguments.learning_rate,
        "schedule": config.learning.schedule,
        "schedule_config": config.learning.schedule_config,
        "weight_decay": arguments.weight_decay,
        **_batch_facts(config, arguments),
        "crop_seconds": config.batches.crop_seconds,
        "freeze": config.learning.freeze,
        "freeze_layers": config.learning.freeze_layers,
        "class_weights": weights or config.head.class_weights,
        "trained_parameters": trained_parameters,
        "checkpoint": checkpoint_rule(arguments),
        "precision": "bfloat16" if arguments.bf16 else "float16" if arguments.fp16 else "float32",
        **({"augment": config.batches.augment} if config.batches.augment else {}),
        **({"adaptation": without_places(config.learning.adaptation)} if config.learning.adaptation else {}),
        **({"encoder_run_once": True} if config.batches.frozen_cache else {}),
    }


def _batch_facts(config: RunConfig, arguments: Any) -> dict[str, Any]:
    """The rows that a step learns from, or the seconds that a batch has; and what is balanced."""
    seconds, balance = config.batches.batch_seconds, config.batches.balance
    rows = arguments.train_batch_size * arguments.gradient_accumulation_steps * arguments.world_size
    size = {"batch": rows} if seconds is None else {"batch_seconds": seconds}
    return {**size, **({"balance": balance} if balance else {})}


def checkpoint_rule(arguments: Any) -> str:
    """Which step's weights a run keeps, in words: chosen on validation rows, or the last."""
    if not arguments.load_best_model_at_end:
        return "the last step's"
    best = "highest" if arguments.greater_is_better else "lowest"
    return f"that of the {best} {str(arguments.metric_for_best_model).removeprefix('eval_')} in validation"


def selection(trainer: Any) -> dict[str, Any] | None:
    """What the step whose weights are kept was chosen by, and its value in validation; None: nothing, it is the last.

    Args:
        trainer: of a run that is finished.
    """
    arguments, state = trainer.args, trainer.state
    if not arguments.load_best_model_at_end or state.best_metric is None:
        return None
    name = str(arguments.metric_for_best_model).removeprefix("eval_")
    best = {"metric": name, "value": state.best_metric, "step": state.best_global_step}
    return {**best, "greater_is_better": bool(arguments.greater_is_better)}


def _split_facts(rows: Dataset | IterableDataset, run: RunRows) -> dict[str, Any]:
    """What results.json says of a split: utterances, speakers, seconds, rows of each label and of each group."""
    if isinstance(rows, IterableDataset):
        return {"utterances": None, "speakers": None, "seconds": None, "labels": None}  # streamed, and not counted
    labels = labels_of(rows, list(run.targets)) if run.targets else {}
    counts = {task: _counts(labels[task], names) for task, names in run.targets.items()}
    of_groups = {task: _labels_of_groups(rows, labels[task], names) for task, names in run.targets.items() if names}
    groups = {column: found for column, found in group_counts(rows).items() if column not in run.targets}
    return {
        "utterances": len(rows),
        "speakers": len(set(rows["speaker_id"])) if "speaker_id" in rows.column_names else None,
        "seconds": round(float(sum(rows["duration"])), 1),
        "labels": next(iter(counts.values()), None),
        **({"task_labels": counts} if len(counts) > 1 else {}),
        **({"groups": groups} if groups else {}),
        **({"group_labels": of_groups} if any(of_groups.values()) else {}),
    }


def _labels_of_groups(rows: Dataset, labels: np.ndarray, names: Sequence[str]) -> dict[str, dict[str, list[str]]]:
    """Column -> group -> the labels that occur in it, where groups are compared; see `groups.groups_of`."""
    found: dict[str, dict[str, list[str]]] = {}
    for column, of_rows in groups_of(rows).items():
        for group in dict.fromkeys(group for group in of_rows if group is not None):
            counts = _counts(labels[[one == group for one in of_rows]], names) or {}
            found.setdefault(column, {})[group] = [name for name, count in counts.items() if count]
    return found


def _counts(labels: np.ndarray, names: Sequence[str] | None) -> dict[str, int] | None:
    """Rows with each label: of (N,) class numbers, or (N, C) ones and zeros; None of numbers."""
    if names is None:
        return None
    has = labels == 1 if labels.ndim > 1 else labels[:, None] == np.arange(len(names))
    return dict(zip(names, has.sum(axis=0).tolist(), strict=True))
