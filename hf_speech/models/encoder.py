"""What every encoder is: waveforms -> frames, with a choice of layer, exact under padding."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pickle import UnpicklingError  # what torch raises for a broken .bin, which it reads without unpickling

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import initialization as init

from .masking import length_mask
from .registry import InputError, one_line


@dataclass
class EncoderOutput:
    """What an encoder gives: frames (B, F, D), frame_mask (B, F) bool, and on request all layers and attentions."""

    frames: Tensor
    frame_mask: Tensor
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


class Encoder(nn.Module):
    """Base of the encoders.

    Attributes:
        backbone: what is frozen as a whole.
        output_size: dimensions of a frame.
        min_samples: the shortest usable waveform, in samples.
        hop: samples between the starts of two frames.
        depth: layers that can be frozen one by one.
    """

    backbone: nn.Module
    output_size: int
    min_samples: int
    hop: int
    depth: int = 0

    @property
    def is_frozen(self) -> bool:
        """Whether no parameter of the backbone is trained."""
        return not any(p.requires_grad for p in self.backbone.parameters())

    def train(self, mode: bool = True) -> "Encoder":
        """Sets training mode; a frozen backbone stays in evaluation mode (no dropout, no masks, fixed statistics)."""
        super().train(mode)
        if mode and self.is_frozen:
            self.backbone.eval()
        return self

    def freeze_features(self) -> None:
        """Stops training what makes features of the waveform.

        Raises:
            InputError: nothing there is trained in any case.
        """
        raise InputError(f"this encoder ({type(self.backbone).__name__}) has no feature encoder to freeze")

    def freeze_layers(self, count: int) -> None:
        """Stops training the first `count` layers and all that lies below them.

        Raises:
            InputError: there are fewer layers.
        """
        if not 0 <= count <= self.depth:
            raise InputError(f"can't freeze {count} layers: the encoder has {self.depth}")
        if count:
            for part in self.parts_up_to(count):
                part.requires_grad_(False)

    def parts_up_to(self, count: int) -> list[nn.Module | nn.Parameter]:
        """All that lies below the output of the layer `count`, counted from 1."""
        raise NotImplementedError

    def frame_centre(self, frame: int) -> float:
        """The centre of a frame's receptive field, in samples from the start of the waveform."""
        return self.min_samples / 2 + frame * self.hop

    def lengths_of(self, input_values: Tensor, attention_mask: Tensor | None) -> Tensor | None:
        """Real samples of each waveform, (B,); None where nothing is padded, as far as can be seen without a graph.

        Raises:
            InputError: waveforms that are not (B, T) floats, a mask of another shape, a waveform that is shorter than
                `min_samples` or has padding before its end.
        """
        recording = torch.compiler.is_compiling() or torch.jit.is_tracing()
        if not recording:
            _check_tensors(input_values, attention_mask)
        if attention_mask is None:
            if not recording:
                self._check_length(0, input_values.shape[1])
            return None
        lengths = attention_mask.long().sum(-1)
        if recording:
            return lengths
        shortest = int(lengths.min())
        self._check_length(int(lengths.argmin()), shortest)
        if shortest == input_values.shape[1]:
            return None
        if bool((attention_mask[:, 1:] > attention_mask[:, :-1]).any()):
            raise InputError("attention_mask has a 0 before a 1: waveforms are padded at the right end only")
        return lengths

    def _check_length(self, row: int, samples: int) -> None:
        if samples < self.min_samples:
            raise InputError(
                f"waveform {row} of the batch has {samples} samples: the encoder needs at "
                f"least {self.min_samples} (one receptive field); leave it out or give a longer one"
            )


def _check_tensors(input_values: Tensor, attention_mask: Tensor | None) -> None:
    shape = tuple(input_values.shape)
    if len(shape) != 2 or not shape[0]:
        raise InputError(f"input_values have the shape {shape}: give waveforms as (batch, samples), one or more")
    if not input_values.is_floating_point():
        raise InputError(f"input_values are {input_values.dtype}: give floats in [-1, 1]")
    if attention_mask is not None and attention_mask.shape != input_values.shape:
        raise InputError(f"attention_mask has the shape {tuple(attention_mask.shape)}, but input_values have {shape}")


def frame_mask_of(frames: Tensor, counts: Tensor | None) -> Tensor:
    """The mask of frames (B, F, D) of which the first `counts` (B,) are real; all where counts are None."""
    if counts is None:
        return torch.ones(frames.shape[:2], dtype=torch.bool, device=frames.device)
    return length_mask(counts, frames.shape[1])


class WeightedSum(nn.Module):
    """A learned convex combination of the encoder's input and all layers' outputs.

    Yang et al., "SUPERB", Interspeech 2021, section 2; Peters et al., "ELMo", NAACL 2018, section 3.2 (without their
    scale). The weights are a softmax, equal at the start.
    """

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.layer_weights = nn.Parameter(torch.empty(layers))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Equal weights."""
        init.constant_(self.layer_weights, 1 / len(self.layer_weights))

    def forward(self, hidden_states: tuple[Tensor, ...]) -> Tensor:
        """A tuple of L tensors (B, F, D) -> (B, F, D)."""
        weights = self.layer_weights.softmax(-1)
        total = weights[0] * hidden_states[0]
        for weight, states in zip(weights[1:], hidden_states[1:], strict=True):
            total = total + weight * states
        return total


@contextmanager
def naming(checkpoint: str) -> Iterator[None]:
    """Turns transformers' errors of a checkpoint that isn't there or can't be read into one line that names it.

    Raises:
        InputError: in the place of the library's error.
    """
    try:
        yield
    except (OSError, ValueError, RuntimeError, SafetensorError, UnpicklingError) as error:
        raise InputError(
            f"{checkpoint}: can't be loaded ({one_line(error)}); give the folder of a checkpoint or a name on the Hub"
        ) from error
