"""The card's section of data: what a model was trained on, who is in it, and whether its splits are apart."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any

from ..data.audit import COMPARED, NOUNS
from .labels import label_names
from .markdown import cell, known, listed, markdown_table
from .words import MAX_LISTED, Facts, code, escaped, hub_dataset, is_trained, tasks_of

MAX_NAMED = 3  # values in a split's rule; of more, their number is told


def training_data(results: Facts) -> str:
    """The section: where the data are from, how many there are of what, whether splits are apart, what is left out."""
    data = results["data"]
    name, published = escaped(data["name"]), hub_dataset(results)
    link = f"[{name}](https://huggingface.co/datasets/{published})" if published else name
    title = "Training data" if is_trained(results) else "Data it was measured on"
    languages = ", ".join(data["language"]) or "not recorded"
    target = f"target: {code(data['target'])}" if data["target"] else _unlabelled(results)
    parts = [
        f"## {title}",
        f"Data: {cell(link)}; {target}; language: {languages}; license of the data: {known(data['license'])}.",
        _splits(data),
        *(_label_counts(data["splits"], task, label_names(results, task)) for task in tasks_of(results)),
        _groups(data["splits"]),
        *_audit(results),
    ]
    if data["unlabelled"]:
        parts.append(f"Rows without a label, not used: {data['unlabelled']}.")
    return "\n\n".join([*filter(None, parts), *_left_out(data["left_out"])])


def _unlabelled(results: Facts) -> str:
    """How far labels have no part in it: clusters may be those of a model that was trained with some."""
    clusters = (results["run"].get("pretraining") or {}).get("clusters") or {}
    if clusters.get("labels"):
        return f"target: clusters that were made with labels of {listed(list(map(code, clusters['labels'])), 'and')}"
    return "its labels, if there are any, are not used"


def _splits(data: Facts) -> str:
    rows = [
        (
            name,
            "streamed, not counted" if split["utterances"] is None else split["utterances"],
            known(split["speakers"]),
            known(None if split["seconds"] is None else f"{split['seconds'] / 3600:.2f}"),
            _rule(data["split_rule"].get(name, "the rest" if name == "train" else "not recorded")),
        )
        for name, split in data["splits"].items()
    ]
    return markdown_table(("Split", "Utterances", "Speakers", "Hours", "Rule"), rows)


def _rule(text: str) -> str:
    """A split's rule; of one that names more than a few values, which may be people's names, their number.

    >>> _rule("speaker_id=a,b,c,d"), _rule("speaker_id=a,b")
    ('speaker_id: 4 values, named in results.json', 'speaker_id=a,b')
    """
    column, equals, values = text.partition("=")
    count = len(re.split(r"[,|]", values))
    named = equals and re.fullmatch(r"\w+", column) and count > MAX_NAMED
    return f"{column}: {count} values, named in results.json" if named else escaped(text)


def _label_counts(splits: Facts, task: Facts, names: Sequence[str]) -> str:
    """Utterances of each label of a task in each split; empty where it has none, too many, or trials were counted.

    Args:
        splits: of `data`.
        task: of the model.
        names: of its labels in the data.
    """
    counts = [(split.get("task_labels") or {}).get(task["name"], split["labels"]) for split in splits.values()]
    if not any(counts) or not 0 < len(names) <= MAX_LISTED or task["problem_type"] == "regression":
        return ""
    rows = [[escaped(label), *((there or {}).get(label, 0) for there in counts)] for label in names]
    if not any(count for row in rows for count in row[1:]):
        return ""
    several = any("task_labels" in split for split in splits.values())
    title = f"Utterances by {code(task['name'])}" if several else "Utterances by label"
    return f"{title}:\n\n{markdown_table(('Label', *splits), rows)}"


def _groups(splits: Facts) -> str:
    """Utterances by what is known of their speakers, in each split; empty where nothing is."""
    counts = [split.get("groups") or {} for split in splits.values()]
    columns = dict.fromkeys(column for there in counts for column in there)
    rows = [
        [escaped(f"{column} {group}"), *(there.get(column, {}).get(group, 0) for there in counts)]
        for column in columns
        for group in _in_order([list(there.get(column, {})) for there in counts])
    ]
    return f"Utterances by what is known of the speakers:\n\n{markdown_table(('Group', *splits), rows)}" if rows else ""


def _in_order(lists: Sequence[Sequence[str]]) -> list[str]:
    """All names of several lists, each once, in an order that is as near to theirs as their places are."""
    return [name for name in dict.fromkeys(name for row in zip_longest(*lists) for name in row) if name is not None]


def _audit(results: Facts) -> Iterator[str]:
    """What the splits were compared by, and what they have in common."""
    data = results["data"]
    overlaps: Sequence[Facts] | None = data.get("overlaps")
    compared: Sequence[str] | None = data.get("compared")
    if len(data["splits"]) < 2 or overlaps is None:
        return
    shared = [overlap for overlap in overlaps if overlap["count"]]
    text = "Split audit: "
    if compared is not None:
        text += _told_of_audit(compared, {overlap["what"] for overlap in shared}, tasks_of(results))
    else:
        text += "the splits have this in common." if shared else "nothing was found in two splits."
        text += " What else they were compared by is not recorded." if shared else " By what is not recorded."
    if shared:
        rows = [(" and ".join(one["between"]), _nouns([one["what"]]), one["count"], _of(one)) for one in shared]
        text += f"\n\n{markdown_table(('Splits', 'What', 'In both', 'Of'), rows)}"
    yield text


def _of(overlap: Facts) -> str:
    return "; ".join(f"{n:,} in {split}" for n, split in zip(overlap["of"], overlap["between"], strict=True))


def _told_of_audit(compared: Sequence[str], shared: set[str], tasks: Sequence[Mapping[str, Any]]) -> str:
    learned = {task["name"] for task in tasks}
    unknown = [what for what in (*COMPARED, "file") if what not in compared and what not in learned]
    clean = [what for what in compared if what not in shared]
    told = []
    if clean:
        singular = [NOUNS.get(what, (what, what))[0] for what in clean]
        told.append(f"no {listed(singular, 'or')} is in two splits ({_nouns(compared)} were compared)")
    elif compared:
        told.append(f"{_nouns(compared)} were compared")
    if unknown:
        told.append(f"{_nouns(unknown)} are not known of every row")
    if "speaker_id" in learned:
        told.append("speakers are what it learns to name, and so are in all splits")
    return "; ".join(told) + "."


def _nouns(kinds: Sequence[str]) -> str:
    return listed([NOUNS.get(what, (what, what))[1] for what in kinds], "and")


def _left_out(rows: Sequence[Facts]) -> Iterator[str]:
    """How many were left out, and why; not which, as the names of files may be those of people."""
    if not rows:
        return
    yield f"Left out: {len(rows)}."
    counts = Counter(str(row["reason"]) for row in rows).most_common()
    yield markdown_table(("Why", "How many"), [(escaped(reason), count) for reason, count in counts[:MAX_LISTED]])
    if len(counts) > MAX_LISTED:
        more = sum(count for _, count in counts[MAX_LISTED:])
        yield f"and {more} more for {len(counts) - MAX_LISTED} other reasons."
