"""The Spaces that come with the package, made ready to run on the Hub, where nobody has installed it."""

import re
import shutil
from collections.abc import Sequence
from importlib.metadata import requires
from pathlib import Path

import yaml

from ..errors import InputError
from ..shipped import shipped_folder
from .edits import read_card
from .parcel import CARD, metadata_of

_PACKAGE = Path(__file__).resolve().parents[1]
_ALWAYS = "python_version >= '3'"  # a condition that holds
# Of the package, what no page needs.
_STAY = ("__pycache__", "*.pyc", "model_cards", "dataset_scripts", "spaces", "cli", "corpora", "experiments", "hub")


def shipped_spaces() -> list[str]:
    """Names of the Spaces that come with the package."""
    return sorted(path.parent.name for path in shipped_folder("spaces").glob("*/app.py"))


def lay_out_space(name: str, folder: Path, model: str | None) -> Path:
    """Writes a Space with all it needs: its own files, the package beside app.py, and what the package requires.

    Args:
        name: of a Space that comes with the package.
        folder: an empty one.
        model: the model's name on the Hub, which goes into the header of its README.md; None: a variable of the Space
            will say it.

    Returns:
        The folder.

    Raises:
        InputError: no such Space, or a model's name that is none of the Hub.
    """
    if name not in shipped_spaces():
        raise InputError(f"{name}: no such Space comes with the package; valid: {', '.join(shipped_spaces())}")
    if model is not None and not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", model):
        raise InputError(f"--model {model}: a Space takes its model from the Hub; give OWNER/NAME")
    shutil.copytree(shipped_folder("spaces") / name, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*_STAY))
    shutil.copytree(_PACKAGE, folder / "hf_speech", ignore=shutil.ignore_patterns(*_STAY))
    (folder / "requirements.txt").write_text(
        "\n".join([*requirements_of(requires("hf_speech") or []), ""]), encoding="utf-8"
    )
    if model is not None:
        header = {**metadata_of(folder / CARD), "models": [model]}
        body = read_card(folder / CARD).partition("\n---\n")[2]
        text = yaml.safe_dump(header, sort_keys=False, allow_unicode=True)
        (folder / CARD).write_text(f"---\n{text}---\n{body}", encoding="utf-8")
    return folder


def requirements_of(lines: Sequence[str]) -> list[str]:
    """What the package and its pages require, of what the installed package says; other conditions stay as they are.

    >>> requirements_of(["numpy>=2", "av>=17; python_version < '3.13'", "pytest; extra == 'dev'"])
    ['numpy>=2', "av>=17; python_version < '3.13'"]
    >>> requirements_of(["gradio>=6; extra == 'demo'", "torch; (sys_platform == 'linux') and extra == 'demo'"])
    ['gradio>=6', "torch; (sys_platform == 'linux') and python_version >= '3'"]
    """
    found = []
    for line in lines:
        requirement, _, condition = (part.strip() for part in line.partition(";"))
        left = re.sub(r"\bextra\s*==\s*['\"]demo['\"]", _ALWAYS, condition)  # pip knows no extra in such a file
        if "extra" not in left:
            found.append(requirement if left in ("", _ALWAYS) else f"{requirement}; {left}")
    return found
