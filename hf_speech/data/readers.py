"""Readers: what lies on disk or on the Hub -> rows, by split; no audio is decoded here.

    folder   one class a sub-folder; train/, validation/, test/ above them make splits
    csv      a table with a path column (.csv, .tsv); a column `split` makes splits
    dataset  whatever `datasets` reads: Parquet folders, save_to_disk, the Hub (see prepared.py)

The audio of a row is {"bytes", "path"} as it is stored (`Audio(decode=False)`), so torchcodec is not needed.
"""

import csv
import logging
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from datasets import Audio, Dataset, Features, Value

from ..errors import InputError, list_some, lookup, unknown_name
from .prepared import map_columns, read_dataset
from .schema import COLUMNS, Splits, near_miss, renamed_columns

logger = logging.getLogger(__name__)

AUDIO_EXTENSIONS = frozenset({".wav", ".flac", ".ogg", ".mp3", ".m4a", ".aac"})
TABLES = {".csv": ",", ".tsv": "\t"}
PATH_COLUMNS = ("path", "file", "audio", "filename", "file_name")
SPLIT_FOLDERS = frozenset({"train", "validation", "valid", "val", "dev", "eval", "test"})
HUB_NAME = re.compile(r"\w[\w.-]*(/[\w.-]+)?")


def load_rows(
    source: str | Path,
    *,
    reader: str | None = None,
    config_name: str | None = None,
    split: str | None = None,
    columns: Mapping[str, str] | None = None,
    streaming: bool = False,
) -> Splits:
    """The rows of a corpus, by split.

    Args:
        source: a folder, a .csv or .tsv file, or a name on the Hub.
        reader: a name in `READERS`; None chooses by what the source is.
        config_name: configuration of a data set with several.
        split: the one split to return; None returns all.
        columns: column of the schema -> what the source calls it, as {"speaker_id": "speaker"}.
        streaming: True gives `IterableDataset`s, which hold nothing in memory and know no length.

    Returns:
        Split name -> rows; what has no splits of its own is "train". Class orders are in `.class_names`.

    Raises:
        InputError: the source does not exist, can't be read, or lacks what a row needs.
    """
    name = reader or guess_reader(source)
    splits = lookup(READERS, name, "reader")(str(source), dict(columns or {}), config_name, streaming)
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
    """
    path = Path(source)
    if path.is_file():
        if path.suffix.lower() not in TABLES:
            raise InputError(f"{source}: neither .csv nor .tsv; for audio files give the folder of the class folders")
        return "csv"
    if path.is_dir():
        if _metadata_table(path) is not None:
            return "csv"
        return "folder" if _looks_like_classes(path) else "dataset"
    if path.suffix.lower() in TABLES or not HUB_NAME.fullmatch(str(source)):
        raise InputError(f"{source}: there is no such file or folder; give a folder, a .csv file, or a name on the Hub")
    return "dataset"


def _warn_of_near_misses(source: str | Path, splits: Splits) -> None:
    names = next(iter(splits.values())).column_names or []
    for name in names:
        meant = near_miss(name)
        if meant and meant not in names:
            logger.warning("%s: if column %r means %r, map it: columns %s=%s", source, name, meant, meant, name)


# --- class folders ---------------------------------------------------------------------------------------------------


def _is_hidden(name: str) -> bool:
    """Hidden files, and the `._name` twins that macOS writes into archives, which look like audio and are not."""
    return name.startswith(".") or name == "__MACOSX"


def _sub_folders(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and not _is_hidden(p.name))


def _files(folder: Path) -> list[Path]:
    """Every visible file at or beneath a folder, sorted by path."""
    visible = (p for p in folder.rglob("*") if not any(map(_is_hidden, p.relative_to(folder).parts)))
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
    return not any(map(_metadata_table, subs)) and any(_is_audio(path) for sub in subs for path in _files(sub))


def read_folder(source: str, columns: dict[str, str], config_name: str | None, streaming: bool) -> Splits:
    """Rows from class folders: `label` is the sub-folder's name; files are looked for at any depth, in sorted order.

    Raises:
        InputError: no such folder, no class folders, a class without audio, or audio outside the class folders.
    """
    folder = Path(source).absolute()
    if not folder.is_dir():
        raise InputError(f"{source}: there is no such folder; give one with a sub-folder of audio files for each class")
    if config_name:
        raise InputError(f"{source}: class folders have no configurations; leave {config_name!r} out")
    parts = {part.name: part for part in _split_folders(folder)} or {"train": folder}
    return Splits({name: map_columns(_class_rows(part), columns, source) for name, part in parts.items()})


def _class_rows(folder: Path) -> Dataset:
    outside = [p.name for p in _files(folder) if p.parent == folder and _is_audio(p)]
    if outside:
        raise InputError(f"{folder}: audio outside the class folders: {list_some(outside, 5)}; move it into one")
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
    return _stored({"audio": paths, "label": labels})


def _stored(cells: Mapping[str, list[Any]]) -> Dataset:
    """Rows from columns of cells, audio given as paths; only numbers of the schema are not text."""
    features = Features({name: Value("float64" if _is_number(name) else "string") for name in cells})
    return Dataset.from_dict(dict(cells), features=features).cast_column("audio", Audio(decode=False))


def _is_number(name: str) -> bool:
    return name in COLUMNS and COLUMNS[name].kind == "number"


# --- tables ----------------------------------------------------------------------------------------------------------


def _metadata_table(folder: Path) -> Path | None:
    """The table of a folder laid out for the Hub (`metadata.csv` beside the audio), if there is one."""
    tables = [folder / f"metadata{suffix}" for suffix in TABLES]
    return next((table for table in tables if table.is_file()), None)


def read_csv(source: str, columns: dict[str, str], config_name: str | None, streaming: bool) -> Splits:
    """Rows from a .csv or .tsv file in UTF-8, or from a folder with `metadata.csv`.

    A path (columns["path"], or the first of PATH_COLUMNS that is there) counts from the folder of the table where it is
    not absolute. `age`, `start`, `end`, `duration` are numbers, everything else is text; an empty cell is None.

    Raises:
        InputError: no such file, not a table, no path, an unreadable number (with file and line), a missing column.
    """
    path = Path(source).absolute()
    table = _metadata_table(path) if path.is_dir() else path
    if table is None or not table.is_file():
        raise InputError(f"{source}: there is no such file; give a .csv or .tsv file with a path column")
    if config_name:
        raise InputError(f"{source}: a table has no configurations; leave {config_name!r} out")
    header, records = _table_records(table)
    names = _schema_names(table, header, columns)
    cells: dict[str, list[Any]] = {name: [] for name in names.values()}
    for line, record in records:
        for column, name in names.items():
            cells[name].append(_cell(table, line, name, record[column].strip()))
    splits = cells.pop("split", ["train"] * len(records))
    for (line, _), value in zip(records, splits, strict=True):
        if value is None:
            raise InputError(f"{table}, line {line}: the column 'split' is empty; write train, validation or test")
    rows = _stored(cells)
    order = list(dict.fromkeys(splits))
    if len(order) == 1:
        return Splits({order[0]: rows})
    return Splits({name: rows.select([i for i, value in enumerate(splits) if value == name]) for name in order})


def _table_records(table: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """The header, and each record with the line it ends on."""
    delimiter = TABLES.get(table.suffix.lower(), ",")
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=delimiter)
            header = [name.strip() for name in next(reader, [])]
            lines = [(reader.line_num, fields) for fields in reader if fields]
    except UnicodeDecodeError as error:
        raise InputError(f"{table}: not UTF-8 at byte {error.start}; save the table as UTF-8") from error
    except csv.Error as error:
        raise InputError(f"{table}: not a readable table ({error})") from error
    twice = [name for name, count in Counter(header).items() if count > 1]
    if twice:
        raise InputError(f"{table}: the column {twice[0]!r} stands twice in the header; rename one")
    for line, fields in lines:
        if len(fields) != len(header):
            raise InputError(f"{table}, line {line}: {len(fields)} fields, the header has {len(header)}; quote commas")
    if not lines:
        raise InputError(f"{table}: no rows; the first line is the header, each further line a recording")
    return header, [(line, dict(zip(header, fields, strict=True))) for line, fields in lines]


def _schema_names(table: Path, header: list[str], columns: dict[str, str]) -> dict[str, str]:
    """Column of the table -> column of the row; the path column becomes `audio`."""
    columns = dict(columns)
    path = columns.pop("path", None) or columns.pop("audio", None)
    path = path or next((name for name in PATH_COLUMNS if name in header), None)
    if path is None:
        raise InputError(f"{table}: no path column; columns: {', '.join(header)}; map one of them: columns path=NAME")
    return renamed_columns(header, {**columns, "audio": path}, str(table))


def _cell(table: Path, line: int, name: str, text: str) -> Any:
    if name == "audio":
        if not text:
            raise InputError(f"{table}, line {line}: the path is empty; fill it in, or remove the line")
        return str(table.parent / text)
    if not text:
        return None
    return _number(table, line, name, text) if _is_number(name) else text


def _number(table: Path, line: int, name: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"{table}, line {line}: {name!r} must be a number, not {text!r}; leave it empty where unknown")
    return number


READERS: dict[str, Callable[[str, dict[str, str], str | None, bool], Splits]] = {
    "folder": read_folder,
    "csv": read_csv,
    "dataset": read_dataset,
}
