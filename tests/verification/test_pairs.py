"""Two voices: the score by hand, whichever comes first; probability and decision as the calibration has them."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from transformers import Wav2Vec2FeatureExtractor, Wav2Vec2ForSequenceClassification

from hf_speech.data.checks import check_rows
from hf_speech.data.recordings import rows_of_files
from hf_speech.errors import InputError
from hf_speech.inference import infer, load_model
from hf_speech.testing import tiny_backbone_config
from hf_speech.verification.calibration import Calibration
from hf_speech.verification.everyday import as_threshold, verify_files
from hf_speech.verification.kept import Kept, keep
from hf_speech.verification.pairs import PairAnswer, in_words, pair_of_prediction, same_speaker
from hf_speech.verification.recordings import embedder_digest, embeddings_of

from .speakers import BY_SCORE, SIZE, cosine, made_backend, write_model, write_voices

Loaded = tuple[Any, Any]


@pytest.fixture(scope="module")
def voices(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    return write_voices(tmp_path_factory.mktemp("voices"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def model(folder: Path) -> Loaded:
    return load_model(folder)


def embedded(model: Loaded, *files: Path) -> np.ndarray:
    """By the model's own `embed`, each file alone."""
    waves = [soundfile.read(file, dtype="float32")[0] for file in files]
    return np.stack([model[0].embed([wave], sampling_rate=16_000)[0].numpy() for wave in waves])


def duration(file: Path) -> float:
    return soundfile.info(file).duration


def test_without_a_calibration_it_is_the_cosine_and_no_decision(model: Loaded, voices: dict[str, list[Path]]) -> None:
    one, other = voices["anna"][0], voices["bert"][1]
    answer = same_speaker(*model, one, other)
    assert answer.score == pytest.approx(cosine(*embedded(model, one, other)), abs=1e-6)
    assert answer == PairAnswer(answer.score)
    assert in_words(answer).startswith(f"no decision: score {answer.score:.3f} (cosine), and no threshold is kept with")
    assert "--calibrate LIST --keep --output-dir FOLDER` fits one" in in_words(answer)
    with pytest.raises(InputError, match="threshold 'eer': none is kept with this model"):
        same_speaker(*model, one, other, threshold="eer")


@pytest.mark.parametrize("kept", [None, Kept(made_backend(), BY_SCORE)], ids=["cosine", "kept"])
def test_it_is_the_same_whichever_comes_first(model: Loaded, voices: dict[str, list[Path]], kept: Kept | None) -> None:
    files = [file for side in voices.values() for file in side]
    for one, other in [(0, 1), (0, 3), (4, 8)]:
        forth = same_speaker(*model, files[one], files[other], kept=kept)
        assert forth == same_speaker(*model, files[other], files[one], kept=kept)  # to the last bit
    together, _ = embeddings_of(*model, files)
    for i in (0, 5):
        np.testing.assert_array_equal(embeddings_of(*model, [files[i]])[0][0], together[i])


def test_score_probability_and_ratio_by_hand(model: Loaded, voices: dict[str, list[Path]]) -> None:
    one, other = voices["anna"][0], voices["anna"][2]
    backend = made_backend()
    kept = Kept(backend, BY_SCORE)
    answer = same_speaker(*model, one, other, kept=kept, prior=0.2)
    vectors = embedded(model, one, other)
    assert answer.score == pytest.approx(float(backend.score(vectors, [0], [1])[0]), abs=1e-4)
    assert abs(answer.score - cosine(*vectors)) > 0.01  # the back end does something
    assert answer.llr == pytest.approx(10 * answer.score - 4, abs=1e-12)
    odds = np.exp(10 * answer.score - 4) * 0.2 / 0.8
    assert answer.probability == pytest.approx(odds / (1 + odds), rel=1e-12)
    assert answer.probability == BY_SCORE.probability(answer.score, prior=0.2)
    assert answer.threshold == pytest.approx(0.45)  # 10 * 0.45 - 4 = 0.5
    named = same_speaker(*model, one, other, kept=kept, threshold="fmr_0.01")
    assert named.threshold == pytest.approx(0.6)
    assert (named.score, named.llr) == (answer.score, answer.llr)  # of these the prior changes nothing


