"""Readers: what lies on disk or on the Hub -> rows, by split; no audio is decoded here.

    folder   one class a sub-folder; train/, validation/, test/ above them make splits
    csv      a table with a path column (.csv, .tsv); a column `split` makes splits
    kaldi    a folder with wav.scp, and beside it segments, utt2spk, spk2gender, utt2age, ...
    label-list   a file of lines `path label`
    path-list    a file of lines `path`, without labels, such as wav_path
    labels-json  a file {"Train": {file: label or {label: votes}}, "Val": {}, "Test": {}}
    dataset  whatever `datasets` reads: Parquet folders, save_to_disk, the Hub (see prepared.py)

The audio of a row is {"bytes", "path"} as it is stored (`Audio(decode=False)`), so torchcodec is not needed.
"""

import logging
import re
from collections import Counter
from collections.abc import Callable, Mapping
from itertools import accumulate
from pathlib import Path
from typing import Any

from datasets import Dataset

from ..errors import InputError, list_some, lookup, unknown_name
from .kaldi import kaldi_rows
from .label_files import label_list_rows, labels_json_rows, path_list_rows
from .prepared import map_columns, read_dataset
from .problems import Problems, read_lines
from .request import Request
from .schema import Splits, near_miss
from .stored import AUDIO_EXTENSIONS, LISTED, is_hidden, rows_of, stored_rows
from .tables import TABLES, metadata_table, read_csv

logger = logging.getLogger(__name__)

SPLIT_FOLDERS = frozenset({"train", "validation", "valid", "val", "dev", "eval", "test"})
WAV_SCP = "wav.scp"
PATH_LISTS = frozenset({"wav_path", ".lst", ".list"})  # what lists of paths are called, or end in
HUB_NAME = re.compile(r"\w[\w.-]*(/[\w.-]+)?")


def load_rows(
    source: str | Path,
    *,
    reader: str | None = None,
    config_name: str | None = None,
    split: str | None = None,
    columns: Mapping[str, str] | None = None,
    streaming: bool = False,
    audio_root: str | Path | None = None,
    problems: Problems | None = None,
    labels: list[str] | None = None,
) -> Splits:
    """The rows of a corpus, by split.

    Args:
        source: a folder, a .csv or .tsv file, or a name on the Hub.
        reader: a name in `READERS`; None chooses by what the source is.
        config_name: configuration of a data set with several.
        split: the one split to return; None returns all.
        columns: column of the schema -> what the source calls it, as {"speaker_id": "speaker"}.
        streaming: True gives `IterableDataset`s, which hold nothing in memory and know no length.
        audio_root: the folder that relative paths in a table or list count from; None: that of the table or list.
        problems: takes the lines that can't be used, missing files among them, instead of raising; the rows are then as
            `Request.preparing` says.
        labels: the labels that a label file may hold; None: any.

    Returns:
        Split name -> rows; what has no splits of its own is "train". Class orders are in `.class_names`.

    Raises:
        InputError: the source does not exist, can't be read, or lacks what a row needs.

    Example:
        >>> from hf_speech.samples import sample_corpus
        >>> rows = load_rows(sample_corpus())
        >>> {split: len(part) for split, part in rows.items()}
        {'train': 64, 'validation': 16, 'test': 32}
    """
    name = reader or guess_reader(source)
    read = lookup(READERS, name, "reader")
    root = Path(audio_root).absolute() if audio_root is not None else None
    found = problems if problems is not None else Problems()
    # Without a list of problems, missing files are left to the check of the audio, which lists them all.
    preparing = problems is not None
    splits = read(Request(str(source), dict(columns or {}), config_name, streaming, root, found, preparing, labels))
    if problems is None:
        found.settle(str(source), option=None)
    if split is not None:
        if split not in splits:
            raise unknown_name(split, splits, f"split of {source}")
        splits = Splits({split: splits[split]}, splits.class_names)
    if streaming:
        streams = {k: rows.to_iterable_dataset() if isinstance(rows, Dataset) else rows for k, rows in splits.items()}
        splits = Splits(streams, splits.class_names)
    _warn_of_near_misses(source, splits)
    return splits


