"""The first paragraphs: what is said of numbers, of whom they were measured on, and of guessing."""

from typing import Any

import pytest

from hf_speech.hub.caveats import caveats
from hf_speech.hub.metadata import metadata
from hf_speech.hub.opening import heard_in_training, opening

from ..test_results import example
from .examples import measured_only

OVERLAP = {"between": ["train", "test"], "what": "speaker_id", "count": 1, "of": [8, 1], "examples": ["a"]}


def measured(name: str, unit: str, value: float, low: float, high: float, **more: Any) -> dict[str, Any]:
    """The example with that number alone."""
    content = example()
    content["metrics"] = [
        content["metrics"][0] | {"name": name, "unit": unit, "value": value, "low": low, "high": high}
    ]
    content["metrics"][0] |= more
    return content


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (
            ("uar", "fraction", 0.4525, 0.3528, 0.5641),
            "it recognises 45 % of the utterances of a label, averaged over the labels (UAR); 95 % interval 35 to "
            "56 %; guessing gives 33 %.",
        ),
        (
            ("mae", "years", 7.123, 6.5, 7.891),
            "its answers are off by 7.12 years on average; 95 % interval 6.50 to 7.89 years.",
        ),
        (("pearson_r", "correlation", 0.5, 0.25, 0.75), "its Pearson's r is 0.500; 95 % interval 0.250 to 0.750."),
        (
            ("macro_f1", "fraction", 0.0378, 0.00312, 1.0),
            "its F1, averaged over the labels, is 3.8 %; 95 % interval 0.31 to 100 %.",
        ),
    ],
)
def test_the_main_number_is_said_in_words(number: tuple[Any, ...], said: str) -> None:
    text = opening(measured(*number))
    assert f"On 37 test utterances of 1 speaker whom it had not heard in training, {said}" in text


def test_pairs_of_voices_are_told_of_as_such() -> None:
    content = measured("eer", "fraction", 0.0378, 0.0211, 0.0712, n=2_487, split="unheard", interval_unit="speaker")
    text = opening(content)
    assert "On 2,487 pairs of utterances (Berlin acted emotions, `unheard`), it is wrong about 3.8 % of" in text
    assert "95 % interval 2.1 to 7.1 %; guessing gives 50 %." in text
    assert "It also turns it into an embedding, a vector of numbers by which two voices can be compared" in text
    content["data"]["target"] = "same speaker"  # a list of trials
    assert "This model listens to one utterance of speech and turns it into an embedding" in opening(content)
    assert "predicts" not in opening(content) and "embedding" not in opening(example())


def test_what_is_held_out_goes_first_and_validation_rows_are_named() -> None:
    content = example()
    chosen = content["metrics"][0] | {"split": "validation", "value": 0.9, "low": 0.8, "high": 0.99, "n": 40}
    content["metrics"].insert(0, chosen)
    assert "it recognises 73 %" in opening(content)
    content["metrics"] = [chosen]
    text = opening(content)
    assert "On 40 validation utterances of 1 speaker" in text and "it recognises 90 %" in text
    assert "These utterances had a part in making it: expect less of others." in text
    content["metrics"] = [chosen | {"value": None, "low": None, "high": None}]
    assert "Nobody has measured that" in opening(content)


def test_a_group_is_not_the_whole() -> None:
    content = example()
    content["metrics"][0]["split"] = "test, gender female"
    assert "its Accuracy (WA) is 73 %" in opening(content)


def test_of_several_tasks_each_has_a_number() -> None:
    content = example()
    task = {"problem_type": "single_label_classification", "head": "linear", "loss": "cross_entropy", "unit": ""}
    content["model"]["tasks"] = [task | {"name": "emotion", "labels": ["a"] * 5}, task | {"name": "age", "labels": []}]
    content["metrics"] = [
        content["metrics"][0] | {"name": "emotion/uar"},
        content["metrics"][1] | {"name": "emotion/accuracy"},
        content["metrics"][1] | {"name": "age/mae", "value": 5.0, "low": 4.0, "high": 6.0, "unit": "years"},
    ]
    text = opening(content)
    assert "- `emotion`: it recognises 73 % of" in text and "guessing gives 20 %." in text
    assert "- `age`: its answers are off by 5.00 years on average; 95 % interval 4.00 to 6.00 years.\n" in text


