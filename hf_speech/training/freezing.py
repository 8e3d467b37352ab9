"""What is trained at which optimiser step, and at which rate.

An encoder stands on rungs (`models.encoder.Encoder.rungs`), and frozen are always the lowest so many. So the state of a
run is one number, which follows from the step alone: a resumed run has it again.
"""

import logging
import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from transformers import TrainerCallback

from ..errors import InputError, lookup
from ..inference import own_model
from ..models.encoder import FREEZES, Encoder, layer_name
from ..models.registry import is_number
from .schedule import steps_of

logger = logging.getLogger(__name__)

_WHOLE = "backbone frozen"


@dataclass(frozen=True)
class Freezing:
    """What is not trained: some lower parts of the encoder for good, and the whole of it for a while at first.

    Lengths below 1 are shares of the run, from 1 on they are optimiser steps. A phase starts with the first whole step
    that is not before its time.

    Args:
        kind: what is frozen for good: "none", "cnn", "cnn+projection" or "backbone".
        layers: so many transformer layers, and all that lies below them, are frozen for good.
        steps: the whole encoder is frozen for so long at first, until the new head is of some use (a quarter of the
            run in Vaessen & van Leeuwen, Interspeech 2022, 2203.14688).
        unfreeze_every: after that, one more layer is trained every so often, from the top; what lies below the layers
            comes last, in one. Howard & Ruder, "ULMFiT", ACL 2018, section 3.3 (a layer an epoch). None: all at once.

    Raises:
        InputError: another kind, or a number that can't be.
    """

    kind: str = "none"
    layers: int = 0
    steps: float = 0
    unfreeze_every: float | None = None

    def __post_init__(self) -> None:
        lookup(FREEZES, self.kind, "value of freeze")
        if not isinstance(self.layers, int) or self.layers < 0:
            raise InputError(f"freeze_layers is {self.layers!r}; give a whole number of 0 or more")
        if not is_number(self.steps) or self.steps < 0:
            raise InputError(f"freeze_steps is {self.steps!r}; give optimiser steps, or a share of the run below 1")
        every = self.unfreeze_every
        if every is not None and (not is_number(every) or every <= 0):
            raise InputError(f"unfreeze_every is {every!r}; give optimiser steps, or a share of the run below 1")
        if self.kind == "backbone" and (self.steps or every):
            raise InputError("freeze backbone is for good: leave out freeze_steps and unfreeze_every, or freeze")

    @property
    def changes(self) -> bool:
        """Whether what is frozen changes within a run; DDP then has to look for parameters without a gradient."""
        return bool(self.steps) or self.unfreeze_every is not None

    def check(self, total: int, model: Any = None) -> None:
        """Refuses what does not fit into a run.

        Args:
            total: optimiser steps of the run.
            model: the model, wrapped or not; None: not known, and only `steps` are looked at.

        Raises:
            InputError: the backbone, or some layer, would never be trained; or the model has no such parts.
        """
        if steps_of(self.steps, total) >= max(total, 1):
            raise InputError(
                f"the backbone is frozen for {self.steps:g} steps of a run of {total}: nothing of it would ever train; "
                "give fewer freeze_steps, or a share of the run below 1 (freeze: backbone is for good)"
            )
        if model is not None:
            self._timeline(own_model(model).encoder, total)

    def phases(self, total: int, model: Any = None) -> list[tuple[int, str]]:
        """The phases of a run in order: first step of each, and what is frozen in it ("" is nothing).

        Args:
            total: optimiser steps of the run.
            model: the model, wrapped or not; it is not changed, and may be without numbers. None: not known, and
                layers that are unfrozen one by one are one phase.

        Raises:
            InputError: see `check`.
        """
        self.check(total, model)
        if model is not None:
            encoder = own_model(model).encoder
            names = [rung.name for rung in encoder.rungs()]
            return [(first, _describe(level, names)) for first, level in self._timeline(encoder, total)]
        at_last = {"none": "", "cnn": "frozen up to cnn", "cnn+projection": "frozen up to projection"}
        description = f"frozen up to {layer_name(self.layers)}" if self.layers else at_last.get(self.kind, _WHOLE)
        if self.unfreeze_every is not None:
            description = "unfreezing layer by layer"
        first = self._first_step(steps_of(self.steps, total), total)
        return [*([(0, _WHOLE)] if first else []), (first, description)]

    def _timeline(self, encoder: Encoder, total: int) -> list[tuple[int, int]]:
        """First step of each phase, and how many of the encoder's lowest rungs are frozen in it."""
        start, every = steps_of(self.steps, total), steps_of(self.unfreeze_every or 0, total)
        levels = self._levels(encoder)
        latest = start + every * (len(levels) - 1)
        if latest >= max(total, 1) and len(levels) > 1:
            opened = sum(start + every * i < max(total, 1) for i in range(len(levels) - (self.layers == 0)))
            raise InputError(
                f"unfreeze_every {self.unfreeze_every:g}: what is unfrozen last would be so after {latest:g} steps of "
                f"a run of {total}, with {opened} of {encoder.depth} layers trained by its end; give a smaller "
                "one, fewer freeze_steps, or more freeze_layers"
            )
        frozen_at = {0: len(encoder.rungs())} if start else {}
        frozen_at |= {self._first_step(start + every * i, total): level for i, level in enumerate(levels)}
        return list(frozen_at.items())

    @staticmethod
    def _first_step(time: float, total: int) -> int:
        # Float noise must not cost a step, and a share of a short run leaves one to train in.
        return min(math.ceil(round(time, 6)), max(total - 1, 0))

    def _levels(self, encoder: Encoder) -> list[int]:
        """How many rungs are frozen one after the other, once the first steps are done; last, for good."""
        last = encoder.rungs_of(self.kind, self.layers)
        if self.unfreeze_every is None:
            return [last]
        if not encoder.depth:
            network = type(encoder.backbone).__name__
            raise InputError(f"unfreeze_every: this encoder ({network}) has no layers; give freeze_steps alone")
        if self.layers == encoder.depth:
            raise InputError(
                f"freeze_layers {self.layers} leaves no layer that unfreeze_every could unfreeze; give fewer, or leave "
                "unfreeze_every out"
            )
        names = [rung.name for rung in encoder.rungs()]
        below = [names.index(layer_name(layer)) for layer in range(encoder.depth, 0, -1)]
        return [*(level for level in below if level > last), last]

    def apply(self, model: Any, step: int, total: int) -> None:
        """Freezes and thaws what is so at a step; does nothing where it is so already.

        Args:
            model: the model, wrapped or not.
            step: optimiser steps done so far.
            total: of the whole run.

        Raises:
            InputError: see `check`.
        """
        encoder = own_model(model).encoder
        level = [level for first, level in self._timeline(encoder, total) if first <= step][-1]
        if encoder.frozen_rungs != level:
            encoder.freeze(level)

    def openings(self, total: int, model: Any) -> list[tuple[int, str]]:
        """First step at which each layer is trained that is unfrozen one by one, and its name; "the rest" lies below.

        Raises:
            InputError: see `check`.
        """
        if self.unfreeze_every is None:
            return []
        encoder = own_model(model).encoder
        names = [rung.name for rung in encoder.rungs()]
        first_layer = names.index(layer_name(1))
        timeline = [(step, level) for step, level in self._timeline(encoder, total) if level < len(names)]
        return [(step, names[level] if level >= first_layer else "the rest") for step, level in timeline]

    @property
    def never_trained(self) -> str:
        """What is frozen for good, in words; nothing: ""."""
        below = {"none": "", "cnn": "cnn", "cnn+projection": "cnn and projection", "backbone": "backbone"}[self.kind]
        return f"all up to {layer_name(self.layers)}" if self.layers and self.kind != "backbone" else below

    def told_of_held_layers(self, model: Any) -> str:
        """A sentence, where layers are unfrozen one by one and `layers` keeps some of them back; else nothing."""
        depth = own_model(model).encoder.depth
        if self.unfreeze_every is None or not self.layers:
            return ""
        return (
            f"only {depth - self.layers} of {depth} layers will be trained by the end: freeze_layers {self.layers} "
            "keeps the others back from unfreeze_every"
        )

    def thaw(self, model: Any) -> None:
        """Freezes only what is so for good: an optimiser, or DDP, is to know all that will ever be trained.

        Raises:
            InputError: the model has no such parts.
        """
        encoder = own_model(model).encoder
        encoder.freeze(encoder.rungs_of(self.kind, self.layers))


