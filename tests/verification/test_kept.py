"""What a model keeps: it comes back as it was put there, travels with the model, and never speaks of other weights."""

import json
import math
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from transformers import Wav2Vec2FeatureExtractor, Wav2Vec2ForSequenceClassification

from hf_speech.errors import InputError
from hf_speech.files import sha256_of
from hf_speech.inference import load_model
from hf_speech.testing import tiny_backbone_config
from hf_speech.verification.backend import Backend
from hf_speech.verification.calibration import Calibration
from hf_speech.verification.kept import BACKEND_FILE, Kept, keep, kept_of
from hf_speech.verification.qualities import MEASURES, measures_in, qualities_of

from ..training.runs import command, refusal
from .speakers import BY_SCORE, SIZE, made_backend, write_model, write_voices


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model")


def assert_same(found: Kept | None, wanted: Kept) -> None:
    """That what was read is what was kept."""
    assert found is not None
    for name in ("calibration", "chunk_seconds", "threshold", "fitted_on"):
        assert getattr(found, name) == getattr(wanted, name)
    assert (found.backend is None) == (wanted.backend is None)
    if found.backend is not None and wanted.backend is not None:
        for name in ("mean", "transform", "cohort", "top"):
            np.testing.assert_array_equal(getattr(found.backend, name), getattr(wanted.backend, name))


@pytest.mark.parametrize("backend", [None, made_backend()], ids=["cosine", "backend"])
def test_it_comes_back_as_it_was_put_there(model: Path, backend: Backend | None) -> None:
    before = json.loads((model / "config.json").read_text())
    weights = (model / "model.safetensors").read_bytes()
    assert kept_of(model) is None
    kept = keep(model, backend, BY_SCORE, chunk_seconds=3.0, threshold="fmr_0.01", fitted_on="0a1b")
    assert kept.fitted_on == "0a1b"
    assert_same(kept_of(model), kept)
    assert (model / BACKEND_FILE).is_file() == (backend is not None)
    after = json.loads((model / "config.json").read_text())
    assert list(after) == list(before)  # in their order too
    assert after.pop("verification")["threshold"] == "fmr_0.01"
    before.pop("verification")
    assert after == before
    assert (model / "model.safetensors").read_bytes() == weights
    assert not list(model.glob(".*"))  # nothing half-written is left


def test_config_json_keeps_its_form(model: Path) -> None:
    """As transformers writes it: the same lines, but for those of the field."""
    before = (model / "config.json").read_text()
    keep(model, None, BY_SCORE)
    content = json.loads((model / "config.json").read_text())
    content["verification"] = None
    assert json.dumps(content, indent=2) + "\n" == before


def test_a_config_of_before_the_field_gets_it(model: Path) -> None:
    content = json.loads((model / "config.json").read_text())
    del content["verification"]
    (model / "config.json").write_text(json.dumps(content))
    assert kept_of(model) is None
    kept = keep(model, None, BY_SCORE)
    assert_same(kept_of(model), kept)
    load_model(model)


def test_later_ones_take_the_place_of_earlier_ones(model: Path) -> None:
    keep(model, made_backend(), BY_SCORE)
    other = replace(BY_SCORE, offset=-7.0)
    kept = keep(model, made_backend(seed=6), other)
    assert_same(kept_of(model), kept)
    kept = keep(model, None, BY_SCORE)
    assert_same(kept_of(model), kept)
    assert not (model / BACKEND_FILE).exists()


def test_it_travels(model: Path, tmp_path: Path) -> None:
    kept = keep(model, made_backend(), BY_SCORE)
    assert_same(kept_of(shutil.copytree(model, tmp_path / "copy")), kept)
    loaded, extractor = load_model(model)
    field = loaded.config.verification
    assert Calibration.from_dict(field["calibration"]) == BY_SCORE
    loaded.save_pretrained(tmp_path / "again")
    assert load_model(tmp_path / "again")[0].config.verification == field
    lacking = f"again: there is no {BACKEND_FILE}, .*; copy it from the folder that the model was loaded from, or calib"
    with pytest.raises(InputError, match=lacking):
        kept_of(tmp_path / "again")
    shutil.copy(model / BACKEND_FILE, tmp_path / "again")
    assert_same(kept_of(tmp_path / "again"), kept)


