"""What the tests share: where the real speech lies, and tiny models that are built once."""

import gc
import os
import signal
import threading
from pathlib import Path

# Before torch is imported: oneDNN's bfloat16 convolutions of a few channels are off by a quarter where the processor
# has AMX (torch 2.13). What the tests hold is our own arithmetic.
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_BF16")

import pytest

from hf_speech.testing import write_fake_corpus

from .loopback.fixtures import hub, no_xet  # noqa: F401

# The real speech for tests: given by path, never copied into the repository.
SPEECH = Path(__file__).resolve().parents[2] / "shared" / "data" / "speech"
VOXCELEB_LISTS = SPEECH.parent / "voxceleb-lists"


def pytest_collection() -> None:
    """Collecting imports all and makes thousands of tests: what is made stays, so looking for garbage is in vain."""
    gc.disable()


def pytest_collection_finish() -> None:
    """What was collected is never looked through again: a third of the time of a run of Trainer would go there."""
    gc.collect()
    gc.freeze()
    gc.enable()


# Where the tests run in the background, Ctrl-C is ignored, and what they start would ignore it too.
if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def speech() -> Path:
    """The folder of real speech (speaker/, emotion/, meeting/); the test is skipped where it is absent."""
    if not SPEECH.is_dir():
        pytest.skip(f"the real speech is not at {SPEECH}")
    return SPEECH


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """metadata.csv of 4 speakers x 6 clips of 0.6 to 1.4 s, classes low and high."""
    return write_fake_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="session")
def voxceleb_lists() -> Path:
    """The folder of the published utterance and trial lists of VoxCeleb; the test is skipped where it is absent."""
    if not VOXCELEB_LISTS.is_dir():
        pytest.skip(f"the lists of VoxCeleb are not at {VOXCELEB_LISTS}")
    return VOXCELEB_LISTS
