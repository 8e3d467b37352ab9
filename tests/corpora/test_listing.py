"""Listing folders and zip archives: against `zipfile`, with every oddity that archives and trees can have."""

import contextlib
import io
import os
import random
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hf_speech.corpora.listing import list_audio
from hf_speech.corpora.places import place_of, read_place
from hf_speech.data.problems import Problems
from hf_speech.errors import InputError

END, END64 = b"PK\x05\x06", b"PK\x06\x06"
RECORD = b"PK\x01\x02"


def listed(folder: Path, **options: Any) -> tuple[list[dict[str, Any]], Problems]:
    problems = Problems("skip")
    return list_audio(folder, problems, **options).to_pylist(), problems


def names_in(folder: Path) -> list[str]:
    rows, problems = listed(folder)
    assert [str(problem) for problem in problems] == []
    return [row["name"] for row in rows]


def by_zipfile(path: Path) -> list[tuple[Any, ...]]:
    """What the standard library finds in an archive, of the members that are wanted."""
    with zipfile.ZipFile(path) as archive:
        infos = [info for info in archive.infolist() if info.filename.lower().endswith((".wav", ".m4a", ".flac"))]
        return sorted(
            (i.filename, i.header_offset, i.compress_size, i.file_size, i.compress_type, i.CRC, archive.read(i))
            for i in infos
        )


def by_us(folder: Path) -> list[tuple[Any, ...]]:
    rows, problems = listed(folder)
    assert [str(problem) for problem in problems] == []
    facts = ("name", "offset", "packed", "size", "method", "crc")
    return sorted((*(row[name] for name in facts), read_place(place_of(row))) for row in rows)


def write_random_archive(path: Path, seed: int) -> None:
    """Members of all sizes, packed or not, with comments, extra fields, folders, foreign letters."""
    rng = random.Random(seed)
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(rng.randrange(40)):
            name = rng.choice(["dev/aac/", "", "語音/", "Ä ö/", "a'b/"]) + f"{i}" + rng.choice([".wav", ".M4A", ".txt"])
            if rng.random() < 0.1:
                archive.mkdir(f"folder{i}.wav")
            info = zipfile.ZipInfo(name)
            info.compress_type = rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
            info.comment = rng.randbytes(rng.choice([0, 0, 300]))
            info.extra = rng.choice([b"", struct.pack("<2H4s", 0x6375, 4, b"abcd")])
            content = rng.choice([rng.randbytes, bytes])(rng.choice([0, 1, 1_000, 200_000]))
            archive.writestr(info, content)
        archive.comment = rng.choice([b"", b"a comment", rng.randbytes(65_535)])
    if rng.random() < 0.5:
        path.write_bytes(rng.randbytes(rng.randrange(1, 100_000)) + path.read_bytes())


@pytest.mark.parametrize("seed", range(12))
def test_random_archives_are_what_the_standard_library_finds(tmp_path: Path, seed: int) -> None:
    write_random_archive(tmp_path / "a.zip", seed)
    assert by_us(tmp_path) == by_zipfile(tmp_path / "a.zip")


@pytest.mark.parametrize("prepended", [0, 777])
@pytest.mark.parametrize("limit", [0, 1, 500, 2_000])
def test_sizes_and_places_in_zip64_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int, prepended: int
) -> None:
    """The standard library writes them from a limit on that is lowered here: any of the three values may be wide."""
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", limit)
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for i, size in enumerate((10, 3_000, 700, 100_000, 5)):
            archive.writestr(f"{i}.wav", random.Random(i).randbytes(size) + bytes(size))
    monkeypatch.undo()
    assert END64 in path.read_bytes()
    path.write_bytes(bytes(prepended) + path.read_bytes())
    assert by_us(tmp_path) == by_zipfile(path)


