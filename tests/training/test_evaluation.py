"""Whole utterances through a model: in pieces, in batches, in any order, and the numbers that come of them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from datasets import Dataset
from sklearn.metrics import mean_absolute_error, recall_score
from transformers import (
    AutoConfig,
    AutoModelForAudioClassification,
    PreTrainedModel,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForSequenceClassification,
)

from hf_speech.audio import write_audio
from hf_speech.data.checks import check_rows
from hf_speech.data.recordings import rows_of_files
from hf_speech.errors import InputError
from hf_speech.inference import infer, predict
from hf_speech.models.modeling import HfSpeechForSequenceClassification
from hf_speech.testing import tiny_backbone_config, write_fake_corpus
from hf_speech.training.evaluation import evaluate_rows

from ..models.tiny import lively, tiny_config
from ..sounds import voice_like
from .runs import command, read_results, read_table, write_table

RATE = 16_000
SECONDS = (7.0, 0.7, 2.0, 1.31, 4.5, 0.9)


@pytest.fixture(scope="module")
def model() -> PreTrainedModel:
    return lively(HfSpeechForSequenceClassification(tiny_config(pooling="mean+std", head="mlp")))


@pytest.fixture(scope="module")
def extractor() -> Wav2Vec2FeatureExtractor:
    return Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Six utterances of 0.7 to 7 s."""
    folder = tmp_path_factory.mktemp("utterances")
    for i, seconds in enumerate(SECONDS):
        write_audio(folder / f"{i}.wav", voice_like(seconds, seed=i))
    return check_rows(rows_of_files([folder]))[0]


@torch.inference_mode()
def alone(model: PreTrainedModel, extractor: Wav2Vec2FeatureExtractor, waveform: np.ndarray) -> dict[str, np.ndarray]:
    """Logits and embeddings of one waveform, by the model itself."""
    outputs = model(**extractor(waveform, sampling_rate=RATE, return_tensors="pt"))
    return {name: outputs[name][0].numpy() for name in ("logits", "embeddings")}


