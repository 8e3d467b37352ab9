"""Where the utterances of a list lie on disk: which are missing, and which files there nobody asks for."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..data.stored import AUDIO_EXTENSIONS, is_hidden
from ..errors import InputError
from .trials import without_extension


@dataclass(frozen=True)
class AudioFiles:
    """The utterances of a list, below a folder.

    Attributes:
        root: the folder.
        found: name -> its file.
        missing: names without a file.
        unused: audio files (paths below the folder) that no name stands for, sorted.
    """

    root: Path
    found: dict[str, Path]
    missing: list[str]
    unused: list[str]

    def facts(self) -> dict[str, Any]:
        """How many there are of each, for results.json."""
        return {"used_files": len(self.found), "missing_files": len(self.missing), "unused_files": len(self.unused)}


def find_audio(names: Iterable[str], root: str | os.PathLike[str]) -> AudioFiles:
    """Looks for utterances, named by path with or without the extension of an audio file.

    Links to folders are followed, hidden files passed over. A name may also be absolute, or climb with `..`.

    Args:
        names: of utterances.
        root: the folder that the names begin at.

    Raises:
        InputError: there is no such folder, or a name may be several files.
    """
    folder = Path(root)
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder; give the one that the paths of the trials begin at")
    stems: dict[str, list[str]] = {}
    files = list(_files(str(folder)))
    for file in files:
        stems.setdefault(without_extension(file), []).append(file)
    found: dict[str, Path] = {}
    missing, used = [], set()
    for name in dict.fromkeys(names):
        there = _exactly(name, stems) or [os.path.relpath(folder / path, folder) for path in _anywhere(folder, name)]
        if len(there) > 1:
            listed = ", ".join(sorted(there))
            raise InputError(f"{folder}: {name} may be {listed}; keep one of them there")
        used.update(there)
        if there:
            found[name] = folder / there[0]
        else:
            missing.append(name)
    unused = sorted(file for file in files if file not in used and without_extension(file) != file)
    return AudioFiles(folder, found, missing, unused)


def _exactly(name: str, stems: dict[str, list[str]]) -> list[str]:
    """The file of that very name, else those that differ from it by an extension of audio."""
    near = stems.get(without_extension(name), [])
    return [name] if name in near else near if name == without_extension(name) else []


def _anywhere(folder: Path, name: str) -> list[str]:
    """The same, asked of the disk: for names that lead out of the folder, or through a link that was not followed."""
    if (folder / name).is_file():
        return [name]
    if name != without_extension(name):
        return []
    return [name + extension for extension in sorted(AUDIO_EXTENSIONS) if (folder / (name + extension)).is_file()]


def _files(root: str) -> Iterator[str]:
    """Paths below the folder, with "/"; a folder that several links lead to is looked at once."""
    seen: set[tuple[int, int]] = set()
    for place, folders, files in os.walk(root, followlinks=True):
        status = os.stat(place)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(folder for folder in folders if not is_hidden(folder))
        below = os.path.relpath(place, root)
        prefix = "" if below == os.curdir else below.replace(os.sep, "/") + "/"
        yield from (prefix + file for file in files if not is_hidden(file))
