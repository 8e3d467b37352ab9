"""What the tests share: where the real speech lies, and tiny models that are built once."""

from pathlib import Path

import pytest

# The real speech for tests: given by path, never copied into the repository.
SPEECH = Path(__file__).resolve().parents[2] / "shared" / "data" / "speech"


@pytest.fixture(scope="session")
def speech() -> Path:
    """The folder of real speech (speaker/, emotion/, meeting/); the test is skipped where it is absent."""
    if not SPEECH.is_dir():
        pytest.skip(f"the real speech is not at {SPEECH}")
    return SPEECH