def test_a_long_utterance_is_the_mean_of_its_pieces(
    model: PreTrainedModel, extractor: Wav2Vec2FeatureExtractor, rows: Dataset
) -> None:
    outcome = infer(model, extractor, rows, max_seconds=2)
    for i, path in enumerate(rows["path"]):
        waveform, _ = soundfile.read(path, dtype="float32")
        count = -(-len(waveform) // (2 * RATE))  # 4 pieces of 1.75 s for 7 s, 3 of 1.5 s for 4.5 s
        pieces = np.array_split(waveform, count)
        said = [alone(model, extractor, piece) for piece in pieces]
        for name, found in (("logits", outcome.logits), ("embeddings", outcome.embeddings)):
            assert found is not None
            wanted = np.average([piece[name] for piece in said], axis=0, weights=[len(piece) for piece in pieces])
            np.testing.assert_allclose(found[i], wanted, atol=1e-5)
    assert np.ptp(outcome.logits, axis=0).min() > 0.03  # or anything would be near anything


@pytest.mark.parametrize("batch_seconds", [0.1, 3.0, 60.0])
@pytest.mark.parametrize("order", [(0, 1, 2, 3, 4, 5), (5, 3, 1, 0, 2, 4)])
def test_neither_order_nor_batches_matter(
    model: PreTrainedModel,
    extractor: Wav2Vec2FeatureExtractor,
    rows: Dataset,
    batch_seconds: float,
    order: tuple[int, ...],
) -> None:
    found = infer(model, extractor, rows.select(order), batch_seconds=batch_seconds)
    wanted = [alone(model, extractor, soundfile.read(rows[i]["path"], dtype="float32")[0]) for i in order]
    np.testing.assert_allclose(found.logits, [said["logits"] for said in wanted], atol=1e-5)
    np.testing.assert_allclose(found.embeddings, [said["embeddings"] for said in wanted], atol=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_the_models_mode_is_left_as_it_was(
    model: PreTrainedModel, extractor: Wav2Vec2FeatureExtractor, rows: Dataset, tmp_path: Path, training: bool
) -> None:
    quiet = infer(model.eval(), extractor, rows).logits
    model.train(training)
    model.speech.pooling.eval()  # by hand
    modes = [part.training for part in model.modules()]
    try:
        np.testing.assert_array_equal(infer(model, extractor, rows).logits, quiet)  # no dropout
        assert [part.training for part in model.modules()] == modes and model.training == training
        lost = check_rows(rows_of_files([write_audio_at(tmp_path / "lost.wav")]))[0]
        (tmp_path / "lost.wav").unlink()
        with pytest.raises(InputError, match="no such file"):
            infer(model, extractor, lost)
        assert [part.training for part in model.modules()] == modes
    finally:
        model.eval()


def write_audio_at(path: Path) -> Path:
    write_audio(path, voice_like(1.0))
    return path


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stock classifier, whose logits change with padding (group norm)."""
    folder = tmp_path_factory.mktemp("stock")
    config = tiny_backbone_config("wav2vec2", id2label={0: "high", 1: "low"}, label2id={"high": 0, "low": 1})
    lively(Wav2Vec2ForSequenceClassification(config)).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=False).save_pretrained(folder)
    return folder


def test_a_stock_classifier_hears_one_utterance_at_a_time(stock: Path, rows: Dataset) -> None:
    model = AutoModelForAudioClassification.from_pretrained(stock).eval()
    extractor = Wav2Vec2FeatureExtractor.from_pretrained(stock)
    found = predict(model, extractor, list(rows["path"]))
    for said, path in zip(found, rows["path"], strict=True):
        inputs = extractor(soundfile.read(path, dtype="float32")[0], sampling_rate=RATE, return_tensors="pt")
        with torch.inference_mode():
            scores = model(**inputs).logits[0].softmax(-1).tolist()
        assert said["scores"] == pytest.approx(dict(zip(("high", "low"), scores, strict=True)), abs=1e-5)


def test_a_stock_classifier_can_be_measured(stock: Path, corpus: Path, tmp_path: Path) -> None:
    assert command("evaluate", stock, corpus, "--output-dir", tmp_path / "out") == 0
    results = read_results(tmp_path / "out")
    table = read_table(tmp_path / "out" / "predictions.csv")
    uar = recall_score([row["label"] for row in table], [row["predicted"] for row in table], average="macro")
    assert results["metrics"][0]["name"] == "uar" and results["metrics"][0]["value"] == pytest.approx(uar)
    assert results["model"]["architecture"] == "Wav2Vec2ForSequenceClassification"
    assert results["model"]["backbone"] == "wav2vec2" and results["model"]["pooling"] is None
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "results.json", "predictions.csv", "confusion.png", "numbers.png",
    }  # fmt: skip
    assert command("card", tmp_path / "out") == 0


def labelled(folder: Path, **columns: list[Any]) -> Dataset:
    """Twelve speakers, a low and a high clip each, as an evaluation takes them."""
    write_fake_corpus(folder, speakers=12, per_speaker=2)
    rows = check_rows(rows_of_files([folder]))[0]
    speakers = [Path(path).name.partition("_")[0] for path in rows["path"]]
    for name, values in {"speaker_id": speakers, **columns}.items():
        rows = rows.add_column(name, values)
    return rows


def test_intervals_are_by_speaker_where_all_are_known(
    model: PreTrainedModel, extractor: Wav2Vec2FeatureExtractor, tmp_path: Path
) -> None:
    rows = labelled(tmp_path, labels=[0, 1] * 12)
    known = evaluate_rows(model, extractor, rows, dataset="d", split="test", root=str(tmp_path))
    assert {metric["interval_unit"] for metric in known.metrics} == {"speaker"}
    assert known.predictions[0]["id"] == "audio/speaker00_000.wav"  # not where it lies on this machine
    assert [row["label"] for row in known.predictions[:2]] == ["LABEL_0", "LABEL_1"]
    forgotten = rows.remove_columns("speaker_id").add_column("speaker_id", [None, *rows["speaker_id"][1:]])
    unknown = evaluate_rows(model, extractor, forgotten, dataset="d", split="test", root=str(tmp_path))
    assert {metric["interval_unit"] for metric in unknown.metrics} == {"utterance"}
    assert [m["value"] for m in known.metrics] == [m["value"] for m in unknown.metrics]
    assert known.metrics[0]["fingerprint"] == unknown.metrics[0]["fingerprint"]


def test_a_regression_is_measured_in_its_unit(extractor: Wav2Vec2FeatureExtractor, tmp_path: Path) -> None:
    settings = {"loss": "mse", "num_labels": 1, "target_mean": 40.0, "target_std": 10.0}
    model = lively(HfSpeechForSequenceClassification(tiny_config(**settings)))
    ages = [float(20 + i) for i in range(24)]
    rows = labelled(tmp_path, labels=ages)
    measured = evaluate_rows(model, extractor, rows, dataset="d", split="test", unit="years")
    said = [row["predicted"] for row in measured.predictions]
    assert measured.metrics[0]["name"] == "mae" and measured.metrics[0]["unit"] == "years"
    assert measured.metrics[0]["value"] == pytest.approx(mean_absolute_error(ages, said))
    assert measured.confusion is None and [row["label"] for row in measured.predictions] == ages


def test_evaluate_takes_unit_and_target_from_the_model(corpus: Path, tmp_path: Path) -> None:
    settings = {"loss": "l1", "num_labels": 1, "target_mean": 40.0, "target_std": 10.0}
    model = HfSpeechForSequenceClassification(tiny_config(**settings, target="age", unit="years"))
    model.save_pretrained(tmp_path / "model")
    Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(tmp_path / "model")
    assert AutoConfig.from_pretrained(tmp_path / "model").target == "age"
    words = ("--columns.speaker_id", "speaker_id", "--max-seconds", 1, "--output-dir", tmp_path / "out")
    assert command("evaluate", tmp_path / "model", corpus, *words) == 0
    results = read_results(tmp_path / "out")
    assert results["data"]["target"] == "age" and results["data"]["unit"] == "years"
    assert results["metrics"][0]["unit"] == "years" and results["metrics"][0]["n"] == 24
    assert (tmp_path / "out" / "regression.png").exists()


def test_one_split_of_a_table_is_measured(corpus: Path, finished: Path, tmp_path: Path) -> None:
    rows = read_table(corpus)
    for i, row in enumerate(rows):
        row["split"] = ["train", "validation", "test"][i % 3]
    table = write_table(corpus.with_name("with_splits.csv"), rows)
    for words, split in (((), "test"), (("--split", "validation"), "validation")):
        assert command("evaluate", finished, table, *words, "--output-dir", tmp_path / split) == 0
        metrics = read_results(tmp_path / split)["metrics"]
        assert {(metric["split"], metric["n"]) for metric in metrics} == {(split, 8)}
