"""Parts of transformers' encoders, made blind to padding.

A batch of utterances is padded at its right end. Three kinds of parts read that padding although a mask is given: the
group norm of the first convolution (its statistics run over padded time), the positional convolutions of data2vec-audio
and of batch-normed HuBERT (padded frames stop being zero between their layers), and the depthwise convolution of
wav2vec2-conformer. Each has a stand-in here with the same parameter names and, on an utterance alone, the same numbers.

No stand-in keeps state between calls: lengths and masks are arguments, so that gradient checkpointing recomputes with
the lengths of the batch it recomputes, and threads can share a model.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.models.wav2vec2_conformer.modeling_wav2vec2_conformer import Wav2Vec2ConformerEncoderLayer

from .conv_products import conv_features, suits
from .frames import conv_frames
from .masking import length_mask


class MaskedGroupNorm(nn.Module):
    """Group norm with one group a channel, whose statistics run over the real frames only.

    The affine parameters are those of the `nn.GroupNorm` it stands for (Wu & He, ECCV 2018, section 3). torch's own
    kernel is run on each utterance's real frames; where a graph is recorded, which can't hang on lengths, the same is
    written with a mask. What comes out in padded frames has no meaning.
    """

    def __init__(self, norm: nn.GroupNorm) -> None:
        super().__init__()
        if norm.num_groups != norm.num_channels:
            raise ValueError(f"one group a channel expected, got {norm.num_groups} for {norm.num_channels} channels")
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps

    def forward(self, frames: Tensor, counts: Tensor) -> Tensor:
        """Frames (B, C, F), of which the first `counts` (B,) are real -> (B, C, F)."""
        if torch.compiler.is_compiling() or torch.jit.is_tracing():
            return self._masked(frames, counts)
        size = frames.shape[-1]
        lengths = counts.tolist()
        if min(lengths) == size:
            return self._norm(frames)
        rows = [self._norm(row[None, :, :length]) for row, length in zip(frames, lengths, strict=True)]
        return torch.cat([F.pad(row, (0, size - row.shape[-1])) for row in rows])

    def _norm(self, frames: Tensor) -> Tensor:
        # Not nn.functional's, which refuses a single frame.
        return torch.group_norm(frames, frames.shape[1], self.weight, self.bias, self.eps)

    def _masked(self, frames: Tensor, counts: Tensor) -> Tensor:
        """The same in float32 and in two passes, without a shape that hangs on the lengths."""
        mask, count = length_mask(counts, frames.shape[-1])[:, None], counts[:, None, None]
        values = frames.float()
        mean = torch.where(mask, values, 0.0).sum(-1, keepdim=True) / count
        centred = torch.where(mask, values - mean, 0.0)
        variance = centred.square().sum(-1, keepdim=True) / count
        scaled = centred * torch.rsqrt(variance + self.eps) * self.weight.float()[:, None] + self.bias.float()[:, None]
        return scaled.to(frames.dtype)


class MaskedGroupNormConvLayer(GradientCheckpointingLayer):
    """The first convolution of a group-norm encoder: convolution, group norm over real frames, activation."""

    def __init__(self, layer: nn.Module, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv, self.activation = layer.conv, layer.activation
        self.layer_norm = MaskedGroupNorm(layer.layer_norm)
        self.kernel, self.stride = kernel, stride

    def forward(self, hidden_states: Tensor, lengths: Tensor) -> Tensor:
        """Waveforms (B, 1, T) and their lengths (B,) in samples -> (B, C, F)."""
        counts = conv_frames(lengths, [self.kernel], [self.stride])
        return self.activation(self.layer_norm(self.conv(hidden_states), counts))


class MaskedFeatureEncoder(nn.Module):
    """The convolutional feature encoder, told how long each utterance is.

    Stands in a backbone under the name `feature_extractor`. The owner calls it with the lengths and hands the result to
    the backbone as its input; the backbone's own call, which can't pass lengths, then finds finished features and gives
    them back. So nothing of the backbone's forward is copied, and no length is kept between calls.
    """

    def __init__(self, encoder: nn.Module, kernels: Sequence[int], strides: Sequence[int]) -> None:
        super().__init__()
        first = encoder.conv_layers[0]
        self.group_norm = isinstance(getattr(first, "layer_norm", None), nn.GroupNorm)
        self.conv_layers = encoder.conv_layers
        if self.group_norm:
            self.conv_layers[0] = MaskedGroupNormConvLayer(first, kernels[0], strides[0])

    def forward(self, waveforms: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Waveforms (B, T) with lengths (B,) in samples -> features (B, C, F); features (B, C, F) pass unchanged."""
        if waveforms.dim() == 3:
            return waveforms
        if suits(self.conv_layers, waveforms, MaskedGroupNorm):
            return conv_features(self.conv_layers, waveforms, lengths)
        hidden_states = waveforms[:, None]
        first, *others = self.conv_layers
        if first.gradient_checkpointing and self.training and next(first.parameters()).requires_grad:
            hidden_states.requires_grad_()  # reentrant checkpointing needs an input that carries gradients
        hidden_states = first(hidden_states, lengths) if self.group_norm else first(hidden_states)
        for layer in others:
            hidden_states = layer(hidden_states)
        return hidden_states


