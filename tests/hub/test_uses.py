"""What a model is for, and what not: by its tasks."""

import pytest

from hf_speech.hub.uses import uses
from hf_speech.hub.words import TARGETS

from ..test_results import example
from .examples import measured_only

LAWS = {
    "emotion": ("2024/1689, article 5(1)(f)", "annex III, point 1(c)", "article 50(3)"),
    "speaker_id": ("GDPR, article 9", "annex III, point 1(a)"),
    "age": ("Proof of age", "annex III, point 1(b)", "article 50(3)"),
    "gender": ("Telling anybody what their gender is", "annex III, point 1(b)", "article 50(3)"),
    "language": ("where somebody comes from", "may be prohibited"),
}
LIKE = {"arousal": "emotion", "valence": "emotion", "Dominance": "emotion", "sentiment": "emotion", "mood": "emotion"}
LIKE |= {"age_group": "age", "sex": "gender", "accent": "language", "nationality": "language", "ethnicity": "language"}


@pytest.mark.parametrize("target", TARGETS)
def test_each_target_has_uses_and_misuses_of_its_own(target: str) -> None:
    content = example()
    content["data"]["target"] = target
    intended, not_for = uses(content)
    assert intended.startswith("## Intended use\n\n- ") and not_for.startswith("## Not for\n\n- ")
    assert intended.count("\n- ") == 3  # research, its own, a start
    assert "Decisions about people" in not_for and "not known to this card" not in not_for
    assert all(law in not_for for law in LAWS[target])


@pytest.mark.parametrize("target", LIKE)
def test_targets_of_other_names_are_known_by_their_words(target: str) -> None:
    content = example()
    content["data"]["target"] = target
    not_for = uses(content)[1]
    assert all(law in not_for for law in LAWS[LIKE[target]]) and "not known to this card" not in not_for
    assert ("annex III, point 1(b)" in not_for) == (LIKE[target] != "emotion")


@pytest.mark.parametrize("target", ["label", "agenda", "x1"])
def test_a_target_that_nobody_knows_is_met_with_caution(target: str) -> None:
    content = example()
    content["data"]["target"] = target
    not_for = uses(content)[1]
    assert "Decisions about people" in not_for
    assert "What its answers say of a person is not known to this card: measure for whom it does worse" in not_for


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
    assert "Real speech: it was fine-tuned on synthetic speech" in not_for and "never heard" not in not_for
    content["model"]["backbone"] = "wav2vec2, from scratch"
    assert "Real speech: it has never heard any." in uses(content)[1]


def test_a_model_that_was_measured_on_synthetic_speech_may_be_for_real_speech() -> None:
    content = measured_only("test")
    content["data"]["synthetic"] = True
    intended, not_for = uses(content)
    assert "Research and teaching" in intended and "not made for" not in intended and "training data" not in intended
    assert "never heard" not in not_for and "the numbers are of synthetic speech." in not_for


def test_somebody_elses_model_is_no_start_for_training_here() -> None:
    content = example()
    content["model"]["architecture"] = "Wav2Vec2ForSequenceClassification"
    assert "A start for training" not in uses(content)[0]
