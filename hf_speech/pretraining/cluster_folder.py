"""A folder of `hf-speech cluster`: what it writes is all there or none of it, and what is not its own stays.

<folder>/.partial   everything is made here
<folder>/.whole     the same, once it is all there: what an earlier command wrote goes
<folder>/.moving    the same, once that is gone: its files go to the folder, the facts last
"""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import InputError
from ..files import is_full, locked, to_disk
from .clusters import CODEBOOK, FACTS
from .frame_labels import FITTED_ON, LABELS

_PARTIAL, _WHOLE, _MOVING = ".partial", ".whole", ".moving"
_WRITTEN = re.compile("|".join([*map(re.escape, (FACTS, CODEBOOK, LABELS, FITTED_ON)), r"(all|\d+)-clus\.json"]))


def require_free(folder: Path, overwrite: bool) -> None:
    """Refuses a folder whose content would be lost; what a killed command was moving there is moved first.

    Args:
        folder: where to write.
        overwrite: whether what such a command writes may go.

    Raises:
        InputError: clusters lie there, files of their names that no `cluster` has written, or another process writes.
    """
    if any((folder / name).is_dir() for name in (_WHOLE, _MOVING)):
        with _alone(folder):
            _finish(folder)
    if (folder / FACTS).exists() and not overwrite:
        raise InputError(f"{folder}: holds clusters already; give another --output-dir, or --overwrite")
    for path in _written(folder):
        if path.is_dir():
            raise InputError(f"{path}: is a folder, in the place of a file; give another --output-dir")
        if not overwrite:
            raise InputError(
                f"{path}: would be lost, and no {FACTS} beside it says that `cluster` wrote it; give another "
                "--output-dir, or --overwrite"
            )


@contextmanager
def workplace(folder: Path, overwrite: bool = False) -> Iterator[Path]:
    """A folder to work in; at the end, its files take the place of those of an earlier command, the facts last.

    After an error it goes, and what was there before is as it was. What a killed command left goes at the next start;
    if all of it was made, and only some of it moved, the next start moves the rest.

    Args:
        folder: see `require_free`, which is asked as long as no other process can write there.
        overwrite: see there.

    Raises:
        InputError: see there; or the folder can't be made, or the disk is full.
    """
    partial = folder / _PARTIAL
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unmade(folder, error) from error
    with _alone(folder):
        _finish(folder)
        require_free(folder, overwrite)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            yield partial
            for path in partial.iterdir():
                to_disk(path)
            os.replace(partial, folder / _WHOLE)
            _finish(folder)
        except OSError as error:
            if not is_full(error, folder):
                raise
            raise InputError(f"{folder}: the disk is full; make room, or give a lower --sample-ratio") from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """While one command writes there, others are refused; the lock leaves with the process."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise _unmade(folder, error) from error
    try:
        if locked(handle, patience=0) is False:
            raise InputError(f"{folder}: another `cluster` writes there; wait for it, or give another --output-dir")
        yield
    finally:
        os.close(handle)


def _unmade(folder: Path, error: OSError) -> InputError:
    return InputError(f"{folder}: can't be made ({error.strerror}); give another --output-dir")


def _finish(folder: Path) -> None:
    """Moves what is whole to its place: from wherever a killed command was, the same again ends it."""
    whole, moving = folder / _WHOLE, folder / _MOVING
    if whole.is_dir():
        for old in _written(folder):
            old.unlink()
        os.replace(whole, moving)
    if moving.is_dir():
        for new in sorted(moving.iterdir(), key=lambda path: path.name == FACTS):
            os.replace(new, folder / new.name)
        moving.rmdir()


def _written(folder: Path) -> list[Path]:
    """What lies there under the names of what a `cluster` writes, the facts first."""
    there = folder.iterdir() if folder.is_dir() else ()
    return sorted((path for path in there if _WRITTEN.fullmatch(path.name)), key=lambda path: path.name != FACTS)
