"""Folders to push, made once."""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import huggingface_hub
import pytest

from hf_speech.hub import connection

from ..loopback.server import Hub
from ..training.runs import command
from .folders import finished_model


@pytest.fixture(scope="session")
def made_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished model; not to be changed."""
    return finished_model(tmp_path_factory.mktemp("finished") / "emotion-tiny")


@pytest.fixture
def model(made_model: Path, tmp_path: Path) -> Path:
    """A finished model of the test's own."""
    return Path(shutil.copytree(made_model, tmp_path / made_model.name))


@dataclass
class Command:
    """`hf-speech` as ada gives it in this process, and as anybody in a process of their own."""

    hub: Hub
    home: Path
    patch: pytest.MonkeyPatch
    captured: pytest.CaptureFixture[str]

    def __call__(self, *words: object) -> list[str]:
        """Runs a command that has to do what it is asked for -> the lines that it prints."""
        self.captured.readouterr()
        assert command(*words) == 0, self.captured.readouterr().err
        return self.captured.readouterr().out.splitlines()

    def refused(self, *words: object) -> str:
        """Runs a command that has to refuse -> its one line; no token is in it."""
        self.captured.readouterr()
        status = command(*words)
        printed = self.captured.readouterr()
        line = [line for line in printed.err.splitlines() if line.startswith("hf-speech ")]
        assert (status, len(line)) == (2, 1), printed
        assert not any(token in printed.err + printed.out for token in self.hub.users.values())
        return line[0]

    def process(self, *words: object) -> list[str]:
        """Runs a command in a process of its own, where all libraries know this Hub -> the lines that it prints."""
        command = [sys.executable, "-m", "hf_speech.cli", *map(str, words)]
        run = subprocess.run(command, env=self.environment(), capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stderr[-3_000:]
        return run.stdout.splitlines()

    def log_in(self, token: str | None) -> None:
        """Takes another token, or none."""
        self.patch.delenv("HF_TOKEN", raising=False)
        if token is not None:
            self.patch.setenv("HF_TOKEN", token)

    def environment(self, home: Path | None = None, **more: str) -> dict[str, str]:
        """For a process of ada's own, with a fresh cache if no other is given."""
        return self.hub.environment(home or self.home, token=self.hub.token("ada"), **more)


@pytest.fixture
def ada(
    hub: Hub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Command:
    """The command line of ada, who knows no other Hub."""
    home = tmp_path / "hf-home"
    for name, value in hub.environment(home, token=hub.token("ada")).items():
        monkeypatch.setenv(name, value)
    # What the client reads from the environment when it is imported, which it was long ago.
    told = {"ENDPOINT": hub.endpoint, "HF_HUB_CACHE": str(home / "hub"), "HF_TOKEN_PATH": str(home / "token")}
    told["HUGGINGFACE_CO_URL_TEMPLATE"] = hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    for name, value in told.items():
        monkeypatch.setattr(huggingface_hub.constants, name, value)
    monkeypatch.setattr(connection, "WAITS", (0.05,) * 5)
    return Command(hub, home, monkeypatch, capsys)
