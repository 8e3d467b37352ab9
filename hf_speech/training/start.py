"""Runs that go on from a finished model of ours: all that makes an embedding is taken from it, and classes by label."""

from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoConfig
from transformers.utils import SAFE_WEIGHTS_NAME, cached_file

from ..errors import InputError, list_some
from ..models.configuration import HfSpeechConfig
from ..models.modeling import HfSpeechForSequenceClassification


def is_finished(name: str) -> bool:
    """Whether a checkpoint is a finished model of ours, and not an encoder of transformers."""
    return AutoConfig.from_pretrained(name).model_type == HfSpeechConfig.model_type


def take_weights(model: HfSpeechForSequenceClassification, name: str) -> None:
    """Puts the weights of a finished model into another one, which is as yet untrained.

    The encoder, its neck, pooling and projection must be those of the finished model. A head takes what is as large
    there as here; of what has a row (or several in a row) for each class it takes the rows of the labels that both
    have, as where speakers were learnt at several speeds and go on at one. What is left is as it was drawn.

    Args:
        model: it is changed.
        name: the finished model's folder, or its name on the Hub.

    Raises:
        InputError: no weights there, or a part of the embedding that is not made as there.
    """
    config = HfSpeechConfig.from_pretrained(name)
    there = load_file(str(cached_file(name, SAFE_WEIGHTS_NAME)))
    here = model.state_dict()
    embedding = {key: value for key, value in here.items() if not key.startswith("heads.")}
    unlike = [key for key, value in embedding.items() if _shape(there.get(key)) != value.shape]
    if unlike:
        raise InputError(
            f"backbone {name}: its embedding is not made as here: {list_some(unlike, 3)} is not there, or of another "
            "shape; give the fields layer, neck, pooling and projection that it was trained with"
        )
    labels = {task.name: list(task.labels) for task in config.task_list()}
    for i, task in enumerate(model.tasks):
        head = f"heads.{i}."
        for key in [key for key in here if key.startswith(head)]:
            here[key] = _rows_by_label(here[key], there.get(key), list(task.labels), labels.get(task.name, []))
    model.load_state_dict({**here, **{key: there[key] for key in embedding}})


def _shape(value: Tensor | None) -> Any:
    return None if value is None else value.shape


def _rows_by_label(here: Tensor, there: Tensor | None, labels: list[str], known: list[str]) -> Tensor:
    """What a head's tensor starts from: the other one, or its rows of the labels that both have."""
    if there is None or here.dim() != there.dim() or here.shape[1:] != there.shape[1:]:
        return here
    if not (labels and known and len(here) % len(labels) == 0 == len(there) % len(known)) or labels == known:
        return there if there.shape == here.shape else here
    each = len(here) // len(labels)
    if each != len(there) // len(known):
        return there if there.shape == here.shape else here
    rows, places = here.clone().unflatten(0, (len(labels), each)), {label: i for i, label in enumerate(known)}
    both = [(i, places[label]) for i, label in enumerate(labels) if label in places]
    if both:
        ours, theirs = (torch.tensor(side) for side in zip(*both, strict=True))
        rows[ours] = there.unflatten(0, (len(known), each))[theirs]
    return rows.flatten(0, 1)
