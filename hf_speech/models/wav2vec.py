"""wav2vec 1.0: convolutions from the waveform to frames, then causal ones that gather context.

Schneider, Baevski, Collobert & Auli, "wav2vec: Unsupervised Pre-training for Speech Recognition", Interspeech 2019,
section 2.1; what the paper leaves open (the log compression, the padding, where the norms stand) is as in the authors'
published model, "wav2vec large": 29.4 million parameters, frames of 512 numbers each 10 ms; a frame of the encoder has
seen 30 ms of sound, one with context 810 ms.

An utterance's real frames see its real samples only: the convolutions of the encoder pad nothing, those of the context
look back, and the norms, whose statistics run over all channels and times of an utterance, count real frames only.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import initialization as init

from .frames import Count, conv_frames, receptive_field
from .frames import hop as hop_of
from .masking import length_mask, zero_padding
from .registry import InputError, lookup

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": F.relu, "gelu": F.gelu}
PADDINGS = {"replicate": "replicate", "zero": "constant"}  # of ours -> as torch names it
LARGE = ((512, 10, 5), (512, 8, 4), (512, 4, 2), (512, 4, 2), (512, 4, 2), (512, 1, 1), (512, 1, 1))


class UtteranceNorm(nn.GroupNorm):
    """Group norm with one group: one mean and variance an utterance, over all channels and real frames; in float32.

    Wu & He, ECCV 2018, section 3.1.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(1, channels)

    def reset_parameters(self) -> None:
        """Scales 1, shifts 0; weights that were loaded stay."""
        init.ones_(self.weight)
        init.zeros_(self.bias)

    def forward(self, frames: Tensor, counts: Tensor | None = None) -> Tensor:
        """Frames (B, C, F), of which the first `counts` (B,) are real (None: all) -> (B, C, F)."""
        with torch.autocast(device_type=frames.device.type, enabled=False):
            values, weight, bias = frames.float(), self.weight.float(), self.bias.float()
            if counts is None:
                return torch.group_norm(values, 1, weight, bias, self.eps).to(frames.dtype)
            mask = length_mask(counts, frames.shape[2])[:, None]
            number = (counts * frames.shape[1])[:, None, None]
            mean = values.masked_fill(~mask, 0.0).sum((1, 2), keepdim=True) / number
            centred = (values - mean).masked_fill(~mask, 0.0)
            variance = centred.square().sum((1, 2), keepdim=True) / number
            normed = centred * torch.rsqrt(variance + self.eps) * weight[:, None] + bias[:, None]
        return normed.to(frames.dtype)


class ReLUConv(nn.Conv1d):
    """Convolution whose first weights keep the variance behind a ReLU (He et al., ICCV 2015, section 2.2), biases 0.

    A module of its own, since transformers initialises modules that have parameters, and none that only hold others.
    """

    def reset_parameters(self) -> None:
        """See the class."""
        init.kaiming_normal_(self.weight, nonlinearity="relu")
        if self.bias is not None:
            init.zeros_(self.bias)


class NormedConv(nn.Module):
    """Convolution, norm over the utterance, activation.

    Args:
        before: channels that go in.
        after: channels that come out.
        kernel: taps.
        stride: frames between two places of the kernel.
        bias: whether the convolution has one.
        activation: one of `ACTIVATIONS`.

    Shape:
        frames (B, before, F), counts (B,) of those that come out, or None -> (B, after, (F - kernel) // stride + 1)
    """

    def __init__(self, before: int, after: int, kernel: int, stride: int, bias: bool, activation: str) -> None:
        super().__init__()
        self.conv = ReLUConv(before, after, kernel, stride, bias=bias)
        self.norm = UtteranceNorm(after)
        self.activation = lookup(ACTIVATIONS, activation, "activation of wav2vec")

    def forward(self, frames: Tensor, counts: Tensor | None) -> Tensor:
        """See the class."""
        return self.activation(self.norm(self.conv(frames), counts))


