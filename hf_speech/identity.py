"""What tells one model from another by what it says: its settings, its weights, the libraries that run it."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import torch
import transformers
from torch import Tensor

# Of a configuration, what says nothing about the output: where it is from, and what acts in training only.
_IDLE = {"_name_or_path", "architectures", "transformers_version", "id2label", "label2id"}
_IDLE_WORDS = ("dropout", "mask_time", "mask_feature", "layerdrop", "spec_augment")


def settings_that_count(config: Mapping[str, Any]) -> dict[str, Any]:
    """Those of an encoder's configuration that decide its output.

    >>> settings_that_count({"hidden_size": 4, "hidden_dropout": 0.1, "architectures": ["X"]})
    {'hidden_size': 4}
    """
    return {
        name: value
        for name, value in config.items()
        if name not in _IDLE and not any(word in name for word in _IDLE_WORDS)
    }


def releases() -> dict[str, str]:
    """Of the libraries that compute, the major and minor version: between these, numbers may change."""
    return {"torch": _release(torch.__version__), "transformers": _release(transformers.__version__)}


def heard_as(extractor: Any) -> dict[str, Any]:
    """How a feature extractor makes what a model hears."""
    return {"sampling_rate": int(extractor.sampling_rate), "do_normalize": bool(extractor.do_normalize)}


def encoder_identity(speech: Any, extractor: Any) -> dict[str, Any]:
    """All that decides the frames of an encoder, beside the audio.

    Args:
        speech: the `HfSpeechModel`.
        extractor: its feature extractor.
    """
    encoder, config = speech.frame_encoder, speech.config
    return {
        "backbone": settings_that_count(config.backbone_config.to_dict()),
        "attention": config._attn_implementation,
        "layer": config.layer,
        "class_token": getattr(encoder, "class_token", None) is not None,
        **heard_as(extractor),
        "dtype": str(speech.dtype),
        **releases(),
        # The weights of a sum of layers are trained.
        "weights": digest_of_weights(
            (name, values) for name, values in encoder.state_dict().items() if not name.startswith("layer_mix.")
        ),
    }


def digest_of_weights(weights: Iterable[tuple[str, Tensor]]) -> str:
    """SHA-256 of names, types, shapes and numbers, in hexadecimal digits; of masks in training nothing.

    Those are drawn anew where a checkpoint has none.
    """
    digest = hashlib.sha256()
    for name, values in weights:
        if not name.endswith("masked_spec_embed"):
            digest.update(f"{name} {values.dtype} {tuple(values.shape)}\n".encode())
            digest.update(values.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _release(version: str) -> str:
    """Major and minor.

    >>> _release("2.13.0+cpu")
    '2.13'
    """
    return ".".join(version.split(".")[:2])
