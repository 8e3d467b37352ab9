"""What every model that learns of speech without labels is: an encoder, what it learns from, and what comes of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig

from ..models.encoder import Encoder


@dataclass
class PretrainingOutput:
    """What comes of a batch with M hidden frames.

    Attributes:
        loss: scalar, the sum that is learnt from.
        parts: what stands in the log beside it, scalars by name.
        told: name -> (M,) bool, which hidden frames were told right.
    """

    loss: Tensor
    parts: dict[str, Tensor]
    told: dict[str, Tensor]

    @property
    def frames(self) -> int:
        """M."""
        return len(next(iter(self.told.values())))

    def numbers(self) -> dict[str, Tensor]:
        """All of it as scalars by name: the loss, its parts, and the shares of frames that were told right."""
        shares = {name: right.float().mean() for name, right in self.told.items()}
        return {"loss": self.loss.detach(), **{name: part.detach() for name, part in self.parts.items()}, **shares}


class PretrainingModel(nn.Module):
    """Base of the models that `hf-speech pretrain` trains.

    Attributes:
        encoder: what is adapted.
        config: what `save` writes.
        part_names: of the parts of its loss.
        told_names: of what hidden frames are told right by.
        architecture: the class of transformers whose checkpoint `save` writes.
        negatives: distractors of each hidden frame that a batch has to have.
        optimizer_step: how many steps the optimiser has made; set from outside.
    """

    encoder: Encoder
    config: PretrainedConfig
    part_names: tuple[str, ...]
    told_names: tuple[str, ...] = ("accuracy",)
    architecture: str
    negatives: int = 0
    optimizer_step: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        """Of the numbers of an output, beside the loss."""
        return (*self.part_names, *self.told_names)

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return next(self.parameters()).device

    def activation_checkpointing_enable(self, *settings: Any, **named: Any) -> None:
        """For the Trainer: the encoder's layers are run again in the backward pass, and keep nothing till then."""
        backbone: Any = self.encoder.backbone
        backbone.activation_checkpointing_enable(*settings, **named)

    def collapse(self, numbers: Mapping[str, float]) -> str | None:
        """What has collapsed, in words, and the mend; None: nothing.

        Args:
            numbers: means since the last line of the log, by name.
        """
        return None

    def save(self, folder: Path) -> None:
        """Writes a checkpoint from which every encoder of ours starts."""
        raise NotImplementedError