class Wav2Vec(nn.Module):
    """wav2vec 1.0, from the waveform; the defaults are the large model.

    Args:
        conv_layers: (channels, kernel, stride) of each convolution of the encoder.
        context_kernels: taps of each convolution of the context; those have stride 1, and the channels of the encoder.
        context_bias: whether the convolutions of the context have biases; those of the encoder have none.
        context_padding: what stands before the first frame for them: that frame again ("replicate"), or "zero".
        skip: whether each of them adds its input to its output; the sum is scaled by the root of `residual_scale`.
        residual_scale: the factor on the sum's variance.
        log_compression: whether log(1 + |x|) is taken of the encoder's frames.
        activation: "relu" or "gelu".
        reduction: [kernel, stride] of a last convolution, with ReLU and a bias, that makes fewer frames: [4, 2] makes
            50 a second of 100, as many as wav2vec 2.0 has (Chen & Rudnicky, "Exploring wav2vec 2.0 fine tuning for
            improved speech emotion recognition", ICASSP 2023, in its code). [1, 1]: there is none.

    Attributes:
        output_size: dimensions of a frame.
        hop: samples between the starts of two frames.
        min_samples: the shortest waveform that gives a frame.

    Shape:
        waveforms (B, T), lengths (B,) int in samples or None (nothing is padded) -> frames (B, F, output_size), counts
        (B,) or None; what stands behind the counts has no meaning

    Raises:
        InputError: an option that can't be.
    """

    def __init__(
        self,
        *,
        conv_layers: Sequence[Sequence[int]] = LARGE,
        context_kernels: Sequence[int] = tuple(range(2, 14)),
        context_bias: bool = True,
        context_padding: str = "replicate",
        skip: bool = True,
        residual_scale: float = 0.5,
        log_compression: bool = True,
        activation: str = "relu",
        reduction: Sequence[int] = (1, 1),
    ) -> None:
        super().__init__()
        _check(conv_layers, context_kernels, residual_scale, reduction)
        channels, self.kernels, self.strides = zip(*conv_layers, strict=True)
        self.output_size = width = channels[-1]
        kernel, stride = reduction
        self.reduction = None if (kernel, stride) == (1, 1) else ReLUConv(width, width, kernel, stride)
        self._stack = (*self.kernels, kernel), (*self.strides, stride)
        self.hop, self.min_samples = hop_of(self._stack[1]), receptive_field(*self._stack)
        self.encoder = nn.ModuleList(
            NormedConv(before, after, kernel, stride, False, activation)
            for before, (after, kernel, stride) in zip((1, *channels), conv_layers, strict=False)
        )
        self.context = nn.ModuleList(
            NormedConv(width, width, kernel, 1, context_bias, activation) for kernel in context_kernels
        )
        self.padding = lookup(PADDINGS, context_padding, "context_padding of wav2vec")
        self.skip, self.scale, self.log_compression = skip, residual_scale**0.5, log_compression

    def count(self, samples: Count) -> Count:
        """Frames that come out for so many samples."""
        return conv_frames(samples, *self._stack)

    def centre(self, frame: int) -> float:
        """The middle of what the encoder's frame has seen, from which an output frame is made; samples from the start.

        The context behind it is left out, as it is of a Transformer's frames: each of its layers adds to the frame
        itself, and was trained to say what comes next, for which the latest sound tells most. The middle of the whole
        would lie 0.4 s earlier in the large model, and before the start for the first frames.
        """
        return self.min_samples / 2 + frame * self.hop

    def forward(self, waveforms: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """See the class."""
        return self.gathered(*self.features(waveforms, lengths))

    def features(self, waveforms: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """The encoder's frames, without context: as `forward`."""
        # Real frames don't see the padding; what is infinite there would still spoil the gradients.
        frames, counts = zero_padding(waveforms, lengths)[:, None], lengths
        for layer, kernel, stride in zip(self.encoder, self.kernels, self.strides, strict=True):
            counts = None if counts is None else conv_frames(counts, [kernel], [stride])
            frames = layer(frames, counts)
        if self.log_compression:
            frames = frames.abs().log1p()
        return frames.transpose(1, 2), counts

    def gathered(self, frames: Tensor, counts: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """What comes out, of the encoder's frames (B, F, output_size) and how many are real: as `forward`."""
        frames = self.contextual(frames, counts)
        if self.reduction is None:
            return frames, counts
        if counts is not None:
            counts = conv_frames(counts, self.reduction.kernel_size, self.reduction.stride)
        return self.reduction(frames.transpose(1, 2)).relu().transpose(1, 2), counts

    def contextual(self, frames: Tensor, counts: Tensor | None = None) -> Tensor:
        """Frames with context from the encoder's: (B, F, output_size), counts (B,) or None -> the same shape."""
        frames = frames.transpose(1, 2)
        for layer in self.context:
            before = F.pad(frames, (layer.conv.kernel_size[0] - 1, 0), mode=self.padding)
            new = layer(before, counts)
            frames = (frames + new) * self.scale if self.skip else new
        return frames.transpose(1, 2)


def _check(
    conv_layers: Sequence[Sequence[int]],
    context_kernels: Sequence[int],
    residual_scale: float,
    reduction: Sequence[int],
) -> None:
    if not (conv_layers and all(len(row) == 3 and min(row) > 0 for row in conv_layers)):
        raise InputError(f"conv_layers of wav2vec are {conv_layers!r}; give [channels, kernel, stride] a layer")
    if not all(kernel > 0 for kernel in context_kernels):
        raise InputError(
            f"context_kernels of wav2vec are {context_kernels!r}; give the taps of each, such as [2, 3, 4]"
        )
    if not residual_scale > 0:
        raise InputError(f"residual_scale of wav2vec is {residual_scale!r}; give a number above 0, such as 0.5")
    if not (len(reduction) == 2 and min(reduction) > 0):
        raise InputError(f"reduction of wav2vec is {reduction!r}; give [kernel, stride], such as [4, 2]")
