"""Presets: they build, have the sizes that were published, and give way to what is said besides."""

import pytest
import torch

from hf_speech.models.modeling import HfSpeechForSequenceClassification, HfSpeechForXVector
from hf_speech.models.presets import PRESETS, merged

# Preset -> millions of parameters (network, pooling, projection; no classifier) and where that is from.
PUBLISHED = {
    "ecapa-512": (6.2, "Desplanques et al., 2020, table 1"),
    "ecapa-1024": (14.7, "Desplanques et al., 2020, table 1"),
    "ecapa-1024-3072": (20.8, "SpeechBrain's recipe, as counted with 192 dimensions"),
}


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_builds_and_embeds(preset: str) -> None:
    model = HfSpeechForXVector.from_backbone(preset, labels=["anna", "ben"]).eval()
    with torch.inference_mode():
        output = model(torch.randn(2, 8_000))
    assert output.logits.shape == (2, 2) and output.embeddings.shape == (2, model.speech.output_size)
    assert model.config.projection_config["size"] == model.speech.output_size


@pytest.mark.parametrize("preset", PUBLISHED)
def test_sizes_are_the_published_ones(preset: str) -> None:
    with torch.device("meta"):  # the sizes alone
        model = HfSpeechForXVector.from_backbone(preset, labels=["anna", "ben"])
    published, source = PUBLISHED[preset]
    counted = model.speech.num_parameters() / 1e6
    print(f"{preset}: {counted:.3f} M, published {published} M ({source})")
    assert round(counted, 1) == published


def test_the_vgg_has_the_layers_of_the_paper_s_table() -> None:
    with torch.device("meta"):
        model = HfSpeechForXVector.from_backbone("vgg4", labels=["anna", "ben"])
    channels, by_hand = [1, 128, 128, 256, 256, 512, 512, 1024, 1024], 0
    for before, after in zip(channels[:-1], channels[1:], strict=True):
        by_hand += 9 * before * after + after  # 3 x 3, with bias
    network = sum(p.numel() for p in model.encoder.backbone.parameters())
    assert network == by_hand == 18_731_904
    # Queries; two layers of 400 dimensions with a batch norm each, and the one before the margin.
    behind = (5_120 + 160) + (160 * 400 + 400) + (400 * 400 + 400) + 2 * 800 + (400 * 400 + 400)
    whole = sum(p.numel() for p in model.parameters())
    print(f"vgg4: network {network:,}, whole {whole:,} of which {2 * 400} are two speakers' centres")
    assert whole == network + behind + 2 * 400
    assert model.encoder.output_size == 5_120  # 1024 channels, 80 bands halved four times
    assert model.speech.pooling.output_size == 160  # 32 heads


def test_what_is_said_stands_above_the_preset() -> None:
    model = HfSpeechForSequenceClassification.from_backbone(
        "ecapa-256", labels=["a", "b", "c"], pooling="mean+std", loss="cross_entropy",
        backbone_config={"network_config": {"channels": [16, 16, 16, 16, 24]}},
    )  # fmt: skip
    config = model.config
    assert (config.pooling, config.loss, config.head, config.projection) == (
        "mean+std", "cross_entropy", "cosine", "batchnorm+linear",
    )  # fmt: skip
    assert config.backbone_config.network_config == {"channels": [16, 16, 16, 16, 24]}
    assert config.backbone_config.frontend_config == {"norm": "mean"}
    assert model.encoder.output_size == 24


def test_a_part_named_anew_loses_its_options() -> None:
    lower = {"pooling": "multi-head", "pooling_config": {"heads": 4}, "head": "mlp", "head_config": {"size": 8}}
    assert merged(lower, {"pooling": "mean", "head": "mlp", "head_config": {"dropout": 0.2}}) == {
        "pooling": "mean",
        "head": "mlp",
        "head_config": {"size": 8, "dropout": 0.2},
    }
