"""Where the audio of a row lies, a file or a member of a zip archive: the columns that say so, and how to read it.

A table of rows holds a place as columns, so that a million of them take no Python objects:

    path      the file; for a member `archive.zip/member`
    archive   the zip archive; null for a file
    offset, packed, size, method, crc   of the member: where its header begins, bytes as stored, bytes unpacked, how it
              is packed (0 or 8), CRC-32; null for a file
"""

import io
import os
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pyarrow as pa

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
            content = file.read()
        if len(content) != place.size or zlib.crc32(content) != place.crc:
            raise InputError(f"{place.path}: damaged in the archive (its CRC-32 differs); get the archive again")
        return content
    try:
        with open(place, "rb") as file:
            return file.read()
    except OSError as error:
        raise InputError(f"{place}: can't be read ({error.strerror}); check the path") from error


class MemberFile(io.RawIOBase):
    """A member of a zip archive as a seekable file; a packed one is unpacked from its start, as far as is read.

    Raises:
        InputError: the archive is not there, its header is not where the directory says, or it can't be unpacked.
    """

    def __init__(self, member: Member) -> None:
        self.member = member
        self.name = member.path
        self._file = _archive(member.archive)
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
            content = os.pread(self._file, end - self._place, self._begin + self._place)
        else:
            self._unpack(end)
            content = bytes(self._unpacked[self._place : end])
        self._place += len(content)
        return content

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer; the number of bytes."""
        content = self.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def _unpack(self, end: int) -> None:
        while len(self._unpacked) < end and self._taken < self.member.packed:
            piece = os.pread(self._file, min(_PIECE, self.member.packed - self._taken), self._begin + self._taken)
            if not piece:
                break
            self._taken += len(piece)
            try:
                self._unpacked += self._inflate.decompress(piece)
            except zlib.error as error:
                raise InputError(f"{self.name}: damaged in the archive ({error}); get the archive again") from error


@lru_cache(maxsize=64)
def _archive(path: str) -> int:
    """An open archive, kept open: reads name their place, so threads share it."""
    try:
        return os.open(path, os.O_RDONLY)
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror}); check the path") from error
