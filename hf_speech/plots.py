"""Pictures of what results.json holds, for the card; each is written whole or not at all, and given back as a figure.

Colours: those of Okabe & Ito, "Color Universal Design", 2008, and one hue from light to dark, which readers with any
colour vision tell apart. Matplotlib's global state is left alone: figures are made without pyplot.
"""

import os
import re
from collections.abc import Mapping, Sequence
from itertools import cycle
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import InputError
from .files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# What the card looks for in a model's folder.
FILE_NAMES = {
    "confusion": "confusion.png",
    "regression": "regression.png",
    "curves": "curves.png",
    "numbers": "numbers.png",
    "det": "det.png",
    "layers": "layers.png",
    "map": "map.png",
}
BLUE, VERMILION, GREEN, BLACK = "#0072B2", "#D55E00", "#009E73", "#000000"
MAX_NUMBERED = 20  # more classes have no counts in the cells: they would not be readable
MAX_NAMED = 60  # more classes have no names on the axes either

_FRACTIONS = {
    "uar": "UAR",
    "accuracy": "accuracy",
    "macro_f1": "macro-F1",
    "micro_f1": "micro-F1",
    "mean_average_precision": "mean average precision",
    "exact_match": "exact match",
    "off_by_one_accuracy": "off-by-one accuracy",
    "eer": "EER",
}
_CORRELATIONS = {"pearson_r": "Pearson's r", "ccc": "concordance (CCC)"}
_TITLES = {
    **_FRACTIONS,
    **_CORRELATIONS,
    "mae": "mean absolute error",
    "rmse": "root mean squared error",
    "ordinal_mse": "squared distance in classes",
    "class_mae": "distance in classes",
    "min_dcf": "minDCF",
    "min_dcf_0.05": "minDCF, prior 0.05",
    "act_dcf": "actDCF",
    "act_dcf_0.05": "actDCF, prior 0.05",
    "cllr": "Cllr",
    "min_cllr": "minimum Cllr",
    "fnmr": "FNMR",
    "fmr": "FMR",
}
LINES = ((BLUE, "o"), (VERMILION, "s"), (GREEN, "D"), (BLACK, "^"))
_NAMED_LAYERS = 8  # more lines than that have names at some of them only
_NOT_METRICS = ("_runtime", "_per_second", "_time")
# Of pretraining: the parts of its loss, and what else is drawn of it.
_LOSS_PART = re.compile(r"(eval_)?((contrastive|diversity|frame|utterance)_loss|loss_k\d+)")
_LEARNT = re.compile(r"(frame_)?accuracy(_k\d+)?|perplexity")


def plot_name(kind: str, ending: str = "") -> str:
    """The file of a kind of plot; of several tasks each has its own, with its name as the ending.

    >>> plot_name("confusion", "-emotion")
    'confusion-emotion.png'
    """
    stem, suffix = os.path.splitext(FILE_NAMES[kind])
    return f"{stem}{ending}{suffix}"


def plot_confusion(confusion: Mapping[str, Any], path: str | os.PathLike[str]) -> "Figure":
    """The confusion matrix: colour is the share of the label's row, the number in a cell the count.

    Args:
        confusion: {"labels": [name, ...], "counts": [[...], ...]}, rows are labels, columns predictions.
        path: of the picture; its ending says the format (.png, .svg, .pdf).
    """
    names, counts = list(confusion["labels"]), np.asarray(confusion["counts"])
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    side = min(12.0, 2.6 + 0.62 * len(names))
    figure, axes = new_figure(side + 1.2, side)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, label="share of the row", fraction=0.046, pad=0.03)
    axes.set(xlabel="predicted", ylabel="label")
    if len(names) <= MAX_NAMED:
        axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(names)), names)
    if len(names) <= MAX_NUMBERED:
        for row, column in np.ndindex(counts.shape):
            colour = "white" if shares[row, column] > 0.55 else "black"
            axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=colour, fontsize=9)
    return save_figure(figure, path)


