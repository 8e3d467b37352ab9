"""What results.json calls things, in the card's words: tasks, metrics, parts."""

import re
from collections.abc import Mapping
from typing import Any

Facts = Mapping[str, Any]

MAX_LISTED = 20  # more labels or left-out files are counted, not listed

TARGETS = {
    "emotion": "the emotion it is spoken with",
    "speaker_id": "who speaks",
    "age": "the speaker's age",
    "gender": "the speaker's gender",
    "language": "the language spoken",
}
# Our name of a metric -> how the card calls it, the Hub's type, its arguments there.
METRICS: dict[str, tuple[str, str, dict[str, str] | None]] = {
    "uar": ("UAR (unweighted average recall, UA)", "recall", {"average": "macro"}),
    "accuracy": ("Accuracy (WA)", "accuracy", None),
    "macro_f1": ("Macro-F1", "f1", {"average": "macro"}),
    "mae": ("Mean absolute error", "mae", None),
    "rmse": ("Root mean squared error", "rmse", None),
    "pearson_r": ("Pearson's r", "pearsonr", None),
    "ccc": ("Concordance correlation (CCC)", "ccc", None),
    "off_by_one_accuracy": ("Right or an adjacent class", "off_by_one_accuracy", None),
    "ordinal_mse": ("Mean squared distance in classes", "mse", None),
    "class_mae": ("Mean distance in classes", "mae", None),
    "micro_f1": ("Micro-F1", "f1", {"average": "micro"}),
    "mean_average_precision": ("Mean average precision", "mean_average_precision", None),
    "exact_match": ("Every label right", "exact_match", None),
    "eer": ("Equal error rate (EER)", "eer", None),
    "min_dcf": ("Minimum detection cost (minDCF)", "min_dcf", None),
    "act_dcf": ("Detection cost of decisions (actDCF)", "act_dcf", None),
    "cllr": ("Cost of log-likelihood ratios (Cllr)", "cllr", None),
    "min_cllr": ("Minimum cost of log-likelihood ratios (minCllr)", "min_cllr", None),
    "fnmr": ("Targets refused (FNMR)", "fnmr", None),
    "fmr": ("Non-targets accepted (FMR)", "fmr", None),
}
_OF_TRIALS = frozenset({"eer", "min_dcf", "act_dcf", "cllr", "min_cllr", "fnmr", "fmr"})
_AT_PRIOR = re.compile(r"(min_dcf|act_dcf)_([\d.e-]+)")


def is_hub_id(name: str) -> bool:
    """Whether a name is owner/name, as results.json has it only for what is on the Hub.

    >>> is_hub_id("facebook/wav2vec2-base"), is_hub_id("wav2vec2, from scratch"), is_hub_id("./corpus")
    (True, False, False)
    """
    return re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", name) is not None


def tasks_of(results: Facts) -> list[Facts]:
    """The tasks of a model; the one of a model whose facts have no list of them."""
    model, data = results["model"], results["data"]
    own = {"problem_type": model["problem_type"], "labels": model["labels"], "head": model["head"]}
    listed = model.get("tasks") or []
    if len(listed) > 1:
        return listed
    return [{**own, **(listed[0] if listed else {}), "name": data["target"], "unit": data.get("unit", "")}]


def answer(task: Facts) -> str:
    """What a task predicts: "who speaks: one of 3 labels (...)"."""
    target = TARGETS.get(task["name"], f"its `{task['name']}`")
    labels = task["labels"]
    if task["problem_type"] == "regression":
        return f"{target}, as a number" + (f" in {task['unit']}" if task["unit"] else "")
    listed = ", ".join(f"`{label}`" for label in labels) if len(labels) <= MAX_LISTED else "listed in config.json"
    how = "any of" if task["problem_type"] == "multi_label_classification" else "one of"
    order = " in their order" if task.get("ordered") else ""
    return f"{target}: {how} {len(labels)} labels{order} ({listed})"


