"""A sweep over layers: known structure is found, nothing is learnt of tested rows, and the command from end to end."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from datasets import Dataset
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression, Ridge
from transformers import AutoModel, Wav2Vec2FeatureExtractor

from hf_speech.audio import read_audio
from hf_speech.data.checks import check_rows
from hf_speech.data.frozen import frames_batch
from hf_speech.data.readers import load_rows
from hf_speech.experiments.layer_sweep.numbers import items_of, measured, score, task_of
from hf_speech.experiments.layer_sweep.parts import ALL, Part, SweepRows, sweep_rows
from hf_speech.experiments.layer_sweep.runs import fill_caches
from hf_speech.experiments.layer_sweep.sweep import CHOSEN, WEIGHTED, Question, linear_sweep
from hf_speech.experiments.members import Member, member_config
from hf_speech.layers.encoders import load_layers
from hf_speech.layers.kept import kept_features
from hf_speech.layers.passes import pooled_of_rows
from hf_speech.layers.probes import Goal, fit_probe, fit_weighted_sum, inner_folds, linear_probes
from hf_speech.models.modeling import HfSpeechForSequenceClassification, HfSpeechModel
from hf_speech.results import Results
from hf_speech.store import Store
from hf_speech.testing import tiny_backbone_config, write_fake_corpus
from hf_speech.training.arguments import read_config
from hf_speech.training.frozen import run_once
from hf_speech.training.rows import RunRows
from hf_speech.training.setup import read_and_build

from ..models.tiny import lively, tiny_config
from ..training.runs import command, read_results, read_table, refusal, write_table

LAYERS, SIZE, TELLING = (1, 2, 3, 4), 6, 2
FIELDS = {"backbone": "x", "dataset": "made-up"}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a tiny encoder of three layers."""
    folder = tmp_path_factory.mktemp("encoder")
    lively(AutoModel.from_config(tiny_backbone_config("wav2vec2", num_hidden_layers=3))).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def ages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus whose clips are segments of recordings, two each."""
    table = write_fake_corpus(tmp_path_factory.mktemp("ages"), speakers=5, per_speaker=4, seconds=(0.3, 0.6))
    rows = [{**row, "recording_id": f"r{i // 2}"} for i, row in enumerate(read_table(table))]
    return write_table(table.with_name("recordings.csv"), rows)


def made_up(classes: int, seed: int = 0) -> tuple[NDArray, SweepRows, Question]:
    """Features (N, L, 2 * SIZE) in which only layer 2 says what the label is, and two folds of six speakers."""
    random = np.random.default_rng(seed)
    count = 60
    labels = np.arange(count) % classes if classes else random.normal(40.0, 10.0, count)
    features = random.normal(size=(count, len(LAYERS), 2 * SIZE)).astype(np.float32)
    told = np.eye(classes)[labels] if classes else (labels[:, None] - 40.0) / 10.0
    features[:, LAYERS.index(TELLING), : told.shape[1]] = told + random.normal(0.0, 0.1, told.shape)
    names = [f"class {i}" for i in range(classes)] or None
    table = Dataset.from_dict({"speaker_id": [f"s{i // 10}" for i in range(count)]})
    places = np.arange(count)
    parts = [
        Part("one", {"train": places[:40], "test": places[40:]}),
        Part("two", {"train": places[20:], "test": places[:20]}),
    ]
    rows = SweepRows(RunRows({ALL: table}, {"label": names}, 0, {}), labels, parts, "two", "")
    config = read_config(None, FIELDS if classes else {**FIELDS, "loss": "mse"})
    task, metric = task_of(config, names), "uar" if classes else "mae"
    goal = Goal(classes, lambda true, said: score(task, metric, true, said), bool(classes))
    return features, rows, Question(task, metric, goal, 0)


@pytest.mark.parametrize("classes", [2, 3, 0])
def test_the_layer_that_tells_is_found_and_has_the_weight(classes: int) -> None:
    features, rows, question = made_up(classes)
    found = {one.layer: one for one in linear_sweep(features, LAYERS, rows, question, size=SIZE)}
    assert list(found) == [*LAYERS, CHOSEN, WEIGHTED]
    means = [float(np.mean(found[layer].scores)) for layer in LAYERS]
    assert LAYERS[question.goal.best(means)] == TELLING and found[CHOSEN].facts["layers"] == [TELLING, TELLING]
    shares = found[WEIGHTED].facts["shares"]
    assert shares.shape == (2, len(LAYERS)) and shares.sum(1) == pytest.approx([1, 1])
    assert (shares[:, LAYERS.index(TELLING)] > 0.5).all()
    tested = np.r_[40:60, 0:20]
    said = {layer: one.said[tested] for layer, one in found.items()}
    best, other = (score(question.task, question.metric, rows.labels[tested], said[one]) for one in (TELLING, 4))
    assert (best > 0.9 and other < 0.8) if classes else (best < 3 and other > 6)
    np.testing.assert_array_equal(said[CHOSEN], said[TELLING])
    assert np.isnan(found[TELLING].said[20:40]).sum() == 20, "rows that no fold tests"


@pytest.mark.parametrize("classes", [2, 0])
@pytest.mark.parametrize("validated", [False, True])
def test_tested_rows_have_no_part_in_what_is_fitted_and_chosen(classes: int, validated: bool) -> None:
    features, rows, question = made_up(classes)
    places = {"train": np.arange(30), "test": np.arange(40, 60)}
    part = Part("", {**places, "validation": np.arange(30, 40)} if validated else places)
    poisoned, labels = features.copy(), rows.labels.copy()
    poisoned[40:], labels[40:] = -100 * features[40:], rows.labels[40:][::-1]
    clean, other = (
        linear_sweep(numbers, LAYERS, SweepRows(rows.rows, told, [part], "", ""), question, size=SIZE)
        for numbers, told in ((features, rows.labels), (poisoned, labels))
    )
    assert [one.layer for one in clean] == [*LAYERS, WEIGHTED]
    for one, two in zip(clean, other, strict=True):
        assert one.scores == two.scores
        np.testing.assert_equal(one.facts, two.facts)
    assert not np.array_equal(clean[1].said[40:], other[1].said[40:])


@pytest.mark.parametrize("count", [20, 90])  # fewer rows than dimensions, and more
@pytest.mark.parametrize("classes", [3, 0])
def test_a_probe_is_the_one_of_scikit_learn_and_a_sum_of_one_layer_is_too(classes: int, count: int) -> None:
    random = np.random.default_rng(1)
    features = random.normal(3.0, [1.0] * 20 + [50.0] * 20, (count, 40))
    features[:, 7] = 2.5  # a constant says nothing
    labels = random.integers(0, 3, count) if classes else features[:, 0] * 4 + random.normal(size=count)
    goal = Goal(classes, lambda true, said: 0.0, True)
    kept = np.delete(features, 7, axis=1)
    scaled = (kept - kept.mean(0)) / kept.std(0)
    for strength in (0.01, 1.0):
        expected = (
            LogisticRegression(C=strength, tol=1e-8, max_iter=5000).fit(scaled, labels)
            if classes
            else Ridge(alpha=1 / strength).fit(scaled, labels)
        ).predict(scaled)
        (probe,) = linear_probes(features, labels, goal, [strength])
        predict, shares = fit_weighted_sum(features[:, None], labels, goal, strength)
        for said in (probe(features), predict(features[:, None])):
            np.testing.assert_allclose(said, expected, atol=0.01)
        assert shares.tolist() == [1.0]


def test_classes_weigh_as_they_are_told() -> None:
    labels = np.array([0, 0, 0, 1])
    weights = {how: Goal(2, lambda true, said: 0.0, True, how).row_weights(labels) for how in (None, "balanced")}
    assert weights[None].tolist() == [1, 1, 1, 1]
    assert weights["balanced"] == pytest.approx([2 / 3] * 3 + [2])
    assert Goal(2, lambda true, said: 0.0, True, [1.0, 5.0]).row_weights(labels).tolist() == [1, 1, 1, 5]


def test_inner_folds_keep_speakers_together_where_they_can() -> None:
    labels = np.arange(24) % 2
    speakers = [f"s{i // 4}" for i in range(24)]
    goal = Goal(2, lambda true, said: 0.0, True)
    for fitted, left in inner_folds(labels, speakers, goal, 0):
        assert not {speakers[i] for i in fitted} & {speakers[i] for i in left}
    # Where each class is one speaker, every fold has to have all.
    of_speakers = inner_folds(labels, [f"s{label}" for label in labels], goal, 0)
    assert all(set(labels[fitted]) == {0, 1} for fitted, _ in of_speakers) and len(of_speakers) == 3


@pytest.mark.parametrize(("labels", "folds"), [([0, 0, 1], 2), ([0, 0, 1, 1, 2, 2], 2), ([0, 1, 2, 3], 3), ([0, 1], 2)])
def test_there_are_inner_folds_of_a_handful_of_rows(labels: list[int], folds: int) -> None:
    kinds, goal = np.array(labels), Goal(max(labels) + 1, lambda true, said: float(np.mean(true == said)), True)
    made = inner_folds(kinds, None, goal, 0)
    assert sorted(np.concatenate([left for _, left in made])) == list(range(len(labels))) and len(made) == folds
    assert all(len(fitted) and len(left) for fitted, left in made)
    fit_probe(np.eye(len(labels)), kinds, goal, None, made)


def test_a_recording_is_told_by_the_median_of_its_segments() -> None:
    table = Dataset.from_dict(
        {
            "id": list("abcdefg"),
            "speaker_id": ["s", "s", "s", "t", "t", "s", "u"],
            "recording_id": ["1", "1", "1", "1", "1", "2", "3"],
        }
    )
    labels = np.array([30.0, 30, 30, 50, 50, 30, 99])
    rows = SweepRows(RunRows({ALL: table}, {"age": None}, 0, {}), labels, [], "", "")
    config = read_config(None, {**FIELDS, "target": "age", "loss": "mse", "unit": "years"})
    task = task_of(config, None)
    utterances, recordings = items_of(rows, task, np.arange(6))  # the last one is not tested
    said = np.array([31.0, 90, 33, 40, 50, 27, 0])
    assert recordings.ids == ["s/1", "t/1", "s/2"] and recordings.labels.tolist() == [30, 50, 30]
    assert recordings.predicted(said).tolist() == [33, 45, 27]
    for items, expected in ((utterances, (1 + 60 + 3 + 10 + 0 + 3) / 6), (recordings, (3 + 5 + 3) / 3)):
        mae, *_ = measured(config, task, items, said, "test", {"layer": 1}, 0)
        assert (mae["name"], mae["unit"], mae["n"]) == ("mae", "years", len(items.ids))
        assert mae["value"] == pytest.approx(expected) and mae["low"] <= mae["value"] <= mae["high"]


def test_what_is_kept_is_read_shard_by_shard(
    encoder: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layered = load_layers(encoder)
    rows = check_rows(load_rows(str(corpus))["train"])[0].select([3, 0, 2, 3, 1])
    for row in range(3):
        kept_features(layered, rows.select([row]), tmp_path)
    assert len(list(tmp_path.rglob("*.safetensors"))) == 3
    monkeypatch.setattr(Store, "read", None)  # which holds all shards at once
    found = kept_features(layered, rows, tmp_path)
    np.testing.assert_allclose(found, pooled_of_rows(layered, rows), atol=1e-5)
    assert np.array_equal(found[0], found[3]) and len(list(tmp_path.rglob("*.safetensors"))) == 4


def test_what_is_kept_is_one_pass_and_goes_on_where_it_was(encoder: Path, corpus: Path, tmp_path: Path) -> None:
    layered = load_layers(encoder)
    rows, _ = check_rows(load_rows(str(corpus))["train"])
    half = kept_features(layered, rows.select(range(10)), tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}
    (next(iter(before)).parent / ".shard.0.1.safetensors").write_bytes(b"half-written by a killed process")
    whole = kept_features(layered, rows, tmp_path)
    after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}
    assert len(before) == 1 and len(after) == 2 and before.items() <= after.items()
    np.testing.assert_array_equal(whole[:10], half)
    np.testing.assert_allclose(whole, pooled_of_rows(layered, rows), atol=1e-5)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")} == after
    np.testing.assert_array_equal(kept_features(layered, rows, tmp_path), whole)
    model = HfSpeechModel.from_backbone(str(encoder), layer=2, pooling="mean+std").eval()
    with torch.inference_mode():
        wave = layered.extractor(read_audio(rows[3]["audio"]), sampling_rate=16_000, return_tensors="pt")
        np.testing.assert_allclose(whole[3, 1], model(**wave).embeddings[0].numpy(), atol=1e-5)


def test_one_pass_fills_the_caches_of_runs_with_each_layer(
    encoder: Path, ages: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As each would have filled it by a pass of its own, long held-out rows in pieces."""
    fields = {"backbone": str(encoder), "dataset": str(ages), "target": "age", "loss": "mse", "freeze": "backbone"}
    fields |= {"neck": "relu", "pooling": "attentive", "max_seconds": 0.35, "test": "speaker_id=speaker01"}
    config = read_config(None, fields)
    layered = load_layers(encoder, "1,3")
    rows = sweep_rows(config, None, layered.min_samples / layered.rate)
    members = {
        (layer, cache): Member(
            cache, member_config(config, {"layer": layer, "frozen_cache": str(tmp_path / cache)}, "run"), {}
        )
        for layer in layered.layers
        for cache in ("together", "alone")
    }
    fill_caches([one for (_, cache), one in members.items() if cache == "together"], layered, rows, 0.35)
    for layer in layered.layers:
        said = {}
        for cache in ("together", "alone"):
            caplog.clear()
            with caplog.at_level("INFO"):
                run, model, extractor = read_and_build(members[layer, cache].config)
                run = run_once(members[layer, cache].config, run, model, extractor)
            assert ("what the encoder says of all utterances" in caplog.text) == (cache == "together")
            places = [place for split in ("train", "test") for row in run.splits[split]["frozen"] for place in row]
            said[cache] = frames_batch(places)
        assert len(said["alone"]["attention_mask"]) > 20, "some are in pieces"
        for name, expected in said["alone"].items():
            torch.testing.assert_close(said["together"][name], expected, atol=1e-5, rtol=0)


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory, encoder: Path, ages: Path) -> Path:
    """The folder of a sweep over ages, fold by fold."""
    folder = tmp_path_factory.mktemp("sweeps") / "ages"
    words = ["--backbone", encoder, "--dataset", ages, "--target", "age", "--loss", "mse", "--unit", "years"]
    assert command("layer-sweep", *words, "--folds", "speaker_id", "--output-dir", folder) == 0
    return folder


