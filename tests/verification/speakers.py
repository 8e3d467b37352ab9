"""Tiny models that tell voices apart by chance, recordings of made-up speakers, and calibrations made by hand."""

from pathlib import Path

import numpy as np
import torch

from hf_speech.models.modeling import HfSpeechForSequenceClassification
from hf_speech.testing import write_fake_corpus
from hf_speech.verification.backend import Backend
from hf_speech.verification.calibration import Calibration

from ..models.tiny import lively, tiny_config

SIZE = 32  # of an embedding
BY_SCORE = Calibration(("score",), (10.0,), -4.0, 0.5, {"eer": 0.5, "fmr_0.01": 2.0})


def write_model(folder: Path, seed: int = 0, **settings: object) -> Path:
    """A finished model of ours."""
    lively(HfSpeechForSequenceClassification(tiny_config(**settings)), seed).save_pretrained(folder)
    return folder


def write_voices(folder: Path) -> dict[str, list[Path]]:
    """Speaker -> three recordings of half a second or so."""
    write_fake_corpus(folder, speakers=3, per_speaker=3, seconds=(0.3, 0.9))
    files = sorted((folder / "audio").glob("*.wav"))
    assert len(files) == 9
    return {name: files[3 * i : 3 * i + 3] for i, name in enumerate(("anna", "bert", "carl"))}


def cosine(one: torch.Tensor | np.ndarray, other: torch.Tensor | np.ndarray) -> float:
    """Written out, in float64."""
    a, b = np.asarray(one, np.float64), np.asarray(other, np.float64)
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def made_backend(cohort: bool = True, seed: int = 5) -> Backend:
    """A back end with a mean and a cohort, of embeddings that are made up."""
    rng = np.random.default_rng(seed)
    backend = Backend.centred(rng.normal(size=(40, SIZE)))
    return backend.normalised(rng.normal(size=(30, SIZE)), top=8) if cohort else backend
