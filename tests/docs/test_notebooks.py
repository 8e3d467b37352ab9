"""The notebooks run, by this interpreter, with a few steps in place of their own; what they store is in order."""

import ast
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

from .pages import DOCS

NOTEBOOKS = sorted((DOCS / "notebooks").glob("*.ipynb"))


@pytest.fixture(scope="module")
def runner() -> Any:
    """docs/run_notebooks.py, which is no part of a package."""
    spec = importlib.util.spec_from_file_location("run_notebooks", DOCS / "run_notebooks.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def text_of(notebook: Any) -> str:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "".join(str(output.get("text", "")) for output in outputs if output.get("name") == "stdout")


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A kernel called python3 that is the running interpreter, whatever else is installed."""
    folder = tmp_path_factory.mktemp("jupyter")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_DATA_DIR", str(folder))
        patch.setenv("IPYTHONDIR", str(folder))
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.mark.usefixtures("kernel")
def test_the_way_of_fine_tuning(runner: Any, tmp_path: Path) -> None:
    said = text_of(runner.run(DOCS / "notebooks" / "finetune.ipynb", tmp_path, steps=3))
    assert "112 recordings" in said
    assert "n = 12, by utterance" in said  # validation: two sentences of six voices
    assert "n = 16, by utterance" in said  # test: all training sentences of dora and hal
    assert "below 1e-5: True" in said
    for name in ("speakers", "gender"):
        assert (tmp_path / "runs" / name / "model.safetensors").is_file()


@pytest.mark.usefixtures("kernel")
def test_the_way_of_verification(runner: Any, tmp_path: Path) -> None:
    said = text_of(runner.run(DOCS / "notebooks" / "verify.ipynb", tmp_path, steps=3))
    assert "eer " in said and "min_cllr" in said
    assert "the same with probability" in said
    assert "hal: heard as" in said
    assert sum(line.startswith(("0 ", "1 ")) for line in (tmp_path / "trials.txt").read_text().splitlines()) == 400
    assert (tmp_path / "voices.safetensors").is_file()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_what_is_stored_is_small_whole_and_of_no_machine(path: Path, runner: Any) -> None:
    assert path.stat().st_size < 200_000
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len(code) >= 6
    assert sum(len(runner.STEPS.findall(cell.source)) for cell in code) == 1
    assert any(cell.outputs for cell in code), "run `python docs/run_notebooks.py`"
    for cell in code:
        ast.parse(cell.source.replace("\n%", "\n#"))
        for output in cell.outputs:
            assert output.get("name") != "stderr" and output.output_type != "error"
            assert "/home" not in str(output.get("text", "")) and "/tmp" not in str(output.get("text", ""))
