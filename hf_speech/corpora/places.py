"""Where the audio of a row lies, a file or a member of a zip archive: the columns that say so, and how to read it.

A table of rows holds a place as columns, so that a million of them take no Python objects:

    path      the file; for a member `archive.zip/member`
    archive   the zip archive; null for a file
    offset, packed, size, method, crc   of the member: where its header begins, bytes as stored, bytes unpacked, how it
              is packed (0 or 8), CRC-32; null for a file
"""

import hashlib
import io
import os
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ..errors import InputError

PLACE = pa.schema(
    {
        "path": pa.string(),
        "archive": pa.dictionary(pa.int32(), pa.string()),
        "offset": pa.int64(),
        "packed": pa.int64(),
        "size": pa.int64(),
        "method": pa.int8(),
        "crc": pa.uint32(),
    }
)
STORED, DEFLATED = 0, 8
_LOCAL_HEADER = struct.Struct("<4s5H3L2H")  # APPNOTE.TXT 6.3.10, section 4.3.7
_PIECE = 1 << 16  # bytes read from an archive at a time


@dataclass(frozen=True)
class Member:
    """A member of a zip archive, as the columns of `PLACE` have it."""

    path: str
    archive: str
    offset: int
    packed: int
    size: int
    method: int
    crc: int


def place_of(row: Mapping[str, Any]) -> str | Member:
    """The file, or the member, of a row with the columns of `PLACE` (or with `path` alone)."""
    if row.get("archive") is None:
        return str(row["path"])
    return Member(**{name: row[name] for name in PLACE.names})


def open_place(place: str | Member) -> "str | MemberFile":
    """What `audio_info` and `read_audio` take: a path, or a binary file that unpacks no more than is read."""
    return place if isinstance(place, str) else MemberFile(place)


def read_place(place: str | Member) -> bytes:
    """All bytes; those of a member are compared with its CRC-32.

    Raises:
        InputError: missing, cut short, or damaged.
    """
    if isinstance(place, Member):
        with MemberFile(place) as file:
            return file.read_whole()
    try:
        with open(place, "rb") as file:
            return file.read()
    except OSError as error:
        raise InputError(f"{place}: can't be read ({error.strerror}); check the path") from error


class MemberFile(io.RawIOBase):
    """A member of a zip archive as a seekable file; a packed one is unpacked from its start, as far as is read.

    One that can't be unpacked ends there: libsndfile calls from C, where an exception would be printed and lost. Only
    `read_whole` raises.

    Raises:
        InputError: the archive is not there, or the member's header is not where the directory says.
    """

    def __init__(self, member: Member) -> None:
        self.member = member
        self.name = member.path
        self._archive = _open_archive(member.archive)
        self._file = self._archive.number
        self._place = 0
        header = os.pread(self._file, _LOCAL_HEADER.size, member.offset)
        if len(header) < _LOCAL_HEADER.size or header[:4] != b"PK\x03\x04":
            raise InputError(f"{member.path}: its archive is cut short or was changed; get the archive again")
        name_length, extra_length = _LOCAL_HEADER.unpack(header)[-2:]
        self._begin = member.offset + _LOCAL_HEADER.size + name_length + extra_length
        self._unpacked = bytearray()
        self._taken = 0
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """Where the next read begins."""
        return self._place

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go there; nothing is unpacked yet."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self.member.size}[whence]
        self._place = max(0, base + offset)
        return self._place

    def read(self, size: int | None = -1) -> bytes:
        """So many bytes, fewer at the end; all that follow for -1."""
        end = self.member.size if size is None or size < 0 else min(self._place + size, self.member.size)
        if end <= self._place:
            return b""
        if self.member.method == STORED:
            content = _read_at(self._file, self._begin + self._place, end - self._place)
        else:
            self._unpack(end)
            content = bytes(self._unpacked[self._place : end])
        self._place += len(content)
        return content

    def read_whole(self) -> bytes:
        """All bytes, compared with the CRC-32.

        Raises:
            InputError: cut short, or damaged.
        """
        self.seek(0)
        content = self.read()
        if len(content) != self.member.size or zlib.crc32(content) != self.member.crc:
            raise InputError(f"{self.name}: damaged in the archive (its CRC-32 differs); get the archive again")
        return content

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer; the number of bytes."""
        content = self.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def _unpack(self, end: int) -> None:
        while len(self._unpacked) < end and not self._inflate.eof:
            piece = self._inflate.unconsumed_tail
            if not piece:
                left = self.member.packed - self._taken
                piece = os.pread(self._file, min(_PIECE, left), self._begin + self._taken)
                self._taken += len(piece)
            try:
                # A piece may unpack to a thousand times its size: no more is taken than is wanted, or a piece.
                unpacked = self._inflate.decompress(piece, max(end - len(self._unpacked), _PIECE))
            except zlib.error:
                self._taken = self.member.packed
                return
            if not piece and not unpacked:
                return
            self._unpacked += unpacked


def _read_at(file: int, start: int, size: int) -> bytes:
    """So many bytes, fewer at the end of the file; the system reads no more than 2 GiB at once."""
    pieces = []
    while size:
        piece = os.pread(file, min(size, 1 << 30), start)
        if not piece:
            break
        pieces.append(piece)
        start, size = start + len(piece), size - len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


class _OpenArchive:
    """An archive, open until nobody uses it; reads name their place, so threads share it."""

    def __init__(self, path: str) -> None:
        self.number = os.open(path, os.O_RDONLY)

    def __del__(self) -> None:
        if hasattr(self, "number"):
            os.close(self.number)


def _open_archive(path: str) -> _OpenArchive:
    try:
        status = os.stat(path)
        return _kept_open(path, status.st_dev, status.st_ino, status.st_mtime_ns)
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror}); check the path") from error


@lru_cache(maxsize=64)
def _kept_open(path: str, *version: int) -> _OpenArchive:
    """Opened once, and again when another file has taken its place."""
    return _OpenArchive(path)


def sources_state(table: pa.Table) -> str:
    """A digest of the sizes and times of the files and archives that the rows of a table lie in."""
    archives = (
        table["archive"].cast(pa.string()) if "archive" in table.column_names else pa.nulls(len(table), pa.string())
    )
    digest = hashlib.sha256()
    for path in sorted(name for name in pc.unique(archives).to_pylist() if name is not None):
        digest.update(_state(path))
    last = None
    for batch in table.select(["path"]).filter(pc.is_null(archives)).to_batches(max_chunksize=10_000):
        for path in batch.column(0).to_pylist():
            if path != last:  # the segments of a file are neighbours
                digest.update(_state(path))
            last = path
    return digest.hexdigest()[:16]


def _state(path: str) -> bytes:
    try:
        found = os.stat(path)
    except OSError:
        return b"absent "
    return b"%d %d " % (found.st_size, found.st_mtime_ns)
