"""`hf-speech crossval`: folds x runs of one recipe, and one table of them.

The folder holds, beside those of the runs (members.py):

    table.csv       a row a run: fold, run, seed, how it stands, its numbers
    results.json    mean, interval and spread of every number; the confusions added up; only when all runs are finished
    README.md       the table, fold by fold
    confusion.png, folds.png
"""

import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..files import write_table
from ..metrics.numbers import voices
from ..plots import FILE_NAMES, plot_confusion
from ..predictions import Predictions, read_predictions
from ..results import Results, metric_rows, run_facts
from ..training.config import RunConfig
from ..training.facts import data_name, public_arguments
from ..training.work import DEFAULT_SEED
from .fold_numbers import FoldPart, fold_numbers
from .fold_plots import plot_folds
from .folds import Folds, folds_of
from .jobs import Launcher
from .members import Ended, Member, experiment_folder, measured, member_config, run_members
from .tables import FOLDS_PLOT, TABLE, dead_or_done, write_page

logger = logging.getLogger(__name__)

MAX_RUNS = 1000

Grid = list[list[Predictions]]  # what R runs predicted on F folds


@dataclass(frozen=True)
class CrossValidation:
    """The runs of one recipe.

    Attributes:
        config: of the runs.
        root: its folder.
        made: the folds.
        members: folds x runs.
        definition: what experiment.yaml says of it.
    """

    config: RunConfig
    root: Path
    made: Folds
    members: list[Member]
    definition: dict[str, Any]

    def folder(self) -> AbstractContextManager[None]:
        """Holds the folder; see `experiment_folder`."""
        return experiment_folder(self.root, self.definition)


@dataclass(frozen=True)
class Pooled:
    """What all runs predicted of one task, with the utterances of all folds in a row.

    Attributes:
        ids: (N,) names of the utterances.
        speakers: (N,) whom to resample; None: they are not known, or are the classes.
        parts: R runs of F folds.
    """

    ids: list[str]
    speakers: Sequence[str] | None
    parts: list[list[FoldPart]]


def crossval(
    config: RunConfig,
    root: Path,
    launcher: Launcher,
    *,
    folds: str | None = None,
    within: str | None = None,
    runs: int = 1,
) -> Results:
    """Trains and tests a model for every fold, several times, and writes what came out.

    Args:
        config: of the runs; its seed is that of the first run of each fold, the next has the next seed.
        root: folder of the experiment; what is finished there is not run again.
        launcher: starts the runs.
        folds: what is held out in turn, see folds.py.
        within: column whose values get a model each.
        runs: of each fold.

    Returns:
        The content of results.json.

    Raises:
        InputError: folds that can't be made, another experiment in the folder.
        BrokenRunError: some runs died; the table is written, and says of which.
    """
    planned = plan(config, root, folds, within, runs)
    with planned.folder():
        ended = run_members(root, planned.members, launcher, lambda now: write_table(table_rows(now), root / TABLE))
        dead_or_done(ended, root)
        return finish(planned, ended)


def plan(
    config: RunConfig, root: Path, folds: str | None, within: str | None, runs: int, place: str = ""
) -> CrossValidation:
    """Looks at the folds of a cross-validation, and names its runs; see `crossval`.

    Args:
        config: of the runs.
        root: its own folder.
        folds: what is held out in turn.
        within: column whose values get a model each.
        runs: of each fold.
        place: its folder in that of several; empty: it is the only one.
    """
    if not 1 <= runs <= MAX_RUNS:
        raise InputError(f"--runs {runs}: give a number from 1 to {MAX_RUNS}")
    made = folds_of(config, folds, within)
    for part, reason in made.skipped.items():
        logger.warning("%s is left out: it %s", part, reason)
    seed = config.training.get("seed", DEFAULT_SEED)
    members = [
        Member(
            f"{fold.name}-run{run}",
            member_config(config, {**fold.fields, "seed": seed + run - 1}, f"fold {fold.name}"),
            {"fold": fold.name, "tested": fold.tested, "run": run, "seed": seed + run - 1},
            place,
        )
        for run in range(1, runs + 1)
        for fold in made.folds
    ]
    definition = {"kind": "cross-validation", "fixed": ["folds"], "folds": folds or f"within {within}", "runs": runs}
    definition |= {"rows": {"all": made.fingerprint}, "fields": config.recipe()}
    return CrossValidation(config, root, made, members, definition)


def finish(planned: CrossValidation, ended: Sequence[Ended]) -> Results:
    """Writes what came out of runs of which all are finished."""
    results = _results(planned, ended)
    _write(planned.root, results, planned.made)
    return results


def table_rows(ended: Sequence[Ended]) -> list[dict[str, Any]]:
    """table.csv: a row a run, with the numbers of all."""
    names = list(dict.fromkeys(number["name"] for one in ended if one.results for number in measured(one.results)))
    rows = []
    for one in ended:
        numbers = {number["name"]: number for number in measured(one.results)} if one.results else {}
        count = next((number["n"] for number in numbers.values()), "")
        values = {name: numbers[name]["value"] if name in numbers else "" for name in names}
        rows.append({**one.member.marks, "state": one.told, "n": count, **values, "reason": one.reason})
    return rows


