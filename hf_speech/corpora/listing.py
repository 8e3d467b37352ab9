"""What lies in a corpus folder: files, and members of zip archives, as one sorted table; nothing is unpacked.

`zipfile` makes a Python object of every member, and VoxCeleb2 has 1.1 million of them; here the directory of an archive
is read as the stream of records that it is.
"""

import os
import struct
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from ..data.problems import Problems
from ..data.stored import AUDIO_EXTENSIONS, is_hidden
from ..errors import InputError
from .places import DEFLATED, PLACE, STORED

LISTING = pa.schema([pa.field("name", pa.string()), *PLACE])

# APPNOTE.TXT 6.3.10: sections 4.3.12 (central directory), 4.3.14 to 4.3.16 (its end, with and without zip64), 4.5.3.
_RECORD = struct.Struct("<4s6H3L5H2L")
_END = struct.Struct("<4s4H2LH")
_END64_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_FULL16, _FULL32 = 0xFFFF, 0xFFFFFFFF
_ZIP64_EXTRA = 1
_ENCRYPTED, _UTF8 = 0x1, 0x800
_DOS = 0  # the system of a member's name, section 4.4.2.2: there a backslash can only part folders
_MOST = 1032  # bytes that a byte of deflate can stand for: RFC 1951, runs of 258 in 2 bits
_ROWS = 10_000  # rows of a table that are gathered as Python lists at a time


def list_audio(
    folder: str | Path, problems: Problems, extensions: Collection[str] = AUDIO_EXTENSIONS, archives: bool = True
) -> pa.Table:
    """Every audio file in a folder, at any depth, and in the zip archives that lie there, sorted by name.

    Hidden files and what macOS adds (`._x.wav`, `__MACOSX/`) are passed over. Links to folders are followed, but not
    back to a folder that they lie in.

    Args:
        folder: where to look.
        problems: takes what can't be used: names that climb out of an archive or are not UTF-8, encrypted members,
            broken archives, folders that can't be read.
        extensions: of the files wanted, lower case.
        archives: whether to look into .zip files.

    Returns:
        A table with `name`, the path inside the folder or the archive (with "/"), and the columns of `PLACE`.

    Raises:
        InputError: there is no such folder.
    """
    folder = Path(folder).absolute()
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder; give the folder of the corpus")
    wanted = frozenset(extensions)
    tables = list(_tables(_walk(folder, wanted, archives, problems)))
    table = pa.concat_tables(tables) if tables else LISTING.empty_table()
    # Not combined before it is sorted: of a million rows each copy counts.
    return table.unify_dictionaries().sort_by([("name", "ascending"), ("path", "ascending")])


def _tables(rows: Iterator[tuple[Any, ...]]) -> Iterator[pa.Table]:
    gathered: list[tuple[Any, ...]] = []
    for row in rows:
        gathered.append(row)
        if len(gathered) == _ROWS:
            yield _table(gathered)
            gathered = []
    if gathered:
        yield _table(gathered)


def _table(rows: list[tuple[Any, ...]]) -> pa.Table:
    columns = zip(zip(*rows, strict=True), LISTING, strict=True)
    return pa.table([pa.array(cells, type=field.type) for cells, field in columns], schema=LISTING)


def _walk(folder: Path, wanted: frozenset[str], archives: bool, problems: Problems) -> Iterator[tuple[Any, ...]]:
    """Rows of `LISTING`, in no particular order."""
    root = str(folder)
    for path in _files(root, problems):
        extension = os.path.splitext(path)[1].lower()
        if extension in wanted:
            yield (path[len(root) + 1 :], path, None, None, None, None, None, None)
        elif archives and extension == ".zip":
            yield from _members(path, wanted, problems)


def _files(root: str, problems: Problems) -> Iterator[str]:
    """The files in a folder, at any depth."""
    # Each folder with the device and inode of those that it lies in; a list, since folders nest deeper than functions.
    waiting: list[tuple[str, frozenset[tuple[int, int]]]] = [(root, frozenset())]
    while waiting:
        folder, above = waiting.pop()
        try:
            status = os.stat(folder)
            here = (status.st_dev, status.st_ino)
            if here in above:
                continue  # a link that leads back: what is there has been seen
            with os.scandir(folder) as entries:
                found = [(entry.name, _is_folder(entry)) for entry in entries if not is_hidden(entry.name)]
        except OSError as error:
            problems.add("unreadable folder", folder, f"can't be read ({error.strerror}); mend its rights or its name")
            continue
        for name, is_folder in found:
            path = f"{folder}/{name}"
            if _written(path) != path:
                problems.add("encoding", _written(path), "its name is not UTF-8; rename it")
            elif is_folder:
                waiting.append((path, above | {here}))
            elif is_folder is not None:
                yield path


def _is_folder(entry: os.DirEntry[str]) -> bool | None:
    """Whether it is one, or a file; None: neither, such as a pipe, which would be waited for."""
    try:
        return entry.is_dir() or (False if entry.is_file() or entry.is_symlink() else None)
    except OSError:
        return False  # a link to itself; like one to nothing it is found missing later


def _written(path: str) -> str:
    """A path as it can be written, what is not UTF-8 in the notation of Python."""
    return path if path.isascii() else os.fsencode(path).decode("utf-8", "backslashreplace")


