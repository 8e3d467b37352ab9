"""Waveforms of any lengths -> embeddings: sorted by length, batched, and put back in order."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .frames import length_batches
from .masking import length_mask
from .registry import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@torch.no_grad()  # not inference mode: what a model caches here may be met again in training
def embed(
    model: "PreTrainedModel", waveforms: Sequence[Any], sampling_rate: int | None, batch_seconds: float
) -> Tensor:
    """See `HfSpeechPreTrainedModel.embed`."""
    config = model.config
    if sampling_rate not in (None, config.sampling_rate):
        raise InputError(
            f"sampling_rate is {sampling_rate}, but the model takes {config.sampling_rate} samples per second: resample"
        )
    if getattr(waveforms, "ndim", 2) == 1 and len(waveforms):
        raise InputError("waveforms is one array: give a list of them, such as [waveform]")
    inputs = [_checked(i, waveform, model.encoder.min_samples) for i, waveform in enumerate(waveforms)]
    if not inputs:
        return torch.zeros(0, model.base_model.output_size)
    lengths = [len(waveform) for waveform in inputs]
    found: list[Tensor] = [torch.empty(0)] * len(inputs)
    with evaluating(model):
        for rows in length_batches(lengths, batch_seconds * config.sampling_rate):
            batch = [normalised(inputs[i]) if config.normalizes else inputs[i] for i in rows]
            counts = torch.tensor([len(waveform) for waveform in batch])
            size = int(counts.max())
            values = torch.stack([F.pad(waveform, (0, size - len(waveform))) for waveform in batch])
            mask = length_mask(counts, size).long()
            # The base model alone: heads have no part in this.
            outputs = model.base_model(values.to(model.device, model.dtype), mask.to(model.device))
            for i, embedding in zip(rows, outputs.embeddings.float().cpu(), strict=True):
                found[i] = embedding
    return torch.stack(found)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while; then each module has its own mode back, those that were set by hand too."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def normalised(waveform: Tensor) -> Tensor:
    """Zero mean and unit variance, as transformers' Wav2Vec2FeatureExtractor does it: (samples,) -> (samples,)."""
    return (waveform - waveform.mean()) / (waveform.var(correction=0) + 1e-7).sqrt()


def _as_tensor(row: int, waveform: Any) -> Tensor:
    try:
        if any(stride < 0 for stride in getattr(waveform, "strides", ())):
            waveform = waveform.copy()  # a reversed view, which torch can't share
        return torch.as_tensor(waveform)
    except (TypeError, ValueError, RuntimeError) as error:
        kind = type(waveform).__name__
        raise InputError(f"waveform {row} is a {kind}: give an array or a tensor of floats, (samples,)") from error


def _checked(row: int, waveform: Any, min_samples: int) -> Tensor:
    values = _as_tensor(row, waveform)
    if values.dim() != 1:
        raise InputError(f"waveform {row} has shape {tuple(values.shape)}: give mono, (samples,)")
    if not values.is_floating_point():
        raise InputError(f"waveform {row} holds {values.dtype} numbers: give floats in [-1, 1]")
    if len(values) < min_samples:
        raise InputError(f"waveform {row} has {len(values)} samples: the model needs at least {min_samples}")
    if not values.isfinite().all():
        raise InputError(f"waveform {row} holds NaN or infinite samples: mend it or leave it out")
    return values.float()
