"""The Spaces of the package: pushed with all they need, and running as the Hub runs them."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from hf_speech.demo.serving import KINDS
from hf_speech.hub.spaces import lay_out_space, shipped_spaces
from hf_speech.shipped import shipped_folder

from ..loopback.server import Hub
from .conftest import Command
from .test_push import files_of


def test_each_page_is_a_space_with_a_header_of_the_hub() -> None:
    assert sorted(KINDS) == shipped_spaces()
    for kind in KINDS:
        folder = shipped_folder("spaces") / kind
        header = yaml.safe_load((folder / "README.md").read_text().split("---\n")[1])
        assert header["sdk"] == "gradio" and header["app_file"] == "app.py" and len(header["short_description"]) <= 60
        assert f'space("{kind}")' in (folder / "app.py").read_text()
        assert (folder / "requirements.txt").read_text() == "hf_speech[demo]\n"


def test_it_is_pushed_with_the_package_and_its_model(hub: Hub, ada: Command, tmp_path: Path) -> None:
    url, *_ = ada("push-space", "speaker_map", "voices-map", "--model", "ada/voices")
    assert url == f"{hub.endpoint}/spaces/ada/voices-map"
    files = files_of(hub, "ada/voices-map")
    header = yaml.safe_load(files["README.md"].decode().split("---\n")[1])
    assert header["models"] == ["ada/voices"] and header["title"] == "Who sounds like whom?"
    assert {"app.py", "hf_speech/demo/pages.py", "hf_speech/models/modeling.py"} <= set(files)
    assert "hf_speech/samples/audio/ada-test-1.flac" in files
    requirements = files["requirements.txt"].decode().splitlines()
    assert any(line.startswith("gradio") for line in requirements)
    assert any(line.startswith("silero-vad") for line in requirements)
    assert not [line for line in requirements if "hf_speech" in line or "pytest" in line]
    assert not [name for name in files if "__pycache__" in name or "dataset_scripts" in name]


@pytest.mark.slow
def test_what_is_laid_out_runs_without_the_package(tmp_path: Path) -> None:
    """From its own folder, where nothing but what it brought is called hf_speech."""
    folder = lay_out_space("speech_classification", tmp_path / "space", "ada/voices")
    code = "import hf_speech.demo.serving as s; import hf_speech.demo.pages; print(s.__file__);"
    code += "from pathlib import Path; print(s._models_of_header(Path('README.md')))"
    run = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=120)
    assert run.stdout.splitlines() == [str(folder / "hf_speech" / "demo" / "serving.py"), "['ada/voices']"], run.stderr


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["nothing", "x"], "there is no such folder, nor Space of the package; give one, or one of: speaker_map"),
        (["speaker_map", "x", "--model", "/a/folder"], "a Space takes its model from the Hub; give OWNER/NAME"),
    ],
)
def test_bad_input_is_one_line(ada: Command, words: list[str], line: str) -> None:
    assert line in ada.refused("push-space", *words)