def test_the_decision_turns_at_the_threshold(model: Loaded, voices: dict[str, list[Path]]) -> None:
    one, other = voices["anna"][0], voices["bert"][0]
    llr = same_speaker(*model, one, other, kept=Kept(None, BY_SCORE)).llr
    for threshold, wanted in [(llr, True), (np.nextafter(llr, np.inf), False), (llr - 1, True), (llr + 1, False)]:
        kept = Kept(None, replace(BY_SCORE, thresholds={"eer": 99.0, "mine": threshold}), threshold="mine")
        for prior in (0.5, 0.001):
            answer = same_speaker(*model, one, other, kept=kept, prior=prior)
            assert answer.decision is wanted
            said = "same speaker: probability " if wanted else "different speakers: probability of the same "
            assert in_words(answer).startswith(f"{said}{answer.probability:.3f} (score")
        assert same_speaker(*model, one, other, kept=kept, threshold="eer").decision is False


def test_several_recordings_of_a_speaker_are_averaged(
    model: Loaded, voices: dict[str, list[Path]], tmp_path: Path
) -> None:
    vectors = embedded(model, *voices["anna"], voices["bert"][0])
    wanted = cosine(vectors[:3].mean(axis=0), vectors[3])
    for enrolled in (voices["anna"], [*voices["anna"], voices["anna"][0]]):  # one that is given twice counts once
        assert same_speaker(*model, enrolled, voices["bert"][0]).score == pytest.approx(wanted, abs=1e-6)
    for file in voices["anna"]:
        shutil.copy(file, tmp_path)
    assert same_speaker(*model, voices["bert"][0], tmp_path).score == pytest.approx(wanted, abs=1e-6)
    with pytest.raises(InputError, match="no file was given for one of the two"):
        same_speaker(*model, [], voices["bert"][0])


def test_qualities_are_weighed(model: Loaded, voices: dict[str, list[Path]]) -> None:
    names = ("score", "log_duration_min", "log_duration_max", "magnitude_min", "magnitude_max")
    kept = Kept(None, Calibration(names, (10.0, 0.5, -0.25, 0.1, 0.2), -4.0, 0.5, {"eer": 0.5}))
    enrolled, other = voices["carl"][:2], voices["bert"][0]
    answer = same_speaker(*model, enrolled, other, kept=kept)
    vectors = embedded(model, *enrolled, other)
    sides = [vectors[:2].mean(axis=0), vectors[2]]
    # Of several recordings the durations are averaged.
    logs = sorted([np.log(sum(map(duration, enrolled)) / 2), np.log(duration(other))])
    lengths = sorted(np.linalg.norm(side) for side in sides)
    wanted = 10 * cosine(*sides) - 4 + 0.5 * logs[0] - 0.25 * logs[1] + 0.1 * lengths[0] + 0.2 * lengths[1]
    assert answer.llr == pytest.approx(wanted, abs=1e-4)
    assert answer.decision == (answer.llr >= 0.5)
    assert answer.threshold == pytest.approx(answer.score + (0.5 - answer.llr) / 10)


def test_long_recordings_are_cut_as_was_kept(model: Loaded, voices: dict[str, list[Path]]) -> None:
    one, other = sorted(voices["anna"] + voices["bert"], key=duration)[-2:]
    whole = same_speaker(*model, one, other, kept=Kept(None, BY_SCORE))
    cut = same_speaker(*model, one, other, kept=Kept(None, BY_SCORE, chunk_seconds=0.25))
    assert abs(whole.score - cut.score) > 1e-4
    for longer in (5.0, math.inf):
        assert same_speaker(*model, one, other, kept=Kept(None, BY_SCORE, chunk_seconds=longer)) == whole


