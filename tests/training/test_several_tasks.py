"""Several tasks over one backbone, by the real command: trained, validated, measured, loaded and asked."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from sklearn.metrics import mean_absolute_error, recall_score
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

from hf_speech.results import Results

from .runs import command, read_results, read_table, refusal, train_tiny, write_table

TASKS = {"emotion": {"head": "mlp", "head_config": {"size": 8}}, "age": {"loss": "ccc", "weight": 0.5, "unit": "years"}}
RULES = ("--validation", "speaker_id=speaker03", "--test", "speaker_id=speaker04,speaker05")


@pytest.fixture(scope="module")
def table(corpus: Path) -> Path:
    """The corpus with the class as `emotion`; a third of the emotions and a quarter of the ages are empty."""
    rows = []
    for i, row in enumerate(read_table(corpus)):
        emotion = "" if i % 3 == 2 else row["label"]
        rows.append({**row, "emotion": emotion, "age": "" if i % 4 == 3 else row["age"]})
    del rows[11]["label"]  # 11 lacks both
    return write_table(corpus.with_name("both.csv"), [{**row, "label": ""} for row in rows])


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, table: Path) -> Path:
    """A finished model of emotion and age."""
    folder = tmp_path_factory.mktemp("runs") / "both"
    best = {"metric_for_best_model": "emotion/uar", "save_total_limit": 9, "logging_steps": 1}
    return train_tiny(folder, table, *RULES, tasks=TASKS, num_train_epochs=3, **best)


def test_its_numbers_are_those_of_scikit_learn_on_the_rows_with_a_label(both: Path) -> None:
    rows = read_table(both / "predictions.csv")
    assert set(rows[0]) == {
        "id", "speaker_id", "emotion/label", "emotion/predicted", "emotion/high", "emotion/low",
        "age/label", "age/predicted",
    }  # fmt: skip
    felt = [row for row in rows if row["emotion/label"]]
    aged = [row for row in rows if row["age/label"]]
    assert 0 < len(felt) < len(rows) and 0 < len(aged) < len(rows)
    found = {metric["name"]: metric for metric in read_results(both)["metrics"] if metric["split"] == "test"}
    names = {"emotion/uar", "emotion/accuracy", "emotion/macro_f1", "age/mae", "age/rmse", "age/pearson_r", "age/ccc"}
    assert set(found) == names
    labels, predicted = [row["emotion/label"] for row in felt], [row["emotion/predicted"] for row in felt]
    assert found["emotion/uar"]["value"] == pytest.approx(recall_score(labels, predicted, average="macro"))
    ages, said = ([float(row[f"age/{what}"]) for row in aged] for what in ("label", "predicted"))
    assert found["age/mae"]["value"] == pytest.approx(mean_absolute_error(ages, said), rel=1e-6)
    assert (found["emotion/uar"]["n"], found["age/mae"]["n"]) == (len(felt), len(aged))
    assert found["age/mae"]["unit"] == "years"


def test_results_and_card_name_every_task(both: Path) -> None:
    results = Results.read(both)
    emotion, age = results.model["tasks"]
    assert emotion["name"] == "emotion" and emotion["labels"] == ["high", "low"]
    assert (emotion["head"], emotion["head_config"]) == ("mlp", {"size": 8})
    assert (age["problem_type"], age["loss"], age["weight"], age["unit"]) == ("regression", "ccc", 0.5, "years")
    assert results.data["target"] == "emotion, age"
    train = results.data["splits"]["train"]
    assert train["task_labels"] == {"emotion": train["labels"], "age": None}
    assert sum(train["labels"].values()) == 8  # of 12 rows every third has no emotion
    card = (both / "README.md").read_text(encoding="utf-8")
    assert "predicts 2 things at once:" in card and "- `age`: the speaker's age, as a number in years" in card
    assert "| emotion: UAR (unweighted average recall, UA) |" in card and "| age: Mean absolute error |" in card
    assert "](confusion-emotion.png)" in card and "](regression-age.png)" in card and "task_logits" in card
    assert "| head of emotion | mlp (size: 8) |" in card and "| loss of age | ccc, weight 0.5 |" in card
    for name in ("confusion-emotion.png", "regression-age.png", "numbers.png", "curves.png"):
        assert (both / name).is_file()


def test_the_best_checkpoint_is_that_of_the_metric_that_was_named(both: Path) -> None:
    checkpoints = sorted(both.glob("checkpoint-*"), key=lambda path: int(path.name.partition("-")[2]))
    state = json.loads((checkpoints[-1] / "trainer_state.json").read_text())
    scores = [entry["eval_emotion/uar"] for entry in state["log_history"] if "eval_emotion/uar" in entry]
    assert len(scores) == 3 and state["best_metric"] == max(scores)
    value = next(m["value"] for m in read_results(both)["metrics"] if m["name"] == "emotion/uar")
    assert value == pytest.approx(max(scores))


def test_predict_says_what_the_loaded_model_says(both: Path, corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = corpus.parent / read_table(corpus)[0]["path"]
    capsys.readouterr()
    assert command("predict", both, file, "--json") == 0
    (said,) = json.loads(capsys.readouterr().out)
    model = AutoModelForAudioClassification.from_pretrained(both).eval()
    waveform, rate = soundfile.read(file, dtype="float32")
    with torch.no_grad():
        outputs = model(**AutoFeatureExtractor.from_pretrained(both)(waveform, sampling_rate=rate, return_tensors="pt"))
    assert torch.equal(outputs.logits, outputs.task_logits["emotion"])
    scores = outputs.task_logits["emotion"].softmax(-1)[0].tolist()
    assert said["tasks"]["emotion"]["scores"] == pytest.approx({"high": scores[0], "low": scores[1]}, abs=1e-5)
    assert said["tasks"]["age"]["value"] == pytest.approx(outputs.task_logits["age"].item(), abs=1e-3)
    assert said["label"] == said["tasks"]["emotion"]["label"]
    assert command("predict", both, file) == 0
    line = capsys.readouterr().out
    assert f"emotion: {said['label']}  {said['score']:.3f}; age: {said['tasks']['age']['value']:.2f}" in line


def test_evaluate_on_the_same_rows_gives_the_same_numbers(both: Path, table: Path, tmp_path: Path) -> None:
    held_out = [row for row in read_table(table) if row["speaker_id"] in ("speaker04", "speaker05")]
    part = write_table(table.with_name("held_out_both.csv"), held_out)
    assert command("evaluate", both, part, "--output-dir", tmp_path, "--data-name", table.stem) == 0
    wanted = [metric for metric in read_results(both)["metrics"] if metric["split"] == "test"]
    assert read_results(tmp_path)["metrics"] == [{**metric, "split": "all"} for metric in wanted]
    assert (tmp_path / "predictions.csv").read_bytes() == (both / "predictions.csv").read_bytes()
    # Rows that know one of the two only: the other is not measured.
    aged = [{name: cell for name, cell in row.items() if name != "emotion"} for row in held_out if row["age"]]
    table_of_ages = write_table(table.with_name("aged.csv"), aged)
    assert command("evaluate", both, table_of_ages, "--output-dir", tmp_path / "aged") == 0
    assert {metric["name"].partition("/")[0] for metric in read_results(tmp_path / "aged")["metrics"]} == {"age"}
    assert command("card", tmp_path / "aged") == 0


def test_a_task_that_no_held_out_row_has_is_named(table: Path, tmp_path: Path) -> None:
    rows = [{**row, "age": "" if row["speaker_id"] == "speaker05" else row["age"]} for row in read_table(table)]
    part = write_table(table.with_name("ages_in_training.csv"), rows)
    folder = train_tiny(tmp_path / "model", part, "--max-steps", 1, tasks=TASKS, test="speaker_id=speaker05")
    assert not any(metric["name"].startswith("age/") for metric in read_results(folder)["metrics"])
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "How well it predicts `age` is not measured: no held-out utterance has a value." in " ".join(card.split())
    assert "How well it predicts `emotion`" not in card


def test_a_task_of_bins_is_measured_by_them(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tasks = {"emotion": {"class_weights": "balanced"}, "age": {"head": "ordinal", "loss": "coral", "bins": "10,40,80"}}
    folder = train_tiny(tmp_path / "model", table, "--max-steps", 1, *RULES, tasks=tasks)
    emotion, age = AutoModelForAudioClassification.from_pretrained(folder).tasks
    assert age.labels == ("10-39", "40-79") and age.is_ordered and not emotion.is_ordered
    assert emotion.class_weights == pytest.approx([8 / (2 * n) for n in emotion.class_counts])
    words = ("evaluate", folder, table, "--output-dir", tmp_path / "out", "--tasks.age.bins")
    assert command(*words, "10,40,80") == 0
    found = {metric["name"]: metric["n"] for metric in read_results(tmp_path / "out")["metrics"]}
    assert found["age/class_mae"] == sum(row["age"] != "" for row in read_table(table)) == 18
    line = refusal(capsys, "evaluate", folder, table, "--output-dir", tmp_path / "no", "--tasks.mood.bins", "1,2,3")
    assert "unknown task of" in line and "'mood'; valid: age, emotion" in line


def test_a_table_of_one_task_is_a_model_of_that_target(table: Path, tmp_path: Path) -> None:
    folder = train_tiny(tmp_path / "model", table, "--max-steps", 1, *RULES, tasks={"emotion": {"head": "mlp"}})
    assert {metric["name"] for metric in read_results(folder)["metrics"]} == {"uar", "accuracy", "macro_f1"}
    assert (folder / "confusion.png").exists() and "emotion it is spoken with: one of" in (
        folder / "README.md"
    ).read_text()
    assert command("evaluate", folder, table, "--output-dir", tmp_path / "out") == 0
    assert read_results(tmp_path / "out")["data"]["target"] == "emotion"


def test_a_task_s_weight_is_a_factor_of_its_loss(both: Path) -> None:
    model = AutoModelForAudioClassification.from_pretrained(both)
    scores = [torch.tensor([[1.0, 0.0], [0.5, 2.0], [0.3, 0.1]]), torch.tensor([[-1.0], [0.25], [1.0]])]
    ages = torch.tensor([20.0, float("nan"), 70.0])
    labels = {"emotion": torch.tensor([0, 1, -100]), "age": ages}
    cross_entropy = np.mean([np.log(1 + np.exp(-1.0)), np.log(1 + np.exp(-1.5))])  # the third is not known
    task = model.tasks[1]
    x = np.array([-1.0, 1.0])
    y = (np.array([20.0, 70.0]) - task.target_mean) / task.target_std
    concordance = 2 * np.mean((x - x.mean()) * (y - y.mean())) / (x.var() + y.var() + (x.mean() - y.mean()) ** 2)
    assert model.loss(scores, labels).item() == pytest.approx(cross_entropy + 0.5 * (1 - concordance), rel=1e-5)


def test_its_train_yaml_gives_the_same_model_again(both: Path, tmp_path: Path) -> None:
    assert command("train", both / "train.yaml", "--output-dir", tmp_path / "again") == 0
    assert (tmp_path / "again" / "predictions.csv").read_bytes() == (both / "predictions.csv").read_bytes()


@pytest.mark.parametrize(
    ("tasks", "said"),
    [
        (["emotion", "age"], "tasks: ['emotion', 'age'] is not of the kind dict"),
        ("emotion", "tasks: 'emotion' is no table"),
        ({"emotion": "mlp"}, "tasks: task 'emotion' is 'mlp', not a table of its fields, such as {emotion: {loss"),
        ({1: {}}, "tasks: 1 can't name a task"),
        ({"a/b": {}}, "tasks: 'a/b' can't name a task"),
        ({"emotion": {"hed": "mlp"}}, "field of task 'emotion' 'hed' (did you mean 'head'?)"),
        ({"emotion": {"head": "deep"}}, "task 'emotion': unknown head 'deep'"),
        ({"emotion": {"head": "mlp", "head_config": {"sise": 3}}}, "task 'emotion': unknown option of head 'mlp'"),
        ({"emotion": {"head_config": 3}}, "tasks: emotion: head_config: 3 is not of the kind dict"),
        ({"emotion": {"loss": "hinge"}}, "task 'emotion': unknown loss 'hinge'"),
        ({"emotion": {"loss": "coral"}}, "task 'emotion': loss 'coral' does not go with head 'linear'"),
        ({"emotion": {}, "age": {"loss": "ccc", "head": "cosine"}}, "task 'age': loss 'ccc' does not go with head"),
        ({"age": {"loss": "mse", "weight": "much"}}, "tasks: age: weight: 'much' is not a number"),
        ({"age": {"loss": "mse", "weight": -1}}, "task 'age': weight is -1; give a number of 0 or more"),
        ({"age": {"loss": "mse", "bins": "decades"}}, "bins make classes of 'age', but loss 'mse' is for regression"),
        ({"age": {"bins": "decade"}}, "unknown rule of bins 'decade' (did you mean 'decades'?)"),
        ({"emotion": {"class_weights": "even"}}, "task 'emotion': unknown class_weights 'even'"),
        ({"emotion": {}, "mood": {}}, "no column 'mood'"),
    ],
)
def test_tables_that_are_no_tasks(
    tasks: object, said: str, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(AssertionError):
        train_tiny(tmp_path / "model", table, *RULES, tasks=tasks)
    line = capsys.readouterr().err.splitlines()[-1]
    assert said in line and "Traceback" not in line
    assert not list((tmp_path / "model").glob("*"))


@pytest.mark.parametrize("flag", ["--target=age", "--labels=a,b", "--bins=decades"])
def test_fields_of_one_target_are_refused_beside_tasks(
    flag: str, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--dataset", table, "--backbone", "x", "--output-dir", tmp_path / "model", "--tasks", "{emotion: {}}")
    assert "has no part where there are tasks" in refusal(capsys, "train", *words, flag)


def test_tasks_take_what_is_given_for_all_and_an_own_head_loses_its_options(table: Path, tmp_path: Path) -> None:
    """`tasks.age.head` by a flag, three levels deep; the head of emotion is the run's, that of age its own."""
    shared = {"head": "mlp", "head_config": {"size": 8}, "tasks": {"emotion": None, "age": {"loss": "mse"}}}
    folder = train_tiny(tmp_path / "model", table, "--tasks.age.head", "linear", "--max-steps", 1, **shared)
    emotion, age = read_results(folder)["model"]["tasks"]
    assert (emotion["head"], emotion["head_config"]) == ("mlp", {"size": 8})
    assert (age["head"], age["head_config"]) == ("linear", {})
