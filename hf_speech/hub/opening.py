"""The first paragraphs of a card: what the model does, how well, and what it is not, for whoever has never met it."""

from collections.abc import Iterator

from .labels import label_names, labels_there, renamed_labels, task_of
from .markdown import bullets
from .words import (
    Facts,
    answer,
    code,
    compares_voices,
    count,
    escaped,
    in_prose,
    is_held_out,
    is_of_trials,
    is_pretrained,
    is_trained,
    main_numbers,
    metric_title,
    percent,
    tasks_of,
)

# Our name of a metric -> how the first paragraph says its value.
_SAID = {
    "uar": "it recognises {value} of the utterances of a label, averaged over the labels (UAR)",
    "eer": "it is wrong about {value} of the pairs of one speaker, and of the pairs of two (equal error rate, EER)",
    "mae": "its answers are off by {value} on average",
    "macro_f1": "its F1, averaged over the labels, is {value}",
}


def opening(results: Facts) -> str:
    """The title, what the model does, the warning of synthetic speech, and its main numbers."""
    paragraphs = [
        f"# {escaped(results['model']['name'])}",
        _does(results),
        *_warning(results),
        _headline(results),
        _READ_ON,
    ]
    return "\n\n".join(paragraphs)


_READ_ON = (
    "Before you use it: [what it is for](#intended-use), [what it is not for](#not-for), and "
    "[its limits](#limits-and-bias)."
)


def _does(results: Facts) -> str:
    tasks = tasks_of(results)
    compares = "turns it into an embedding, a vector of numbers by which two voices can be compared" + (
        "" if any(is_of_trials(m["name"]) for m in results["metrics"]) else "; how well was not measured"
    )
    if results["data"]["target"] == "same speaker":
        return f"This model listens to one utterance of speech and {compares}."
    text = "This model listens to one utterance of speech and predicts "
    if len(tasks) == 1:
        text += f"{answer(tasks[0])}."
    else:
        text += f"{len(tasks)} things at once:\n\n" + bullets(
            [f"{code(task['name'])}: {answer(task)}" for task in tasks]
        )
    return text + (f"{' ' if len(tasks) == 1 else chr(10) * 2}It also {compares}." if compares_voices(results) else "")


def _warning(results: Facts) -> Iterator[str]:
    if results["data"]["synthetic"]:
        how = ("Fine-tuned on", "fine-tuned") if is_pretrained(results) else ("Made from", "trained")
        title, did = (how[0], f"{how[1]} and ") if is_trained(results) else ("Measured on", "")
        yield (
            f"> **{title} synthetic speech.** A program made the speech it was {did}measured on."
            "\n> Its numbers say nothing about real speech."
        )


def _headline(results: Facts) -> str:
    numbers = main_numbers(results)
    if not numbers:
        return "**How good is it?** Nobody has measured that: there is no number that is defined."
    first = numbers[0]
    said = [_number(results, metric) for metric in numbers]
    on = f"**How good is it?** On {_items(results, first)}"
    if len(said) == 1:
        return f"{on}, {said[0]}.{_chosen(results, first)}"
    return f"{on}:{_chosen(results, first)}\n\n{bullets([f'{text}.' for text in said])}"


def _chosen(results: Facts, metric: Facts) -> str:
    """A word of warning about rows that the weights may have been chosen by."""
    if not is_trained(results):
        return " What part these utterances had in making it is not known." if not is_of_trials(metric["name"]) else ""
    if is_held_out(metric["split"]):
        return ""
    return " These utterances had a part in making it: expect less of others."


def _items(results: Facts, metric: Facts) -> str:
    """What was measured: "92 test utterances of 2 speakers whom it had not heard in training"."""
    split = results["data"]["splits"].get(metric["split"]) or {}
    if is_of_trials(metric["name"]):
        return f"{count(metric['n'], 'pair')} of utterances ({escaped(metric['dataset'])}, {code(metric['split'])})"
    named = f"{metric['split']} " if metric["split"] in ("test", "validation") else ""
    number = f"{metric['n']:,}" if metric["n"] != 1 else "one"
    text = f"{number} {named}utterance{'' if metric['n'] == 1 else 's'}"
    if not split.get("speakers"):
        return text
    heard = heard_in_training(results, metric["split"])
    heard_words = {True: ", of whom it had heard some in training", False: " whom it had not heard in training"}
    return f"{text} of {count(split['speakers'], 'speaker')}{heard_words.get(heard, '') if heard is not None else ''}"


def heard_in_training(results: Facts, split: str) -> bool | None:
    """Whether training had heard speakers of a split; None where that is not known, or speakers are what is learned."""
    data = results["data"]
    overlaps, splits = data.get("overlaps"), data["splits"]
    learned = any(task["name"] == "speaker_id" for task in tasks_of(results))
    if overlaps is None or learned or not {"train", split} <= set(splits):
        return None
    if any(one["what"] == "speaker_id" and set(one["between"]) == {"train", split} for one in overlaps):
        return True
    # Older results do not say what was compared; speakers were wherever they were known.
    counted = all(splits[name]["speakers"] is not None for name in ("train", split))
    return None if "speaker_id" not in data.get("compared", ["speaker_id"] if counted else []) else False


def _number(results: Facts, metric: Facts) -> str:
    task, _, name = metric["name"].rpartition("/")
    value, interval = in_prose(metric)
    said = _SAID.get(name, "its {title} is {value}").format(value=value, title=metric_title(name))
    return f"{f'{code(task)}: ' if task else ''}{said}; 95 % interval {interval}{_chance(results, metric)}"


def _chance(results: Facts, metric: Facts) -> str:
    """What guessing would reach, where that follows from the number of labels that occur; "" otherwise."""
    name = metric["name"].rpartition("/")[2]
    if name == "eer":
        return f"; guessing gives {percent(0.5)}"
    names = label_names(results, task_of(results, metric))
    if name != "uar" or not names:
        return ""
    there = len(labels_there(results, metric) or names)
    if there < len(names):
        occur = "one occurs" if there == 1 else f"{there} occur"
        always = "it" if there == 1 else "always the same one of these"
        return f"; of the {len(names)} labels {occur} there, and naming {always} gives {percent(1 / there)}"
    among = f" among the {len(names)} labels of the data" if renamed_labels(results) else ""
    return f"; guessing{among} gives {percent(1 / len(names))}"
