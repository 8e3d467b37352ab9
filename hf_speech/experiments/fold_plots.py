"""Pictures of cross-validations: every run, fold by fold, of one recipe or of several."""

import os
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np

from ..plots import BLUE, LINES, VERMILION, new_figure, save_figure, short_title

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_folds(
    folds: Sequence[str],
    members: Sequence[Mapping[str, Any]],
    metrics: Sequence[Mapping[str, Any]],
    path: str | os.PathLike[str],
) -> "Figure":
    """The first number of every run, fold by fold, and the mean with its 95 % interval as a band.

    Args:
        folds: their names, in order.
        members: {"fold", "run", "metrics": {name: value}} of every run.
        metrics: the means over all, as in results.json; the first one is drawn.
        path: of the picture.
    """
    number = metrics[0]
    figure, axes = new_figure(min(16.0, max(5.0, 2.0 + 0.45 * len(folds))), 3.6)
    axes.axhspan(number["low"], number["high"], color=BLUE, alpha=0.15, linewidth=0, label="95 % interval")
    axes.axhline(number["value"], color=BLUE, label="mean")
    # Runs of one fold stand beside each other, as equal ones would hide each other.
    runs = max(member["run"] for member in members)
    aside = {run: 0.12 * (run - (runs + 1) / 2) / max(1, runs / 5) for run in range(1, runs + 1)}
    places = [folds.index(member["fold"]) + aside[member["run"]] for member in members]
    values = _values(members, number["name"])
    axes.plot(places, values, "o", color=VERMILION, markersize=5, alpha=0.7, label="runs")
    _fold_axes(axes, folds, number)
    figure.legend(frameon=False, loc="outside upper center", ncols=3)
    return save_figure(figure, path)


def plot_folds_beside(
    recipes: Mapping[str, tuple[Sequence[Mapping[str, Any]], Mapping[str, Any]]], path: str | os.PathLike[str]
) -> "Figure":
    """One number of every run of several recipes, fold by fold; at the right the means with their 95 % intervals.

    Args:
        recipes: name -> {"fold", "run", "metrics": {name: value}} of every run, the folds in order, and the mean over
            all, as results.json has it.
        path: of the picture.
    """
    (members, number), *_ = recipes.values()
    folds = [*dict.fromkeys(member["fold"] for member in members), "mean"]
    figure, axes = new_figure(min(16.0, max(6.0, 2.0 + 0.25 * len(folds) * len(recipes))), 3.6)
    for i, ((name, (members, number)), (colour, marker)) in enumerate(zip(recipes.items(), cycle(LINES), strict=False)):
        aside = 0.7 * ((i + 0.5) / len(recipes) - 0.5)
        style = {"color": colour, "marker": marker, "linestyle": "", "alpha": 0.7}
        values = _values(members, number["name"])
        axes.plot(
            [folds.index(member["fold"]) + aside for member in members], values, **style, markersize=4, label=name
        )
        if number["value"] is not None:
            at = len(folds) - 1 + aside
            axes.plot([at, at], [number["low"], number["high"]], color=colour, linewidth=2)
            axes.plot([at], [number["value"]], **style | {"alpha": 1}, markersize=7)
    axes.axvline(len(folds) - 1.5, color="0.6", linewidth=0.8)
    _fold_axes(axes, folds, number)
    figure.legend(frameon=False, loc="outside upper center", ncols=3)
    return save_figure(figure, path)


def _values(members: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    """A number of each run, NaN where it is not defined."""
    return [np.nan if (value := member["metrics"][name]) is None else value for member in members]


def _fold_axes(axes: Any, folds: Sequence[str], number: Mapping[str, Any]) -> None:
    axes.set_xticks(range(len(folds)), folds, rotation=45, ha="right", rotation_mode="anchor")
    axes.set(ylabel=f"{short_title(number['name'])} ({number['unit']})", xlim=(-0.5, len(folds) - 0.5))
    axes.grid(axis="y", color="0.9")
    axes.set_axisbelow(True)
