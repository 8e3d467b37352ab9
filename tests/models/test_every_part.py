"""Tables over the registries: every backbone with every pooling, every front end, every head with every loss."""

from typing import Any

import pytest
import torch
from torch import Tensor

from hf_speech.models.backbones import OWN_BACKBONES, SpectralNetworkConfig
from hf_speech.models.configuration import BACKBONES
from hf_speech.models.frontends import FRONTENDS
from hf_speech.models.heads import HEADS
from hf_speech.models.losses import LOSSES, valid_heads
from hf_speech.models.modeling import HfSpeechForSequenceClassification, HfSpeechModel
from hf_speech.models.necks import NECKS
from hf_speech.models.pooling import POOLINGS
from hf_speech.models.projections import PROJECTIONS
from hf_speech.models.registry import InputError, options_of

from ..pairs import some_pairs
from .tiny import TOLERANCE, differences, lively, padded, small, takes, tiny_config, waveforms

PAIRS = [(head, loss) for loss in LOSSES for head in valid_heads(loss)]
SPECTRAL = [name for name, kind in OWN_BACKBONES.items() if issubclass(kind, SpectralNetworkConfig)]


def model_with(backbone: str, overrides: dict[str, Any] | None = None, **settings: Any) -> Any:
    return lively(HfSpeechForSequenceClassification(tiny_config(backbone, overrides, head="mlp", **settings)))


def check_training(model: HfSpeechForSequenceClassification, batch: dict[str, Tensor], labels: Tensor) -> None:
    """Forward and backward in float32 and bfloat16: a finite loss in float32, finite gradients for all that trains.

    None may lack one: in these models nothing is masked, so there are no embeddings of masks, which alone may.
    """
    for dtype in (torch.float32, torch.bfloat16):
        model = model.to(dtype).train()
        model.zero_grad()
        loss = model(**{**batch, "input_values": batch["input_values"].to(dtype)}, labels=labels).loss
        assert loss.dtype == torch.float32 and loss.isfinite()
        loss.backward()
        gradients = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
        assert [name for name, g in gradients.items() if g is None or not g.isfinite().all()] == []
        assert any(g.abs().max() > 0 for g in gradients.values())
    model.float().eval()


@pytest.mark.parametrize(("backbone", "pooling"), some_pairs(BACKBONES, POOLINGS, every=4))
def test_every_backbone_with_every_pooling(backbone: str, pooling: str) -> None:
    settings: dict[str, Any] = {"pooling": pooling, "pooling_config": small(POOLINGS[pooling])}
    if not takes(backbone, pooling):
        with pytest.raises(InputError, match="has no transformer"):
            HfSpeechModel(tiny_config(backbone, **settings))
        return
    model = model_with(backbone, **settings)
    found = differences(model)
    assert max(found.values()) <= TOLERANCE, found
    check_training(model, padded(waveforms((6_000, 4_000)), 6_500), torch.tensor([0, 2]))
    shortest = waveforms((model.encoder.min_samples,))[0]
    output = model(shortest[None], labels=torch.tensor([1]))
    output.loss.backward()
    assert output.logits.isfinite().all()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("frontend", FRONTENDS)
@pytest.mark.parametrize("backbone", SPECTRAL)
def test_every_front_end_on_every_backbone_that_takes_one(backbone: str, frontend: str) -> None:
    # Features of order 1, as all numbers that are compared.
    options = {"norm": "mean+variance"} if "norm" in options_of(FRONTENDS[frontend]) else {}
    pooling = "max" if backbone == "spectrum" else "mean+std"  # normed features alone have mean 0 and deviation 1
    model = model_with(backbone, {"frontend": frontend, "frontend_config": options}, pooling=pooling)
    found = differences(model)
    assert max(found.values()) <= TOLERANCE, found


@pytest.mark.parametrize("neck", NECKS)
@pytest.mark.parametrize("projection", PROJECTIONS)
def test_every_neck_with_every_projection(neck: str, projection: str) -> None:
    options = {"neck_config": small(NECKS[neck]), "projection_config": small(PROJECTIONS[projection])}
    model = model_with("wav2vec2", neck=neck, projection=projection, **options)
    found = differences(model)
    assert max(found.values()) <= TOLERANCE, found
    check_training(model, padded(waveforms((6_000, 4_000)), 6_500), torch.tensor([0, 2]))
    output = model(waveforms((400,))[0][None])
    assert output.logits.isfinite().all()
    if projection != "none":
        assert output.embeddings.shape == (1, 8)


@pytest.mark.parametrize(("head", "loss"), PAIRS)
def test_every_head_with_every_loss_that_goes_with_it(head: str, loss: str) -> None:
    kind = LOSSES[loss].problem_type
    count = 1 if kind == "regression" else 3
    settings: dict[str, Any] = {"num_labels": count, "head_config": small(HEADS[head])}
    if count > 1:
        settings["class_counts"] = [5, 2, 1]
    labels = {
        "regression": torch.tensor([31.0, 55.0, 40.0]),
        "multi_label_classification": torch.tensor([[1.0, 0, 1], [0, 1, 0], [1, 1, 1]]),
        "single_label_classification": torch.tensor([2, 0, 1]),
    }[kind]
    model = lively(HfSpeechForSequenceClassification(tiny_config("wav2vec2", head=head, loss=loss, **settings)))
    batch = padded(waveforms((6_000, 4_000, 5_000)), 6_500)
    with torch.inference_mode():
        together = model(**batch, labels=labels)
        alone = [model(wave[None]) for wave in waveforms((6_000, 4_000, 5_000))]
    assert together.logits.shape == (3, count) and together.loss.isfinite()
    # In units of order 1: cosines, and shares of the range of a distribution's values.
    scale, bins = model.head.scale, model.head.bins
    scores = (together.scores[0] - torch.cat([one.scores[0] for one in alone])) / scale
    logits = (together.logits - torch.cat([one.logits for one in alone])) / (
        scale if bins is None else bins[1] - bins[0]
    )
    difference = max(values.abs().max().item() for values in (scores, logits))
    print(f"{head} with {loss}: {difference:.1e}")
    assert difference <= TOLERANCE
    assert together.scores[0].std(0).max() / scale > 1000 * TOLERANCE
    check_training(model, batch, labels)