def guess_reader(source: str | Path) -> str:
    """The reader for a source, by what lies there.

    Raises:
        InputError: nothing lies there and it can't be a name on the Hub, or a file is no table.

    Example:
        >>> from hf_speech.samples import sample_corpus
        >>> guess_reader(sample_corpus()), guess_reader("user/name")
        ('csv', 'dataset')
    """
    path = Path(source)
    if path.is_file():
        if path.suffix.lower() == ".json":
            return "labels-json"
        if path.name == WAV_SCP:
            return "kaldi"
        if path.name in PATH_LISTS or path.suffix.lower() in PATH_LISTS:
            return "path-list"
        if path.suffix.lower() not in TABLES:
            raise InputError(
                f"{source}: neither .csv nor .tsv; for audio files give the folder of the class folders, for lines of "
                "`path label` say --reader label-list, for lines of `path` --reader path-list"
            )
        return "csv"
    if path.is_dir():
        if metadata_table(path) is not None:
            return "csv"
        if (path / WAV_SCP).is_file():
            return "kaldi"
        if _looks_like_classes(path):
            return "folder"
        _refuse_without_data(source)
        return "dataset"
    if _is_like_a_file(str(source)) or not HUB_NAME.fullmatch(str(source)):
        raise InputError(f"{source}: there is no such file or folder; give a folder, a .csv file, or a name on the Hub")
    return "dataset"


def _is_like_a_file(name: str) -> bool:
    """Whether a name that nothing here has is that of a file: with an ending, and without an owner as on the Hub.

    >>> _is_like_a_file("labelled.cvs"), _is_like_a_file("data/train.csv"), _is_like_a_file("user/data.v2")
    (True, True, False)
    """
    suffix = Path(name).suffix.lower()
    return suffix in TABLES or (bool(re.fullmatch(r"\.[a-z]\w*", suffix)) and "/" not in name)


def _refuse_without_data(source: str | Path) -> None:
    """Refuses a folder in which `datasets` would look for data in vain, or take what is said of a model for data."""
    files = _files(Path(source))
    if not files:
        raise InputError(f"{source}: no file in it; give a folder of recordings, a .csv file, or a list")
    kinds = {path.suffix.lower() for path in files}
    is_model = (Path(source) / "config.json").is_file() and not kinds.isdisjoint({".safetensors", ".bin"})
    if is_model and kinds.isdisjoint({*AUDIO_EXTENSIONS, ".parquet", ".arrow"}):
        raise InputError(f"{source}: is a model's folder, no recordings; give the data")


def _warn_of_near_misses(source: str | Path, splits: Splits) -> None:
    names = next((rows.column_names for rows in splits.values()), None) or []
    for name in names:
        meant = near_miss(name)
        if meant and meant not in names:
            logger.warning("%s: if column %r means %r, map it: --columns %s=%s", source, name, meant, meant, name)


# --- class folders ---------------------------------------------------------------------------------------------------


def _sub_folders(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and not is_hidden(p.name))


def _files(folder: Path) -> list[Path]:
    """Every visible file at or beneath a folder, sorted by path."""
    visible = (p for p in folder.rglob("*") if not any(map(is_hidden, p.relative_to(folder).parts)))
    return sorted(p for p in visible if p.is_file())


def _is_audio(path: Path) -> bool:
    return path.suffix.lower() in AUDIO_EXTENSIONS


def audio_files(source: str | Path) -> list[Path]:
    """The file itself, or every audio file in a folder, sorted.

    Raises:
        InputError: nothing lies there, or the folder holds no audio.
    """
    path = Path(source)
    if not path.exists():
        raise InputError(f"{source}: no such file or folder; check the path")
    if path.is_file():
        return [path]
    found = [file for file in _files(path) if _is_audio(file)]
    if not found:
        raise InputError(f"{source}: no audio files in this folder; known: {', '.join(sorted(AUDIO_EXTENSIONS))}")
    return found


def _split_folders(folder: Path) -> list[Path]:
    """The sub-folders that are splits: all of them, or none (a class may well be called "test")."""
    inside = _sub_folders(folder)
    return inside if any(p.name == "train" for p in inside) and all(p.name in SPLIT_FOLDERS for p in inside) else []


def _looks_like_classes(folder: Path) -> bool:
    subs = _sub_folders(folder)
    # A table inside a split's folder is the Hub's audio folder: its labels are in the table.
    return not any(map(metadata_table, subs)) and any(_is_audio(path) for sub in subs for path in _files(sub))


