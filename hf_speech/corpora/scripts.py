"""The corpus scripts: `dataset_scripts/` in a clone, a folder of data inside the package in a wheel."""

import importlib.util
import inspect
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

from ..errors import InputError, unknown_name
from ..shipped import shipped_folder
from .builder import CorpusBuilder

_SCRIPTS = "hf_speech_scripts"


def scripts_folder() -> Path:
    """Where the scripts lie."""
    return shipped_folder("dataset_scripts")


def corpus_names() -> list[str]:
    """The corpora that have a script, sorted."""
    folder = scripts_folder()
    return sorted(path.name for path in folder.iterdir() if (path / f"{path.name}.py").is_file())


def card_of(name: str) -> Path:
    """The data set card beside a script."""
    return scripts_folder() / name / "README.md"


@cache
def load_builder(name: str) -> type[CorpusBuilder]:
    """The builder class of a corpus script.

    Raises:
        InputError: there is no such script.
    """
    if name not in corpus_names():
        raise unknown_name(name, corpus_names(), "corpus")
    # Under a name of its own: `datasets` names a builder after its module, and pickles find it again in this process.
    sys.modules.setdefault(_SCRIPTS, ModuleType(_SCRIPTS))
    full_name = f"{_SCRIPTS}.{name}"
    spec = importlib.util.spec_from_file_location(full_name, scripts_folder() / name / f"{name}.py")
    if spec is None or spec.loader is None:
        raise InputError(f"{name}: its script can't be loaded; install the package again")
    module = importlib.util.module_from_spec(spec)
    sys.modules[full_name] = module
    spec.loader.exec_module(module)
    found = [kind for _, kind in inspect.getmembers(module, inspect.isclass) if kind.__module__ == full_name]
    return next(kind for kind in found if issubclass(kind, CorpusBuilder))
