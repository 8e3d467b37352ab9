"""Tables of an experiment, for people: README.md, and what the terminal shows."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BrokenRunError, InputError, list_some
from ..files import replacing
from ..hub.card import markdown_table
from ..hub.words import interval_of, metric_title, value_of
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
    told = list_some([f"{one.member.name}: {one.reason or one.told}" for one in dead], 5)
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
        rows.append([fold, found[0]["n"], *(_over_runs([one["metrics"][name] for one in found]) for name in names)])
    several = facts["runs"] > 1
    rows.append(["**mean**", metrics[0]["n"], *(f"**{value_of(number)}**" for number in metrics)])
    rows.append(["95 % interval", "", *map(interval_of, metrics)])
    rows.append(["fold std", "", *(_short(number["fold_std"]) for number in metrics)])
    if several:
        rows.append(["run std", "", *(_short(number["run_std"]) for number in metrics)])
    title = f"Fold ({facts['folds']})"
    return markdown_table([title, "Utterances", *map(metric_title, names)], rows)


def write_page(root: Path, results: Results) -> None:
    """README.md of a cross-validation."""
    facts = results.run["experiment"]
    metric = results.metrics[0]
    by = {"speaker": "speakers, and utterances of each", "utterance": "utterances alone"}[metric["interval_unit"]]
    text = [
        f"# {results.model['name']}: cross-validation",
        f"Data: {results.data['name']}; target: `{results.data['target']}`; folds: {facts['folds']}; "
        f"runs of each, with seeds of their own: {facts['runs']}. {metric['n']} utterances are tested.",
        fold_table(results),
        "A fold's number is the mean over its runs, ± their standard deviation. Fold std: standard deviation over the "
        "folds, mean over the runs; run std: that over the runs of their means. The intervals come from a bootstrap "
        f"over {by}; they don't cover what another seed would change.",
        _of_checkpoint(facts["checkpoint"]),
    ]
    if facts["skipped"]:
        rows = [(part, reason) for part, reason in facts["skipped"].items()]
        text.append("Left out:\n\n" + markdown_table(("Part of the data", "It"), rows))
    for name in (FOLDS_PLOT, FILE_NAMES["confusion"]):
        if (root / name).exists():
            text.append(f"![{Path(name).stem}]({name})")
    with replacing(root / "README.md") as temporary:
        temporary.write_text("\n\n".join(text) + "\n", encoding="utf-8")


def _of_checkpoint(rule: str | None) -> str:
    if rule is None:
        return ""
    chosen = "" if "validation" in rule else ": there are no validation rows to choose by, and none was chosen by tests"
    return f"The weights that are tested are {rule}{chosen}."


def _over_runs(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "not defined"
    return _short(float(np.mean(known))) + (f" ± {_short(float(np.std(known)))}" if len(values) > 1 else "")


def _short(value: float | None) -> str:
    return "not defined" if value is None else f"{value:.3f}"


def told(results: Results, root: Path) -> str:
    """A few lines for the terminal."""
    lines = [f"{root}: {results.run['experiment']['folds']}, {len(results.run['experiment']['members'])} runs"]
    width = max(len(number["name"]) for number in results.metrics) + 1
    lines += [f"  {number['name']:{width}}{_line(number)}" for number in results.metrics]
    return "\n".join(lines)


def _line(number: Mapping[str, Any]) -> str:
    if number["value"] is None:
        return "not defined"
    spread = f"fold std {_short(number['fold_std'])}, run std {_short(number['run_std'])}"
    return f"{number['value']:.3f}  95 % interval {number['low']:.3f} to {number['high']:.3f}; {spread}"
