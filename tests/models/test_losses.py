"""Losses against numbers worked out by hand."""

from math import exp, log

import pytest
import torch

from hf_speech.models.configuration import PROBLEM_TYPES
from hf_speech.models.losses import LOSSES, cross_entropy, l1, mse
from hf_speech.models.modeling import HfSpeechForSequenceClassification

from .tiny import lively, tiny_config, waveforms

# p(correct) = 3/4 for the first and 1/5 for the second utterance
LOGITS = torch.tensor([[log(3.0), 0.0], [log(4.0), 0.0]])
LABELS = torch.tensor([0, 1])


def test_every_loss_has_a_problem_type() -> None:
    assert LOSSES.keys() == PROBLEM_TYPES.keys()


def test_cross_entropy() -> None:
    config = tiny_config(num_labels=2)
    assert cross_entropy(LOGITS, LABELS, config).item() == pytest.approx((log(4 / 3) + log(5)) / 2, rel=1e-6)
    uniform = cross_entropy(torch.zeros(3, 7), torch.tensor([0, 3, 6]), tiny_config(num_labels=7))
    assert uniform.item() == pytest.approx(log(7), rel=1e-6)


def test_cross_entropy_with_class_weights_divides_by_their_sum() -> None:
    config = tiny_config(num_labels=2, class_weights=[1.0, 3.0])
    expected = (1 * log(4 / 3) + 3 * log(5)) / (1 + 3)
    assert cross_entropy(LOGITS, LABELS, config).item() == pytest.approx(expected, rel=1e-6)


def test_regression_losses_are_in_standard_deviations() -> None:
    # 30 for 20 and 35 for 40, a deviation of 5: errors of 2 and -1.
    logits, labels = torch.tensor([[30.0], [35.0]]), torch.tensor([20.0, 40.0])
    config = tiny_config(num_labels=1, loss="mse", target_mean=28.0, target_std=5.0)
    assert mse(logits, labels, config).item() == pytest.approx((4 + 1) / 2)
    assert l1(logits, labels, config).item() == pytest.approx((2 + 1) / 2)
    assert mse(logits, labels.long(), config).item() == pytest.approx(2.5)


@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_float32_inside(name: str) -> None:
    regression = PROBLEM_TYPES[name] == "regression"
    config = tiny_config(num_labels=1 if regression else 2, loss=name, target_std=0.7)
    logits = torch.tensor([[1.3], [-0.4]]) if regression else LOGITS
    logits = logits.to(torch.bfloat16)
    labels = torch.tensor([0.1, 0.2]) if regression else LABELS
    loss = LOSSES[name](logits, labels, config)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, LOSSES[name](logits.float(), labels, config), atol=0, rtol=0)


def test_padded_places_do_not_count_as_a_class() -> None:
    loss = cross_entropy(LOGITS, torch.tensor([0, -100]), tiny_config(num_labels=2))
    assert exp(-loss.item()) == pytest.approx(3 / 4)


@pytest.mark.parametrize("name", LOSSES)
def test_the_model_gives_the_configured_loss(name: str) -> None:
    regression = PROBLEM_TYPES[name] == "regression"
    settings = {"num_labels": 1, "target_mean": 40.0, "target_std": 12.0} if regression else {"num_labels": 3}
    model = lively(HfSpeechForSequenceClassification(tiny_config(loss=name, **settings)))
    wave = torch.stack(waveforms((4_000, 4_000)))
    labels = torch.tensor([31.0, 55.0]) if regression else torch.tensor([2, 0])
    output = model(wave, labels=labels)
    raw = model.head(output.embeddings)
    if not regression:
        assert torch.equal(output.logits, raw)
        expected = -raw.log_softmax(-1)[torch.arange(2), labels].mean()
    else:
        # The head gives standardised values, the model years.
        torch.testing.assert_close(output.logits, raw * 12 + 40)
        errors = raw[:, 0] - (labels - 40) / 12
        expected = errors.square().mean() if name == "mse" else errors.abs().mean()
    torch.testing.assert_close(output.loss, expected)
    assert model(wave).loss is None
