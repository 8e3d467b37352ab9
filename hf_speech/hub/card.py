"""results.json to the model's card, README.md: every fact and number in it is one of results.json.

The sections are functions from the facts to Markdown, in the order in which the card shows them.
"""

import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..files import replacing
from ..plots import plot_name
from ..results import Results, validate
from .caveats import caveats, is_held_out
from .loading import how_to_load
from .words import (
    MAX_LISTED,
    answer,
    hub_type,
    in_options,
    interval_of,
    is_hub_id,
    is_of_trials,
    metric_title,
    recipe_of_model,
    tasks_of,
    value_of,
)

Facts = Mapping[str, Any]

CAPTIONS = {
    "numbers": "The numbers with their 95 % intervals",
    "confusion": "Confusion matrix: rows are labels, columns predictions; colour is the share of the row",
    "regression": "Predictions against labels",
    "curves": "Loss and validation metrics during training",
}


def render_card(results: Facts, files: Collection[str] = frozenset()) -> str:
    """The card as Markdown with the Hub's YAML in front.

    Args:
        results: the content of results.json.
        files: names of the files beside it; pictures are shown if they are there.

    Raises:
        InputError: the content does not have the form of results.json.
    """
    validate(results)
    sections = [
        _what_it_does(results),
        _results(results),
        *_pictures(results, files),
        how_to_load(results),
        _trained_on(results),
        recipe_section(results),
        _limits(results),
        provenance_section(results),
    ]
    return f"---\n{_metadata(results)}\n---\n\n" + "\n\n".join(sections) + "\n"


def _pictures(results: Facts, files: Collection[str]) -> list[str]:
    """Those that are there: each kind of all tasks, then of each one."""
    shown = []
    for kind, caption in CAPTIONS.items():
        endings = {"": "", **{f"-{task['name']}": f" of `{task['name']}`" for task in tasks_of(results)}}
        for ending, of_task in endings.items():
            if plot_name(kind, ending) in files:
                title, colon, rest = caption.partition(":")
                shown.append(f"![{title}{of_task}{colon}{rest}]({plot_name(kind, ending)})")
    return shown


def write_card(folder: str | os.PathLike[str]) -> Path:
    """Writes README.md from the results.json in a folder, and gives its path.

    Raises:
        InputError: there is no results.json, or it does not have the form.
    """
    folder = Path(folder)
    card = render_card(asdict(Results.read(folder)), {path.name for path in folder.iterdir()})
    with replacing(folder / "README.md") as temporary:
        temporary.write_text(card, encoding="utf-8")
    return folder / "README.md"


def _metadata(results: Facts) -> str:
    """The YAML between the card's two --- lines."""
    from huggingface_hub import EvalResult, ModelCardData

    model, data = results["model"], results["data"]
    measured = [metric for metric in results["metrics"] if metric["value"] is not None]
    evaluations = [
        EvalResult(
            task_type=model["task"],
            dataset_type=metric["dataset"],
            dataset_name=metric["dataset"],
            dataset_split=metric["split"],
            metric_type=hub_type(metric["name"])[0],
            metric_name=metric_title(metric["name"]),
            metric_args=hub_type(metric["name"])[1],
            metric_value=metric["value"],
        )
        for metric in measured
    ]
    # The Hub refuses a card with a language or a license that it does not know; other ones stand in the text only.
    languages = [language for language in data["language"] if re.fullmatch(r"[a-z]{2,3}", language)]
    license_id = model.get("license")
    targets = [task["name"] for task in tasks_of(results)]
    listed = license_id is None or re.fullmatch(r"[a-z0-9.-]+", license_id)
    return ModelCardData(
        language=languages or None,
        license=license_id if listed else "other",
        license_name=None if listed else license_id,
        library_name="transformers",
        pipeline_tag=model["task"],
        tags=["hf_speech", "speech", *targets] + (["synthetic"] if data["synthetic"] else []),
        base_model=model["backbone"] if is_hub_id(model["backbone"]) else None,
        datasets=[data["name"]] if is_hub_id(data["name"]) else None,
        metrics=list(dict.fromkeys(evaluation.metric_type for evaluation in evaluations)) or None,
        model_name=model["name"],
        eval_results=evaluations or None,
    ).to_yaml()


def _what_it_does(results: Facts) -> str:
    model, data, tasks = results["model"], results["data"], tasks_of(results)
    text = f"# {model['name']}\n\nThis model listens to one utterance of speech and predicts "
    if len(tasks) == 1:
        text += f"{answer(tasks[0])}."
    else:
        listed = "\n".join(f"- `{task['name']}`: {answer(task)}" for task in tasks)
        text += f"{len(tasks)} things at once:\n\n{listed}"
    if data["synthetic"]:
        text += (
            "\n\n> **Made from synthetic speech.** A program made the speech it was trained and measured on."
            "\n> Its numbers say nothing about real speech."
        )
    return text


