"""Small corpora of the data tests, on disk and as rows."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from datasets import Audio, ClassLabel, Dataset, Features, Value

from hf_speech.testing import write_fake_corpus


@pytest.fixture(scope="session")
def class_folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_fake_corpus(tmp_path_factory.mktemp("folders"), layout="folder", speakers=2, per_speaker=2)


@pytest.fixture
def write_tone(tmp_path: Path) -> Callable[..., Path]:
    """write_tone(name, samples=16_000, rate=16_000, channels=1) -> path of a file of that many samples."""

    def write(name: str, samples: int = 16_000, rate: int = 16_000, channels: int = 1) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        tone = 0.4 * np.sin(2 * np.pi * 220 * np.arange(samples) / rate)
        sf.write(path, np.repeat(tone[:, None], channels, axis=1), rate)
        return path

    return write


@pytest.fixture
def embedded(corpus: Path) -> Dataset:
    """Six clips inside the table: audio column `clip`, ClassLabel column `mood` whose order is not the sorted one."""
    files = sorted((corpus.parent / "audio").glob("speaker00_*.wav"))
    cells = {
        "clip": [{"bytes": path.read_bytes(), "path": path.name} for path in files],
        "mood": [0, 1, 0, 1, 0, 1],
        "speaker": ["x", "x", "y", "y", "z", "z"],
    }
    features = Features({"clip": Audio(), "mood": ClassLabel(names=["sad", "glad"]), "speaker": Value("string")})
    return Dataset.from_dict(cells).cast(features)
