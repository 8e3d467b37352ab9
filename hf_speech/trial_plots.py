"""Pictures of speaker verification: DET curves, scores, groups of trials, calibration, and maps of embeddings.

As in plots.py: colours that readers with any colour vision tell apart, each file written whole or not at all, and the
figure given back. What has a colour of its own has a line style or a marker of its own too.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import InputError
from .metrics.verification import Roc, detection_cost
from .plots import BLACK, BLUE, GREEN, VERMILION, new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = (BLUE, VERMILION, GREEN, BLACK, "#CC79A7", "#E69F00", "#56B4E9")  # Okabe & Ito, less their yellow
RATES = (1e-5, 1e-4, 1e-3, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 0.98, 0.99, 0.999)  # ticks
MAX_NAMED = 25  # more speakers have no names in a map: they would cover the points
_DASHES = ("-", "--", "-.", ":")
_MARKERS = ("o", "^", "s", "D", "v", "P", "X", "<", ">", "*")
_GENDERS = {"female": "o", "male": "^"}
_COSTS = ("o", "s", "D", "^")  # markers of minDCF, one for each prior
_CELLS = 2_000  # of an axis of a DET curve, several to a pixel
_BINS = (10, 80)  # fewest, most


@dataclass(frozen=True)
class _RateAxis:
    """An axis of error rates on the scale of normal deviates.

    Attributes:
        lowest: rate at whose place lower ones are drawn, 0 too.
        smallest: rate above 0 that occurs.
        highest: rate where the axis ends.
    """

    lowest: float
    smallest: float
    highest: float

    @classmethod
    def of(cls, rates: Sequence[NDArray], worst: float) -> "_RateAxis":
        """The axis for curves (K,) each whose marks go up to a rate: it begins where the trials don't tell any more."""
        smallest = min(float(found[found > 0].min()) for found in rates)
        lowest = min(max(smallest / 2, RATES[0]), 0.25)
        highest = next((rate for rate in RATES if rate >= max(worst, 0.4)), 1 - RATES[0])
        return cls(lowest, smallest, highest)

    def place(self, rate: float) -> float:
        """Where a rate is drawn."""
        return NormalDist().inv_cdf(min(max(rate, self.lowest), 1 - RATES[0]))

    def settings(self, axis: str) -> dict[str, Any]:
        """What `Axes.set` takes for the x or y axis."""
        shown = [rate for rate in RATES if self.place(rate) > self.place(self.lowest) + 0.15 and rate <= self.highest]
        first = "0" if self.lowest < self.smallest else f"≤{100 * self.lowest:g}"
        places = [self.place(rate) for rate in (self.lowest, *shown)]
        room = 0.015 * (places[-1] - places[0])
        return {
            f"{axis}ticks": places,
            f"{axis}ticklabels": [first, *(f"{100 * rate:g}" for rate in shown)],
            f"{axis}lim": (places[0] - room, self.place(self.highest) + room),
        }


