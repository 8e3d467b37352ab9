"""Run as a file, in a process of its own: loads a model or a data set as a stranger would, who lacks this package.

    python -P reloaded.py model PLACE REVISION AUTO_CLASS WAVEFORMS.npz ANSWERS.npz
    python -P reloaded.py data PLACE REVISION ROWS.json

PLACE is a name on the Hub, or a folder. What the model says of the waveforms, or the first row of every split, is
written to the last file. This file imports nothing of the package, and makes sure that nothing else does.
"""

import gc
import hashlib
import json
import os
import sys
from collections.abc import Sequence
from typing import Any


def answers(model: Any, extractor: Any, waveforms: Sequence[Any], rate: int) -> dict[str, Any]:
    """Logits and embeddings of waveforms, each alone: name -> (1, C) float32 arrays.

    Args:
        model: an audio classifier.
        extractor: the model's.
        waveforms: (samples,) float32 each.
        rate: of them, samples a second.
    """
    import torch

    said = {}
    model.eval()
    with torch.no_grad():
        for i, waveform in enumerate(waveforms):
            outputs = model(**extractor(waveform, sampling_rate=rate, return_tensors="pt"))
            for name in ("logits", "embeddings"):
                values = outputs.get(name)
                if isinstance(values, torch.Tensor):
                    said[f"{name}-{i}"] = values.float().numpy()
    return said


def first_rows(place: str, revision: str | None) -> dict[str, Any]:
    """Of each split its columns, and the first row's cells as text, with a digest of its audio."""
    import datasets

    found = {}
    splits = datasets.load_dataset(place, revision=revision, streaming=True)
    for name, rows in splits.items():
        if "audio" in (rows.column_names or []):
            rows = rows.cast_column("audio", datasets.Audio(decode=False))
        row: dict[str, Any] = next(iter(rows), {})
        found[str(name)] = {column: _cell(value) for column, value in row.items()}
    return found


def _cell(value: Any) -> Any:
    if isinstance(value, dict) and isinstance(value.get("bytes"), bytes):
        return hashlib.sha256(value["bytes"]).hexdigest()
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)


def _main(kind: str, place: str, revision: str, *words: str) -> None:
    gc.disable()  # for so short a time there is nothing to gain by looking for garbage
    sys.modules["hf_speech"] = None  # type: ignore[assignment]  # importing it fails, as where it is not installed
    at = revision or None
    if kind == "data":
        with open(words[0], "w", encoding="utf-8") as file:
            json.dump(first_rows(place, at), file)
        os._exit(0)  # threads that still read ahead would abort an ordinary end
    import numpy as np
    import transformers

    auto, heard, written = words
    with np.load(heard) as sample:
        rate, waveforms = int(sample["rate"]), [sample[name] for name in sample.files if name != "rate"]
    model = getattr(transformers, auto).from_pretrained(place, revision=at, trust_remote_code=True)
    extractor = transformers.AutoFeatureExtractor.from_pretrained(place, revision=at)
    np.savez(written, **answers(model, extractor, waveforms, rate))
    gc.freeze()  # nor when Python ends


if __name__ == "__main__":
    _main(*sys.argv[1:])
