"""The bytes of files: small ones in memory, those that came through LFS on disk, all named as git names them."""

import hashlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

CHUNK = 1 << 20


def git_oid(kind: str, data: bytes) -> str:
    """Git's name of an object: the SHA-1 of its kind, its length and its bytes."""
    return hashlib.sha1(f"{kind} {len(data)}\0".encode() + data, usedforsecurity=False).hexdigest()


@dataclass(frozen=True)
class Blob:
    """One content of a file: `data` in memory, or at `path` when it came through LFS.

    Attributes:
        size: In bytes.
        oid: Git's name of it; of the pointer when it came through LFS.
        sha256: Of the content, for LFS alone.
        pointer_size: Bytes of the LFS pointer.
    """

    size: int
    oid: str
    data: bytes = field(default=b"", repr=False)
    path: Path | None = None
    sha256: str | None = None
    pointer_size: int = 0

    @property
    def etag(self) -> str:
        """What the client calls the file in its cache."""
        return self.sha256 or self.oid

    def pieces(self, first: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """The bytes from `first` up to `stop`, a megabyte at a time."""
        stop = self.size if stop is None else stop
        if self.path is None:
            yield self.data[first:stop]
            return
        with open(self.path, "rb") as file:
            file.seek(first)
            while first < stop and (piece := file.read(min(CHUNK, stop - first))):
                first += len(piece)
                yield piece

    def read(self) -> bytes:
        """All of it."""
        return b"".join(self.pieces())


def regular_blob(data: bytes) -> Blob:
    """A file that git holds itself."""
    return Blob(len(data), git_oid("blob", data), data)


def lfs_blob(path: Path, sha256: str, size: int) -> Blob:
    """A file that git holds a pointer to."""
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()
    return Blob(size, git_oid("blob", pointer), path=path, sha256=sha256, pointer_size=len(pointer))


class BlobStore:
    """The LFS objects of one repository, by SHA-256, in a folder of their own."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._blobs: dict[str, Blob] = {}

    def get(self, sha256: str) -> Blob | None:
        """The object, or None where it was never sent."""
        return self._blobs.get(sha256)

    def add(self, sha256: str, source: IO[bytes]) -> bool:
        """Keeps what `source` gives, unless it is something else than its name says; tells whether it was kept."""
        self.folder.mkdir(parents=True, exist_ok=True)
        incoming = self.folder / f"{sha256}.incoming"
        with open(incoming, "wb") as file:
            shutil.copyfileobj(source, file, CHUNK)
        with open(incoming, "rb") as file:
            right = hashlib.file_digest(file, "sha256").hexdigest() == sha256
        if not right:
            incoming.unlink()
            return False
        path = incoming.replace(self.folder / sha256)
        self._blobs[sha256] = lfs_blob(path, sha256, path.stat().st_size)
        return True

    def clear(self) -> None:
        """Deletes all of them."""
        self._blobs.clear()
        shutil.rmtree(self.folder, ignore_errors=True)