def plot_det(
    curves: Mapping[str, Roc],
    path: str | os.PathLike[str],
    p_targets: Sequence[float] = (0.01, 0.05),
    c_miss: float = 1.0,
    c_fa: float = 1.0,
) -> "Figure":
    """Detection error trade-off: FNMR against FMR, both on the scale of normal deviates.

    Each curve has a cross at its EER, where the dotted line meets it, and an open mark where the detection cost is
    lowest, for each prior (none where that is to refuse all trials, or to accept all). The axes end where the trials
    end: below the smallest rate that occurs stands 0. Curves of millions of trials are thinned to what can be seen.

    Args:
        curves: name of a system -> its curve, from `metrics.verification.roc`.
        path: of the picture; its ending says the format (.png, .svg, .pdf).
        p_targets: priors of the marked costs.
        c_miss: cost of a refused target.
        c_fa: cost of an accepted non-target.

    Raises:
        InputError: there is no curve, or one without both kinds of trials.
    """
    if not curves:
        raise InputError("there is no curve to plot; give one for each system")
    eers = {name: curve.eer for name, curve in curves.items()}
    for name, eer in eers.items():
        if np.isnan(eer):
            raise InputError(f"{name}: has only one kind of trials, so no error rates; give targets and non-targets")
    cheapest = {name: [_cheapest(curve, prior, c_miss, c_fa) for prior in p_targets] for name, curve in curves.items()}
    marked = [rate for points in cheapest.values() for point in points for rate in point if max(point) < 1]
    worst = max(*(max(eer, min(2 * eer, 0.98)) for eer in eers.values()), *marked, 0.0)
    x, y = (_RateAxis.of([getattr(curve, name) for curve in curves.values()], worst) for name in ("fmr", "fnmr"))
    figure, axes = new_figure(5.4, 5.0 + 0.2 * len(curves))
    ends = [max(x.lowest, y.lowest), x.highest]
    axes.plot([x.place(rate) for rate in ends], [y.place(rate) for rate in ends], ":", color="0.5", linewidth=1)
    for (name, curve), colour, dashes in zip(curves.items(), cycle(COLOURS), cycle(_DASHES), strict=False):
        thin = _thinned(curve)
        line = {"color": colour, "linestyle": dashes, "label": f"{name}: EER {100 * eers[name]:.2f} %"}
        axes.plot(thin.det(x.lowest)[0], thin.det(y.lowest)[1], **line)
        axes.plot(x.place(eers[name]), y.place(eers[name]), "x", color=colour, markersize=8, mew=2, zorder=4)
        for (fmr, fnmr), marker in zip(cheapest[name], cycle(_COSTS), strict=False):
            if max(fmr, fnmr) < 1:
                axes.plot(x.place(fmr), y.place(fnmr), marker, color=colour, markerfacecolor="white", zorder=3)
    axes.set(xlabel="FMR, non-targets accepted (%)", ylabel="FNMR, targets refused (%)", aspect="equal", anchor="N")
    axes.set(**x.settings("x"), **y.settings("y"))
    axes.grid(color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8)
    _det_key(figure, axes, p_targets)
    return save_figure(figure, path)


def _det_key(figure: "Figure", axes: Any, p_targets: Sequence[float]) -> None:
    """The curves in one column, what the marks are in the other."""
    lines, names = axes.get_legend_handles_labels()
    for prior, marker in zip(p_targets, cycle(_COSTS), strict=False):
        lines += axes.plot([], [], marker, color="0.3", markerfacecolor="white")
        names.append(f"minDCF at prior {prior:g}")
    while len(lines) < 2 * len(p_targets):  # a key is filled column by column
        lines[-len(p_targets) : -len(p_targets)] = axes.plot([], [], " ")
        names.insert(-len(p_targets), "")
    figure.legend(lines, names, frameon=False, loc="outside upper center", ncols=2)


def plot_scores(
    labels: ArrayLike,
    scores: ArrayLike,
    path: str | os.PathLike[str],
    thresholds: Mapping[str, float] | None = None,
    xlabel: str = "score",
) -> "Figure":
    """How the scores of targets and of non-targets are distributed: the area of each histogram is 1.

    Args:
        labels: (T,) 1 for a target, 0 for a non-target.
        scores: (T,) finite.
        path: of the picture.
        thresholds: what each is ("at the EER") -> the score; those that are not finite are not drawn.
        xlabel: what the scores are.

    Raises:
        InputError: no trials, lengths differ, or a score is not finite.
    """
    kinds, values = np.asarray(labels) == 1, np.asarray(scores, dtype=np.float64)
    if kinds.shape != values.shape or values.ndim != 1 or not len(values):
        raise InputError(f"labels are {kinds.shape} and scores {values.shape}; both must be (T,), T at least 1")
    if not np.isfinite(values).all():
        raise InputError(f"score {values[~np.isfinite(values)][0]} is not finite; score the trial or leave it out")
    edges = _edges(values, int(min(found for found in (kinds.sum(), (~kinds).sum()) if found)))
    figure, axes = new_figure(5.8, 3.6)
    for name, chosen, colour, dashes in (("non-targets", ~kinds, VERMILION, "--"), ("targets", kinds, BLUE, "-")):
        if chosen.any():
            heights = np.histogram(values[chosen], edges, density=True)[0]
            axes.stairs(heights, edges, fill=True, color=colour, alpha=0.25, linewidth=0)
            label = f"{name} (n = {chosen.sum():,})"
            axes.stairs(heights, edges, color=colour, linestyle=dashes, linewidth=1.4, label=label)
    drawn = {name: value for name, value in (thresholds or {}).items() if np.isfinite(value)}
    for (name, value), dashes in zip(drawn.items(), cycle((":", "-.", "--", "-")), strict=False):
        axes.axvline(value, color=BLACK, linestyle=dashes, linewidth=1.2, label=f"threshold {name}: {value:.3g}")
    axes.set(xlabel=xlabel, ylabel="density")
    axes.set_ylim(bottom=0)
    figure.legend(frameon=False, loc="outside upper center", ncols=2)
    return save_figure(figure, path)


