"""What the first four layers of an encoder of base size cost, against all twelve: FLOPs and time of a forward pass.

    python -m benchmarks.layer_cost

The two models run by turns, A B A B, and the ratio is the median of the pairs' ratios, so that other work on the
machine falls on both. Weights are random (they don't change the cost); 2 utterances of 4 s in float32.
"""

import json
import statistics
import time
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import Wav2Vec2Config

from hf_speech.files import replacing
from hf_speech.models.configuration import HfSpeechConfig
from hf_speech.models.modeling import HfSpeechModel
from hf_speech.results import run_facts

from .limits import hold

LAYERS = (4, 12)
BATCH, SECONDS, RATE = 2, 4.0, 16_000
PAIRS = 15
LIMITS = {"flop ratio": 0.60, "time ratio": 0.66}  # the convolutions alone are 0.39 of the operations
RESULTS = Path(__file__).parent / "results" / "layer_cost.json"


def encoder(layer: int) -> HfSpeechModel:
    """An encoder of the size of facebook/wav2vec2-base (12 x 768), cut at a layer."""
    # The FLOP counter knows matrix products, of which eager attention is made; fused attention on a CPU it does not.
    config = HfSpeechConfig(backbone_config=Wav2Vec2Config(), layer=layer)
    return HfSpeechModel._from_config(config, attn_implementation="eager").eval()


def flops(model: HfSpeechModel, waves: torch.Tensor) -> int:
    """Floating-point operations of a forward pass, a multiplication and an addition counted as two."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(waves)
    return counter.get_total_flops()


@torch.inference_mode()
def seconds(model: HfSpeechModel, waves: torch.Tensor) -> float:
    """The time of one forward pass."""
    start = time.perf_counter()
    model(waves)
    return time.perf_counter() - start


def main() -> None:
    """Measures and writes."""
    start = time.perf_counter()
    torch.manual_seed(0)
    few, all_ = (encoder(layer) for layer in LAYERS)
    waves = torch.randn(BATCH, round(SECONDS * RATE))
    counts = [flops(model, waves) for model in (few, all_)]
    for model in (few, all_):
        seconds(model, waves)  # the first pass allocates
    pairs = [(seconds(few, waves), seconds(all_, waves)) for _ in range(PAIRS)]
    ratios = sorted(a / b for a, b in pairs)
    content = {
        "layers": LAYERS,
        "batch": BATCH,
        "seconds_each": SECONDS,
        "dtype": "float32",
        "flops": dict(zip(map(str, LAYERS), counts, strict=True)),
        "flop_ratio": counts[0] / counts[1],
        "median_seconds": {
            str(layer): statistics.median(times) for layer, times in zip(LAYERS, zip(*pairs, strict=True), strict=True)
        },
        "time_ratio": {"median": statistics.median(ratios), "smallest": ratios[0], "largest": ratios[-1]},
        "pairs": PAIRS,
        "run": run_facts(0, device="cpu", wall_seconds=time.perf_counter() - start),
    }
    RESULTS.parent.mkdir(exist_ok=True)
    with replacing(RESULTS) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    print(f"written to {RESULTS}")
    hold({"flop ratio": counts[0] / counts[1], "time ratio": statistics.median(ratios)}, LIMITS)


if __name__ == "__main__":
    main()
