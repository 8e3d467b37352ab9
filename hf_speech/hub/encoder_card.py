"""The card of an encoder that was pretrained, or adapted to some speech."""

import json
import shlex
from collections.abc import Iterator, Sequence

from .making import provenance_section, recipe_section
from .markdown import bullets, listed, markdown_table
from .training_data import training_data
from .words import Facts, code, count, escaped, in_prose, interval_of, is_hub_id, percent, value_of, whole

TASK = "speech-pretraining"
CAPTION = "Loss during training, and what validation rows said"

# Objective -> what the encoder learnt, and what each number is a share of.
_LEARNT = {
    "contrastive": "without labels, to tell hidden frames from others of their utterance (as wav2vec 2.0 does it)",
    "clusters": "of which clusters hidden frames are (masked prediction, as HuBERT and P-TAPT do it)",
    "labels": "of the labels of utterances, each of its frames by itself and all together (the first phase of P-TAPT)",
}
_SHARES = {
    "contrastive": {"accuracy": "hidden frames that are told from all their distractors"},
    "clusters": {"accuracy": "hidden frames whose cluster is told, of {k} clusters"},
    "labels": {
        "accuracy": "utterances whose label is told",
        "frame_accuracy": "frames from each of which alone the label of their utterance is told",
    },
}
# Objective -> what is trained beside the encoder, and what becomes of it.
_BESIDE = {
    "contrastive": "those of the codebooks among them, which are kept beside the encoder",
    "clusters": "those of the heads among them, which are not kept",
    "labels": "those of the heads among them, which are not kept",
}


def is_encoder(results: Facts) -> bool:
    """Whether results are those of an encoder without a head."""
    return bool(results["model"]["task"] == TASK)


def sections(results: Facts, curves: str) -> list[str]:
    """The sections of the card, in order.

    Args:
        results: the content of results.json.
        curves: file of the curves; "": there are none.
    """
    return [
        _opening(results),
        _use(results),
        _measured(results),
        training_data(results),
        recipe_section(_without_head(results)),
        *([f"![{CAPTION}]({curves})\n\n*{CAPTION}*"] if curves else []),
        _limits(results),
        provenance_section(results),
    ]


def _opening(results: Facts) -> str:
    model, data = results["model"], results["data"]
    origin = model["backbone"]
    began = f"began as {escaped(origin)}" if not origin.endswith(", from scratch") else f"began at random ({origin})"
    parts = [
        f"# {escaped(model['name'])}",
        f"This is an encoder of speech, to be fine-tuned: it turns a waveform into frames, and answers no question by "
        f"itself. It {began}, and learnt of {escaped(data['name'])}, {_LEARNT[model['problem_type']]}.",
        *_labels_before(results),
    ]
    if data["synthetic"]:
        parts.append("> **Adapted to synthetic speech.** A program made the speech that it learnt of.")
    return "\n\n".join(parts)


def _labels_before(results: Facts) -> Iterator[str]:
    """Where the clusters come from, and which labels are in what it began with: a sentence each."""
    learnt = results["run"].get("pretraining") or {}
    clusters, began = learnt.get("clusters"), learnt.get("backbone_labels")
    if clusters:
        trained = f", which was trained with {_labels(clusters['labels'])}" if clusters["labels"] else ""
        yield f"The clusters are of layer {clusters['layer']} of {escaped(clusters['model'])}{trained}."
    if began:
        yield f"What it began as was trained with {_labels(began)}."


def _labels(targets: Sequence[str]) -> str:
    return f"the labels of {listed([code(target) for target in targets], 'and')}"


def _use(results: Facts) -> str:
    model = results["model"]
    name = model["name"]
    place = "" if is_hub_id(name) else "  # this model's folder"
    given = shlex.quote(name)
    return f"""## How to use it

```bash
hf-speech train train.yaml --backbone {given} --output-dir runs/fine-tuned
hf-speech embed {given} recordings/ --layer all --pooling mean --output-dir features
```

In Python, with transformers:

```python
import soundfile
import torch
from transformers import AutoFeatureExtractor, AutoModel

name = {json.dumps(name, ensure_ascii=False)}{place}
model = AutoModel.from_pretrained(name).eval()
extractor = AutoFeatureExtractor.from_pretrained(name)
waveform, rate = soundfile.read("speech.wav", dtype="float32")  # mono, at {model["sample_rate"]} Hz
inputs = extractor(waveform, sampling_rate=rate, return_tensors="pt")
with torch.no_grad():
    frames = model(**inputs).last_hidden_state  # (1, frames, dimensions)
```"""


def _measured(results: Facts) -> str:
    metrics = whole(results["metrics"])
    if not metrics:
        return "## Results\n\n**Not measured**: no speech was held out of its training to measure it on."
    rows = [(m["name"], value_of(m), interval_of(m), escaped(m["dataset"]), m["split"], m["n"]) for m in metrics]
    header = ("Metric", "Value", "95 % interval", "Data", "Split", "Utterances")
    told = list(_meanings(results, metrics))
    return "\n\n".join(["## Results", markdown_table(header, rows), bullets(told)])


def _meanings(results: Facts, metrics: list[Facts]) -> Iterator[str]:
    model = results["model"]
    for metric in metrics:
        name, _, k = metric["name"].partition("_k")
        what = _SHARES[model["problem_type"]][name].format(k=k)
        value, interval = in_prose(metric)
        guessing = (model.get("chance") or {}).get(metric["name"])
        chance = "" if guessing is None else f"; guessing gives {percent(guessing)}"
        yield f"**{metric['name']}**: {value} ({interval}): {what}{chance}."
    learnt = results["run"].get("pretraining") or {}
    if "codes" in learnt and "perplexity" in learnt:
        yield (
            f"Its codebooks use {learnt['perplexity']:.0f} of {learnt['codes']} codes (the perplexity of their use; "
            "few would mean that it has collapsed)."
        )
    yield (
        "They say how far the objective was learnt. How good the encoder is for a task is measured by fine-tuning it; "
        "nothing here tells."
    )
    yield f"The intervals come from a bootstrap over {metrics[0]['interval_unit']}s."


def _without_head(results: Facts) -> Facts:
    """The same for the table of settings, without what only a model with a head has."""
    model, run = results["model"], results["run"]
    recipe = {name: value for name, value in run["recipe"].items() if value is not False}
    trained = recipe.get("trained_parameters")
    if trained is not None:
        recipe["trained_parameters"] = f"{trained:,}, {_BESIDE[model['problem_type']]}"
    plain = {**model, "layer": None, "parameters": f"{model['parameters']:,}"}
    return {**results, "model": plain, "run": {**run, "recipe": recipe}}


def _limits(results: Facts) -> str:
    train = results["data"]["splits"]["train"]
    hours = "" if train["seconds"] is None else f"{train['seconds'] / 3600:.2g} hours of it, "
    lines = [
        f"It has heard {escaped(results['data']['name'])}: {hours}{count(train['utterances'] or 0, 'utterance')}. A "
        "classifier that starts from it must not be tested on these utterances: what they sound like is known to it.",
        "An encoder that was adapted to one kind of speech may have become worse for others.",
        "What there is in the speech of the training, such as who speaks, can be found in its frames.",
    ]
    return f"## Limits\n\n{bullets(lines)}"
