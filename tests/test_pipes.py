"""A pipe that is closed before all was printed ends a command quietly, and nothing else is taken for one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hf_speech.pipes import is_closed, until_closed

WORDS = [["train", "--fields"], ["--help"], ["prepare", "iemocap", "--fields"]]


@pytest.mark.parametrize("words", WORDS, ids=" ".join)
def test_a_command_whose_output_nobody_reads_ends_quietly(words: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as nobody:
        run = subprocess.run(
            [sys.executable, "-m", "hf_speech.cli", *words],
            stdout=nobody,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
        )
    assert run.returncode == (0 if words == ["--help"] else 141) and not run.stderr  # argparse forgives a closed pipe


def test_a_broken_pipe_of_something_else_is_a_fault(capsys: pytest.CaptureFixture[str]) -> None:
    def breaks() -> int:
        raise BrokenPipeError("of a worker")

    with pytest.raises(BrokenPipeError, match="of a worker"):
        until_closed(breaks)
    assert until_closed(lambda: 2) == 2


def test_a_pipe_is_closed_when_its_reader_is(tmp_path: Path) -> None:
    read, write = os.pipe()
    with os.fdopen(write, "w") as stream:
        assert not is_closed(stream)
        os.close(read)
        assert is_closed(stream)
    with (tmp_path / "file.txt").open("w") as file:
        assert not is_closed(file)
