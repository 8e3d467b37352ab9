"""The reader of what `datasets` itself reads: a folder of Parquet or Arrow files, save_to_disk, a name on the Hub."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import (
    Audio,
    ClassLabel,
    Dataset,
    DatasetDict,
    Features,
    IterableDataset,
    Value,
    load_dataset_builder,
    load_from_disk,
)
from datasets.exceptions import DatasetGenerationError
from datasets.packaged_modules.folder_based_builder.folder_based_builder import FolderBasedBuilder
from datasets.utils.file_utils import xopen

from ..errors import InputError, one_line
from ..names import refuse_missing_folder
from .request import Request
from .schema import Splits, StoredAudio, add_columns, renamed_columns


def read_dataset(request: Request) -> Splits:
    """Rows from what `datasets` reads: a folder (Parquet, Arrow, save_to_disk) or a name on the Hub.

    ClassLabel columns become their names; their order is kept in `class_names`.

    Raises:
        InputError: it can't be loaded (with the library's words), or has no audio column.
    """
    source, columns, streaming = request.source, request.columns, request.streaming
    loaded = _load(source, request.config_name, streaming)
    if "path" in columns and "audio" not in columns:
        columns = {**{k: v for k, v in columns.items() if k != "path"}, "audio": columns["path"]}
    splits: dict[str, Any] = {}
    class_names: dict[str, list[str]] = {}
    for name, rows in loaded.items():
        rows = map_columns(rows, columns, source)
        declared = {c: list(f.names) for c, f in rows.features.items() if isinstance(f, ClassLabel)}
        class_names |= declared
        splits[name] = _stream(rows, declared) if streaming else _named_classes(rows, declared)
    return Splits(splits, class_names)


def _load(source: str, config_name: str | None, streaming: bool) -> Mapping[str, Any]:
    folder = Path(source)
    refuse_missing_folder(source, "give a folder, a .csv file, or a name on the Hub")
    try:
        if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
            saved = load_from_disk(source)
            return saved if isinstance(saved, DatasetDict) else {str(saved.split or "train"): saved}
        builder = load_dataset_builder(source, config_name)
        if isinstance(builder, FolderBasedBuilder):
            # The hook of that class for its feature: audio folders on the Hub then load without torchcodec too.
            builder.BASE_FEATURE = StoredAudio
        if streaming:
            return builder.as_streaming_dataset()
        builder.download_and_prepare()
        return builder.as_dataset()
    except (OSError, ValueError, RuntimeError, DatasetGenerationError) as error:
        cause = error.__cause__ if isinstance(error, DatasetGenerationError) and error.__cause__ else error
        # A name without an owner is hardly ever one of the Hub's.
        here = "" if "/" in source or folder.exists() else "there is no such file or folder here, and it "
        raise InputError(f"{source}: {here}can't be loaded as a data set: {one_line(cause)}") from error


def map_columns(rows: Any, columns: Mapping[str, str], source: str) -> Any:
    """Rename columns, find the audio column and hold it as {bytes, path}; for Dataset and IterableDataset."""
    if rows.features is None:
        raise InputError(f"{source}: its columns are not declared; save it as Parquet")
    columns = {**columns, "audio": columns.get("audio") or _audio_column(rows.features, source)}
    names = renamed_columns(list(rows.features), columns, source)
    stored = StoredAudio() if isinstance(rows, IterableDataset) else Audio(decode=False)
    # Before all else: a stream would decode every audio column on its way through a renaming.
    for name in [name for name, f in rows.features.items() if isinstance(f, Audio) or name == columns["audio"]]:
        rows = rows.cast_column(name, stored)
    rows = rows.remove_columns([name for name in rows.features if name not in names])
    return rows.rename_columns({old: new for old, new in names.items() if old != new})


def _audio_column(features: Features, source: str) -> str:
    found = [name for name, feature in features.items() if isinstance(feature, Audio)]
    if "audio" in features:
        return "audio"
    if len(found) != 1:
        what = f"several audio columns ({', '.join(found)})" if found else "no audio column"
        raise InputError(f"{source}: {what}; columns: {', '.join(features)}; map one: columns audio=NAME")
    return found[0]


def _named_classes(rows: Dataset, declared: Mapping[str, list[str]]) -> Dataset:
    """ClassLabel numbers as names; the other columns, audio above all, are not rewritten."""
    texts = {}
    for column, names in declared.items():
        numbers = rows.select_columns([column]).with_format("arrow")[:][column].combine_chunks()
        # datasets stores an unknown class as -1.
        known = [n if n is not None and n >= 0 else None for n in numbers.to_pylist()]
        texts[column] = pa.array(names).take(pa.array(known, type=pa.int64()))
    return add_columns(rows, texts) if texts else rows


def _stream(rows: IterableDataset, declared: Mapping[str, list[str]]) -> IterableDataset:
    """The same for a stream; audio that lies elsewhere (a URL, inside an archive) is fetched as it passes."""

    def finish(row: dict[str, Any]) -> dict[str, Any]:
        changed: dict[str, Any] = {}
        for column, names in declared.items():
            number = row[column]
            changed[column] = names[number] if number is not None and number >= 0 else None
        audio = row["audio"]
        if audio and audio["bytes"] is None and "://" in audio["path"]:
            with xopen(audio["path"], "rb") as file:
                changed["audio"] = {"bytes": file.read(), "path": audio["path"]}
        return changed

    features = Features({**rows.features, **{column: Value("string") for column in declared}})
    return rows.map(finish, features=features)
