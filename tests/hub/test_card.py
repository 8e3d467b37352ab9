"""The card: golden text, metadata that the Hub's own code reads back, snippets that run, and no number of its own."""

import ast
import contextlib
import io
import json
import re
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import soundfile
from huggingface_hub import ModelCard

from hf_speech.errors import InputError
from hf_speech.hub.card import render_card, write_card
from hf_speech.hub.edits import unsigned
from hf_speech.hub.words import hub_dataset
from hf_speech.plots import FILE_NAMES
from hf_speech.results import Results

from ..foreign import saved
from ..test_results import example
from .examples import full

GOLDEN = Path(__file__).with_name("card.golden.md")


def regression() -> dict:
    """An age model's results: speaker intervals, synthetic data, one number that is not defined."""
    content = example()
    content["model"] |= {"name": "owner/age-demo", "problem_type": "regression", "labels": []}
    content["model"]["backbone"] = "wav2vec2, from scratch"
    content["data"] |= {"name": "owner/ages", "target": "age", "unit": "years", "synthetic": True, "language": []}
    content["data"]["left_out"], content["data"]["unlabelled"] = [], 0
    for split in content["data"]["splits"].values():
        split["labels"] = None
    place = {"dataset": "owner/ages", "split": "test", "n": 512, "fingerprint": None, "interval_unit": "speaker"}
    content["metrics"] = [
        {"name": "mae", "value": 7.1234, "low": 6.5, "high": 7.891, "unit": "years"} | place,
        {"name": "pearson_r", "value": None, "low": None, "high": None, "unit": "correlation"} | place,
    ]
    content["confusion"] = None
    return content


def test_golden_card() -> None:
    """To renew it after a wanted change: python -m tests.hub.test_card."""
    assert render_card(full(), {"confusion.png", "layers.png"}) == GOLDEN.read_text(encoding="utf-8")


def test_metadata_is_what_the_hub_reads() -> None:
    data = ModelCard(render_card(example())).data
    assert data.pipeline_tag == "audio-classification"
    assert data.library_name == "transformers"
    assert (data.base_model, data.base_model_relation) == ("facebook/wav2vec2-base", "finetune")
    assert data.language == ["de"]
    assert (data.datasets, data.license) == (None, None)
    assert data.model_name == "emotion-demo"
    uar, accuracy = data.eval_results
    assert (uar.metric_type, uar.metric_value, uar.metric_args) == ("recall", 0.7312, {"average": "macro"})
    assert (accuracy.metric_type, accuracy.metric_value, accuracy.dataset_split) == ("accuracy", 0.7297, "test")


def test_metadata_names_only_what_is_on_the_hub() -> None:
    data = ModelCard(render_card(regression())).data
    assert data.datasets == ["owner/ages"]
    assert (data.base_model, data.get("base_model_relation"), data.language) == (None, None, None)
    assert "synthetic" in data.tags
    assert [(result.metric_type, result.metric_value) for result in data.eval_results] == [("mae", 7.1234)]


def test_metadata_has_numbers_of_all_utterances_only_and_the_energy_of_a_whole_training() -> None:
    content = full()
    data = ModelCard(render_card(content)).data
    assert [(result.metric_type, result.dataset_split) for result in data.eval_results] == [
        ("recall", "test"), ("accuracy", "test"),
    ]  # fmt: skip
    assert data.co2_eq_emissions == {
        "emissions": 6.428, "source": "codecarbon 3.3.2", "training_type": "fine-tuning",
        "geographical_location": "saxony, Germany", "hardware_used": "AMD EPYC",
    }  # fmt: skip
    content["run"]["energy"]["from_step"] = 120  # what went before was not measured
    assert ModelCard(render_card(content)).data.get("co2_eq_emissions") is None
    assert ModelCard(render_card(example())).data.get("co2_eq_emissions") is None


@pytest.mark.parametrize(
    ("license", "expected"),
    [("cc-by-nc-4.0", ("cc-by-nc-4.0", None)), ("My own terms", ("other", "My own terms")), (None, (None, None))],
)
def test_license_is_that_of_the_weights(license: str | None, expected: tuple) -> None:
    content = example()
    content["model"]["license"] = license
    data = ModelCard(render_card(content)).data
    assert (data.license, data.license_name) == expected


