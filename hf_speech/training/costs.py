"""What a model costs: its size, how fast it answers, and the energy of its training where that was measured."""

import statistics
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers.integrations import CodeCarbonCallback

from ..models.embedding import evaluating
from ..results import Results

UTTERANCE_SECONDS = 5.0
REPETITIONS = 5
PATIENCE = 2.0  # seconds, after which no further repetition is begun


def with_costs(
    results: Results,
    folder: Path,
    model: Any,
    extractor: Any,
    paces: Mapping[str, float | None],
    energy: Mapping[str, Any] | None,
) -> Results:
    """The results of a run with what the model costs: `model.bytes`, `run.speed` and, where known, `run.energy`.

    Args:
        results: of the run.
        folder: where the model's weights lie.
        model: the model, whole, on the device that it was trained on.
        extractor: its feature extractor.
        paces: split -> seconds of audio a second in its evaluation, see `speed_of`; the last one counts.
        energy: see `energy_of`.
    """
    split, pace = next(reversed(list(paces.items())), (None, None))
    run = {**results.run, "speed": speed_of(model, extractor, pace, split), **({"energy": energy} if energy else {})}
    return replace(results, model={**results.model, "bytes": size_of(folder)}, run=run)


def size_of(folder: Path) -> int:
    """Bytes of the weights in a model's folder."""
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def speed_of(model: Any, extractor: Any, pace: float | None, split: str | None) -> dict[str, Any]:
    """How fast a model answers on the device that it is on, as results.json has it.

    Args:
        model: an audio classifier.
        extractor: its feature extractor.
        pace: seconds of audio a second in an evaluation, files being read and batches made; None: there was none, or
            not with the whole model.
        split: that was evaluated.

    Returns:
        {audio_seconds_per_second: the pace, split, latency_seconds: median time from the samples of one utterance to
        its logits, utterance_seconds: its length, repetitions: how often that was measured, threads, dtype}.
    """
    times = latencies(model, extractor)
    return {
        "audio_seconds_per_second": None if pace is None else float(f"{pace:.4g}"),
        "split": None if pace is None else split,
        "latency_seconds": float(f"{statistics.median(times):.4g}"),
        "utterance_seconds": UTTERANCE_SECONDS,
        "repetitions": len(times),
        "threads": torch.get_num_threads(),
        "dtype": str(model.dtype).removeprefix("torch."),
    }


@torch.no_grad()
def latencies(model: Any, extractor: Any) -> list[float]:
    """Seconds from the samples of one utterance, alone, to its logits, again and again.

    It is noise, as content costs no time. The first run, which makes plans and caches, is not counted.
    """
    rate = extractor.sampling_rate
    waveform = np.random.default_rng(0).normal(0, 0.1, round(UTTERANCE_SECONDS * rate)).astype(np.float32)
    times: list[float] = []
    begun = time.perf_counter()
    with evaluating(model):
        while len(times) <= REPETITIONS and (len(times) < 2 or time.perf_counter() - begun < PATIENCE):
            start = time.perf_counter()
            inputs = extractor(waveform, sampling_rate=rate, return_tensors="pt")
            model(**{name: tensor.to(model.device) for name, tensor in inputs.items()})["logits"].cpu()  # waits for it
            times.append(time.perf_counter() - start)
    return times[1:]


def energy_of(trainer: Any, from_step: int = 0) -> dict[str, Any] | None:
    """The energy of a training that codecarbon watched (`report_to: codecarbon`); None: nobody did.

    Args:
        trainer: that has trained.
        from_step: where this process went on with a run that was stopped; 0: it made all of it.
    """
    for callback in trainer.callback_handler.callbacks:
        if isinstance(callback, CodeCarbonCallback):
            measured = getattr(callback.tracker, "final_emissions_data", None)  # there only if it has measured at all
            return None if measured is None else {**energy_facts(measured), "from_step": from_step}
    return None


def energy_facts(measured: Any) -> dict[str, Any]:
    """What codecarbon has measured, as results.json has it; its words for what it does not know become None.

    Args:
        measured: codecarbon's `EmissionsData`.
    """
    hardware = [name for name in (measured.gpu_model, measured.cpu_model) if name]
    return {
        "kwh": float(f"{measured.energy_consumed:.4g}"),
        "co2_kg": float(f"{measured.emissions:.4g}"),
        "country": measured.country_name or None,
        "region": measured.region or None,
        "hardware": ", ".join(hardware) or None,
        "mode": measured.tracking_mode,
        "source": f"codecarbon {measured.codecarbon_version}",
    }
