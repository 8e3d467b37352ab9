"""Where what a frozen encoder says is kept: a folder an encoder, in it shards of tensors and a list of them.

    <frozen_cache>/<key>/manifest.json       which encoder, and each shard with its size and SHA-256
    <frozen_cache>/<key>/<digest>.safetensors

A shard is written under a hidden name, called by its own digest, and then listed; what is not in the list is not used.
So whatever was listed when a run is killed is there for the next one, and is never changed.
"""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..errors import InputError, list_some
from ..files import locked, replacing, sha256_of, to_disk
from .checkpoints import is_full

logger = logging.getLogger(__name__)

MANIFEST = "manifest.json"
SHARD_BYTES = 64_000_000  # of a whole shard
SHARD_SECONDS = 120.0  # a slow encoder's shards are smaller, so that a kill costs no more than this
_DIGITS = 32


class FrozenStore:
    """What one encoder has said.

    Args:
        cache: folder of all encoders; it is made if need be.
        identity: all that decides what the encoder says, as JSON has it.
        name: of the encoder, for whoever looks into the folder.

    Attributes:
        key: digest of the identity, and the name of the folder.
        folder: of this encoder.

    Raises:
        InputError: the folder can't be made, or its list can't be read or is that of another encoder.
    """

    def __init__(self, cache: Path, identity: Mapping[str, Any], name: str = "") -> None:
        self.identity, self.name = json.loads(json.dumps(identity)), name
        text = json.dumps(self.identity, sort_keys=True)
        self.key = hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]
        self.folder = cache.absolute() / self.key
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            mend = "give another folder as --frozen-cache"
            raise InputError(f"frozen_cache: {cache} can't be made ({error.strerror}); {mend}") from error
        self._own: list[dict[str, Any]] = []  # shards that this process wrote
        self._whole: set[str] = set()  # those that it knows to be what they were
        self._shards()

    def places(self, wanted: Collection[str]) -> dict[str, dict[str, str]]:
        """Where the entries lie that are there, of those that are wanted: entry -> {file, entry}.

        The size of every shard is looked at, and those that have some of the entries are read and compared with their
        digest.

        Raises:
            InputError: a shard that is missing or damaged.
        """
        found: dict[str, dict[str, str]] = {}
        for shard in self._shards():
            path = self.folder / shard["file"]
            self._check_size(path, shard["bytes"])
            try:
                with safe_open(path, framework="pt") as file:
                    entries = [name for name in file.keys() if name in wanted]
            except (OSError, SafetensorError) as error:
                raise self._refusal(path, "is damaged") from error
            if entries and path.name not in self._whole:
                if sha256_of(path) != shard["sha256"]:
                    raise self._refusal(path, "is damaged")
                self._whole.add(path.name)
            found |= {name: {"file": str(path), "entry": name} for name in entries}
        return found

    @contextmanager
    def alone(self) -> Iterator[None]:
        """While one process computes, others that want to wait for it; where a file system has no locks, nobody waits.

        The lock is the folder's own and leaves with the process, however that ends.
        """
        handle = os.open(self.folder, os.O_RDONLY)
        try:
            held = locked(handle, patience=0)
            if held is False:
                logger.info("%s: another process runs the encoder there; waiting for it", self.folder)
                held = locked(handle)
            if held:
                for path in self.folder.glob(".*"):  # what a killed process left half-written
                    path.unlink()
            yield
        finally:
            os.close(handle)

    def require_room(self, size: int) -> None:
        """Refuses to begin what the disk has no room for.

        Args:
            size: bytes that will be written.

        Raises:
            InputError: there are fewer.
        """
        free = shutil.disk_usage(self.folder).free
        if free < size:
            raise InputError(
                f"frozen_cache: {self.folder.parent} has room for {in_megabytes(free)}, and what the encoder says "
                f"takes about {in_megabytes(size)}; make room, or give another folder"
            )

    def write(self, entries: Mapping[str, Tensor]) -> None:
        """Adds a shard.

        Raises:
            InputError: the disk is full; what was there before is as it was.
        """
        temporary = self.folder / f".shard.{os.getpid()}.safetensors"
        try:
            save_file(dict(entries), temporary)
            to_disk(temporary)
            size, digest = temporary.stat().st_size, sha256_of(temporary)
            path = self.folder / f"{digest[:_DIGITS]}.safetensors"
            os.replace(temporary, path)
            self._own.append({"file": path.name, "bytes": size, "sha256": digest, "entries": len(entries)})
            self._whole.add(path.name)
            self._list(self._shards())
        except (OSError, RuntimeError, SafetensorError) as error:
            if isinstance(error, InputError) or not is_full(error, self.folder):
                raise
            raise InputError(
                f"{self.folder}: the disk is full; what was written before is kept: make room and give the same "
                "command again"
            ) from error
        finally:
            temporary.unlink(missing_ok=True)

    def _list(self, shards: list[dict[str, Any]]) -> None:
        content = {"name": self.name, "encoder": self.identity, "shards": shards}
        with replacing(self.folder / MANIFEST) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
            to_disk(temporary)

    def _shards(self) -> list[dict[str, Any]]:
        """All shards: those of the list, and our own, which another process may have left out where nothing locks."""
        path = self.folder / MANIFEST
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            there, shards = content["encoder"], [dict(shard) for shard in content["shards"]]
        except FileNotFoundError:
            return list(self._own)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise self._refusal(path, "can't be read") from error
        if there != self.identity:
            names = {*there, *self.identity} if isinstance(there, dict) else set()
            differ = sorted(name for name in names if there.get(name) != self.identity.get(name))
            raise self._refusal(path, f"is of another encoder, by {list_some(differ, 3) or 'all it says'}")
        return [*shards, *(shard for shard in self._own if shard not in shards)]

    def _check_size(self, path: Path, size: int) -> None:
        if not path.is_file():
            raise self._refusal(path, "is missing")
        if path.stat().st_size != size:
            raise self._refusal(path, f"has {path.stat().st_size} bytes, not {size}")

    def _refusal(self, path: Path, what: str) -> InputError:
        return InputError(f"{path}: {what}; delete the folder {self.folder}, and it is computed anew")


def in_megabytes(size: int) -> str:
    """Bytes in words.

    >>> in_megabytes(37_748_736), in_megabytes(81_920)
    ('38 MB', '0.082 MB')
    """
    return f"{size / 1e6:.2g} MB" if size < 1e7 else f"{size / 1e6:,.0f} MB"
