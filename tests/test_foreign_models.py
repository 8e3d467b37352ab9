"""Audio classifiers that are not ours: every kind that transformers has."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    ASTFeatureExtractor,
    AutoModel,
    AutoModelForAudioClassification,
    AutoModelForAudioXVector,
    pipeline,
)

from hf_speech.audio import read_audio, write_audio
from hf_speech.data.checks import check_rows
from hf_speech.data.recordings import rows_of_files
from hf_speech.errors import InputError
from hf_speech.foreign import features_of, longest_heard, shortest_heard
from hf_speech.inference import infer, load_model, predict, shortest_seconds, tasks_of

from .foreign import KINDS, LABELS, X_VECTORS, by_hand, config_of, extractor_of, saved
from .models.tiny import lively
from .sounds import voice_like
from .training.runs import command, refusal


@pytest.fixture(scope="module", params=KINDS)
def published(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of every kind that transformers has."""
    return saved(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="module")
def ast(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("ast"), "audio-spectrogram-transformer")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Utterances of 0.6, 0.11 and 0.35 s."""
    folder = tmp_path_factory.mktemp("utterances")
    paths = [folder / f"{i}.wav" for i in range(3)]
    for i, seconds in enumerate((0.6, 0.11, 0.35)):
        write_audio(paths[i], voice_like(seconds, seed=i))
    return paths


def heard(folder: Path, files: list[Path], **options: Any) -> np.ndarray:
    return infer(*load_model(folder), check_rows(rows_of_files(files))[0], **options).logits


def test_it_says_what_transformers_own_pipeline_says(published: Path, files: list[Path]) -> None:
    asked = pipeline("audio-classification", model=str(published), device="cpu")
    waveforms = [read_audio(path) for path in files]
    said = [asked(waveform, top_k=None, function_to_apply="none") for waveform in waveforms]
    wanted = np.array([[{row["label"]: row["score"] for row in rows}[label] for label in LABELS] for rows in said])
    np.testing.assert_allclose(heard(published, files), wanted, atol=1e-5)
    assert np.ptp(wanted, axis=0).max() > 1e-3  # or it would hardly hear
    scores = [row["scores"] for row in predict(*load_model(published), files)]
    for found, waveform in zip(scores, waveforms, strict=True):
        assert found == pytest.approx({row["label"]: row["score"] for row in asked(waveform, top_k=None)}, abs=1e-5)


def test_nothing_of_a_long_utterance_is_dropped(published: Path, tmp_path: Path) -> None:
    """It is the mean of pieces, as long as the feature extractor hears at once and no longer."""
    model, extractor = load_model(published)
    window = {"ASTFeatureExtractor": 0.64, "WhisperFeatureExtractor": 1.0}.get(type(extractor).__name__, 30.0)
    assert longest_heard(extractor, 30.0) == window and longest_heard(extractor, 0.5) == 0.5
    waveform = voice_like(2.4)
    write_audio(tmp_path / "long.wav", waveform)
    pieces = np.array_split(read_audio(tmp_path / "long.wav"), max(1, int(np.ceil(2.4 / window))))
    wanted = np.average(
        [by_hand(model, extractor, piece) for piece in pieces], axis=0, weights=[len(piece) for piece in pieces]
    )
    np.testing.assert_allclose(heard(published, [tmp_path / "long.wav"])[0], wanted, atol=1e-5)


@pytest.mark.filterwarnings("ignore:At least one mel filter has all zero values")  # at 8 kHz
@pytest.mark.parametrize("kind", ["audio-spectrogram-transformer", "whisper"])
@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050])
def test_a_window_is_all_that_is_heard(kind: str, rate: int) -> None:
    extractor = extractor_of(kind, sampling_rate=rate)
    count = round(longest_heard(extractor, 30.0) * rate)
    noise = np.random.default_rng(0).normal(0, 0.1, count).astype(np.float32)

    def changed_by(waveform: np.ndarray, place: slice) -> bool:
        other = waveform.copy()
        other[place] *= -0.5
        one, two = (next(iter(features_of(extractor, each).values())) for each in (waveform, other))
        return not torch.equal(one, two)

    # The last window of 25 ms is heard, and what comes 30 ms later is not.
    assert changed_by(noise, slice(-rate // 100, None))
    longer = np.concatenate([noise, noise[: rate // 10]])
    assert not changed_by(longer, slice(count + rate * 3 // 100, None))


@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore:std\\(\\)")  # the deviation of one
@pytest.mark.parametrize(("kind", "auto"), [(kind, AutoModelForAudioClassification) for kind in KINDS]
                         + [(kind, AutoModelForAudioXVector) for kind in X_VECTORS])  # fmt: skip
def test_the_shortest_utterance(kind: str, auto: Any, tmp_path: Path) -> None:
    """So many samples give finite numbers; one fewer gives none, and is refused by name."""
    folder = saved(tmp_path / "model", kind, auto)
    model, extractor = load_model(folder)
    least = shortest_heard(model, extractor)
    write_audio(tmp_path / "least.wav", voice_like(1.0)[1_000 : 1_000 + least])
    rows, _ = check_rows(rows_of_files([tmp_path / "least.wav"]), min_duration=shortest_seconds(model, extractor))
    outcome = infer(model, extractor, rows)
    said = outcome.logits if auto is AutoModelForAudioClassification else outcome.embeddings
    assert said is not None and np.isfinite(said).all()
    if least == 1:  # it pads whatever it gets
        return
    write_audio(tmp_path / "less.wav", voice_like(1.0)[1_000 : 999 + least])
    with pytest.raises(InputError, match=r"less.wav: 0.\d+ s long, at least 0.\d+ s are wanted"):
        check_rows(rows_of_files([tmp_path / "less.wav"]), min_duration=shortest_seconds(model, extractor))
    if (kind, auto) != ("wav2vec2-bert", AutoModelForAudioXVector):  # which takes half a frame of padding for speech
        assert not _says_something(model, extractor, voice_like(1.0)[1_000 : 999 + least])


def _says_something(model: Any, extractor: Any, waveform: np.ndarray) -> bool:
    """Whether finite features give finite numbers."""
    try:
        features = features_of(extractor, waveform)
        return all(f.isfinite().all() for f in features.values()) and bool(
            np.isfinite(by_hand(model, extractor, waveform)).all()
        )
    except (AssertionError, RuntimeError, ValueError):
        return False


@pytest.mark.filterwarnings("ignore:At least one mel filter has all zero values")  # at 8 kHz
@pytest.mark.parametrize("kind", ["wav2vec2", "audio-spectrogram-transformer", "whisper"])
def test_audio_is_brought_to_the_models_rate(kind: str, files: list[Path], tmp_path: Path) -> None:
    saved(tmp_path, kind)
    seconds = {"chunk_length": 2} if kind == "whisper" else {}  # as many frames as of one at 16 kHz
    extractor_of(kind, sampling_rate=8_000, **seconds).save_pretrained(tmp_path)
    model, extractor = load_model(tmp_path)
    assert extractor.sampling_rate == 8_000
    wanted = [by_hand(model, extractor, read_audio(path, sample_rate=8_000)) for path in files]
    np.testing.assert_allclose(heard(tmp_path, files), wanted, atol=1e-5)
    if kind == "wav2vec2":  # 400 samples are 50 ms
        write_audio(tmp_path / "short.wav", voice_like(0.049))
        with pytest.raises(InputError, match="at least 0.05 s are wanted"):
            predict(model, extractor, [tmp_path / "short.wav"])


@pytest.mark.parametrize("kind", ["wav2vec2", "audio-spectrogram-transformer"])
def test_weights_of_half_precision(kind: str, files: list[Path], tmp_path: Path) -> None:
    saved(tmp_path, kind)
    exact = heard(tmp_path, files)
    lively(AutoModelForAudioClassification.from_config(config_of(kind))).half().save_pretrained(tmp_path)
    model, extractor = load_model(tmp_path)
    assert model.dtype == torch.float16
    found = heard(tmp_path, files)
    np.testing.assert_allclose(found, exact, atol=0.05)
    np.testing.assert_allclose(found, [by_hand(model, extractor, read_audio(p)) for p in files], atol=1e-5)


def test_several_labels_an_utterance(files: list[Path], tmp_path: Path) -> None:
    saved(tmp_path, "audio-spectrogram-transformer", problem_type="multi_label_classification")
    model, extractor = load_model(tmp_path)
    (row,) = predict(model, extractor, files[:1])
    wanted = torch.from_numpy(by_hand(model, extractor, read_audio(files[0]))).sigmoid().tolist()
    assert list(row["scores"].values()) == pytest.approx(wanted, abs=1e-5)
    assert row["labels"] == [label for label, score in zip(LABELS, wanted, strict=True) if score > 0.5]


def test_several_numbers_an_utterance(files: list[Path], tmp_path: Path) -> None:
    """Arousal, dominance and valence: each is a task by its name."""
    dimensions = ("arousal", "dominance", "valence")
    saved(tmp_path, "wav2vec2", labels=dimensions, problem_type="regression")
    model, extractor = load_model(tmp_path)
    assert [(task.name, task.problem_type) for task in tasks_of(model)] == [(name, "regression") for name in dimensions]
    (row,) = predict(model, extractor, files[:1])
    wanted = by_hand(model, extractor, read_audio(files[0])).tolist()
    assert [row["tasks"][name]["value"] for name in dimensions] == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize(
    ("kind", "mend"), [("whisper", "give one that is finished"), ("hubert", "hf-speech train --backbone")]
)
def test_an_encoder_of_any_kind_is_no_classifier(kind: str, mend: str, tmp_path: Path) -> None:
    saved(tmp_path, kind, AutoModel)
    with pytest.raises(InputError, match=rf"is no finished classifier: it lacks 4 weights, such as .*; .*{mend}"):
        load_model(tmp_path)


def test_a_feature_extractor_of_another_model(ast: Path, files: list[Path], tmp_path: Path) -> None:
    saved(tmp_path, "audio-spectrogram-transformer")
    ASTFeatureExtractor(max_length=64, num_mel_bins=8).save_pretrained(tmp_path)
    with pytest.raises(InputError) as caught:
        predict(*load_model(tmp_path), files)
    line = str(caught.value)
    assert line.startswith(f"{files[0]}: ASTForAudioClassification with ASTFeatureExtractor fails on it (")
    assert line.endswith("check that they go together") and "\n" not in line


def test_a_model_of_spectra_has_no_voices(
    ast: Path, files: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refusal(capsys, "verify", ast, files[0], files[2])
    assert "ASTForAudioClassification takes no waveforms, but what ASTFeatureExtractor makes" in line
    x_vector = saved(tmp_path, "wav2vec2-bert", AutoModelForAudioXVector)
    assert "takes no waveforms" in refusal(capsys, "verify", x_vector, files[0], files[2])


def test_an_x_vector_has_voices_and_no_labels(
    corpus: Path, files: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its "logits" are as many as the embedding has numbers, whatever labels there are."""
    folder = saved(tmp_path / "model", "wavlm", AutoModelForAudioXVector, labels=("a", "b", "c"))
    said = "WavLMForXVector gives embeddings and no labels: it is for `hf-speech verify`"
    assert said in refusal(capsys, "predict", folder, *files)
    assert said in refusal(capsys, "evaluate", folder, corpus, "--output-dir", tmp_path / "out")
    assert command("verify", folder, files[0], files[2]) == 0