def test_odd_names_keep_the_yaml_and_the_tables_whole() -> None:
    content = example()
    content["data"]["name"] = content["metrics"][0]["dataset"] = 'a: "b" | c\n- d'
    content["data"]["left_out"] = [{"row": 3, "reason": "two\nlines | and a bar"}] * 3
    card = ModelCard(render_card(content))
    assert card.data.eval_results[0].dataset_name == 'a: "b" | c\n- d'
    assert "| two lines \\| and a bar | 3 |" in card.content
    assert_tables_are_rectangular(card.content)


@pytest.mark.parametrize("content", [example(), regression(), full()], ids=["emotion", "age", "full"])
def test_every_number_stands_in_the_results(content: dict) -> None:
    """In tables and sentences alike; as it is, in per cent, in thousandths or thousands, or as a share of a split."""
    card = render_card(content)
    assert_tables_are_rectangular(card)
    found = list(numbers_in(content))
    known = [value * factor for value in found for factor in (1, 100, 1000, 1e-3, 1e-6)]
    known += [split["seconds"] / 3600 for split in content["data"]["splits"].values()]
    known += [100 / len(content["model"]["labels"] or "a"), 100 / len(content["model"].get("layer_weights", "a"))]
    known += [len(content["model"]["labels"]), len(content["model"].get("layer_weights", "ab")) - 1]
    known += [*range(13)]  # layers
    for counts in of_splits(content["data"]["splits"]):
        known += [100 * count / sum(counts.values()) for count in counts.values()]
    shown = figures(prose_of(card))
    assert len(shown) >= 40
    for number in shown:
        decimals = len(number.partition(".")[2])
        assert any(abs(value - float(number)) <= 0.5001 * 10**-decimals for value in known), f"{number} is not known"


# What every card says, whatever was measured.
SAID_ALWAYS = (
    "95 %",
    "Regulation (EU) 2024/1689, article 5(1)(f)",
    "(Regulation (EU) 2024/1689, annex III, point 1(b))",
    "annex III, point 1(c)",
    "article 50(3)",
    "CO2eq",
    "F1",
    "gives 1 over",
)


def prose_of(card: str) -> str:
    """The tables and sentences of a card, without metadata, code, names and papers."""
    text = unsigned(card).split("---\n", 2)[2]
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    text = re.sub(r"^- .*\(https?://(arxiv|doi|www).*$", "", text, flags=re.MULTILINE)
    text = re.sub(r"`[^`]*`|\[[^]]*\]\([^)]*\)|\| (commit|versions) [^\n]*", "", text)
    for words in SAID_ALWAYS:
        text = text.replace(words, "")
    for name in ("speaker_id=03", "speaker_id=08\\|09", "03a01Fa.wav", "codecarbon 3.3.2", "wav2vec2"):
        text = text.replace(name, "")
    return re.sub(r"(?<=\d),(?=\d{3})", "", text)


def of_splits(splits: dict) -> list[dict]:
    """The counts of labels, and of groups, in each split."""
    counts = [split["labels"] for split in splits.values() if split["labels"]]
    return counts + [found for split in splits.values() for found in split.get("groups", {}).values()]


def numbers_in(value: object) -> list[float]:
    """All numbers in nested lists and dicts."""
    if isinstance(value, dict):
        return [number for item in value.values() for number in numbers_in(item)]
    if isinstance(value, list):
        return [number for item in value for number in numbers_in(item)]
    return [value] if isinstance(value, int | float) else []


def figures(text: str) -> list[str]:
    return re.findall(r"-?\d+(?:\.\d+)?", text)


def assert_tables_are_rectangular(card: str) -> None:
    for table in re.findall(r"(?:^\|.*\|\n)+", card, flags=re.MULTILINE):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(widths) == 1, table


def test_intervals_say_what_they_cover() -> None:
    assert "**They do not cover the variation between speakers**" in render_card(example())
    age = render_card(regression())
    assert "bootstrap over speakers" in age
    assert "**They do not cover" not in age


def test_a_regression_shows_its_unit_and_what_is_not_defined() -> None:
    card = render_card(regression())
    assert "| Mean absolute error | 7.12 years | 6.50 to 7.89 years |" in card
    assert "| Pearson's r | not defined | not defined |" in card
    assert "print(logits.item())  # years" in card


def test_synthetic_data_are_named_before_any_number() -> None:
    card = render_card(regression())
    body = card.split("---\n", 2)[2]
    assert body.index("Made from synthetic speech") < body.index("## Results")
    assert "synthetic" not in render_card(example())


