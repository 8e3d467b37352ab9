"""What a model's facts do not show: the lines of the card's section on limits, each for a reason found in results.json.

The bounds below are judgements: where speakers or utterances are so few, or labels so uneven, that a reader should be
told in words.
"""

from collections.abc import Iterator, Mapping
from itertools import combinations

from ..data.audit import in_words
from ..results import group_of
from .labels import is_of_labels, label_names, labels_there
from .markdown import bullets
from .measured import group_numbers
from .words import (
    Facts,
    code,
    count,
    interval_of,
    is_held_out,
    is_of_trials,
    is_pretrained,
    is_trained,
    metric_title,
    percent,
    tasks_of,
    whole,
)

FEW_SPEAKERS = 30
FEW_UTTERANCES = 100
UNEVEN = 2.0  # times as many utterances of one label as of another
ONE_SIDED = 2 / 3  # of the utterances, of one group of speakers

_OF_TARGET = {
    "emotion": (
        "The labels are what a corpus calls an emotion: often acted, or how listeners named it. The model does not "
        "know what a person feels."
    ),
    "speaker_id": (
        "It answers with one of its training speakers whoever speaks: a stranger gets one of their names too."
    ),
    "age": (
        "A voice shows age only roughly; the errors in the table are averages, and single ones are larger. Not for "
        "proof of age."
    ),
    "gender": "It knows only the labels of its corpus, which need not be how a speaker would answer.",
    "language": "It knows only the languages of its labels, and gives any other one of their names.",
}
_OTHERS = (
    "The numbers do not cover other microphones, rooms, noise, ages and accents than those of the data: measure on "
    "your own speech before you rely on them."
)
_ALONE = ", which are of utterances alone: a few speakers may make it"
_UNLIKE = "; the two groups have utterances of different labels, which may be why"
_FACTS = ("gender", "age", "language", "both")  # first word of the groups that are set against each other


def limits_section(results: Facts) -> str:
    """The section of the card."""
    return f"## Limits and bias\n\n{bullets(caveats(results))}"


def caveats(results: Facts) -> list[str]:
    """The lines, most weighty first; never none, as no test is of everything."""
    return [
        *_of_the_data(results),
        *_of_the_splits(results),
        *_of_the_measure(results),
        *_of_groups(results),
        *(_OF_TARGET[task["name"]] for task in tasks_of(results) if task["name"] in _OF_TARGET),
        _OTHERS,
    ]


def _of_the_data(results: Facts) -> Iterator[str]:
    data = results["data"]
    train = data["splits"].get("train")
    if data["synthetic"] and is_trained(results):
        yield "**The data are synthetic**: it is a demonstration, not a model for real speech."
    elif data["synthetic"]:
        yield "**The data that it was measured on are synthetic**: the numbers say nothing about real speech."
    if train is None:
        yield (
            "What it was trained on is not recorded: whether it had met the speech, or the voices, that it was "
            "measured on is not known."
        )
    elif train["utterances"] is None:
        yield (
            "The training data were streamed and not counted: whether it was measured on voices that it learned from "
            "is not known."
        )
    elif train["speakers"] is None:
        yield "The data do not say who speaks: whether it was measured on voices that it learned from is not known."
    elif train["speakers"] < FEW_SPEAKERS and data["target"] != "speaker_id":
        yield f"It learned from {count(train['speakers'], 'speaker')} only, and may do worse on other voices."
    yield _of_languages(results)
    yield from _of_balance(results)
    if any(task["problem_type"] == "regression" for task in tasks_of(results)):
        yield "It can answer with values outside the range of its training labels."


def _of_languages(results: Facts) -> str:
    """Which languages it was trained or measured on; what an encoder had heard before is not known here."""
    languages = results["data"]["language"]
    if not languages:
        return f"The language of the {'training ' if is_trained(results) else ''}data is not recorded."
    only = f"{'this language' if len(languages) == 1 else 'these languages'} only"
    did = "was measured on" if not is_trained(results) else "was fine-tuned on" if is_pretrained(results) else "heard"
    where = " in training" if did == "heard" else ""
    others = "how it does on others is not known" if not is_trained(results) else "on others it is not measured"
    return f"It {did} {only}{where}: {', '.join(languages)}; {others}."


