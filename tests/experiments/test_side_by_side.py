"""Several recipes by the same folds, by the real command: one table of them, and their differences to the first."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from hf_speech.errors import InputError
from hf_speech.experiments.beside_page import _cells
from hf_speech.experiments.beside_page import write_page as write_beside
from hf_speech.experiments.side_by_side import names_of
from hf_speech.experiments.tables import write_page
from hf_speech.pretraining.stages import key_of, training_rows
from hf_speech.results import Results
from hf_speech.testing import write_fake_corpus
from hf_speech.training.arguments import read_config
from hf_speech.training.facts import public_arguments

from ..training.runs import command, read_json, read_table, refusal, write_yaml

FOLDS = ["--folds", "speaker_id/2"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_fake_corpus(tmp_path_factory.mktemp("corpus"), speakers=4, per_speaker=4)


@pytest.fixture(scope="module")
def recipes(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> list[Path]:
    """One that learns, the same by another name, and one that does not."""
    folder = tmp_path_factory.mktemp("recipes")
    shared = {"dataset": str(corpus), "validation": "none", "save_strategy": "no", "learning_rate": 1e-2}
    shared |= {"backbone_config": {"model_type": "spectrum"}, "pooling": "mean", "head": "batchnorm"}
    steps = {"fast": 20, "again": 20, "slow": 1}
    return [write_yaml(folder / f"{name}.yaml", **shared, max_steps=count) for name, count in steps.items()]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, recipes: list[Path]) -> Path:
    root = tmp_path_factory.mktemp("crossval") / "beside"
    assert command("crossval", *recipes, *FOLDS, "--parallel", 2, "--output-dir", root) == 0
    return root


def uar_of(folder: Path) -> float:
    """Mean over the folds of the mean recall, from the predictions alone."""
    means = []
    for path in sorted(folder.glob("fold*-run1/predictions.csv")):
        rows = read_table(path)
        of_class = [[row for row in rows if row["label"] == label] for label in sorted({row["label"] for row in rows})]
        means.append(np.mean([np.mean([row["predicted"] == row["label"] for row in some]) for some in of_class]))
    assert len(means) == 2
    return float(np.mean(means))


def test_differences_are_those_of_the_predictions(finished: Path) -> None:
    comparison = read_json(finished / "comparison.json")
    assert list(comparison["recipes"]) == ["fast", "again", "slow"] and comparison["runs"] == 1
    for name, found in comparison["recipes"].items():
        assert found["metrics"] == Results.read(finished / name).metrics
        assert found["metrics"][0]["name"] == "uar"
        assert found["metrics"][0]["value"] == pytest.approx(uar_of(finished / name))
    rows = {(row["recipe"], row["name"]): row for row in comparison["differences"]}
    assert {recipe for recipe, _ in rows} == {"again", "slow"}
    slow = rows["slow", "uar"]
    assert slow["difference"] == pytest.approx(uar_of(finished / "slow") - uar_of(finished / "fast"))
    assert slow["low"] <= slow["difference"] < 0 and slow["low"] < slow["high"]
    assert (slow["n"], slow["interval_unit"]) == (16, "utterance")
    same = [row[key] for (recipe, _), row in rows.items() if recipe == "again" for key in ("difference", "low", "high")]
    assert len(same) == 9 and not any(same)


def test_each_recipe_has_the_folder_of_a_cross_validation_of_it_alone(
    finished: Path, recipes: list[Path], tmp_path: Path
) -> None:
    assert command("crossval", recipes[0], *FOLDS, "--parallel", 2, "--output-dir", tmp_path / "fast") == 0
    alone, beside = tmp_path / "fast", finished / "fast"
    assert files_of(alone) == files_of(beside)
    assert (alone / "table.csv").read_text() == (beside / "table.csv").read_text()
    assert (alone / "experiment.yaml").read_text() == (beside / "experiment.yaml").read_text()
    assert Results.read(alone).metrics == Results.read(beside).metrics
    outer = {path.name for path in finished.iterdir() if not path.is_dir()}
    assert outer == {"experiment.yaml", "table.csv", "comparison.json", "README.md", "beside.png"}


def files_of(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_the_page_has_a_row_a_recipe(finished: Path) -> None:
    page = (finished / "README.md").read_text()
    tables = [part.splitlines() for part in page.split("\n\n") if part.startswith("| ")]
    head, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in tables[0])
    assert head == ["Number", "Recipe", "Mean", "95 % interval", "Fold std", "Minus fast", "95 % interval"]
    assert [row[1] for row in rows] == ["fast", "again", "slow"] * 3
    assert rows[0][5:] == ["", ""] and rows[1][5:] == ["0.000", "0.000 to 0.000"] and rows[2][5][0] == "-"
    assert [line.split(" | ")[0] for line in tables[1][2:]] == ["| fold1", "| fold2"]
    assert "[slow](slow/README.md)" in page and (finished / "beside.png").stat().st_size > 5_000
    table = read_table(finished / "table.csv")
    assert [(row["recipe"], row["fold"]) for row in table] == [
        (name, fold) for name in ("fast", "again", "slow") for fold in ("fold1", "fold2")
    ]


def test_stages_that_runs_share_are_told(finished: Path, tmp_path: Path) -> None:
    """By the table of several recipes, and by that of one."""
    comparison = read_json(finished / "comparison.json")
    expected = (
        "adaptation of {} are made once a fold, with one seed, and the runs of the fold share them: run std holds"
    )
    for runs, is_said in ((2, True), (1, False)):
        recipes = {name: {**found, "is_adapted": name != "fast"} for name, found in comparison["recipes"].items()}
        write_beside(tmp_path, {**comparison, "runs": runs, "recipes": recipes}, [])
        assert (expected.format("again and slow") in (tmp_path / "README.md").read_text()) == is_said
    for stages in ([{"pretrain": {}}], []):
        results = Results.read(finished / "fast")
        config = read_config(None, {"backbone": "x", "dataset": "y", "adaptation": stages})
        results.run["arguments"] = public_arguments(config)
        results.run["experiment"]["runs"] = 2
        write_page(tmp_path, results)
        assert (expected.format("this recipe") in (tmp_path / "README.md").read_text()) == bool(stages)


@pytest.mark.parametrize(
    "difference, told",
    [(0.25, "+0.250"), (0.0004, "0.000"), (-0.0004, "0.000"), (-0.25, "-0.250"), (0.0, "0.000"), (None, "not defined")],
)
def test_a_difference_has_a_sign_where_it_is_seen(difference: float | None, told: str) -> None:
    row = {"difference": difference, "low": -0.5, "high": 0.5, "unit": "fraction"}
    assert _cells(row) == (told, "-0.500 to 0.500")


@pytest.mark.slow
def test_what_is_missing_is_run_and_nothing_else(
    finished: Path,
    recipes: list[Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One run is gone and can't be made: the others are compared; when it can, it alone is run."""
    root = Path(shutil.copytree(finished, tmp_path / "beside"))
    shutil.rmtree(root / "again" / "fold2-run1")
    (root / "again" / "fold2-run1").write_text("")
    weights = sorted(root.glob("*/*/model.safetensors"))
    before = {path: path.stat().st_mtime_ns for path in weights}
    words = ["crossval", *recipes, *FOLDS, "--output-dir", root]
    capsys.readouterr()
    assert command(*words) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert f"5 of 6 runs are finished ({root / 'table.csv'}), 1 run is not: again-fold2-run1: " in said
    states = [row["state"] for row in read_table(root / "table.csv") if row["recipe"] == "again"]
    assert states == ["finished", "dead"]
    assert list(read_json(root / "comparison.json")["recipes"]) == ["fast", "slow"]
    assert "as some of its runs are not finished: again." in (root / "README.md").read_text()
    (root / "again" / "fold2-run1").unlink()
    assert command(*words) == 0
    said = capsys.readouterr().out
    assert len(before) == 5 and before == {path: path.stat().st_mtime_ns for path in weights}
    told = [line for line in said.splitlines() if line.startswith("    again")]
    assert len(told) == 3 and all(line.endswith("; minus fast: 0.000 (0.000 to 0.000)") for line in told)
    again = read_json(root / "comparison.json")
    assert again["differences"] == read_json(finished / "comparison.json")["differences"]
    assert command("crossval", *recipes[:2], *FOLDS, "--output-dir", root) == 0
    assert f"{root}: not in this table, as they were not given: slow" in caplog.text