def test_without_a_test_split_the_card_says_so() -> None:
    content = example()
    for metric in content["metrics"]:
        metric["split"] = "validation"
    assert "**There is no test split**" in render_card(content)
    assert "Performance on a test split is not measured." in render_card(content)
    assert "There is no test split" not in render_card(example())
    content["metrics"] = []
    card = render_card(content)
    assert "**Not measured.**" in card
    assert "model-index" not in card


def test_targets_have_their_caveats() -> None:
    content = example()
    assert "does not know what a person feels" in render_card(content)
    content["data"]["target"] = "speaker_id"
    card = render_card(content)
    assert "biometric" in card
    assert "The speakers are the labels here" in card
    assert "feels" not in card


@pytest.mark.parametrize(
    ("between", "what", "said"),
    [
        (
            ["train", "test"],
            "speaker_id",
            "3 of the 4 speakers in test are in train as well: on voices that it has not",
        ),
        (["train", "test"], "recording_id", "3 of the 4 recordings in test are in train as well: it may know their ro"),
        (["train", "test"], "content", "3 of the 4 clips in test are in train as well: it has heard them in training"),
        (["train", "test"], "file", "3 of the 4 files in test are in train as well: it has heard them in training"),
        (["validation", "test"], "speaker_id", "3 of the 4 speakers in test are in validation as well: what was cho"),
        (["train", "test"], "tape", "3 of the 4 tape in test are in train as well."),
    ],
)
def test_what_splits_have_in_common_is_a_limit(between: list[str], what: str, said: str) -> None:
    content = example()
    content["data"]["overlaps"] = [{"between": between, "what": what, "count": 3, "of": [9, 4], "examples": ["a"]}]
    limits = render_card(content).partition("## Limits")[2]
    assert f"- {said}" in limits and limits.count("as well") == 1


def test_splits_that_were_not_compared_are_told_of() -> None:
    content = example()
    content["data"]["overlaps"] = None
    assert "Whether the splits have speakers or recordings in common was not looked at" in render_card(content)
    for told in ([], ...):
        content["data"] = {name: value for name, value in content["data"].items() if name != "overlaps"}
        content["data"] |= {} if told is ... else {"overlaps": told}
        assert "in common" not in render_card(content) and "as well" not in render_card(content)


def test_degenerate_intervals_are_explained() -> None:
    content = example()
    content["metrics"][0] |= {"value": 1.0, "low": 1.0, "high": 1.0}
    assert "An interval without width" in render_card(content)
    content["metrics"][0] |= {"value": 0.9, "low": 0.5, "high": 0.8}
    assert "An interval that does not hold its value" in render_card(content)
    assert "An interval" not in render_card(example())


def test_many_labels_and_left_out_files_are_counted() -> None:
    content = example()
    content["model"]["labels"] = [f"speaker {i}" for i in range(1251)]
    content["data"]["left_out"] = [{"file": f"mary-{i}.wav", "reason": "cut short"} for i in range(23)]
    content["data"]["left_out"] += [{"file": "bob.wav", "reason": f"fault {i}"} for i in range(20)]
    card = render_card(content)
    assert "one of 1251 labels (listed in config.json)" in card
    assert "speaker 7" not in card
    assert "Left out: 43." in card and "| cut short | 23 |\n| fault 0 | 1 |" in card
    assert "and 1 more for 1 other reasons." in card
    assert "mary" not in card and "bob.wav" not in card  # names of files may be those of people


@pytest.mark.parametrize(
    ("rule", "shown"),
    [
        ("speaker_id=mary,bob,eve,joe", "| speaker_id: 4 values, named in results.json |"),
        ("speaker_id=08|09", "| speaker_id=08\\|09 |"),
        ("crc32(speaker_id)%5==0", "| crc32(speaker_id)%5==0 |"),
    ],
)
def test_a_rule_does_not_list_people(rule: str, shown: str) -> None:
    content = example()
    content["data"]["split_rule"]["test"] = rule
    card = render_card(content)
    assert shown in card and "mary" not in card


HOSTILE = ["a`b", "<script>alert(1)</script>", "c\n## Results\nhacked"]


