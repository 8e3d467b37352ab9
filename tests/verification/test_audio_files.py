"""The files of a list: found by name with or without extension, missing, unused."""

from pathlib import Path

import pytest

from hf_speech.errors import InputError
from hf_speech.verification import find_audio


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_missing_and_unused_files_are_told_apart(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.wav", "a/2.FLAC", "a/v1.2.ogg", "b/1.wav", "b/notes.txt", "b/._1.wav", ".c/1.wav", "d.sph")
    found = find_audio(["a/1", "a/2", "a/v1.2", "a/3", "b/notes.txt", "d.sph", "a/1", "c/1"], tmp_path)
    assert found.found == {
        "a/1": tmp_path / "a/1.wav",
        "a/2": tmp_path / "a/2.FLAC",
        "a/v1.2": tmp_path / "a/v1.2.ogg",
        "b/notes.txt": tmp_path / "b/notes.txt",
        "d.sph": tmp_path / "d.sph",
    }
    assert found.missing == ["a/3", "c/1"] and found.unused == ["b/1.wav"]
    assert found.facts() == {"used_files": 5, "missing_files": 2, "unused_files": 1}


def test_names_with_their_extension_mean_that_file_alone(tmp_path: Path) -> None:
    touch(tmp_path, "a.wav", "a.flac", "b.wav")
    found = find_audio(["a.wav", "b.flac"], tmp_path)
    assert found.found == {"a.wav": tmp_path / "a.wav"}
    assert found.missing == ["b.flac"] and found.unused == ["a.flac", "b.wav"]


def test_a_name_that_may_be_two_files_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "s/a.wav", "s/a.m4a", "s/b.wav", "s/b.m4a")
    with pytest.raises(InputError, match=r"s/a may be s/a\.m4a, s/a\.wav; keep one"):
        find_audio(["s/a"], tmp_path)
    assert not find_audio([], tmp_path).found  # what no list asks for may be


def test_names_may_be_absolute_or_climb_and_folders_linked(tmp_path: Path) -> None:
    touch(tmp_path, "root/a.wav", "other/b.wav", "other/c.wav")
    root = tmp_path / "root"
    (root / "link").symlink_to(tmp_path / "other")
    (root / "loop").symlink_to(root)
    found = find_audio([str(root / "a"), "./a", "../other/b", "link/c", "loop/loop/a"], root)
    assert not found.missing and found.unused == ["link/b.wav"]
    assert [path.resolve().name for path in found.found.values()] == ["a.wav", "a.wav", "b.wav", "c.wav", "a.wav"]


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere: there is no such folder"):
        find_audio(["a"], tmp_path / "nowhere")
