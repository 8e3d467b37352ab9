"""Folders that travel with the package: at the top of a clone, inside the package in a wheel."""

from pathlib import Path

from .errors import InputError

_PACKAGE = Path(__file__).resolve().parent


def shipped_folder(name: str) -> Path:
    """Where a folder such as `model_cards` lies.

    Raises:
        InputError: the installation lacks it.
    """
    for folder in (_PACKAGE / name, _PACKAGE.parent / name):
        if folder.is_dir():
            return folder
    raise InputError(f"{_PACKAGE}: no {name} in this installation; install the package again")
