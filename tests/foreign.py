"""Tiny classifiers of every kind that transformers has, in folders as somebody would publish them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    ASTFeatureExtractor,
    AutoConfig,
    AutoModelForAudioClassification,
    SeamlessM4TFeatureExtractor,
    Wav2Vec2FeatureExtractor,
    WhisperFeatureExtractor,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES,
    MODEL_FOR_AUDIO_XVECTOR_MAPPING_NAMES,
)

from hf_speech.testing.tiny import BACKBONES, tiny_backbone_config

from .models.tiny import lively

SIZES: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
SQUEEZED: dict[str, Any] = {**SIZES, "conv_dim": (16,) * 13, "num_conv_pos_embeddings": 16, "mask_time_prob": 0.0}
SQUEEZED["num_conv_pos_embedding_groups"] = 2
WHISPER: dict[str, Any] = {"d_model": 32, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 32}
WHISPER |= {
    "decoder_layers": 1,
    "decoder_attention_heads": 2,
    "max_source_positions": 50,
    "num_mel_bins": 16,
    "vocab_size": 8,
}
WHISPER |= {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}
# model_type -> fields that make it tiny, for the kinds that `hf_speech.testing` has not.
TINY: dict[str, dict[str, Any]] = {
    "audio-spectrogram-transformer": {**SIZES, "max_length": 64, "num_mel_bins": 32},
    "sew": SQUEEZED,
    "sew-d": {**SQUEEZED, "max_position_embeddings": 64, "position_buckets": 8},
    "unispeech": {**SIZES, "conv_dim": (16,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2},
    "whisper": WHISPER,
}
HEADS: dict[str, Any] = {"tdnn_dim": (16,) * 5, "xvector_output_dim": 8}  # of x-vectors
EXTRACTORS: dict[str, Callable[..., Any]] = {
    "audio-spectrogram-transformer": lambda **fields: ASTFeatureExtractor(max_length=64, num_mel_bins=32, **fields),
    "whisper": lambda **fields: WhisperFeatureExtractor(**{"feature_size": 16, "chunk_length": 1, **fields}),
    "wav2vec2-bert": SeamlessM4TFeatureExtractor,
}
KINDS = tuple(name for name in MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES if name != "hf_speech")
X_VECTORS = tuple(name for name in MODEL_FOR_AUDIO_XVECTOR_MAPPING_NAMES if name != "hf_speech")
LABELS = ("ang", "hap", "neu", "sad")


def config_of(kind: str, labels: tuple[str, ...] = LABELS, **fields: Any) -> Any:
    """The configuration of a tiny model of a kind."""
    fields |= {"id2label": dict(enumerate(labels)), "label2id": {label: i for i, label in enumerate(labels)}}
    if kind in BACKBONES:
        fields |= HEADS if kind in X_VECTORS else {}
        return tiny_backbone_config(kind, **fields)
    return AutoConfig.for_model(kind, **TINY[kind], **fields)


def extractor_of(kind: str, **fields: Any) -> Any:
    return EXTRACTORS.get(kind, Wav2Vec2FeatureExtractor)(**fields)


def saved(folder: Path, kind: str, auto: Any = AutoModelForAudioClassification, **fields: Any) -> Path:
    """A folder as somebody would publish it: configuration, weights, feature extractor."""
    lively(auto.from_config(config_of(kind, **fields))).save_pretrained(folder)
    extractor_of(kind).save_pretrained(folder)
    return folder


@torch.inference_mode()
def by_hand(model: Any, extractor: Any, waveform: np.ndarray) -> np.ndarray:
    features = extractor(waveform, sampling_rate=extractor.sampling_rate, return_tensors="pt")
    return model(**features.to(model.dtype)).logits[0].float().numpy()
