"""Whether `torch.compile` pays for an encoder: embedding with a model as it is, and compiled.

    python -m benchmarks.compiled        # five minutes

An encoder of the size of wav2vec2-base with random weights, over 60 s of the sample, compiled for any shapes. Told are
the seconds that a first pass takes longer, which is compiling, and how many times as fast later passes are; the more of
them it takes to win back the first, the less it pays. On a CPU, what is compiled are the plain convolutions: the
products of matrices that stand for them are no part of a graph.
"""

import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor

from hf_speech import HfSpeechConfig, HfSpeechModel
from hf_speech.files import replacing
from hf_speech.ranks import local_device
from hf_speech.results import run_facts
from hf_speech.verification.embeddings import embed_files

from .sample import drawn
from .turns import by_turns, ratio, seconds_of

ROUNDS, SECONDS, DTYPES, COSINE = 5, 60.0, ("float32", "bfloat16"), 0.999
RESULTS = Path(__file__).parent / "results" / "compiled.json"


def measure(seconds: float = SECONDS, config: Wav2Vec2Config | None = None) -> list[dict[str, Any]]:
    """A row a precision."""
    torch._dynamo.config.fail_on_recompile_limit_hit = True  # or what is told as compiled was not, in the end
    sample, extractor = drawn(seconds=seconds), Wav2Vec2FeatureExtractor(return_attention_mask=True)
    files, rows = {str(path): path for path in sample.files}, []
    for dtype in DTYPES:
        torch.manual_seed(0)
        plain = HfSpeechModel(HfSpeechConfig(backbone_config=config or Wav2Vec2Config(), pooling="mean")).eval()
        compiled = HfSpeechModel(plain.config).eval()
        compiled.load_state_dict(plain.state_dict())
        compiled.compile(dynamic=True)
        found: dict[str, Any] = {}

        def embed(name: str, model: Any, dtype: str = dtype, found: dict[str, Any] = found) -> None:
            found[name] = embed_files(model, extractor, files, dtype=dtype).vectors

        ways = {
            "as it is": lambda embed=embed, plain=plain: embed("as it is", plain),
            "compiled": lambda embed=embed, compiled=compiled: embed("compiled", compiled),
        }
        first = {name: seconds_of(way) for name, way in ways.items()}
        times = by_turns(ways, ROUNDS, warm=False)
        one, other = found.values()
        cosine = ((one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)).min()
        if cosine < COSINE:
            raise SystemExit(f"compiled, in {dtype}, it computes something else: cosine {cosine}")
        faster = ratio(times["compiled"], times["as it is"])
        usual = {name: statistics.median(seconds) for name, seconds in times.items()}
        spared, longer = usual["as it is"] - usual["compiled"], first["compiled"] - usual["compiled"]
        rows.append(
            {
                "dtype": dtype,
                "seconds": times,
                "compiling_seconds": longer,
                "times_as_fast": {"median": faster.median, "smallest": faster.smallest, "largest": faster.largest},
                "audio_seconds_that_win_it_back": longer / spared * sample.total if spared > 0 else None,
                "lowest_cosine": float(cosine),
            }
        )
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    """Measures and writes."""
    begun = time.perf_counter()
    content: dict[str, Any] = {"rows": measure()}
    content["run"] = run_facts(0, device=local_device().type, wall_seconds=time.perf_counter() - begun)
    with replacing(RESULTS) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    print(f"written to {RESULTS}")


if __name__ == "__main__":
    main()
