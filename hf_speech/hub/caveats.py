"""What a model's facts do not show: the lines of the card's section on limits, each for a reason found in results.json.

The bounds below are judgements: where speakers or utterances are so few that a reader should be told in words.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from ..data.audit import in_words
from .words import is_of_trials, tasks_of

Facts = Mapping[str, Any]

FEW_SPEAKERS = 30
FEW_UTTERANCES = 100

_OF_TARGET = {
    "emotion": (
        "The labels are what a corpus calls an emotion: often acted, or how listeners named it. The model does not "
        "know what a person feels.",
        "Not for decisions about people (work, school, police, health, credit). In the European Union the use at work "
        "and in education is largely prohibited (Regulation 2024/1689, article 5).",
    ),
    "speaker_id": (
        "It answers with one of its training speakers whoever speaks: a stranger gets one of their names too.",
        "A voice identifies a person: it is biometric data, to be used with the speakers' consent only. Not for access "
        "control: recorded, imitated and made voices were not tested.",
    ),
    "age": (
        "A voice shows age only roughly; the errors in the table are averages, and single ones are larger. Not for "
        "proof of age, and not for decisions about people.",
    ),
    "gender": (
        "It knows only the labels of its corpus, which need not be how a speaker would answer. Not for decisions about "
        "people.",
    ),
}


def caveats(results: Facts) -> list[str]:
    """The lines, most weighty first; never none, as no test is of everything."""
    return [
        *_of_the_data(results),
        *_of_the_splits(results),
        *_of_the_measure(results),
        *(line for task in tasks_of(results) for line in _OF_TARGET.get(task["name"], ())),
        _USE,
    ]


_USE = (
    "Meant for research, and for trying out on speech like that of the training data. The numbers do not cover other "
    "microphones, rooms, noise, ages and accents than those of the data: measure on your own speech before you rely on "
    "them."
)


def is_held_out(split: str) -> bool:
    """Whether a split had no part in training and in choosing: all but those two had none, whatever they are called."""
    return split not in ("train", "validation")


def _of_the_data(results: Facts) -> Iterator[str]:
    data = results["data"]
    train = data["splits"].get("train")
    if data["synthetic"]:
        yield "**The data are synthetic**: it is a demonstration, not a model for real speech."
    if train is None:
        yield "What it was trained on is not recorded."
    elif train["speakers"] is None:
        yield "The data do not say who speaks: whether it was measured on voices that it learned from is not known."
    elif train["speakers"] < FEW_SPEAKERS and data["target"] != "speaker_id":
        yield f"It learned from {_count(train['speakers'], 'speaker')} only, and may do worse on other voices."
    if data["language"]:
        yield f"It heard only this language in training: {', '.join(data['language'])}. On others it is not measured."
    else:
        yield "The language of the training data is not recorded."
    if any(task["problem_type"] == "regression" for task in tasks_of(results)):
        yield "It can answer with values outside the range of its training labels."


# What two splits have in common -> what follows, where the first of them is training.
_HEARD = {
    "speaker_id": "on voices that it has not heard it may do worse",
    "session_id": "it may know their rooms and microphones, and do worse on others",
    "recording_id": "it may know their rooms and microphones, and do worse on others",
    "file": "it has heard them in training, so the numbers are too good",
    "content": "it has heard them in training, so the numbers are too good",
}


def _of_the_splits(results: Facts) -> Iterator[str]:
    data = results["data"]
    overlaps = data.get("overlaps", ())
    if overlaps is None and "train" in data["splits"]:
        yield "Whether the splits have speakers or recordings in common was not looked at, as the data were streamed."
    for overlap in overlaps or ():
        training = overlap["between"][0] == "train"
        follows = _HEARD.get(overlap["what"]) if training else "what was chosen by the one is not new to the other"
        yield in_words(overlap) + (f": {follows}." if follows else ".")


def _of_the_measure(results: Facts) -> Iterator[str]:
    splits, metrics = results["data"]["splits"], results["metrics"]
    if not any(is_held_out(metric["split"]) for metric in metrics):
        yield "Performance on a test split is not measured."
    for task in tasks_of(results) if len(tasks_of(results)) > 1 else ():
        if not any(is_held_out(m["split"]) and m["name"].startswith(f"{task['name']}/") for m in metrics):
            yield f"How well it predicts `{task['name']}` is not measured: no held-out utterance has a value."
    for name in dict.fromkeys(metric["split"] for metric in metrics):
        counts = [m["n"] for m in metrics if m["split"] == name and not is_of_trials(m["name"])]
        if not counts:
            continue
        count = max(counts)  # of several tasks, some utterances may have a label for one only
        if count < FEW_UTTERANCES:
            yield f"The split `{name}` has {_count(count, 'utterance')} only: small differences on it mean nothing."
        speakers = splits[name]["speakers"] if name in splits else None
        if speakers is not None and speakers < FEW_SPEAKERS and results["data"]["target"] != "speaker_id":
            yield f"The split `{name}` has {_count(speakers, 'speaker')} only."
    known = [metric for metric in metrics if metric["value"] is not None]
    if any(metric["low"] == metric["high"] for metric in known):
        yield "An interval without width means that no resample differed, not that the number is certain."
    if any(not metric["low"] <= metric["value"] <= metric["high"] for metric in known):
        yield "An interval that does not hold its value comes from labels with few utterances: trust neither much."


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
