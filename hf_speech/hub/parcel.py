"""What travels to the Hub: of a folder, the files that belong to a model, a data set or a Space, laid out for it.

A parcel is a folder of its own: small files are copied, large ones linked, so that what changes in the folder while it
is pushed does not travel. Some are made for the Hub: the card and results.json with the repository's name, train.yaml
without places of this machine. What stays behind is named.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from ..errors import InputError, list_some, one_line
from ..plots import FILE_NAMES, plot_name
from ..public import without_places
from ..results import FILE_NAME, Results
from ..training.recipes import CONFIG_NAME
from ..verification.kept import BACKEND_FILE
from .card import render_card
from .edits import merged, read_card, signed
from .tokens import holds_token, token_in, without_tokens

CARD, AUDIT = "README.md", "audit.json"
_PICTURES = tuple(plot_name(kind, "*") for kind in FILE_NAMES)
# Of a finished model's folder, what belongs to the model; everything else stays behind.
_OF_A_MODEL: tuple[str, ...] = ("*.safetensors", "*.safetensors.index.json", "config.json", "*processor_config.json")
_OF_A_MODEL += ("generation_config.json", "tokenizer*", "vocab.*", "merges.txt", "*_tokens*.json", "adapter/*")
_OF_A_MODEL += (CARD, CONFIG_NAME, FILE_NAME, "metrics.csv", ".eval_results/*.yaml", *_PICTURES)
# What an earlier push may have left on the Hub, and what goes there with the next if it is not in that.
_GOES: tuple[str, ...] = ("model*.safetensors", "model.safetensors.index.json", BACKEND_FILE, "adapter/*")
_GOES += ("metrics.csv", CONFIG_NAME, ".eval_results/*--*.yaml", *_PICTURES)
_NEVER = {"__pycache__", ".git", ".cache", ".prepare", ".DS_Store"}  # of which nobody needs to be told
_NOT_OF_A_SPACE = {"venv", "env", "node_modules", "flagged"}
_SMALL = 10_000_000  # bytes of a file that is copied


class _Seal(NamedTuple):
    """What a file was when it was looked at: when it was written and where, size, SHA-256, git's digest of a blob."""

    stamp: tuple[int, int]
    size: int
    sha256: str
    git: str


@dataclass(frozen=True)
class Parcel:
    """A folder with what travels, and nothing else.

    Attributes:
        kind: "model", "dataset" or "space", as the Hub calls it.
        folder: what travels.
        left_out: files and folders that stay behind, relative to where they lie.
        notes: lines for whoever pushes.
        made: the card as it was made; in the folder it may have edits of one's own.
        seals: path -> what `seal` has found there.
    """

    kind: str
    folder: Path
    left_out: list[str]
    notes: list[str]
    made: str = ""
    seals: dict[str, _Seal] = field(default_factory=dict)

    def files(self) -> dict[str, Path]:
        """Path in the repository -> file, sorted."""
        paths = sorted(path for path in self.folder.rglob("*") if path.is_file())
        return {path.relative_to(self.folder).as_posix(): path for path in paths}

    @property
    def card(self) -> str:
        """The text of README.md."""
        return (self.folder / CARD).read_text(encoding="utf-8")

    def write(self, name: str, text: str) -> None:
        """Puts a file in, in the place of one that is there."""
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_text(text, encoding="utf-8")

    def seal(self) -> None:
        """Looks at every file once: what it is, for later comparison, and that there is no token in it.

        Raises:
            InputError: there is one.
        """
        for name, path in self.files().items():
            stamp = _stamp(path)
            if name in self.seals and self.seals[name].stamp == stamp:
                continue
            if token_in(name) or holds_token(path):
                mend = "take it out, and make a new token"
                raise InputError(f"{without_tokens(name)}: there is a token of the Hub in it; {mend}")
            self.seals[name] = _Seal(stamp, path.stat().st_size, *_digests(path))

    def is_same(self, name: str, remote: Any) -> bool:
        """Whether a sealed file is the one on the Hub, which tells SHA-256 of large ones, git's digest of others."""
        seal = self.seals[name]
        return seal.size == remote.size and (
            seal.sha256 == remote.lfs.sha256 if remote.lfs else seal.git == remote.blob_id
        )

    def changed(self) -> list[str]:
        """Names of the files that were written in place since they were sealed."""
        return [name for name, path in self.files().items() if self.seals[name].stamp != _stamp(path)]

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
    if "sdk" in (metadata_of(folder / CARD) if (folder / CARD).is_file() else {}):
        return "space"
    what = "config.json of a model, audit.json of a data set, README.md of a Space with its sdk"
    raise InputError(f"{folder}: has none of {what}; give the folder of something finished")


