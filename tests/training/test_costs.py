"""What a model costs: measured on the model itself, and what codecarbon tells."""

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import Wav2Vec2FeatureExtractor

from hf_speech.models.modeling import HfSpeechForSequenceClassification
from hf_speech.results import Results
from hf_speech.training import costs
from hf_speech.training.costs import energy_facts, energy_of, latencies, size_of, with_costs

from ..models.tiny import lively, tiny_config
from ..test_results import example
from .runs import read_results

EXTRACTOR = Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True)


@pytest.fixture(scope="module")
def model() -> HfSpeechForSequenceClassification:
    return lively(HfSpeechForSequenceClassification(tiny_config(pooling="mean+std")))


def test_a_run_tells_its_size_and_speed(finished: Path) -> None:
    results = read_results(finished)
    assert results["model"]["bytes"] == (finished / "model.safetensors").stat().st_size
    speed = results["run"]["speed"]
    assert speed["split"] == "test" and speed["audio_seconds_per_second"] > 1
    assert 0 < speed["latency_seconds"] < 5 and speed["utterance_seconds"] == 5.0
    assert (speed["dtype"], speed["threads"], speed["repetitions"]) == ("float32", torch.get_num_threads(), 5)
    assert "energy" not in results["run"]


def test_an_utterance_is_heard_alone_after_a_first_run_that_does_not_count(
    model: HfSpeechForSequenceClassification,
) -> None:
    shapes, modes = [], []

    def note(module: Any, arguments: Any, given: dict[str, torch.Tensor]) -> None:
        shapes.append(tuple(given["input_values"].shape))
        modes.append(module.training)

    hook = model.register_forward_pre_hook(note, with_kwargs=True)
    model.train()
    try:
        times = latencies(model, EXTRACTOR)
        assert model.training
    finally:
        hook.remove()
        model.eval()
    assert shapes == [(1, 5 * 16_000)] * 6 and not any(modes)
    assert len(times) == 5 and min(times) > 0


def test_a_slow_model_is_asked_once_or_twice(
    model: HfSpeechForSequenceClassification, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(costs, "PATIENCE", 0.0)
    assert len(latencies(model, EXTRACTOR)) == 1


def test_costs_stand_beside_what_was_there(model: HfSpeechForSequenceClassification, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    before = Results(**example())
    results = with_costs(before, tmp_path, model, EXTRACTOR, {"validation": 3.0, "test": 123.456}, None)
    assert results.model == {**before.model, "bytes": size_of(tmp_path)} and size_of(tmp_path) > 1000
    assert results.run["speed"]["audio_seconds_per_second"] == 123.5 and results.run["speed"]["split"] == "test"
    assert results.run["seed"] == 7 and "energy" not in results.run and "speed" not in before.run
    # Nothing was evaluated; an encoder that was run once is no measure of the whole model.
    for paces in ({}, {"test": None}):
        told = with_costs(before, tmp_path, model, EXTRACTOR, paces, {"kwh": 1.0}).run
        assert told["speed"]["audio_seconds_per_second"] is told["speed"]["split"] is None and told["energy"] == {
            "kwh": 1.0
        }


@dataclass
class EmissionsData:
    """The fields of codecarbon 3.3's own that are read, with values of a run on a laptop without a GPU."""

    energy_consumed: float = 0.0173123456
    emissions: float = 0.0064281234
    country_name: str = "Germany"
    region: str = ""
    cpu_model: str = "AMD EPYC"
    gpu_model: str = ""
    tracking_mode: str = "machine"
    codecarbon_version: str = "3.3.2"


def test_what_codecarbon_measures_becomes_facts() -> None:
    facts = energy_facts(EmissionsData())
    assert facts == {
        "kwh": 0.01731, "co2_kg": 0.006428, "country": "Germany", "region": None, "hardware": "AMD EPYC",
        "mode": "machine", "source": "codecarbon 3.3.2",
    }  # fmt: skip
    assert energy_facts(EmissionsData(gpu_model="1 x NVIDIA H100"))["hardware"] == "1 x NVIDIA H100, AMD EPYC"


def test_a_training_that_nobody_watched_has_no_energy() -> None:
    assert energy_of(SimpleNamespace(callback_handler=SimpleNamespace(callbacks=[object()]))) is None
