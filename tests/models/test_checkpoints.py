"""Foreign checkpoint files are read without running what they hold."""

import io
import pickle
from argparse import Namespace
from collections import Counter, OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from hf_speech.errors import InputError
from hf_speech.models.checkpoints import read_checkpoint

FORMATS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before-1.6"])


def written(path: Path, content: Any, zipped: bool = True) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


class Creator:
    """Unpickled plainly, this creates a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return (io.open, (str(self.target), "w"))


@FORMATS
@pytest.mark.parametrize("name", ["a.pt", "a.chkpt", "a.ckpt"])
def test_tensors_containers_and_namespaces_are_read(tmp_path: Path, name: str, zipped: bool) -> None:
    weights = torch.arange(6.0).view(2, 3)
    content = {
        "model": OrderedDict({"layer.weight": weights, "half": weights.half(), "count": torch.tensor(3)}),
        "args": Namespace(arch="wav2vec2", nested=Namespace(lr=[1e-4]), betas=(0.9, 0.98)),
        "optimizer": {"state": {0: {"step": 5}}, "param_groups": [{"params": [0]}]},
        "epoch": 3,
        "best": None,
    }
    found = read_checkpoint(written(tmp_path / name, content, zipped))
    assert found.keys() == content.keys()
    assert torch.equal(found["model"]["layer.weight"], weights)
    assert found["model"]["half"].dtype == torch.float16
    assert found["args"] == content["args"]
    assert found["optimizer"] == content["optimizer"]
    assert (found["epoch"], found["best"]) == (3, None)


def test_the_file_is_mapped_and_never_changed(tmp_path: Path) -> None:
    path = written(tmp_path / "a.pt", {"weight": torch.ones(1000)})
    before = path.read_bytes()
    found = read_checkpoint(str(path))
    found["weight"].zero_()
    assert path.read_bytes() == before
    assert torch.equal(read_checkpoint(path)["weight"], torch.ones(1000))


def test_safetensors_are_read(tmp_path: Path) -> None:
    save_file({"weight": torch.arange(4.0)}, tmp_path / "a.safetensors")
    assert torch.equal(read_checkpoint(tmp_path / "a.safetensors")["weight"], torch.arange(4.0))


@FORMATS
def test_a_malicious_pickle_does_not_run(tmp_path: Path, zipped: bool) -> None:
    target = tmp_path / "created"
    path = written(tmp_path / "evil.pt", {"model": {}, "extra": Creator(target)}, zipped)
    with pytest.raises(
        InputError, match=r"evil\.pt: holds _?io\.open, which is not read.*save its state dict alone"
    ) as info:
        read_checkpoint(path)
    assert not target.exists()
    assert "\n" not in str(info.value)
    torch.load(path, weights_only=False)["extra"].close()  # loaded plainly it does run: the test could fail
    assert target.exists()


@FORMATS
def test_objects_of_other_classes_are_refused_by_name(tmp_path: Path, zipped: bool) -> None:
    with pytest.raises(
        InputError, match=r"a\.ckpt: holds torch\.nn\.modules\.linear\.Linear, .*save its state dict alone"
    ):
        read_checkpoint(written(tmp_path / "a.ckpt", nn.Linear(2, 2), zipped))
    # Inside a namespace, and behind tensors that are fine.
    content = {"model": {"weight": torch.ones(2)}, "args": Namespace(task=Path("data"))}
    with pytest.raises(InputError, match=r"a\.ckpt: holds pathlib\S*Path, which is not read"):
        read_checkpoint(written(tmp_path / "a.ckpt", content, zipped))
    assert isinstance(
        read_checkpoint(written(tmp_path / "a.ckpt", {"count": Counter("aab")}, zipped))["count"], Counter
    )


@FORMATS
def test_what_the_process_allows_is_refused_all_the_same_and_stays_allowed(tmp_path: Path, zipped: bool) -> None:
    target = tmp_path / "created"
    path = written(tmp_path / "evil.pt", {"extra": Creator(target)}, zipped)
    with torch.serialization.safe_globals([io.open, Namespace]):
        before = set(torch.serialization.get_safe_globals())
        with pytest.raises(InputError, match=r"evil\.pt: holds _?io\.open, which is not read"):
            read_checkpoint(path)
        assert not target.exists() and set(torch.serialization.get_safe_globals()) == before
        torch.load(path, weights_only=True)["extra"].close()  # allowed, torch does read it: the test could fail
        assert target.exists()
    read_checkpoint(written(tmp_path / "fine.pt", {"args": Namespace(a=1)}, zipped))
    assert Namespace not in torch.serialization.get_safe_globals()


def foreign_pickle(module: str, name: str) -> bytes:
    """A pickle of `{"cfg": module.name()}` for a module that is not installed here."""
    return b"\x80\x02}X\x03\x00\x00\x00cfgc" + f"{module}\n{name}\n".encode() + b")Rs."


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("omegaconf.dictconfig", "DictConfig"),
        ("fairseq.data.dictionary", "Dictionary"),
        ("pytorch_lightning", "Trainer"),
    ],
)
def test_settings_of_code_bases_that_are_absent_are_refused_by_name(tmp_path: Path, module: str, name: str) -> None:
    path = tmp_path / "a.pt"
    head = b"".join(map(pickle.dumps, (torch.serialization.MAGIC_NUMBER, 1001, {"little_endian": True}), (2, 2, 2)))
    path.write_bytes(head + foreign_pickle(module, name))
    with pytest.raises(InputError, match=rf"a\.pt: holds {module}\.{name}, which is not read"):
        read_checkpoint(path)


@FORMATS
@pytest.mark.parametrize("kept", [0, 1, 100, 600, 0.5, -5])
def test_a_truncated_file_is_refused(tmp_path: Path, zipped: bool, kept: float) -> None:
    path = written(tmp_path / "cut.pt", {"weight": torch.randn(1000)}, zipped)
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data)) if isinstance(kept, float) else kept])
    with pytest.raises(InputError, match=r"cut\.pt: can't be read: it is damaged, cut short or no checkpoint") as info:
        read_checkpoint(path)
    assert "\n" not in str(info.value) and "weights_only" not in str(info.value)


@pytest.mark.parametrize("data", [b"hello world", b"<html>not found</html>", b"\x93NUMPY", b"version https://git-lfs"])
@pytest.mark.parametrize("name", ["a.pt", "a.safetensors"])
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=rf"{name}: can't be read: it is damaged"):
        read_checkpoint(tmp_path / name)


def test_paths_without_a_checkpoint_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.pt: no such file; give a checkpoint file"):
        read_checkpoint(tmp_path / "none.pt")
    with pytest.raises(InputError, match="a folder; give a checkpoint file"):
        read_checkpoint(tmp_path)
    with pytest.raises(InputError, match=r"t\.pt: holds a Tensor; give a checkpoint that is a dictionary"):
        read_checkpoint(written(tmp_path / "t.pt", torch.ones(3)))
