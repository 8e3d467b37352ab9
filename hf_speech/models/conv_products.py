"""Convolutions over time as products of matrices, on a CPU.

torch hands a convolution over time to kernels that reach half to nine tenths of what the machine's product of matrices
does, and lays channels out before time. Here frames are rows, (frames, channels).

`convolve` is one convolution of stride 1, in training too. `conv_features` are those of a raw-waveform encoder where
none is trained. There all utterances of a batch stand one below the other, and a convolution of stride s takes s rows,
which lie side by side in memory, as one row: kernel 2 and stride 2 are one product, kernel 3 and stride 2 are two, and
nothing is copied. The group norm of the first layer needs no pass over its frames: that layer is linear, so mean and
variance of each channel follow from those of the patches of the waveform, and the norm is put into its weights. Layers
run in packs of some seconds, whose memory is used again and again: it is new memory that costs most otherwise, page by
page.
"""

from collections.abc import Iterator, Sequence
from math import prod
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules import module as module_code

from .frames import conv_frames, hop, receptive_field
from .masking import runs_on_cpu

_NORMS = (type(None), nn.LayerNorm)
PACK_FRAMES = 192  # of the encoder's output in a pack; 3.8 s for wav2vec 2.0, whose first layer then has 25 MB


class Piece(NamedTuple):
    """A stretch of an utterance: which one, its first frame of the encoder's output, and how many."""

    row: int
    first: int
    frames: int


def convolve(conv: nn.Conv1d, values: Tensor) -> Tensor:
    """A convolution of stride 1 without padding: (B, C, T) -> (B, C', T'), on a CPU laid out as (B, T', C')."""
    if not (runs_on_cpu(values) and _is_plain(conv) and conv.stride == (1,)):
        return conv(values)
    rows, taps, step = values.transpose(1, 2), conv.kernel_size[0], conv.dilation[0]
    if taps > 1:
        size = rows.shape[1] - step * (taps - 1)
        rows = torch.cat([rows[:, start : start + size] for start in range(0, step * taps, step)], dim=-1)
    return F.linear(rows, conv.weight.transpose(1, 2).flatten(1), conv.bias).transpose(1, 2)


def suits(layers: Sequence[Any], waveforms: Tensor, first_norm: type[nn.Module]) -> bool:
    """Whether the convolutions of an encoder can be run so: on a CPU, plain ones, none to be trained.

    Args:
        layers: see `conv_features`.
        waveforms: that are to be run.
        first_norm: what may norm each channel over an utterance, behind the first convolution.
    """
    if not runs_on_cpu(waveforms):
        return False
    trained = waveforms.requires_grad or any(p.requires_grad for layer in layers for p in layer.parameters())
    return not (trained and torch.is_grad_enabled()) and all(
        _is_plain(layer.conv)
        and layer.conv.dilation == (1,)
        and not _is_heard(layer)
        and type(getattr(layer, "layer_norm", None)) in ((*_NORMS, first_norm) if layer is layers[0] else _NORMS)
        for layer in layers
    )


def _is_plain(conv: Any) -> bool:
    """Whether a convolution is torch's own, with nothing put in its place, and nobody listens to it."""
    return (
        type(conv) is nn.Conv1d
        and (conv.groups, conv.padding) == (1, (0,))
        and conv.weight.device.type == "cpu"
        and conv.weight.dtype in (torch.float32, torch.bfloat16)
        and not _is_heard(conv)
    )


def _is_heard(module: nn.Module) -> bool:
    """Whether something stands before, behind or in place of the call of a module or its parts."""
    if module_code._global_forward_hooks or module_code._global_forward_pre_hooks:
        return True
    return any(part._forward_hooks or part._forward_pre_hooks or "forward" in vars(part) for part in module.modules())


