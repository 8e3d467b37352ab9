"""`hf-speech demo`: what it shows, what it refuses, and that it ends when it is told to."""

import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from gradio_client import Client, handle_file

from hf_speech.cli import main
from hf_speech.samples import sample_files


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line of a command that ends with status 2."""
    capsys.readouterr()
    assert main(["demo", *words]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("hf-speech demo")]
    return line


@pytest.mark.slow
def test_it_serves_what_the_model_can_and_ends_by_ctrl_c(voices: Path, tmp_path: Path) -> None:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    command = [sys.executable, "-m", "hf_speech.cli", "demo", str(voices), "--port", str(port)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if "the page is at" in line:
            break
    assert re.search(rf"the page is at http://127.0.0.1:{port}/; Ctrl-C ends it", said[-1]), said[-5:]
    client = Client(f"http://127.0.0.1:{port}/", verbose=False)
    assert set(client.view_api(return_format="dict")["named_endpoints"]) == {"/classify", "/verify", "/lay_out"}
    assert client.predict(handle_file(sample_files(1)[0]), str(voices), api_name="/classify")["tasks"]
    process.send_signal(signal.SIGINT)
    rest = process.communicate(timeout=60)[1]
    assert process.returncode == 130 and rest.splitlines()[-1] == "hf-speech demo: interrupted"
    assert "Traceback" not in rest


def test_bad_input_is_one_line(voices: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"{tmp_path}: can't be loaded as an audio classifier (" in refused(capsys, str(tmp_path))
    line = refused(capsys, str(voices), "--pages", "classify,guess")
    assert line.endswith("--pages classify,guess: there is no page guess; valid: classify, verify, map")
    assert "max_seconds is -1.0; give a number above 0" in refused(capsys, str(voices), "--max-seconds", "-1")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        line = refused(capsys, str(voices), "--port", str(port))
    assert f"can't listen at 127.0.0.1, port {port}" in line


def test_without_gradio_it_says_what_to_install(
    voices: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "hf_speech.demo.pages", None)
    assert "which is not installed: pip install 'hf_speech[demo]'" in refused(capsys, str(voices))
