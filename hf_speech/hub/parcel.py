"""What travels to the Hub: of a folder, the files that belong to a model, a data set or a Space, laid out for it.

A parcel is a folder of its own with links to large files; small ones are made for the Hub: the card and results.json
with the repository's name, train.yaml without places of this machine. What stays behind is named.
"""

import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import yaml

from ..errors import InputError, list_some, one_line
from ..plots import FILE_NAMES, plot_name
from ..public import without_places
from ..results import FILE_NAME, Results
from ..verification.kept import BACKEND_FILE
from .card import render_card
from .connection import token_in
from .edits import merged, signed

CARD, TRAIN, AUDIT = "README.md", "train.yaml", "audit.json"
# Of a finished model's folder, what belongs to the model; everything else stays behind.
_OF_A_MODEL: tuple[str, ...] = ("*.safetensors", "*.json", "*.py", "*.png", "adapter/*", ".eval_results/*.yaml")
_OF_A_MODEL += (CARD, TRAIN, "metrics.csv", "*.model", "vocab.txt", "merges.txt")
_NOT_OF_A_MODEL = ("trainer_state.json", "optimizer*", "all_results.json", "train_results.json", "eval_results.json")
_PICTURES = tuple(plot_name(kind, "*") for kind in FILE_NAMES)
# What an earlier push may have left on the Hub, and what goes there with the next if it is not in that.
_GOES = ("model*.safetensors", "model.safetensors.index.json", BACKEND_FILE, "metrics.csv", "adapter/*", *_PICTURES)
_IGNORED = ("__pycache__/*", ".git/*", ".cache/*", "*.pyc", ".DS_Store", ".prepare/*")
_SCANNED = (".json", ".yaml", ".yml", ".md", ".py", ".txt", ".csv", ".toml", ".cfg", "")
_MOST_SCANNED = 20_000_000  # bytes


@dataclass(frozen=True)
class Parcel:
    """A folder with what travels, and nothing else.

    Attributes:
        kind: "model", "dataset" or "space", as the Hub calls it.
        folder: what travels.
        left_out: files and folders that stay behind, relative to where they lie.
        notes: lines for whoever pushes.
    """

    kind: str
    folder: Path
    left_out: list[str]
    notes: list[str]

    def files(self) -> dict[str, Path]:
        """Path in the repository -> file, sorted."""
        paths = sorted(path for path in self.folder.rglob("*") if path.is_file())
        return {path.relative_to(self.folder).as_posix(): path for path in paths}

    @property
    def card(self) -> str:
        """The text of README.md."""
        return (self.folder / CARD).read_text(encoding="utf-8")

    def goes(self, path: str, audit: Any = None) -> bool:
        """Whether a file that an earlier push left on the Hub is to go, as the parcel has none of that name.

        Args:
            path: on the Hub.
            audit: of a data set, the content of its audit.json there.
        """
        if self.kind == "dataset":
            return isinstance(audit, dict) and path in (audit.get("files") or [])
        return self.kind == "model" and any(fnmatch(path, pattern) for pattern in _GOES)


