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
from ..plots import FILE_NAMES
from ..results import Results, validate
from .caveats import caveats, is_held_out

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
}
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
        *(f"![{caption}]({FILE_NAMES[kind]})" for kind, caption in CAPTIONS.items() if FILE_NAMES[kind] in files),
        _how_to_load(results),
        _trained_on(results),
        _recipe(results),
        _limits(results),
        _provenance(results),
    ]
    return f"---\n{_metadata(results)}\n---\n\n" + "\n\n".join(sections) + "\n"


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


def is_hub_id(name: str) -> bool:
    """Whether a name is owner/name, as results.json has it only for what is on the Hub.

    >>> is_hub_id("facebook/wav2vec2-base"), is_hub_id("wav2vec2, from scratch"), is_hub_id("./corpus")
    (True, False, False)
    """
    return re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", name) is not None


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
            metric_type=METRICS[metric["name"]][1] if metric["name"] in METRICS else metric["name"],
            metric_name=_metric_title(metric["name"]),
            metric_args=METRICS[metric["name"]][2] if metric["name"] in METRICS else None,
            metric_value=metric["value"],
        )
        for metric in measured
    ]
    # The Hub refuses a card with a language or a license that it does not know; other ones stand in the text only.
    languages = [language for language in data["language"] if re.fullmatch(r"[a-z]{2,3}", language)]
    license_id = model.get("license")
    listed = license_id is None or re.fullmatch(r"[a-z0-9.-]+", license_id)
    return ModelCardData(
        language=languages or None,
        license=license_id if listed else "other",
        license_name=None if listed else license_id,
        library_name="transformers",
        pipeline_tag=model["task"],
        tags=["hf_speech", "speech", data["target"]] + (["synthetic"] if data["synthetic"] else []),
        base_model=model["backbone"] if is_hub_id(model["backbone"]) else None,
        datasets=[data["name"]] if is_hub_id(data["name"]) else None,
        metrics=list(dict.fromkeys(evaluation.metric_type for evaluation in evaluations)) or None,
        model_name=model["name"],
        eval_results=evaluations or None,
    ).to_yaml()


def _what_it_does(results: Facts) -> str:
    model, data = results["model"], results["data"]
    target = TARGETS.get(data["target"], f"its `{data['target']}`")
    labels = model["labels"]
    if model["problem_type"] == "regression":
        answer = f"{target}, as a number" + (f" in {data['unit']}" if data["unit"] else "")
    else:
        listed = ", ".join(f"`{label}`" for label in labels) if len(labels) <= MAX_LISTED else "listed in config.json"
        how = "any of" if model["problem_type"] == "multi_label_classification" else "one of"
        answer = f"{target}: {how} {len(labels)} labels ({listed})"
    text = f"# {model['name']}\n\nThis model listens to one utterance of speech and predicts {answer}."
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
            _metric_title(metric["name"]),
            "not defined" if metric["value"] is None else f"{_number(metric['value'], metric['unit'])}{_unit(metric)}",
            _interval(metric),
            metric["dataset"],
            metric["split"],
            metric["n"],
        )
        for metric in metrics
    ]
    text += _table(("Metric", "Value", "95 % interval", "Data", "Split", "Utterances"), rows)
    if not any(is_held_out(metric["split"]) for metric in metrics):
        text += "\n\n**There is no test split**: what it does on speech that had no part in any choice is not measured."
    for unit in dict.fromkeys(metric["interval_unit"] for metric in metrics):
        text += f"\n\n{_INTERVALS[unit]}"
    if results["data"]["target"] == "speaker_id" and any(metric["interval_unit"] == "utterance" for metric in metrics):
        text += " The speakers are the labels here, and the numbers hold for these speakers only."
    fingerprints = dict.fromkeys((m["dataset"], m["split"], m["fingerprint"]) for m in metrics if m["fingerprint"])
    for dataset, split, mark in fingerprints:
        text += f"\n\nFingerprint of the utterances in {dataset}, {split}: `{mark}` (the same items give the same one)."
    return text


_INTERVALS = {
    "speaker": (
        "The intervals come from a bootstrap over speakers and over the utterances of each: they cover what other "
        "speakers of the same kind would change."
    ),
    "utterance": (
        "The intervals come from a bootstrap over utterances alone. **They do not cover the variation between "
        "speakers**: on other speakers the numbers can lie outside."
    ),
}


