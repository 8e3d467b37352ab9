"""Pictures of trials: lines and points lie where the numbers are, and nothing covers anything."""

import os
import subprocess
import sys
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hf_speech.errors import InputError
from hf_speech.metrics.verification import Roc, detection_cost, roc
from hf_speech.trial_plots import COLOURS, MAX_NAMED, plot_calibration, plot_det, plot_groups, plot_map, plot_scores


def normal(targets: int, others: int, apart: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    scores = np.concatenate([rng.normal(apart, 1, targets), rng.normal(0, 1, others)])
    return np.repeat([1, 0], [targets, others]), scores


def deviate(rate: float) -> float:
    return NormalDist().inv_cdf(rate)


def lines_of(axes: Any, label: str) -> Any:
    return next(line for line in axes.lines if line.get_label().startswith(label))


def marks_of(axes: Any, marker: str) -> list[tuple[float, float]]:
    found = [line for line in axes.lines if line.get_marker() == marker and len(line.get_xdata())]
    return [(float(line.get_xdata()[0]), float(line.get_ydata()[0])) for line in found]


def texts_of(legend: Any) -> list[str]:
    return [text.get_text() for text in legend.get_texts()]


def covers(figure: Any, axes: Any) -> bool:
    """Whether the key lies on the axes."""
    figure.draw_without_rendering()
    return bool(figure.legends[0].get_window_extent().overlaps(axes.get_window_extent()))


def test_det_draws_every_point_of_a_short_curve(tmp_path: Path) -> None:
    curve = roc([1, 1, 1, 1, 0, 0, 0, 0, 0], [9, 8, 4, 6, 5, 3, 2, 1, 0])
    figure = plot_det({"mine": curve}, tmp_path / "det.png")
    (axes,) = figure.axes
    points = {tuple(point) for point in np.round(lines_of(axes, "mine").get_xydata(), 6)}
    lowest_x, lowest_y = 0.1, 0.125  # half of the smallest rates, 1 of 5 and 1 of 4, where 0 is drawn
    top = 1 - 1e-1, 1 - 0.125
    for fmr, fnmr in zip(curve.fmr, curve.fnmr, strict=True):
        place = deviate(float(np.clip(fmr, lowest_x, top[0]))), deviate(float(np.clip(fnmr, lowest_y, top[1])))
        assert tuple(np.round(place, 6)) in points
    assert axes.get_xticks()[0] == pytest.approx(deviate(0.1)) and axes.get_xticklabels()[0].get_text() == "0"
    assert texts_of(figure.legends[0])[0] == f"mine: EER {100 * curve.eer:.2f} %"


def test_det_marks_the_equal_error_rate_and_the_lowest_costs(tmp_path: Path) -> None:
    curve = roc(*normal(800, 9000, 2.5))
    (axes,) = plot_det({"mine": curve}, tmp_path / "det.png", p_targets=(0.05, 0.3), c_miss=2.0).axes
    assert marks_of(axes, "x") == [pytest.approx((deviate(curve.eer), deviate(curve.eer)))]
    for prior, marker in ((0.05, "o"), (0.3, "s")):
        ((x, y),) = marks_of(axes, marker)
        cost = detection_cost(NormalDist().cdf(y), NormalDist().cdf(x), prior, c_miss=2.0)
        assert cost == pytest.approx(curve.min_dcf(prior, c_miss=2.0))


def test_det_of_many_trials_is_thinned_and_looks_the_same(tmp_path: Path) -> None:
    curve = roc(*normal(20_000, 200_000, 2.0))
    (axes,) = plot_det({"mine": curve}, tmp_path / "det.png").axes
    x, y = lines_of(axes, "mine").get_data()
    assert len(x) < 10_000 < len(curve.fmr)
    shown = (curve.fmr > 1e-4) & (curve.fnmr > 1e-4) & (curve.fmr < 0.99) & (curve.fnmr < 0.99)
    whole_x, whole_y = Roc(curve.thresholds[shown], curve.fnmr[shown], curve.fmr[shown]).det()
    between = np.interp(whole_x, x[::-1], y[::-1])
    room = np.abs(np.interp(whole_x - 0.005, x[::-1], y[::-1]) - between) + 0.005
    assert (np.abs(between - whole_y) <= room).all()  # within a cell of the grid


@pytest.mark.parametrize(
    ("targets", "others", "apart"), [(1, 1, 50), (1, 1, -50), (3, 40, 50), (500, 500, 50), (30, 30, 0), (90, 90, -1)]
)
def test_det_is_readable_whatever_the_trials(targets: int, others: int, apart: float, tmp_path: Path) -> None:
    labels, scores = normal(targets, others, apart)
    figure = plot_det({"mine": roc(labels, scores)}, tmp_path / "det.png")
    (axes,) = figure.axes
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    ((x, y),) = marks_of(axes, "x")
    assert np.isfinite([left, right, bottom, top]).all()
    assert left <= x <= right and bottom <= y <= top
    assert len(axes.get_xticks()) > 1 and len(axes.get_yticks()) > 1
    data = lines_of(axes, "mine").get_xydata()
    inside = (data >= [left, bottom]).all(axis=1) & (data <= [right, top]).all(axis=1)
    assert inside.any() and not covers(figure, axes)


def test_det_of_several_systems_tells_them_apart(tmp_path: Path) -> None:
    names = [f"system {i}" for i in range(8)]
    curves = {name: roc(*normal(100, 900, 1 + i / 4, seed=i)) for i, name in enumerate(names)}
    figure = plot_det(curves, tmp_path / "det.png")
    (axes,) = figure.axes
    looks = {(line.get_color(), line.get_linestyle()) for name in names for line in [lines_of(axes, name)]}
    assert len(looks) == len(names) and not covers(figure, axes)
    assert [text.partition(":")[0] for text in texts_of(figure.legends[0])[:8]] == names
    assert texts_of(figure.legends[0])[8:] == ["minDCF at prior 0.01", "minDCF at prior 0.05"]


def test_ticks_of_rates_do_not_touch(tmp_path: Path) -> None:
    labels, scores = normal(300_000, 300_000, 2.0)
    figure = plot_det({"mine": roc(labels, scores)}, tmp_path / "det.png")
    (axes,) = figure.axes
    figure.draw_without_rendering()
    boxes = [label.get_window_extent() for label in axes.get_xticklabels()]
    assert axes.get_xticklabels()[0].get_text() == "≤0.001"
    assert all(one.x1 < other.x0 for one, other in zip(boxes, boxes[1:], strict=False))


def test_scores_are_densities_with_thresholds(tmp_path: Path) -> None:
    labels, scores = normal(200, 3000, 3.0)
    figure = plot_scores(labels, scores, tmp_path / "s.png", {"at the EER": 1.5, "nowhere": np.inf}, xlabel="cosine")
    (axes,) = figure.axes
    shapes = {patch.get_label().split(" (")[0]: patch for patch in axes.patches if not patch.get_fill()}
    for name, kind in (("targets", 1), ("non-targets", 0)):
        heights, edges, _ = shapes[name].get_data()
        counts = np.histogram(scores[labels == kind], edges)[0]
        np.testing.assert_allclose(heights * np.diff(edges) * (labels == kind).sum(), counts)
        assert counts.sum() == (labels == kind).sum()  # no score lies outside
    assert [line.get_xdata()[0] for line in axes.lines] == [1.5]
    assert set(texts_of(figure.legends[0])) == {
        "targets (n = 200)",
        "non-targets (n = 3,000)",
        "threshold at the EER: 1.5",
    }
    assert axes.get_xlabel() == "cosine" and not covers(figure, axes)
    assert len({(patch.get_edgecolor(), patch.get_linestyle()) for patch in shapes.values()}) == 2


@pytest.mark.parametrize(("labels", "scores"), [([1, 0], [0.5, 0.5]), ([1], [2.0]), ([0, 0], [1.0, 2.0])])
def test_the_fewest_scores_have_a_picture(labels: list[int], scores: list[float], tmp_path: Path) -> None:
    (axes,) = plot_scores(labels, scores, tmp_path / "s.png").axes
    assert np.asarray(Image.open(tmp_path / "s.png").convert("RGB")).std() > 5
    assert axes.get_xlim()[0] < min(scores) <= max(scores) < axes.get_xlim()[1]


def number(name: str, value: float | None, unit: str = "speaker") -> dict[str, Any]:
    ends = (None, None) if value is None else (value / 2, value * 1.5)
    return {"name": name, "value": value, "low": ends[0], "high": ends[1], "unit": "fraction", "interval_unit": unit}


def test_groups_show_value_and_interval(tmp_path: Path) -> None:
    rows = [
        {"group": "both female", "targets": 10, "nontargets": 2000}
        | {"metrics": [number("eer", 0.04), number("fnmr", 0.06), number("fmr", 0.02)]},
        {"group": "different genders", "targets": 0, "nontargets": 30}
        | {"metrics": [number("eer", None), number("fnmr", None), number("fmr", 0.01, "trial")]},
    ]
    figure = plot_groups(rows, tmp_path / "g.png", [number("eer", 0.03)])
    left, right = figure.axes
    assert [text.get_text() for text in left.get_yticklabels()] == [
        "both female\n10 + 2,000",
        "different genders\n0 + 30",
    ]
    assert lines_of(left, "EER").get_xydata().tolist() == [[4.0, 0.0]]
    assert lines_of(right, "FNMR").get_xdata().tolist() == [6.0]
    assert lines_of(right, "FMR").get_xdata().tolist() == [2.0, 1.0]
    bars = [line for axes in (left, right) for line in axes.lines if line.get_marker() == "|"]
    assert [line.get_xdata().tolist() for line in bars] == [[2, 6], [3, 9], [1, 3], [0.5, 1.5]]
    assert [line.get_linestyle() for line in bars] == ["-", "-", "-", ":"]
    assert all(lines_of(axes, "EER of all").get_xdata()[0] == 3.0 for axes in (left, right))
    assert texts_of(figure.legends[0]) == ["EER", "EER of all trials", "FNMR", "FMR"]
    assert not covers(figure, left) and not covers(figure, right)


def test_calibration_is_the_share_of_targets(tmp_path: Path) -> None:
    labels, said = [0, 0, 0, 1, 1, 1, 0, 1], [0.05, 0.05, 0.02, 0.08, 0.95, 1.0, 0.9, 0.5]
    figure = plot_calibration(labels, said, tmp_path / "c.png")
    (axes,) = figure.axes
    points = lines_of(axes, "8 trials, in 3 steps").get_xydata()
    np.testing.assert_allclose(points, [[5, 25], [50, 100], [95, 200 / 3]])
    bars = [line.get_ydata() for line in axes.lines if line.get_color() == COLOURS[0] and line.get_linestyle() == "-"]
    # Wilson's interval solves (p - share)^2 = z^2 p (1 - p) / n.
    z = deviate(0.975)
    for bar, share, count in zip(bars, (0.25, 1.0, 2 / 3), (4, 1, 3), strict=True):
        for p in np.asarray(bar) / 100:
            assert (p - share) ** 2 == pytest.approx(z * z * p * (1 - p) / count, abs=1e-12)


def test_map_has_all_points_and_names_apart(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    names = [f"speaker {i // 3:02}" for i in range(3 * MAX_NAMED)]
    points = rng.normal(size=(len(names), 2))
    figure = plot_map(points, names, tmp_path / "m.png", "t-SNE")
    (axes,) = figure.axes
    drawn = np.concatenate([spots.get_offsets() for spots in axes.collections])
    np.testing.assert_allclose(drawn, points)  # in order of the speakers, as they are sorted here
    assert [text.get_text() for text in axes.texts] == sorted(set(names))
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in axes.texts]
    assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])
    looks = {(tuple(spots.get_facecolor()[0]), spots.get_paths()[0].vertices.tobytes()) for spots in axes.collections}
    assert len(looks) == MAX_NAMED
    assert axes.get_title() == "75 recordings of 25 speakers" and axes.get_xlabel().startswith("t-SNE")