def plot_regression(
    labels: Sequence[float], predictions: Sequence[float], unit: str, path: str | os.PathLike[str]
) -> "Figure":
    """Predictions against labels, with the line on which they are equal.

    Args:
        labels: (N,) true values.
        predictions: (N,) predicted values.
        unit: of both, in words ("years").
        path: of the picture.
    """
    figure, axes = new_figure(5.2, 5.0)
    ends = [min(*labels, *predictions), max(*labels, *predictions)]
    axes.plot(ends, ends, color=BLACK, linewidth=1, linestyle="--", label="equal")
    # Thousands of points would merge into one blot: the more there are, the more each lets through.
    alpha = float(np.clip(200 / len(labels), 0.1, 0.7))
    axes.scatter(labels, predictions, s=16, color=BLUE, alpha=alpha, edgecolors="none", label="utterances")
    axes.set(xlabel=f"label ({unit})", ylabel=f"prediction ({unit})", aspect="equal")
    for handle in axes.legend(frameon=False).legend_handles:
        if handle is not None:
            handle.set_alpha(1)
    return save_figure(figure, path)


def plot_curves(
    history: Sequence[Mapping[str, Any]],
    path: str | os.PathLike[str],
    levels: Sequence[tuple[str, float, str]] = (),
) -> "Figure":
    """Losses and metrics against the optimizer step.

    Of a classifier, the training loss and validation metrics; of pretraining, the parts of the loss too, in both.

    Args:
        history: the Trainer's `state.log_history`: {"step", "loss"} and {"step", "eval_<metric>"} entries.
        path: of the picture.
        levels: metric, a value of it, and what that is: a dotted line. A history may itself tell `chance`.

    Raises:
        InputError: nothing was logged.
    """
    panels = _panels(list(dict.fromkeys(key for entry in history for key in entry)))
    if not panels:
        raise InputError("the history has no loss and no eval_ metric to plot; was anything logged?")
    guessed = [entry[key] for key in ("chance", "eval_chance") for entry in history if key in entry]
    if guessed and not any(metric == "accuracy" for metric, *_ in levels):
        levels = [*levels, ("accuracy", guessed[-1], "guessing")]
    figure, *rows = new_figure(6.4, 0.6 + 2.3 * len(panels), len(panels))
    for axes, (title, keys) in zip(rows, panels.items(), strict=True):
        _draw_panel(axes, title, keys, history, levels)
    rows[-1].set_xlabel("optimizer step")
    return save_figure(figure, path)


def _panels(keys: Sequence[str]) -> dict[str, list[str]]:
    """Title of a panel -> the keys of the history that are drawn in it."""
    panels: dict[str, list[str]] = {}
    pretraining = any(_LOSS_PART.fullmatch(key) for key in keys)
    for key in keys:
        metric = key.removeprefix("eval_")
        if metric == "loss" or _LOSS_PART.fullmatch(key):
            panels.setdefault("loss", []).append(key)
        elif pretraining:
            if _LEARNT.fullmatch(metric):
                panels.setdefault("perplexity" if metric == "perplexity" else "accuracy", []).append(key)
        elif key != metric and not key.endswith(_NOT_METRICS):
            panels.setdefault(_panel(metric), []).append(key)
    return panels


def _draw_panel(
    axes: Any,
    title: str,
    keys: Sequence[str],
    history: Sequence[Mapping[str, Any]],
    levels: Sequence[tuple[str, float, str]],
) -> None:
    """The curves of a panel, a colour each; of several metrics a colour a metric, and training dashed."""
    metrics = list(dict.fromkeys(key.removeprefix("eval_") for key in keys))
    several = len(metrics) > 1
    for i, key in enumerate(keys):
        metric = key.removeprefix("eval_")
        split = "training" if key == metric else "validation"
        colour, marker = LINES[(metrics.index(metric) if several else i) % len(LINES)]
        style = {"linestyle": "--", "markerfacecolor": "none"} if several and key == metric else {}
        name = f"{_short(metric)}, {split}" if several else split
        name = _line(metric) if title.endswith("(validation)") else name
        points = [(entry["step"], entry[key]) for entry in history if key in entry]
        axes.plot(*zip(*points, strict=True), color=colour, marker=marker, markersize=4, label=name, **style)
    for metric, level, what in levels:
        if metric in metrics:
            colour = LINES[metrics.index(metric) % len(LINES)][0] if several else BLACK
            told = f"{_short(metric)}, {what}" if several else what
            axes.axhline(level, color=colour, linewidth=1, linestyle=":", label=told)
    axes.set_ylabel(title)
    crowded = len(axes.lines) > 3  # beside the axes: within them they would hide the curves
    axes.legend(frameon=False, **({"loc": "center left", "bbox_to_anchor": (1, 0.5), "fontsize": 8} if crowded else {}))


