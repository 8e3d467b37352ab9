"""The fixtures `hub` and `no_xet`; a conftest.py imports them."""

from collections.abc import Iterator

import pytest

from .server import Hub


@pytest.fixture
def no_xet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has the client in this process send large files without Xet; it read its environment when it was imported."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)


@pytest.fixture
def hub(no_xet: None) -> Iterator[Hub]:
    """A fresh Hub with ada (who is in lab) and bob, for the client in this process and for others."""
    with Hub() as running:
        yield running
