"""Every kind of model as ONNX: the numbers of torch, alone and padded, far from the lengths of the trace."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hf_speech.data.checks import check_rows
from hf_speech.data.recordings import rows_of_files
from hf_speech.inference import infer, tasks_of
from hf_speech.models.backbones import OWN_BACKBONES
from hf_speech.models.configuration import BACKBONES
from hf_speech.models.frontends import FRONTENDS
from hf_speech.models.heads import HEADS
from hf_speech.models.necks import NECKS
from hf_speech.models.pooling import POOLINGS
from hf_speech.models.projections import PROJECTIONS
from hf_speech.outcome import over_speeds
from hf_speech.samples import sample_files
from hf_speech.serving.exactness import LIMIT, SECONDS, agreement, heard_by_torch, utterances
from hf_speech.serving.export import write_onnx
from hf_speech.serving.graph import ServedModel, served
from hf_speech.serving.predict import infer as infer_onnx
from hf_speech.serving.session import OnnxClassifier, load_onnx

from .cases import SPEEDS, Case, every_value_once, full_table, model_of, others

ONCE, OTHERS = every_value_once(), others()


def exported(model: Any, folder: Path) -> tuple[ServedModel, OnnxClassifier]:
    whole = served(model, model.make_feature_extractor(), "tiny")
    write_onnx(whole, folder / "model.onnx")  # checks that it is valid
    return whole, load_onnx(folder / "model.onnx", device="cpu", threads=1)


def hold(case: Case, folder: Path, seconds: Sequence[float]) -> dict[str, float]:
    """The differences, which must be small, also beside those among the utterances: else they would prove nothing."""
    model = model_of(case)
    whole, classifier = exported(model, folder)
    shortest = whole.facts.min_samples / whole.facts.sampling_rate
    given = utterances(whole.facts, seconds=(*seconds, shortest))
    heard = heard_by_torch(whole, model, model.make_feature_extractor(), given)
    found = agreement(classifier, heard)
    assert max(found.differences.values()) <= LIMIT, found
    for name in [*whole.facts.logits.values(), "embeddings"]:
        said = np.stack([one.said[name] for one in heard])
        assert said.std(0).max() > 100 * found.differences[name], name
    assert found.cosine > 0.999_999 and found.labels in (1.0, None)
    return found.differences


@pytest.mark.parametrize("name", [*ONCE, *OTHERS])
def test_a_file_says_what_torch_says(name: str, tmp_path: Path) -> None:
    hold((ONCE | OTHERS)[name], tmp_path, (0.5, 4.3))


def test_the_table_has_every_part() -> None:
    backbones, overrides, settings = zip(*ONCE.values(), strict=True)
    assert set(backbones) == set(BACKBONES) and set(OWN_BACKBONES) <= set(backbones)
    assert {one["frontend"] for one in overrides if one} == set(FRONTENDS)
    registries = {"neck": NECKS, "pooling": POOLINGS, "projection": PROJECTIONS, "head": HEADS}
    for kind, registry in registries.items():
        assert {one[kind] for one in settings} == set(registry), kind


@pytest.mark.slow
@pytest.mark.parametrize("name", [*full_table(), *ONCE, *OTHERS])
def test_the_full_table_up_to_20_seconds(name: str, tmp_path: Path) -> None:
    found = hold((full_table() | ONCE | OTHERS)[name], tmp_path, SECONDS)
    print(f"{name}: {found}")  # with -rP, or -s


def test_what_stands_in_the_padding_does_not_count(tmp_path: Path) -> None:
    # Normalised inside the graph, over a mean and a deviation that are far from 0 and 1.
    whole, classifier = exported(model_of(OTHERS["stable norm, normalised"]), tmp_path)
    waveform = (0.2 + 0.05 * np.random.default_rng(0).standard_normal(9_000)).astype(np.float32)
    extracted = whole.model.make_feature_extractor()(waveform, sampling_rate=16_000, return_tensors="pt")
    with torch.no_grad():
        wanted = whole.model(**extracted)
    batch = {"input_values": np.full((2, 15_000), 7.0, np.float32), "attention_mask": np.zeros((2, 15_000), np.int64)}
    batch["input_values"][0, :9_000], batch["input_values"][1] = waveform, 0.1
    batch["attention_mask"][0, :9_000], batch["attention_mask"][1] = 1, 1
    found = classifier.run(batch)
    np.testing.assert_allclose(found["logits"][0], wanted.logits[0], atol=1e-5)
    np.testing.assert_allclose(found["embeddings"][0], wanted.embeddings[0], atol=1e-5)


def test_speeds_are_summed_in_the_file(tmp_path: Path) -> None:
    whole, classifier = exported(model_of(OTHERS["speeds as speakers"]), tmp_path)
    waveform = np.random.default_rng(0).standard_normal(8_000).astype(np.float32)
    with torch.no_grad():
        logits = whole.model(torch.from_numpy(waveform)[None]).logits.numpy()
    assert logits.shape == (1, len(SPEEDS)) and classifier.facts.tasks[0].labels == ("ada", "bob")
    assert classifier.facts.tasks[0].labels == tasks_of(whole.model)[0].labels
    np.testing.assert_allclose(classifier([waveform])["logits"], over_speeds(logits, 2), atol=1e-5)
    # Of a recording in pieces each piece's speeds are summed, then the pieces averaged, on either side.
    rows, _ = check_rows(rows_of_files(sample_files(1)), how="full")
    wanted = infer(whole.model, whole.model.make_feature_extractor(), rows, max_seconds=0.7)
    found = infer_onnx(classifier, rows, max_seconds=0.7)
    np.testing.assert_allclose(found.logits, wanted.logits, atol=1e-5)


def test_outputs_are_named_by_task_and_frames_have_times(tmp_path: Path) -> None:
    case: Case = ("x-vector", {}, {"pooling": "self-attention", **OTHERS["several tasks"][2]})
    whole, classifier = exported(model_of(case), tmp_path)
    said = classifier([np.random.default_rng(0).standard_normal(8_000).astype(np.float32)])
    assert list(said) == ["logits/emotion", "logits/age", "embeddings", "frame_weights"]
    assert said["logits/emotion"].shape == (1, 3) and said["logits/age"].shape == (1, 1)
    assert said["frame_weights"].sum() == pytest.approx(1, abs=1e-5)
    first, step = classifier.facts.frame_times or (0.0, 0.0)
    times = whole.model.frame_times(said["frame_weights"].shape[1])
    np.testing.assert_allclose(first + step * np.arange(len(times)), times, atol=1e-9)