def test_map_of_many_speakers_has_no_names_and_genders_a_key(tmp_path: Path) -> None:
    names = [f"s{i}" for i in range(MAX_NAMED + 1)]
    genders = ["female" if i % 2 else "male" for i in range(MAX_NAMED)] + [None]
    figure = plot_map(np.random.default_rng(0).normal(size=(26, 2)), names, tmp_path / "m.png", genders=genders)
    (axes,) = figure.axes
    assert not axes.texts and texts_of(figure.legends[0]) == ["female", "male", "unknown"]
    assert sum(len(spots.get_offsets()) for spots in axes.collections) == 26
    shapes = {spots.get_paths()[0].vertices.tobytes() for spots in axes.collections}
    assert len(shapes) == 3


def test_map_of_other_names_than_those_of_speakers(tmp_path: Path) -> None:
    (axes,) = plot_map(np.eye(2), ["calm", "angry"], tmp_path / "m.png", noun="labels").axes
    assert axes.get_title() == "2 recordings of 2 labels"


def test_map_of_one_recording(tmp_path: Path) -> None:
    (axes,) = plot_map([[0.0, 0.0]], ["a"], tmp_path / "m.png", "PCA").axes
    assert [text.get_text() for text in axes.texts] == ["a"]


def test_nothing_to_draw_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    refused = [
        ("no curve", lambda: plot_det({}, path)),
        ("only: has only one kind of trials", lambda: plot_det({"only": roc([1, 1], [0.0, 1.0])}, path)),
        (r"labels are \(1,\) and scores \(2,\)", lambda: plot_scores([1], [1.0, 2.0], path)),
        ("score nan is not finite", lambda: plot_scores([1, 0], [1.0, np.nan], path)),
        ("no group", lambda: plot_groups([], path)),
        ("1.5 is no probability", lambda: plot_calibration([1], [1.5], path)),
        (r"labels are \(0,\)", lambda: plot_calibration([], [], path)),
        (r"points are \(2, 2\) of 1 speakers", lambda: plot_map(np.eye(2), ["a"], path)),
        ("1 genders of 2 points", lambda: plot_map(np.eye(2), ["a", "b"], path, genders=["female"])),
    ]
    for message, draw in refused:
        with pytest.raises(InputError, match=message):
            draw()
    assert not list(tmp_path.iterdir())


def test_importing_does_not_import_matplotlib() -> None:
    code = "import sys, hf_speech.trial_plots; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ)
