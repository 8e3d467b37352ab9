"""Tiny models of every kind, made from the registries: what is new there is exported the day it is registered."""

from itertools import cycle
from typing import Any

from hf_speech.models.backbones import OWN_BACKBONES, SpectralNetworkConfig
from hf_speech.models.configuration import BACKBONES, SSL_BACKBONES
from hf_speech.models.frontends import FRONTENDS
from hf_speech.models.heads import HEADS
from hf_speech.models.losses import LOSSES, valid_heads
from hf_speech.models.modeling import HfSpeechForSequenceClassification
from hf_speech.models.necks import NECKS
from hf_speech.models.pooling import POOLINGS
from hf_speech.models.projections import PROJECTIONS

from ..models.tiny import STABLE, lively, small, tiny_config

SPECTRAL = [name for name, kind in OWN_BACKBONES.items() if issubclass(kind, SpectralNetworkConfig)]
TOKENS = [name for name, kind in POOLINGS.items() if hasattr(kind, "token")]
TWO_TASKS = {"emotion": {"labels": ["sad", "glad", "calm"]}, "age": {"loss": "mse", "target_mean": 40.0, "unit": "y"}}
Case = tuple[str, dict[str, Any], dict[str, Any]]  # backbone, values of its configuration, settings of the model


def head_settings(head: str) -> dict[str, Any]:
    """Settings of a model with a head, and the first loss that goes with it."""
    loss = next(name for name in LOSSES if head in valid_heads(name))
    labels = 1 if LOSSES[loss].problem_type == "regression" else 3
    return {"head": head, "head_config": small(HEADS[head]), "loss": loss, "num_labels": labels}


def part(kind: str, registry: dict[str, Any], name: str) -> dict[str, Any]:
    """Settings of a part, made tiny."""
    return {kind: name, f"{kind}_config": small(registry[name])}


def model_of(case: Case) -> HfSpeechForSequenceClassification:
    backbone, overrides, settings = case
    return lively(HfSpeechForSequenceClassification(tiny_config(backbone, overrides, **settings)))


def frontend_of(backbone: str, name: str) -> dict[str, Any]:
    return {"frontend": name} if backbone in SPECTRAL else {}


def every_value_once() -> dict[str, Case]:
    """As few models as have each backbone, front end, neck, pooling, projection and head in one of them."""
    necks, projections, heads, frontends = (cycle(r) for r in (NECKS, PROJECTIONS, HEADS, FRONTENDS))
    tokens = list(zip(SSL_BACKBONES, TOKENS, strict=False))
    others = [name for name in BACKBONES if name not in dict(tokens)]
    plain = [name for name in POOLINGS if name not in TOKENS]
    count = max(len(others), len(plain), len(PROJECTIONS), len(HEADS))
    pairs = tokens + [(others[i % len(others)], plain[i % len(plain)]) for i in range(count)]
    made = {}
    for backbone, pooling in pairs:
        neck = "none" if pooling in TOKENS else next(necks)
        settings = part("neck", NECKS, neck) | part("pooling", POOLINGS, pooling) | head_settings(next(heads))
        settings |= part("projection", PROJECTIONS, next(projections))
        frontend = frontend_of(backbone, next(frontends) if backbone in SPECTRAL else "")
        made[" ".join([backbone, *frontend.values(), neck, pooling, settings["head"]])] = (backbone, frontend, settings)
    return made


def others() -> dict[str, Case]:
    """What no registry has: kinds of layers, norms, positions, tasks."""
    return {
        "stable norm, normalised": ("wav2vec2", STABLE, {"pooling": "mean+std"}),
        "weighted sum": ("hubert", {}, {"layer": "weighted_sum"}),
        "inner layer": ("wavlm", {}, {"layer": 1}),
        "hubert with batch norm": ("hubert", {"conv_pos_batch_norm": True}, {}),
        "conformer, rotary": ("wav2vec2-conformer", {"position_embeddings_type": "rotary"}, {}),
        "conformer, no positions": ("wav2vec2-conformer", {"position_embeddings_type": None}, {}),
        "w2v-bert, relative": ("wav2vec2-bert", {"position_embeddings_type": "relative"}, {}),
        "w2v-bert, rotary": ("wav2vec2-bert", {"position_embeddings_type": "rotary"}, {}),
        "several tasks": ("x-vector", {}, {"tasks": TWO_TASKS}),
        "several labels": ("x-vector", {}, {"problem_type": "multi_label_classification"}),
        "speeds as speakers": (
            "x-vector",
            {},
            {"target": "speaker_id", "num_labels": 6, "id2label": dict(enumerate(SPEEDS))},
        ),
    }


SPEEDS = ["ada", "bob", "ada at 0.9", "bob at 0.9", "ada at 1.1", "bob at 1.1"]


def full_table() -> dict[str, Case]:
    """Every backbone with every pooling that it takes, and every other part on its own."""
    made: dict[str, Case] = {}
    for backbone in BACKBONES:
        for pooling in POOLINGS:
            if backbone in SSL_BACKBONES or pooling not in TOKENS:
                made[f"{backbone} {pooling}"] = (backbone, {}, part("pooling", POOLINGS, pooling))
    for backbone in SPECTRAL:
        made |= {
            f"{backbone} {name}": (backbone, frontend_of(backbone, name), {"pooling": "max"}) for name in FRONTENDS
        }
    made |= {f"neck {name}": ("wavlm", {}, part("neck", NECKS, name)) for name in NECKS}
    made |= {f"projection {name}": ("x-vector", {}, part("projection", PROJECTIONS, name)) for name in PROJECTIONS}
    made |= {f"head {name}": ("x-vector", {}, head_settings(name)) for name in HEADS}
    return made