@pytest.mark.slow
def test_recipes_share_stages_of_adaptation(corpus: Path, tmp_path: Path) -> None:
    """A file stands in the place of each run, which so ends at once; what it was given says where its stages lie."""
    stage = {"pretrain": {"max_steps": 1, "batch_seconds": 5, "masking": {"prob": 0.5, "length": 4}}}
    shared = {"dataset": str(corpus), "validation": "none", "max_steps": 1, "adaptation": [stage]}
    root, names = tmp_path / "beside", ("mean", "max")
    configs = [write_yaml(tmp_path / f"{name}.yaml", **shared, pooling=name) for name in names]
    for name in names:
        (root / name).mkdir(parents=True)
        for fold in (1, 2):
            (root / name / f"fold{fold}-run1").write_text("")
    assert command("crossval", *configs, *FOLDS, "--output-dir", root) == 2
    given = [read_config(root / name / "jobs" / f"fold{fold}-run1.yaml") for fold in (1, 2) for name in names]
    assert [one.run.adaptation_dir for one in given] == [str(root / "adaptation")] * 4
    keys = [key_of(one, training_rows(one)) for one in given]
    assert keys[0] == keys[1] != keys[2] == keys[3]


def test_another_experiment_in_the_folder_is_refused(
    finished: Path, recipes: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["crossval", *recipes[:2], "--output-dir", finished]
    said = refusal(capsys, *words, "--folds", "speaker_id")
    assert f"{finished}: holds another comparison: folds is speaker_id/2 there and speaker_id here" in said
    said = refusal(capsys, *words, *FOLDS, "--learning-rate", "1e-3")
    assert f"{finished / 'fast'}: holds another cross-validation: learning_rate is 0.01 there and 0.001 here" in said
    said = refusal(capsys, "crossval", recipes[0], *FOLDS, "--output-dir", finished)
    assert f"{finished}: holds a comparison; give another --output-dir" in said


def test_other_rows_or_labels_are_refused(
    recipes: list[Path], corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write_fake_corpus(tmp_path / "other", speakers=4, per_speaker=3)
    fields = {"dataset": str(other), "validation": "none"}
    config = write_yaml(tmp_path / "other.yaml", **fields)
    words = ["crossval", recipes[0], config, "--output-dir", tmp_path / "new"]
    assert "other: other rows or labels in the folds than in those of fast" in refusal(capsys, *words, *FOLDS)
    assert "fast: --folds: speaker_id has 4 values" in refusal(capsys, *words, "--folds", "speaker_id/5")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "configs, told",
    [
        (["a/mine.yaml", "b/mine.yaml"], "two recipes would be called mine: a/mine.yaml and b/mine.yaml"),
        (["mine.yaml", "mine/train.yaml"], "two recipes would be called mine"),
        (["mine.yaml", "adaptation.yaml"], "adaptation.yaml: another folder of the runs is called adaptation"),
    ],
)
def test_names_that_would_meet_are_refused(configs: list[str], told: str) -> None:
    with pytest.raises(InputError, match=told):
        names_of(configs)