def recipe_of_model(model: Facts) -> dict[str, Any]:
    """What a model is made of, as the card lists it: setting -> value, with the options of each part."""
    backbone = model["backbone"]
    if is_hub_id(backbone):
        backbone = f"[{backbone}](https://huggingface.co/{backbone})"
    facts = {"backbone": backbone, **{name: model[name] for name in ("architecture", "parameters", "layer")}}
    parts = {what: part for what, part in (model.get("parts") or {}).items() if part["name"] != "none"}
    for what, part in parts.items():
        if what != "backbone" or part["options"]:
            facts["network" if what == "backbone" else what] = _with_options(part["name"], part["options"])
    tasks = model.get("tasks") or []
    if not tasks:
        return {**facts, **{name: model[name] for name in ("pooling", "head", "loss")}}
    for task in tasks:
        of_task = f" of {task['name']}" if len(tasks) > 1 else ""
        weight = f", weight {task['weight']:g}" if len(tasks) > 1 else ""
        facts[f"head{of_task}"] = _with_options(task["head"], task.get("head_config"))
        facts[f"loss{of_task}"] = _with_options(task["loss"], task.get("loss_config")) + weight
    adapter = dict(model.get("adapter") or {})
    if adapter:
        facts["adapter"] = _with_options(adapter.pop("kind"), adapter) + ", merged into the weights"
    return facts


def in_options(options: Facts) -> str:
    """A table in a line: "size: 8, dropout: 0.1"."""
    return ", ".join(f"{name}: {in_value(value)}" for name, value in options.items())


def in_value(value: Any) -> str:
    """A value as YAML has it."""
    if isinstance(value, Mapping):
        return f"{{{in_options(value)}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(in_value, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _with_options(name: str, options: Facts | None) -> str:
    return f"{name} ({in_options(options)})" if options else name


def metric_title(name: str) -> str:
    """What the card calls a metric; one of several tasks has its task's name in front.

    >>> metric_title("mae"), metric_title("age/mae")
    ('Mean absolute error', 'age: Mean absolute error')
    >>> metric_title("min_dcf_0.05")
    'Minimum detection cost (minDCF), prior 0.05'
    """
    task, _, full = name.rpartition("/")
    own, prior = _at_prior(full)
    title = METRICS[own][0] if own in METRICS else own
    return (f"{task}: " if task else "") + title + (f", prior {prior}" if prior else "")


def hub_type(name: str) -> tuple[str, dict[str, str] | None]:
    """What the Hub calls a metric, and with which arguments.

    >>> hub_type("emotion/uar")
    ('recall', {'average': 'macro'})
    """
    own, prior = _at_prior(name.rpartition("/")[2])
    if prior:
        return METRICS[own][1], {"p_target": prior}
    return METRICS[own][1:] if own in METRICS else (own, None)


def is_of_trials(name: str) -> bool:
    """Whether a metric is one of pairs of utterances.

    >>> is_of_trials("min_dcf_0.001"), is_of_trials("uar")
    (True, False)
    """
    return _at_prior(name.rpartition("/")[2])[0] in _OF_TRIALS


def _at_prior(name: str) -> tuple[str, str]:
    """A detection cost at a further prior as its plain name and the prior; others as they are, and ""."""
    found = _AT_PRIOR.fullmatch(name)
    return (found[1], found[2]) if found else (name, "")


def value_of(metric: Facts) -> str:
    """A metric's value with its unit."""
    return "not defined" if metric["value"] is None else f"{_number(metric['value'], metric['unit'])}{_unit(metric)}"


def interval_of(metric: Facts) -> str:
    """A metric's interval with its unit."""
    if metric["low"] is None or metric["high"] is None:
        return "not defined"
    return f"{_number(metric['low'], metric['unit'])} to {_number(metric['high'], metric['unit'])}{_unit(metric)}"


def _number(number: float, unit: str) -> str:
    return f"{number:.3f}" if unit in ("fraction", "correlation") or unit.startswith("cost") else f"{number:.2f}"


def _unit(metric: Facts) -> str:
    return "" if metric["unit"] in ("fraction", "correlation", "") else f" {metric['unit']}"
