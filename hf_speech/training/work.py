"""What a run trains, and what becomes of it: the parts that differ between a classifier and a pretrained encoder."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..results import Results, run_facts
from .config import RunConfig
from .facts import public_arguments, selection
from .rows import RunRows
from .trainer import SpeechTrainer

DEFAULT_SEED = 42  # transformers' own


@dataclass(frozen=True)
class Run:
    """A run: what it was told, and the parts that were made for it.

    Attributes:
        config: its fields.
        folder: where its model is to stand.
        rows: what it learns from and is measured on.
        model: what is trained; with `lora`, in peft's wrapper.
        extractor: the model's feature extractor.
        trainer: that trains it.
        times: once it has trained, `started` (as `time.monotonic` has it), `train_seconds`, and `from_step`, at which
            this process began.
    """

    config: RunConfig
    folder: Path
    rows: RunRows
    model: Any
    extractor: Any
    trainer: SpeechTrainer
    times: Mapping[str, float] = field(default_factory=dict)

    @property
    def seed(self) -> int:
        """Of all that is random."""
        return int(self.config.training.get("seed", DEFAULT_SEED))

    @property
    def name(self) -> str:
        """What the model is called."""
        return self.config.run.name or self.folder.absolute().name

    def facts(self, recipe: Mapping[str, Any]) -> dict[str, Any]:
        """The `run` section of results.json, once it has trained.

        Args:
            recipe: what a reader wants to know of the training.
        """
        state = self.trainer.state
        facts = run_facts(
            self.seed,
            device=str(self.model.device),
            wall_seconds=round(time.monotonic() - self.times["started"], 1),
            steps=state.global_step,
            epochs=round(float(state.epoch or 0), 2),
            arguments=public_arguments(self.config),
            recipe=dict(recipe),
        )
        return facts | {"train_seconds": round(self.times["train_seconds"], 1), "selection": selection(self.trainer)}


@dataclass(frozen=True)
class Work:
    """A kind of run.

    Attributes:
        make: fields, folder -> the parts of the run, as yet untrained.
        write: a trained run, an empty folder -> what it measured; the model, its feature extractor and its pictures are
            in the folder then.
        config_name: of the file of its fields.
    """

    make: Callable[[RunConfig, Path], Run]
    write: Callable[[Run, Path], Results]
    config_name: str
