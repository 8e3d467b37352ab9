"""A model's labels as its numbers are of them: by the data's names for them, and those that occur at all."""

from collections.abc import Mapping

from ..results import group_of
from .markdown import listed
from .words import Facts, code, is_of_trials, tasks_of


def renamed_labels(results: Facts) -> Mapping[str, str | None]:
    """Label of the model -> the data's name for it in this measurement, or None: left out; of those that changed."""
    return results["run"]["arguments"].get("label_map") or {}


def label_names(results: Facts, task: Facts) -> list[str]:
    """The labels of a task by the names that its numbers are of, each once."""
    renamed = renamed_labels(results)
    if not renamed:
        return list(task["labels"])
    names = [renamed.get(label, label) for label in task["labels"]]
    return list(dict.fromkeys(name for name in names if name is not None))


def told_of_renaming(results: Facts) -> str:
    """A sentence on how the labels were read; "" where each kept its name."""
    renamed = renamed_labels(results)
    by_name: dict[str, list[str]] = {}
    for label, name in renamed.items():
        if name is not None:
            by_name.setdefault(name, []).append(code(label))
    read = [f"{listed(labels, 'and')} as {code(name)}" for name, labels in by_name.items()]
    gone = [code(label) for label, name in renamed.items() if name is None]
    told = [f"its labels were read as the data's: {', '.join(read)}"] if read else []
    if gone:
        told.append(f"{listed(gone, 'and')} {'was' if len(gone) == 1 else 'were'} left out, as if it did not know them")
    return f"For these numbers {'; '.join(told)}." if told else ""


def task_of(results: Facts, metric: Facts) -> Facts:
    """The task that a number is of."""
    name = metric["name"].rpartition("/")[0]
    tasks = tasks_of(results)
    return next((task for task in tasks if task["name"] == name), tasks[0])


def is_of_labels(results: Facts, metric: Facts) -> bool:
    """Whether a number depends on which labels occur: one of classes, not of numbers or of pairs of utterances."""
    return task_of(results, metric)["problem_type"] != "regression" and not is_of_trials(metric["name"])


def labels_there(results: Facts, metric: Facts) -> set[str] | None:
    """The labels that occur in what a number was measured on; None where that is not known."""
    task, (split, group) = task_of(results, metric), group_of(metric)
    facts = results["data"]["splits"].get(split) or {}
    if group:
        column, _, value = group.partition(" ")
        found = (facts.get("group_labels") or {}).get(task["name"], {}).get(column, {}).get(value)
        return None if found is None else set(found)
    names = set(label_names(results, task))
    counts = (facts.get("task_labels") or {}).get(task["name"], facts.get("labels")) or {}
    if set(counts) == names and any(counts.values()):
        return {label for label, count in counts.items() if count}
    confusion = results["confusion"]
    if confusion is None or set(confusion["labels"]) != names or sum(map(sum, confusion["counts"])) != metric["n"]:
        return None
    return {label for label, row in zip(confusion["labels"], confusion["counts"], strict=True) if sum(row)}
