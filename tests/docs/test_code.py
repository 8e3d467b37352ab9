"""The Python on the pages: all of it compiles, what it takes from this package is there, and it runs where it can."""

import ast
import importlib
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from hf_speech.audio import read_audio, write_audio
from hf_speech.samples import sample_corpus
from hf_speech.training.arguments import read_config

from ..training.runs import train_tiny
from .pages import DOCS, PAGES, ROOT, Page

WITH_PYTHON = [page for page in PAGES if page.blocks("python")]
# What only a reader has: a name on the Hub, checkpoints of others, a server.
ABSENT = ("user/name", ".ckpt", ".chkpt", '.pt"', "127.0.0.1")
OF_THE_DOCS = [page for page in WITH_PYTHON if DOCS in page.path.parents or page.path == ROOT / "README.md"]
TRAINS = "Trainer("  # on the real speech, in a test of its own


@pytest.mark.parametrize("page", WITH_PYTHON, ids=lambda page: page.name)
def test_it_compiles_and_names_of_ours_are_there(page: Page) -> None:
    for block in page.blocks("python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "hf_speech":
                module = importlib.import_module(str(node.module))
                for alias in node.names:
                    assert hasattr(module, alias.name), f"{page.name}: {ast.unparse(node)}"
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    importlib.import_module(alias.name)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the pages speak of: a finished model under its names, recordings, the metrics."""
    folder = tmp_path_factory.mktemp("workplace")
    flags = ("--target", "speaker_id", "--test", "none", "--max-steps", 2)
    train_tiny(folder / "quickstart-model", sample_corpus(), *flags, num_train_epochs=1)
    (folder / "runs").mkdir()
    for name in ("speakers", "age"):
        shutil.copytree(folder / "quickstart-model", folder / "runs" / name)
    voices = sample_corpus().parent / "audio"
    names = {
        "one": "ada-test-1",
        "other": "ada-test-2",
        "who": "bea-test-1",
        "ada-1": "ada-test-3",
        "ada-2": "ada-test-4",
    }
    for name, sample in names.items():
        write_audio(folder / f"{name}.wav", read_audio(voices / f"{sample}.flac"))
        write_audio(folder / f"{name}.flac", read_audio(voices / f"{sample}.flac"))
    (folder / "hf_speech").mkdir()
    (folder / "hf_speech" / "metrics").symlink_to(ROOT / "hf_speech" / "metrics")
    return folder


@pytest.mark.parametrize("page", OF_THE_DOCS, ids=lambda page: page.name)
def test_it_runs(page: Page, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    files = sorted((sample_corpus().parent / "audio").glob("*-train-[12].flac"))
    names = {"training_files": files, "training_speakers": [path.name.split("-")[0] for path in files]}
    for block in page.blocks("python"):
        if not any(word in block for word in (*ABSENT, TRAINS)):
            exec(compile(block, page.name, "exec"), names)  # a page's blocks go on from one another


def test_most_blocks_run() -> None:
    blocks = [block for page in OF_THE_DOCS for block in page.blocks("python")]
    assert sum(not any(word in block for word in (*ABSENT, TRAINS)) for block in blocks) > 0.7 * len(blocks) > 10


def test_the_run_with_the_plain_trainer_trains(speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = [block for page in OF_THE_DOCS for block in page.blocks("python") if TRAINS in block]
    assert code.count("num_train_epochs=25") == 1
    code = code.replace("num_train_epochs=25", "max_steps=3").replace("runs/python", str(tmp_path))
    monkeypatch.chdir(ROOT)
    names: dict = {}
    exec(compile(code, "docs/ways/finetune.md", "exec"), names)
    assert names["train"].num_rows == 259
    assert names["model"].config.num_labels == 7
    assert (tmp_path / "checkpoint-3" / "model.safetensors").exists()


def test_the_configurations_shown_are_those_in_the_repository() -> None:
    files = [block for page in PAGES for block in page.blocks("yaml") if block.startswith("# model_cards/")]
    shown = {block.splitlines()[0].removeprefix("# "): block for block in files}
    assert len(shown) == 2
    for path, block in shown.items():
        assert yaml.safe_load(block) == yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def test_the_files_of_runs_that_are_shown_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pages = [page for page in PAGES if DOCS in page.path.parents]
    blocks = [block for page in pages for block in page.blocks("yaml") if not block.startswith("# model_cards/")]
    assert len(blocks) >= 2
    monkeypatch.chdir(tmp_path)
    for block in blocks:
        for folder in re.findall(r"folder: (\w+)", block):
            Path(folder).mkdir(exist_ok=True)
            write_audio(Path(folder, "room.wav"), np.eye(1, 1_600, dtype=np.float32)[0] / 2)  # one click
        path = tmp_path / "run.yaml"
        path.write_text(block if "backbone:" in block else f"backbone: x\n{block}", encoding="utf-8")
        read_config(path)
