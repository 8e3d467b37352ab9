"""Tiny models whose numbers are of order 1, so that a fault shows; batches of unequal length with junk at the end."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized
from transformers import PreTrainedModel

from hf_speech.models.configuration import SSL_BACKBONES, HfSpeechConfig
from hf_speech.models.pooling import POOLINGS
from hf_speech.models.registry import options_of
from hf_speech.testing import tiny_backbone_config

TOLERANCE = 1e-5  # float32 rounding in another order of sums; the numbers compared are of order 1
LENGTHS = (16_000, 9_000, 5_000, 400)
SIZE = 17_003  # some padding for the longest as well

SMALL: dict[str, Any] = {"size": 8, "heads": 2, "bottleneck": 6, "layers": 1, "feedforward": 16}
SMALL["sizes"] = [12, 12, 12, 12, 12]  # of the neck "tdnn", which has five layers

Model = TypeVar("Model", bound=nn.Module)
# The SSL encoders that take the waveform itself, not features of it.
RAW_BACKBONES = tuple(name for name in SSL_BACKBONES if name != "wav2vec2-bert")
STABLE: dict[str, Any] = {"feat_extract_norm": "layer", "do_stable_layer_norm": True}


def tiny_config(backbone: str = "wav2vec2", overrides: dict[str, Any] | None = None, **settings: Any) -> HfSpeechConfig:
    """A configuration of ours on a tiny backbone; `overrides` go to the backbone, `settings` to ours."""
    settings = {"num_labels": 3} | settings
    return HfSpeechConfig(backbone_config=tiny_backbone_config(backbone, **(overrides or {})), **settings)


@torch.no_grad()
def lively(model: Model, seed: int = 0) -> Model:
    """The model in evaluation mode; weights keep the variance, norms and running statistics do something.

    The initial weights of transformers are so small (0.02) that a leak would drown in the biases.
    """
    torch.manual_seed(seed)
    for module in model.modules():
        weight = getattr(module, "weight", None)
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d):
            random = torch.randn(weight.shape) / weight[0].numel() ** 0.5
            if is_parametrized(module, "weight"):
                module.weight = random
            else:
                module.weight.copy_(random)
        elif isinstance(weight, Tensor) and weight.dim() == 1:  # a norm, whoever wrote it
            weight.uniform_(0.5, 1.5)
        if isinstance(getattr(module, "bias", None), nn.Parameter):
            module.bias.normal_(0, 0.3)
        if isinstance(getattr(module, "layer_weights", None), nn.Parameter):
            module.layer_weights.normal_()
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return model.eval()


def without_dropout(backbone: str = "wav2vec2") -> dict[str, Any]:
    """Values of a backbone's configuration that make training deterministic."""
    names = ("hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout", "final_dropout")
    if backbone == "wav2vec2-conformer":
        names = (*names, "conformer_conv_dropout")
    return dict.fromkeys(names, 0.0)


def waveforms(lengths: Sequence[int], seed: int = 0) -> list[Tensor]:
    """Noise at very different levels, so that statistics over the wrong samples are wrong: (length,) each."""
    generator = torch.Generator().manual_seed(seed)
    return [(0.3 + i) * torch.randn(length, generator=generator) for i, length in enumerate(lengths)]


def padded(waves: Sequence[Tensor], size: int, junk: float = 5.0) -> dict[str, Tensor]:
    """One batch, with loud noise where the waveforms have ended: input_values (B, size), attention_mask (B, size)."""
    generator = torch.Generator().manual_seed(99)
    values = junk * torch.randn(len(waves), size, generator=generator)
    mask = torch.zeros(len(waves), size, dtype=torch.long)
    for row, wave in enumerate(waves):
        values[row, : len(wave)] = wave
        mask[row, : len(wave)] = 1
    return {"input_values": values, "attention_mask": mask}


@torch.inference_mode()
def differences(model: PreTrainedModel, names: tuple[str, ...] = ("embeddings", "logits")) -> dict[str, float]:
    """The largest difference between utterances alone and in a batch, for each output."""
    shortest = max(400, getattr(getattr(model, "encoder", None), "min_samples", 0))
    waves = waveforms((*LENGTHS[:3], shortest))
    together = model(**padded(waves, SIZE))
    alone = [model(wave[None]) for wave in waves]
    # Numbers that are nearly the same for every utterance would hide a leak.
    assert all(together[name].std(0).max() > 1000 * TOLERANCE for name in names)
    return {name: (together[name] - torch.cat([one[name] for one in alone])).abs().max().item() for name in names}


def reloaded(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """The model as it comes back from a folder; it is the same class, with the same weights to the bit."""
    model.save_pretrained(folder)
    loaded = type(model).from_pretrained(folder).eval()
    weights = loaded.state_dict()
    assert weights.keys() == model.state_dict().keys()
    assert all(torch.equal(weights[name], values) for name, values in model.state_dict().items())
    return loaded


def small(part: Any) -> dict[str, Any]:
    """Options that make a part tiny."""
    return {name: value for name, value in SMALL.items() if name in options_of(part)}


def takes(backbone: str, pooling: str) -> bool:
    """Whether the pooling goes with the backbone: a token needs a transformer."""
    return backbone in SSL_BACKBONES or not hasattr(POOLINGS[pooling], "token")
