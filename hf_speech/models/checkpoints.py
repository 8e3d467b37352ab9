"""Files that other code bases wrote, read without running what they hold.

A PyTorch file is a pickle: loaded plainly, it can run any code. Here torch's restricted unpickler reads it, which makes
tensors, numbers, strings and plain containers. `argparse.Namespace`, in which fairseq and many scripts keep their
settings, is a bag of values and allowed too. Everything else is refused by name, also what the process has allowed
torch for files of its own (`torch.serialization.add_safe_globals`).
"""

import argparse
import os
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from .registry import InputError

ALLOWED = (argparse.Namespace,)
_REFUSED = re.compile(r"GLOBAL (\S+)")  # how torch's unpickler names what it refuses


def read_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What a checkpoint file holds, on the CPU.

    A PyTorch file is mapped into memory: what nobody looks at, such as an optimiser's state, is never read.

    Args:
        path: a file that `torch.save` wrote (.pt, .pth, .bin, .ckpt, .chkpt), of any age, or a .safetensors file.

    Raises:
        InputError: there is no such file; it is damaged or of another kind; it holds objects of other classes than
            those above (the first is named); or what it holds is no dictionary.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: {'a folder' if path.is_dir() else 'no such file'}; give a checkpoint file")
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    if not isinstance(content, dict):
        raise InputError(
            f"{path}: holds a {type(content).__name__}; give a checkpoint that is a dictionary, such as a state dict"
        )
    return content


def _read_safetensors(path: Path) -> dict[str, Any]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise _unreadable(path) from error


def _read_pickle(path: Path) -> Any:
    try:
        with _allowing_only(*ALLOWED):
            # Files from before torch 1.6 are no zip archives, and only those can be mapped.
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # the instructions of a damaged pickle can raise anything
        refused = _REFUSED.search(str(error))
        if refused is None:
            raise _unreadable(path) from error
        raise InputError(
            f"{path}: holds {refused[1]}, which is not read, since making foreign objects can run code; in the "
            "environment that wrote the file, save its state dict alone (safetensors.torch.save_file), or beside its "
            "settings as a plain dictionary (torch.save)"
        ) from error


@contextmanager
def _allowing_only(*classes: type) -> Iterator[None]:
    """Classes that torch reads beside its own; what else the process allows is put back afterwards."""
    before = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    torch.serialization.add_safe_globals(list(classes))
    try:
        yield
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)


def _unreadable(path: Path) -> InputError:
    return InputError(
        f"{path}: can't be read: it is damaged, cut short or no checkpoint of PyTorch or safetensors; fetch it again"
    )