def grids_of(planned: CrossValidation, ended: Sequence[Ended]) -> dict[str, Grid]:
    """What all runs predicted; before the names of the numbers of each task: "", or, of several, `<task>/`."""
    tables = {
        (one.member.marks["run"], one.member.marks["fold"]): read_predictions(
            planned.root / one.member.name, one.results
        )
        for one in ended
        if one.results is not None
    }
    runs, order = sorted({run for run, _ in tables}), [fold.name for fold in planned.made.folds]
    tasks = list(next(iter(tables.values())))
    return {
        f"{task}/" if len(tasks) > 1 else "": [[tables[run, fold][task] for fold in order] for run in runs]
        for task in tasks
    }


def _results(planned: CrossValidation, ended: Sequence[Ended]) -> Results:
    root, config, made = planned.root, planned.config, planned.made
    finished = [(one, one.results) for one in ended if one.results is not None]
    first = finished[0][1]
    split = next((number["split"] for number in measured(first)), "test")
    metrics: list[dict[str, Any]] = []
    for prefix, grid in grids_of(planned, ended).items():
        metrics += _numbers(pooled(grid), prefix, data_name(config), split)
    of_experiment = {
        "folds": made.rule,
        "runs": len({one.member.marks["run"] for one, _ in finished}),
        "skipped": made.skipped,
        "checkpoint": first.run["recipe"].get("checkpoint"),
        "members": [
            {
                **one.member.marks,
                "n": max((number["n"] for number in measured(results)), default=0),
                "metrics": {number["name"]: number["value"] for number in measured(results)},
            }
            for one, results in finished
        ],
    }
    confusions = [results.confusion for _, results in finished if results.confusion]
    overlaps = [
        {"fold": one.member.marks["fold"], **overlap}
        for one, results in finished
        for overlap in results.data.get("overlaps") or []
        if one.member.marks["run"] == 1
    ]
    return Results(
        model={**first.model, "name": root.absolute().name},
        data={**first.data, "splits": {}, "split_rule": {split: made.rule}, "left_out": [], "overlaps": overlaps},
        metrics=metrics,
        confusion=_added(confusions) if made.shares_labels else None,
        run={
            **run_facts(
                config.training.get("seed", DEFAULT_SEED),
                device=first.run["device"],
                wall_seconds=round(sum(results.run["wall_seconds"] for _, results in finished), 1),  # of all runs
                arguments=public_arguments(config),
                recipe=first.run["recipe"],
            ),
            "device": first.run["device"],
            "experiment": of_experiment,
        },
    )


def pooled(grid: Grid, ids: Sequence[str] | None = None) -> Pooled:
    """Puts the utterances of all folds in a row.

    Args:
        grid: of one task.
        ids: their names in the order they are to have; None: as they come.
    """
    names = dict.fromkeys(item for one in grid[0] for item in one.ids) if ids is None else ids
    number = {item: i for i, item in enumerate(names)}
    speakers, labels = [""] * len(number), [""] * len(number)
    for one in grid[0]:
        for item, speaker, label in zip(one.ids, one.speakers, one.labels, strict=True):
            speakers[number[item]], labels[number[item]] = speaker, label
    parts = [
        [FoldPart(one.measure, np.array([number[item] for item in one.ids], np.int64)) for one in run] for run in grid
    ]
    known: Sequence[str] | None = speakers if all(speakers) else None
    if "uar" in grid[0][0].measure.units:
        known = voices(labels, known)
    return Pooled(list(number), known, parts)


def _numbers(of_task: Pooled, prefix: str, dataset: str, split: str) -> list[dict[str, Any]]:
    rows = fold_numbers(of_task.parts, len(of_task.ids) if of_task.speakers is None else of_task.speakers)
    for row in rows:
        row["name"] = f"{prefix}{row['name']}"
    return metric_rows(rows, dataset=dataset, split=split, ids=of_task.ids)


def _added(confusions: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The confusions of all runs, summed; None where there are none, or their classes differ."""
    if not confusions or any(one["labels"] != confusions[0]["labels"] for one in confusions):
        return None
    counts = np.sum([one["counts"] for one in confusions], axis=0)
    return {"labels": confusions[0]["labels"], "counts": counts.tolist()}


def _write(root: Path, results: Results, made: Folds) -> None:
    """README.md and the plots, results.json last."""
    members = results.run["experiment"]["members"]
    if results.confusion is not None:
        plot_confusion(results.confusion, root / FILE_NAMES["confusion"])
    plot_folds([fold.name for fold in made.folds], members, results.metrics, root / FOLDS_PLOT)
    write_page(root, results)
    results.write(root)