def test_the_tables_say_what_was_measured(swept: Path) -> None:
    results, rows = Results.read(swept), read_table(swept / "layers.csv")
    assert [(row["layer"], row["level"], float(row["value"])) for row in rows if row["metric"] == "mae"] == [
        (str(one["layer"]), one["level"], one["value"]) for one in results.metrics if one["name"] == "mae"
    ]
    assert {row["level"]: int(row["n"]) for row in rows} == {"utterance": 20, "recording": 10}
    assert {row["layer"] for row in rows} == {"1", "2", "3", CHOSEN, WEIGHTED}
    experiment = results.run["experiment"]
    scores = np.array(experiment["choice"]["of_parts"])
    assert scores.shape == (3, 5) and experiment["choice"]["scores"] == pytest.approx(scores.mean(1))
    best = experiment["choice"]["layer"]
    assert best == 1 + scores.mean(1).argmin() == results.model["layer"]
    assert experiment["chosen"] == (1 + scores.argmin(0)).tolist()
    page = (swept / "README.md").read_text()
    mae = next(one for one in results.metrics if one["layer"] == best and one["name"] == "mae")
    assert f"| **{best}** | **linear** | **{scores.mean(1).min():.3f}** | **{mae['value']:.2f} years** |" in page
    assert "By recording (10;" in page and "inner folds of the training rows, mean over the folds" in page
    assert (swept / "layers.png").stat().st_size > 5_000


