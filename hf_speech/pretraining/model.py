"""What every model that `hf-speech pretrain` trains is: an encoder, what it learns from, and what comes of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModel, PretrainedConfig

from ..errors import InputError
from ..models.configuration import SSL_BACKBONES, HfSpeechConfig
from ..models.encoder import Encoder, naming
from ..models.modeling import HfSpeechModel
from ..training.start import is_finished

_TIME_MASKS = 0.05  # transformers' share of masked frames in fine-tuning, where a config has none


@dataclass
class Correct:
    """Of M things that a model was asked, such as hidden frames: the utterance of each, and which were told right.

    Attributes:
        rows: (M,) number of the utterance in its batch.
        right: (M,) bool.
    """

    rows: Tensor
    right: Tensor


@dataclass
class PretrainingOutput:
    """What comes of a batch.

    Attributes:
        loss: scalar, the sum that is learnt from.
        parts: what stands in the log beside it, scalars by name.
        correct: what was predicted right, by name.
        weight: of how many frames, or utterances, the loss is the mean.
        use: (G, V), how often each code of G codebooks was chosen, summed over frames; None: there are none.
    """

    loss: Tensor
    parts: dict[str, Tensor]
    correct: dict[str, Correct]
    weight: int
    use: Tensor | None = None


class PretrainingModel(nn.Module):
    """Base of the models that `hf-speech pretrain` trains.

    Attributes:
        encoder: what is adapted.
        config: of the encoder, as `save` writes it.
        part_names: of the parts of its loss.
        accuracy_names: of what it tells right or not.
        chance: name of what is told -> share that guessing would tell right, where that is known beforehand.
        architecture: the class whose checkpoint `save` writes.
        negatives: distractors of each hidden frame that a batch has to have.
        optimizer_step: how many steps the optimiser has made; set from outside.
    """

    encoder: Encoder
    config: PretrainedConfig
    part_names: tuple[str, ...]
    accuracy_names: tuple[str, ...] = ("accuracy",)
    chance: Mapping[str, float] = {}
    architecture: str
    negatives: int = 0
    optimizer_step: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        """Of the numbers of an output, beside the loss."""
        return (*self.part_names, *self.accuracy_names)

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return next(self.parameters()).device

    def activation_checkpointing_enable(self, *settings: Any, **named: Any) -> None:
        """For the Trainer: the encoder's layers are run again in the backward pass, and keep nothing till then."""
        backbone: Any = self.encoder.backbone
        backbone.activation_checkpointing_enable(*settings, **named)

    def no_use(self) -> Tensor | None:
        """Zeros to which `PretrainingOutput.use` of batches can be added; None: there are no codes."""
        return None

    def over_batches(self, numbers: Mapping[str, float], use: Tensor) -> dict[str, float]:
        """The loss and its parts over several batches, where some part is no mean of theirs.

        Args:
            numbers: means over the batches.
            use: see `PretrainingOutput`, summed over them.
        """
        return dict(numbers)

    def collapse(self, numbers: Mapping[str, float]) -> str | None:
        """What has collapsed, in words, and the mend; None: nothing.

        Args:
            numbers: means since the last line of the log, by name.
        """
        return None

    def facts(self) -> dict[str, Any]:
        """What else results.json says of it."""
        return {}

    def save(self, folder: Path) -> None:
        """Writes a checkpoint from which every encoder of ours starts: of transformers, or of wav2vec 1.0 ours."""
        save_encoder(self.encoder, self.config, folder)


def save_encoder(encoder: Encoder, config: PretrainedConfig, folder: Path) -> None:
    """Writes the checkpoint of an encoder alone.

    Args:
        encoder: with all layers of its configuration.
        config: its configuration.
        folder: where to write.
    """
    if config.model_type not in SSL_BACKBONES:
        speech = HfSpeechModel(HfSpeechConfig(backbone_config=config, pooling="mean", num_labels=1))
        speech.frame_encoder.load_state_dict(encoder.state_dict())
        speech.save_pretrained(folder)
        return
    stock = AutoModel.from_config(config)
    take(stock, encoder.backbone.state_dict())
    stock.save_pretrained(folder)


def take(stock: Any, weights: Mapping[str, Tensor]) -> None:
    """Puts the weights of ours into a model of transformers.

    Raises:
        AssertionError: they are not all there, or there are others.
    """
    missing, unexpected = stock.load_state_dict(weights, strict=False)
    # The conformer's positional convolution is made by transformers and never called; without masks there is no
    # embedding of what is hidden.
    made = ("pos_conv_embed", "masked_spec_embed")
    if unexpected or any(not any(part in name for part in made) for name in missing):
        raise AssertionError(f"not the weights of {type(stock).__name__}: {missing}, {unexpected}")


def make_encoder(
    config: PretrainedConfig, backbone: str | None, layerdrop: float = 0.0, attention: str | None = None
) -> Encoder:
    """An encoder with all its layers, from a checkpoint or from scratch.

    Args:
        config: of the encoder.
        backbone: folder or Hub name of a checkpoint of it, or of a finished model of ours on it; None: from scratch.
        layerdrop: probability that a layer is skipped in training.
        attention: kind of attention; None: the fastest there is.

    Raises:
        InputError: the checkpoint can't be loaded, or lacks weights of the encoder.
    """
    speech: Any = HfSpeechModel.from_backbone(
        config, pooling="mean", layerdrop=layerdrop, attn_implementation=attention
    )
    encoder: Encoder = speech.frame_encoder
    if backbone is None:
        return encoder
    if not is_finished(backbone):
        speech.frame_encoder.load_pretrained(backbone)
        return encoder
    with naming(backbone):
        found, report = HfSpeechModel.from_pretrained(backbone, config=speech.config, output_loading_info=True)
    # What lowers the frame rate of wav2vec 1.0 starts at random where the model was without it.
    fresh = ("masked_spec_embed", "backbone.reduction.weight", "backbone.reduction.bias")
    absent = sorted(key for key in report["missing_keys"] if not key.endswith(fresh))
    if absent:
        raise InputError(
            f"{backbone}: lacks {len(absent)} weights of the encoder, such as {absent[0]}; it may have been built with "
            "fewer layers: give the encoder that it started from"
        )
    return found.frame_encoder


def with_masks(config: PretrainedConfig) -> PretrainedConfig:
    """A copy by which transformers makes an embedding for hidden frames, and fine-tuning hides as many as published.

    Where masks are off, it makes none.
    """
    values = config.to_dict()
    made = type(config).from_dict(
        {**values, "apply_spec_augment": True, "mask_time_prob": values["mask_time_prob"] or _TIME_MASKS}
    )
    made._attn_implementation = config._attn_implementation
    return made
