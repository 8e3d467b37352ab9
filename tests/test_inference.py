"""From files to labels: the form of the answers, and which models can give them."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from transformers import (
    AutoModel,
    BertConfig,
    Wav2Vec2FeatureExtractor,
)

from hf_speech.data.checks import check_rows
from hf_speech.data.recordings import rows_of_files
from hf_speech.errors import InputError
from hf_speech.inference import infer, load_model, predict
from hf_speech.models.modeling import HfSpeechForSequenceClassification
from hf_speech.testing import tiny_backbone_config, write_fake_corpus

from .models.tiny import lively, tiny_config
from .training.runs import command


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of six recordings, in two folders."""
    return write_fake_corpus(
        tmp_path_factory.mktemp("recordings"), speakers=2, per_speaker=3, seconds=(0.1, 0.9), layout="folder"
    )


def saved(folder: Path, **settings: object) -> Path:
    lively(HfSpeechForSequenceClassification(tiny_config(**settings))).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("classifier"), id2label={0: "sad", 1: "glad", 2: "näher"}, num_labels=3)


def test_json_is_one_array_of_files_and_scores(
    classifier: Path, recordings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = sorted(recordings.rglob("*.wav"))
    assert command("predict", classifier, files[4], recordings, files[1], "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    # The order of the words; a folder is its files, sorted.
    assert [row["file"] for row in rows] == [str(path) for path in (files[4], *files, files[1])]
    for row in rows:
        assert list(row) == ["file", "label", "score", "scores"]
        assert list(row["scores"]) == ["sad", "glad", "näher"]
        assert sum(row["scores"].values()) == pytest.approx(1)
        assert row["score"] == row["scores"][row["label"]] == max(row["scores"].values())
    assert rows[0]["scores"] == pytest.approx(rows[5]["scores"], abs=1e-7)  # the same file, elsewhere in its batch
    scores = [row["score"] for row in rows[1:7]]
    assert min(abs(one - other) for i, one in enumerate(scores) for other in scores[:i]) > 1e-5  # each its own


def test_without_json_it_is_a_line_a_file(
    classifier: Path, recordings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = sorted(recordings.rglob("*.wav"))
    assert command("predict", classifier, *files, "--json") == 0
    wanted = [[row["file"], row["label"], f"{row['score']:.3f}"] for row in json.loads(capsys.readouterr().out)]
    assert command("predict", classifier, recordings) == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == wanted


def test_a_regression_gives_values(tmp_path: Path, recordings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = {"num_labels": 1, "loss": "mse", "target_mean": 40.0, "target_std": 12.0}
    ages = saved(tmp_path, **settings)
    file = next(recordings.rglob("*.wav"))
    assert command("predict", ages, file, "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert list(row) == ["file", "value"] and row["file"] == str(file)
    assert command("predict", ages, file) == 0
    assert capsys.readouterr().out.split() == [str(file), f"{row['value']:.2f}"]


def test_several_bad_files_are_all_named(classifier: Path, recordings: Path, tmp_path: Path) -> None:
    model, extractor = load_model(classifier)
    for name in ("a.wav", "b.wav"):
        (tmp_path / name).write_bytes(b"no sound")
    with pytest.raises(InputError) as caught:
        predict(model, extractor, [tmp_path, next(recordings.rglob("*.wav"))])
    assert str(tmp_path / "a.wav") in str(caught.value) and str(tmp_path / "b.wav") in str(caught.value)


def test_a_finished_model_is_loaded_in_evaluation_mode(classifier: Path) -> None:
    model, extractor = load_model(classifier)
    assert isinstance(model, HfSpeechForSequenceClassification) and not model.training
    assert extractor.return_attention_mask


def test_an_encoder_without_a_head_is_no_classifier(tmp_path: Path) -> None:
    AutoModel.from_config(tiny_backbone_config()).save_pretrained(tmp_path)
    Wav2Vec2FeatureExtractor().save_pretrained(tmp_path)
    # transformers itself would put random numbers in the place of the head.
    with pytest.raises(InputError, match=r"no finished classifier: it lacks 4 weights, such as classifier.bias"):
        load_model(tmp_path)


@pytest.mark.parametrize("damage", ["no config", "no weights", "broken weights", "no extractor", "a text model"])
def test_what_is_no_model_is_refused(classifier: Path, tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "model"
    shutil.copytree(classifier, folder)
    if damage == "broken weights":
        (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:1000])
    elif damage == "a text model":
        BertConfig(hidden_size=8).save_pretrained(folder)
    else:
        files = {"config": "config.json", "weights": "model.safetensors", "extractor": "preprocessor_config.json"}
        (folder / files[damage.removeprefix("no ")]).unlink()
    with pytest.raises(InputError) as caught:
        load_model(folder)
    assert str(caught.value).startswith(f"{folder}: ") and "give a finished model's folder" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_each_row_is_heard_on_its_own_channel(classifier: Path, tmp_path: Path) -> None:
    voices = np.random.default_rng(0).normal(0, 0.1, (2, 8_000)).astype(np.float32)
    soundfile.write(tmp_path / "call.wav", voices.T, 16_000, subtype="FLOAT")
    for side, voice in enumerate(voices):
        soundfile.write(tmp_path / f"{side}.wav", voice, 16_000, subtype="FLOAT")
    model, extractor = load_model(classifier)
    alone, _ = check_rows(rows_of_files([tmp_path / "1.wav", tmp_path / "0.wav"]))
    call = rows_of_files([tmp_path / "call.wav"] * 2).add_column("channel", [1, 0])
    for max_seconds in (30.0, 0.2):  # whole, and in pieces
        wanted = infer(model, extractor, alone, max_seconds=max_seconds).logits
        found = infer(model, extractor, check_rows(call)[0], max_seconds=max_seconds).logits
        assert abs(wanted[0] - wanted[1]).max() > 1e-3
        np.testing.assert_allclose(found, wanted, atol=1e-5)