def test_what_was_kept_before_the_trials_were_noted_is_read(model: Path) -> None:
    keep(model, None, BY_SCORE, fitted_on="0a1b")
    content = json.loads((model / "config.json").read_text())
    assert content["verification"].pop("fitted_on") == "0a1b"
    (model / "config.json").write_text(json.dumps(content))
    assert_same(kept_of(model), Kept(None, BY_SCORE))


ASKED = """
import sys
from hf_speech.errors import InputError
from hf_speech.verification.kept import kept_of
kept = kept_of("somebody/voices")
print(kept.threshold, kept.calibration.offset, len(kept.backend.cohort), kept_of("somebody/voices", "plain"))
try:
    kept_of("somebody/nothing")
except InputError as error:
    print(error)
"""


def test_from_the_hub(model: Path, tmp_path: Path) -> None:
    """As huggingface_hub keeps what it fetched, without a network: two revisions of one repository."""
    repository = tmp_path / "hub" / "models--somebody--voices"
    commits = {"main": "1" * 40, "plain": "2" * 40}
    (repository / "refs").mkdir(parents=True)
    for reference, commit in commits.items():
        (repository / "refs" / reference).write_text(commit)
    shutil.copytree(model, repository / "snapshots" / commits["plain"])
    keep(model, made_backend(), BY_SCORE)
    shutil.copytree(model, repository / "snapshots" / commits["main"])
    surroundings = {**os.environ, "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", ASKED], env=surroundings, capture_output=True, text=True, timeout=120, check=True
    )
    first, second = done.stdout.splitlines()
    assert first == "eer -4.0 30 None"
    assert second.startswith("somebody/nothing: ")


def retrain(model: Path) -> None:
    loaded, _ = load_model(model)
    next(loaded.speech.parameters()).data[0] += 1e-3
    loaded.save_pretrained(model)


def another_backend(model: Path) -> None:
    made_backend(seed=6).save(model / BACKEND_FILE)


def into_shards(model: Path) -> None:
    loaded, _ = load_model(model)
    (model / "model.safetensors").unlink()  # it would be loaded before the shards
    loaded.save_pretrained(model, max_shard_size="20KB")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (retrain, "was trained again, or saved anew, since it was calibrated; calibrate again"),
        (into_shards, "was trained again, or saved anew, since it was calibrated; calibrate again"),
        (another_backend, "has another back end since it was calibrated; calibrate again"),
    ],
)
def test_what_speaks_of_other_weights_is_refused(model: Path, change, words: str) -> None:
    backend = made_backend()
    keep(model, backend, BY_SCORE)
    change(model)
    with pytest.raises(InputError, match=words) as refused:
        kept_of(model)
    assert "\n" not in str(refused.value)
    kept = keep(model, backend, BY_SCORE)  # the mend
    assert_same(kept_of(model), kept)


@pytest.mark.parametrize("chunk_seconds", [None, 2, 2.5, math.inf])
def test_lengths_of_pieces(model: Path, chunk_seconds: float | None) -> None:
    kept = keep(model, None, BY_SCORE, chunk_seconds=chunk_seconds)
    assert_same(kept_of(model), kept)
    json.loads((model / "config.json").read_text(), parse_constant=pytest.fail)  # JSON has no infinity
    load_model(model)


def test_each_shard_of_the_weights_counts(model: Path) -> None:
    into_shards(model)
    shards = sorted(model.glob("model-*.safetensors"))
    assert len(shards) > 1
    kept = keep(model, None, BY_SCORE)
    assert_same(kept_of(model), kept)
    content = bytearray(shards[-1].read_bytes())
    content[-1] ^= 1
    shards[-1].write_bytes(content)
    with pytest.raises(InputError, match="was trained again"):
        kept_of(model)


