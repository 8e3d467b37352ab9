"""How the learning rate of a run will go, as a picture, before anything is trained."""

import logging
import math
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..plots import plot_schedule
from .build import backbone_config, draft_model
from .config import RunConfig
from .freezing import Freezing
from .hf_arguments import TRAINING_DEFAULTS, training_arguments
from .learning import learning_of
from .setup import make_sampler, read_and_build

logger = logging.getLogger(__name__)

NAME = "schedule.png"


def plot_learning(config: RunConfig, folder: Path) -> Path:
    """Draws the learning rate by optimiser step, and what is frozen when, into schedule.png.

    Args:
        config: the run; without `max_steps` its data is read, to count the steps.
        folder: where to write.

    Raises:
        InputError: a schedule or a freezing that does not fit into the run, or no data to count the steps of.
    """
    total = planned_steps(config)
    learning = learning_of(config)
    peak = {**TRAINING_DEFAULTS, **config.training}["learning_rate"]
    learning.check(total, peak)
    steps = np.unique(np.linspace(0, total, min(total, 2_000) + 1).round().astype(int))
    starts, openings = learning.freezing.phases(total), _openings(config, learning.freezing, total)
    ends = [first for first, _ in starts[1:]] + [total]
    phases = [(first, last, name) for (first, name), last in zip(starts, ends, strict=True) if name]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / NAME
    rates = [learning.schedule.rate(step, total, peak) for step in steps]
    plot_schedule(steps, rates, path, phases, openings, learning.freezing.never_trained)
    return path


def _openings(config: RunConfig, freezing: Freezing, total: int) -> list[tuple[int, str]]:
    """When each layer is unfrozen; nothing where none is, or where the encoder can't be asked how many it has."""
    if freezing.unfreeze_every is None:
        return []
    try:
        backbone = backbone_config(config)
    except InputError as error:
        logger.warning("the layers are not drawn: %s", error)
        return []
    return freezing.openings(total, draft_model(config, backbone))


def planned_steps(config: RunConfig) -> int:
    """How many optimiser steps a run makes."""
    values = {**TRAINING_DEFAULTS, **config.training}
    if values.get("max_steps", -1) > 0:
        return int(values["max_steps"])
    if config.data.streaming or config.data.dataset is None:
        raise InputError("the number of steps hangs on the data: give --dataset, or --max-steps")
    rows, model, _ = read_and_build(config)
    arguments = training_arguments(config, validates=False, metric="loss", numbers={"loss"})
    batches = len(make_sampler(config, rows, model, arguments))
    return math.ceil(arguments.num_train_epochs * math.ceil(batches / arguments.gradient_accumulation_steps))
