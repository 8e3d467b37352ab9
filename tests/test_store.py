"""The store: entries in shards, listed by whoever wrote them, in a folder that is one model's."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from hf_speech import store
from hf_speech.errors import InputError
from hf_speech.store import MANIFEST, Store

IDENTITY = {"weights": "a", "layer": 3}


def test_entries_come_back_from_any_shard(tmp_path: Path) -> None:
    one = Store(tmp_path, IDENTITY)
    one.write({"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([-0.0])})
    one.write({"c": torch.zeros(2, 3)})
    found = Store(tmp_path, IDENTITY).read(["a", "c", "b", "d"])
    assert {name: values.tolist() for name, values in found.items()} == {"a": [1, 2], "b": [0], "c": [[0] * 3] * 2}
    assert found["b"].signbit().all()  # as it was written, to the bit
    assert Store(tmp_path, {**IDENTITY, "layer": 4}).read(["a"]) == {} and len(list(tmp_path.iterdir())) == 2


def test_several_writers_do_not_meet(tmp_path: Path) -> None:
    """Each has a list of its own, whatever order they write in; a later run of one writer has all of it."""
    writers = [Store(tmp_path, IDENTITY, writer=number) for number in range(3)]
    for turn in range(2):
        for number, writer in enumerate(writers):
            writer.write({f"{number}.{turn}": torch.full((2,), float(number))})
    folder = writers[0].folder
    assert {path.name for path in folder.glob("manifest*")} == {MANIFEST, "manifest.1.json", "manifest.2.json"}
    later = Store(tmp_path, IDENTITY)
    names = [f"{number}.{turn}" for number in range(3) for turn in range(2)]
    assert {name: values[0].item() for name, values in later.read(names).items()} == {
        name: float(name[0]) for name in names
    }
    later.write({"more": torch.ones(1)})
    assert len(Store(tmp_path, IDENTITY, writer=2).read([*names, "more"])) == 7


def test_what_is_added_is_written_when_there_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """40 bytes to a shard: five vectors of 8 bytes; at the end the rest, and after an error what was there."""
    monkeypatch.setattr(store, "SHARD_BYTES", 40)
    one = Store(tmp_path, IDENTITY)

    def sizes() -> list[int]:
        return sorted(len(load_file(path)) for path in one.folder.glob("*.safetensors"))

    with one.adding() as keep:
        for i in range(12):
            keep({f"{i}": torch.full((2,), float(i))})
            assert sum(sizes()) == (i + 1) // 5 * 5
    assert sizes() == [2, 5, 5]
    with pytest.raises(ZeroDivisionError), one.adding() as keep:
        keep({"last": torch.zeros(2)})
        raise ZeroDivisionError
    assert len(one.read([*map(str, range(12)), "last"])) == 13
    with one.adding():
        pass
    assert sizes() == [1, 2, 5, 5]


def test_messages_name_the_option(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=rf"^--kept: {tmp_path}/file can't be made \(.*\); give another folder$"):
        Store(tmp_path / "file", IDENTITY, option="--kept")
    with pytest.raises(InputError, match=r"^--kept: .* has room for .*, and what is to be kept takes about 1,000,000"):
        Store(tmp_path, IDENTITY, option="--kept").require_room(10**12 * 1_000)


def test_a_list_of_any_writer_is_looked_at(tmp_path: Path) -> None:
    one = Store(tmp_path, IDENTITY, writer=1)
    one.write({"a": torch.ones(1)})
    (one.folder / "manifest.1.json").write_text("{")
    with pytest.raises(InputError, match=r"manifest\.1\.json: can't be read; delete the folder"):
        Store(tmp_path, IDENTITY)
