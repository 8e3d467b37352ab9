"""Tables of an experiment, for people: README.md, and what the terminal shows."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from textwrap import shorten
from typing import Any

import numpy as np

from ..data.audit import NOUNS
from ..errors import BrokenRunError, InputError, list_some
from ..files import replacing
from ..hub.card import CAPTIONS, markdown_table, provenance_section, recipe_section
from ..hub.words import interval_of, metric_title, value_of
from ..metrics import CLASSIFICATION_METRICS
from ..metrics.bootstrap import MIN_SPEAKERS
from ..plots import FILE_NAMES
from ..results import Results
from .members import Ended

TABLE, TABLE_OF_SWEEP, FOLDS_PLOT = "table.csv", "sweep.csv", "folds.png"


def dead_or_done(ended: Sequence[Ended], root: Path, table: str = TABLE) -> None:
    """Goes on only where every run is finished.

    Raises:
        InputError: all that died did so for what was given to them.
        BrokenRunError: some did not finish.
    """
    dead = [one for one in ended if one.results is None]
    if not dead:
        return
    reasons: dict[str, list[str]] = {}
    for one in dead:
        reasons.setdefault(one.reason or one.told, []).append(one.member.job)
    told = list_some([f"{list_some(names, 3)}: {shorten(reason, 300)}" for reason, names in reasons.items()], 3)
    done = f"{len(ended) - len(dead)} of {len(ended)} runs are finished ({root / table})"
    text = f"{len(dead)} runs {'is' if len(dead) == 1 else 'are'} not: {told}".replace("1 runs", "1 run")
    kind = InputError if all(one.status == 2 for one in dead) else BrokenRunError
    raise kind(f"{done}, {text}; the same command runs these again")


def fold_table(results: Results) -> str:
    """Fold by fold, the mean over the runs with their deviation; below it, all folds together."""
    facts, metrics = results.run["experiment"], results.metrics
    members = facts["members"]
    names = [number["name"] for number in metrics]
    rows = []
    for fold in dict.fromkeys(member["fold"] for member in members):
        found = [member for member in members if member["fold"] == fold]
        rows.append([fold, found[0]["n"], *(over_runs([one["metrics"][name] for one in found]) for name in names)])
    several = facts["runs"] > 1
    rows.append(["**mean**", metrics[0]["n"], *(f"**{value_of(number)}**" for number in metrics)])
    rows.append(["95 % interval", "", *map(interval_of, metrics)])
    rows.append(["fold std", "", *(short(number["fold_std"]) for number in metrics)])
    if several:
        rows.append(["run std", "", *(short(number["run_std"]) for number in metrics)])
    title = f"Fold ({facts['folds']})"
    return markdown_table([title, "Utterances", *map(metric_title, names)], rows)


def write_page(root: Path, results: Results) -> None:
    """README.md of a cross-validation."""
    facts, content = results.run["experiment"], asdict(results)
    adapted = "this recipe" if is_adapted(results) else ""
    runs = "one run" if facts["runs"] == 1 else f"{facts['runs']} runs, each with a seed of its own,"
    text = [
        f"# {results.model['name']}: cross-validation",
        f"Data: {results.data['name']}; target: `{results.data['target']}`; folds: {facts['folds']}; {runs} of each "
        f"fold. {results.metrics[0]['n']} utterances are tested, each by models that have not learnt from it.",
        fold_table(results),
        " ".join([*how_it_was_computed(results.metrics, facts["runs"], adapted), *_taken_together(results)]),
        _of_checkpoint(facts["checkpoint"]),
        _who_is_where(facts["members"]),
        *_shared(results),
    ]
    if facts["skipped"]:
        rows = [(part, reason) for part, reason in facts["skipped"].items()]
        text.append("Left out:\n\n" + markdown_table(("Part of the data", "It"), rows))
    added = f", the predictions of {facts['runs']} runs added up" if facts["runs"] > 1 else ""
    captions = {FOLDS_PLOT: "Every run, fold by fold", FILE_NAMES["confusion"]: CAPTIONS["confusion"] + added}
    text += [f"![{caption}]({name})\n\n{caption}." for name, caption in captions.items() if (root / name).exists()]
    text += [recipe_section(content), provenance_section(content)]
    with replacing(root / "README.md") as temporary:
        temporary.write_text("\n\n".join(filter(None, text)) + "\n", encoding="utf-8")


def how_it_was_computed(metrics: Sequence[Mapping[str, Any]], runs: int, adapted: str) -> Iterator[str]:
    """The sentences below a table of means over folds and runs.

    Args:
        metrics: the means.
        runs: of each fold.
        adapted: which recipes have stages of adaptation, in words; "": none has.
    """
    several = runs > 1
    if several:
        yield "A fold's number is the mean over its runs, ± their standard deviation."
    over = "over the folds, mean over the runs; run std: that over the runs of their means" if several else "over folds"
    yield f"Fold std: standard deviation {over}. All deviations are divided by their number (not by one less)."
    if several and adapted:
        yield f"The stages of adaptation of {adapted} are made once a fold, with one seed, and the runs of the fold"
        yield "share them: run std holds nothing of their variation."
    if metrics[0]["interval_unit"] == "speaker":
        yield "The intervals come from a bootstrap over speakers, and utterances of each: they cover other speakers,"
        yield "but not another seed."
    else:
        yield f"The intervals come from a bootstrap over utterances alone, as fewer than {MIN_SPEAKERS} speakers are"
        yield "known: **they cover neither the variation between speakers nor another seed.**"
    if any(number["name"] == "uar" for number in metrics):
        yield "Where a draw has no utterance of a class in a fold, recall is averaged over the other classes, so that"
        yield "an interval of small folds may lie off its mean."


def is_adapted(results: Results) -> bool:
    """Whether runs of a cross-validation began with stages of adaptation."""
    return bool(results.run["arguments"].get("adaptation"))


def _taken_together(results: Results) -> Iterator[str]:
    labels = results.confusion["labels"] if results.confusion else []
    if labels:
        counts = np.array(results.confusion["counts"])  # type: ignore[index]
        pooled = {name: CLASSIFICATION_METRICS[name](counts) for name in ("uar", "accuracy", "macro_f1")}
        told = ", ".join(f"{metric_title(name)} {short(value)}" for name, value in pooled.items())
        yield f"All tested utterances taken together: {told}. By chance, UAR is {short(1 / len(labels))}."


def _who_is_where(members: Sequence[Mapping[str, Any]]) -> str:
    """What each fold tests, where its name does not say it."""
    tested = {member["fold"]: member["tested"] for member in members}
    rows = [(fold, what) for fold, what in tested.items() if what.rpartition("=")[2] != fold]
    return markdown_table(("Fold", "Tested"), rows) if rows else ""


def _shared(results: Results) -> Iterator[str]:
    """What training and tested rows have in common, and in how many folds."""
    folds = dict.fromkeys(member["fold"] for member in results.run["experiment"]["members"])
    found: dict[str, list[int]] = {}
    for overlap in results.data["overlaps"]:
        if overlap["between"] == ["train", "test"] and overlap["of"] != [1, 1]:
            found.setdefault(overlap["what"], []).append(overlap["count"])
    for what, counts in found.items():
        plural = NOUNS.get(what, (what, what))[1]
        yield f"In {len(counts)} of {len(folds)} folds, tested {plural} are in training as well (up to {max(counts)})."


def _of_checkpoint(rule: str | None) -> str:
    if rule is None:
        return ""
    chosen = "" if "validation" in rule else ": there are no validation rows to choose by, and none was chosen by tests"
    return f"The weights that are tested are {rule}{chosen}."


def over_runs(values: Sequence[float | None]) -> str:
    """The mean over the runs of a fold, with their deviation."""
    known = [value for value in values if value is not None]
    if not known:
        return "not defined"
    return short(float(np.mean(known))) + (f" ± {short(float(np.std(known)))}" if len(values) > 1 else "")


def short(value: float | None) -> str:
    """A number in three digits."""
    return "not defined" if value is None else f"{value:.3f}"


def told(results: Results, root: Path) -> str:
    """A few lines for the terminal."""
    lines = [f"{root}: {results.run['experiment']['folds']}, {len(results.run['experiment']['members'])} runs"]
    width = max(len(number["name"]) for number in results.metrics) + 1
    several = results.run["experiment"]["runs"] > 1
    lines += [f"  {number['name']:{width}}{number_line(number, several)}" for number in results.metrics]
    return "\n".join(lines)


def number_line(number: Mapping[str, Any], several: bool) -> str:
    """A number with its interval and spread, for the terminal; several: runs of each fold."""
    if number["value"] is None:
        return "not defined"
    spread = f"fold std {short(number['fold_std'])}" + (f", run std {short(number['run_std'])}" if several else "")
    return f"{number['value']:.3f}  95 % interval {number['low']:.3f} to {number['high']:.3f}; {spread}"
