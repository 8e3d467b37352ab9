"""What results.json calls things, in the card's words: tasks, metrics, parts."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from ..results import group_of

Facts = Mapping[str, Any]
Metric = TypeVar("Metric", bound=Mapping[str, Any])

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
# Our name of a metric -> what it says, for whoever has not met it.
MEANINGS = {
    "uar": "the share of a label's utterances that it recognises, averaged over the labels that occur; guessing gives "
    "1 over their number. Higher is better.",
    "accuracy": "the share of all utterances that it recognises; where one label is common, naming it always scores "
    "well. Higher is better.",
    "macro_f1": "how well a label is both found and not named wrongly, averaged over the labels. Higher is better.",
    "mae": "how far off an answer is on average. Lower is better.",
    "rmse": "the same, with large errors counting more. Lower is better.",
    "pearson_r": "whether answers rise with the truth: 1 in a line, 0 not at all.",
    "ccc": "whether answers are equal to the truth, not only rise with it: 1 always, 0 not at all.",
    "off_by_one_accuracy": "the share of utterances whose class is right or next to the right one. Higher is better.",
    "ordinal_mse": "how many classes off, squared, on average. Lower is better.",
    "class_mae": "how many classes off on average. Lower is better.",
    "micro_f1": "how well labels are both found and not named wrongly, over all of them together. Higher is better.",
    "mean_average_precision": "how well utterances that have a label are ranked before the others. Higher is better.",
    "exact_match": "the share of utterances whose labels are all right. Higher is better.",
    "eer": "the error rate at the threshold where pairs of one speaker are refused as often as pairs of two are "
    "accepted; guessing gives one half. Lower is better.",
    "min_dcf": "what errors cost at the best threshold, where pairs of one speaker are as rare as p_target says: 0 is "
    "perfect, and at 1 it is as well to refuse everybody.",
    "act_dcf": "what errors cost at the threshold of its calibration, where pairs of one speaker are as rare as "
    "p_target says: the nearer to minDCF, the better calibrated.",
    "cllr": "how much its likelihood ratios mislead, in bits: 0 is perfect, 1 says nothing.",
    "min_cllr": "the same after the best calibration that these trials allow.",
    "fnmr": "the share of pairs of one speaker that are refused at the threshold of all trials. Lower is better.",
    "fmr": "the share of pairs of two speakers that are accepted at the threshold of all trials. Lower is better.",
}
_OF_TRIALS = frozenset({"eer", "min_dcf", "act_dcf", "cllr", "min_cllr", "fnmr", "fmr"})
_AT_PRIOR = re.compile(r"(min_dcf|act_dcf)_([\d.e-]+)")


def is_hub_id(name: str) -> bool:
    """Whether a name is owner/name, as models and data sets on the Hub have it.

    >>> is_hub_id("facebook/wav2vec2-base"), is_hub_id("wav2vec2, from scratch"), is_hub_id("./corpus")
    (True, False, False)
    """
    return re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", name) is not None


def is_on_hub(results: Facts, name: str) -> bool:
    """Whether a data set that results are of is one of the Hub's; where they do not say, by its name alone."""
    return is_hub_id(name) and bool(results["data"].get("on_hub", True))


def hub_dataset(results: Facts) -> str | None:
    """The name on the Hub of the data that results are of; None: they are from elsewhere."""
    name = results["data"]["name"]
    return name if is_on_hub(results, name) else None


def is_trained(results: Facts) -> bool:
    """Whether results tell of a training; else the model was only measured, and may have met anything before."""
    return "train" in results["data"]["splits"]


def is_pretrained(results: Facts) -> bool:
    """Whether training began with an encoder that had heard other speech before, from the Hub or a folder."""
    model = results["model"]
    parts, backbone = model.get("parts"), model["backbone"]
    if is_hub_id(backbone) or not parts:
        return is_hub_id(backbone)
    return not backbone.endswith(", from scratch") and "front end" not in parts


def escaped(text: Any) -> str:
    r"""Text of others in running text: in a line, and without what Markdown or HTML would read as its own.

    >>> print(escaped("[a](b)"))
    \[a\](b)
    """
    return re.sub(r"([\\`*\[\]<>])", r"\\\1", " ".join(str(text).split()))