def _results(results: Facts) -> str:
    metrics = results["metrics"]
    text = "## Results\n\n"
    if not metrics:
        return text + "**Not measured.** There are no numbers for this model."
    rows = [
        (
            metric_title(metric["name"]),
            value_of(metric),
            interval_of(metric),
            metric["dataset"],
            metric["split"],
            metric["n"],
        )
        for metric in metrics
    ]
    of_trials = {is_of_trials(metric["name"]) for metric in metrics}
    counted = "Utterances or trials" if len(of_trials) > 1 else "Trials" if True in of_trials else "Utterances"
    text += markdown_table(("Metric", "Value", "95 % interval", "Data", "Split", counted), rows)
    if not any(is_held_out(metric["split"]) for metric in metrics):
        text += "\n\n**There is no test split**: what it does on speech that had no part in any choice is not measured."
    for unit in dict.fromkeys(metric["interval_unit"] for metric in metrics):
        text += f"\n\n{_INTERVALS[unit]}"
    if results["data"]["target"] == "speaker_id" and any(metric["interval_unit"] == "utterance" for metric in metrics):
        text += " The speakers are the labels here, and the numbers hold for these speakers only."
    return text + "".join(f"\n\n{line}" for line in _fingerprints(metrics))


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
            of_tasks = f", for {' and '.join(f'`{task}`' for task in dict.fromkeys(tasks))}" if len(found) > 1 else ""
            lines.append(
                f"Fingerprint of the {items} in {dataset}, {split}{of_tasks}: `{mark}` (the same items give the "
                "same one)."
            )
    return lines


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


def _trained_on(results: Facts) -> str:
    data = results["data"]
    link = (
        f"[{data['name']}](https://huggingface.co/datasets/{data['name']})" if is_hub_id(data["name"]) else data["name"]
    )
    languages = ", ".join(data["language"]) or "not recorded"
    verb = "trained" if "train" in data["splits"] else "measured"
    text = (
        f"## What it was {verb} on\n\nData: {_cell(link)}; target: `{data['target']}`; language: {languages}; "
        f"license of the data: {_known(data['license'])}.\n\n"
    )
    rows = [
        (
            name,
            "streamed, not counted" if split["utterances"] is None else split["utterances"],
            _known(split["speakers"]),
            _known(None if split["seconds"] is None else f"{split['seconds'] / 3600:.2f}"),
            data["split_rule"].get(name, "the rest" if name == "train" else "not recorded"),
        )
        for name, split in data["splits"].items()
    ]
    text += markdown_table(("Split", "Utterances", "Speakers", "Hours", "Rule"), rows)
    counted = [_label_counts(data["splits"], task) for task in tasks_of(results)]
    text += "".join(f"\n\n{table}" for table in counted if table)
    if data["unlabelled"]:
        text += f"\n\nRows without a label, not used: {data['unlabelled']}."
    if data["left_out"]:
        text += f"\n\nLeft out: {len(data['left_out'])}.\n\n"
        shown = data["left_out"][:MAX_LISTED]
        text += markdown_table(
            ("File or row", "Why"), [(row.get("file", row.get("row")), row["reason"]) for row in shown]
        )
        if len(data["left_out"]) > MAX_LISTED:
            text += f"\n\nand {len(data['left_out']) - MAX_LISTED} more, in results.json."
    return text


def _label_counts(splits: Facts, task: Facts) -> str:
    """Utterances of each label of a task in each split; empty where it has none, or too many."""
    counts = [(split.get("task_labels") or {}).get(task["name"], split["labels"]) for split in splits.values()]
    if not any(counts) or not 0 < len(task["labels"]) <= MAX_LISTED or task["problem_type"] == "regression":
        return ""
    rows = [[label, *((there or {}).get(label, 0) for there in counts)] for label in task["labels"]]
    several = any("task_labels" in split for split in splits.values())
    title = f"Utterances by `{task['name']}`" if several else "Utterances by label"
    return f"{title}:\n\n{markdown_table(('Label', *splits), rows)}"


def recipe_section(results: Facts) -> str:
    """How it was trained, as a section of a page."""
    run = results["run"]
    facts = {**recipe_of_model(results["model"]), **run["recipe"], "steps": run["steps"], "epochs": run["epochs"]}
    rows = [
        (name.replace("_", " "), in_options(value) if isinstance(value, Mapping) else value)
        for name, value in facts.items()
        if value is not None
    ]
    return f"## How it was trained\n\n{markdown_table(('Setting', 'Value'), rows)}"


def _limits(results: Facts) -> str:
    return "## Limits and intended use\n\n" + "\n".join(f"- {line}" for line in caveats(results))


def provenance_section(results: Facts) -> str:
    """Seed, versions and device, as a section of a page."""
    run = results["run"]
    rows = [
        ("seed", _known(run["seed"])),
        ("commit of hf_speech", _known(run["commit"])),
        ("device", _known(run["device"])),
        ("wall time, seconds", "not recorded" if run["wall_seconds"] is None else f"{run['wall_seconds']:.0f}"),
        *run["versions"].items(),
    ]
    return (
        f"## Where the numbers come from\n\n{markdown_table(('Fact', 'Value'), rows)}\n\n"
        "This card is made from `results.json` in this folder, which holds the whole configuration too."
    )


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table as Markdown has it."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(value: Any) -> str:
    """Text that stays in its cell: no line ends, no bars."""
    return " ".join(str(value).split()).replace("|", "\\|")


def _known(value: Any) -> Any:
    return "not recorded" if value is None else value
