"""Groups of speakers: which there are, their numbers, and where they are shown."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset
from sklearn.metrics import mean_absolute_error, recall_score

from hf_speech.metrics import classification_numbers
from hf_speech.models.tasks import Task
from hf_speech.results import group_of
from hf_speech.training.groups import FEWEST, MOST, group_counts, group_numbers, groups_of

from .runs import command, read_results, read_table, train_tiny, write_table


def rows_of(**columns: list[Any]) -> Dataset:
    return Dataset.from_dict(columns)


def test_columns_become_groups() -> None:
    rows = rows_of(
        gender=["f", "Female", "M", "nonbinary", None, ""],
        age=[19.0, 20.0, 39.9, 60.0, None, 47.0],
        language=["de"] * 6,
        emotion=["a", "b"] * 3,
    )
    assert groups_of(rows) == {
        "gender": ["female", "female", "male", "nonbinary", None, None],
        "age": ["under 20", "20-39", "20-39", "60 and over", None, "40-59"],
    }
    counts = group_counts(rows)
    assert counts == {
        "gender": {"female": 2, "male": 1, "nonbinary": 1},
        "age": {"under 20": 1, "20-39": 2, "40-59": 1, "60 and over": 1},
        "language": {"de": 6},
    }
    assert list(counts["age"]) == ["under 20", "20-39", "40-59", "60 and over"]


def test_ages_in_words_stay_as_they_are_and_many_values_are_no_groups() -> None:
    words = rows_of(age=["twenties", "thirties", None])
    assert groups_of(words) == {"age": ["twenties", "thirties", None]}
    assert group_counts(words) == {"age": {"thirties": 1, "twenties": 1}}
    many = rows_of(language=[f"x{i:02d}" for i in range(MOST + 1)])
    assert groups_of(many) == {} and group_counts(many) == {}
    assert groups_of(many.select(range(MOST))).keys() == {"language"}
    assert groups_of(rows_of(text=["a"])) == {} and group_counts(rows_of(text=["a"])) == {}


def test_numbers_are_those_of_the_group_alone() -> None:
    rng = np.random.default_rng(0)
    labels, logits = rng.integers(0, 3, 60), rng.normal(size=(60, 3))
    genders = [("female", "male", None)[i % 3] for i in range(60)]
    speakers = [f"s{i % 12}" for i in range(60)]
    task = Task("emotion", ("a", "b", "c"))
    found = {name: (places, numbers) for name, places, numbers in group_numbers(
        task, labels, logits, {"gender": genders}, speakers, "", 7,
    )}  # fmt: skip
    assert list(found) == ["gender female", "gender male"]
    for name, (places, numbers) in found.items():
        assert places.tolist() == [i for i, gender in enumerate(genders) if gender == name.split()[1]]
        who = [speakers[i] for i in places]
        assert numbers == classification_numbers(labels[places], logits[places].argmax(1), 3, who, 7)


@pytest.mark.parametrize("few", [FEWEST, FEWEST - 1])
def test_a_group_of_few_has_no_numbers_and_one_alone_is_not_compared(few: int) -> None:
    languages = ["de"] * 30 + ["en"] * 30 + ["fr"] * few
    rng = np.random.default_rng(0)
    labels, logits = rng.normal(size=len(languages)), rng.normal(size=(len(languages), 1))
    task = Task("age", ("age",), loss="mse")
    found = list(group_numbers(task, labels, logits, {"language": languages}, None, "years", 0))
    assert [name for name, _, _ in found] == ["language de", "language en", "language fr"][: 3 if few == FEWEST else 2]
    assert found[0][2][0]["value"] == pytest.approx(mean_absolute_error(labels[:30], logits[:30, 0]))
    two = {"language": languages[30:]}
    assert len(list(group_numbers(task, labels[30:], logits[30:], two, None, "", 0))) == (2 if few == FEWEST else 0)


def test_what_is_predicted_makes_no_groups() -> None:
    genders = ["female", "male"] * 15
    labels, logits = np.arange(30) % 2, np.eye(2)[np.arange(30) % 2]
    for name, groups in (("gender", 0), ("emotion", 2)):
        task = Task(name, ("female", "male"))
        assert len(list(group_numbers(task, labels, logits, {"gender": genders}, None, "", 0))) == groups


@pytest.fixture(scope="module")
def grouped(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> Path:
    """A model with gender and language known: tested on 24 rows, 12 of each gender, 20 and 4 of two languages."""
    root = tmp_path_factory.mktemp("grouped")
    rows = []
    for part, split in enumerate(("train", "validation", "test")):
        for i, row in enumerate(read_table(corpus)):
            known = {"gender": "fm"[i // 2 % 2], "language": "de" if i < 20 else "en", "age": ""}
            speaker = f"{split} {row['speaker_id']}"
            path = str(corpus.parent / row["path"])
            cut = {"start": str(0.1 * part), "end": str(0.1 * part + 0.4)}
            rows.append({**row, **known, "path": path, "speaker_id": speaker, "split": split, **cut})
    return train_tiny(root / "model", write_table(root / "table.csv", rows), "--max-steps", 2)


def test_a_run_measures_groups_of_its_test_rows(grouped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = read_results(grouped)
    of_groups = [metric for metric in results["metrics"] if group_of(metric)[1]]
    assert {metric["split"]: metric["n"] for metric in of_groups} == {
        "test, gender female": 12, "test, gender male": 12,  # of English there are four: too few
    }  # fmt: skip
    assert results["metrics"][-len(of_groups) :] == of_groups  # behind those of all rows
    assert len({metric["fingerprint"] for metric in of_groups}) == 2
    table = [row for row in read_table(grouped / "predictions.csv")]
    women = [row for i, row in enumerate(table) if i // 2 % 2 == 0]
    uar = recall_score([row["label"] for row in women], [row["predicted"] for row in women], average="macro")
    assert next(m["value"] for m in of_groups if m["name"] == "uar") == pytest.approx(uar)
    assert results["data"]["splits"]["test"]["groups"] == {
        "gender": {"female": 12, "male": 12}, "language": {"de": 20, "en": 4},
    }  # fmt: skip


def test_the_card_has_groups_apart_and_the_terminal_has_none(
    grouped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    card = (grouped / "README.md").read_text(encoding="utf-8")
    assert "### By group" in card and "| gender female | UAR" in card and "gender" not in card.split("---\n")[1]
    assert "too few utterances to compare: language `de` (20), language `en` (4)." in card
    assert "| language en | 4 | 4 | 4 |" in card
    table = grouped.with_name("table.csv")
    capsys.readouterr()
    assert command("evaluate", grouped, table, "--split", "test", "--output-dir", tmp_path) == 0
    assert "gender" not in capsys.readouterr().out
    wanted = [metric for metric in read_results(grouped)["metrics"] if metric["split"].startswith("test")]
    found = read_results(tmp_path)["metrics"]
    assert [metric["split"] for metric in found] == [metric["split"] for metric in wanted]
    assert [metric["value"] for metric in found] == pytest.approx([metric["value"] for metric in wanted])
