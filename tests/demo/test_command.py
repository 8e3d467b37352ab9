"""`hf-speech demo`: what it shows, what it refuses, and that it ends when it is told to."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from gradio_client import Client, handle_file

from hf_speech.cli import main
from hf_speech.samples import sample_files

from .processes import Server, free_port


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line of a command that ends with status 2."""
    capsys.readouterr()
    assert main(["demo", *words]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("hf-speech demo")]
    return line


@pytest.mark.slow
def test_it_serves_what_the_model_can_and_ends_by_ctrl_c(voices: Path) -> None:
    port = free_port()
    server = Server(["-m", "hf_speech.cli", "demo", str(voices), "--port", str(port)])
    assert f"the page is at http://127.0.0.1:{port}/; Ctrl-C ends it" in server.said
    client = Client(server.url, verbose=False)
    assert set(client.view_api(return_format="dict")["named_endpoints"]) == {"/classify", "/verify", "/lay_out"}
    assert client.predict(handle_file(sample_files(1)[0]), str(voices), api_name="/classify")["tasks"]
    status, _, said = server.end(signal.SIGINT)
    assert status == 130 and said.splitlines()[-1] == "hf-speech demo: interrupted"
    assert "Traceback" not in said


@pytest.mark.slow
def test_a_request_is_answered_to_its_end_when_the_server_is_told_to_end(voices: Path, tmp_path: Path) -> None:
    """And what a server that was killed has left is gone when the next one runs; what a living one has is not."""
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    left, living = (tmp_path / f"hf-speech-demo-{pid}-x" for pid in (ended.pid, os.getpid()))
    for folder in (left, living):
        (folder / "deep").mkdir(parents=True)
        (folder / "deep" / "voice.wav").touch()
    code = (
        "import sys, time; from hf_speech.demo import Limits, Models, answers, serve; ask = answers.classify\n"
        "def slowly(*given):\n"
        "    print('begun', flush=True); time.sleep(1.0); said = ask(*given); print('done', flush=True); return said\n"
        "answers.classify = slowly\n"
        "import logging; logging.basicConfig(level=logging.INFO, format='%(message)s')\n"
        "serve(['speech_classification'], Models([sys.argv[1]]), Limits(), port=int(sys.argv[2]))"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    environment.pop("GRADIO_TEMP_DIR", None)
    server = Server(["-c", code, str(voices), str(free_port())], environment)
    assert not left.exists() and (living / "deep" / "voice.wav").is_file()
    api = f"{server.url}gradio_api"  # no connection stays open, which the server would wait for
    (path,) = httpx.post(f"{api}/upload", files={"files": Path(sample_files(1)[0]).open("rb")}).json()
    file = {"path": path, "meta": {"_type": "gradio.FileData"}}
    assert httpx.post(f"{api}/call/classify", json={"data": [file, ""]}).status_code == 200
    assert server.process.stdout is not None and server.process.stdout.readline() == "begun\n"
    assert list(tmp_path.glob(f"hf-speech-demo-{server.process.pid}-*/*/*"))
    status, words, said = server.end(signal.SIGTERM)
    assert (status, words) == (0, "done\n") and "Traceback" not in said, said
    assert not list(tmp_path.glob(f"hf-speech-demo-{server.process.pid}-*"))


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


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--port", "80000"), "--port 80000: there is no such port; give one from 1 to 65535"),
        (("--host", "192.0.2.1"), "can't listen at 192.0.2.1, port any (Cannot assign requested address); give ano"),
    ],
)
def test_an_address_that_can_not_be_had(
    flags: tuple[str, ...], said: str, voices: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in refused(capsys, str(voices), *flags)


def test_a_port_that_is_taken(voices: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = refused(capsys, str(voices), "--port", str(port))
    assert f"can't listen at 127.0.0.1, port {port} (Address already in use); give another --port" in line