@pytest.mark.parametrize(
    ("data", "heard"),
    [
        ({"overlaps": [OVERLAP]}, True),
        ({"overlaps": [OVERLAP | {"what": "session_id"}]}, False),
        ({"overlaps": []}, False),  # older results: speakers were compared where they were known
        ({"overlaps": None}, None),
        ({"overlaps": [], "compared": ["file"]}, None),
        ({"overlaps": [], "compared": ["speaker_id"]}, False),
        ({"overlaps": [], "target": "speaker_id"}, None),
    ],
)
def test_whether_it_had_heard_the_speakers(data: dict[str, Any], heard: bool | None) -> None:
    content = example()
    content["data"] |= data
    assert heard_in_training(content, "test") is heard
    assert ("not heard" in opening(content), "heard some" in opening(content)) == (heard is False, heard is True)


def test_speakers_that_nobody_knows() -> None:
    content = example()
    for split in content["data"]["splits"].values():
        split["speakers"] = None
    assert heard_in_training(content, "test") is None
    assert "On 37 test utterances, it recognises" in opening(content)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_model_that_was_only_measured_may_have_met_what_it_was_measured_on(split: str) -> None:
    text = opening(measured_only(split))
    assert "What part these utterances had in making it is not known." in text
    assert "had a part in making it" not in text and "in training" not in text


@pytest.mark.parametrize(
    ("backbone", "trained", "said"),
    [
        (
            "wav2vec2, from scratch",
            True,
            "**Made from synthetic speech.** A program made the speech it was trained and",
        ),
        ("owner/encoder", True, "**Fine-tuned on synthetic speech.** A program made the speech it was fine-tuned and"),
        ("wav2vec2", False, "**Measured on synthetic speech.** A program made the speech it was measured on."),
    ],
)
def test_synthetic_speech_is_told_of_as_what_it_was_for(backbone: str, trained: bool, said: str) -> None:
    content = example() if trained else measured_only("test")
    content["model"]["backbone"] = backbone
    content["data"]["synthetic"] = True
    assert said in opening(content)
    assert any("demonstration" in line for line in caveats(content)) == trained
    assert ("synthetic" in metadata(content).partition("model-index")[0]) == trained


def test_guessing_is_among_the_labels_that_occur() -> None:
    content = example()
    content["data"]["splits"]["test"]["labels"] = {"anger": 12, "neutral": 25, "sadness": 0}
    assert "of the 3 labels 2 occur there, and naming always the same one of these gives 50 %." in opening(content)
    content["data"]["splits"]["test"]["labels"] = {"anger": 37, "neutral": 0, "sadness": 0}
    assert "of the 3 labels one occurs there, and naming it gives 100 %." in opening(content)
    content["data"]["splits"]["test"]["labels"] = None  # streamed: the confusion matrix tells
    assert "guessing gives 33 %." in opening(content)
    content["confusion"]["counts"] = [[19, 0, 0], [0, 18, 0], [0, 0, 0]]
    assert "of the 3 labels 2 occur there" in opening(content)
    content["confusion"]["counts"][0][0] = 3  # of another split
    assert "guessing gives 33 %." in opening(content)


def test_labels_that_were_read_by_other_names_stay_the_models() -> None:
    content = measured_only("test")
    content["run"]["arguments"]["label_map"] = {"anger": "high", "neutral": "low", "sadness": "low"}
    content["data"]["splits"]["test"]["labels"] = {"high": 12, "low": 25}
    text = opening(content)
    assert "one of 3 labels (`anger`, `neutral`, `sadness`)" in text
    assert "guessing among the 2 labels of the data gives 50 %." in text
