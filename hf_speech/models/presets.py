"""Models of the literature by name: settings of `HfSpeechConfig` for a model from scratch."""

from collections.abc import Mapping
from typing import Any

_SPEAKER: dict[str, Any] = {"head": "cosine", "loss": "aam_softmax"}


def _ecapa(channels: int, aggregated: int, frontend: str = "speechbrain-fbank") -> dict[str, Any]:
    """ECAPA-TDNN (Desplanques et al., Interspeech 2020, section 3): embeddings of 192 dimensions."""
    return {
        "backbone_config": {
            "model_type": "ecapa-tdnn",
            "frontend": frontend,
            "frontend_config": {"norm": "mean"},
            "network_config": {"channels": [*[channels] * 4, aggregated]},
        },
        "pooling": "attentive",
        "projection": "batchnorm+linear",
        "projection_config": {"size": 192},
        **_SPEAKER,
    }


def _vgg(model_type: str, size: int, **network: Any) -> dict[str, Any]:
    """VGG with double multi-head attention (India et al., 2007.13199, sections 2 and 3): 400 dimensions."""
    return {
        "backbone_config": {
            "model_type": model_type,
            "frontend": "log-mel",
            "frontend_config": {"norm": "mean"},
            "network_config": {"size": size, **network},
        },
        "pooling": "double-multi-head",
        "pooling_config": {"heads": 32},
        "projection": "dmha",
        "projection_config": {"size": 400},
        "head": "cosine",
        "head_config": {"affine": True},  # the third of the fully connected layers: between embedding and margin
        "loss": "am_softmax",
        "loss_config": {"margin": 0.4},
    }


# Name -> settings. The x-vector has the MFCCs of Vaessen & van Leeuwen, "Training speaker recognition systems with
# limited data", Interspeech 2022 (2203.14688).
PRESETS: dict[str, dict[str, Any]] = {
    "x-vector": {
        "backbone_config": {
            "model_type": "x-vector",
            "frontend": "mfcc",
            "frontend_config": {"norm": "mean+variance"},
        },
        "pooling": "mean+std",
        "projection": "linear",
        "projection_config": {"size": 512},
        **_SPEAKER,
    },
    "ecapa-256": _ecapa(256, 768),
    "ecapa-512": _ecapa(512, 1536),
    "ecapa-1024": _ecapa(1024, 1536),
    "ecapa-1024-3072": _ecapa(1024, 3072),
    "vgg3": _vgg("vgg", 1024, blocks=3),
    "vgg4": _vgg("vgg", 1024),
    "residual-vgg": _vgg("residual-vgg", 1024),
}


def merged(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    """Two tables of settings, one over the other, tables inside them too.

    A part (`pooling`) that the upper one names anew loses the options (`pooling_config`) of the lower one.

    >>> merged({"pooling": "mean", "backbone_config": {"a": 1}}, {"backbone_config": {"b": 2}})
    {'pooling': 'mean', 'backbone_config': {'a': 1, 'b': 2}}
    """
    renamed = {f"{name}_config" for name in upper if name in lower and upper[name] != lower[name]}
    result = {name: value for name, value in lower.items() if name not in renamed}
    for name, value in upper.items():
        both = isinstance(value, Mapping) and isinstance(result.get(name), Mapping)
        result[name] = merged(result[name], value) if both else value
    return result
