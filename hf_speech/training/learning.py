"""What is learnt when, and how fast: schedule, freezing and layer-wise rates of a run."""

from dataclasses import dataclass

from .config import RunConfig
from .freezing import Freezing
from .schedules import Schedule, make_schedule


@dataclass(frozen=True)
class Learning:
    """How a run learns.

    Attributes:
        schedule: learning rate by optimiser step.
        freezing: what is trained at which step.
        layer_decay: learning rate of an encoder layer over that of the layer above.
    """

    schedule: Schedule
    freezing: Freezing
    layer_decay: float = 1.0

    def check(self, total: int, peak: float) -> None:
        """Refuses what does not fit into a run of so many optimiser steps.

        Raises:
            InputError: a schedule, or a freezing, that is longer than the run.
        """
        self.schedule.check(total, peak)
        self.freezing.check(total)


def learning_of(config: RunConfig) -> Learning:
    """What the fields of a run say.

    Raises:
        InputError: a name or option that does not exist, or an impossible value.
    """
    fields = config.learning
    return Learning(
        make_schedule(fields.schedule, fields.schedule_config),
        Freezing(fields.freeze, fields.freeze_layers, fields.freeze_steps, fields.unfreeze_every),
        fields.layer_decay,
    )