FIELD_FAULTS = {
    "a word": "yes",
    "lacks a part": {"backend": None},
    "another file": {"backend": "../other.safetensors"},
    "no calibration": {"calibration": {"names": ["score"]}},
    "another threshold": {"threshold": "best"},
    "a threshold that is a number": {"threshold": 3},
    "pieces of no length": {"chunk_seconds": 0},
    "pieces in words": {"chunk_seconds": "three"},
    "pieces longer than a number can be": {"chunk_seconds": 10**400},
    "pieces of a truth value": {"chunk_seconds": True},
    "a fingerprint that is none": {"fitted_on": "the list"},
    "a fingerprint that is a number": {"fitted_on": 12},
    "a weight of nothing": {"calibration": BY_SCORE.to_dict() | {"weights": [0.0]}},
    "a threshold that clears the screen": {
        "calibration": BY_SCORE.to_dict() | {"thresholds": {"eer": 0, "\x1b[2J": 1}}
    },
    "no digests": {"files": None},
    "digests of nothing": {"files": {}},
}


@pytest.mark.parametrize("fault", FIELD_FAULTS)
def test_a_field_that_can_not_be_read(model: Path, fault: str) -> None:
    keep(model, made_backend(), BY_SCORE)
    content = json.loads((model / "config.json").read_text())
    broken = FIELD_FAULTS[fault]
    if fault in ("a word", "lacks a part"):
        content["verification"] = broken
    else:
        content["verification"] |= broken
    (model / "config.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="calibrate again with") as refused:
        kept_of(model)
    assert str(refused.value).startswith(f"{model}: ") and "\n" not in str(refused.value)


def test_no_file_of_a_model_ends_in_anything_but_a_line(model: Path) -> None:
    """A table nested too deep for its reader, and an index that says nothing."""
    into_shards(model)
    keep(model, None, BY_SCORE)
    index = (model / "model.safetensors.index.json").read_bytes()
    for name, content in [
        ("model.safetensors.index.json", b'{"weight_map": ["a"]}'),
        ("model.safetensors.index.json", b'{"weight_map": {"a": ["b"]}}'),
        ("model.safetensors.index.json", b"{}"),
        ("config.json", b'{"verification": ' + b"[" * 100_000),
    ]:
        (model / name).write_bytes(content)
        with pytest.raises(InputError, match="fetch the model again") as refused:
            kept_of(model)
        assert "\n" not in str(refused.value)
        (model / "model.safetensors.index.json").write_bytes(index)


HOSTILE_BACKENDS = {
    "a cohort of zeros": ({"cohort": np.zeros((30, SIZE))}, "row 0 of the cohort has length 0"),
    "a transform of another size": ({"transform": np.eye(3)}, "the transform has shape (3, 3)"),
    "a top of 0": ({"top": np.array([0])}, "top is 0"),
    "an embedding of another size": (
        {"mean": np.zeros(3), "transform": np.eye(3), "cohort": np.eye(3)},
        "this back end is for (N, 3)",
    ),
}


@pytest.mark.parametrize("kind", HOSTILE_BACKENDS)
def test_a_strangers_model_is_refused_by_the_command_in_one_line(
    model: Path, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One whose digests are right, as whoever made it has written them."""
    keep(model, made_backend(), BY_SCORE)
    recordings = write_voices(tmp_path / "voices")["anna"][:2]
    assert command("verify", model, *recordings) == 0
    changed, message = HOSTILE_BACKENDS[kind]
    save_file(load_file(model / BACKEND_FILE) | changed, model / BACKEND_FILE)
    content = json.loads((model / "config.json").read_text())
    content["verification"]["files"][BACKEND_FILE] = sha256_of(model / BACKEND_FILE)
    (model / "config.json").write_text(json.dumps(content))
    assert message in refusal(capsys, "verify", model, *recordings)


def test_a_stock_model_keeps_nothing(tmp_path: Path) -> None:
    stock = Wav2Vec2ForSequenceClassification(tiny_backbone_config())
    stock.save_pretrained(tmp_path)
    Wav2Vec2FeatureExtractor().save_pretrained(tmp_path)
    before = (tmp_path / "config.json").read_bytes()
    assert kept_of(tmp_path) is None
    with pytest.raises(InputError, match="holds a 'wav2vec2' model, and only models of hf_speech keep"):
        keep(tmp_path, None, BY_SCORE)
    assert (tmp_path / "config.json").read_bytes() == before


def test_what_is_no_model_is_refused(model: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no config.json there; give the folder of a finished model"):
        keep(tmp_path, None, BY_SCORE)
    with pytest.raises(InputError, match="there is no config.json"):
        kept_of(tmp_path)
    (model / "config.json").write_text("{")
    for read in (kept_of, lambda folder: keep(folder, None, BY_SCORE)):
        with pytest.raises(InputError, match="can't be read as JSON"):
            read(model)
    (model / "config.json").write_text('{"model_type": "hf_speech"}')
    (model / "model.safetensors").unlink()
    with pytest.raises(InputError, match="there is no model.safetensors"):
        keep(model, None, BY_SCORE)


def test_what_could_not_be_used_is_not_kept(model: Path) -> None:
    before = (model / "config.json").read_bytes()
    by_cohort = Calibration(("score", "cohort_mean_min", "cohort_mean_max"), (9.0, 1.0, 1.0), 0.0, 0.5, {"eer": 0.0})
    other = Calibration(("score", "noise_min", "noise_max"), (9.0, 1.0, 1.0), 0.0, 0.5, {"eer": 0.0})
    turned = replace(by_cohort, names=("score", "magnitude_max", "magnitude_min"))
    for arguments, settings, words in [
        ((None, by_cohort), {}, "cohort_mean, and the back end has no cohort"),
        ((made_backend(cohort=False), by_cohort), {}, "cohort_mean, and the back end has no cohort"),
        ((None, other), {}, "unknown quality measure 'noise'"),
        ((None, turned), {}, "unknown quality measure 'magnitude_max'"),
        ((None, BY_SCORE), {"threshold": "best"}, "unknown threshold 'best'; valid: eer, fmr_0.01"),
        ((None, BY_SCORE), {"chunk_seconds": -1.0}, "chunk_seconds is -1.0"),
    ]:
        with pytest.raises(InputError, match=words):
            keep(model, *arguments, **settings)
    assert (model / "config.json").read_bytes() == before


def test_qualities_by_hand() -> None:
    rng = np.random.default_rng(1)
    vectors, backend = rng.normal(size=(5, SIZE)).astype(np.float32), made_backend()
    found = qualities_of([1.0, np.e, np.e**2, 0.5, 2.0], vectors, backend, list(MEASURES))
    np.testing.assert_allclose(found["log_duration"], [0, 1, 2, np.log(0.5), np.log(2)], atol=1e-12)
    np.testing.assert_allclose(found["magnitude"], np.sqrt((vectors.astype(np.float64) ** 2).sum(axis=1)))
    centred = vectors - backend.mean
    scores = centred / np.linalg.norm(centred, axis=1, keepdims=True) @ backend.cohort.T
    np.testing.assert_allclose(found["cohort_mean"], np.sort(scores)[:, -8:].mean(axis=1), atol=1e-6)
    assert qualities_of([1.0], vectors[:1], None, []) == {}
    with pytest.raises(InputError, match="0 s long"):
        qualities_of([0.0], vectors[:1], None, ["log_duration"])


def test_every_measure_can_be_asked_for_and_kept(model: Path) -> None:
    names = ("score", *(f"{name}_{end}" for name in MEASURES for end in ("min", "max")))
    calibration = Calibration(names, tuple(np.arange(1.0, 1.0 + len(names))), 0.0, 0.5, {"eer": 0.0})
    assert measures_in(calibration) == tuple(MEASURES)
    kept = keep(model, made_backend(), calibration)
    assert_same(kept_of(model), kept)
    # The score that is enough is the one whose ratio is the threshold, at the qualities of that trial.
    qualities = kept.qualities(np.random.default_rng(2).normal(size=(2, SIZE)), [3.0, 4.0], [0], [1])
    llr = float(calibration.llr([0.25], qualities)[0])
    assert calibration.llr([kept.enough(0.25, llr)], qualities)[0] == pytest.approx(0.0, abs=1e-9)
