"""A corpus and a finished run on it, made once."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from hf_speech.testing import write_fake_corpus

from .runs import train_tiny


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Sums of floats come out the same, bit for bit, on one thread only."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """metadata.csv: 6 speakers x 4 clips of 0.6 to 1.4 s, classes low and high, age 20 to 70."""
    return write_fake_corpus(tmp_path_factory.mktemp("corpus"), speakers=6, per_speaker=4)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> Path:
    """A model that was trained on speakers 0 to 2, validated on 3, and tested on 4 and 5."""
    folder = tmp_path_factory.mktemp("runs") / "finished"
    rules = ("--validation", "speaker_id=speaker03", "--test", "speaker_id=speaker04,speaker05")
    return train_tiny(folder, corpus, *rules, "--logging-steps", "1", num_train_epochs=4)


@pytest.fixture
def small_disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A file system of 3 MB, or as large as `indirect` says; skipped where none may be mounted."""
    folder, size = tmp_path / "disk", getattr(request, "param", "3m")
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)
