"""The card's section of results: numbers with intervals, what they mean, and how they differ between groups."""

from collections.abc import Iterator, Mapping, Sequence

from ..results import group_of
from .labels import label_names, labels_there, task_of, told_of_renaming
from .markdown import bullets, markdown_table
from .words import (
    Facts,
    code,
    count,
    escaped,
    interval_of,
    is_held_out,
    is_of_trials,
    is_trained,
    meaning_of,
    metric_title,
    value_of,
    whole,
)

_INTERVALS = {
    "speaker": (
        "The intervals come from a bootstrap over speakers and over the utterances of each: they cover what other "
        "speakers of the same kind would change."
    ),
    "utterance": (
        "The intervals come from a bootstrap over utterances alone. **They do not cover the variation between "
        "speakers**: on other speakers the numbers can lie outside."
    ),
    "trial": (
        "The intervals come from a bootstrap over trials alone. **They do not cover the variation between speakers**, "
        "who are in many trials each: on other speakers the numbers can lie outside."
    ),
}


def measured(results: Facts) -> str:
    """The section, with a table of its own for groups."""
    metrics = sorted(whole(results["metrics"]), key=lambda metric: not is_held_out(metric["split"]))
    if not metrics:
        return "## Results\n\n**Not measured.** There are no numbers for this model."
    rows = [(*_number(metric), escaped(metric["dataset"]), metric["split"], metric["n"]) for metric in metrics]
    header = ("Metric", "Value", "95 % interval", "Data", "Split", _counted(metrics))
    parts = ["## Results", markdown_table(header, rows)]
    if not any(is_held_out(metric["split"]) for metric in metrics):
        parts.append(
            "**There is no test split**: what it does on speech that had no part in any choice is not measured."
            if is_trained(results)
            else "What part this speech had in making it is not known."
        )
    parts += [bullets(list(_meanings(metrics))), told_of_renaming(results), *_of_labels(results, metrics)]
    for unit in dict.fromkeys(metric["interval_unit"] for metric in metrics):
        of_labels = results["data"]["target"] == "speaker_id" and unit == "utterance"
        held = " The speakers are the labels here, and the numbers hold for these speakers only." if of_labels else ""
        parts.append(_INTERVALS[unit] + held)
    parts += [*_fingerprints(metrics), *_by_group(results)]
    return "\n\n".join(filter(None, parts))


def _number(metric: Facts) -> tuple[str, str, str]:
    return metric_title(metric["name"]), value_of(metric), interval_of(metric)


def _counted(metrics: Sequence[Facts]) -> str:
    of_trials = {is_of_trials(metric["name"]) for metric in metrics}
    return "Utterances or trials" if len(of_trials) > 1 else "Trials" if True in of_trials else "Utterances"


def _of_labels(results: Facts, metrics: Sequence[Facts]) -> Iterator[str]:
    """A line for each split in which some labels do not occur, as an average over labels is of the others alone."""
    for metric in metrics:
        there, task = labels_there(results, metric), task_of(results, metric)
        names, split = label_names(results, task), code(metric["split"])
        if metric["name"].rpartition("/")[2] == "uar" and there is not None and len(there) < len(names):
            which = f" of {code(task['name'])}" if "/" in metric["name"] else ""
            occur, these = ("occurs", "it") if len(there) == 1 else ("occur", "these")
            yield (
                f"Of the {count(len(names), 'label')}{which}, {len(there)} {occur} in the split {split}: the UAR is "
                f"of {these} alone."
            )


def _meanings(metrics: Sequence[Facts]) -> Iterator[str]:
    """A line a metric, once for all tasks and priors."""
    seen = set()
    for metric in metrics:
        meaning = meaning_of(metric["name"])
        if meaning and meaning not in seen:
            seen.add(meaning)
            title = metric_title(metric["name"].rpartition("/")[2])
            yield f"{title.partition(', prior')[0]}: {meaning}"


def _fingerprints(metrics: Sequence[Facts]) -> list[str]:
    """A line for each set of items that was measured; where tasks were measured on different ones, with their names."""
    marks: dict[tuple[str, str, str], dict[str, list[str]]] = {}
    for metric in metrics:
        if metric["fingerprint"]:
            items = "trials" if is_of_trials(metric["name"]) else "utterances"
            tasks = marks.setdefault((metric["dataset"], metric["split"], items), {}).setdefault(
                metric["fingerprint"], []
            )
            tasks.append(metric["name"].rpartition("/")[0])
    lines = []
    for (dataset, split, items), found in marks.items():
        for mark, tasks in found.items():
            of_tasks = f", for {' and '.join(code(task) for task in dict.fromkeys(tasks))}" if len(found) > 1 else ""
            lines.append(
                f"Fingerprint of the {items} in {escaped(dataset)}, {split}{of_tasks}: `{mark}` (the same items "
                "give the same one)."
            )
    return lines


def group_numbers(results: Facts) -> list[Facts]:
    """The numbers of groups that a card shows: for each group, the first one of each task."""
    first: dict[tuple[str, str, str], Facts] = {}
    for metric in results["metrics"]:
        if group_of(metric)[1]:
            first.setdefault((metric["dataset"], metric["split"], metric["name"].rpartition("/")[0]), metric)
    return list(first.values())


def _by_group(results: Facts) -> Iterator[str]:
    numbers = group_numbers(results)
    if numbers:
        several = len({group_of(metric)[0] for metric in numbers}) > 1
        rows = [
            (
                escaped(metric["split"] if several else group_of(metric)[1]),
                *_number(metric),
                metric["interval_unit"],
                metric["n"],
            )
            for metric in numbers
        ]
        header = ("Group", "Metric", "Value", "95 % interval", "Resampled by", _counted(numbers))
        yield f"### By group\n\n{markdown_table(header, rows)}"
    small = list(_too_small(results))
    if small:
        yield f"Groups without numbers, as there are too few utterances to compare: {'; '.join(small)}."


def _too_small(results: Facts) -> Iterator[str]:
    """Groups that are known in a split whose groups were measured, or could have been, and have no numbers."""
    shown = {metric["split"] for metric in results["metrics"]}
    splits = [name for name in results["data"]["splits"] if name in shown and name != "train"]
    if splits:
        name = "test" if "test" in splits else splits[-1]
        groups: Mapping[str, Mapping[str, int]] = results["data"]["splits"][name].get("groups") or {}
        for column, counts in groups.items():
            missing = {group: n for group, n in counts.items() if f"{name}, {column} {group}" not in shown}
            if len(counts) > 1 and missing:
                yield ", ".join(f"{column} {code(group)} ({n:,})" for group, n in missing.items())
