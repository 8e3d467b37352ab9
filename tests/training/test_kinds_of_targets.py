"""Ordered classes made of numbers, several labels a row, a distribution over ages: by the real command."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from sklearn.metrics import average_precision_score, f1_score
from transformers import AutoConfig, AutoFeatureExtractor, AutoModelForAudioClassification

from .runs import command, read_results, read_table, refusal, train_tiny, values_of, weights_of, write_table, write_yaml

RULES = ("--test", "0.25", "--group-by", "none", "--speaker-independent", "false")
ORDINAL = {"target": "age", "head": "ordinal", "loss": "coral"}


@pytest.fixture(scope="module")
def decades(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> Path:
    """Ages in decades, one speaker each; two rows are too young for any, and one has no age."""
    rows = read_table(corpus)
    rows[0]["age"], rows[4]["age"], rows[8]["age"] = "9.5", "120", ""
    table = write_table(corpus.with_name("decades.csv"), rows)
    folder = tmp_path_factory.mktemp("runs") / "decades"
    return train_tiny(folder, table, *RULES, bins="decades", **ORDINAL)


def test_decades_stand_in_their_order_and_what_is_outside_is_counted(decades: Path) -> None:
    results = read_results(decades)
    names = ["twenties", "thirties", "forties", "fifties", "sixties", "seventies"]
    assert results["model"]["labels"] == names  # those of the training rows, from young to old
    assert results["data"]["unlabelled"] == 3
    assert sum(part["utterances"] for part in results["data"]["splits"].values()) == 24 - 3
    assert AutoConfig.from_pretrained(decades).bins == "decades" and results["model"]["tasks"][0]["ordered"]


def test_ordinal_numbers_are_those_of_the_predictions(decades: Path) -> None:
    names = read_results(decades)["model"]["labels"]
    rows = read_table(decades / "predictions.csv")
    apart = np.array([names.index(row["predicted"]) - names.index(row["label"]) for row in rows])
    wanted = {
        "off_by_one_accuracy": np.mean(abs(apart) <= 1),
        "ordinal_mse": np.mean(apart**2.0),
        "class_mae": np.mean(abs(apart)),
    }
    found = values_of(decades, "test")
    assert {name: found[name] for name in wanted} == pytest.approx(wanted)
    # The class that is reached with a probability of one half: the median, not the likeliest class.
    scores = np.array([[float(row[name]) for name in names] for row in rows])
    medians = [int(np.searchsorted(row.cumsum(), 0.5)) for row in scores]
    assert [names[i] for i in medians] == [row["predicted"] for row in rows]
    card = (decades / "README.md").read_text(encoding="utf-8")
    assert "| Mean squared distance in classes |" in card and "classes squared" in card
    assert "one of 6 labels in their order (`twenties`" in card and "cumsum" in card


def test_numbers_are_measured_by_the_same_bins(decades: Path, corpus: Path, tmp_path: Path) -> None:
    assert command("evaluate", decades, corpus, "--output-dir", tmp_path) == 0  # the model knows its rule
    results = read_results(tmp_path)
    assert results["metrics"][0]["n"] == 24 and results["confusion"]["labels"] == results["model"]["labels"]
    assert {row["label"] for row in read_table(tmp_path / "predictions.csv")} == set(results["model"]["labels"])


def test_classes_are_measured_as_they_are(corpus: Path, tmp_path: Path) -> None:
    rows = [{**row, "years": row["age"]} for row in read_table(corpus)]
    numbers = write_table(corpus.with_name("years.csv"), rows)
    folder = train_tiny(
        tmp_path / "model", numbers, *RULES, "--max-steps", 1, bins="decades", **ORDINAL | {"target": "years"}
    )
    names = read_results(folder)["model"]["labels"]
    classes = write_table(
        corpus.with_name("decades_of_years.csv"),
        [{**row, "years": names[i % len(names)]} for i, row in enumerate(rows)],
    )
    assert command("evaluate", folder, classes, "--output-dir", tmp_path / "out") == 0
    said = [row["label"] for row in read_table(tmp_path / "out" / "predictions.csv")]
    assert said == [row["years"] for row in read_table(classes)]


def test_other_bins_than_those_of_training_are_refused(
    decades: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("evaluate", decades, corpus, "--overwrite", "--output-dir", tmp_path / "out", "--bins")
    assert command(*words, "decades") == 0
    assert "bins is '20,40,60', but 'age' was trained with bins 'decades'; leave bins" in refusal(
        capsys, *words, "20,40,60"
    )


def test_bins_of_a_regression_are_refused(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = train_tiny(tmp_path / "model", corpus, *RULES, "--max-steps", 1, target="age", loss="mse")
    line = refusal(capsys, "evaluate", folder, corpus, "--output-dir", tmp_path / "out", "--bins", "decades")
    assert "bins make classes, but the model predicts the number 'age' itself; leave bins out" in line


def test_edges_make_classes_and_a_checkpoint_of_the_smallest_distance_is_kept(corpus: Path, tmp_path: Path) -> None:
    best = ("--metric-for-best-model", "class_mae", "--validation", "0.25", "--group-by", "none")
    flags = (*best, "--speaker-independent", "false", "--bins", "20,40,60,inf")
    folder = train_tiny(tmp_path / "model", corpus, *flags, **ORDINAL)
    assert read_results(folder)["model"]["labels"] == ["20-39", "40-59", "60 and over"]
    state = json.loads(sorted(folder.glob("checkpoint-*/trainer_state.json"))[-1].read_text())
    assert state["best_metric"] == min(e["eval_class_mae"] for e in state["log_history"] if "eval_class_mae" in e)


MOODS = ("anger;fear", "fear", "joy", "anger;joy", ";", "joy;fear")


@pytest.fixture(scope="module")
def moods(corpus: Path) -> Path:
    """A table with several moods a row, one row with none of them, one where it is not known."""
    rows = [{**row, "mood": MOODS[i % len(MOODS)]} for i, row in enumerate(read_table(corpus))]
    rows[7]["mood"] = ""
    return write_table(corpus.with_name("moods.csv"), rows)


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory, moods: Path) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "several"
    rules = {"validation": "speaker_id=speaker03", "test": "speaker_id=speaker04,speaker05"}
    return train_tiny(folder, moods, target="mood", loss="binary_cross_entropy", **rules)


def test_several_labels_are_measured_as_scikit_learn_does(several: Path) -> None:
    rows = read_table(several / "predictions.csv")
    names = ["anger", "fear", "joy"]
    has = np.array([[name in row["label"].split(";") for name in names] for row in rows])
    scores = np.array([[float(row[name]) for name in names] for row in rows])
    said = np.array([[name in row["predicted"].split(";") for name in names] for row in rows])
    assert (said == (scores >= 0.5)).all() and not has[0].any()  # a row with ";"
    assert values_of(several, "test") == pytest.approx(
        {
            "macro_f1": f1_score(has, said, average="macro", zero_division=0),
            "micro_f1": f1_score(has, said, average="micro"),
            "mean_average_precision": average_precision_score(has, scores, average="macro"),
            "exact_match": (has == said).all(axis=1).mean(),
        }
    )
    results = read_results(several)
    assert results["data"]["unlabelled"] == 1 and results["confusion"] is None
    assert results["data"]["splits"]["test"]["labels"] == dict(zip(names, has.sum(axis=0).tolist(), strict=True))
    card = (several / "README.md").read_text(encoding="utf-8")
    assert "any of 3 labels (`anger`, `fear`, `joy`)" in card and "| Every label right |" in card


def test_several_labels_are_predicted_and_measured_again(
    several: Path, moods: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = moods.parent / read_table(moods)[0]["path"]
    capsys.readouterr()
    assert command("predict", several, file, "--json") == 0
    (said,) = json.loads(capsys.readouterr().out)
    model = AutoModelForAudioClassification.from_pretrained(several).eval()
    waveform, rate = soundfile.read(file, dtype="float32")
    inputs = AutoFeatureExtractor.from_pretrained(several)(waveform, sampling_rate=rate, return_tensors="pt")
    with torch.no_grad():
        wanted = model(**inputs).logits[0].sigmoid().tolist()
    assert list(said["scores"].values()) == pytest.approx(wanted, abs=1e-5)
    assert said["labels"] == [name for name, score in said["scores"].items() if score > 0.5]
    assert command("predict", several, file) == 0
    shown = ", ".join(f"{name} {said['scores'][name]:.3f}" for name in said["labels"]) or "none of the labels"
    assert capsys.readouterr().out.strip().endswith(shown)
    held_out = [row for row in read_table(moods) if row["speaker_id"] in ("speaker04", "speaker05")]
    part = write_table(moods.with_name("moods_held_out.csv"), held_out)
    assert command("evaluate", several, part, "--output-dir", tmp_path / "out", "--data-name", "x") == 0
    assert values_of(tmp_path / "out", "all") == values_of(several, "test")
    odd = write_table(moods.with_name("moods_odd.csv"), [{**held_out[0], "mood": "joy;envy"}])
    assert "mood 'envy' is not a class" in refusal(capsys, "evaluate", several, odd, "--output-dir", tmp_path / "odd")


def test_a_distribution_over_ages(corpus: Path, tmp_path: Path) -> None:
    fields = {"target": "age", "head": "distribution", "loss": "label_distribution", "unit": "years"}
    options = {"head_config": {"low": 0, "high": 100, "step": 5}, "loss_config": {"sigma": 5}}
    folder = train_tiny(tmp_path / "model", corpus, "--test", "speaker_id=speaker02", **fields, **options)
    model = AutoModelForAudioClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        outputs = model(torch.randn(2, 8000, generator=torch.Generator().manual_seed(0)))
    ages = torch.arange(0.0, 101.0, 5.0)
    assert outputs.scores[0].shape == (2, 21)
    torch.testing.assert_close(outputs.logits[:, 0], outputs.scores[0].softmax(-1) @ ages)
    said = [float(row["predicted"]) for row in read_table(folder / "predictions.csv")]
    assert all(0 <= age <= 100 for age in said)
    wanted = np.mean([abs(age - 40) for age in said])
    assert values_of(folder, "test")["mae"] == pytest.approx(wanted, rel=1e-6)
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "| head | distribution (low: 0, high: 100, step: 5) |" in card
    assert "| loss | label_distribution (sigma: 5) |" in card


DISTRIBUTION = {"target": "age", "head": "distribution", "loss": "label_distribution"}
TABLE = {"age": {name: value for name, value in DISTRIBUTION.items() if name != "target"}, "label": {}}
SOME = {"low": 30, "high": 52, "step": 2}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            {**DISTRIBUTION, "head_config": SOME},
            "train: age is 20 to 70, but the values of head 'distribution' are 30 to",
        ),
        (
            {"tasks": {**TABLE, "age": {**TABLE["age"], "head_config": SOME}}},
            "52; give its head_config low 20 and high 70",
        ),
        (
            {**DISTRIBUTION, "head_config": {"high": 50, "step": 0.5}, "validation": "age=70", "test": "age=60"},
            "validation: age is 70 to 70, but the values of head 'distribution' are 0 to 50; give its head_config "
            "low 0 and high 70",
        ),
        ({**DISTRIBUTION, "head_config": {"high": 69, "step": 3}}, "low 0 and high 72"),
        ({**DISTRIBUTION, "head_config": {"low": 20.5, "high": 80.5}}, "low 19.5 and high 80.5"),
        ({**DISTRIBUTION, "head_config": SOME, "streaming": True, "max_steps": 1}, "train: age is 20 to 70"),
    ],
    ids=["one target", "a task of several", "validation rows", "above alone", "below alone", "a stream"],
)
def test_ages_outside_the_values_of_a_distribution_are_refused_before_training(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], fields: dict[str, Any], said: str
) -> None:
    rules = {"test": "none", "validation": "none", **fields}
    config = write_yaml(tmp_path / "train.yaml", dataset=str(corpus), **rules)
    assert said in refusal(capsys, "train", config, "--output-dir", tmp_path / "model")
    assert not (tmp_path / "model" / "config.json").exists()


def test_ages_at_both_ends_of_a_distribution_are_learned(corpus: Path, tmp_path: Path) -> None:
    """And one beyond it may be measured: it adds no loss."""
    fields = {**DISTRIBUTION, "head_config": {"low": 20, "high": 60, "step": 2}, "test": "age=70"}
    folder = train_tiny(tmp_path / "model", corpus, "--max-steps", 1, **fields)
    assert values_of(folder, "test")["mae"] >= 10


def test_validation_rows_without_an_age_are_no_fault(corpus: Path, tmp_path: Path) -> None:
    held_out = "speaker05"
    rows = [{**row, "age": "" if row["speaker_id"] == held_out else row["age"]} for row in read_table(corpus)]
    table = write_table(corpus.with_name("validation_without_ages.csv"), rows)
    tasks = {"label": {}, "age": {**TABLE["age"], "head_config": {"low": 20, "high": 60, "step": 2}}}
    rules = {"validation": f"speaker_id={held_out}", "test": "none", "tasks": tasks}
    folder = train_tiny(tmp_path / "model", table, "--max-steps", 1, **rules)
    assert "label/uar" in values_of(folder, "validation") and "age/mae" not in values_of(folder, "validation")


def test_logit_adjustment_is_told_the_counts_of_the_training_rows(corpus: Path, tmp_path: Path) -> None:
    uneven = [row for i, row in enumerate(read_table(corpus)) if row["label"] == "low" or i % 4 == 1]  # 12 low, 6 high
    table = write_table(corpus.with_name("imbalanced.csv"), uneven)
    folder = train_tiny(tmp_path / "model", table, "--loss", "logit_adjusted", "--max-steps", 1, test="none")
    model = AutoModelForAudioClassification.from_pretrained(folder)
    assert model.config.class_counts == [6, 12]  # high, low
    scores = torch.tensor([[0.2, -0.3], [1.0, 0.5]])
    adjusted = scores.double() + torch.tensor([6 / 18, 12 / 18], dtype=torch.float64).log()
    by_hand = -(adjusted[0].log_softmax(-1)[0] + adjusted[1].log_softmax(-1)[1]) / 2
    assert model.loss([scores], torch.tensor([0, 1])).item() == pytest.approx(by_hand.item(), rel=1e-6)
    assert weights_of(folder)