def pack(kind: str, folder: Path, repo: str, room: Path) -> Parcel:
    """The parcel of a folder.

    Args:
        kind: "model", "dataset" or "space".
        folder: where it lies.
        repo: OWNER/NAME, which the card and results.json call it by.
        room: an empty folder to lay it out in.

    Raises:
        InputError: a model without results.json or weights, a data set that lacks files, a Space without card or app.
    """
    return _PACK[kind](folder, repo, room)


def _pack_model(folder: Path, repo: str, room: Path) -> Parcel:
    if not (folder / FILE_NAME).is_file():
        measured = f"`hf-speech evaluate {folder} DATASET --output-dir {folder}` measures it"
        raise InputError(f"{folder}: has no {FILE_NAME}, and a model is pushed with its numbers; {measured}")
    results = Results.read(folder)
    if not list(folder.glob("*.safetensors")):
        raise InputError(f"{folder}: has no weights (*.safetensors); give the folder of a finished model")
    own = read_card(folder / CARD) if (folder / CARD).is_file() else None
    shown = re.findall(r"\]\(([\w.-]+\.(?:png|jpe?g|svg))\)", own or "")  # pictures that somebody has put in
    left_out = _lay(folder, room, lambda name: _is_of_a_model(name, folder) or name in shown)
    parcel = Parcel("model", room, left_out, [])
    _publishable(results, repo).write(room)
    if (folder / CONFIG_NAME).is_file():
        parcel.write(CONFIG_NAME, _public_yaml(folder / CONFIG_NAME))
    made = render_card(asdict(Results.read(room)), {path.name for path in room.iterdir()})
    mine = merged(made, own) if own is not None else None
    if mine is not None and not mine.made_by_us:
        parcel.notes.append(f"{folder / CARD} has no mark of ours and stays behind; the card is made from {FILE_NAME}")
    elif mine is not None and mine.kept:
        parcel.notes.append(f"kept as edited in {folder / CARD}: {', '.join(mine.kept)}")
    parcel.write(CARD, mine.text if mine is not None and mine.made_by_us else made)
    return replace(parcel, made=made)


def _publishable(results: Results, repo: str) -> Results:
    """Results with the repository's name, and without names of files, which may be those of people."""
    left_out = [{"file": "", "reason": row["reason"]} for row in results.data["left_out"]]
    data = {**results.data, "left_out": left_out}
    if data.get("overlaps"):
        data["overlaps"] = [{**overlap, "examples": []} for overlap in data["overlaps"]]
    run = {**results.run, "arguments": without_places(results.run["arguments"])}
    return replace(results, model={**results.model, "name": repo}, data=data, run=run)


def _is_of_a_model(name: str, folder: Path) -> bool:
    if name.endswith(".py"):
        return "/" not in name and _brings_code(folder)
    return any(_fits(name, pattern) for pattern in _OF_A_MODEL)


def _brings_code(folder: Path) -> bool:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{folder / 'config.json'}: can't be read ({one_line(error)}); train again") from error
    return isinstance(config, dict) and "auto_map" in config


def _pack_dataset(folder: Path, repo: str, room: Path) -> Parcel:
    try:
        audit = json.loads((folder / AUDIT).read_text(encoding="utf-8"))
        names = {str(name) for name in audit["files"]}
        embedded = audit["options"].get("embed_audio", True)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{folder / AUDIT}: is not what prepare wrote ({one_line(error)}); prepare again") from error
    absent = [name for name in sorted({*names, CARD}) if not (folder / name).is_file()]
    if absent:
        raise InputError(f"{folder}: lacks {list_some(absent, 3)}, which {AUDIT} names; prepare again")
    if not embedded:
        raise InputError(f"{folder}: its rows hold paths of this machine and no audio; prepare it with the audio in it")
    return _with_card(Parcel("dataset", room, _lay(folder, room, names.__contains__), []), folder)


