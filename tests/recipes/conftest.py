"""Corpora that the real command has prepared, and small checkpoints, made once."""

import shlex
from pathlib import Path

import pytest
import torch

from hf_speech.data.home import VARIABLE, preparation

from ..training.runs import command
from .corpora import write_corpora
from .small import NAMES, recipe, write_checkpoints


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Many small networks: a second thread costs more than it brings."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the corpora of all recipes, each made by the command that is shown where it is absent."""
    place = tmp_path_factory.mktemp("corpora")
    write_corpora(place)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        for name in dict.fromkeys(str(recipe(name).data.dataset) for name in NAMES):
            words = shlex.split(str(preparation(name, "prepared")))
            small = ["--speakers-per-gender", "4"] if name.endswith("tiny_few") else []
            assert words[0] == "hf-speech" and command(*words[1:], *small) == 0, name
    return place / "prepared"


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Encoder that a recipe names -> a small one of its kind."""
    return write_checkpoints(tmp_path_factory.mktemp("checkpoints"))


@pytest.fixture
def data_home(prepared: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The same where commands look for it; the current folder is empty."""
    monkeypatch.setenv(VARIABLE, str(prepared))
    monkeypatch.chdir(tmp_path)
    return prepared
