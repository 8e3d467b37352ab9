"""How the learning rate of a run will go, as a picture, before anything is trained."""

import math
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..plots import plot_schedule
from .config import RunConfig
from .hf_arguments import TRAINING_DEFAULTS, training_arguments
from .learning import learning_of
from .setup import make_sampler, read_and_build

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
    starts = learning.freezing.phases(total)
    ends = [first for first, _ in starts[1:]] + [total]
    phases = [(first, last, name) for (first, name), last in zip(starts, ends, strict=True) if name]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / NAME
    plot_schedule(steps, [learning.schedule.rate(step, total, peak) for step in steps], path, phases)
    return path


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