def _pack_space(folder: Path, repo: str, room: Path) -> Parcel:
    if not (folder / CARD).is_file():
        raise InputError(f"{folder}: has no {CARD}, which tells the Hub how to run a Space; write one")
    metadata = metadata_of(folder / CARD)
    app = str(metadata.get("app_file", "app.py" if metadata.get("sdk") in ("gradio", "streamlit") else CARD))
    if not (folder / app).is_file():
        raise InputError(f"{folder / CARD}: its app_file {app} is not there; mend the name, or write the file")
    return _with_card(Parcel("space", room, _lay(folder, room, _is_of_a_space), []), folder)


def _is_of_a_space(name: str) -> bool:
    parts = name.split("/")
    return not any(part.startswith(".") or part in _NOT_OF_A_SPACE for part in parts)


def _with_card(parcel: Parcel, folder: Path) -> Parcel:
    """The parcel with the folder's own card, and the mark."""
    made = signed(read_card(folder / CARD))
    parcel.write(CARD, made)
    return replace(parcel, made=made)


_PACK = {"model": _pack_model, "dataset": _pack_dataset, "space": _pack_space}


def metadata_of(card: Path) -> dict[str, Any]:
    """The YAML in front of a card; empty where there is none.

    Raises:
        InputError: it is no table of YAML.
    """
    from huggingface_hub import RepoCard

    try:
        return dict(RepoCard(read_card(card), ignore_metadata_errors=True).data.to_dict())
    except (ValueError, yaml.YAMLError) as error:
        raise InputError(f"{card}: its metadata can't be read ({one_line(error)}); mend it") from error


def _lay(folder: Path, room: Path, travels: Callable[[str], bool]) -> list[str]:
    """Puts the files of a folder that travel into the parcel's; gives what stays behind, folders by their name.

    A link that leads out of the folder stays behind, but of a model, whose files may be links into a cache.
    """
    behind: set[str] = set()
    home = folder.resolve()
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if _NEVER.intersection(name.split("/")) or name.endswith(".pyc") or path.is_dir() and not path.is_symlink():
            continue
        leads_out = path.is_symlink() and not path.resolve().is_relative_to(home)
        if path.is_file() and travels(name) and not (leads_out and not (folder / "config.json").is_file()):
            (room / name).parent.mkdir(parents=True, exist_ok=True)
            _place(path, room / name)
        else:
            behind.add(name)
    return sorted(_by_folder(behind, {path.relative_to(room).as_posix() for path in room.rglob("*")}))


def _by_folder(names: Iterable[str], laid: set[str]) -> set[str]:
    """The names; where nothing of a folder travels, that of the folder."""
    tops = {name: name.partition("/") for name in names}
    return {f"{top}/" if slash and top not in laid else name for name, (top, slash, _) in tops.items()}


def _fits(name: str, pattern: str) -> bool:
    """As `fnmatch`, but a pattern is of files in a folder as deep as it is."""
    return name.count("/") == pattern.count("/") and fnmatch(name, pattern)


def _place(path: Path, place: Path) -> None:
    """Copies a small file; a large one is linked: what is renamed into its place later does not travel."""
    source = path.resolve()
    if source.stat().st_size <= _SMALL:
        shutil.copyfile(source, place)
        return
    for link in (os.link, os.symlink):
        try:
            link(source, place)
            return
        except OSError:  # another file system, or one without links
            continue
    shutil.copyfile(source, place)


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_mtime_ns, status.st_ino


def _digests(path: Path) -> tuple[str, str]:
    """SHA-256, and git's digest of a blob."""
    sha256, git = hashlib.sha256(), hashlib.sha1(f"blob {path.stat().st_size}\0".encode())
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            sha256.update(block)
            git.update(block)
    return sha256.hexdigest(), git.hexdigest()


def _public_yaml(path: Path) -> str:
    try:
        fields = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeError, yaml.YAMLError) as error:
        raise InputError(f"{path}: can't be read ({one_line(error)}); mend it, or take it away") from error
    return yaml.safe_dump(without_places(fields), sort_keys=False, allow_unicode=True)