def _describe(level: int, names: list[str]) -> str:
    if level == len(names):
        return _WHOLE
    return f"frozen up to {names[level - 1]}" if level else ""


class FreezingSteps(TrainerCallback):
    """Keeps a model's frozen parts in step with the optimiser; also in a resumed run, since nothing is counted."""

    def __init__(self, freezing: Freezing) -> None:
        self.freezing = freezing

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Called by the Trainer when all is ready; refuses what does not fit into the run."""
        self.freezing.check(state.max_steps, model)
        held = self.freezing.told_of_held_layers(model)
        if held and state.is_world_process_zero:
            logger.warning(held)
        self.freezing.apply(model, state.global_step, state.max_steps)

    def on_step_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Called by the Trainer before a step."""
        self.freezing.apply(model, state.global_step, state.max_steps)


def layer_scales(model: Any, decay: float) -> dict[str, float]:
    """What each parameter's learning rate is multiplied by.

    The rate falls by the factor `decay` from each layer to the one below: Clark et al., "ELECTRA", ICLR 2020; Bao et
    al., "BEiT", ICLR 2022, both in the appendix on fine-tuning, and in their code. The top layer learns at the full
    rate, as do the final norm and all that is new. What lies below the layers (convolutions, feature projection,
    positional convolution) stands together one below layer 1, as the embeddings do there.

    Args:
        model: the model, wrapped by peft or not.
        decay: above 0, and at most 1.

    Returns:
        Name of the parameter in `model` -> scale.

    Raises:
        InputError: another decay, or one below 1 for an encoder without layers.
    """
    if not is_number(decay) or not 0 < decay <= 1:
        raise InputError(f"layer_decay is {decay!r}; give a number above 0 and at most 1")
    encoder = own_model(model).encoder
    if decay < 1 and not encoder.depth:
        network = type(encoder.backbone).__name__
        raise InputError(f"layer_decay is {decay:g}, but this encoder ({network}) has no layers; leave it out")
    names = [rung.name for rung in encoder.rungs()]
    below = names.index(layer_name(1)) - 1 if encoder.depth else 0  # the last rung below the layers
    scales: dict[int, float] = {}
    for i, rung in enumerate(encoder.rungs()):
        height = min(max(i - below, 0), encoder.depth)  # 0 below the layers, then the layer's number
        scales |= {id(p): decay ** (encoder.depth - height) for p in rung.parameters()}
    return {name: scales.get(id(parameter), 1.0) for name, parameter in model.named_parameters()}


def parameter_groups(
    model: Any, learning_rate: float, weight_decay: float, decayed: Collection[str], decay: float
) -> list[dict[str, Any]]:
    """The groups of an optimiser in which each layer has its own learning rate, from the first parameter's group on.

    Args:
        model: the model, wrapped by peft or not; what will ever be trained must have `requires_grad`.
        learning_rate: of what is new.
        weight_decay: of the parameters that have any.
        decayed: names of those, as the Trainer's `get_decay_parameter_names` gives them.
        decay: learning rate of a layer over that of the layer above.

    Raises:
        InputError: see `layer_scales`.
    """
    groups: dict[tuple[float, bool], dict[str, Any]] = {}
    scales, chosen = layer_scales(model, decay), set(decayed)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            empty = {
                "params": [],
                "lr": learning_rate * scales[name],
                "weight_decay": weight_decay if name in chosen else 0.0,
            }
            groups.setdefault((scales[name], name in chosen), empty)["params"].append(parameter)
    return list(groups.values())
