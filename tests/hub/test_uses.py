"""What a model is for, and what not: by its tasks."""

import pytest

from hf_speech.hub.uses import uses
from hf_speech.hub.words import TARGETS

from ..test_results import example

LAWS = {
    "emotion": "2024/1689, article 5(1)(f)",
    "speaker_id": "GDPR, article 9",
    "age": "Proof of age",
    "gender": "gender",
}


@pytest.mark.parametrize("target", TARGETS)
def test_each_target_has_uses_and_misuses_of_its_own(target: str) -> None:
    content = example()
    content["data"]["target"] = target
    intended, not_for = uses(content)
    assert intended.startswith("## Intended use\n\n- ") and not_for.startswith("## Not for\n\n- ")
    assert intended.count("\n- ") == 3  # research, its own, a start
    assert ("Decisions about people" in not_for) == (target in LAWS)
    assert LAWS.get(target, "") in not_for


def test_a_model_measured_by_pairs_of_voices_is_biometric() -> None:
    content = example()
    content["data"]["target"] = "same speaker"
    content["metrics"][0]["name"] = "eer"
    intended, not_for = uses(content)
    assert "Sorting recordings by voice" in intended and "biometric" in not_for


def test_synthetic_speech_makes_no_model_for_real_speech() -> None:
    content = example()
    content["data"]["synthetic"] = True
    intended, not_for = uses(content)
    assert "Research and teaching" not in intended and "It was not made for real speech." in intended
    assert "Real speech: it has never heard any." in not_for


def test_somebody_elses_model_is_no_start_for_training_here() -> None:
    content = example()
    content["model"]["architecture"] = "Wav2Vec2ForSequenceClassification"
    assert "A start for training" not in uses(content)[0]