def read_folder(request: Request) -> Splits:
    """Rows from class folders: `label` is the sub-folder's name; files are looked for at any depth, in sorted order.

    Raises:
        InputError: no such folder, no class folders, a class without audio, or audio outside the class folders.
    """
    source = request.source
    folder = Path(source).absolute()
    if not folder.is_dir():
        raise InputError(f"{source}: there is no such folder; give one with a sub-folder of audio files for each class")
    if request.config_name:
        raise InputError(f"{source}: class folders have no configurations; leave {request.config_name!r} out")
    parts = {part.name: part for part in _split_folders(folder)} or {"train": folder}
    return Splits({name: map_columns(_class_rows(part), request.columns, source) for name, part in parts.items()})


def _class_rows(folder: Path) -> Dataset:
    outside = [p.name for p in _files(folder) if p.parent == folder and _is_audio(p)]
    if outside:
        found = list_some(outside, 5)
        raise InputError(
            f"{folder}: audio outside the class folders: {found}; make a sub-folder for each class and move it there"
        )
    paths: list[str] = []
    labels: list[str] = []
    ignored: Counter[str] = Counter()
    for sub in _sub_folders(folder):
        files = _files(sub)
        audio = [str(path) for path in files if _is_audio(path)]
        if not audio:
            extensions = " ".join(sorted(AUDIO_EXTENSIONS))
            raise InputError(f"{sub}: no audio in this class folder ({extensions}); add some, or remove the folder")
        ignored.update(path.suffix.lower() or path.name for path in files if not _is_audio(path))
        paths += audio
        labels += [sub.name] * len(audio)
    if not paths:
        raise InputError(f"{folder}: no class folders in it; make one sub-folder of audio files a class")
    if ignored:
        kinds = list_some([f"{count} {kind}" for kind, count in sorted(ignored.items())])
        logger.info("%s: %d files are not audio and were left out (%s)", folder, ignored.total(), kinds)
    return stored_rows({"audio": paths, "label": labels})


# --- lists of files ---------------------------------------------------------------------------------------------------


def read_kaldi(request: Request) -> Splits:
    """Rows from a Kaldi data folder, or from its wav.scp, see `kaldi_rows`."""
    source = Path(request.source).absolute()
    folder = source.parent if source.name == WAV_SCP else source
    return _listed(request, {"train": kaldi_rows(folder, request.problems)})


def read_label_list(request: Request) -> Splits:
    """Rows from a file of lines `path label`, see `label_list_rows`."""
    return _listed(request, label_list_rows(Path(request.source).absolute(), request.audio_root, request.problems))


def read_path_list(request: Request) -> Splits:
    """Rows from a file of lines `path`, see `path_list_rows`."""
    source = Path(request.source).absolute()
    splits = path_list_rows(source, request.audio_root, request.problems)
    mark = TABLES.get(source.suffix.lower())
    if mark and not splits["train"] and any(mark in line for _, line in read_lines(source, Problems())):
        raise InputError(
            f"{request.source}: is a table ({source.suffix}), not a list of paths; leave --reader out, or say csv"
        )
    return _listed(request, splits)


def read_labels_json(request: Request) -> Splits:
    """Rows from the label file of a fold, see `labels_json_rows`."""
    source = Path(request.source).absolute()
    return _listed(request, labels_json_rows(source, request.audio_root, request.problems, request.labels))


def _listed(request: Request, splits: Mapping[str, list[dict[str, Any]]]) -> Splits:
    """The rows that were found, every split with the columns and keys of all."""
    if request.config_name:
        raise InputError(f"{request.source}: a list has no configurations; leave {request.config_name!r} out")
    records = [row for found in splits.values() for row in found]
    if not records:
        if not len(request.problems):
            raise InputError(f"{request.source}: no rows in it; give a file or folder with one a line")
        return Splits({})
    rows = rows_of(records)
    if not request.preparing:
        rows = rows.remove_columns(list(LISTED))
    rows = map_columns(rows, request.columns, request.source)
    stops = list(accumulate(map(len, splits.values())))
    bounds = zip(splits, [0, *stops], stops, strict=False)
    return Splits({name: rows.select(range(first, stop)) for name, first, stop in bounds if first < stop})


READERS: dict[str, Callable[[Request], Splits]] = {
    "folder": read_folder,
    "csv": read_csv,
    "kaldi": read_kaldi,
    "label-list": read_label_list,
    "path-list": read_path_list,
    "labels-json": read_labels_json,
    "dataset": read_dataset,
}
