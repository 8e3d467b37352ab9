"""The output folder of `prepare`: claimed by one run, filled at the end in one go, never left with half of a result.

What is finished waits in `<output>/.prepare/out/`. `publish.json` beside it says which files are to be moved to their
place and which old ones are to go; from then on the next run, whatever it is asked for, first does that to the end.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ..errors import InputError, list_some
from ..files import replacing

WORK, OUT, LOCK = ".prepare", "out", "lock"
PLAN = "plan.json"
PUBLISH = "publish.json"
AUDIT = "audit.json"


@contextlib.contextmanager
def claimed(output: Path) -> Iterator[Path]:
    """The work folder in an output folder, for this run alone; both go again if nothing was put there.

    Raises:
        InputError: another run is at it, or it can't be made.
    """
    work = output / WORK
    made = not output.exists()
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{output}: can't be made ({error.strerror}); give another --output-dir") from error
    try:
        with FileLock(work / LOCK, timeout=0):
            try:
                yield work
            finally:
                if not [path for path in work.iterdir() if path.name != LOCK]:
                    shutil.rmtree(work)
    except Timeout:
        raise InputError(f"{output}: another run is writing there; wait for it, or give another --output-dir") from None
    finally:
        if made and output.is_dir() and not list(output.iterdir()):
            output.rmdir()


def require_room(output: Path, overwrite: bool) -> None:
    """Refuse an output folder that holds a result which may not be replaced, or what is not ours.

    Raises:
        InputError: it does.
    """
    there = sorted(path.name for path in output.iterdir() if path.name != WORK)
    if not there:
        return
    if AUDIT not in there:
        raise InputError(f"{output}: holds other files ({list_some(there, 3)}); give a new --output-dir")
    if not overwrite:
        raise InputError(f"{output}: holds a prepared corpus already; give another --output-dir, or --overwrite")
    files_of(output)


def files_of(output: Path) -> list[str]:
    """The files that the audit.json of a prepared corpus names; none where there is no audit.json.

    Raises:
        InputError: it is not one that `prepare` wrote.
    """
    path = output / AUDIT
    if not path.exists():
        return []
    try:
        names = json.loads(path.read_text(encoding="utf-8"))["files"]
        inside = [(output / name).resolve().relative_to(output.resolve()).parts for name in names]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        inside = [()]
    if any(not parts or parts[0] == WORK for parts in inside):
        raise InputError(f"{path}: is not an audit that prepare wrote; move it away, or give another --output-dir")
    return list(names)


def clear(work: Path, but: str = LOCK) -> None:
    """Forget an unfinished run; its plan goes first, without which nothing else of it counts.

    Args:
        work: the work folder.
        but: a file that stays, beside the lock.
    """
    (work / PLAN).unlink(missing_ok=True)
    for path in work.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name not in (LOCK, but):
            path.unlink()


def publish(work: Path, files: list[str], key: dict[str, Any]) -> None:
    """Everything in `out` to its place.

    Args:
        work: the work folder.
        files: what is in `out`, audit.json among them.
        key: what was asked for.
    """
    output = work.parent
    old = sorted(set(files_of(output)) - set(files))
    with replacing(work / PUBLISH) as temporary:
        temporary.write_text(json.dumps({"files": files, "old": old, "key": key}), encoding="utf-8")
    finish_publishing(work)


def finish_publishing(work: Path) -> dict[str, Any] | None:
    """Do to the end what `publish` began; may be cut short and done again.

    Returns:
        What was asked for, or None where nothing had begun.
    """
    try:
        todo: dict[str, Any] = json.loads((work / PUBLISH).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    output = work.parent
    (work / PLAN).unlink(missing_ok=True)  # its shards are about to leave
    for name in todo["old"]:
        if (output / name).is_file():
            (output / name).unlink()
    for name in [*(name for name in todo["files"] if name != AUDIT), AUDIT]:
        if (work / OUT / name).is_file():
            (output / name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(work / OUT / name, output / name)
    clear(work, but=PUBLISH)
    (work / PUBLISH).unlink()
    return dict(todo["key"])
