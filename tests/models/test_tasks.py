"""Several heads over one backbone: logits, losses by weight, labels that are not known."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForAudioClassification

from hf_speech.errors import InputError
from hf_speech.models.modeling import HfSpeechForSequenceClassification

from .tiny import lively, padded, tiny_config, waveforms

NAN = float("nan")
TASKS: dict[str, Any] = {
    "emotion": {"labels": ["calm", "angry", "sad"], "head": "mlp", "head_config": {"size": 8}},
    "age": {"loss": "mse", "target_mean": 40.0, "target_std": 10.0, "weight": 0.5, "unit": "years"},
    "group": {"labels": ["young", "middle", "old"], "head": "ordinal", "loss": "coral", "weight": 2.0},
}
LABELS = {
    "emotion": torch.tensor([2, 0, -100]),
    "age": torch.tensor([31.0, NAN, 55.0]),
    "group": torch.tensor([-100, -100, 1]),
}


@pytest.fixture
def model() -> HfSpeechForSequenceClassification:
    return lively(HfSpeechForSequenceClassification(tiny_config(tasks=TASKS)))


def batch() -> dict[str, torch.Tensor]:
    return padded(waveforms((6_000, 4_000, 5_000)), 6_500)


def test_logits_are_the_first_task_s_and_task_logits_all(model: HfSpeechForSequenceClassification) -> None:
    output = model(**batch())
    assert list(output.task_logits) == list(TASKS)
    assert torch.equal(output.logits, output.task_logits["emotion"])
    assert {name: logits.shape for name, logits in output.task_logits.items()} == {
        "emotion": (3, 3),
        "age": (3, 1),
        "group": (3, 3),
    }
    torch.testing.assert_close(output.task_logits["age"], model.heads[1](output.embeddings) * 10 + 40)
    assert model.config.id2label == {0: "calm", 1: "angry", 2: "sad"}
    assert model.config.problem_type == "single_label_classification" and output.loss is None


def test_the_loss_is_the_sum_by_weight_over_what_is_known(model: HfSpeechForSequenceClassification) -> None:
    output = model(**batch(), labels=LABELS)
    emotion, age, group = output.scores
    by_hand = -(emotion.log_softmax(-1)[0, 2] + emotion.log_softmax(-1)[1, 0]) / 2
    errors = torch.stack([age[0, 0] - (31 - 40) / 10, age[2, 0] - (55 - 40) / 10])
    by_hand = by_hand + 0.5 * errors.square().mean()
    probabilities = group[2].softmax(-1)
    # Class 1 of 3: above 0 it is, above 1 it is not.
    by_hand = by_hand - 2.0 * ((1 - probabilities[0]).log() + (1 - probabilities[2]).log())
    torch.testing.assert_close(output.loss, by_hand)


def test_what_is_not_known_adds_no_loss_and_no_nan(model: HfSpeechForSequenceClassification) -> None:
    nothing = {"emotion": torch.full((3,), -100), "age": torch.full((3,), NAN), "group": torch.full((3,), -100)}
    for labels in (nothing, nothing | {"age": torch.full((3,), -100)}, {}):
        model.zero_grad()
        loss = model.train()(**batch(), labels=labels).loss
        assert loss.item() == 0
        loss.backward()
        # Each parameter has a gradient, as DDP wants it, and it is zero.
        assert all(p.grad is not None and not p.grad.any() for p in model.parameters() if p.requires_grad)
    alone = model.eval()(**batch(), labels={"age": LABELS["age"]}).loss
    filled = {**nothing, "age": LABELS["age"]}
    torch.testing.assert_close(alone, model(**batch(), labels=filled).loss)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.tensor([0, 1, 2]), "several tasks: give labels as a table, task -> labels, of emotion, age, group"),
        ({"emotions": torch.tensor([0, 1, 2])}, r"unknown task in labels 'emotions' \(did you mean 'emotion'\?\)"),
        ({"emotion": torch.tensor([0, 1, 3])}, "label 3 is out of range; valid: 0 to 2, or -100 where not known"),
        ({"group": torch.tensor([0.0, 1.0, 2.0])}, "classes are whole numbers"),
        ({"age": torch.tensor([[1.0], [2.0], [3.0]])}, r"labels have the shape \(3, 1\)"),
        ({"age": [31.0, 40.0, 55.0]}, "labels are a list: give a tensor"),
    ],
)
def test_labels_that_do_not_fit_are_refused(
    model: HfSpeechForSequenceClassification, labels: Any, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        model(**batch(), labels=labels)


def test_tasks_are_saved_and_loaded(model: HfSpeechForSequenceClassification, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    loaded = AutoModelForAudioClassification.from_pretrained(tmp_path)
    assert loaded.tasks == model.tasks
    with torch.inference_mode():
        found, expected = loaded(**batch()).task_logits, model(**batch()).task_logits
    for name in TASKS:
        torch.testing.assert_close(found[name], expected[name], atol=1e-6, rtol=1e-6)


def test_fields_of_the_config_hold_for_all_tasks() -> None:
    tasks = {"a": {"labels": ["x", "y"]}, "b": {"labels": ["x", "y"], "head": "linear"}}
    config = tiny_config(head="mlp", head_config={"size": 5}, tasks=tasks)
    assert [(task.head, task.head_config) for task in config.task_list()] == [("mlp", {"size": 5}), ("linear", {})]


def test_a_margin_grows_with_the_steps_that_the_model_is_told_of() -> None:
    config = tiny_config(head="cosine", loss="aam_softmax", loss_config={"warmup_steps": 100, "margin": 0.3})
    model = lively(HfSpeechForSequenceClassification(config)).train()
    labels = torch.tensor([0, 1, 2])
    losses = []
    for step in (0, 50, 100, 1_000, None):
        model.optimizer_step = step
        torch.manual_seed(0)  # the same dropout
        losses.append(model(**batch(), labels=labels).loss.item())
    assert losses[0] < losses[1] < losses[2] == losses[3] == losses[4]
    torch.manual_seed(0)
    scores = model(**batch()).scores[0]
    assert losses[0] == pytest.approx(torch.nn.functional.cross_entropy(scores, labels).item(), rel=1e-6)
