"""Files: written whole or not at all, flushed, locked, and known by their content."""

import contextlib
import csv
import errno
import fcntl
import hashlib
import math
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

_FULL = (errno.ENOSPC, errno.EDQUOT)
_ENOUGH = 1 << 20  # free bytes: below them a disk is full, whatever the library that wrote has called it


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary name beside `path` to write to; it takes the place of `path` at the end, or goes after an error.

    A device or a pipe, such as /dev/stdout, is written to itself: to replace it would take it from the whole machine.
    """
    path = Path(path)
    if path.exists() and not path.is_file() and not path.is_dir():
        yield path
        return
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_table(rows: Sequence[Mapping[str, Any]], path: str | os.PathLike[str]) -> None:
    """Rows of one shape, one or more, as a csv with a header."""
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def to_disk(path: Path) -> None:
    """Sees to it that a file or folder outlives the machine."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_full(error: BaseException, folder: Path) -> bool:
    """Whether an error is that of a full disk or quota: libraries tell it by number, by words, or not at all."""
    number = getattr(error, "errno", None)
    told = any(f"os error {code}" in str(error) for code in _FULL) or "No space left" in str(error)
    return number in _FULL or told or shutil.disk_usage(folder).free < _ENOUGH


def locked(handle: int, patience: float = math.inf) -> bool | None:
    """Locks an open file or folder; the lock leaves with the process, however that ends.

    Args:
        handle: its number.
        patience: seconds to wait for another process that has it.

    Returns:
        Whether it is ours now; None: the file system has no locks.
    """
    until = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= until:
                return False
            time.sleep(0.1)
        except OSError:
            return None