def _how_to_load(results: Facts) -> str:
    model, data = results["model"], results["data"]
    name, rate = model["name"], model["sample_rate"]
    place = "" if is_hub_id(name) else "  # this model's folder"
    if model["problem_type"] == "regression":
        answer = "print(logits.item())" + (f"  # {data['unit']}" if data["unit"] else "")
    elif model["problem_type"] == "multi_label_classification":
        answer = "print([model.config.id2label[i] for i in (logits[0] > 0).nonzero().flatten().tolist()])"
    else:
        answer = "print(model.config.id2label[logits.argmax(-1).item()])"
    return f"""## How to load it

With the package `hf_speech` installed:

```python
import soundfile
import torch
import hf_speech  # registers the Auto classes
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

name = "{name}"{place}
model = AutoModelForAudioClassification.from_pretrained(name).eval()
extractor = AutoFeatureExtractor.from_pretrained(name)
waveform, rate = soundfile.read("speech.wav", dtype="float32")  # mono, at {rate} Hz
inputs = extractor(waveform, sampling_rate=rate, return_tensors="pt")
with torch.no_grad():
    logits = model(**inputs).logits
{answer}
```

Without it, leave out `import hf_speech` and let the code that lies beside the weights run:

```python
model = AutoModelForAudioClassification.from_pretrained(name, trust_remote_code=True).eval()
```

As a pipeline, either way:

```python
from transformers import pipeline

classify = pipeline("audio-classification", model=name, trust_remote_code=True)
print(classify({{"raw": waveform, "sampling_rate": rate}}))
```"""


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
    text += _table(("Split", "Utterances", "Speakers", "Hours", "Rule"), rows)
    labels = results["model"]["labels"]
    if labels and len(labels) <= MAX_LISTED and any(split["labels"] for split in data["splits"].values()):
        counts = [
            [label, *((split["labels"] or {}).get(label, 0) for split in data["splits"].values())] for label in labels
        ]
        text += "\n\nUtterances by label:\n\n" + _table(("Label", *data["splits"]), counts)
    if data["unlabelled"]:
        text += f"\n\nRows without a label, not used: {data['unlabelled']}."
    if data["left_out"]:
        text += f"\n\nLeft out: {len(data['left_out'])}.\n\n"
        shown = data["left_out"][:MAX_LISTED]
        text += _table(("File or row", "Why"), [(row.get("file", row.get("row")), row["reason"]) for row in shown])
        if len(data["left_out"]) > MAX_LISTED:
            text += f"\n\nand {len(data['left_out']) - MAX_LISTED} more, in results.json."
    return text


def _recipe(results: Facts) -> str:
    model, run = results["model"], results["run"]
    backbone = model["backbone"]
    if is_hub_id(backbone):
        backbone = f"[{backbone}](https://huggingface.co/{backbone})"
    facts = {
        "backbone": backbone,
        **{name: model[name] for name in ("architecture", "parameters", "layer", "pooling", "head", "loss")},
        **run["recipe"],
        "steps": run["steps"],
        "epochs": run["epochs"],
    }
    rows = [(name.replace("_", " "), value) for name, value in facts.items() if value is not None]
    return f"## How it was trained\n\n{_table(('Setting', 'Value'), rows)}"


def _limits(results: Facts) -> str:
    return "## Limits and intended use\n\n" + "\n".join(f"- {line}" for line in caveats(results))


def _provenance(results: Facts) -> str:
    run = results["run"]
    rows = [
        ("seed", _known(run["seed"])),
        ("commit of hf_speech", _known(run["commit"])),
        ("device", _known(run["device"])),
        ("wall time, seconds", "not recorded" if run["wall_seconds"] is None else f"{run['wall_seconds']:.0f}"),
        *run["versions"].items(),
    ]
    return (
        f"## Where the numbers come from\n\n{_table(('Fact', 'Value'), rows)}\n\n"
        "This card is made from `results.json` in this folder, which holds the whole configuration too."
    )


def _table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(value: Any) -> str:
    """Text that stays in its cell: no line ends, no bars."""
    return " ".join(str(value).split()).replace("|", "\\|")


def _known(value: Any) -> Any:
    return "not recorded" if value is None else value


def _metric_title(name: str) -> str:
    return METRICS[name][0] if name in METRICS else name


def _number(value: float, unit: str) -> str:
    return f"{value:.3f}" if unit in ("fraction", "correlation") else f"{value:.2f}"


def _unit(metric: Facts) -> str:
    return "" if metric["unit"] in ("fraction", "correlation", "") else f" {metric['unit']}"


def _interval(metric: Facts) -> str:
    if metric["low"] is None or metric["high"] is None:
        return "not defined"
    return f"{_number(metric['low'], metric['unit'])} to {_number(metric['high'], metric['unit'])}{_unit(metric)}"
