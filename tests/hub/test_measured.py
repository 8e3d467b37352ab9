"""Results on the card: meanings, and groups in a table of their own."""

import pytest

from hf_speech.hub.caveats import caveats
from hf_speech.hub.measured import measured
from hf_speech.hub.words import MEANINGS, METRICS

from ..test_results import example
from .examples import full, measured_only, of_group


def test_every_metric_has_a_meaning_in_a_sentence() -> None:
    assert set(MEANINGS) == set(METRICS)
    assert all(text.endswith(".") and "\n" not in text for text in MEANINGS.values())
    assert len(set(MEANINGS.values())) == len(MEANINGS)


def test_a_meaning_is_given_once_for_all_tasks_and_priors() -> None:
    content = example()
    shared = content["metrics"][0] | {"unit": "cost at p_target 0.01", "interval_unit": "trial"}
    content["metrics"] = [shared | {"name": name} for name in ("eer", "min_dcf", "min_dcf_0.05")]
    text = measured(content)
    assert text.count("\n- ") == 2 and "\n- Minimum detection cost (minDCF): what errors cost at the best" in text
    content["metrics"] = [shared | {"name": name} for name in ("one/uar", "two/uar")]
    assert measured(content).count("\n- ") == 1


def test_groups_have_a_table_of_their_main_number() -> None:
    whole, _, groups = measured(full()).partition("### By group")
    assert "gender" not in whole and whole.count("| test | 37 |") == 2
    assert "| gender female | UAR (unweighted average recall, UA) | 0.840 | 0.710 to 0.930 | utterance | 21 |" in groups
    assert "| gender male |" in groups and "Accuracy" not in groups
    assert "too few utterances to compare: gender `other` (4)." in groups
    assert "By group" not in measured(example()) and "too few" not in measured(example())


def test_each_task_has_its_number_in_each_group() -> None:
    content = example()
    uar = content["metrics"][0]
    content["metrics"] = [
        of_group(uar | {"name": name}, group, 0.5, 0.4, 0.6, 20)
        for group in ("gender female", "gender male")
        for name in ("emotion/uar", "emotion/accuracy", "age/mae")
    ] + [uar]
    rows = [line for line in measured(content).splitlines() if line.startswith("| gender")]
    assert [row.split(" | ")[1].partition(":")[0] for row in rows] == ["emotion", "age"] * 2


def test_groups_of_trials_are_shown_alike() -> None:
    content = example()
    eer = content["metrics"][0] | {"name": "eer", "split": "trials", "interval_unit": "speaker", "n": 900}
    content["data"]["splits"] = {"trials": content["data"]["splits"]["test"]}
    content["metrics"] = [eer, of_group(eer, "both female", 0.01, 0.0, 0.02, 300)]
    text = measured(content)
    assert "| both female | Equal error rate (EER) | 0.010 | 0.000 to 0.020 | speaker | 300 |" in text
    assert "| Group | Metric | Value | 95 % interval | Resampled by | Trials |" in text


@pytest.mark.parametrize(
    ("low", "unit", "said"),
    [
        (
            0.67,
            "utterance",
            "and `gender male` (0.400 to 0.660) by more than the intervals, which are of utterances alone",
        ),
        (0.67, "speaker", "and `gender male` (0.400 to 0.660) by more than the intervals."),
        (0.66, "speaker", ""),
    ],
)
def test_groups_that_differ_by_more_than_their_intervals_are_a_limit(low: float, unit: str, said: str) -> None:
    content = full()
    for metric in content["metrics"]:
        metric["interval_unit"] = unit
        if metric["split"].endswith(" female"):
            metric["low"] = low
    found = [line for line in caveats(content) if "serve all speakers alike" in line]
    assert len(found) == bool(said) and all(said in line for line in found)


def test_groups_of_different_facts_are_not_set_against_each_other() -> None:
    content = full()
    content["metrics"][-2]["split"] = content["metrics"][-1]["split"] = "test, language de"
    assert not any("serve all speakers" in line for line in caveats(content))
    assert any("by gender, age or language, is not measured" in line for line in caveats(example()))
    assert not any("by gender, age or language, is not measured" in line for line in caveats(content))


