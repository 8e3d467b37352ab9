"""Cards made anew around what people have written into them."""

import pytest
import yaml
from huggingface_hub import ModelCard

from hf_speech.hub.card import render_card
from hf_speech.hub.edits import merged, signed, unsigned

from ..test_results import example


def card_of(value: float = 0.7312, name: str = "emotion-demo") -> str:
    """A real card, whose first number is `value`."""
    content = example()
    content["metrics"][0] |= {"value": value, "low": value - 0.1, "high": value + 0.1}
    content["model"]["name"] = name
    return render_card(content)


OLD, NEW = card_of(), card_of(0.8123)
HEADINGS = [line for line in OLD.splitlines() if line.startswith("## ")]


def test_a_card_that_nobody_edited_is_made_anew() -> None:
    result = merged(NEW, OLD)
    assert (result.text, result.kept, result.made_by_us) == (NEW, [], True)
    assert "0.731" in OLD and "0.731" not in result.text and "0.812" in result.text


def test_the_mark_is_hidden_and_stands_once() -> None:
    assert OLD.count("<!-- hf_speech made") == 1 and signed(OLD) == OLD
    assert "hf_speech made these" not in unsigned(OLD)
    assert ModelCard(OLD).data.to_dict() == ModelCard(unsigned(OLD)).data.to_dict()


@pytest.mark.parametrize("heading", HEADINGS)
def test_an_edited_section_is_kept_and_all_others_are_made_anew(heading: str) -> None:
    edited = OLD.replace(f"{heading}\n", f"{heading}\n\nA word of mine.\n")
    result = merged(NEW, edited)
    assert result.kept == [heading.removeprefix("## ")]
    assert "A word of mine." in result.text
    if heading != "## Results":
        assert "0.812" in result.text
    again = merged(card_of(0.9), result.text)
    assert again.kept == result.kept and "A word of mine." in again.text


def test_an_added_section_stays_behind_the_one_that_it_stood_behind() -> None:
    edited = OLD.replace(HEADINGS[1], f"## Thanks\n\nTo all speakers.\n\n{HEADINGS[1]}")
    result = merged(NEW, edited)
    assert result.kept == ["Thanks"]
    thanks = f"## Thanks\n\nTo all speakers.\n\n{HEADINGS[1]}"
    assert unsigned(result.text) == unsigned(NEW).replace(HEADINGS[1], thanks)


def test_text_at_the_very_end_is_kept() -> None:
    result = merged(NEW, OLD + "\nWritten below everything.\n")
    assert "Written below everything." in result.text and len(result.kept) == 1


def test_a_section_that_was_taken_out_stays_out() -> None:
    start = OLD.index(HEADINGS[1])
    edited = OLD[:start] + OLD[OLD.index(HEADINGS[2]) :]
    result = merged(NEW, edited)
    assert result.kept == [f"{HEADINGS[1].removeprefix('## ')} (left out)"]
    assert HEADINGS[1] not in result.text and HEADINGS[2] in result.text and "0.812" in result.text


def test_line_ends_and_spaces_are_no_edits() -> None:
    assert merged(NEW, OLD.replace("\n", "\r\n")).kept == []
    assert merged(NEW, OLD.replace("\n\n## ", "  \n\n\n## ")).kept == []


def test_what_looks_like_a_heading_in_code_is_none() -> None:
    edited = OLD.replace("```python\n", "```python\n## not a section\n", 1)
    result = merged(NEW, edited)
    assert len(result.kept) == 1 and "## not a section" in result.text and "not a section" not in result.kept


def test_a_card_without_our_mark_is_kept_whole() -> None:
    result = merged(NEW, unsigned(OLD))
    assert (result.text, result.made_by_us) == (unsigned(OLD), False)


def test_edited_metadata_keep_what_was_said_and_get_what_was_measured() -> None:
    edited = OLD.replace("pipeline_tag:", "license: mit\nthumbnail: https://example.org/x.png\npipeline_tag:")
    data = ModelCard(merged(NEW, edited).text).data
    assert (data.license, data.thumbnail) == ("mit", "https://example.org/x.png")
    assert data.eval_results[0].metric_value == 0.8123
    assert len(data.eval_results) == len(ModelCard(NEW).data.eval_results)


@pytest.mark.parametrize("keep", [True, False])
def test_results_of_others_hold_as_long_as_the_weights_are_the_same(keep: bool) -> None:
    card = ModelCard(OLD)
    theirs = card.data.to_dict()
    index = theirs["model-index"][0]
    index["results"].append(
        {
            "task": {"type": "audio-classification"},
            "dataset": {"name": "theirs", "type": "bob/theirs"},
            "metrics": [{"type": "accuracy", "value": 0.5}],
        }
    )
    edited = f"---\n{yaml.safe_dump(theirs, sort_keys=False)}---\n" + OLD.split("---\n", 2)[2]
    result = merged(NEW, edited, same_weights=keep)
    names = [found.dataset_type for found in ModelCard(result.text).data.eval_results]
    assert ("bob/theirs" in names) is keep
    assert ModelCard(result.text).data.eval_results[0].metric_value == 0.8123


def test_metadata_that_cannot_be_read_are_left_as_they_are() -> None:
    edited = OLD.replace("language:", "language: [", 1)
    assert "language: [" in merged(NEW, edited).text


def edited_by(card: str, words: str) -> str:
    """The card with a line of somebody's own in its results."""
    return card.replace("## Results\n", f"## Results\n\n{words}\n")


def test_what_is_edited_here_goes_on_being_edited_here() -> None:
    first = merged(OLD, OLD, mine=edited_by(OLD, "First words.")).text
    again = merged(NEW, first, mine=edited_by(NEW, "Second words."))
    assert "Second words." in again.text and "First words." not in again.text and again.kept == []


def test_what_was_edited_there_stands_above_what_is_edited_here() -> None:
    there = edited_by(merged(OLD, OLD, mine=edited_by(OLD, "First words.")).text, "Words of the Hub.")
    again = merged(NEW, there, mine=edited_by(NEW, "Second words."))
    assert "Words of the Hub." in again.text and "Second words." not in again.text and again.kept == ["Results"]


def test_what_was_edited_elsewhere_and_pushed_is_not_lost_by_who_has_not_edited() -> None:
    first = merged(OLD, OLD, mine=edited_by(OLD, "First words.")).text
    again = merged(NEW, first)
    assert "First words." in again.text and again.kept == ["Results"]


def test_what_was_written_of_the_numbers_of_earlier_weights_says_so() -> None:
    there = edited_by(OLD, "It is the best there is.")
    result = merged(NEW, there, same_weights=False).text
    assert result.count("Written for earlier weights") == 1 and "best there is" in result
    assert merged(NEW, result, same_weights=False).text.count("Written for earlier weights") == 1
    assert "earlier weights" not in merged(NEW, there).text


def test_measured_metadata_are_always_those_of_the_run() -> None:
    edited = OLD.replace("pipeline_tag:", "license: mit\npipeline_tag:").replace("- de", "- fr")
    data = ModelCard(merged(NEW, edited).text).data
    assert data.language == ["de"] and data.license == "mit"


def test_metadata_that_the_hub_s_form_has_made_are_no_card() -> None:
    result = merged(NEW, "---\nlicense: mit\n---\n")
    assert ModelCard(result.text).data.license == "mit" and "0.812" in result.text and result.made_by_us