def code(text: Any) -> str:
    """Text of others as code in a line, whatever backticks and line ends it has.

    >>> code("angry"), code("a`b")
    ('`angry`', '`` a`b ``')
    """
    line = " ".join(str(text).split())
    if "`" not in line:
        return f"`{line}`"
    fence = "`" * (1 + max(map(len, re.findall("`+", line))))
    return f"{fence} {line} {fence}"


def tasks_of(results: Facts) -> list[Facts]:
    """The tasks of a model; the one of a model whose facts have no list of them."""
    model, data = results["model"], results["data"]
    own = {name: model[name] for name in ("problem_type", "labels", "head", "loss")}
    listed = model.get("tasks") or []
    if len(listed) > 1:
        return listed
    return [{**own, **(listed[0] if listed else {}), "name": data["target"], "unit": data.get("unit", "")}]


def answer(task: Facts) -> str:
    """What a task predicts: "who speaks: one of 3 labels (...)"."""
    target = TARGETS.get(task["name"], f"its {code(task['name'])}")
    labels = task["labels"]
    if task["problem_type"] == "regression":
        return f"{target}, as a number" + (f" in {task['unit']}" if task["unit"] else "")
    listed = ", ".join(map(code, labels)) if len(labels) <= MAX_LISTED else "listed in config.json"
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


def meaning_of(name: str) -> str:
    """What a metric says, in words; "" where it is none of ours."""
    return MEANINGS.get(_at_prior(name.rpartition("/")[2])[0], "")


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


def whole(metrics: Sequence[Metric]) -> list[Metric]:
    """The numbers of all that was measured of a split; those of groups are left out."""
    return [metric for metric in metrics if not group_of(metric)[1]]


def is_held_out(split: str) -> bool:
    """Whether a split had no part in training and in choosing: all but those two had none, whatever they are called."""
    return split not in ("train", "validation")


def main_numbers(results: Facts) -> list[Facts]:
    """The first number of each task that is defined, on what is held out, or else on validation rows; "" is a task too.

    Of several held-out splits, or ways of scoring, the first one counts.
    """
    known = [metric for metric in whole(results["metrics"]) if metric["value"] is not None]
    known = [metric for metric in known if is_held_out(metric["split"])] or known
    places = [metric for metric in known if (metric["dataset"], metric["split"]) == _place(known[0])]
    first: dict[str, Facts] = {}
    for metric in places:
        first.setdefault(metric["name"].rpartition("/")[0], metric)
    return list(first.values())


def _place(metric: Facts) -> tuple[str, str]:
    return metric["dataset"], metric["split"]


def compares_voices(results: Facts) -> bool:
    """Whether the model is for comparing two voices: trained to tell speakers apart, or measured by trials.

    Somebody else's classifier that names speakers is not: it gives no embedding here.
    """
    speaks = any(task["name"] == "speaker_id" for task in tasks_of(results))
    of_trials = any(is_of_trials(metric["name"]) for metric in results["metrics"])
    return of_trials or (speaks and results["model"]["architecture"].startswith("HfSpeech"))


def percent(share: float) -> str:
    """A share in per cent, in two digits or so.

    >>> percent(0.4525), percent(0.0378), percent(0.00312), percent(1.0), percent(0.0)
    ('45 %', '3.8 %', '0.31 %', '100 %', '0 %')
    """
    return f"{_in_hundred(share)} %"


def _in_hundred(share: float) -> str:
    value = 100 * share
    return f"{value:.0f}" if value >= 9.95 or not value else f"{value:.1f}" if value >= 0.995 else f"{value:.2f}"


def in_prose(metric: Facts) -> tuple[str, str]:
    """A metric's value and its interval for running text: "45 %" and "35 to 56 %"."""
    if metric["unit"] != "fraction":
        return value_of(metric), interval_of(metric)
    ends = [metric["low"], metric["high"]]
    low, high = ["not defined" if end is None else _in_hundred(end) for end in ends]
    return percent(metric["value"]), f"{low} to {high} %"


def count(number: int, thing: str) -> str:
    """How many things.

    >>> count(1, "speaker"), count(2500, "utterance")
    ('1 speaker', '2,500 utterances')
    """
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


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