def plot_schedule(
    steps: Sequence[float] | np.ndarray,
    rates: Sequence[float] | np.ndarray,
    path: str | os.PathLike[str],
    phases: Sequence[tuple[float, float, str]] = (),
    openings: Sequence[tuple[float, str]] = (),
    never_trained: str = "",
) -> "Figure":
    """The learning rate against the optimizer step, with phases of the run as shaded spans, and layers as thin lines.

    The axis is logarithmic where most rates would otherwise lie on the ground: where half of them are below a tenth of
    the highest, though above 0. A rate of 0 can't be shown there.

    Args:
        steps: (N,) optimizer steps, rising.
        rates: (N,) learning rates in force for them.
        path: of the picture.
        phases: (first step, last step, what holds from the one to the other), such as (0, 12_500, "backbone frozen").
        openings: (first step at which it is trained, name of a layer), in order; of many, only some names are written.
        never_trained: what is not trained at any step, for the title.

    Raises:
        InputError: there is no step.
    """
    if not len(steps):
        raise InputError("the schedule has no steps to plot; give those of a run of one step or more")
    figure, axes = new_figure(6.4, 3.2 + 0.2 * ceil(len(phases) / 2))
    for (first, last, label), (colour, _) in zip(phases, cycle(LINES[1:]), strict=False):
        axes.axvspan(first, last, color=colour, alpha=0.15, linewidth=0, label=label)
    for i, (first, name) in enumerate(openings):
        axes.axvline(first, color="0.6", linewidth=0.6)
        if i % ceil(len(openings) / _NAMED_LAYERS) == 0:
            style = {"rotation": 90, "ha": "left", "va": "top", "size": 7, "color": "0.3"}
            axes.annotate(name, (first, 0.98), (2, 0), axes.get_xaxis_transform(), textcoords="offset points", **style)
    if never_trained:
        axes.set_title(f"never trained: {never_trained}", size=9)
    axes.plot(steps, rates, color=BLUE)
    if 0 < np.median(rates) < max(rates) / 10:
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
        axes.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
    axes.set(xlabel="optimizer step", ylabel="learning rate")
    if phases:  # above the axes: a key on a shaded ground would have other colours than what it explains
        figure.legend(frameon=False, loc="outside upper center", ncols=2)
    return save_figure(figure, path)


def plot_numbers(metrics: Sequence[Mapping[str, Any]], path: str | os.PathLike[str]) -> "Figure":
    """Every number as a point with its 95 % interval, a panel for each unit; numbers that are not defined are left out.

    Args:
        metrics: the `metrics` of results.json.
        path: of the picture.

    Raises:
        InputError: there is no number.
    """
    shown = [metric for metric in metrics if metric["value"] is not None]
    if not shown:
        raise InputError("there is no number to plot; measure on a split with `hf-speech evaluate`")
    units = list(dict.fromkeys(metric["unit"] for metric in shown))
    sizes = [sum(metric["unit"] == unit for metric in shown) for unit in units]
    figure, *rows = new_figure(
        6.4, 0.5 * len(shown) + 0.9 * len(units), len(units), heights=[0.6 + size for size in sizes]
    )
    for axes, unit in zip(rows, units, strict=True):
        group = [metric for metric in shown if metric["unit"] == unit]
        for y, metric in enumerate(group):
            axes.plot([metric["low"], metric["high"]], [y, y], color=BLUE, linewidth=2, marker="|", markersize=9)
            axes.plot(metric["value"], y, color=VERMILION, marker="o", markersize=7)
        axes.set_yticks(range(len(group)), [f"{short_title(m['name'])}\n{m['split']}, n = {m['n']}" for m in group])
        axes.set(xlabel=f"{unit}, with 95 % interval", ylim=(len(group) - 0.5, -0.5))
        axes.grid(axis="x", color="0.9")
        axes.set_axisbelow(True)
    return save_figure(figure, path)


def plot_layers(shares: Sequence[float], path: str | os.PathLike[str]) -> "Figure":
    """What share each layer has in a learned sum of layers, beside what equal shares would be.

    Args:
        shares: (L,) of the encoder's input and of each layer's output, from the bottom; their sum is 1.
        path: of the picture.
    """
    figure, axes = new_figure(min(10.0, 2.0 + 0.32 * len(shares)), 3.0)
    axes.bar(range(len(shares)), [100 * share for share in shares], color=BLUE)
    axes.axhline(100 / len(shares), color=BLACK, linewidth=1, linestyle="--", label="equal shares")
    axes.set_xticks(range(len(shares)), ["input", *map(str, range(1, len(shares)))], size=8)
    axes.set(xlabel="layer", ylabel="share (%)")
    figure.legend(frameon=False, loc="outside upper center")
    return save_figure(figure, path)


