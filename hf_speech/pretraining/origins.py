"""Which labels an encoder has to do with though none are given to it: those of what its clusters, or it, began with."""

import json
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..public import without_places
from ..results import FILE_NAME, Results
from ..training.config import RunConfig
from .clusters import FACTS


def origins(config: RunConfig) -> dict[str, Any]:
    """What the `pretraining` part of results.json says of them.

    Args:
        config: of a run of pretraining.

    Returns:
        clusters: {model, layer, labels}, the encoder and layer that they were fitted on, and the targets with whose
        labels it was trained; backbone_labels: the targets with whose labels the backbone was. What is not there, or
        not known, is left out.
    """
    found: dict[str, Any] = {}
    if config.pretraining.clusters is not None:
        try:
            facts = json.loads((Path(config.pretraining.clusters) / FACTS).read_text(encoding="utf-8"))["codebook"]
            model, layer = str(facts["model"]), int(facts["layer"])
        except (OSError, ValueError, KeyError, TypeError):  # another program may have written the labels
            pass
        else:
            found["clusters"] = {"model": without_places(model), "layer": layer, "labels": targets_behind(model)}
    began = targets_behind(config.model.backbone)
    return found | ({"backbone_labels": began} if began else {})


def targets_behind(model: str | None) -> list[str]:
    """The targets with whose labels a model in a folder was trained, or what it began with, as its results.json tells.

    Args:
        model: folder, or a name on the Hub, of which nothing is known.
    """
    if model is None or not (Path(model) / FILE_NAME).is_file():
        return []
    try:
        results = Results.read(model)
    except InputError:
        return []
    learnt = results.run.get("pretraining") or {}
    own = results.data["target"].split(", ") if results.data["target"] else []
    return sorted({*own, *learnt.get("backbone_labels", ()), *learnt.get("clusters", {}).get("labels", ())})
