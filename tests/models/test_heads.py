"""Heads: shapes, the arithmetic of each, and the batch of one."""

import pytest
import torch

from hf_speech.errors import InputError
from hf_speech.models.heads import HEADS
from hf_speech.models.modeling import HfSpeechForSequenceClassification

from .tiny import lively, tiny_config, waveforms


@pytest.mark.parametrize("name", HEADS)
def test_shapes(name: str) -> None:
    config = tiny_config(num_labels=5, head=name, head_size=7)
    for size in (6, 32):
        assert HEADS[name](config, size).eval()(torch.randn(2, size)).shape == (2, 5)


@torch.inference_mode()
def test_each_head_is_what_its_formula_says() -> None:
    vectors = torch.randn(4, 6)
    config = tiny_config(head_size=7)
    heads = {name: lively(head(config, 6)) for name, head in HEADS.items()}
    outer = {name: (head.classifier.weight, head.classifier.bias) for name, head in heads.items()}

    def through(name: str, values: torch.Tensor) -> torch.Tensor:
        return values @ outer[name][0].T + outer[name][1]

    projector, hidden = heads["projector"].projector, heads["mlp"].hidden
    projected = vectors @ projector.weight.T + projector.bias
    rectified = (vectors @ hidden.weight.T + hidden.bias).clamp(min=0)
    first, norm = heads["batchnorm"].hidden, heads["batchnorm"].norm
    normed = (vectors @ first.weight.T + first.bias - norm.running_mean) / (norm.running_var + norm.eps).sqrt()
    expected = {
        "linear": through("linear", vectors),
        "projector": through("projector", projected),
        "mlp": through("mlp", rectified),
        "batchnorm": through("batchnorm", (normed * norm.weight + norm.bias).clamp(min=0)),
    }
    assert expected.keys() == HEADS.keys()
    for name, head in heads.items():
        torch.testing.assert_close(head(vectors), expected[name], atol=1e-5, rtol=1e-5)


def test_batch_norm_refuses_a_batch_of_one_in_training_only() -> None:
    model = lively(HfSpeechForSequenceClassification(tiny_config(head="batchnorm")))
    wave = waveforms((2_000,))[0][None]
    assert model(wave).logits.isfinite().all()
    with pytest.raises(InputError, match="'batchnorm' can't train on a batch of one: use a larger batch, or head 'mlp"):
        model.train()(wave)
    assert model(wave.repeat(2, 1)).logits.isfinite().all()
