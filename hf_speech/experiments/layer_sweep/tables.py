"""What a layer sweep leaves for people: layers.csv, the picture, the page, the fields of a run with the best layer."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from ...files import replacing, write_table
from ...hub.card import markdown_table, provenance_section
from ...hub.markdown import listed
from ...hub.words import count, interval_of, metric_title, value_of
from ...metrics.bootstrap import MIN_SPEAKERS
from ...plots import BLUE, VERMILION, new_figure, save_figure
from ...results import Results
from ...training.config import RunConfig
from ...training.hf_arguments import greater_is_better
from ...training.recipes import CONFIG_NAME
from .numbers import RECORDING, UTTERANCE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Facts = Mapping[str, Any]

TABLE, PICTURE, BEST = "layers.csv", "layers.png", "best"
_COLUMNS = ("probe", "layer", "level", "group", "split", "name", "value", "low", "high", "unit", "interval_unit", "n")
_NAMES = {"chosen": "each fold's own", "weighted_sum": "learned sum"}
_SECOND = {"uar": "accuracy", "mae": "rmse"}  # shown beside what decides
_LINES = {"linear": (BLUE, "o"), "transformer": (VERMILION, "s")}


def write_all(results: Results, config: RunConfig, root: Path, folds: str | None) -> None:
    """Writes the tables, the picture and the fields of the best layer, results.json last.

    Args:
        results: of the sweep.
        config: fields that it was given.
        root: its folder.
        folds: what was held out in turn, as it was given; None: the fields say what is tested.
    """
    rows = [{"metric" if name == "name" else name: metric[name] for name in _COLUMNS} for metric in results.metrics]
    write_table([{name: "" if value is None else value for name, value in row.items()} for row in rows], root / TABLE)
    plot_sweep_of_layers(results.metrics, results.run["experiment"], root / PICTURE)
    write_best(results, config, root)
    with replacing(root / "README.md") as temporary:
        temporary.write_text(page(results, config, root, folds), encoding="utf-8")
    results.write(root)


def write_best(results: Results, config: RunConfig, root: Path) -> None:
    """Writes best/train.yaml: the fields of the sweep with its best layer."""
    experiment = results.run["experiment"]
    choice = experiment["choice"]
    fields = {**config.recipe(), "layer": choice["layer"], "pooling": results.model["pooling"]}
    if choice["probe"] == "transformer":
        from .runs import neck_fields

        fields |= neck_fields(config)
    lines = [f"{_verdict(experiment)}: {_how_chosen(experiment)}.", _beside_guessing(results), _how_frozen(config)]
    told = "".join(f"# {line}\n" for line in lines if line)
    (root / BEST).mkdir(exist_ok=True)
    with replacing(root / BEST / CONFIG_NAME) as temporary:
        temporary.write_text(told + yaml.safe_dump(fields, sort_keys=False, allow_unicode=True), encoding="utf-8")


def _verdict(experiment: Facts) -> str:
    """Which layer is the best one, or which ones are."""
    tied, of = experiment["choice"]["tied"], f"of {experiment['depth']}"
    if len(tied) > 1:
        return f"Layers {listed([str(layer) for layer in tied], 'and')} {of} do equally well, and the lowest is taken"
    return f"Layer {tied[0]} {of} is the best one"


def _how_chosen(experiment: Facts) -> str:
    choice = experiment["choice"]
    best = f"{choice['probe']} probe, {choice['metric']} {_score(experiment, choice['layer']):.4g} on {choice['by']}"
    if len(experiment["parts"]) > 1:
        return f"{best}, mean over the folds, each judged without the rows that it tests"
    return f"{best}, never on tested rows" if experiment["is_tested"] else best


def _guess(experiment: Facts, level: str, metric: str) -> float | None:
    """What guessing scores; None: that is not known of this metric."""
    return experiment["guessing"][level].get(metric)


def _beside_guessing(results: Results) -> str:
    """That no layer of the probe that chooses is surely better than guessing; "" where one is."""
    experiment, choice = results.run["experiment"], results.run["experiment"]["choice"]
    guess = _guess(experiment, UTTERANCE, choice["metric"])
    marks = {"probe": choice["probe"], "name": choice["metric"], "level": UTTERANCE, "group": "all"}
    found = [one for one in results.metrics if all(one[name] == value for name, value in marks.items())]
    found = [one for one in found if one["layer"] in experiment["layers"] and one["low"] is not None]
    if guess is None or not found:
        return ""
    rises = greater_is_better(choice["metric"])
    if any(one["low"] > guess if rises else one["high"] < guess for one in found):
        return ""
    told = value_of({**found[0], "value": guess})
    return (
        f"No layer is surely better than guessing ({choice['metric']} {told}): of none does the 95 % interval lie "
        f"{'above' if rises else 'below'} it."
    )


def _how_frozen(config: RunConfig) -> str:
    """How a run with the best layer differs from what was asked; "" where it does not."""
    if config.learning.freeze == "backbone":
        return ""
    return "In the sweep the encoder was frozen, and this run trains it: add `freeze: backbone` to leave it as it was."


def _score(experiment: Facts, layer: int) -> float:
    """By which a layer was chosen, or not."""
    value = experiment["choice"]["scores"][experiment["layers"].index(layer)]
    return float("nan") if value is None else value


def plot_sweep_of_layers(metrics: Sequence[Facts], experiment: Facts, path: Path) -> "Figure":
    """The number that decides against the layer, with 95 % intervals; below it the weights of the learned sum.

    Args:
        metrics: those of results.json.
        experiment: `run.experiment` there.
        path: of the picture.
    """
    choice, shares, layers = experiment["choice"], experiment["shares"], experiment["layers"]
    shown = [one for one in metrics if one["level"] == UTTERANCE and one["group"] == "all"]
    shown = [one for one in shown if one["name"] == choice["metric"] and one["value"] is not None]
    panels = 1 if shares is None else 2
    figure, *axes = new_figure(
        min(10.0, 3.6 + 0.32 * len(layers)), 3.4 + 2.0 * (panels - 1), panels, heights=[3.0, 1.6][:panels]
    )
    axes[0].axvspan(choice["layer"] - 0.4, choice["layer"] + 0.4, color="0.92", zorder=0, label="best layer")
    probes = [probe for probe in _LINES if any(one["probe"] == probe for one in shown)]
    for i, probe in enumerate(probes):
        colour, marker = _LINES[probe]
        of_probe = {one["layer"]: one for one in shown if one["probe"] == probe}
        points = [of_probe[layer] for layer in layers if layer in of_probe]
        at = np.array([point["layer"] for point in points]) + 0.16 * (i - (len(probes) - 1) / 2)
        values = np.array([[point[name] for name in ("low", "value", "high")] for point in points]).reshape(-1, 3)
        if len(points):
            axes[0].vlines(at, values[:, 0], values[:, 2], color=colour, linewidth=1.5)
            axes[0].plot(at, values[:, 1], color=colour, marker=marker, markersize=5, label=f"{probe} probe")
        if "weighted_sum" in of_probe:
            value = of_probe["weighted_sum"]["value"]
            axes[0].axhline(value, color="black", linewidth=1, linestyle="-.", label="learned sum of layers")
    guess = _guess(experiment, UTTERANCE, choice["metric"])
    if guess is not None:
        axes[0].axhline(guess, color="0.4", linewidth=1.5, linestyle=":", label="guessing")
    axes[0].set_ylabel(f"{metric_title(choice['metric']).partition(' (')[0]}\n({shown[0]['unit']})" if shown else "")
    axes[0].grid(axis="y", color="0.9")
    if shares is not None:
        parts = 100 * np.array(shares)
        axes[1].bar(layers, parts.mean(0), color=BLUE)
        if len(parts) > 1:
            axes[1].vlines(layers, parts.min(0), parts.max(0), color="black", linewidth=1)
        axes[1].axhline(100 / len(layers), color="0.4", linewidth=1, linestyle="--")
        axes[1].set_ylabel("share (%)")
    for panel in axes:
        panel.set_xlim(layers[0] - 0.6, layers[-1] + 0.6)
        panel.set_xticks(layers, [str(layer) for layer in layers], size=8)
        panel.set_axisbelow(True)
    axes[-1].set_xlabel("layer")
    figure.legend(frameon=False, loc="outside upper center", ncols=2)
    return save_figure(figure, path)


def page(results: Results, config: RunConfig, root: Path, folds: str | None) -> str:
    """README.md of a sweep; see `write_all`."""
    experiment, choice = results.run["experiment"], results.run["experiment"]["choice"]
    split = results.metrics[0]["split"]
    held_out = f"folds: {experiment['folds']}" if experiment["folds"] else f"numbers are of split `{split}`"
    caption = (
        f"{metric_title(choice['metric'])} of each layer with its 95 % interval"
        + ("; below, the share of each layer in a learned sum" if experiment["shares"] is not None else "")
        + (" (mean over the folds, from the least to the most)" if len(experiment["parts"]) > 1 else "")
    )
    parts = [
        f"# {results.model['name']}: layer sweep",
        f"Encoder: `{results.model['backbone']}`, layers {_listed(experiment['layers'])} of {experiment['depth']}; "
        f"data: {results.data['name']}; target: `{results.data['target']}`; {held_out}. "
        f"{count(results.metrics[0]['n'], 'utterance')} are tested, each by probes that have not learnt from it.",
        " ".join(
            [
                f"**{_verdict(experiment)}**: {_how_chosen(experiment)}.",
                *([f"**{beside}**"] if (beside := _beside_guessing(results)) else []),
                f"`{BEST}/{CONFIG_NAME}` has the fields of a run with it.",
                _how_frozen(config),
            ]
        ).rstrip(),
        _commands(root, folds),
        _table(results, UTTERANCE),
        _table(results, RECORDING),
        " ".join(_how_it_was_computed(results)),
        f"![{caption}]({PICTURE})\n\n{caption}.",
        _by_group(results),
        provenance_section(asdict(results)),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _commands(root: Path, folds: str | None) -> str:
    """What measures and trains a run with the best layer."""
    best = shlex.quote(str(root / BEST / CONFIG_NAME))
    lines = [f"hf-speech train {best} --output-dir my-model"]
    if folds is not None:
        measured = f"hf-speech crossval {best} --folds {shlex.quote(folds)} --output-dir my-folds"
        lines = ["# tests a run with it, by the folds of the sweep", measured, "# trains one model, for use", *lines]
    return "\n".join(["From the folder in which the sweep was run:\n", "```bash", *lines, "```"])


def _listed(layers: Sequence[int]) -> str:
    is_run = list(layers) == list(range(layers[0], layers[-1] + 1)) and len(layers) > 1
    return f"{layers[0]} to {layers[-1]}" if is_run else ", ".join(map(str, layers))


def _table(results: Results, level: str) -> str:
    """Layer by layer, what it was chosen by and what was measured on all items of a level; "" where there are none."""
    experiment, choice = results.run["experiment"], results.run["experiment"]["choice"]
    of_level = [one for one in results.metrics if one["level"] == level and one["group"] == "all"]
    if not of_level:
        return ""
    names = [name for name in (choice["metric"], _SECOND.get(choice["metric"])) if name is not None]
    rows = []
    for probe, layer in dict.fromkeys((one["probe"], one["layer"]) for one in of_level):
        of_layer = {one["name"]: one for one in of_level if (one["probe"], one["layer"]) == (probe, layer)}
        is_chosen_from = probe == choice["probe"] and layer in experiment["layers"]
        is_best = (probe, layer) == (choice["probe"], choice["layer"])
        cells = [_NAMES.get(layer, layer), probe, f"{_score(experiment, layer):.3f}" if is_chosen_from else ""]
        cells += [text for name in names for text in (value_of(of_layer[name]), interval_of(of_layer[name]))]
        rows.append([f"**{cell}**" if is_best and cell != "" else cell for cell in cells])
    guesses = [_guess(experiment, level, name) for name in names]
    if any(guess is not None for guess in guesses):
        any_layer = {one["name"]: one for one in of_level}
        told = [
            "" if one is None else value_of({**any_layer[name], "value": one})
            for name, one in zip(names, guesses, strict=True)
        ]
        rows.append(["guessing", "", "", *(text for cell in told for text in (cell, ""))])
    header = ["Layer", "Probe", f"Chosen by ({choice['by']})"]
    header += [text for name in names for text in (metric_title(name), "95 % interval")]
    table = markdown_table(header, rows)
    if level == UTTERANCE:
        return table
    return f"By recording ({of_level[0]['n']}; the median of what was said of its segments):\n\n{table}"


def _how_it_was_computed(results: Results) -> Iterator[str]:
    """The sentences below the tables."""
    experiment = results.run["experiment"]
    if experiment["folds"]:
        yield "A number is that of all tested utterances together, whichever fold they are of."
    if "linear" in results.run["recipe"]["probes"]:
        kind = "ridge" if results.model["problem_type"] == "regression" else "logistic"
        yield f"Linear probe: {kind} regression on the {results.model['pooling']} of a layer's frames, standardised by"
        yield "the training rows; how strongly it is held back was chosen like the layer."
    if experiment["chosen"] is not None:
        yield f"“{_NAMES['chosen'].capitalize()}”: the layer that the training rows of a fold choose, which may be"
        yield "another one in each; so it is what choosing and training give on speech that had no part in either."
        yield "The number of the best layer flatters it a little: in other folds, what it is tested on chose."
    if experiment["shares"] is not None:
        yield "“Learned sum”: a linear probe on the layers' means, summed with weights that are learned with it; their"
        yield "shares are of layers on one scale, near equal ones where the data do not say otherwise."
    if experiment["guessing"][UTTERANCE].get(experiment["choice"]["metric"]) is not None:
        yield "“Guessing” hears nothing: " + (
            "it names the median of the training rows, and their mean for the squared error."
            if results.model["problem_type"] == "regression"
            else "UAR is 1 over the number of classes, accuracy that of the class most frequent in training."
        )
    if results.model["problem_type"] == "regression" and all(one["level"] == UTTERANCE for one in results.metrics):
        yield "The data have no `recording_id` in every row, so nothing is told recording by recording."
    if not experiment["is_tested"]:
        yield "There are no test rows: the numbers are of the rows that chose the layer, and flatter it."
    if results.metrics[0]["interval_unit"] == "speaker":
        yield "Intervals: a bootstrap over speakers, and utterances of each."
    else:
        yield f"Intervals: a bootstrap over utterances alone, as fewer than {MIN_SPEAKERS} speakers are known: **they"
        yield "do not cover the variation between speakers.**"


def _by_group(results: Results) -> str:
    """The best layer's numbers by gender; "" where that is not known."""
    choice = results.run["experiment"]["choice"]
    found = [one for one in results.metrics if (one["probe"], one["layer"]) == (choice["probe"], choice["layer"])]
    found = [one for one in found if one["name"] in (choice["metric"], _SECOND.get(choice["metric"]))]
    if {one["group"] for one in found} == {"all"}:
        return ""
    rows = [(one["level"], one["group"], metric_title(one["name"]), value_of(one), interval_of(one), one["n"])
            for one in found]  # fmt: skip
    header = ("Level", "Group", "Number", "Value", "95 % interval", "Items")
    return f"## Layer {choice['layer']} by gender\n\n{markdown_table(header, rows)}"


def told(results: Results, root: Path) -> str:
    """A few lines for the terminal."""
    experiment, choice = results.run["experiment"], results.run["experiment"]["choice"]
    verdict = _verdict(experiment)
    lines = [f"{root}: {verdict[0].lower()}{verdict[1:]}: {_how_chosen(experiment)}"]
    lines += filter(None, [_beside_guessing(results)])
    shown = [one for one in results.metrics if one["group"] == "all" and one["name"] == choice["metric"]]
    for one in shown:
        value = "not defined" if one["value"] is None else f"{one['value']:.3f}  {one['low']:.3f} to {one['high']:.3f}"
        layer = _NAMES.get(one["layer"], f"layer {one['layer']}")
        lines.append(f"  {one['probe']:12}{layer:16}{one['level']:10} {one['name']} {value}")
    for level in dict.fromkeys(one["level"] for one in shown):
        guess = _guess(experiment, level, choice["metric"])
        if guess is not None:
            lines.append(f"  {'':12}{'guessing':16}{level:10} {choice['metric']} {guess:.3f}")
    return "\n".join(lines)