def test_a_directory_beyond_4_gb(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with path.open("wb") as file:
        file.seek(5 << 30)  # a hole: it takes no room on the disk
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("a.wav", b"far away")
    if path.stat().st_blocks * 512 > 1 << 30:
        pytest.skip("the file system fills holes")
    assert by_us(tmp_path)[0][:2] == ("a.wav", 5 << 30)
    assert by_us(tmp_path) == by_zipfile(path)


def test_more_members_than_16_bits_count(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for i in range(65_540):
            archive.writestr(zipfile.ZipInfo(f"{i:05d}.wav"), b"")
    assert names_in(tmp_path) == [f"{i:05d}.wav" for i in range(65_540)]
    # Programs without zip64 write the count modulo 65,536.
    content = (tmp_path / "a.zip").read_bytes()
    wide = content.rfind(END64)
    length, start = struct.unpack_from("<2Q", content, wide + 40)
    end = struct.pack("<4s4H2LH", END, 0, 0, 4, 4, length, start, 0)
    (tmp_path / "a.zip").write_bytes(content[:wide] + end)
    assert len(names_in(tmp_path)) == 65_540


def archive_of(path: Path, *names: str, content: bytes = b"sound", **options: Any) -> Path:
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name in names:
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize("after", [b"\n", END, END + b" and more than twenty bytes of it", bytes(65_000)])
def test_what_stands_behind_the_end_of_an_archive_does_not_hide_it(tmp_path: Path, after: bytes) -> None:
    path = archive_of(tmp_path / "a.zip", "a.wav")
    sound = path.read_bytes()
    path.write_bytes(sound[:-2] + struct.pack("<H", len(after)) + after)  # as a comment
    assert names_in(tmp_path) == ["a.wav"]
    if len(after) < 20 or END not in after:
        path.write_bytes(sound + after)  # as what a careless copy has added
        assert names_in(tmp_path) == ["a.wav"]


def test_names(tmp_path: Path) -> None:
    junk = ["__MACOSX/a/._b.wav", "a/._b.wav", ".hidden/b.wav", ".b.wav", "wav", "b.wav.txt", "folder.wav/"]
    archive_of(tmp_path / "A.ZIP", *junk, "a/b.WAV", "語/b.Flac")
    assert names_in(tmp_path) == ["a/b.WAV", "語/b.Flac"]
    assert listed(tmp_path, archives=False)[0] == []
    assert [row["name"] for row in listed(tmp_path, extensions={".txt"})[0]] == ["b.wav.txt"]


def test_a_name_that_is_not_the_utf_8_it_claims_to_be(tmp_path: Path) -> None:
    path = archive_of(tmp_path / "a.zip", "ä.wav")
    path.write_bytes(path.read_bytes().replace("ä".encode(), b"\xff\xfe"))
    (row,) = listed(tmp_path)[0]
    assert row["name"] == "\ufffd\ufffd.wav" and read_place(place_of(row)) == b"sound"


def test_backslashes_part_folders_where_the_archive_is_from_windows(tmp_path: Path) -> None:
    for name, system in (("windows.zip", 0), ("linux.zip", 3)):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            info = zipfile.ZipInfo("x/y.wav")
            info.create_system, info.filename = system, "x\\y.wav"
            archive.writestr(info, b"sound")
    assert names_in(tmp_path) == ["x/y.wav", "x\\y.wav"]


def test_two_members_of_one_name_are_both_listed(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        archive_of(tmp_path / "a.zip", "a.wav", "a.wav")
    rows, _ = listed(tmp_path)
    assert [row["name"] for row in rows] == ["a.wav", "a.wav"] and len({row["offset"] for row in rows}) == 2


def set_field(path: Path, mark: bytes, offset: int, value: bytes) -> Path:
    """The archive with other bytes at some place behind a mark (its last occurrence)."""
    content = bytearray(path.read_bytes())
    at = content.rfind(mark) + offset
    content[at : at + len(value)] = value
    path.write_bytes(content)
    return path


def zip64_archive(path: Path) -> Path:
    """A member with its size and place in an extra field."""
    record = bytearray(archive_of(path, "a.wav").read_bytes())
    at = record.find(RECORD)
    name_end = at + 46 + len("a.wav")
    record[at + 24 : at + 28] = b"\xff" * 4  # the size, unpacked
    record[at + 30 : at + 32] = struct.pack("<H", 12)
    record[name_end:name_end] = struct.pack("<2HQ", 1, 8, 5)
    record[-10:-6] = struct.pack("<L", 46 + 5 + 12)
    path.write_bytes(record)
    return path


NO_ARCHIVE = ("broken archive", "is no zip archive, or was cut short")
DAMAGED = ("broken archive", "directory is damaged")
CLIMBS = ("unsafe name", "climbs out of its archive")
BROKEN: dict[str, tuple[Callable[[Path], Any], tuple[str, str]]] = {
    "no archive": (lambda p: p.write_bytes(b"hello" * 100), NO_ARCHIVE),
    "empty file": (lambda p: p.touch(), NO_ARCHIVE),
    "cut": (lambda p: p.write_bytes(archive_of(p, "a.wav").read_bytes()[:-40]), NO_ARCHIVE),
    "cut in front": (lambda p: p.write_bytes(archive_of(p, "a.wav", content=bytes(999)).read_bytes()[500:]), DAMAGED),
    "directory overwritten": (lambda p: set_field(archive_of(p, "a.wav"), RECORD, 0, b"PKxx"), DAMAGED),
    "extra field cut": (lambda p: set_field(zip64_archive(p), RECORD, 51, struct.pack("<2H", 7, 8)), DAMAGED),
    "a place behind the end": (lambda p: set_field(archive_of(p, "a.wav"), RECORD, 42, b"\xff\xff\xff\x7f"), DAMAGED),
    "a size that can't be": (lambda p: set_field(archive_of(p, "a.wav", compression=8), RECORD, 27, b"\xf0"), DAMAGED),
    "last of several": (
        lambda p: set_field(archive_of(p, "a.wav"), END, 4, b"\x02"),
        ("broken archive", "is the last of several pieces; join them first"),
    ),
    "encrypted": (
        lambda p: set_field(archive_of(p, "a.wav"), RECORD, 8, b"\x01"),
        ("encrypted", "a.zip/a.wav: is encrypted; unpack the archive with its password"),
    ),
    "lzma": (
        lambda p: archive_of(p, "a.wav", compression=zipfile.ZIP_LZMA),
        ("unknown packing", "a.zip/a.wav: is packed in way 14; pack it again with deflate"),
    ),
    "upwards": (lambda p: archive_of(p, "a/../../b.wav"), CLIMBS),
    "upwards, no audio": (lambda p: archive_of(p, "../passwd"), CLIMBS),
    "upwards, Windows": (lambda p: archive_of(p, "a\\..\\..\\b.wav"), CLIMBS),
    "absolute": (lambda p: archive_of(p, "/etc/b.wav"), CLIMBS),
    "a drive": (lambda p: archive_of(p, "C:/b.wav"), CLIMBS),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_wrong_with_an_archive_is_said_and_the_others_are_listed(tmp_path: Path, case: str) -> None:
    write, (kind, said) = BROKEN[case]
    archive_of(tmp_path / "good.zip", "good.wav")
    write(tmp_path / "a.zip")
    rows, problems = listed(tmp_path)
    assert [row["name"] for row in rows] == ["good.wav"]
    assert dict(problems.counts) == {kind: 1}
    assert said in "".join(map(str, problems))


def test_the_zip64_record_of_these_tests_is_sound(tmp_path: Path) -> None:
    zip64_archive(tmp_path / "a.zip")
    assert by_us(tmp_path) == by_zipfile(tmp_path / "a.zip")


def test_an_archive_without_members_is_no_problem(tmp_path: Path) -> None:
    archive_of(tmp_path / "a.zip")
    assert names_in(tmp_path) == []
    assert list_audio(tmp_path, Problems()).num_rows == 0


@pytest.mark.parametrize("seed", range(4))
def test_no_damage_is_a_crash_or_other_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Bytes changed anywhere, or cut off: members read as they were, or are refused."""
    rng = random.Random(seed)
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", rng.choice([100, 1 << 31]))
    contents = {f"{i}.wav": rng.randbytes(60 * i) + bytes(60 * i) for i in range(6)}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", rng.choice([0, 8])) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    sound = buffer.getvalue()
    refused = 0
    path = tmp_path / "a.zip"
    for _ in range(400):
        damaged = bytearray(sound)
        directory = sound.find(RECORD)
        for _ in range(rng.randrange(1, 4)):
            at = rng.randrange(directory if rng.random() < 0.8 else 0, len(sound))
            damaged[at] = rng.choice([0, 0xFF, rng.randrange(256)])
        path.write_bytes(damaged[: rng.choice([len(sound)] * 4 + [rng.randrange(len(sound))])])
        rows, problems = listed(tmp_path)
        refused += len(problems)
        for row in rows:
            try:
                content = read_place(place_of(row))
            except InputError as error:
                refused += 1
                assert str(error).startswith(str(path))
            else:
                assert content in contents.values()
    assert refused > 100


# --- trees


def tree(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"sound")
    return root


def test_the_order_of_a_directory_makes_no_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"{a}/{b}{c}.wav" for a in ("x", "x.1", "X", "é", "y/z") for b in range(5) for c in ("", "_", "é")]
    tree(tmp_path, *names)
    for i in range(3):
        archive_of(tmp_path / f"x/{i}.zip", *(f"{i}/{k}.wav" for k in (3, 1, 2)), "same.wav")
    table = list_audio(tmp_path, Problems())
    assert table["name"].to_pylist() == sorted(table["name"].to_pylist(), key=str.encode)
    assert len(table) == len(names) + 12
    scan, rng = os.scandir, random.Random(0)

    def shuffled(folder: str) -> Any:
        with scan(folder) as entries:
            found = list(entries)
        rng.shuffle(found)
        return contextlib.nullcontext(found)

    monkeypatch.setattr(os, "scandir", shuffled)
    for _ in range(3):
        assert list_audio(tmp_path, Problems()).to_pylist() == table.to_pylist()


def test_a_trailing_slash_and_a_relative_folder_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree(tmp_path / "c", "x/a.wav")
    monkeypatch.chdir(tmp_path)
    wanted = [("x/a.wav", str(tmp_path / "c" / "x" / "a.wav"))]
    for folder in ("c", "c/", "./c", f"{tmp_path}/c/"):
        rows = list_audio(folder, Problems()).to_pylist()
        assert [(row["name"], row["path"]) for row in rows] == wanted


def test_hidden_files_and_what_macos_adds_are_passed_over(tmp_path: Path) -> None:
    tree(tmp_path, "a/._b.wav", ".Trash/b.wav", "__MACOSX/b.wav", "a/b.WAV", "a/b.wav~", "a/notes.txt", "a/.wav")
    assert names_in(tmp_path) == ["a/b.WAV"]


LOOPS: dict[str, tuple[list[tuple[str, str]], list[str]]] = {
    "to its own folder": ([("a/loop", ".")], ["a/x.wav", "b/y.wav"]),
    "to the root": ([("a/loop", "..")], ["a/x.wav", "b/y.wav"]),
    "two to the root": ([("a/loop", ".."), ("b/loop", "..")], ["a/x.wav", "b/y.wav"]),
    "above the root": ([("a/loop", "../..")], ["a/loop/beside.wav", "a/x.wav", "b/y.wav"]),
    "to one another": ([("a/l", "../b"), ("b/l", "../a")], ["a/l/y.wav", "a/x.wav", "b/l/x.wav", "b/y.wav"]),
    "to itself": ([("a/loop", "loop")], ["a/x.wav", "b/y.wav"]),
    "to itself, as audio": ([("a/loop.wav", "loop.wav")], ["a/loop.wav", "a/x.wav", "b/y.wav"]),
    "to nothing": ([("a/gone.wav", "gone")], ["a/gone.wav", "a/x.wav", "b/y.wav"]),
    "to a file": ([("a/z.wav", "../b/y.wav")], ["a/x.wav", "a/z.wav", "b/y.wav"]),
    "to a folder": ([("c", "a")], ["a/x.wav", "b/y.wav", "c/x.wav"]),
}


@pytest.mark.parametrize("case", LOOPS)
def test_links(tmp_path: Path, case: str) -> None:
    links, names = LOOPS[case]
    root = tree(tmp_path / "r", "a/x.wav", "b/y.wav")
    tree(tmp_path, "beside.wav")
    for name, target in links:
        (root / name).symlink_to(target)
    assert names_in(root) == names


def test_a_name_that_is_not_utf_8_is_a_problem(tmp_path: Path) -> None:
    tree(tmp_path, "a.wav")
    for name in (b"b\xff.wav", b"folder\xe4"):
        path = os.fsencode(tmp_path) + b"/" + name
        try:
            os.mkdir(path) if name.startswith(b"folder") else open(path, "wb").close()
        except OSError:
            pytest.skip("the file system has no such names")
    rows, problems = listed(tmp_path)
    assert [row["name"] for row in rows] == ["a.wav"]
    found = sorted(str(problem) for problem in problems)
    assert found == [
        f"{tmp_path}/b\\xff.wav: its name is not UTF-8; rename it",
        f"{tmp_path}/folder\\xe4: its name is not UTF-8; rename it",
    ]
    "".join(found).encode()  # can be printed, and written to audit.json


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.wav")
    os.mkfifo(tmp_path / "a.zip")
    assert names_in(tmp_path) == []


def test_a_folder_that_can_not_be_read_is_a_problem(tmp_path: Path) -> None:
    """Nested so deep that its path is longer than the system takes: a folder that even root can't open."""
    tree(tmp_path, "a.wav")
    place = os.open(tmp_path, os.O_RDONLY)
    for _ in range(20):
        os.mkdir("l" * 250, dir_fd=place)
        inner = os.open("l" * 250, os.O_RDONLY, dir_fd=place)
        os.close(place)
        place = inner
    os.close(os.open("b.wav", os.O_CREAT | os.O_WRONLY, dir_fd=place))
    os.close(place)
    rows, problems = listed(tmp_path)
    assert [row["name"] for row in rows] == ["a.wav"]
    assert dict(problems.counts) == {"unreadable folder": 1}
    assert "can't be read (File name too long)" in str(next(iter(problems)))


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    for name in ("nowhere", "file.wav"):
        tree(tmp_path, "file.wav")
        with pytest.raises(InputError, match=f"{name}: there is no such folder"):
            list_audio(tmp_path / name, Problems())
