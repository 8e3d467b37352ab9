"""Embedding files in batches of like length against one utterance at a time: the same embeddings, and what it saves.

    python -m benchmarks.embedding --speech ../shared/data/speech      # some minutes

All recordings of the speaker pack, by models with random weights, through `embed_files`: looking at each file, reading,
running the model. The recordings come in parts, each embedded both ways, one after the other, so that other work on the
machine falls on both; which way comes first takes turns. Told are seconds of audio a second, on the cores that torch
takes, and the ratio, by the clock and by the processor time of this process. The difference is the largest of any
number of embeddings of length 1; beside it the largest between any two utterances, of the same number.
"""

import argparse
import csv
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hf_speech.files import replacing
from hf_speech.results import run_facts
from hf_speech.verification.embeddings import Embeddings, embed_files

from .batching import model_of
from .limits import hold
from .real_speech import ROOT, SPEECH

OUTPUT = ROOT / "benchmarks" / "results" / "embedding.json"
MODELS = ("ecapa-256", "wav2vec2-small")
WAYS = {"bucketed": None, "single": 0.0}  # padded seconds in a batch; None: as it is by itself; 0: one utterance
PARTS = 6
LIMITS = {f"{name}, difference": 1e-5 for name in MODELS}


def unit(found: Embeddings) -> NDArray:
    return found.vectors / np.linalg.norm(found.vectors, axis=1, keepdims=True)


def measure(name: str, files: dict[str, Path]) -> dict[str, Any]:
    """One row a model."""
    model = model_of(name, 2).eval()
    extractor = model.make_feature_extractor()
    embed_files(model, extractor, dict(list(files.items())[:4]))  # the first batch allocates
    spent = {way: np.zeros((PARTS, 2)) for way in WAYS}
    audio, difference, spread = 0.0, 0.0, 0.0
    for part in range(PARTS):
        some = dict(list(files.items())[part::PARTS])
        found = {}
        for way in sorted(WAYS, reverse=part % 2 == 1):
            begun = time.perf_counter(), time.process_time()
            found[way] = embed_files(model, extractor, some, batch_seconds=WAYS[way])
            spent[way][part] = time.perf_counter() - begun[0], time.process_time() - begun[1]
        audio += found["bucketed"].facts["audio_seconds"]
        vectors = unit(found["single"])
        difference = max(difference, float(np.abs(unit(found["bucketed"]) - vectors).max()))
        spread = max(spread, float(np.ptp(vectors, axis=0).max()))
    wall, processor = (spent["single"].sum(0) / spent["bucketed"].sum(0)).tolist()
    return {
        "model": name,
        "dimensions": int(found["bucketed"].vectors.shape[1]),
        "audio_seconds": audio,
        "audio_seconds_per_second": {way: audio / spent[way][:, 0].sum() for way in WAYS},
        "ratio": wall,
        "ratio_of_processor_time": processor,
        "ratio_of_parts": (spent["single"][:, 0] / spent["bucketed"][:, 0]).tolist(),
        "difference": difference,
        "largest_between_utterances": spread,
    }


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", type=Path, default=SPEECH, help="folder with speaker/ (%(default)s)")
    root = parser.parse_args().speech / "speaker"
    begun = time.perf_counter()
    with (root / "metadata.csv").open(encoding="utf-8", newline="") as file:
        files = {row["path"]: root / row["path"] for row in csv.DictReader(file)}
    rows = [measure(name, files) for name in MODELS]
    for row in rows:
        rates = row["audio_seconds_per_second"]
        print(
            f"{row['model']}: {rates['bucketed']:.0f} s of audio a second, one at a time {rates['single']:.0f}: "
            f"{row['ratio']:.2f} times, {row['ratio_of_processor_time']:.2f} by processor time; parts "
            f"{min(row['ratio_of_parts']):.2f} to {max(row['ratio_of_parts']):.2f}; difference {row['difference']:.1e} "
            f"(of {row['largest_between_utterances']:.1e} between utterances)"
        )
    content = {
        "utterances": len(files),
        "threads": torch.get_num_threads(),
        "embedding": rows,
        "run": run_facts(0, device="cpu", wall_seconds=time.perf_counter() - begun),
    }
    with replacing(OUTPUT) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    hold({f"{row['model']}, difference": row["difference"] for row in rows}, LIMITS)


if __name__ == "__main__":
    main()
