"""The pictures: whole files of the right kind whose inks are where the numbers are, and no trace left behind."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hf_speech.errors import InputError
from hf_speech.plots import (
    plot_confusion,
    plot_curves,
    plot_layers,
    plot_numbers,
    plot_regression,
    plot_schedule,
    plot_sweep,
)

from .test_results import example

HISTORY = [
    {"step": 10, "loss": 1.5, "grad_norm": 2.0, "epoch": 0.5},
    {"step": 20, "loss": 1.0, "grad_norm": 1.0, "epoch": 1.0},
    {"step": 20, "eval_loss": 1.2, "eval_uar": 0.4, "eval_accuracy": 0.5, "eval_runtime": 3.0, "epoch": 1.0},
    {"step": 40, "eval_loss": 0.9, "eval_uar": 0.6, "eval_accuracy": 0.7, "eval_samples_per_second": 8.0},
    {"step": 40, "train_runtime": 30.0, "train_loss": 1.2},
]


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def test_confusion_shows_row_shares_and_counts(tmp_path: Path) -> None:
    figure = plot_confusion(
        {"labels": ["a", "b", "c"], "counts": [[6, 2, 0], [1, 1, 2], [0, 0, 0]]}, tmp_path / "c.png"
    )
    axes = figure.axes[0]
    np.testing.assert_allclose(axes.images[0].get_array(), [[0.75, 0.25, 0], [0.25, 0.25, 0.5], [0, 0, 0]])
    assert [text.get_text() for text in axes.texts] == ["6", "2", "0", "1", "1", "2", "0", "0", "0"]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["a", "b", "c"]
    assert pixels(tmp_path / "c.png").std() > 10


@pytest.mark.parametrize(
    ("classes", "numbered", "named"), [(2, True, True), (20, True, True), (21, False, True), (61, False, False)]
)
def test_confusion_of_many_classes_has_no_numbers(classes: int, numbered: bool, named: bool, tmp_path: Path) -> None:
    names = [f"speaker {i}" for i in range(classes)]
    figure = plot_confusion({"labels": names, "counts": np.eye(classes, dtype=int).tolist()}, tmp_path / "c.png")
    axes = figure.axes[0]
    assert bool(axes.texts) == numbered
    assert (axes.get_yticklabels()[-1].get_text() == names[-1]) == named


def test_counts_do_not_touch_their_neighbours(tmp_path: Path) -> None:
    figure = plot_confusion({"labels": list("abcdefghijklmnopqrst"), "counts": [[1234] * 20] * 20}, tmp_path / "c.png")
    axes = figure.axes[0]
    width = axes.transData.transform([[0, 0], [1, 0]])[:, 0]
    assert axes.texts[0].get_window_extent().width < 0.95 * (width[1] - width[0])


def test_regression_shows_every_item_and_the_unit(tmp_path: Path) -> None:
    figure = plot_regression([20, 30, 40], [25, 28, 50], "years", tmp_path / "r.png")
    axes = figure.axes[0]
    assert axes.collections[0].get_offsets().tolist() == [[20, 25], [30, 28], [40, 50]]
    assert axes.lines[0].get_xydata().tolist() == [[20, 20], [50, 50]]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("label (years)", "prediction (years)")


def test_curves_are_the_history(tmp_path: Path) -> None:
    figure = plot_curves(HISTORY, tmp_path / "h.png")
    loss, fractions = figure.axes
    assert [line.get_xydata().tolist() for line in loss.lines] == [[[10, 1.5], [20, 1.0]], [[20, 1.2], [40, 0.9]]]
    assert [line.get_xydata().tolist() for line in fractions.lines] == [[[20, 0.4], [40, 0.6]], [[20, 0.5], [40, 0.7]]]
    assert [text.get_text() for text in fractions.get_legend().get_texts()] == ["UAR", "accuracy"]


def of_pretraining(*, validated: bool, **more: float) -> list[dict[str, float]]:
    """A history of two lines of training, and perhaps one of validation, whose numbers are a tenth less."""
    first = {"step": 2, "epoch": 0.5, "learning_rate": 0.1, "data_wait": 0.3, **more}
    last = {"step": 4, "train_loss": 3.0, "train_runtime": 9.0}
    of_rows = [{"step": 4, **{f"eval_{name}": value - 0.1 for name, value in more.items()}}]
    return [first, {**first, "step": 4}, *(of_rows if validated else []), last]


def drawn(figure: Any) -> dict[str, dict[str, list[list[float]]]]:
    """Panel -> curve -> its points; those without a marker, which have no steps, by their height alone."""
    return {
        axes.get_ylabel(): {
            line.get_label(): line.get_xydata().tolist() if line.get_marker() != "None" else [line.get_ydata()[0]]
            for line in axes.lines
        }
        for axes in figure.axes
    }


def test_pretraining_has_few_panels_with_training_beside_validation(tmp_path: Path) -> None:
    parts = {"loss": 5.0, "contrastive_loss": 4.9, "diversity_loss": 0.5, "perplexity": 32.0}
    history = of_pretraining(validated=True, **parts, chance=0.01, accuracy=0.3)
    there = drawn(plot_curves(history, tmp_path / "h.png", [("perplexity", 64, "all codes alike often")]))
    assert set(there) == {"loss", "perplexity", "accuracy"}
    assert there["loss"]["contrastive, training"] == [[2, 4.9], [4, 4.9]]
    assert there["loss"]["diversity, validation"] == [[4, 0.4]] and len(there["loss"]) == 6
    assert there["perplexity"] == {
        "training": [[2, 32.0], [4, 32.0]],
        "validation": [[4, 31.9]],
        "all codes alike often": [64],
    }
    assert set(there["accuracy"]) == {"training", "validation", "guessing"}
    assert there["accuracy"]["guessing"] == [pytest.approx(-0.09)]  # the last that was logged


def test_pretraining_without_validation_has_its_parts_too(tmp_path: Path) -> None:
    parts = {"loss": 7.0, "loss_k64": 3.0, "loss_k512": 4.0, "accuracy_k64": 0.3, "accuracy_k512": 0.1}
    levels = [("accuracy_k64", 0.02, "guessing"), ("accuracy_k512", 0.01, "guessing")]
    figure = plot_curves(of_pretraining(validated=False, **parts), tmp_path / "h.png", levels)
    there = drawn(figure)
    assert set(there) == {"loss", "accuracy"}
    assert set(there["loss"]) == {"all, training", "64 clusters, training", "512 clusters, training"}
    assert there["accuracy"]["512 clusters, training"] == [[2, 0.1], [4, 0.1]]
    assert there["accuracy"]["512 clusters, guessing"] == [0.01]
    colours = {line.get_label(): line.get_color() for line in figure.axes[1].lines}
    assert colours["64 clusters, guessing"] == colours["64 clusters, training"] != colours["512 clusters, training"]


def test_numbers_show_value_and_interval(tmp_path: Path) -> None:
    metrics = example()["metrics"] + [example()["metrics"][0] | {"name": "macro_f1", "value": None}]
    figure = plot_numbers(metrics, tmp_path / "n.png")
    bars, points = figure.axes[0].lines[::2], figure.axes[0].lines[1::2]
    assert [list(line.get_xdata()) for line in bars] == [[0.5821, 0.8649], [0.5676, 0.8649]]
    assert [line.get_xdata()[0] for line in points] == [0.7312, 0.7297]


def test_layers_stand_beside_equal_shares(tmp_path: Path) -> None:
    (axes,) = plot_layers([0.5, 0.125, 0.25, 0.125], tmp_path / "l.png").axes
    assert [bar.get_height() for bar in axes.patches] == [50, 12.5, 25, 12.5]
    assert set(axes.lines[0].get_ydata()) == {25}
    assert [label.get_text() for label in axes.get_xticklabels()] == ["input", "1", "2", "3"]
    assert pixels(tmp_path / "l.png").std() > 5


def test_numbers_of_two_units_have_two_panels(tmp_path: Path) -> None:
    uar = example()["metrics"][0]
    figure = plot_numbers(
        [uar, uar | {"name": "mae", "value": 7.0, "low": 6.0, "high": 8.0, "unit": "years"}], tmp_path / "n.png"
    )
    assert [axes.get_xlabel() for axes in figure.axes] == [
        "fraction, with 95 % interval",
        "years, with 95 % interval",
    ]


@pytest.mark.parametrize(
    ("rates", "scale"),
    [
        ([0.0, 2e-4, 1e-4, 0.0], "linear"),
        ([1e-8, 1e-3, 1e-8, 5e-4, 1e-8], "log"),
        ([0.0, 1e-3, 5e-5, 1e-5, 2e-6], "log"),
        ([1e-3] * 5, "linear"),
        ([0.0, 0.0, 0.0, 1e-3], "linear"),
    ],
)
def test_schedule_is_on_the_axis_that_shows_most_of_it(rates: list[float], scale: str, tmp_path: Path) -> None:
    figure = plot_schedule(range(len(rates)), rates, tmp_path / "s.png")
    (axes,) = figure.axes
    assert axes.lines[0].get_xydata().tolist() == [[step, rate] for step, rate in enumerate(rates)]
    assert axes.get_yscale() == scale
    assert not figure.legends and pixels(tmp_path / "s.png").std() > 5


def test_schedule_shows_the_phases_of_the_run(tmp_path: Path) -> None:
    phases = [(0, 2, "backbone frozen"), (2, 5, "CNN frozen")]
    figure = plot_schedule(range(6), [1e-4] * 6, tmp_path / "s.png", phases)
    (axes,) = figure.axes
    spans = [(span.get_x(), span.get_x() + span.get_width(), span.get_label()) for span in axes.patches]
    assert spans == phases
    assert len({span.get_facecolor() for span in axes.patches}) == 2
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["backbone frozen", "CNN frozen"]


def test_schedule_shows_when_layers_open_and_what_never_does(tmp_path: Path) -> None:
    openings = [(10 + i, f"layer {24 - i}") for i in range(24)]
    figure = plot_schedule(range(40), [1e-4] * 40, tmp_path / "s.png", (), openings, "cnn")
    (axes,) = figure.axes
    assert [line.get_xdata()[0] for line in axes.lines[:-1]] == [step for step, _ in openings]
    named = [(text.xy[0], text.get_text()) for text in axes.texts]
    assert named == openings[::3] and axes.get_title() == "never trained: cnn"
    (axes,) = plot_schedule(range(40), [1e-4] * 40, tmp_path / "s.png").axes
    assert len(axes.lines) == 1 and not axes.texts and not axes.get_title()


def test_nothing_to_plot_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no loss and no eval_ metric"):
        plot_curves([{"step": 1, "learning_rate": 0.1}], tmp_path / "h.png")
    with pytest.raises(InputError, match="no number to plot"):
        plot_numbers([], tmp_path / "n.png")
    with pytest.raises(InputError, match="no steps to plot"):
        plot_schedule([], [], tmp_path / "s.png")
    assert not list(tmp_path.iterdir())


def test_a_failed_picture_leaves_the_old_one_and_no_rest(tmp_path: Path) -> None:
    path = tmp_path / "c.xyz"
    path.write_text("old")
    with pytest.raises(ValueError, match="xyz"):
        plot_confusion(example()["confusion"], path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("ending", "start"), [(".svg", b"<?xml"), (".pdf", b"%PDF"), (".png", b"\x89PNG")])
def test_the_ending_says_the_format(ending: str, start: bytes, tmp_path: Path) -> None:
    plot_confusion(example()["confusion"], tmp_path / f"c{ending}")
    assert (tmp_path / f"c{ending}").read_bytes().startswith(start)


def test_importing_plots_does_not_import_matplotlib() -> None:
    code = "import sys, hf_speech.plots; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ)


def test_each_task_has_panels_of_its_own_and_correlations_one(tmp_path: Path) -> None:
    values = {"emotion/uar": 0.5, "emotion/accuracy": 0.6, "age/mae": 7.0, "age/pearson_r": 0.4, "age/ccc": 0.3}
    entry = {"step": 5, "eval_loss": 1.0, **{f"eval_{name}": value for name, value in values.items()}}
    figure = plot_curves([entry, {**entry, "step": 9}], tmp_path / "h.png")
    panels = {axes.get_ylabel(): [text.get_text() for text in axes.get_legend().get_texts()] for axes in figure.axes}
    assert panels == {
        "loss": ["validation"],
        "emotion: fraction (validation)": ["UAR", "accuracy"],
        "age: mean absolute error": ["validation"],
        "age: correlation (validation)": ["Pearson's r", "concordance (CCC)"],
    }


@pytest.mark.parametrize(
    ("names", "panel"),
    [
        (("macro_f1", "micro_f1", "mean_average_precision", "exact_match"), "fraction (validation)"),
        (("uar", "off_by_one_accuracy", "eer"), "fraction (validation)"),
        (("ordinal_mse",), "squared distance in classes"),
        (("class_mae",), "distance in classes"),
        (("min_dcf",), "minDCF"),
    ],
)
def test_curves_are_on_the_axis_of_their_unit(names: tuple[str, ...], panel: str, tmp_path: Path) -> None:
    history = [{"step": 5, **{f"eval_{name}": 0.1 * i for i, name in enumerate(names)}}]
    (axes,) = plot_curves(history, tmp_path / "h.png").axes
    assert axes.get_ylabel() == panel
    assert [line.get_xydata().tolist() for line in axes.lines] == [[[5, 0.1 * i]] for i in range(len(names))]


def test_more_lines_than_colours_are_all_drawn(tmp_path: Path) -> None:
    names = ("uar", "accuracy", "macro_f1", "off_by_one_accuracy", "eer", "exact_match")
    (axes,) = plot_curves([{"step": 1, **{f"eval_{name}": 0.5 for name in names}}], tmp_path / "h.png").axes
    assert len(axes.lines) == len(names)


def test_numbers_of_tasks_are_named_and_by_unit(tmp_path: Path) -> None:
    uar = example()["metrics"][0]
    metrics = [uar | {"name": "emotion/uar"}, uar | {"name": "decade/class_mae", "unit": "classes"}]
    figure = plot_numbers(metrics, tmp_path / "n.png")
    assert [axes.get_xlabel() for axes in figure.axes] == [
        "fraction, with 95 % interval",
        "classes, with 95 % interval",
    ]
    names = [label.get_text().partition("\n")[0] for axes in figure.axes for label in axes.get_yticklabels()]
    assert names == ["emotion: UAR", "decade: distance in classes"]


def test_a_sweep_is_a_line_through_the_means_and_the_dead_are_crosses(tmp_path: Path) -> None:
    points = [(1e-5, [0.7, 0.69]), (1e-2, [0.66, 0.68]), (1e-4, [0.6]), (1.0, [])]
    figure = plot_sweep("learning_rate", {"": points}, "loss", tmp_path / "sweep.png")
    mean, *runs = figure.axes[0].lines
    assert mean.get_xdata().tolist() == [1e-5, 1e-4, 1e-2] and mean.get_ydata().tolist() == [0.695, 0.6, 0.67]
    assert [line.get_marker() for line in runs if 1.0 in line.get_xdata()] == ["x"]
    assert figure.axes[0].get_xscale() == "log"
    figure = plot_sweep("pooling", {"": [("mean", [0.5]), ("max", [0.6])]}, "uar", tmp_path / "sweep.png")
    assert figure.axes[0].lines[0].get_linestyle() == "None"  # between kinds there is nothing to join
