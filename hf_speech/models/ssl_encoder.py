"""Waveform -> frames: transformers' SSL encoders on raw waveforms, cut at the chosen layer, exact under padding."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModel, PretrainedConfig
from transformers import initialization as init

from .configuration import HfSpeechConfig
from .encoder import Encoder, EncoderOutput, Rung, WeightedSum, frame_mask_of, layer_name, naming
from .frames import conv_frames, hop, receptive_field
from .layerdrop import let_skip
from .padding import (
    MaskedConformerLayer,
    MaskedFeatureEncoder,
    MaskedNormedPositionalConv,
    MaskedPositionalConvs,
)
from .pooling import POOLINGS
from .positions import POSITIONS
from .registry import InputError, lookup
from .wavlm_sdpa import use_sdpa


class ClassToken(nn.Module):
    """Puts a token in the first of the frames that enter a transformer, in place of what stands there.

    Vaessen & van Leeuwen, "Fine-tuning wav2vec2 for speaker recognition", ICASSP 2022 (2109.15053), section 3: a
    constant vector of ones, or a learned one. It is put in behind SpecAugment, which would hide it otherwise.
    """

    def __init__(self, size: int, learned: bool) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.empty(size)) if learned else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """A learned token starts as the constant one."""
        if self.token is not None:
            init.ones_(self.token)

    def forward(self, frames: Tensor) -> Tensor:
        """(B, 1 + F, D) -> (B, 1 + F, D) with the token first."""
        token = frames.new_ones(()) if self.token is None else self.token.to(frames.dtype)
        return torch.cat([token.expand(frames.shape[0], 1, frames.shape[2]), frames[:, 1:]], dim=1)


class SSLEncoder(Encoder):
    """A self-supervised speech encoder of transformers (wav2vec2 and its kin) behind the encoder contract.

    Only the layers that are used are built. Parameters that no output depends on are not built either: the final norm
    where an inner layer or the weighted sum is taken, and the conformer's positional convolution, which transformers
    makes and never calls.
    """

    def __init__(self, config: HfSpeechConfig) -> None:
        super().__init__()
        built = config.encoder_config()
        self.output_size, self.depth = built.hidden_size, built.num_hidden_layers
        self._set_rate(built)
        # A checkpoint's config may name half precision; the dtype is the whole model's, which from_pretrained sets.
        self.backbone: Any = AutoModel.from_config(built, dtype=torch.get_default_dtype())
        self._make_exact(built)
        if hasattr(self.backbone, "masked_spec_embed") and built.mask_time_prob == 0:
            self.backbone.masked_spec_embed.requires_grad_(False)  # made for feature masks, which don't use it
        # Of WavLM's layers the first makes the position bias of all.
        let_skip(self.backbone.encoder.layers, config.layerdrop, first=1 if built.model_type == "wavlm" else 0)
        if built.model_type == "wavlm" and config._attn_implementation != "eager":
            use_sdpa(self.backbone)
        # Where the encoder's own norm stands: behind the layers, or ("post-norm") before them.
        self.norm_is_last = built.model_type == "wav2vec2-conformer" or getattr(built, "do_stable_layer_norm", False)
        if config.layer != "last" and self.norm_is_last:
            self.backbone.encoder.layer_norm = nn.Identity()
        # The first layer's input counts too.
        self.layer_mix = WeightedSum(config.depth + 1) if config.layer == "weighted_sum" else None
        token = getattr(lookup(POOLINGS, config.pooling, "pooling"), "token", None)
        self.class_token = None if token is None else ClassToken(built.hidden_size, token == "learned")
        if self.class_token is not None:
            self.backbone.encoder.register_forward_pre_hook(self._enter_token)

    def _set_rate(self, built: PretrainedConfig) -> None:
        self.kernels, self.strides = tuple(built.conv_kernel), tuple(built.conv_stride)
        self.min_samples = receptive_field(self.kernels, self.strides)
        self.hop = hop(self.strides)

    def _make_exact(self, built: PretrainedConfig) -> None:
        backbone, encoder = self.backbone, self.backbone.encoder
        backbone.feature_extractor = MaskedFeatureEncoder(backbone.feature_extractor, self.kernels, self.strides)
        if built.model_type == "wav2vec2-conformer":
            encoder.layers = nn.ModuleList(MaskedConformerLayer(built) for _ in encoder.layers)
            encoder.pos_conv_embed = nn.Identity()
            if encoder.embed_positions is not None:
                encoder.embed_positions = POSITIONS[built.position_embeddings_type](built)
        elif built.model_type == "data2vec-audio":
            encoder.pos_conv_embed = MaskedPositionalConvs(encoder.pos_conv_embed)
        elif getattr(built, "conv_pos_batch_norm", False):
            encoder.pos_conv_embed = MaskedNormedPositionalConv(encoder.pos_conv_embed)

    def forward(
        self,
        input_values: Tensor,
        attention_mask: Tensor | None = None,
        *,
        hidden: Tensor | None = None,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> EncoderOutput:
        """Encodes waveforms.

        Args:
            input_values: (B, T) waveforms, padded at the right.
            attention_mask: (B, T), 1 at real samples; None: all are real.
            hidden: (B, F) bool, frames in whose place the transformer gets the mask embedding, as in pretraining; None:
                those that SpecAugment draws, in training.
            output_hidden_states: also give the encoder's input and every layer's output, (B, F, D) each.
            output_attentions: also give every layer's attention weights (the encoder then needs eager attention).

        Raises:
            InputError: a waveform is shorter than one receptive field; attention weights of an attention that gives
                none.
        """
        if output_attentions:
            self._check_weights()
        self.lengths_of(input_values, attention_mask)  # transformers' own code wants a mask in any case
        if attention_mask is None:
            attention_mask = torch.ones_like(input_values, dtype=torch.long)
        if hidden is None:
            input_values, attention_mask = self._pad_for_masks(input_values, attention_mask)
        features, mask, counts = self._features(input_values, attention_mask)
        outputs = self.backbone(
            features,
            attention_mask=mask,
            mask_time_indices=hidden,
            output_hidden_states=output_hidden_states or self.layer_mix is not None,
            output_attentions=output_attentions,
        )
        frames = outputs.last_hidden_state if self.layer_mix is None else self.layer_mix(outputs.hidden_states)
        return EncoderOutput(
            frames,
            frame_mask_of(frames, counts),
            outputs.hidden_states if output_hidden_states else None,
            outputs.attentions if output_attentions else None,
            getattr(outputs, "extract_features", None),
        )

    def _check_weights(self) -> None:
        # WavLM's kind is not in its config: its fused attention says so itself.
        kind = self.backbone.config._attn_implementation
        if kind != "eager":
            raise InputError(
                f"attention {kind!r} gives no weights (output_attentions); "
                'load the model with attn_implementation="eager"'
            )

    def _features(self, input_values: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the backbone takes: features, its attention mask, and the real frames that come out, (B,)."""
        lengths = attention_mask.long().sum(-1)
        dtype = next(self.backbone.parameters()).dtype
        features = self.backbone.feature_extractor(input_values.to(dtype), lengths)
        if self.class_token is not None:
            # One frame more at the start, whose content the token replaces, and one hop more for the mask.
            features = nn.functional.pad(features, (1, 0))
            attention_mask = nn.functional.pad(attention_mask, (self.hop, 0), value=1)
            lengths = lengths + self.hop
        return features, attention_mask, conv_frames(lengths, self.kernels, self.strides)

    def _enter_token(self, transformer: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """A hook before the forward pass of the transformer, whose first input are the frames."""
        assert self.class_token is not None  # else there is no hook
        return (self.class_token(inputs[0]), *inputs[1:])

    def _pad_for_masks(self, input_values: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        # SpecAugment can't place a span longer than the batch: short batches are padded (and masked) up to one span.
        config = self.backbone.config
        if not (self.backbone.training and config.mask_time_prob > 0):
            return input_values, attention_mask
        missing = self.min_samples + (config.mask_time_length - 1) * self.hop - input_values.shape[1]
        pad = (0, max(missing, 0))
        return nn.functional.pad(input_values, pad), nn.functional.pad(attention_mask, pad)

    def rungs(self) -> list[Rung]:
        """See the base class: features, their projection, what else stands before the layers, layers, final norm."""
        encoder = self.backbone.encoder
        layers = [Rung(layer_name(i), [layer]) for i, layer in enumerate(encoder.layers, start=1)]
        norm = [encoder.layer_norm] if hasattr(encoder, "layer_norm") else []
        before = [encoder.dropout] if self.norm_is_last else [encoder.dropout, *norm]
        for owner, name in ((encoder, "pos_conv_embed"), (self.backbone, "masked_spec_embed")):
            if hasattr(owner, name):
                before.append(getattr(owner, name))
        return [*self._feature_rungs(), Rung("input", before), *layers, Rung("top", norm if self.norm_is_last else [])]

    def _feature_rungs(self) -> list[Rung]:
        """What lies below the transformer: the rungs "cnn" and "projection"."""
        backbone = self.backbone
        return [Rung("cnn", [backbone.feature_extractor]), Rung("projection", [backbone.feature_projection])]

    def frame_centre(self, frame: int) -> float:
        """See the base class; a class token, the first frame, stands at 0."""
        if self.class_token is not None:
            return super().frame_centre(frame - 1) if frame else 0.0
        return super().frame_centre(frame)

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