@pytest.mark.parametrize("chunk_seconds", [None, 0.25, 60.0, math.inf])
def test_of_a_prediction_nothing_is_embedded_again(
    model: Loaded, voices: dict[str, list[Path]], chunk_seconds: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [voices["anna"][0], voices["bert"][0]]
    rows, _ = check_rows(rows_of_files(files))
    embeddings = infer(*model, rows).embeddings
    kept = Kept(made_backend(), BY_SCORE, chunk_seconds)
    wanted = same_speaker(*model, *files, kept=kept, prior=0.3)
    calls = []
    forward = model[0].forward
    monkeypatch.setattr(model[0], "forward", lambda **inputs: calls.append(1) or forward(**inputs))
    said = pair_of_prediction(*model, rows, embeddings, kept, prior=0.3)
    assert bool(calls) == (chunk_seconds == 0.25)  # only where they were cut otherwise
    assert said is not None and said["files"] == [str(file) for file in files]
    assert said["same_speaker"]["score"] == pytest.approx(wanted.score, abs=1e-5)
    assert said["same_speaker"]["probability"] == pytest.approx(wanted.probability, abs=1e-4)
    assert list(said["same_speaker"]) == ["score", "llr", "probability", "decision", "threshold"]
    json.dumps(said)
    for other in (
        pair_of_prediction(*model, rows, embeddings, None),
        pair_of_prediction(*model, rows, None, kept),
        pair_of_prediction(*model, rows.select([0]), embeddings[:1], kept),
    ):
        assert other is None


def test_bad_files_are_named(model: Loaded, voices: dict[str, list[Path]], tmp_path: Path) -> None:
    good = voices["anna"][0]
    (tmp_path / "words.wav").write_text("not a sound")
    soundfile.write(tmp_path / "short.wav", np.zeros(100), 16_000)
    for name, words in [("none.wav", "no such file"), ("words.wav", "words.wav: "), ("short.wav", "0.006 s long")]:
        for pair in [(tmp_path / name, good), (good, [good, tmp_path / name])]:
            with pytest.raises(InputError, match=words) as refused:
                same_speaker(*model, *pair)
            assert str(tmp_path / name) in str(refused.value) and "\n" not in str(refused.value)
    for prior in (0.0, 1.0, -1.0, math.nan):
        for kept in (None, Kept(None, BY_SCORE)):
            with pytest.raises(InputError, match="prior is .*; give a probability between 0 and 1"):
                same_speaker(*model, good, good, kept=kept, prior=prior)
        with pytest.raises(InputError, match="prior is"):
            verify_files(tmp_path / "never looked at", good, good, prior=prior)
    with pytest.raises(InputError, match="unknown threshold 'best'; valid: eer, fmr_0.01"):
        same_speaker(*model, good, good, kept=Kept(None, BY_SCORE), threshold="best")


def test_a_backend_of_another_size_is_refused(model: Loaded, voices: dict[str, list[Path]]) -> None:
    backend = made_backend()
    other = replace(backend, mean=np.zeros(SIZE + 1), transform=np.eye(SIZE + 1), cohort=np.zeros((0, SIZE + 1)))
    with pytest.raises(InputError, match=r"this back end is for \(N, 33\)"):
        same_speaker(*model, voices["anna"][0], voices["anna"][1], kept=Kept(other, BY_SCORE))


def test_a_model_without_embeddings_is_refused(voices: dict[str, list[Path]], tmp_path: Path) -> None:
    Wav2Vec2ForSequenceClassification(tiny_backbone_config()).save_pretrained(tmp_path)
    Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="Wav2Vec2ForSequenceClassification gives no embeddings; give a model"):
        verify_files(tmp_path, voices["anna"][0], voices["anna"][1])


def test_the_command_s_answer(folder: Path, model: Loaded, voices: dict[str, list[Path]], tmp_path: Path) -> None:
    one, other = voices["anna"][:2]
    said, lines = verify_files(folder, one, other)
    assert said["same_speaker"]["decision"] is None and "no threshold is kept" in lines[0]
    calibrated = shutil.copytree(folder, tmp_path / "calibrated")
    kept = keep(calibrated, made_backend(), BY_SCORE, threshold="fmr_0.01")
    said, lines = verify_files(calibrated, [one, other], other, prior=0.1)
    answer = same_speaker(*model, [one, other], other, kept=kept, prior=0.1)
    assert json.loads(json.dumps(said)) == {
        "files": [[str(one), str(other)], str(other)],
        "same_speaker": vars(answer),
    }
    assert lines == [in_words(answer)]


def test_a_digest_tells_models_apart_by_what_embeds(folder: Path, model: Loaded) -> None:
    digest = embedder_digest(*model)
    again, extractor = load_model(folder)
    assert embedder_digest(again, extractor) == digest
    next(again.heads.parameters()).data += 1
    assert embedder_digest(again, extractor) == digest
    again.config.pooling = "mean+std"
    assert embedder_digest(again, extractor) != digest
    again.config.pooling = model[0].config.pooling
    extractor.do_normalize = not extractor.do_normalize
    assert embedder_digest(again, extractor) != digest
    extractor.do_normalize = not extractor.do_normalize
    next(again.speech.parameters()).data.view(-1)[0] += 1e-3
    assert embedder_digest(again, extractor) != digest


def test_a_threshold_that_is_no_number_is_refused() -> None:
    assert as_threshold(0.5) == 0.5
    for given in ("nan", "inf", "-Infinity", "1e999", math.nan, math.inf):
        with pytest.raises(InputError, match="threshold (nan|-?inf): give a finite score, or the name of a kept"):
            as_threshold(given)