def test_the_best_layer_is_a_recipe_that_runs(swept: Path, tmp_path: Path) -> None:
    fields = yaml.safe_load((swept / "best" / "train.yaml").read_text())
    assert (fields["layer"], fields["pooling"]) == (Results.read(swept).model["layer"], "mean+std")
    assert command("train", swept / "best" / "train.yaml", "--max-steps", 1, "--output-dir", tmp_path / "model") == 0
    assert read_results(tmp_path / "model")["model"]["layer"] == fields["layer"]


def test_another_sweep_in_the_folder_is_refused_and_the_same_one_hears_nothing_again(
    swept: Path, encoder: Path, ages: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["layer-sweep", "--backbone", encoder, "--dataset", ages, "--target", "age", "--loss", "mse"]
    words += ["--folds", "speaker_id", "--output-dir", swept, "--unit", "years"]
    assert "holds another layer sweep: pooling is " in refusal(capsys, *words, "--pooling", "mean")
    assert "layers is [1, 2, 3] there and [2] here" in refusal(capsys, *words, "--layers", "2")
    shards = {path: path.stat().st_mtime_ns for path in swept.rglob("*.safetensors")}
    metrics = Results.read(swept).metrics
    assert command(*words) == 0
    assert Results.read(swept).metrics == metrics
    assert {path: path.stat().st_mtime_ns for path in swept.rglob("*.safetensors")} == shards != {}


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ([], "nothing is held out to test the layers on: give --folds"),
        (["--target", "mood", "--folds", "speaker_id"], "no column 'mood'"),
        (["--folds", "speaker"], "no column 'speaker'"),
        (["--folds", "speaker_id", "--layers", "2,9"], "there is no layer 9; it has layers 1 to 3"),
        (["--folds", "speaker_id", "--pooling", "attentive"], "unknown pooling of layers 'attentive'; valid: mean"),
        (["--folds", "speaker_id", "--backbone", "ecapa-512"], "has no layers to choose from; give an SSL encoder"),
        (["--folds", "speaker_id", "--backbone", "none"], "no encoder"),
        (["--folds", "speaker_id", "--backbone_config.hidden_size", "4"], "hidden_size has no part in a layer sweep"),
        (["--folds", "speaker_id", "--metric_for_best_model", "ccc"], "metric_for_best_model 'ccc'"),
        (
            ["--test", "0.25", "--probe", "transformer"],
            "by validation rows, of which there are none: give --validation",
        ),
        (["--folds", "speaker_id", "--tasks", "{label: {}, age: {loss: mse}}"], "has one target"),
        (["--folds", "speaker_id", "--probes", "both"], "did you mean --probe"),
        (["--folds", "speaker_id", "--adaptation", "[{pretrain: {}}]"], "adaptation has no part in a layer sweep"),
        (["--folds", "speaker_id", "--class_weights", "[1.0]"], "class_weights has 1 factors for "),
    ],
)
def test_what_can_not_be_swept_is_said(
    flags: list[str], expected: str, encoder: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["layer-sweep", "--backbone", encoder, "--dataset", corpus, "--target", "label", *flags]
    assert expected in refusal(capsys, *words, "--output-dir", tmp_path / "sweep")
    assert not (tmp_path / "sweep").exists()


def test_numbers_that_are_none_are_refused_and_not_kept(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = AutoModel.from_config(tiny_backbone_config("wav2vec2", num_hidden_layers=2))
    torch.nn.init.constant_(broken.encoder.layers[1].final_layer_norm.bias, float("nan"))
    broken.save_pretrained(tmp_path / "encoder")
    words = ["--backbone", tmp_path / "encoder", "--dataset", corpus, "--target", "label", "--folds", "speaker_id"]
    said = refusal(capsys, "layer-sweep", *words, "--output-dir", tmp_path / "sweep")
    assert ".wav: layer 2 has NaN or infinite numbers; check the model's weights" in said
    assert not list(tmp_path.glob("sweep/**/*.safetensors"))


def test_a_finished_model_is_asked_without_its_class_token_and_not_by_a_transformer(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = lively(HfSpeechForSequenceClassification(tiny_config(pooling="first+cls-learned")))
    model.save_pretrained(tmp_path / "model")
    words = ["--backbone", tmp_path / "model", "--dataset", corpus, "--target", "label", "--layers", "2"]
    words += ["--validation", "0.2", "--test", "0.2"]
    said = refusal(capsys, "layer-sweep", *words, "--probe", "transformer", "--output-dir", tmp_path / "none")
    assert "is a finished model, which a run takes with the neck that it has" in said
    assert not (tmp_path / "none").exists()
    assert command("layer-sweep", *words, "--output-dir", tmp_path / "sweep") == 0
    best = read_config(str(tmp_path / "sweep" / "best" / "train.yaml"), {})
    rows, made, extractor = read_and_build(best)
    rows = rows.splits["train"]
    shards = sorted(tmp_path.glob("sweep/**/*.safetensors"))
    features = kept_features(load_layers(tmp_path / "model", [2], class_token=False), rows, tmp_path / "sweep")
    assert sorted(tmp_path.glob("sweep/**/*.safetensors")) == shards, "what the sweep has kept"
    wave = extractor(read_audio(rows[0]["audio"]), sampling_rate=16_000, return_tensors="pt")
    with torch.inference_mode():
        np.testing.assert_allclose(features[0, 0], made.eval()(**wave).embeddings[0].numpy(), atol=1e-5)


@pytest.mark.slow
def test_a_transformer_is_trained_on_every_layer(encoder: Path, ages: Path, tmp_path: Path) -> None:
    words = ["--backbone", encoder, "--dataset", ages, "--target", "age", "--loss", "mse", "--layers", "1,3"]
    words += ["--validation", "speaker_id=speaker01", "--test", "speaker_id=speaker02", "--max-steps", 2]
    words += ["--neck", "transformer", "--neck_config", "{layers: 1, size: 16, heads: 2, feedforward: 16}"]
    cores = len(os.sched_getaffinity(0))
    folder = tmp_path / "both"
    assert command("layer-sweep", *words, "--probe", "both", "--parallel", cores, "--output-dir", folder) == 0
    results = Results.read(folder)
    assert results.run["experiment"]["choice"]["probe"] == "transformer"
    for layer in (1, 3):
        of_run = {one["name"]: one for one in Results.read(folder / f"layer{layer}").metrics if one["split"] == "test"}
        for one in results.metrics:
            if (one["probe"], one["layer"], one["level"]) == ("transformer", layer, "utterance"):
                assert one["value"] == pytest.approx(of_run[one["name"]]["value"], nan_ok=True)
        log = (folder / "jobs" / f"layer{layer}.log").read_text()
        assert "has what the encoder says of all utterances" in log
    fields = yaml.safe_load((folder / "best" / "train.yaml").read_text())
    assert fields["neck"] == "transformer" and fields["neck_config"]["size"] == 16