def test_labels_and_names_of_others_stay_text() -> None:
    content = example()
    content["model"] |= {"labels": HOSTILE, "name": 'x"; import os #\n```\n# hacked'}
    content["data"] |= {"name": "[x](javascript:alert(1))", "target": "a`b"}
    for metric in content["metrics"]:
        metric["dataset"] = content["data"]["name"]
    for split in content["data"]["splits"].values():
        split["labels"] = dict.fromkeys(HOSTILE, 5)
    content["confusion"] = None
    body = render_card(content).split("---\n", 2)[2]
    assert "one of 3 labels (`` a`b ``, `<script>alert(1)</script>`, `c ## Results hacked`)" in body
    assert re.findall("^#.*hacked|^hacked|^```$\n# hacked", body, flags=re.MULTILINE) == [
        '# x"; import os # \\`\\`\\` # hacked'
    ]
    assert "| \\<script\\>alert(1)\\</script\\> |" in body
    assert "[x](javascript" not in body.replace("\\[x\\](javascript", "")
    assert "hf-speech predict 'x\"; import os # ``` # hacked' speech.wav" in body
    for block in re.findall(r"^```python\n(.*?)^```", body, flags=re.DOTALL | re.MULTILINE):
        ast.parse(block)
        assert "import os" not in [line.strip() for line in block.splitlines()]
    (named,) = re.findall(r"^name = (.*?)  # this", body, flags=re.MULTILINE)
    assert ast.literal_eval(named) == content["model"]["name"]


@pytest.mark.parametrize(("on_hub", "published"), [(None, "iemocap/fold1"), (True, "iemocap/fold1"), (False, None)])
def test_only_data_of_the_hub_are_named_as_such(on_hub: bool | None, published: str | None) -> None:
    content = example()
    content["data"] |= {"name": "iemocap/fold1"} | ({} if on_hub is None else {"on_hub": on_hub})
    for metric in content["metrics"]:
        metric["dataset"] = "iemocap/fold1"
    card = ModelCard(render_card(content))
    assert hub_dataset(content) == published
    assert card.data.datasets == ([published] if published else None)
    assert {result.dataset_type for result in card.data.eval_results} == {published or "iemocap-fold1"}
    assert ("huggingface.co/datasets" in card.content) == bool(published)


def test_energy_without_the_encoders_pass_is_not_that_of_the_training() -> None:
    content = full()
    content["run"]["recipe"]["encoder_run_once"] = True
    card = render_card(content)
    assert ModelCard(card).data.get("co2_eq_emissions") is None
    assert "AMD EPYC; without the encoder's one pass, which went before)" in card


def test_write_card_shows_the_pictures_that_are_there(tmp_path: Path) -> None:
    Results(**example()).write(tmp_path)
    assert "](confusion.png)" not in write_card(tmp_path).read_text()
    for name in FILE_NAMES.values():
        (tmp_path / name).touch()
    card = write_card(tmp_path).read_text()
    assert all(f"]({name})" in card for name in FILE_NAMES.values())
    assert card == render_card(asdict(Results.read(tmp_path)), set(FILE_NAMES.values()))
    assert {path.name for path in tmp_path.iterdir()} == {"README.md", "results.json", *FILE_NAMES.values()}


def test_write_card_without_results_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no results.json"):
        write_card(tmp_path)
    (tmp_path / "results.json").write_text(json.dumps({"model": {}}))
    with pytest.raises(InputError, match="results.json"):
        write_card(tmp_path)
    assert not (tmp_path / "README.md").exists()


@pytest.mark.parametrize("content", [example(), regression()], ids=["emotion", "age"])
def test_the_snippets_run(content: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All code blocks of the card, in order, on a tiny model in the folder that the card names."""
    names = content["model"]["labels"] or ["age"]
    folder = tmp_path / content["model"]["name"]
    saved(folder, "wav2vec2", labels=tuple(names), problem_type=content["model"]["problem_type"])
    soundfile.write(tmp_path / "speech.wav", np.random.default_rng(0).normal(0, 0.1, 8000), 16000)
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", render_card(content), flags=re.DOTALL)
    assert len(blocks) == 3
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec("\n".join(blocks), {})
    lines = printed.getvalue().splitlines()
    answer, best = lines[0], ast.literal_eval(lines[-1])[0]
    if content["model"]["labels"]:
        assert answer == best["label"]
    else:
        assert float(answer.split()[0]) == pytest.approx(best["score"], abs=1e-5)


if __name__ == "__main__":
    GOLDEN.write_text(render_card(full(), {"confusion.png", "layers.png"}), encoding="utf-8")