def conv_features(
    layers: Sequence[Any], waveforms: Tensor, lengths: Tensor | None = None, pack_frames: int = PACK_FRAMES
) -> Tensor:
    """The features of waveforms, equal to those of the layers run one after the other.

    Args:
        layers: each with `conv`, `activation` and perhaps `layer_norm`: a `nn.LayerNorm`, or in the first one a group
            norm of a group a channel; see `suits`.
        waveforms: (B, T).
        lengths: (B,) in samples; what lies behind is padding. None: there is none.
        pack_frames: of the encoder's output that are computed together.

    Returns:
        (B, C, F), of which the first `conv_frames(length)` frames of each utterance are its own, and the others 0.
    """
    kernels, strides = ([getattr(layer.conv, name)[0] for layer in layers] for name in ("kernel_size", "stride"))
    if lengths is None:
        lengths = torch.full(waveforms.shape[:1], waveforms.shape[1])
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else layers[0].conv.weight.dtype
    counts = [max(0, int(count)) for count in conv_frames(lengths, kernels, strides)]
    size = int(conv_frames(waveforms.shape[1], kernels, strides))
    features = torch.zeros(len(counts), size, layers[-1].conv.out_channels, dtype=dtype)
    # A piece needs the samples of its own frames, and of so many more.
    spare = -(-(receptive_field(kernels, strides) - hop(strides)) // hop(strides))
    with torch.autocast("cpu", enabled=False):
        together = list(packs(counts, spare, max(pack_frames, 2 * spare)))
        stack = _Stack(layers, strides, dtype, max((_size(pack, spare) for pack in together), default=0))
        first = _FirstLayer(layers[0], waveforms, lengths)
        for pack in together:
            places = list(_places(pack, spare))
            for piece, place in zip(pack, places, strict=True):
                stack.enter(first, piece, place, spare)
            frames = stack.run(_size(pack, spare))
            for piece, place in zip(pack, places, strict=True):
                features[piece.row, piece.first : piece.first + piece.frames] = frames[place : place + piece.frames]
    return features.transpose(1, 2)


def packs(counts: Sequence[int], spare: int, most: int) -> Iterator[list[Piece]]:
    """Utterances of so many frames, cut and put together so that none has more than so many, spare ones counted.

    >>> [len(pack) for pack in packs([5, 3, 9], spare=1, most=10)]
    [2, 1]
    """
    pack: list[Piece] = []
    room = most
    for row, count in enumerate(counts):
        first = 0
        while first < count:
            if room <= spare:
                yield pack
                pack, room = [], most
            frames = min(count - first, room - spare)
            pack.append(Piece(row, first, frames))
            first, room = first + frames, room - frames - spare
    if pack:
        yield pack


def _places(pack: Sequence[Piece], spare: int) -> Iterator[int]:
    """Where each piece begins, in frames of the encoder's output."""
    place = 0
    for piece in pack:
        yield place
        place += piece.frames + spare


def _size(pack: Sequence[Piece], spare: int) -> int:
    return sum(piece.frames + spare for piece in pack)


class _FirstLayer:
    """The first convolution with its norm, on patches of one utterance."""

    def __init__(self, layer: Any, waveforms: Tensor, lengths: Tensor) -> None:
        conv = layer.conv
        self.kernel, self.stride = conv.kernel_size[0], conv.stride[0]
        self.weight = conv.weight.float().flatten(1).t().contiguous()  # (K, C)
        self.bias = torch.zeros(conv.out_channels) if conv.bias is None else conv.bias.float()
        self.norm = getattr(layer, "layer_norm", None)
        self.waveforms, self.lengths = waveforms.float().contiguous(), lengths.tolist()
        self.folded: tuple[int, Tensor, Tensor] | None = None

    def __call__(self, row: int, start: int, out: Tensor) -> None:
        """Frames of an utterance from one on, as many as it and `out` (N, C) have room for."""
        weight, bias = self._weights(row)
        patches = self._patches(self.waveforms[row])[start : start + len(out)]
        frames = torch.addmm(bias, patches, weight, out=out[: len(patches)])
        if isinstance(self.norm, nn.LayerNorm):
            frames.copy_(_normed(frames, self.norm))

    def _patches(self, waveform: Tensor) -> Tensor:
        return waveform.unfold(0, self.kernel, self.stride)

    def _weights(self, row: int) -> tuple[Tensor, Tensor]:
        """With the group norm of that utterance in them."""
        if self.norm is None or isinstance(self.norm, nn.LayerNorm):
            return self.weight, self.bias
        if self.folded is None or self.folded[0] != row:
            patches = self._patches(self.waveforms[row, : self.lengths[row]]).double()
            mean = patches.mean(0)
            centred = patches - mean
            covariance = centred.t() @ centred / len(patches)
            weight = self.weight.double()
            variance = (weight * (covariance @ weight)).sum(0)
            scale = self.norm.weight.double() * torch.rsqrt(variance + self.norm.eps)
            shift = self.norm.bias.double() - (mean @ weight) * scale
            self.folded = row, (weight * scale).float(), shift.float()
        return self.folded[1:]


class _Stack:
    """All convolutions behind the first one, on a pack.

    Args:
        layers: all.
        strides: of all.
        dtype: of the products.
        size: frames of the encoder's output in the largest pack.

    Attributes:
        buffers: of the frames that enter each layer.
    """

    def __init__(self, layers: Sequence[Any], strides: Sequence[int], dtype: torch.dtype, size: int) -> None:
        self.layers, self.strides = layers, strides
        self.weights = [_taps(layer.conv, dtype) for layer in layers[1:]]
        kernels = [layer.conv.kernel_size[0] for layer in layers[1:]]
        rows = [size * prod(strides[i + 1 :]) for i in range(len(layers))]
        # A kernel reaches over the last row of a pack: into what is never looked at.
        beyond = [*(kernel - 1 for kernel in kernels), 0]
        self.buffers = [
            torch.zeros(count + more, layer.conv.out_channels, dtype=dtype)
            for count, more, layer in zip(rows, beyond, layers, strict=True)
        ]
        whole = dtype is torch.float32
        self.entry = self.buffers[0] if whole else torch.zeros_like(self.buffers[0], dtype=torch.float32)

    def enter(self, first: _FirstLayer, piece: Piece, place: int, spare: int) -> None:
        """Puts the first layer's frames of a piece into its place."""
        step = prod(self.strides[1:])
        rows = slice(place * step, (place + piece.frames + spare) * step)
        frames = self.entry[rows]
        first(piece.row, piece.first * step, frames)
        done = _activated(frames, self.layers[0].activation)
        if done is not frames or self.entry is not self.buffers[0]:
            self.buffers[0][rows] = done

    def run(self, count: int) -> Tensor:
        """The layers, on so many frames of the encoder's output -> (count, C)."""
        frames = self.buffers[0]
        for i, layer in enumerate(self.layers[1:], start=1):
            rows = count * prod(self.strides[i + 1 :])
            out = self.buffers[i][:rows]
            _convolved(frames, self.weights[i - 1], layer.conv.bias, self.strides[i], out)
            if getattr(layer, "layer_norm", None) is not None:
                out.copy_(_normed(out, layer.layer_norm))
            done = _activated(out, layer.activation)
            if done is not out:
                out.copy_(done)
            frames = self.buffers[i]
        return frames


def _taps(conv: nn.Conv1d, dtype: torch.dtype) -> list[Tensor]:
    """The weights of a convolution, a matrix for each stretch of as many taps as its stride: (taps * C, C')."""
    rows = conv.weight.to(dtype).permute(2, 1, 0).flatten(0, 1)  # (K * C, C')
    return list(rows.split(conv.stride[0] * conv.in_channels))


def _convolved(frames: Tensor, taps: Sequence[Tensor], bias: Tensor | None, stride: int, out: Tensor) -> None:
    """Frames (N, C) -> out (M, C'), without padding."""
    channels, reach = frames.shape[1], stride * frames.shape[1]
    for i, weight in enumerate(taps):
        rows = frames.as_strided((len(out), len(weight)), (reach, 1), i * stride * channels)
        if i:
            out.addmm_(rows, weight)
        elif bias is None:
            torch.mm(rows, weight, out=out)
        else:
            torch.addmm(bias.to(out.dtype), rows, weight, out=out)


def _normed(frames: Tensor, norm: nn.LayerNorm) -> Tensor:
    # torch takes parameters of more bits than what they norm, and none of fewer.
    dtype = torch.promote_types(norm.weight.dtype, frames.dtype) if norm.elementwise_affine else None
    weight, bias = (None if one is None else one.to(dtype) for one in (norm.weight, norm.bias))
    return F.layer_norm(frames, norm.normalized_shape, weight, bias, norm.eps)


def _activated(frames: Tensor, activation: Any) -> Tensor:
    """In place where it can be."""
    if getattr(activation, "act", activation) is F.gelu:
        return torch.ops.aten.gelu_(frames)
    return activation(frames)
