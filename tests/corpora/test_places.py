"""Members of archives read in place: the same bytes as the standard library gives, and damage never taken for sound."""

import io
import os
import random
import sys
import tracemalloc
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import soundfile as sf

from hf_speech.audio import check_audio, read_audio
from hf_speech.corpora.listing import list_audio
from hf_speech.corpora.places import PLACE, Member, MemberFile, open_place, place_of, read_place
from hf_speech.data.problems import Problems
from hf_speech.errors import InputError

from ..sounds import voice_like

METHODS = {"stored": zipfile.ZIP_STORED, "deflated": zipfile.ZIP_DEFLATED}


def member(path: Path, content: bytes, method: str = "deflated", name: str = "x.wav") -> Member:
    """The only member of a new archive."""
    with zipfile.ZipFile(path, "w", METHODS[method]) as archive:
        archive.writestr(name, content)
    (row,) = [row for row in list_audio(path.parent, Problems()).to_pylist() if row["archive"] == str(path)]
    place = place_of(row)
    assert isinstance(place, Member)
    return place


def half_noise(size: int, seed: int = 0) -> bytes:
    """Bytes that deflate packs, but not to nothing."""
    return bytes(np.random.default_rng(seed).integers(0, 8, size, dtype=np.uint8))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [0, 1, 65_536, 300_001])
def test_any_way_of_reading_gives_the_bytes(tmp_path: Path, method: str, size: int) -> None:
    content = half_noise(size)
    ours, plain = MemberFile(member(tmp_path / "a.zip", content, method)), io.BytesIO(content)
    rng = random.Random(size)
    for _ in range(300):
        whence = rng.choice([os.SEEK_SET, os.SEEK_CUR, os.SEEK_END])
        here = {os.SEEK_SET: 0, os.SEEK_CUR: plain.tell(), os.SEEK_END: size}[whence]
        offset = rng.randrange(size + 100) - here  # from the start on, and beyond the end
        assert ours.seek(offset, whence) == plain.seek(max(0, here + offset))
        count = rng.choice([-1, 0, 1, 12, 4_096, 70_000])
        assert ours.read(count) == plain.read(count)
        buffer, other = bytearray(rng.randrange(1, 5_000)), bytearray()
        other += plain.read(len(buffer))
        assert buffer[: ours.readinto(buffer)] == other
        assert ours.tell() == plain.tell()
    assert ours.read_whole() == content == read_place(ours.member)


@pytest.mark.parametrize("method", METHODS)
def test_no_changed_byte_goes_unnoticed(tmp_path: Path, method: str) -> None:
    content = half_noise(3_000)
    place = member(tmp_path / "a.zip", content, method)
    sound = (tmp_path / "a.zip").read_bytes()
    begin = place.offset + 30 + len("x.wav")
    refused = 0
    for at in range(begin, begin + place.packed):
        damaged = bytearray(sound)
        damaged[at] ^= 0x10
        (tmp_path / "a.zip").write_bytes(damaged)
        try:
            assert read_place(place) == content  # bits behind the end of the last block mean nothing
        except InputError as error:
            refused += 1
            assert "a.zip/x.wav: damaged in the archive" in str(error)
    assert refused >= place.packed - 1


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("change", [{"size": 5_000}, {"size": 10}, {"packed": 20}, {"crc": 1}])
def test_a_directory_that_lies_about_a_member_is_found_out(tmp_path: Path, method: str, change: dict[str, int]) -> None:
    place = replace(member(tmp_path / "a.zip", half_noise(3_000), method), **change)
    if (method, list(change)) == ("stored", ["packed"]):
        return  # of a stored member the size is read, and `list_audio` has compared the two
    with pytest.raises(InputError, match="damaged in the archive"):
        read_place(place)
    assert len(MemberFile(place).read()) <= 5_000