def plot_groups(
    rows: Sequence[Mapping[str, Any]], path: str | os.PathLike[str], whole: Sequence[Mapping[str, Any]] = ()
) -> "Figure":
    """The EER of each group with its 95 % interval, and beside it the error rates at the threshold of the whole list.

    An interval that comes from resampling trials, as the group has few speakers, is dotted.

    Args:
        rows: of `verification.breakdown`.
        path: of the picture.
        whole: the numbers of the whole list; its EER is a line in both panels, as there both rates are equal to it.

    Raises:
        InputError: there is no group.
    """
    if not rows:
        raise InputError("there is no group of trials to plot; are gender, session or duration of the files known?")
    figure, left, right = new_figure(8.4, 1.4 + 0.42 * len(rows), columns=2)
    found = [{number["name"]: number for number in row["metrics"]} for row in rows]
    for axes, marks in ((left, _EER_MARK), (right, _RATE_MARKS)):
        for name, title, aside, colour, marker in marks:
            numbers = {i: one[name] for i, one in enumerate(found) if one[name]["value"] is not None}
            for i, number in numbers.items():
                _draw_interval(axes, number, i + aside, colour)
            values = [100 * number["value"] for number in numbers.values()]
            axes.plot(values, [i + aside for i in numbers], marker, color=colour, label=title)
        for number in whole:
            if number["name"] == "eer" and number["value"] is not None:
                axes.axvline(100 * number["value"], color="0.4", linestyle="--", linewidth=1, label="EER of all trials")
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlim(left=0)
        axes.grid(axis="x", color="0.9")
        axes.set_axisbelow(True)
    names = [f"{row['group']}\n{row['targets']:,} + {row['nontargets']:,}" for row in rows]
    left.set_yticks(range(len(rows)), names, size=8)
    right.set_yticks(range(len(rows)), [""] * len(rows))
    left.set(xlabel="EER (%)", title="a threshold for each group", ylabel="trials: targets + non-targets")
    right.set(xlabel="FNMR, FMR (%)", title="one threshold for all")
    handles = {
        label: line for axes in (left, right) for line, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles.keys(), frameon=False, loc="outside upper center", ncols=len(handles))
    return save_figure(figure, path)


# Name of a number, its title, how far from the middle of its row, colour, marker.
_EER_MARK = [("eer", "EER", 0.0, BLACK, "D")]
_RATE_MARKS = [("fnmr", "FNMR", -0.14, BLUE, "o"), ("fmr", "FMR", 0.14, VERMILION, "s")]


def _draw_interval(axes: Any, number: Mapping[str, Any], y: float, colour: str) -> None:
    ends = [100 * number[end] for end in ("low", "high") if number[end] is not None]
    dashes = ":" if number["interval_unit"] == "trial" else "-"
    axes.plot(ends, [y] * len(ends), dashes, color=colour, linewidth=1.6, marker="|", markersize=6)