def kind_of(folder: Path) -> str:
    """What lies in a folder: "model", "dataset" or "space".

    Raises:
        InputError: none of them, or a model that nobody has measured.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder; give that of a finished model or a prepared data set")
    if (folder / AUDIT).is_file() and not (folder / "config.json").is_file():
        return "dataset"
    if (folder / "config.json").is_file():
        return "model"
    if (folder / "app.py").is_file():
        return "space"
    what = "config.json of a model, audit.json of a data set, app.py of a Space"
    raise InputError(f"{folder}: has none of {what}; give the folder of something finished")


def pack(kind: str, folder: Path, repo: str, room: Path) -> Parcel:
    """The parcel of a folder.

    Args:
        kind: "model", "dataset" or "space".
        folder: where it lies.
        repo: OWNER/NAME, which the card and results.json call it by.
        room: an empty folder to lay it out in.

    Raises:
        InputError: a model without results.json, a data set that lacks files, a Space without card or app, files with
            a token in them.
    """
    parcel = _PACK[kind](folder, repo, room)
    for name, path in parcel.files().items():
        small = path.suffix in _SCANNED and path.stat().st_size <= _MOST_SCANNED
        if small and token_in(path.read_text(encoding="utf-8", errors="replace")):
            raise InputError(f"{folder / name}: there is a token of the Hub in it; take it out, and make a new token")
    return parcel


def _pack_model(folder: Path, repo: str, room: Path) -> Parcel:
    if not (folder / FILE_NAME).is_file():
        measured = f"`hf-speech evaluate {folder} DATASET --output-dir {folder}` measures it"
        raise InputError(f"{folder}: has no {FILE_NAME}, and a model is pushed with its numbers; {measured}")
    results = Results.read(folder)
    if not list(folder.glob("*.safetensors")):
        raise InputError(f"{folder}: has no weights (*.safetensors); give the folder of a finished model")
    left_out = _link(folder, room, _OF_A_MODEL, _NOT_OF_A_MODEL)
    for name in (FILE_NAME, CARD, TRAIN):
        (room / name).unlink(missing_ok=True)
    named = replace(results, model={**results.model, "name": repo})
    named.write(room)
    if (folder / TRAIN).is_file():
        (room / TRAIN).write_text(_public_yaml(folder / TRAIN), encoding="utf-8")
    content = asdict(Results.read(room))
    card = render_card(content, {path.name for path in room.iterdir()})
    notes = []
    if (folder / CARD).is_file():
        mine = merged(card, (folder / CARD).read_text(encoding="utf-8"))
        if mine.made_by_us:
            card = mine.text
            notes += [f"kept as edited in {folder / CARD}: {', '.join(mine.kept)}"] if mine.kept else []
        else:
            notes.append(f"{folder / CARD} has no mark of ours and stays behind; the card is made from {FILE_NAME}")
    (room / CARD).write_text(card, encoding="utf-8")
    return Parcel("model", room, left_out, notes)


def _pack_dataset(folder: Path, repo: str, room: Path) -> Parcel:
    try:
        audit = json.loads((folder / AUDIT).read_text(encoding="utf-8"))
        names = [str(name) for name in audit["files"]]
        embedded = audit["options"].get("embed_audio", True)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{folder / AUDIT}: is not what prepare wrote ({one_line(error)}); prepare again") from error
    absent = [name for name in (*names, CARD) if not (folder / name).is_file()]
    if absent:
        raise InputError(f"{folder}: lacks {list_some(absent, 3)}, which {AUDIT} names; prepare again")
    if not embedded:
        raise InputError(f"{folder}: its rows hold paths of this machine and no audio; prepare it with the audio in it")
    left_out = _link(folder, room, tuple(names), ())
    (room / CARD).unlink()
    (room / CARD).write_text(signed((folder / CARD).read_text(encoding="utf-8")), encoding="utf-8")
    return Parcel("dataset", room, left_out, [])


def _pack_space(folder: Path, repo: str, room: Path) -> Parcel:
    left_out = _link(folder, room, ("*",), _IGNORED)
    if not (folder / CARD).is_file():
        raise InputError(f"{folder}: has no {CARD}, which tells the Hub how to run a Space; write one")
    app = str(metadata_of(folder / CARD).get("app_file", "app.py"))
    if not (folder / app).is_file():
        raise InputError(f"{folder / CARD}: its app_file {app} is not there; mend the name, or write the file")
    (room / CARD).unlink()
    (room / CARD).write_text(signed((folder / CARD).read_text(encoding="utf-8")), encoding="utf-8")
    return Parcel("space", room, left_out, [])


_PACK = {"model": _pack_model, "dataset": _pack_dataset, "space": _pack_space}


def metadata_of(card: Path) -> dict[str, Any]:
    """The YAML in front of a card; empty where there is none.

    Raises:
        InputError: it is no table of YAML.
    """
    from huggingface_hub import RepoCard

    try:
        return dict(RepoCard(card.read_text(encoding="utf-8"), ignore_metadata_errors=True).data.to_dict())
    except (ValueError, yaml.YAMLError) as error:
        raise InputError(f"{card}: its metadata can't be read ({one_line(error)}); mend it") from error


def _link(folder: Path, room: Path, travels: Iterable[str], stays: Iterable[str]) -> list[str]:
    """Links the files of a folder that travel into the parcel's; gives what stays behind, whole folders by their name.

    Files that begin with a dot travel if a pattern names them with it.
    """
    behind: set[str] = set()
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if not path.is_file() or any(fnmatch(name, pattern) for pattern in _IGNORED):
            continue
        shown = any(_fits(name, pattern) for pattern in travels)
        if shown and not any(_fits(name, pattern) for pattern in stays):
            (room / name).parent.mkdir(parents=True, exist_ok=True)
            _place(path, room / name)
        else:
            top, slash, _ = name.partition("/")
            behind.add(f"{top}/" if slash and not any(p.startswith(f"{top}/") for p in travels) else name)
    return sorted(behind)


def _fits(name: str, pattern: str) -> bool:
    """As `fnmatch`; a pattern without a folder is of the files at the top, but "*" of all that are not hidden."""
    if pattern == "*":
        return not any(part.startswith(".") for part in name.split("/"))
    return name.count("/") == pattern.count("/") and fnmatch(name, pattern)


def _place(path: Path, place: Path) -> None:
    try:
        os.symlink(path.resolve(), place)
    except OSError:  # a file system without links
        shutil.copyfile(path, place)


def _public_yaml(path: Path) -> str:
    try:
        fields = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise InputError(f"{path}: can't be read ({one_line(error)}); mend it, or take it away") from error
    return yaml.safe_dump(without_places(fields), sort_keys=False, allow_unicode=True)
