"""The recipes with a small encoder in the place of theirs, of the same kind and depth; all else is as they say."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModel, Wav2Vec2FeatureExtractor

from hf_speech.testing import tiny_backbone_config
from hf_speech.training.arguments import read_config
from hf_speech.training.config import RunConfig
from hf_speech.training.recipes import recipe_names

from .corpora import MEETING

# Those on corpora of the originals; the small models beside them are tested by what they were trained on.
NAMES = [name for name in recipe_names() if "-small" not in name]

_LAYER_NORM = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
# Encoder that a recipe names -> kind and depth of the real one. All are wider than a feature mask, which would leave
# nothing of a frame.
CHECKPOINTS: dict[str, dict[str, Any]] = {
    "facebook/wav2vec2-base": {"model_type": "wav2vec2", "num_hidden_layers": 12},
    "facebook/wav2vec2-large-robust": {"model_type": "wav2vec2", "num_hidden_layers": 24, **_LAYER_NORM},
    "jonatasgrosman/wav2vec2-large-xlsr-53-chinese-zh-cn": {
        "model_type": "wav2vec2", "num_hidden_layers": 24, **_LAYER_NORM,
    },
    "microsoft/wavlm-large": {"model_type": "wavlm", "num_hidden_layers": 24, **_LAYER_NORM},
}  # fmt: skip
# Preset that a recipe names -> options of a small network.
NETWORKS: dict[str, dict[str, Any]] = {
    "x-vector": {"channels": [16, 16, 16, 16, 24]},
    "ecapa-512": {"channels": [16, 16, 16, 16, 24], "scale": 4, "se_channels": 8},
    "vgg4": {"size": 64},
    "residual-vgg": {"size": 128},
}


@cache
def recipe(name: str) -> RunConfig:
    """A recipe as it stands."""
    return read_config(name)


def write_checkpoints(folder: Path) -> dict[str, Path]:
    """Saves a small checkpoint for each of `CHECKPOINTS`, with random weights -> name -> its folder."""
    folders = {}
    for name, values in CHECKPOINTS.items():
        torch.manual_seed(0)
        config = tiny_backbone_config(**{"hidden_size": 128, "mask_time_prob": 0.05, **values})
        folders[name] = folder / name.replace("/", "--")
        AutoModel.from_config(config).save_pretrained(folders[name])
        Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folders[name])
    return folders


def flags_of(name: str, checkpoints: Mapping[str, Path]) -> list[str]:
    """What a recipe is run with so that it is small."""
    config = recipe(name)
    backbone = str(config.model.backbone)
    flags = []
    if backbone in NETWORKS:
        flags += ["--backbone-config.network_config", json.dumps(NETWORKS[backbone])]
    else:
        # A part that is named anew loses its options: they are given again.
        flags += ["--backbone", str(checkpoints[backbone])]
        flags += ["--backbone-config", json.dumps(config.model.backbone_config)]
    if config.data.dataset_config is not None:
        flags += ["--dataset-config", MEETING]
    if config.learning.adaptation:
        flags += ["--adaptation", json.dumps([_small_stage(stage) for stage in config.learning.adaptation])]
    return flags


# wav2vec 1.0 in small, from scratch, at the frame rate that the recipe gives it.
_WAV2VEC = {"conv_layers": [[8, 10, 5], [72, 8, 4], [72, 4, 2], [72, 4, 2], [72, 4, 2]], "context_kernels": [2, 3]}


def _small_stage(stage: Mapping[str, Any]) -> dict[str, Any]:
    """A stage of two steps, of the same kind and with all else as it is."""
    ((kind, fields),) = stage.items()
    if kind == "cluster":
        return {kind: {**fields, "counts": [4, 8], "epochs": 1}}
    small = {**fields, "max_steps": 2, "dataloader_num_workers": 0, "save_strategy": "no", "batch_seconds": 30}
    small.pop("save_steps")
    if small.get("schedule_config"):
        small["schedule_config"] = {**small["schedule_config"], "warmup_steps": 1}
    if "backbone" in small:
        del small["backbone"]
        network = {**_WAV2VEC, **small["backbone_config"]["network_config"]}
        table = {**small["backbone_config"], "model_type": "wav2vec", "network_config": network}
        small["backbone_config"] = table
    return {kind: small}