def test_no_more_is_unpacked_than_is_read(tmp_path: Path) -> None:
    """Zeros are packed a thousandfold: a header is read without the other 200 MB."""
    place = member(tmp_path / "a.zip", bytes(200_000_000))
    assert place.packed < 250_000
    tracemalloc.start()
    try:
        file = MemberFile(place)
        assert file.read(44) == bytes(44)
        file.seek(300_000)
        assert file.read(10) == bytes(10)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda path: path.unlink(), "a.zip: can't be read .No such file"),
        (lambda path: path.write_bytes(path.read_bytes()[:20]), "a.zip/x.wav: its archive is cut short or was changed"),
        (lambda path: path.write_bytes(b"new" + path.read_bytes()), "cut short or was changed"),
        (lambda path: path.write_bytes(path.read_bytes()[:200]), "damaged in the archive"),
    ],
)
@pytest.mark.parametrize("method", METHODS)
def test_an_archive_that_changed_since_it_was_listed(tmp_path: Path, method: str, change, said: str) -> None:
    place = member(tmp_path / "a.zip", half_noise(3_000), method)
    assert len(read_place(place)) == 3_000
    change(tmp_path / "a.zip")
    with pytest.raises(InputError, match=said):
        read_place(place)


def test_an_archive_that_another_took_the_place_of_is_opened_again(tmp_path: Path) -> None:
    for seed in range(3):
        (tmp_path / str(seed)).mkdir()
        content = half_noise(1_000, seed)
        place = member(tmp_path / str(seed) / "a.zip", content)
        os.replace(place.archive, tmp_path / "a.zip")
        moved = replace(place, archive=str(tmp_path / "a.zip"))
        assert read_place(moved) == content


@pytest.mark.skipif(sys.platform != "linux", reason="counts the open files of the process as Linux shows them")
def test_archives_are_not_all_kept_open(tmp_path: Path) -> None:
    places = []
    for i in range(150):
        (tmp_path / str(i)).mkdir()
        places.append(member(tmp_path / str(i) / "a.zip", half_noise(100, i)))
    before = len(os.listdir("/proc/self/fd"))
    first = MemberFile(places[0])
    assert [read_place(place) for place in places] == [half_noise(100, i) for i in range(150)]
    assert len(os.listdir("/proc/self/fd")) <= before + 66
    assert first.read() == half_noise(100, 0)  # its archive is open as long as it is in use


def test_threads_share_an_archive(tmp_path: Path) -> None:
    contents = {f"{i}.wav": half_noise(50_000 + i, i) for i in range(40)}
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    rows = list_audio(tmp_path, Problems()).to_pylist() * 5
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(lambda row: read_place(place_of(row)), rows))
    assert read == [contents[row["name"]] for row in rows]


def test_a_row_says_where_it_lies(tmp_path: Path) -> None:
    (tmp_path / "b.wav").write_bytes(b"plain")
    placed = member(tmp_path / "a.zip", b"packed")
    rows = list_audio(tmp_path, Problems())
    assert rows.select(PLACE.names).schema == PLACE
    assert [place_of(row) for row in rows.to_pylist()] == [str(tmp_path / "b.wav"), placed]
    assert place_of({"path": "b.wav"}) == "b.wav"
    assert pa.types.is_dictionary(rows.schema.field("archive").type)
    with pytest.raises(InputError, match=r"gone\.wav: can't be read \(No such file"):
        read_place(str(tmp_path / "gone.wav"))
    with pytest.raises(InputError, match="can't be read"):
        read_place(str(tmp_path))


@pytest.mark.parametrize("method", METHODS)
def test_damage_in_the_midst_of_sound_is_said_and_not_printed(
    tmp_path: Path, method: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Libsndfile reads through calls from C, in which an exception would be printed and forgotten."""
    buffer = io.BytesIO()
    sf.write(buffer, voice_like(20) * np.float32(0.1), 16_000, format="WAV")
    place = member(tmp_path / "a.zip", buffer.getvalue(), method)
    whole = (tmp_path / "a.zip").read_bytes()
    refused = 0
    for at in range(place.packed // 2, place.packed // 2 + 20):
        damaged = bytearray(whole)
        damaged[at : at + 300] = b"\x55" * 300
        (tmp_path / "a.zip").write_bytes(damaged)
        for use in (check_audio, read_audio):
            try:
                use(open_place(place))
            except InputError as error:
                refused += 1
                assert "truncated or damaged" in str(error)
        with pytest.raises(InputError, match="damaged in the archive"):
            read_place(place)
    assert refused > 0 or method == "stored"
    assert capfd.readouterr().err == ""
