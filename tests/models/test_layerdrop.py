"""LayerDrop layer by layer: how often, where not, and that training goes on as with layers left out."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from hf_speech.models.configuration import SSL_BACKBONES
from hf_speech.models.modeling import HfSpeechForSequenceClassification

from .tiny import STABLE, lively, padded, tiny_config, waveforms, without_dropout

CASES = [(backbone, {}) for backbone in SSL_BACKBONES]
CASES += [(backbone, STABLE) for backbone in ("wav2vec2", "hubert", "wavlm", "unispeech-sat")]


def model_with(backbone: str, layerdrop: float, values: dict[str, Any], **settings: Any) -> Any:
    values = {**without_dropout(backbone), "num_hidden_layers": 3, **values}
    if backbone == "wav2vec2-bert":
        values["conformer_conv_dropout"] = 0.0
    return lively(
        HfSpeechForSequenceClassification(tiny_config(backbone, values, layerdrop=layerdrop, **settings))
    ).train()


def skipped(model: Any, batch: dict[str, Tensor], times: int) -> Tensor:
    """Whether each layer gave back what came in: (times, layers) bool."""
    layers = model.encoder.backbone.encoder.layers
    found: list[bool] = []

    def note(_: Any, inputs: Any, output: Any) -> None:
        found.append(torch.equal(inputs[0], output[0] if isinstance(output, tuple) else output))

    hooks = [layer.register_forward_hook(note) for layer in layers]
    with torch.no_grad():
        for _ in range(times):
            model(**batch)
    for hook in hooks:
        hook.remove()
    return torch.tensor(found).view(times, len(layers))


@pytest.mark.parametrize(("backbone", "values"), CASES)
def test_layers_are_skipped_as_often_as_asked_in_training_only(backbone: str, values: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model = model_with(backbone, 0.3, values)
    batch = padded(waveforms((1_200, 900)), 1_200)
    times = 120
    share = skipped(model, batch, times).float().mean(0)
    first = 1 if backbone == "wavlm" else 0  # WavLM's first layer makes the position bias of all
    assert (share[:first] == 0).all()
    assert ((share[first:] - 0.3).abs() < 4 * (0.3 * 0.7 / times) ** 0.5).all(), share
    assert not skipped(model.eval(), batch, 5).any()
    assert not skipped(model_with(backbone, 0.0, values), batch, 5).any()


@pytest.mark.parametrize(("backbone", "values"), CASES)
def test_a_skipped_layer_is_as_if_it_were_not_there(backbone: str, values: dict[str, Any]) -> None:
    model = model_with(backbone, 0.999, values)
    layers = model.encoder.backbone.encoder.layers
    for layer in (layers[0], layers[2]):
        layer.eval()  # as if frozen: always there
    batch = padded(waveforms((6_000, 4_000)), 6_500)
    with torch.no_grad():
        found = model(**batch).logits
        del layers[1]
        expected = model.eval()(**batch).logits
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("backbone", SSL_BACKBONES)
def test_hidden_states_are_those_of_every_layer(backbone: str) -> None:
    model = model_with(backbone, 0.999, {})
    states = model(torch.randn(2, 6_000), output_hidden_states=True).hidden_states
    first = 1 if backbone == "wavlm" else 0
    assert len(states) == 4
    assert all(torch.equal(states[i], states[i + 1]) == (i >= first) for i in range(2))  # the last may be normed


# transformers' WavLM never ends a reentrant recomputation, with or without LayerDrop.
@pytest.mark.parametrize(
    ("backbone", "reentrant"),
    [(backbone, way) for backbone in SSL_BACKBONES for way in (False, True) if not (way and backbone == "wavlm")],
)
def test_recomputed_layers_are_the_same_ones(backbone: str, reentrant: bool) -> None:
    model = model_with(backbone, 0.5, {})
    again = copy.deepcopy(model)
    again.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": reentrant})
    batch = padded(waveforms((6_000, 4_000)), 6_500)
    for seed in range(4):
        gradients = []
        for each in (model, again):
            torch.manual_seed(seed)
            each.zero_grad()
            each(**batch, labels=torch.tensor([0, 1])).loss.backward()
            gradients.append({name: p.grad for name, p in each.named_parameters() if p.grad is not None})
        ours, recomputed = gradients
        assert ours.keys() == recomputed.keys()
        for name, gradient in ours.items():
            torch.testing.assert_close(recomputed[name], gradient, atol=1e-5, rtol=1e-4, msg=name)
