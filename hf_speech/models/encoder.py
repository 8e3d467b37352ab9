"""Waveform -> frames: any of transformers' SSL encoders, cut at the chosen layer, exact under padding."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pickle import UnpicklingError  # what torch raises for a broken .bin, which it reads without unpickling

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoModel, PretrainedConfig

from .configuration import HfSpeechConfig
from .frames import conv_frames, receptive_field
from .padding import (
    CONFORMER_POSITIONS,
    MaskedConformerLayer,
    MaskedFeatureEncoder,
    MaskedNormedPositionalConv,
    MaskedPositionalConvs,
    length_mask,
)
from .registry import InputError, one_line


@dataclass
class EncoderOutput:
    """What an encoder gives: frames (B, F, D), frame_mask (B, F) bool, and on request all layers and attentions."""

    frames: Tensor
    frame_mask: Tensor
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


class WeightedSum(nn.Module):
    """A learned convex combination of the encoder's input and all layers' outputs.

    Yang et al., "SUPERB", Interspeech 2021, section 2; Peters et al., "ELMo", NAACL 2018, section 3.2 (without their
    scale). The weights are a softmax, equal at the start.
    """

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.layer_weights = nn.Parameter(torch.full((layers,), 1 / layers))

    def forward(self, hidden_states: tuple[Tensor, ...]) -> Tensor:
        """A tuple of L tensors (B, F, D) -> (B, F, D)."""
        weights = self.layer_weights.softmax(-1)
        total = weights[0] * hidden_states[0]
        for weight, states in zip(weights[1:], hidden_states[1:], strict=True):
            total = total + weight * states
        return total


class SSLEncoder(nn.Module):
    """A self-supervised speech encoder of transformers (wav2vec2 and its kin) behind the encoder contract.

    Only the layers that are used are built. Parameters that no output depends on are not built either: the final norm
    where an inner layer or the weighted sum is taken, and the conformer's positional convolution, which transformers
    makes and never calls.
    """

    def __init__(self, config: HfSpeechConfig) -> None:
        super().__init__()
        built = config.encoder_config()
        self.kernels, self.strides = tuple(built.conv_kernel), tuple(built.conv_stride)
        # A checkpoint's config may name half precision; the dtype is the whole model's, which from_pretrained sets.
        self.backbone = AutoModel.from_config(built, dtype=torch.get_default_dtype())
        self._make_exact(built)
        # Where the encoder's own norm stands: behind the layers, or ("post-norm") before them.
        self.norm_is_last = built.model_type == "wav2vec2-conformer" or getattr(built, "do_stable_layer_norm", False)
        if config.layer != "last" and self.norm_is_last:
            self.backbone.encoder.layer_norm = nn.Identity()
        # The first layer's input counts too.
        self.layer_mix = WeightedSum(config.depth + 1) if config.layer == "weighted_sum" else None

    def _make_exact(self, built: PretrainedConfig) -> None:
        backbone, encoder = self.backbone, self.backbone.encoder
        backbone.feature_extractor = MaskedFeatureEncoder(backbone.feature_extractor, self.kernels, self.strides)
        if built.model_type == "wav2vec2-conformer":
            encoder.layers = nn.ModuleList(MaskedConformerLayer(built) for _ in encoder.layers)
            encoder.pos_conv_embed = nn.Identity()
            if encoder.embed_positions is not None:
                encoder.embed_positions = CONFORMER_POSITIONS[built.position_embeddings_type](built)
        elif built.model_type == "data2vec-audio":
            encoder.pos_conv_embed = MaskedPositionalConvs(encoder.pos_conv_embed)
        elif getattr(built, "conv_pos_batch_norm", False):
            encoder.pos_conv_embed = MaskedNormedPositionalConv(encoder.pos_conv_embed)
        if hasattr(backbone, "masked_spec_embed") and built.mask_time_prob == 0:
            backbone.masked_spec_embed.requires_grad_(False)  # made for feature masks, which don't use it

    @property
    def min_samples(self) -> int:
        """The shortest usable waveform, in samples: one receptive field."""
        return receptive_field(self.kernels, self.strides)

    @property
    def is_frozen(self) -> bool:
        """Whether no parameter of the backbone is trained."""
        return not any(p.requires_grad for p in self.backbone.parameters())

    def train(self, mode: bool = True) -> "SSLEncoder":
        """Sets training mode; a frozen backbone stays in evaluation mode (no dropout, no masks, fixed statistics)."""
        super().train(mode)
        if mode and self.is_frozen:
            self.backbone.eval()
        return self

    def forward(
        self,
        input_values: Tensor,
        attention_mask: Tensor | None = None,
        *,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> EncoderOutput:
        """Encodes waveforms.

        Args:
            input_values: (B, T) waveforms, padded at the right.
            attention_mask: (B, T), 1 at real samples; None: all are real.
            output_hidden_states: also give the encoder's input and every layer's output, (B, F, D) each.
            output_attentions: also give every layer's attention weights (the encoder then needs eager attention).

        Raises:
            InputError: a waveform is shorter than one receptive field.
        """
        if attention_mask is None:
            attention_mask = torch.ones_like(input_values, dtype=torch.long)
        self._check_lengths(attention_mask)
        input_values, attention_mask = self._pad_for_masks(input_values, attention_mask)
        lengths = attention_mask.long().sum(-1)
        features = self.backbone.feature_extractor(input_values, lengths)
        frame_mask = length_mask(conv_frames(lengths, self.kernels, self.strides), features.shape[-1])
        outputs = self.backbone(
            features,
            attention_mask=attention_mask,
            output_hidden_states=output_hidden_states or self.layer_mix is not None,
            output_attentions=output_attentions,
        )
        frames = outputs.last_hidden_state if self.layer_mix is None else self.layer_mix(outputs.hidden_states)
        return EncoderOutput(
            frames,
            frame_mask,
            outputs.hidden_states if output_hidden_states else None,
            outputs.attentions if output_attentions else None,
        )

    def _check_lengths(self, attention_mask: Tensor) -> None:
        if torch.compiler.is_compiling() or torch.jit.is_tracing():
            return
        lengths = attention_mask.long().sum(-1)
        if int(lengths.min()) < self.min_samples:
            raise InputError(
                f"waveform {int(lengths.argmin())} of the batch has {int(lengths.min())} samples: the encoder needs at "
                f"least {self.min_samples} (one receptive field); leave it out or give a longer one"
            )
        if bool((attention_mask[:, 1:] > attention_mask[:, :-1]).any()):
            raise InputError("attention_mask has a 0 before a 1: waveforms are padded at the right end only")

    def _pad_for_masks(self, input_values: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        # SpecAugment can't place a span longer than the batch: short batches are padded (and masked) up to one span.
        config = self.backbone.config
        if not (self.backbone.training and config.mask_time_prob > 0):
            return input_values, attention_mask
        missing = receptive_field(self.kernels, self.strides, config.mask_time_length) - input_values.shape[1]
        pad = (0, max(missing, 0))
        return nn.functional.pad(input_values, pad), nn.functional.pad(attention_mask, pad)

    def load_pretrained(self, name_or_path: str, revision: str | None = None) -> None:
        """Takes the encoder's weights from a checkpoint of transformers, whatever head that has.

        Raises:
            InputError: there is no such checkpoint, or it has no weights for some part that is built.
        """
        with naming(name_or_path):
            stock, report = AutoModel.from_pretrained(
                name_or_path, config=self.backbone.config, revision=revision, output_loading_info=True
            )
        absent = sorted(key for key in report["missing_keys"] if key != "masked_spec_embed")
        if absent:
            raise InputError(
                f"{name_or_path}: not a checkpoint of a {self.backbone.config.model_type} encoder: it lacks "
                f"{len(absent)} weights, such as {absent[0]}"
            )
        self.load_stock_weights(stock.state_dict())

    def load_stock_weights(self, weights: dict[str, Tensor]) -> None:
        """Takes the weights of a stock model of the same configuration, leaving out what is not built here.

        Raises:
            InputError: some part that is built has no weights, or of another shape.
        """
        missing, _ = self.backbone.load_state_dict(weights, strict=False)
        if missing:
            raise InputError(f"the weights lack {len(missing)} parts of the encoder, such as {missing[0]}")


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
            f"{checkpoint}: can't be loaded as a speech encoder ({one_line(error)}); give the folder of a checkpoint "
            "or a name on the Hub"
        ) from error