class MaskedPositionalConvs(nn.Module):
    """Data2vec-audio's stacked positional convolutions; each sees zeros in place of padded frames."""

    def __init__(self, stack: nn.Module) -> None:
        super().__init__()
        self.layers = stack.layers

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Frames (B, F, D), zero where padded -> positional embeddings (B, F, D)."""
        mask = nonzero_frames(hidden_states)[:, None]
        hidden_states = hidden_states.transpose(1, 2)
        for layer in self.layers:
            hidden_states = layer(torch.where(mask, hidden_states, 0.0))
        return hidden_states.transpose(1, 2)


class MaskedNormedPositionalConv(nn.Module):
    """HuBERT's positional convolution with a batch norm before it, which would make padded zeros something else."""

    def __init__(self, convolution: nn.Module) -> None:
        super().__init__()
        self.batch_norm, self.conv = convolution.batch_norm, convolution.conv
        self.padding, self.activation = convolution.padding, convolution.activation

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Frames (B, F, D), zero where padded -> positional embeddings (B, F, D)."""
        normed = self.batch_norm(hidden_states.transpose(1, 2))
        normed = torch.where(nonzero_frames(hidden_states)[:, None], normed, 0.0)
        return self.activation(self.padding(self.conv(normed))).transpose(1, 2)


def nonzero_frames(hidden_states: Tensor) -> Tensor:
    """The real frames of an encoder's input: (B, F, D) -> (B, F) bool.

    The encoder has just set padded frames to zero; a real frame, projected and biased, is never zero in all its
    dimensions. So the mask can be read off where it is not handed down.
    """
    return (hidden_states != 0).any(-1)


class MaskedConformerLayer(Wav2Vec2ConformerEncoderLayer):
    """A conformer layer whose depthwise convolution sees zeros in place of padded frames.

    Gulati et al., "Conformer", Interspeech 2020, section 2: half-step feed-forward, self-attention, convolution module,
    half-step feed-forward, final norm.
    """

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        relative_position_embeddings: Tensor | None = None,
        **kwargs: object,
    ) -> Tensor:
        """Frames (B, F, D) and the attention mask as the encoder made it for its attention kind -> (B, F, D)."""
        hidden_states = hidden_states + 0.5 * self.ffn1(self.ffn1_layer_norm(hidden_states))
        attended, _ = self.self_attn(
            hidden_states=self.self_attn_layer_norm(hidden_states),
            attention_mask=attention_mask,
            relative_position_embeddings=relative_position_embeddings,
            **kwargs,
        )
        hidden_states = hidden_states + self.self_attn_dropout(attended)
        hidden_states = hidden_states + self._convolve(hidden_states, attention_mask)
        hidden_states = hidden_states + 0.5 * self.ffn2(self.ffn2_layer_norm(hidden_states))
        return self.final_layer_norm(hidden_states)

    def _convolve(self, hidden_states: Tensor, attention_mask: Tensor | None) -> Tensor:
        module = self.conv_module
        gated = module.glu(module.pointwise_conv1(module.layer_norm(hidden_states).transpose(1, 2)))
        if attention_mask is not None:
            gated = torch.where(attended_frames(attention_mask)[:, None], gated, 0.0)
        convolved = module.activation(module.batch_norm(module.depthwise_conv(gated)))
        return module.dropout(module.pointwise_conv2(convolved)).transpose(1, 2)


def attended_frames(attention_mask: Tensor) -> Tensor:
    """Which frames are real, from an attention mask: (B, F), or (B, 1, F, F) with a row a query -> (B, F) bool.

    Boolean masks are True where a key is attended; additive ones are 0 there and the lowest number elsewhere.
    """
    rows = attention_mask if attention_mask.dim() == 2 else attention_mask[:, 0, 0]
    return rows == 0 if rows.is_floating_point() and attention_mask.dim() == 4 else rows.bool()