def _of_balance(results: Facts) -> Iterator[str]:
    """What training heard much of, and what little."""
    train = results["data"]["splits"].get("train") or {}
    for task in tasks_of(results):
        counts = (train.get("task_labels") or {}).get(task["name"], train.get("labels")) or {}
        if not sum(counts.values()) or set(counts) != set(label_names(results, task)):
            continue
        several = task["problem_type"] == "multi_label_classification"  # an utterance has any number of labels
        total = train["utterances"] if several else sum(counts.values())
        most, least = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
        if counts[most] >= UNEVEN * counts[least]:
            yield (
                f"Its training labels are uneven: {code(most)} has {percent(counts[most] / total)} of the utterances "
                f"and {code(least)} {percent(counts[least] / total)}, so it may name the rarer ones too seldom."
            )
    for column, counts in (train.get("groups") or {}).items():
        most = max(counts, key=counts.__getitem__)
        if counts[most] >= ONE_SIDED * sum(counts.values()):
            yield (
                f"Of the training utterances whose speaker's {column} is known, {_share(counts, most)} are of "
                f"{code(most)}: it may do worse on others."
            )


def _share(counts: Mapping[str, int], name: str) -> str:
    return percent(counts[name] / sum(counts.values()))


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
    splits, metrics = results["data"]["splits"], whole(results["metrics"])
    if not any(is_held_out(metric["split"]) for metric in metrics):
        yield "Performance on a test split is not measured."
    for task in tasks_of(results) if len(tasks_of(results)) > 1 else ():
        if not any(is_held_out(m["split"]) and m["name"].startswith(f"{task['name']}/") for m in metrics):
            yield f"How well it predicts {code(task['name'])} is not measured: no held-out utterance has a value."
    for name in dict.fromkeys(metric["split"] for metric in metrics):
        counts = [m["n"] for m in metrics if m["split"] == name and not is_of_trials(m["name"])]
        if not counts:
            continue
        most = max(counts)  # of several tasks, some utterances may have a label for one only
        if most < FEW_UTTERANCES:
            yield f"The split `{name}` has {count(most, 'utterance')} only: small differences on it mean nothing."
        speakers = splits[name]["speakers"] if name in splits else None
        if speakers is not None and speakers < FEW_SPEAKERS and results["data"]["target"] != "speaker_id":
            yield f"The split `{name}` has {count(speakers, 'speaker')} only."
    known = [metric for metric in metrics if metric["value"] is not None]
    if any(metric["low"] == metric["high"] for metric in known):
        yield "An interval without width means that no resample differed, not that the number is certain."
    if any(not metric["low"] <= metric["value"] <= metric["high"] for metric in known):
        yield "An interval that does not hold its value comes from labels with few utterances: trust neither much."


def _of_groups(results: Facts) -> Iterator[str]:
    """Groups between which a number differs by more than its intervals; or that nobody knows of groups.

    An average over labels is compared only where it is known which of them occur in each group.
    """
    numbers = group_numbers(results)
    if not numbers:
        yield "How it does for groups of speakers, by gender, age or language, is not measured."
    apart: dict[tuple[str, ...], list[tuple[float, Facts, Facts]]] = {}
    for one, other in combinations([metric for metric in numbers if None not in (metric["low"], metric["high"])], 2):
        facts = {group_of(metric)[1].partition(" ")[0] for metric in (one, other)}
        places = {(metric["name"], metric["dataset"], group_of(metric)[0]) for metric in (one, other)}
        gap = max(one["low"] - other["high"], other["low"] - one["high"])
        unknown = is_of_labels(results, one) and None in (labels_there(results, one), labels_there(results, other))
        if len(facts) == len(places) == 1 and facts <= {*_FACTS} and gap > 0 and not unknown:
            apart.setdefault((*places.pop(), *facts), []).append((gap, one, other))
    for found in apart.values():
        _, one, other = max(found, key=lambda pair: pair[0])
        told = [f"{code(group_of(metric)[1])} ({interval_of(metric)})" for metric in (one, other)]
        alone = _ALONE if "utterance" in (one["interval_unit"], other["interval_unit"]) else ""
        unlike = is_of_labels(results, one) and labels_there(results, one) != labels_there(results, other)
        yield (
            f"It does not serve all speakers alike: {metric_title(one['name'])} differs between {told[0]} and "
            f"{told[1]} by more than the intervals{alone}{_UNLIKE if unlike else ''}."
        )
