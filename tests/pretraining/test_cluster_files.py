"""What `hf-speech cluster` writes: moved whole or not at all, over nothing of others, and looked at when it is read."""

import os
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hf_speech.errors import InputError
from hf_speech.pretraining.cluster_folder import require_free, workplace
from hf_speech.pretraining.frame_labels import fitted_on, read_frame_labels, write_fitted_on

OLD = {"clusters.json": "old", "codebook.safetensors": "old", "8-clus.json": "old"}
NEW = {"clusters.json": "new", "codebook.safetensors": "new", "labels.parquet": "new"}
OTHERS = {"my-clus.json": "mine", "notes.txt": "mine"}


def write(folder: Path, texts: dict[str, str]) -> None:
    for name, text in texts.items():
        (folder / name).write_text(text)


def texts_of(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_after_an_error_what_was_there_is_as_it_was(tmp_path: Path) -> None:
    write(tmp_path, OLD | OTHERS)
    with pytest.raises(RuntimeError), workplace(tmp_path, overwrite=True) as partial:
        (partial / "clusters.json").write_text("half")
        raise RuntimeError
    assert texts_of(tmp_path) == OLD | OTHERS
    with workplace(tmp_path, overwrite=True) as partial:
        write(partial, NEW)
    assert texts_of(tmp_path) == NEW | OTHERS


class Killed(BaseException):
    """As SIGKILL would end it: nothing is cleared away."""


def steps(monkeypatch: pytest.MonkeyPatch, last: int) -> None:
    """After so many changes of names in a folder, everything ends."""
    left = last

    def ending(change: Any) -> Any:
        def one(*given: Any, **named: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                raise Killed
            return change(*given, **named)

        return one

    monkeypatch.setattr(os, "replace", ending(os.replace))
    monkeypatch.setattr(Path, "unlink", ending(Path.unlink))
    monkeypatch.setattr(Path, "rmdir", ending(Path.rmdir))
    monkeypatch.setattr(shutil, "rmtree", lambda *given, **named: None)


@pytest.mark.parametrize("last", range(10))
def test_wherever_a_move_is_killed_the_next_start_ends_it(
    last: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, OLD | OTHERS)
    with monkeypatch.context() as patched:
        with pytest.raises(Killed) if last < 9 else nullcontext():  # 2 + 3 + 3 names, and a folder
            with workplace(tmp_path, overwrite=True) as partial:
                write(partial, NEW)
                steps(patched, last)
    with pytest.raises(InputError, match="holds clusters already"):
        require_free(tmp_path, overwrite=False)
    shutil.rmtree(tmp_path / ".partial", ignore_errors=True)
    assert texts_of(tmp_path) == (NEW if last else OLD) | OTHERS


@pytest.mark.parametrize("name", OLD)
def test_files_without_facts_are_not_taken_for_ours(name: str, tmp_path: Path) -> None:
    require_free(tmp_path / "none", overwrite=False)
    write(tmp_path, OTHERS | {name: "the user's own"})
    with pytest.raises(InputError, match=f"{name}: would be lost" if name in list(OLD)[1:] else "holds clusters"):
        require_free(tmp_path, overwrite=False)
    require_free(tmp_path, overwrite=True)
    (tmp_path / "labels.parquet").mkdir()
    with pytest.raises(InputError, match="labels.parquet: is a folder"):
        require_free(tmp_path, overwrite=True)


def test_files_without_labels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_frame_labels(tmp_path)
    with pytest.raises(InputError, match="says what the codebook was fitted on; fit it anew"):
        fitted_on(tmp_path)
    (tmp_path / "labels.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match="holds no labels of frames"):
        read_frame_labels(tmp_path)
    pq.write_table(pa.table({"id": ["a"], "k4": [[1, 2]]}), tmp_path / "labels.parquet")
    with pytest.raises(InputError, match="holds no labels of frames"):
        read_frame_labels(tmp_path)


EMPTY = pa.array([[], []], pa.list_(pa.int16()))
GOOD: dict[str, Any] = {"id": ["a", "b"], "k3": [[0, 2], [1]], "k5": [[4, 0], [3]]}
SAYS = {"first_seconds": "0.0125", "hop_seconds": "0.02", "codebook_sha256": "ab"}
# What is said, and of which columns and metadata in the place of the good ones.
FOREIGN: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "column k5 has the label 5, and labels are 0 to 4": ({"k5": [[5, 0], [3]]}, {}),
    "column k5 has the label -100": ({"k5": [[-100, 0], [3]]}, {}),
    "column k5 has frames without a label": ({"k5": [None, [3]]}, {}),
    "column k3 has frames without a label": ({"k3": [[0, None], [1]]}, {}),
    "column k5 has other frames than column k3": ({"k5": [[4], [0, 3]]}, {}),
    "column k3 has no labels": ({"k3": EMPTY, "k5": EMPTY}, {}),
    "column k7 is of the kind string": ({"k7": ["x", "y"]}, {}),
    "column k7 is of the kind list<": ({"k7": [[0.0, 1.0], [2.0]]}, {}),
    "column k9999999999 is of more than": ({"k9999999999": [[0, 2], [1]]}, {}),
    "column id is of the kind int64": ({"id": [1, 2]}, {}),
    "frames are at 0.0125 s and every 0.0 s": ({}, {"hop_seconds": "0.0"}),
    "frames are at 0.0125 s and every nan s": ({}, {"hop_seconds": "nan"}),
    "frames are at inf s": ({}, {"first_seconds": "inf"}),
}


def write_labels(folder: Path, columns: dict[str, Any], says: dict[str, str] = SAYS) -> Path:
    pq.write_table(pa.table(columns).replace_schema_metadata(says), folder / "labels.parquet")
    return folder / "labels.parquet"


@pytest.mark.parametrize("said", FOREIGN)
def test_labels_that_can_not_be_are_refused(said: str, tmp_path: Path) -> None:
    write_labels(tmp_path, GOOD)
    assert [labels.tolist() for labels in read_frame_labels(tmp_path)["a"].values()] == [[0, 2], [4, 0]]
    columns, says = FOREIGN[said]
    file = write_labels(tmp_path, GOOD | columns, SAYS | says)
    with pytest.raises(InputError) as refused:
        read_frame_labels(tmp_path)
    assert str(refused.value).startswith(f"{file}: ") and said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_columns_that_are_called_otherwise_are_passed_over(tmp_path: Path) -> None:
    write_labels(tmp_path, GOOD | {"k007": ["x", "y"], "k\u0663": ["x", "y"], "k" + "9" * 5_000: ["x", "y"]})
    assert read_frame_labels(tmp_path).counts == [3, 5]
    write_labels(tmp_path, {"id": ["a"], "k007": [[0]]})
    with pytest.raises(InputError, match="it has no column of labels"):
        read_frame_labels(tmp_path)


def test_a_damaged_file_of_labels_is_refused(tmp_path: Path) -> None:
    file = write_labels(tmp_path, {"id": [f"{i}" for i in range(999)], "k3": [[0, 1, 2]] * 999})
    content = bytearray(file.read_bytes())
    content[4:400] = bytes(396)
    file.write_bytes(content)
    with pytest.raises(InputError, match="it is damaged"):
        read_frame_labels(tmp_path)


def test_what_was_fitted_on_is_believed_of_its_own_codebook_alone(tmp_path: Path) -> None:
    file = write_labels(tmp_path, GOOD)
    spans = [("00", 0.0, 1.5)]
    write_fitted_on(tmp_path, spans, "ab")
    assert fitted_on(tmp_path) == fitted_on(file) == fitted_on(tmp_path, "ab") == spans
    with pytest.raises(InputError, match="tells of another codebook than that beside it; fit it anew"):
        fitted_on(tmp_path, "cd")
    write_labels(tmp_path, GOOD, SAYS | {"codebook_sha256": "cd"})
    for path in (tmp_path, file):
        with pytest.raises(InputError, match="tells of another codebook than labels.parquet beside it"):
            fitted_on(path)
    write_labels(tmp_path, GOOD, {name: SAYS[name] for name in ("first_seconds", "hop_seconds")})
    with pytest.raises(InputError, match="can't be read, which says what the codebook was fitted on"):
        fitted_on(tmp_path)
