"""Pictures of a finished run: its curves, and of what was measured its embeddings, its trials, its learned layers."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..plots import FILE_NAMES, plot_curves, plot_layers
from ..results import Results
from ..trial_plots import plot_det, plot_map
from ..verification.maps import project
from .tasks import metric_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .evaluation import Evaluation

logger = logging.getLogger(__name__)

FEWEST = 30  # utterances of a map: of fewer no groups can be seen
_RANGES = 4  # of a number that is predicted, equally many utterances each


def draw_curves(history: Sequence[Mapping[str, Any]], results: Results, path: Path) -> "Figure":
    """What the log says of losses and metrics, beside what guessing would reach, and how many codes there are.

    Args:
        history: see `plots.plot_curves`.
        results: of the run.
        path: of the picture.
    """
    levels = [(name, share, "guessing") for name, share in (results.model.get("chance") or {}).items()]
    learnt = results.run.get("pretraining") or {}
    if "codes" in learnt:
        levels.append(("perplexity", learnt["codes"], "all codes alike often"))
    return plot_curves(history, path, levels)


def draw_map(evaluation: "Evaluation", path: Path) -> None:
    """The embeddings of what was measured, in the colours of the first task's labels; nothing of too few utterances.

    Args:
        evaluation: of a split.
        path: of the picture.
    """
    if evaluation.embeddings is None or len(evaluation.embeddings) < FEWEST:
        return
    names, noun = _names(evaluation)
    labelled = [i for i, name in enumerate(names) if name]
    if len(labelled) < FEWEST:
        return
    speakers = [evaluation.predictions[i]["speaker_id"] for i in labelled]
    try:
        found = project(evaluation.embeddings[labelled], speakers if all(speakers) else None)
    except InputError as error:  # the numbers are worth more than the picture
        logger.warning("no map of embeddings: %s", error)
        return
    plot_map(found.points, [names[labelled[i]] for i in found.chosen], path, found.method, noun=noun)


def _names(evaluation: "Evaluation") -> tuple[list[str], str]:
    """What each utterance is called in a map, "" where that is not known, and what these names are."""
    task = evaluation.tasks[0]
    labels = [row[metric_name(evaluation.tasks, task, "label")] for row in evaluation.predictions]
    if task.problem_type != "regression":
        return labels, "labels" if task.name != "speaker_id" else "speakers"
    known = [value for value in labels if value != ""]
    edges = np.unique(np.quantile(known, np.linspace(0, 1, _RANGES + 1))) if known else np.zeros(2)
    ends = edges if len(edges) > 1 else np.repeat(edges, 2)
    unit = f" {task.unit}" if task.unit else ""
    told = [f"{low:g} to {high:g}{unit}" for low, high in zip(ends[:-1], ends[1:], strict=True)]
    place = {value: int(np.searchsorted(ends[1:-1], value, side="right")) for value in set(known)}
    return [told[place[value]] if value != "" else "" for value in labels], "ranges"


def draw_run(evaluations: Mapping[str, "Evaluation"], dataset: str, model: Mapping[str, Any], folder: Path) -> None:
    """The trials of a run as a DET curve, and what share each layer has in a learned sum, where there are such.

    Args:
        evaluations: by split.
        dataset: name of the data.
        model: section of results.json.
        folder: of the pictures.
    """
    curves = {f"{dataset}, {split}": one.curve for split, one in evaluations.items() if one.curve is not None}
    if curves:
        plot_det(curves, folder / FILE_NAMES["det"])
    if "layer_weights" in model:
        plot_layers(model["layer_weights"], folder / FILE_NAMES["layers"])