def test_uneven_training_data_are_a_limit() -> None:
    content = full()
    lines = caveats(content)
    assert not any("labels are uneven" in line for line in lines)
    assert "Of the training utterances whose speaker's gender is known, 71 % are of `female`: it may do worse" in str(
        lines
    )
    content["data"]["splits"]["train"]["labels"] = {"anger": 100, "neutral": 60, "sadness": 40}
    content["data"]["splits"]["train"]["groups"]["gender"] = {"female": 60, "male": 40}
    lines = caveats(content)
    assert "uneven: `anger` has 50 % of the utterances and `sadness` 20 %, so" in str(lines)
    assert not any("speaker's gender" in line for line in lines)


def test_groups_with_other_labels_are_compared_with_a_word_of_it_and_unknown_ones_not_at_all() -> None:
    content = full()
    assert "different labels" not in str(caveats(content))
    groups = content["data"]["splits"]["test"]["group_labels"]["emotion"]["gender"]
    groups["male"] = ["anger"]
    assert "the two groups have utterances of different labels, which may be why." in str(caveats(content))
    del content["data"]["splits"]["test"]["group_labels"]
    assert "serve all speakers" not in str(caveats(content))
    for metric in content["metrics"]:
        metric["name"] = "eer"  # of pairs, which have no labels
    assert "serve all speakers" in str(caveats(content))


def test_an_average_over_some_labels_says_over_which() -> None:
    content = example()
    assert "labels" not in measured(content).partition("Fingerprint")[2] and "alone.\n" not in measured(content)
    content["data"]["splits"]["test"]["labels"]["sadness"] = 0
    assert "Of the 3 labels, 2 occur in the split `test`: the UAR is of these alone." in measured(content)


def test_the_map_of_labels_is_told() -> None:
    content = measured_only("test")
    assert "were read" not in measured(content)
    content["run"]["arguments"]["label_map"] = {"anger": "high", "neutral": "high", "sadness": None}
    said = "For these numbers its labels were read as the data's: `anger` and `neutral` as `high`; `sadness` was left "
    assert said + "out, as if it did not know them." in measured(content)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_of_a_model_that_was_only_measured_no_training_is_told(split: str) -> None:
    content = measured_only(split)
    lines = str(caveats(content))
    assert "It was measured on this language only: de; how it does on others is not known." in lines
    assert "whether it had met the speech, or the voices, that it was measured on is not known." in lines
    assert "in training" not in lines
    assert "no part in any choice" not in measured(content)
    assert ("What part this speech had in making it is not known." in measured(content)) == (split == "validation")
    content["data"]["language"] = []
    assert "The language of the data is not recorded." in caveats(content)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ({"backbone": "owner/encoder"}, "It was fine-tuned on this language only: de;"),
        ({"backbone": "wav2vec2, from scratch"}, "It heard this language only in training: de;"),
        (
            {"backbone": "my-encoder", "parts": {"pooling": {"name": "mean", "options": {}}}},
            "It was fine-tuned on this",
        ),
        ({"backbone": "vgg4", "parts": {"front end": {"name": "log-mel", "options": {}}}}, "It heard this language"),
    ],
)
def test_an_encoder_may_have_heard_other_languages(model: dict, said: str) -> None:
    content = example()
    content["model"] |= model
    assert any(line.startswith(said) for line in caveats(content))


def test_shares_of_several_labels_are_of_the_utterances() -> None:
    content = example()
    content["model"]["problem_type"] = "multi_label_classification"
    content["data"]["splits"]["train"] |= {
        "utterances": 100,
        "labels": {"anger": 100, "neutral": 90, "sadness": 40},
    }
    assert "uneven: `anger` has 100 % of the utterances and `sadness` 40 %, so" in str(caveats(content))


def test_streamed_data_were_not_counted() -> None:
    content = example()
    content["data"]["splits"]["train"] = dict.fromkeys(("utterances", "speakers", "seconds", "labels"))
    lines = str(caveats(content))
    assert "The training data were streamed and not counted" in lines and "do not say who speaks" not in lines
