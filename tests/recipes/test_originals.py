"""Every recipe builds what its original was, but for what its card says."""

from pathlib import Path
from typing import Any

import pytest

from hf_speech.hub.recipe_card import read_recipe_facts, render_recipe_card
from hf_speech.shipped import shipped_folder

from .built import agrees, built
from .originals import ORIGINALS, OURS, PUBLISHED, SEEDS
from .small import NAMES, recipe

CARDS = shipped_folder("model_cards")
CLASSES = {
    **dict.fromkeys(("wav2vec2-iemocap-vft", "wav2vec2-iemocap-tapt", "wav2vec2-iemocap-ptapt"), 4),
    "vgg-dmha-age": 6,
    "wav2vec2-aishell4-frozen": 207,
    "wav2vec2-aishell4-meeting": 7,
}


def test_every_recipe_is_held_against_its_original_or_is_ours() -> None:
    assert set(NAMES) == set(ORIGINALS) | OURS and not OURS & set(ORIGINALS)
    assert set(NAMES) == set(PUBLISHED)


@pytest.mark.parametrize(("name", "key"), [(name, key) for name in ORIGINALS for key in ORIGINALS[name]])
def test_it_builds_what_the_original_was_or_says_why_not(name: str, key: str) -> None:
    found, wanted = _found(name, key), ORIGINALS[name][key]
    if key in _declared(name):
        assert not agrees(found, wanted), f"a deviation is declared, but {key} is the original's {wanted}"
    else:
        assert agrees(found, wanted), f"{key}: {found} here, {wanted} there: mend it, or declare it"


def _found(name: str, key: str) -> Any:
    here = built(name, CLASSES.get(name, 5_994))
    wanted = ORIGINALS[name][key]
    if key == "peak":
        return here.arguments.learning_rate
    if key == "curve":
        return {share: here.rate(share) for share in wanted}
    if key == "crop":
        return here.config.batches.crop_seconds
    if key == "frozen":
        return {step: here.frozen(step) for step in wanted}
    if key == "class_weights":
        return {"balanced": "N / n"}[str(here.config.head.class_weights)]
    if key == "feature_norm":
        return "none"  # a neck takes frames as they are
    return getattr(here, key)()


def _declared(name: str) -> set[str]:
    """Keys of the originals' tables in which a recipe says that it differs."""
    facts = read_recipe_facts(CARDS / name)
    return {key for deviation in facts["deviations"] for key in deviation["fields"]}


@pytest.mark.parametrize("name", list(ORIGINALS))
def test_it_declares_no_deviation_that_is_held_against_nothing(name: str) -> None:
    assert _declared(name) <= set(ORIGINALS[name])


@pytest.mark.parametrize("name", NAMES)
def test_what_was_published_is_what_the_table_says(name: str) -> None:
    published = read_recipe_facts(CARDS / name)["published"]
    assert [(row["name"], row["value"]) for row in published] == [
        (metric, value) for metric, value, _ in PUBLISHED[name]
    ]
    for row, (metric, _, data) in zip(published, PUBLISHED[name], strict=True):
        assert row["dataset"].startswith(data) and row["source"] and row["note"]
        assert row["unit"] == ("" if metric == "min_dcf" else "%")


@pytest.mark.parametrize("name", list(SEEDS))
def test_the_published_seeds_and_lengths_can_be_run(name: str) -> None:
    first, *others = SEEDS[name]
    flags = [text for variant in read_recipe_facts(CARDS / name)["variants"] for text in variant["flags"]]
    assert recipe(name).training["seed"] == first
    assert [text for text in flags if text.startswith("--seed")] == [f"--seed {seed}" for seed in others]
    steps = [text for text in flags if text.startswith("--max-steps")]
    assert steps == [f"--max-steps {count}" for count in (25_000, 100_000, 400_000)]


@pytest.mark.parametrize("name", NAMES)
def test_nothing_that_was_not_measured_is_shown_as_measured(name: str) -> None:
    facts, card = read_recipe_facts(CARDS / name), (CARDS / name / "README.md").read_text(encoding="utf-8")
    assert facts["metrics"] == []
    measured = card.partition("## Measured here\n\n")[2].partition("\n\n")[0]
    assert measured == "Nothing yet: this recipe was not run to its end here."
    for row in facts["published"]:
        assert f" {row['value']} " in card.partition("## Published")[2]


@pytest.mark.parametrize("name", NAMES)
def test_the_card_is_what_its_files_say(name: str) -> None:
    folder = CARDS / name
    assert (folder / "README.md").read_text(encoding="utf-8") == render_recipe_card(folder), (
        f"write it anew: hf-speech card {Path('model_cards') / name}"
    )


@pytest.mark.parametrize("name", [name for name in ORIGINALS if "steps" in ORIGINALS[name]["length"]])
def test_the_phases_scale_with_the_run(name: str) -> None:
    """With eight times the steps, the rate and what is frozen are the same at the same share of the run."""
    from dataclasses import replace

    from .built import Built

    short = built(name)
    longer = Built(replace(short.config, training={**short.config.training, "max_steps": 8 * short.total}), 5_994)
    for share in (0.0, 0.05, 0.25, 0.3, 0.9):
        assert longer.rate(share) == pytest.approx(short.rate(share), rel=1e-3)
        assert longer.frozen(int(share * longer.total)) == short.frozen(int(share * short.total))
    for arguments in (short.arguments, longer.arguments):
        assert arguments.eval_strategy == "epoch" or 0 < arguments.eval_steps < 1
