"""Where what a model has computed is kept: a folder a model, in it shards of tensors and lists of them.

    <cache>/<key>/manifest.json         which model, and each shard with its size and SHA-256
    <cache>/<key>/manifest.1.json       the same, of what a second writer has written; and so on
    <cache>/<key>/<digest>.safetensors

A shard is written under a hidden name, called by its own digest, and then listed; what is in no list is not used. So
whatever was listed when a run is killed is there for the next one, and is never changed. Processes that write at the
same time have a list each: none waits for another, and none writes over what another has listed.
"""

import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .errors import InputError, list_some
from .files import is_full, locked, replacing, sha256_of, to_disk

logger = logging.getLogger(__name__)

MANIFEST = "manifest.json"
SHARD_BYTES = 64_000_000  # of a whole shard
SHARD_SECONDS = 120.0  # a slow model's shards are smaller, so that a kill costs no more than this
ENTRY_BYTES = 200  # in a shard beside the numbers, and more: an entry's name, shape and place
_DIGITS = 32


class Store:
    """What one model has computed.

    Args:
        cache: folder of all models; it is made if need be.
        identity: all that decides what the model says, as JSON has it.
        name: of the model, for whoever looks into the folder.
        option: by which the folder was given, for messages.
        writer: number of this process among those that write at the same time.

    Attributes:
        key: digest of the identity, and the name of the folder.
        folder: of this model.

    Raises:
        InputError: the folder can't be made, or a list can't be read or is that of another model.
    """

    def __init__(
        self, cache: Path, identity: Mapping[str, Any], name: str = "", *, option: str = "cache", writer: int = 0
    ) -> None:
        self.identity, self.name, self.option = json.loads(json.dumps(identity)), name, option
        text = json.dumps(self.identity, sort_keys=True)
        self.key = hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]
        self.folder = cache.absolute() / self.key
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{option}: {cache} can't be made ({error.strerror}); give another folder") from error
        self._writer = writer
        self._manifest = self.folder / (f"manifest.{writer}.json" if writer else MANIFEST)
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

    def read(self, wanted: Collection[str]) -> dict[str, Tensor]:
        """The entries that are there, of those that are wanted.

        Raises:
            InputError: see `places`.
        """
        return dict(self.entries(wanted))

    def entries(self, wanted: Collection[str]) -> Iterator[tuple[str, Tensor]]:
        """The same one by one, file by file, so that memory holds no more than is kept of them.

        Raises:
            InputError: see `places`.
        """
        by_file: dict[str, list[str]] = {}
        for name, place in self.places(wanted).items():
            by_file.setdefault(place["file"], []).append(name)
        for path, names in by_file.items():
            with safe_open(path, framework="pt") as file:
                for name in names:
                    yield name, file.get_tensor(name)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """While one process computes, others that want to wait for it; where a file system has no locks, nobody waits.

        The lock is the folder's own and leaves with the process, however that ends.
        """
        handle = os.open(self.folder, os.O_RDONLY)
        try:
            held = locked(handle, patience=0)
            if held is False:
                logger.info("%s: another process computes there; waiting for it", self.folder)
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
        require_room(self.folder, size, self.option)

    @contextmanager
    def adding(self) -> Iterator[Callable[[Mapping[str, Tensor]], None]]:
        """Gives what takes entries, a few at a time, and writes them in shards of a good size; at the end the rest.

        Raises:
            InputError: see `write`.
        """
        shard: dict[str, Tensor] = {}
        held, begun = 0, time.monotonic()

        def keep(entries: Mapping[str, Tensor]) -> None:
            nonlocal held, begun
            shard.update(entries)
            held += sum(values.nbytes for values in entries.values())
            if held >= SHARD_BYTES or time.monotonic() - begun > SHARD_SECONDS:
                self.write(shard)
                shard.clear()
                held, begun = 0, time.monotonic()

        try:
            yield keep
        finally:  # after Ctrl-C too, and where a later entry is refused
            if shard:
                self.write(shard)

    def write(self, entries: Mapping[str, Tensor]) -> None:
        """Adds a shard.

        Raises:
            InputError: the disk is full; what was there before is as it was.
        """
        temporary = self.folder / f".shard.{self._writer}.{os.getpid()}.safetensors"
        try:
            save_file(dict(entries), temporary)
            to_disk(temporary)
            size, digest = temporary.stat().st_size, sha256_of(temporary)
            path = self.folder / f"{digest[:_DIGITS]}.safetensors"
            os.replace(temporary, path)
            self._own.append({"file": path.name, "bytes": size, "sha256": digest, "entries": len(entries)})
            self._whole.add(path.name)
            self._list()
        except (OSError, RuntimeError, SafetensorError) as error:
            if isinstance(error, InputError) or not is_full(error, self.folder):
                raise
            raise InputError(
                f"{self.folder}: the disk is full; what was written before is kept: make room and give the same "
                "command again"
            ) from error
        finally:
            temporary.unlink(missing_ok=True)

    def _list(self) -> None:
        """Writes this writer's list; a shard of ours that a process beside us left out, where nothing locks, too."""
        shards = self._listed(self._manifest)
        shards += [shard for shard in self._own if shard not in shards]
        content = {"name": self.name, "identity": self.identity, "shards": shards}
        with replacing(self._manifest) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
            to_disk(temporary)

    def _shards(self) -> list[dict[str, Any]]:
        """Those of all lists, and our own."""
        shards = [shard for path in sorted(self.folder.glob("manifest*.json")) for shard in self._listed(path)]
        return [*shards, *(shard for shard in self._own if shard not in shards)]

    def _listed(self, path: Path) -> list[dict[str, Any]]:
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            there, shards = content["identity"], [dict(shard) for shard in content["shards"]]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise self._refusal(path, "can't be read") from error
        if there != self.identity:
            names = {*there, *self.identity} if isinstance(there, dict) else set()
            differ = sorted(name for name in names if there.get(name) != self.identity.get(name))
            raise self._refusal(path, f"is of another model, by {list_some(differ, 3) or 'all it says'}")
        return shards

    def _check_size(self, path: Path, size: int) -> None:
        if not path.is_file():
            raise self._refusal(path, "is missing")
        if path.stat().st_size != size:
            raise self._refusal(path, f"has {path.stat().st_size} bytes, not {size}")

    def _refusal(self, path: Path, what: str) -> InputError:
        return InputError(f"{path}: {what}; delete the folder {self.folder}, and it is computed anew")


def require_room(folder: Path, size: int, option: str) -> None:
    """Refuses to begin what the disk has no room for.

    Args:
        folder: where it will be written; it is there.
        size: bytes.
        option: by which the folder was given, for messages.

    Raises:
        InputError: there are fewer.
    """
    free = shutil.disk_usage(folder).free
    if free < size:
        raise InputError(
            f"{option}: {folder.parent} has room for {in_megabytes(free)}, and what is to be kept takes "
            f"about {in_megabytes(size)}; make room, or give another folder"
        )


def in_megabytes(size: int) -> str:
    """Bytes in words.

    >>> in_megabytes(37_748_736), in_megabytes(81_920)
    ('38 MB', '0.082 MB')
    """
    return f"{size / 1e6:.2g} MB" if size < 1e7 else f"{size / 1e6:,.0f} MB"
