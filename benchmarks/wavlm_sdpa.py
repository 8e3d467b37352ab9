"""What WavLM's fused attention gains over transformers' own: time of a forward pass, and of one with its backward pass.

    python -m benchmarks.wavlm_sdpa

Base size (12 layers of 768), random weights, float32, evaluation mode, batches of unequal length with their mask. The
two models have the same weights and run by turns, A B A B; the ratio is the median of the pairs' ratios (eager / sdpa:
2 is twice as fast), so that other work on the machine falls on both.
"""

import copy
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoModel, PreTrainedModel, WavLMConfig

from hf_speech.files import replacing
from hf_speech.models.wavlm_sdpa import use_sdpa
from hf_speech.results import run_facts

from .limits import hold

BATCH, SECONDS, RATE, PAIRS = 4, (4.0, 10.0), 16_000, 5
LIMITS = {"difference": 1e-5, "forward, 10 s, sdpa / eager": 1.0}
RESULTS = Path(__file__).parent / "results" / "wavlm_sdpa.json"


def models(layers: int = 12) -> tuple[PreTrainedModel, PreTrainedModel]:
    """Encoders of the size of microsoft/wavlm-base with the same weights: eager, sdpa."""
    torch.manual_seed(0)
    eager = AutoModel.from_config(WavLMConfig(num_hidden_layers=layers, layerdrop=0.0)).eval()
    sdpa = copy.deepcopy(eager)
    use_sdpa(sdpa)
    return eager, sdpa


def batch_of(size: int, seconds: float) -> dict[str, Tensor]:
    """Noise; the first utterance fills the batch, the last is half as long."""
    samples = round(seconds * RATE)
    lengths = torch.linspace(samples, samples / 2, size).long()
    mask = (torch.arange(samples) < lengths[:, None]).long()
    return {"input_values": torch.randn(size, samples) * mask, "attention_mask": mask}


@torch.inference_mode()
def forward(model: PreTrainedModel, batch: dict[str, Tensor]) -> Tensor:
    """Frames (B, F, 768)."""
    return model(**batch).last_hidden_state


def forward_and_backward(model: PreTrainedModel, batch: dict[str, Tensor]) -> None:
    """Leaves gradients in the encoder; the convolutions are frozen, as when one fine-tunes."""
    model.feature_extractor.requires_grad_(False)
    model.zero_grad(set_to_none=True)
    model(**batch).last_hidden_state.pow(3).mean().backward()


def timed(step: Callable[[PreTrainedModel, dict[str, Tensor]], object], *given: object) -> float:
    """Seconds that one step takes."""
    start = time.perf_counter()
    step(*given)  # type: ignore[arg-type]
    return time.perf_counter() - start


def compare(eager: PreTrainedModel, sdpa: PreTrainedModel, batch: dict[str, Tensor], pairs: int) -> list[dict]:
    """One row a kind of pass: median seconds of both, and their ratio."""
    rows = []
    for step in (forward, forward_and_backward):
        for model in (eager, sdpa):
            step(model, batch)  # the first pass allocates
        times = [(timed(step, eager, batch), timed(step, sdpa, batch)) for _ in range(pairs)]
        ratios = sorted(a / b for a, b in times)
        seconds = [statistics.median(column) for column in zip(*times, strict=True)]
        rows.append(
            {
                "pass": step.__name__.replace("_", " "),
                "eager_seconds": seconds[0],
                "sdpa_seconds": seconds[1],
                "eager_to_sdpa": {"median": statistics.median(ratios), "smallest": ratios[0], "largest": ratios[-1]},
            }
        )
    return rows


def measure(layers: int = 12, size: int = BATCH, lengths: tuple[float, ...] = SECONDS, pairs: int = PAIRS) -> dict:
    """All that is written, but for the run's own facts."""
    eager, sdpa = models(layers)
    rows, differences = [], []
    for seconds in lengths:
        batch = batch_of(size, seconds)
        real = batch["attention_mask"][:, 399::320].bool()  # the last sample that each frame sees
        expected, found = forward(eager, batch), forward(sdpa, batch)
        differences.append((found - expected)[real].abs().max().item())
        rows += [{"seconds_each": seconds, **row} for row in compare(eager, sdpa, batch, pairs)]
    return {
        "layers": layers,
        "batch": size,
        "dtype": "float32",
        "pairs": pairs,
        "rows": rows,
        "difference": max(differences),
    }


def main() -> None:
    """Measures and writes."""
    start = time.perf_counter()
    content = measure()
    content["run"] = run_facts(0, device="cpu", wall_seconds=time.perf_counter() - start)
    for row in content["rows"]:
        print(f"{row['seconds_each']:g} s, {row['pass']}: eager / sdpa {row['eager_to_sdpa']['median']:.2f}")
    RESULTS.parent.mkdir(exist_ok=True)
    with replacing(RESULTS) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    print(f"written to {RESULTS}")
    longest = next(row for row in content["rows"] if row["seconds_each"] == 10.0 and row["pass"] == "forward")
    ratio = 1 / longest["eager_to_sdpa"]["median"]
    hold(dict(zip(LIMITS, (content["difference"], ratio), strict=True)), LIMITS)


if __name__ == "__main__":
    main()