def plot_sweep(
    name: str,
    lines: Mapping[str, Sequence[tuple[Any, Sequence[float]]]],
    metric: str,
    path: str | os.PathLike[str],
) -> "Figure":
    """A number against a parameter: a point a run, a line through the means over seeds, one for each other setting.

    A value of which no run is finished has a grey cross at the foot.

    Args:
        name: of the parameter.
        lines: other parameters in words -> (value of the parameter, the number of each seed), in order.
        metric: what the number is.
        path: of the picture.
    """
    values = list(dict.fromkeys(value for points in lines.values() for value, _ in points))
    numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    place = {value: value if numeric else i for i, value in enumerate(values)}
    figure, axes = new_figure(6.4, 3.6 + 0.2 * ceil(len(lines) / 2))
    for (label, points), (colour, marker) in zip(lines.items(), cycle(LINES), strict=False):
        points = sorted(points, key=lambda point: place[point[0]])
        at = [place[value] for value, found in points if len(found)]
        means = [float(np.mean(found)) for _, found in points if len(found)]
        if means:  # between kinds there is nothing to join: a dash is the mean
            style = (
                {"marker": marker, "markevery": []} if numeric else {"marker": "_", "markersize": 22, "linestyle": ""}
            )
            axes.plot(at, means, color=colour, label=label or None, **style)
        for value, found in points:
            axes.plot([place[value]] * len(found), found, marker, color=colour, markersize=5, alpha=0.7)
            if not len(found):
                axes.plot(place[value], 0.03, "x", color="0.4", markersize=6, transform=axes.get_xaxis_transform())
    if numeric and min(values) > 0 and max(values) >= 10 * min(values):
        axes.set_xscale("log")
    elif not numeric:
        axes.set_xticks(range(len(values)), [str(value) for value in values], rotation=30, ha="right")
    axes.set(xlabel=name, ylabel=f"{short_title(metric)} (validation)")
    axes.grid(color="0.9")
    axes.set_axisbelow(True)
    if any(lines):
        figure.legend(frameon=False, loc="outside upper center", ncols=2)
    return save_figure(figure, path)


def short_title(metric: str) -> str:
    """A metric in words, behind its task's name where there is one.

    >>> short_title("uar"), short_title("age/mae")
    ('UAR', 'age: mean absolute error')
    """
    task, _, name = metric.rpartition("/")
    return (f"{task}: " if task else "") + _TITLES.get(name, name)


def _panel(metric: str) -> str:
    """The title of the panel that a metric is drawn in, together with those of its kind and task."""
    task, _, name = metric.rpartition("/")
    for kind, group in (("fraction", _FRACTIONS), ("correlation", _CORRELATIONS)):
        if name in group:
            return (f"{task}: " if task else "") + f"{kind} (validation)"
    return short_title(metric)


def _line(metric: str) -> str:
    name = metric.rpartition("/")[2]
    return _TITLES[name] if name in _FRACTIONS or name in _CORRELATIONS else "validation"


def _short(metric: str) -> str:
    """What a metric is called in a panel that says what it is one of: `accuracy_k64` is "64 clusters"."""
    name, _, count = metric.partition("_k")
    if count.isdecimal():
        return f"{count} clusters"
    return {"loss": "all", "accuracy": "utterances", "frame_accuracy": "frames"}.get(name, name.removesuffix("_loss"))


def new_figure(
    width: float, height: float, rows: int = 1, heights: Sequence[float] | None = None, columns: int = 1
) -> "tuple[Any, ...]":
    """A figure of width x height inches and its axes, row by row from the top."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False, gridspec_kw={"height_ratios": heights or [1] * rows}).ravel()
    for panel in axes:
        panel.spines[["top", "right"]].set_visible(False)
    return figure, *axes


def save_figure(figure: "Figure", path: str | os.PathLike[str]) -> "Figure":
    """Writes a picture, whole or not at all; the ending of the path says the format."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        # Constrained layout alone cuts the names of many classes, as the matrix has to stay square.
        figure.savefig(temporary, dpi=150, bbox_inches="tight")
    return figure
