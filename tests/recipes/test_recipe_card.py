"""Cards of recipes: what they show is what the files say, and files that say it badly are refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from hf_speech.errors import InputError
from hf_speech.hub.recipe_card import read_recipe_facts, render_recipe_card, write_recipe_card
from hf_speech.shipped import shipped_folder
from hf_speech.training.arguments import read_config

from .small import NAMES, recipe

CARDS = shipped_folder("model_cards")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of a recipe that stands on no other file."""
    return Path(shutil.copytree(CARDS / "wav2vec2-iemocap-vft", tmp_path / "copy"))


def change(folder: Path, **sections: Any) -> None:
    path = folder / "results.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **sections}), encoding="utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_the_fields_on_the_card_are_the_recipe(name: str, tmp_path: Path) -> None:
    """Whoever saves the YAML of a card has the recipe, without the files below it."""
    card = (CARDS / name / "README.md").read_text(encoding="utf-8")
    path = tmp_path / "train.yaml"
    path.write_text(card.partition("```yaml\n")[2].partition("```")[0], encoding="utf-8")
    assert read_config(path) == recipe(name)


def test_what_was_measured_is_shown_apart_from_what_was_published(folder: Path) -> None:
    measured = {"name": "uar", "value": 0.61234, "low": 0.58, "high": 0.64, "unit": "fraction", "n": 1085}
    measured |= {"interval_unit": "speaker", "dataset": "iemocap/fold1", "split": "test", "fingerprint": None}
    change(folder, metrics=[measured])
    card = write_recipe_card(folder).read_text(encoding="utf-8")
    here, published = card.partition("## Measured here")[2].split("## Published")
    assert "| UAR (unweighted average recall, UA) | 0.612 | 0.580 to 0.640 | iemocap/fold1 | test | 1085 |" in here
    assert "Nothing yet" not in card and "0.612" not in published and "71.0 %" not in here
    assert "| UAR (unweighted average recall, UA) | 71.0 % | IEMOCAP, four classes, session 1 |" in published


def test_what_is_not_there_has_no_section(folder: Path) -> None:
    change(folder, published=[], deviations=[], variants=[], notes=[])
    card = render_recipe_card(folder)
    assert [line for line in card.splitlines() if line.startswith("## ")] == [
        "## How to run it", "## What it says", "## Measured here",
    ]  # fmt: skip


def test_a_recipe_of_the_hubs_data_needs_no_preparation(folder: Path) -> None:
    text = (folder / "train.yaml").read_text(encoding="utf-8")
    (folder / "train.yaml").write_text(text.replace("iemocap/fold1", "someone/emotions"), encoding="utf-8")
    assert "hf-speech prepare" not in render_recipe_card(folder)
    assert "hf-speech prepare iemocap" in render_recipe_card(CARDS / "wav2vec2-iemocap-vft")


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"published": None}, "published is no list; a recipe has the lists metrics, published, deviations"),
        (
            {"deviations": [{"original": "a", "here": "b"}]},
            r"deviations\[0\] must have the keys original, here",
        ),
        ({"variants": ["--seed 2"]}, r"variants\[0\] must have the keys what, flags"),
    ],
)
def test_facts_without_their_form_are_refused(folder: Path, sections: dict[str, Any], said: str) -> None:
    change(folder, **sections)
    with pytest.raises(InputError, match=said):
        read_recipe_facts(folder)


def test_a_recipe_without_its_files_or_its_sentence_is_refused(folder: Path) -> None:
    (folder / "results.json").rename(folder / "elsewhere.json")
    with pytest.raises(InputError, match=r"results\.json: can't be read as JSON .*; a recipe needs one"):
        render_recipe_card(folder)
    (folder / "elsewhere.json").rename(folder / "results.json")
    text = (folder / "train.yaml").read_text(encoding="utf-8")
    (folder / "train.yaml").write_text(text.partition("\n")[2], encoding="utf-8")
    with pytest.raises(InputError, match="its first line is 'dataset: iemocap/fold1'; write a comment that says"):
        render_recipe_card(folder)
