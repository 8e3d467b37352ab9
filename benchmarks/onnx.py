"""Size and speed of a model as an ONNX file, in float32 and with 8-bit weights, against torch in the same run.

    python -m benchmarks.onnx            # under ten minutes on two cores
    python -m benchmarks.onnx --quick    # tries it out: small models, nothing is written

Weights are random: neither size nor speed hangs on them. Each number is a ratio of the best times of a few runs by
turns, with as many threads for both; noise of 4 and of 10 s, one utterance and eight of them. An encoder of
wav2vec2-base's size, ECAPA-TDNN with 512 channels, the x-vector, the VGG with 4 blocks, and w2v-BERT 2.0 with six of
its 24 layers.
"""

import argparse
import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from transformers import Wav2Vec2BertConfig, Wav2Vec2Config

from hf_speech import HfSpeechForSequenceClassification, HfSpeechForXVector
from hf_speech.files import replacing
from hf_speech.results import run_facts
from hf_speech.serving.exactness import LIMIT
from hf_speech.serving.export import ExportOptions, best_times, export
from hf_speech.serving.graph import served
from hf_speech.serving.session import batch_of, load_onnx

from .limits import hold

OUTPUT = Path(__file__).parent / "results" / "onnx.json"
LABELS = [f"speaker {i}" for i in range(100)]
SHAPES = [(4.0, 1), (4.0, 8), (10.0, 1), (10.0, 8)]  # seconds, utterances
ROUNDS, PATIENCE = 5, 12.0
MODELS: dict[str, Any] = {
    "wav2vec2-base": Wav2Vec2Config(),
    "ecapa-512": "ecapa-512",
    "x-vector": "x-vector",
    "vgg4": "vgg4",
    "w2v-bert, 6 layers": Wav2Vec2BertConfig(num_hidden_layers=6),
}


def model_of(backbone: Any) -> Any:
    torch.manual_seed(0)
    kind = HfSpeechForXVector if isinstance(backbone, str) else HfSpeechForSequenceClassification
    return kind.from_backbone(backbone, labels=LABELS).eval()


def figures(name: str, backbone: Any, shapes: list[tuple[float, int]]) -> dict[str, Any]:
    """What `hf-speech export` says of the files, and their speeds at all shapes."""
    model = model_of(backbone)
    extractor = model.make_feature_extractor()
    threads = torch.get_num_threads()
    with TemporaryDirectory() as root:
        made = export(model, extractor, name, Path(root) / "served", ExportOptions(quantize="int8"))
        files = {one.file: load_onnx(Path(root) / "served" / one.file, device="cpu", threads=threads) for one in made}
        whole = served(model, extractor, name)
        speeds: dict[str, dict[str, float]] = {file: {} for file in files}
        seconds = {}
        for length, count in shapes:
            noise = np.random.default_rng(0).normal(0, 0.1, (count, round(length * 16_000))).astype(np.float32)
            batch = batch_of(list(noise))
            tensors = {key: torch.from_numpy(values) for key, values in batch.items()}
            runs = {"torch": lambda tensors=tensors: whole(**tensors)}
            runs |= {file: lambda each=each, batch=batch: each.run(batch) for file, each in files.items()}
            with torch.no_grad():
                best = best_times(runs, ROUNDS, PATIENCE)
            where = f"{length:g} s x {count}"
            seconds[where] = best["torch"]
            for file in files:
                speeds[file][where] = best["torch"] / best[file]
    rows = {
        one.file: {
            "megabytes": one.megabytes,
            "size_to_torch": one.size,
            "speed_to_torch": speeds[one.file],
            "largest_difference": max(one.agreement.differences.values()),
            "cosine": one.agreement.cosine,
            "same_labels": one.agreement.labels,
        }
        for one in made
    }
    return {"torch_seconds": seconds, "files": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the smaller models at 4 s, without writing")
    quick = parser.parse_args().quick
    names = ["x-vector", "ecapa-512"] if quick else list(MODELS)
    start, rows = time.perf_counter(), {}
    for name in names:
        rows[name] = figures(name, MODELS[name], SHAPES[:1] if quick else SHAPES)
        for file, row in rows[name]["files"].items():
            speeds = ", ".join(f"{where} {ratio:.2f}x" for where, ratio in row["speed_to_torch"].items())
            print(f"{name:20} {file:16} {row['size_to_torch']:.2f} of torch's size; {speeds}", flush=True)
    if not quick:
        run = run_facts(0, device="cpu", wall_seconds=time.perf_counter() - start)
        content = {"models": rows, "threads": torch.get_num_threads(), "run": run}
        OUTPUT.parent.mkdir(exist_ok=True)
        with replacing(OUTPUT) as temporary:
            temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    hold(
        {name: row["files"]["model.onnx"]["largest_difference"] for name, row in rows.items()},
        dict.fromkeys(rows, LIMIT),
    )


if __name__ == "__main__":
    main()
