"""The wheel in a fresh environment: its scripts, its model recipes, and `prepare` from nowhere near a clone."""

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def call(*words: str | Path, cwd: Path) -> str:
    """What a command prints; a failure shows all it said."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    command = [str(word) for word in words]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=cwd, env=environment)
    assert run.returncode == 0, (run.stdout + run.stderr)[-3_000:]
    return run.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet"]
    call(*pip, "--no-deps", "--no-build-isolation", "--wheel-dir", folder, ROOT, cwd=folder)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a fresh environment's programs; the wheel is installed there, its dependencies are borrowed."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    site = next(folder.glob("lib/python*/site-packages"))
    # A path in a .pth file is searched, but .pth files found there are not read: so not the editable install.
    (site / "borrowed.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python, "install", "--quiet"]
    call(*pip, "--no-deps", "--no-index", wheel, cwd=folder)
    return folder / "bin"


def test_data_lies_inside_the_package(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"hf_speech"}
    for corpus in ("aishell4", "iemocap", "voxceleb"):
        assert f"hf_speech/dataset_scripts/{corpus}/{corpus}.py" in names
        assert f"hf_speech/dataset_scripts/{corpus}/README.md" in names
    recipes = {path.relative_to(ROOT).as_posix() for path in ROOT.glob("model_cards/*/train.yaml")}
    assert recipes
    assert recipes <= {name.removeprefix("hf_speech/") for name in names}


@pytest.mark.slow
def test_prepare_runs_from_the_wheel(environment: Path, tmp_path: Path) -> None:
    corpora: dict[str, list[str]] = {"aishell4": [], "iemocap": [], "voxceleb": ["--config-name", "full"]}
    code = "import sys, hf_speech, hf_speech.testing as testing; print(hf_speech.__file__)\n"
    code += "for name in sys.argv[1:]: getattr(testing, f'write_fake_{name}')(name)"
    where = call(environment / "python", "-c", code, *corpora, cwd=tmp_path).strip()
    assert Path(where).is_relative_to(environment.parent)
    said = {}
    for name, flags in corpora.items():
        words = ["prepare", name, "--data-dir", name, "--output-dir", f"{name}-out", *flags]
        said[name] = call(environment / "hf-speech", *words, cwd=tmp_path)
    code = "import sys; from datasets import load_dataset as load\n"
    code += "for name in sys.argv[1:]: print(load(f'{name}-out', cache_dir='cache')['train'].num_rows)"
    rows = call(environment / "python", "-c", code, *corpora, cwd=tmp_path).split()
    for name, count in zip(corpora, rows, strict=True):
        assert int(count) > 0 and f"train: {count} rows" in said[name]
