"""A folder of features: of which model and data it is, and which of its parts are whole.

<folder>/manifest.json        of what they are: written first
<folder>/layer7/...           files of a layer, one a part, each under its name when it is whole
<folder>/parts/00000.json     a part's files, with size and SHA-256: written when they are there
<folder>/features.json        the facts, when all is there
"""

import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import locked, replacing, sha256_of

logger = logging.getLogger(__name__)

MANIFEST, FACTS, PARTS = "manifest.json", "features.json", "parts"
# Files of ours, beside which there may be others; the notes first, so that none speaks of what is gone.
_WRITTEN: tuple[str, ...] = (FACTS, f"{PARTS}/[0-9]*.json", "layer[0-9]*/part-[0-9]*.parquet")
_WRITTEN += ("layer[0-9]*/feats.[0-9]*.ark", "layer[0-9]*/feats.scp")
_WRITTEN += ("embeddings.parquet", "embeddings.ark", "embeddings.scp")
_HALF_WRITTEN = ("layer*/.part-*.parquet", "layer*/.feats.*", ".embeddings.*", f"{PARTS}/.*.json")


class FeatureFolder:
    """Features of one model and data.

    Args:
        path: of the folder.

    Raises:
        InputError: it can't be made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{path}: can't be made ({error.strerror}); give another --output-dir") from error

    @contextmanager
    def alone(self) -> Iterator[None]:
        """While one command writes there, others are refused; the lock leaves with the process.

        Raises:
            InputError: another one writes there.
        """
        handle = os.open(self.path, os.O_RDONLY)
        try:
            if locked(handle, patience=0) is False:
                raise InputError(
                    f"{self.path}: another process writes there; wait for it, or give another --output-dir"
                )
            yield
        finally:
            os.close(handle)

    def claim(self, identity: Mapping[str, Any], overwrite: bool) -> None:
        """Says of what the features are, before any is there.

        Args:
            identity: all that decides them, as JSON has it.
            overwrite: whether features of something else go.

        Raises:
            InputError: there are such, or a model, or files of such names without a manifest.
        """
        wanted, manifest = json.loads(json.dumps(identity)), self.path / MANIFEST
        if (self.path / "config.json").exists():
            raise InputError(f"{self.path}: holds a model; give another --output-dir")
        there = self._read(manifest)
        if there is None and (foreign := _files(self.path, _WRITTEN)):
            if not overwrite:
                raise InputError(
                    f"{foreign[0]}: would be lost, and no {MANIFEST} says that `embed` wrote it; give another "
                    "--output-dir, or --overwrite"
                )
            self._clear()
        if there is not None and there != wanted:
            differ = sorted(name for name in {*there, *wanted} if there.get(name) != wanted.get(name))
            if not overwrite:
                raise InputError(
                    f"{self.path}: holds features that differ by {', '.join(differ)}; give another --output-dir, "
                    "or --overwrite"
                )
            self._clear()
        for left in [] if there is None else _files(self.path, _HALF_WRITTEN):  # by a process that was killed
            left.unlink()
        self._write(manifest, wanted)

    def part(self, number: int) -> dict[str, Any] | None:
        """What was noted of a part, if all its files are what they were."""
        facts = self._read(self.path / PARTS / f"{number:05d}.json")
        if facts is None:
            return None
        for file in facts["files"]:
            path = self.path / file["file"]
            if not path.is_file() or path.stat().st_size != file["bytes"] or sha256_of(path) != file["sha256"]:
                logger.warning("%s is missing or damaged: its part is computed anew", path)
                return None
        return facts

    def note(self, number: int, files: Sequence[Path], facts: Mapping[str, Any]) -> None:
        """Notes that a part is whole."""
        listed = [
            {"file": str(path.relative_to(self.path)), "bytes": path.stat().st_size, "sha256": sha256_of(path)}
            for path in files
        ]
        (self.path / PARTS).mkdir(exist_ok=True)
        self._write(self.path / PARTS / f"{number:05d}.json", {"files": listed, **facts})

    def noted(self, number: int) -> dict[str, Any]:
        """What was noted of a part that is there."""
        facts = self._read(self.path / PARTS / f"{number:05d}.json")
        assert facts is not None
        return facts

    def finish(self, facts: Mapping[str, Any]) -> None:
        """Writes the facts: all is there."""
        self._write(self.path / FACTS, facts)

    def unfinish(self) -> None:
        """Takes them away, while some is missing."""
        (self.path / FACTS).unlink(missing_ok=True)

    def _clear(self) -> None:
        """Takes away what a command like this one has written."""
        for path in _files(self.path, _WRITTEN):
            path.unlink()
        for path in [*self.path.glob("layer[0-9]*"), self.path / PARTS]:
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()

    def _read(self, path: Path) -> Any:
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(content, dict):
                raise ValueError
            return content
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: can't be read; delete it, or give another --output-dir") from error

    def _write(self, path: Path, content: Mapping[str, Any]) -> None:
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _files(folder: Path, patterns: Sequence[str]) -> list[Path]:
    return [path for pattern in patterns for path in folder.glob(pattern) if path.is_file()]
