"""Checkpoints of tiny encoders."""

from pathlib import Path

from transformers import AutoModel, Wav2Vec2FeatureExtractor

from hf_speech.testing import tiny_backbone_config

from ..models.tiny import lively


def write_encoder(folder: Path, backbone: str = "wav2vec2", normalize: bool = True, **values: object) -> Path:
    """Three layers of 32 dimensions, with a feature extractor -> the folder."""
    model = lively(AutoModel.from_config(tiny_backbone_config(backbone, **{"num_hidden_layers": 3, **values})))
    model.save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=normalize).save_pretrained(folder)
    return folder
