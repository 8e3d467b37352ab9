"""What results.json says of a model, ours or any other."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .hub.words import is_hub_id
from .inference import speeds_of, tasks_of
from .models.modeling import HfSpeechForSequenceClassification


def model_facts(
    model: Any, *, name: str, backbone: str | None, licence: str | None, lora: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The `model` section, for a model of ours or any other audio classifier.

    Args:
        model: the model, with its labels by its own names: not, or not yet, `relabel`led.
        name: what it is called.
        backbone: Hub name of the encoder it started from; None: as the model knows it, or from scratch.
        licence: of the weights.
        lora: settings of the low-rank updates that were trained and merged in; None: none were.
    """
    config = model.config
    own = getattr(config, "backbone_config", None)
    origin = backbone or getattr(own, "_name_or_path", None) or ""
    if not is_hub_id(origin) or Path(origin).exists():
        origin = Path(origin).name
    made = f"{own.model_type}, from scratch" if own is not None else config.model_type
    return {
        "name": name,
        "task": "audio-classification",
        "problem_type": config.problem_type or "single_label_classification",
        "labels": list(tasks_of(model)[0].labels),
        "backbone": origin or made,
        "parameters": model.num_parameters(),
        "layer": getattr(config, "layer", None),
        "pooling": getattr(config, "pooling", None),
        "head": getattr(config, "head", None),
        "loss": getattr(config, "loss", None),
        "sample_rate": getattr(config, "sampling_rate", 16_000),
        "architecture": type(model).__name__,
        "license": licence,
        **_parts(model),
        **({"adapter": {"kind": "lora", **lora}} if lora else {}),
    }


def _parts(model: Any) -> dict[str, Any]:
    """What a model of ours is made of, part by part; of somebody else's, nothing."""
    if not isinstance(model, HfSpeechForSequenceClassification):
        return {}
    config = model.config
    own = config.backbone_config
    parts = {"backbone": {"name": own.model_type, "options": dict(getattr(own, "network_config", None) or {})}}
    if hasattr(own, "frontend"):
        parts["front end"] = {"name": own.frontend, "options": dict(own.frontend_config or {})}
    for what in ("neck", "pooling", "projection"):
        parts[what] = {"name": getattr(config, what), "options": dict(getattr(config, f"{what}_config") or {})}
    tasks = [
        {
            "name": task.name,
            "problem_type": task.problem_type,
            "labels": list(seen.labels),
            **({"speeds": speeds_of(task)} if speeds_of(task) > 1 else {}),
            "ordered": task.is_ordered,
            "head": task.head,
            "head_config": dict(task.head_config),
            "loss": task.loss,
            "loss_config": dict(task.loss_config),
            "weight": task.weight,
            "unit": task.unit or "",
        }
        for task, seen in zip(model.tasks, tasks_of(model), strict=True)
    ]
    return {"parts": parts, "tasks": tasks, **_layer_weights(model)}


def _layer_weights(model: HfSpeechForSequenceClassification) -> dict[str, Any]:
    """The shares that the encoder's input and its layers have in what is pooled, where they are learned."""
    mix = getattr(model.encoder, "layer_mix", None)
    return {} if mix is None else {"layer_weights": mix.layer_weights.detach().float().softmax(-1).tolist()}