def _members(archive: str, wanted: frozenset[str], problems: Problems) -> Iterator[tuple[Any, ...]]:
    try:
        with open(archive, "rb") as file:
            for name, flags, method, crc, packed, size, offset in _records(file, archive):
                path = f"{archive}/{name}"
                if _climbs_out(name):
                    problems.add("unsafe name", path, "climbs out of its archive; remove it from the archive")
                elif os.path.splitext(name)[1].lower() not in wanted or any(map(is_hidden, name.split("/"))):
                    continue
                elif flags & _ENCRYPTED:
                    problems.add("encrypted", path, "is encrypted; unpack the archive with its password")
                elif method not in (STORED, DEFLATED):
                    problems.add("unknown packing", path, f"is packed in way {method}; pack it again with deflate")
                else:
                    yield (name, path, archive, offset, packed, size, method, crc)
    except InputError as error:
        problems.add("broken archive", archive, str(error).removeprefix(f"{archive}: "))
    except OSError as error:
        problems.add("broken archive", archive, f"can't be read ({error.strerror}); get it again")


def _climbs_out(name: str) -> bool:
    return name.startswith(("/", "\\")) or ".." in name.replace("\\", "/").split("/") or name[1:2] == ":"


@dataclass(frozen=True)
class _Directory:
    """Where the directory of an archive lies.

    Attributes:
        start: its first byte.
        size: bytes.
        shift: bytes that stand before the archive, as in one that unpacks itself: all its offsets count from there.
    """

    start: int
    size: int
    shift: int


def _records(file: Any, archive: str) -> Iterator[tuple[str, int, int, int, int, int, int]]:
    """Name, flags, method, CRC-32, bytes packed, bytes unpacked and place of every member.

    Raises:
        InputError: it is no zip archive, or was cut short.
    """
    directory = _directory(file, archive)
    file.seek(directory.start)
    left = directory.size  # and not the count of members, which old programs write modulo 65,536
    while left > 0:
        record = file.read(_RECORD.size)
        if len(record) < _RECORD.size or record[:4] != b"PK\x01\x02":
            raise _damaged(archive)
        _, made_by, _, flags, method, _, _, crc, packed, size, n, m, k, _, _, _, offset = _RECORD.unpack(record)
        rest = file.read(n + m + k)
        left -= len(record) + n + m + k
        name = rest[:n].decode("utf-8" if flags & _UTF8 else "cp437", errors="replace")
        if made_by >> 8 == _DOS:
            name = name.replace("\\", "/")
        if _FULL32 in (packed, size, offset):
            size, packed, offset = _wide(rest[n : n + m], archive, size, packed, offset)
        offset += directory.shift
        odd = (method == STORED and size != packed and not flags & _ENCRYPTED) or (
            method == DEFLATED and size > _MOST * packed
        )
        if odd or offset + packed > directory.start:
            raise _damaged(archive)
        yield name, flags, method, crc, packed, size, offset


def _wide(extra: bytes, archive: str, *values: int) -> list[int]:
    """Those of the values that did not fit in 32 bits, in the order of the extra field."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        field = extra[at + 4 : at + 4 + length]
        if kind == _ZIP64_EXTRA:
            wide = iter(struct.unpack_from(f"<{len(field) // 8}Q", field))
            return [next(wide, value) if value == _FULL32 else value for value in values]
        at += 4 + length
    raise _damaged(archive)


def _directory(file: Any, archive: str) -> _Directory:
    size = file.seek(0, os.SEEK_END)
    tail_start = max(0, size - _END.size - _FULL16 - _END64.size - _END64_LOCATOR.size)
    file.seek(tail_start)
    tail = file.read()
    at = _end(tail)
    if at is None:
        raise InputError(f"{archive}: is no zip archive, or was cut short; get it again")
    _, disk, _, _, _, length, start, _ = _END.unpack_from(tail, at)
    wide = at - _END64_LOCATOR.size - _END64.size
    if wide >= 0 and tail[at - _END64_LOCATOR.size :][:4] == b"PK\x06\x07" and tail[wide:][:4] == b"PK\x06\x06":
        _, _, _, _, disk, _, _, _, length, start = _END64.unpack_from(tail, wide)
        at = wide
    until = tail_start + at  # the directory lies right before its end
    if disk:
        raise InputError(f"{archive}: is the last of several pieces; join them first (zip -s 0 --out whole.zip)")
    shift = until - length - start
    if shift < 0:
        raise _damaged(archive)
    return _Directory(until - length, length, shift)


def _end(tail: bytes) -> int | None:
    """Where the end record stands: the last whose comment ends with the file, or else the last one."""
    places = []
    at = tail.rfind(b"PK\x05\x06")
    while at >= 0:
        if at + _END.size <= len(tail):
            places.append(at)
        at = tail.rfind(b"PK\x05\x06", 0, at + 3)
    whole = [at for at in places if at + _END.size + _END.unpack_from(tail, at)[-1] == len(tail)]
    return next(iter(whole + places), None)


def _damaged(archive: str) -> InputError:
    return InputError(f"{archive}: its directory is damaged; get the archive again")
