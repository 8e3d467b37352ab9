"""What every encoder is: waveforms -> frames, with a choice of layer, exact under padding."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pickle import UnpicklingError  # what torch raises for a broken .bin, which it reads without unpickling
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import initialization as init

from .masking import length_mask
from .registry import InputError, lookup, one_line

# What can be frozen by name -> how many of the lowest rungs that is; all, of the backbone.
FREEZES: dict[str, int | None] = {"none": 0, "cnn": 1, "cnn+projection": 2, "backbone": None}


class Rung(NamedTuple):
    """Parts of an encoder that are frozen together, and learn at one rate; a part may have no parameters."""

    name: str
    parts: list[nn.Module | nn.Parameter]

    def parameters(self) -> Iterator[nn.Parameter]:
        """All that could be trained in it."""
        for part in self.parts:
            yield from part.parameters() if isinstance(part, nn.Module) else (part,)


@dataclass
class EncoderOutput:
    """What an encoder gives: frames (B, F, D), frame_mask (B, F) bool, and on request all layers and attentions.

    Of encoders for which transformers gives them (wav2vec2 and its conformer do) also the features that entered the
    transformer, normalised, before any was hidden: (B, F, C).
    """

    frames: Tensor
    frame_mask: Tensor
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None
    features: Tensor | None = None


class Encoder(nn.Module):
    """Base of the encoders.

    An encoder stands on rungs, from the waveform up. Frozen are always the lowest so many: their parameters get no
    gradient, and their modules stay in evaluation mode (no dropout, no LayerDrop, fixed statistics of batch norms)
    whoever calls `train()`. SpecAugment falls on what enters a transformer, and ends only where all is frozen.

    Attributes:
        backbone: what is frozen as a whole.
        output_size: dimensions of a frame.
        min_samples: the shortest usable waveform, in samples.
        hop: samples between the starts of two frames.
        depth: layers that can be frozen one by one.
        frozen_rungs: how many of the lowest rungs are frozen.
    """

    backbone: nn.Module
    output_size: int
    min_samples: int
    hop: int
    depth: int = 0

    def __init__(self) -> None:
        super().__init__()
        self.frozen_rungs = 0
        self._stopped: set[str] = set()  # parameters of the backbone that `freeze` has stopped, and starts again

    @property
    def is_frozen(self) -> bool:
        """Whether no parameter of the backbone is trained; one that has none has to be told."""
        learns = [p.requires_grad for p in self.backbone.parameters()]
        return not any(learns) and (bool(learns) or self.frozen_rungs > 0)

    def train(self, mode: bool = True) -> "Encoder":
        """Sets training mode; what is frozen stays in evaluation mode."""
        super().train(mode)
        if not mode:
            return self
        rungs = self.rungs()
        if self.is_frozen:
            self.backbone.eval()
        else:
            rungs = rungs[: self.frozen_rungs]
        for part in (part for rung in rungs for part in rung.parts):
            # Low-rank updates may be trained within what is frozen.
            if isinstance(part, nn.Module) and not any(p.requires_grad for p in part.parameters()):
                part.eval()
        return self

    def rungs(self) -> list[Rung]:
        """What the encoder is made of, from the waveform up; together they have all parameters of the backbone."""
        raise NotImplementedError

    def rungs_of(self, kind: str = "none", layers: int = 0) -> int:
        """How many of the lowest rungs are to be frozen.

        Args:
            kind: "none"; "cnn": what makes features of the waveform; "cnn+projection": and what maps them to the
                transformer's size; "backbone": all.
            layers: so many transformer layers, and all that lies below them.

        Raises:
            InputError: another kind, or parts that this encoder does not have.
        """
        names = [rung.name for rung in self.rungs()]
        count = lookup(FREEZES, kind, "kind of freezing")
        if count and len(names) == 1:
            network = type(self.backbone).__name__
            raise InputError(f"this encoder ({network}) has no feature encoder to freeze; freeze backbone, or none")
        if count is not None and count >= len(names):
            network = type(self.backbone).__name__
            raise InputError(f"this encoder ({network}) has no feature projection to freeze; freeze cnn, or none")
        if not 0 <= layers <= self.depth:
            raise InputError(f"can't freeze {layers} layers: the encoder has {self.depth}")
        below = names.index(layer_name(layers)) + 1 if layers else 0
        return len(names) if count is None else max(count, below)

    def freeze(self, count: int) -> None:
        """Freezes the lowest `count` rungs; what an earlier call froze above them is trained again.

        What was not trained before the call that froze it (such as all that peft stops) stays as it is.
        """
        below = {id(p) for rung in self.rungs()[:count] for p in rung.parameters()}
        for name, parameter in self.backbone.named_parameters():
            if id(parameter) in below and parameter.requires_grad:
                parameter.requires_grad_(False)
                parameter.grad = None
                self._stopped.add(name)
            elif id(parameter) not in below and name in self._stopped:
                parameter.requires_grad_(True)
                self._stopped.remove(name)
        self.frozen_rungs = count
        self.train(self.training)

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


def layer_name(number: int) -> str:
    """The name of the rung of a transformer's layer, counted from 1."""
    return f"layer {number}"


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


def name_of(checkpoint: str | os.PathLike[str]) -> str:
    """A checkpoint as transformers takes it; a path is a folder here, and no name on the Hub.

    Raises:
        InputError: a path where there is no folder.
    """
    if isinstance(checkpoint, os.PathLike) and not os.path.isdir(checkpoint):
        raise InputError(f"{os.fspath(checkpoint)}: there is no such folder; give that of a checkpoint")
    return os.fspath(checkpoint)


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