def plot_map(
    points: ArrayLike,
    speakers: Sequence[Any],
    path: str | os.PathLike[str],
    method: str = "",
    genders: Sequence[Any] | None = None,
    noun: str = "speakers",
) -> "Figure":
    """Embeddings in the plane, each speaker's in a colour; up to 25 speakers have their names beside them.

    Of more than 7 speakers colours come again with other markers, of more than 70 they repeat. Where genders are known
    the marker is the gender's.

    Args:
        points: (N, 2), as from `verification.maps.project`.
        speakers: (N,) who speaks.
        path: of the picture.
        method: how the points were found, for the title.
        genders: (N,) of the speakers; what is neither "female" nor "male" is a square.
        noun: what the names are, where they are not those of speakers.

    Raises:
        InputError: no points, or lengths differ.
    """
    places = np.asarray(points, dtype=np.float64)
    names = np.asarray([str(speaker) for speaker in speakers])
    kinds = None if genders is None else np.asarray([str(gender or "unknown") for gender in genders])
    if places.ndim != 2 or places.shape[1:] != (2,) or not len(places) == len(names) > 0:
        raise InputError(
            f"points are {places.shape} of {len(names)} speakers; give (N, 2), N at least 1, and N speakers"
        )
    if kinds is not None and len(kinds) != len(names):
        raise InputError(f"{len(kinds)} genders of {len(names)} points; give one each")
    figure, axes = new_figure(6.4, 6.0)
    listed = sorted(set(names))
    size = float(np.clip(12_000 / len(names), 9, 36))
    for i, speaker in enumerate(listed):
        own = names == speaker
        style: dict[str, Any] = {"s": size, "color": COLOURS[i % len(COLOURS)], "alpha": 0.75, "linewidths": 0}
        if kinds is None:
            axes.scatter(*places[own].T, marker=_MARKERS[i // len(COLOURS) % len(_MARKERS)], **style)
            continue
        for kind in sorted(set(kinds[own])):
            axes.scatter(*places[own & (kinds == kind)].T, marker=_GENDERS.get(kind, "s"), **style)
    for kind in [] if kinds is None else sorted(set(kinds)):
        axes.scatter([], [], marker=_GENDERS.get(kind, "s"), color="0.4", label=kind)
    axes.set(xticks=[], yticks=[], aspect="equal", title=f"{len(names):,} recordings of {len(listed):,} {noun}")
    axes.set_xlabel(f"{method}: only what is near means something".removeprefix(": "))
    axes.spines[:].set_visible(True)
    axes.spines[:].set_color("0.8")
    axes.margins(0.1, 0.06)
    if kinds is not None:
        figure.legend(frameon=False, loc="outside upper center", ncols=3)
    if len(listed) <= MAX_NAMED:
        tops = [_top(places[names == speaker]) for speaker in listed]
        named = zip(listed, tops, cycle(COLOURS), strict=False)
        _write_apart(figure, [_write(axes, name, top, colour) for name, top, colour in named])
    return save_figure(figure, path)


def plot_calibration(
    labels: ArrayLike, probabilities: ArrayLike, path: str | os.PathLike[str], bins: int = 10
) -> "Figure":
    """Whether probabilities hold: the share of targets among trials of about one probability, against it.

    Trials are taken together in steps of equal width; the bars are Wilson's 95 % intervals, of single trials: those of
    one speaker are alike, so the truth is less certain than they look. Murphy & Winkler, "Reliability of subjective
    probability forecasts of precipitation and temperature", Applied Statistics 1977, on the reliability diagram.

    Args:
        labels: (T,) 1 for a target, 0 for a non-target.
        probabilities: (T,) of the same speaker, at a prior that is the share of targets among the trials.
        path: of the picture.
        bins: how many steps; those without trials have no point.

    Raises:
        InputError: no trials, lengths differ, or a number that is no probability.
    """
    is_target, said = np.asarray(labels) == 1, np.asarray(probabilities, dtype=np.float64)
    if is_target.shape != said.shape or said.ndim != 1 or not len(said):
        raise InputError(
            f"labels are {is_target.shape} and probabilities {said.shape}; both must be (T,), T at least 1"
        )
    if not ((said >= 0) & (said <= 1)).all():
        raise InputError(f"{said[~((said >= 0) & (said <= 1))][0]} is no probability; give numbers between 0 and 1")
    steps = np.minimum((said * bins).astype(int), bins - 1)
    figure, axes = new_figure(4.8, 4.6)
    axes.plot([0, 100], [0, 100], "--", color="0.5", linewidth=1, label="as said")
    points = []
    for step in np.unique(steps):
        inside = steps == step
        share, count = float(is_target[inside].mean()), int(inside.sum())
        points.append((100 * said[inside].mean(), 100 * share))
        axes.plot([points[-1][0]] * 2, _wilson(share, count), color=BLUE, linewidth=1.4)
    axes.plot(*zip(*points, strict=True), "o", color=BLUE, label=f"{len(said):,} trials, in {len(points)} steps")
    axes.set(xlabel="probability of the same speaker (%)", ylabel="share of targets (%)", aspect="equal")
    axes.set(xlim=(-2, 102), ylim=(-2, 102))
    figure.legend(frameon=False, loc="outside upper center", ncols=2)
    return save_figure(figure, path)


def _wilson(share: float, count: int) -> list[float]:
    """The 95 % interval of a share of `count`, in per cent: Wilson, JASA 1927."""
    z = NormalDist().inv_cdf(0.975)
    middle, room = share + z * z / (2 * count), z * np.sqrt(share * (1 - share) / count + (z / (2 * count)) ** 2)
    return [100 * (middle + sign * room) / (1 + z * z / count) for sign in (-1, 1)]


def _top(points: NDArray) -> NDArray:
    """Where a name stands above points (N, 2): over their centre, and over that half of them which is nearest to it."""
    centre = np.median(points, axis=0)
    distances = np.linalg.norm(points - centre, axis=1)
    return np.array([centre[0], points[distances <= np.median(distances), 1].max()])


def _write(axes: Any, name: str, place: NDArray, colour: str) -> Any:
    """A name above a place, in a darker shade of a colour and with a white rim, so that it can be read on points."""
    from matplotlib.colors import to_rgb
    from matplotlib.patheffects import withStroke

    style = {"color": [0.65 * part for part in to_rgb(colour)], "size": 8, "zorder": 4}
    rim = [withStroke(linewidth=2, foreground="white")]
    return axes.annotate(name, place, (0, 4), textcoords="offset points", ha="center", path_effects=rim, **style)


def _write_apart(figure: "Figure", texts: Sequence[Any]) -> None:
    """Moves names up and down until none covers another."""
    figure.draw_without_rendering()
    for _ in range(200):
        boxes = [text.get_window_extent() for text in texts]
        pairs = [(i, k) for i, one in enumerate(boxes) for k in range(i) if one.overlaps(boxes[k])]
        if not pairs:
            return
        for i, k in pairs:
            overlap = min(boxes[i].y1, boxes[k].y1) - max(boxes[i].y0, boxes[k].y0)
            higher, lower = (i, k) if boxes[i].y0 >= boxes[k].y0 else (k, i)
            for which, sign in ((higher, 1), (lower, -1)):
                x, y = texts[which].get_position()
                texts[which].set_position((x, y + sign * (overlap / 2 + 0.5) * 72 / figure.dpi))


def _cheapest(curve: Roc, prior: float, c_miss: float, c_fa: float) -> tuple[float, float]:
    """FMR and FNMR where the detection cost is lowest."""
    point = int(detection_cost(curve.fnmr, curve.fmr, prior, c_miss, c_fa).argmin())
    return float(curve.fmr[point]), float(curve.fnmr[point])


def _thinned(curve: Roc) -> Roc:
    """The curve with the points only at which either rate enters or leaves a cell of a fine grid of deviates."""
    deviates = np.linspace(NormalDist().inv_cdf(RATES[0]), NormalDist().inv_cdf(1 - RATES[0]), _CELLS)
    grid = np.array([NormalDist().cdf(deviate) for deviate in deviates])
    last = len(curve.fnmr) - 1
    after = np.concatenate([np.searchsorted(curve.fnmr, grid), last + 1 - np.searchsorted(curve.fmr[::-1], grid)])
    kept = np.unique(np.clip(np.concatenate([after - 1, after, [0, last]]), 0, last))
    return Roc(curve.thresholds[kept], curve.fnmr[kept], curve.fmr[kept])


def _edges(values: NDArray, fewest: int) -> NDArray:
    """Ends of bins over all scores: more bins the more there are of the rarer kind."""
    low, high = float(values.min()), float(values.max())
    if low == high:
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, int(np.clip(4 * np.cbrt(fewest), *_BINS)) + 1)
