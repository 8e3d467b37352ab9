"""What a layer sweep tells of its choice: ties, guessing, and commands that measure and train what was asked."""

import logging
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from datasets import Dataset
from transformers import AutoModel, Wav2Vec2FeatureExtractor, Wav2Vec2ForPreTraining
from transformers import logging as of_transformers

from hf_speech.experiments.folds import folds_of
from hf_speech.experiments.layer_sweep.numbers import guessed, items_of, task_of
from hf_speech.experiments.layer_sweep.parts import ALL, Part, SweepRows
from hf_speech.experiments.layer_sweep.sweep import Probed, Question, _choice
from hf_speech.experiments.layer_sweep.tables import _beside_guessing, page, plot_sweep_of_layers, told, write_best
from hf_speech.layers.encoders import _silent_of_unused, load_layers
from hf_speech.layers.probes import Goal
from hf_speech.results import Results
from hf_speech.testing import tiny_backbone_config, write_fake_corpus
from hf_speech.training.arguments import read_config
from hf_speech.training.rows import RunRows

from ..layers.encoders import write_encoder
from ..training.runs import command


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a sweep over classes, given by a path from the folder of work, all of whose data lie there too."""
    home = tmp_path_factory.mktemp("home")
    write_encoder(home / "encoder")
    write_fake_corpus(home / "corpus", speakers=4, per_speaker=4, seconds=(0.3, 0.4))
    words = ["--backbone", "encoder", "--dataset", "corpus", "--target", "label", "--folds", "speaker_id/2"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        assert command("layer-sweep", *words, "--output-dir", "sweeps/the best") == 0
    return home / "sweeps" / "the best"


def config_of(swept: Path) -> Path:
    return swept / "best" / "train.yaml"


def test_the_commands_of_the_page_run_from_where_the_sweep_was_run(
    swept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (swept / "README.md").read_text()
    lines = [shlex.split(line) for line in text.splitlines() if line.startswith("hf-speech ") and "best" in line]
    assert [words[1] for words in lines] == ["crossval", "train"] and "From the folder in which" in text
    monkeypatch.chdir(swept.parent.parent)
    assert command(*lines[1][1:], "--max-steps", 1) == 0
    # The same rows are tested in the same folds.
    (best, flag, folds), there = lines[0][2:5], yaml.safe_load((swept / "experiment.yaml").read_text())
    assert flag == "--folds" and folds_of(read_config(best), folds, None).fingerprint == there["rows"]["all"]


def test_the_fields_say_that_the_encoder_was_frozen(swept: Path, tmp_path: Path) -> None:
    results, config = Results.read(swept), read_config(str(config_of(swept)))
    said = "# In the sweep the encoder was frozen, and this run trains it: add `freeze: backbone`"
    assert said in config_of(swept).read_text() and said[2:] in (swept / "README.md").read_text()
    frozen = replace(config, learning=replace(config.learning, freeze="backbone"))
    write_best(results, frozen, tmp_path)
    assert "frozen" not in config_of(tmp_path).read_text()


def test_equal_layers_are_told_as_equal(swept: Path) -> None:
    """Means that differ by rounding alone are equal too."""
    goal = Goal(2, lambda labels, said: 0.0, True)
    task = task_of(read_config(str(config_of(swept))), ["low", "high"])
    parts = [Part(name, {"train": np.arange(2), "test": np.arange(2)}) for name in "abc"]
    rows = SweepRows(RunRows({}, {"label": ["low", "high"]}, 0, {}), np.arange(2), parts, "", "")
    scores = {1: [0.3, 0.2, 0.1], 2: [0.1, 0.2, 0.3], 3: [0.1, 0.1, 0.1]}
    assert np.mean(scores[1]) < np.mean(scores[2])
    found = [Probed("linear", layer, np.zeros(2), values) for layer, values in scores.items()]
    choice = _choice(rows, Question(task, "uar", goal, 0), found)
    assert (choice["layer"], choice["tied"]) == (1, [1, 2])
    results, config = Results.read(swept), read_config(str(config_of(swept)))
    results.run["experiment"]["choice"] |= {"layer": 1, "tied": [1, 2]}
    for text in (page(results, config, swept, None), told(results, swept)):
        assert "ayers 1 and 2 of 3 do equally well, and the lowest is taken" in text and "is the best" not in text


@pytest.mark.parametrize("classes", [3, 0])
def test_guessing_by_hand(classes: int) -> None:
    """Two parts; a guess is made of the training rows of each."""
    labels = np.array([0, 1, 1, 2, 2, 0]) if classes else np.array([10.0, 20.0, 60.0, 30.0, 30.0, 90.0])
    names = ["a", "b", "c"] if classes else None
    config = read_config(None, {"backbone": "x", "dataset": "y", **({} if classes else {"loss": "mse"})})
    halves = np.arange(3), np.arange(3, 6)
    parts = [Part("one", {"train": halves[0], "test": halves[1]}), Part("two", {"train": halves[1], "test": halves[0]})]
    table = Dataset.from_dict({"id": list("abcdef")})
    rows = SweepRows(RunRows({ALL: table}, {"label": names}, 0, {}), labels, parts, "two", "")
    task = task_of(config, names)
    (items,) = items_of(rows, task, np.r_[3:6, 0:3])
    if classes:  # "b" in training of the first part, "c" in that of the second
        assert guessed(rows, task, items) == {"uar": pytest.approx(1 / 3), "accuracy": 0.0}
    else:  # median 20 and mean 30 where 30, 30, 90 are told; median 30 and mean 50 where 10, 20, 60 are
        squares = [0, 0, 60**2, 40**2, 30**2, 10**2]
        expected = {"mae": (10 + 10 + 70 + 20 + 10 + 30) / 6, "rmse": np.sqrt(np.mean(squares))}
        assert guessed(rows, task, items) == pytest.approx(expected)


def test_guessing_stands_in_table_and_picture(swept: Path, tmp_path: Path) -> None:
    results = Results.read(swept)
    experiment = results.run["experiment"]
    assert experiment["guessing"]["utterance"]["uar"] == 0.5
    assert "| guessing |  |  | 0.500 |" in (swept / "README.md").read_text()
    figure = plot_sweep_of_layers(results.metrics, experiment, tmp_path / "layers.png")
    lines = {line.get_label(): line for line in figure.axes[0].lines}
    assert list(lines["guessing"].get_ydata()) == [0.5, 0.5] and lines["guessing"].get_linestyle() == ":"
    assert "best layer" not in lines, "a line over an interval"
    assert list(lines["linear probe"].get_xdata()) == experiment["layers"], "beside its tick"
    assert figure.axes[0].get_xlim() == figure.axes[1].get_xlim()


@pytest.mark.parametrize("metric, better, worse", [("uar", "low", -0.01), ("mae", "high", 0.01)])
def test_nothing_better_than_guessing_is_said(swept: Path, metric: str, better: str, worse: float) -> None:
    results = Results.read(swept)
    experiment = results.run["experiment"]
    experiment["choice"]["metric"] = metric
    metrics = [{**one, "name": metric} for one in results.metrics if one["name"] == "uar"]
    ends = [one[better] for one in metrics if one["group"] == "all" and one["layer"] in experiment["layers"]]
    end = (max if better == "low" else min)(ends)
    said = []
    for known in ({metric: end}, {metric: end + worse}, {}):
        experiment["guessing"] = {"utterance": known}
        said.append(_beside_guessing(replace(results, metrics=metrics)))
    side = "above" if better == "low" else "below"
    assert f"guessing ({metric} {end:.3f}): of none does the 95 % interval lie {side} it" in said[0]
    assert said[1:] == ["", ""]


def test_weights_that_are_not_used_are_not_listed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A head and a higher layer; what is absent is reported as ever."""
    config = tiny_backbone_config("wav2vec2", num_hidden_layers=2)
    Wav2Vec2ForPreTraining(config).save_pretrained(tmp_path)
    Wav2Vec2FeatureExtractor().save_pretrained(tmp_path)
    before = of_transformers.get_verbosity()
    theirs = logging.getLogger("transformers.modeling_utils")
    theirs.addHandler(caplog.handler)
    try:
        of_transformers.set_verbosity_warning()
        load_layers(tmp_path, 1)
        assert "LOAD REPORT" not in caplog.text
        AutoModel.from_pretrained(tmp_path)
        assert "LOAD REPORT" in caplog.text and "UNEXPECTED" in caplog.text
        with _silent_of_unused():
            theirs.warning("LOAD REPORT: encoder.layers.0 | MISSING")
        assert "encoder.layers.0 | MISSING" in caplog.text
    finally:
        of_transformers.set_verbosity(before)
        theirs.removeHandler(caplog.handler)
