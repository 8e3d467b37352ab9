"""Cells -> rows as `datasets` holds them: audio by its path, numbers of the schema as numbers, the rest as text."""

from collections.abc import Mapping, Sequence
from typing import Any

from datasets import Audio, Dataset, Features, Value

from .schema import COLUMNS

AUDIO_EXTENSIONS = frozenset({".wav", ".flac", ".ogg", ".mp3", ".m4a", ".aac"})
_TYPES = {"number": "float64", "count": "int64"}


def stored_rows(cells: Mapping[str, Sequence[Any]]) -> Dataset:
    """Rows from columns of cells, audio given as paths.

    A column of tables, such as votes {class: number}, has the keys that any of them has, each a number.
    """
    features = {name: _feature(name, values) for name, values in cells.items()}
    full = {name: _filled(values, features[name]) for name, values in cells.items()}
    return Dataset.from_dict(full, features=Features(features)).cast_column("audio", Audio(decode=False))


def rows_of(records: Sequence[Mapping[str, Any]]) -> Dataset:
    """Rows from one table of cells a row; a cell that a row lacks is empty."""
    names = dict.fromkeys(name for record in records for name in record)
    return stored_rows({name: [record.get(name) for record in records] for name in names})


def is_number(name: str) -> bool:
    """Whether the column of the schema holds numbers (float)."""
    return name in COLUMNS and COLUMNS[name].kind == "number"


def _feature(name: str, values: Sequence[Any]) -> Any:
    keys = sorted({key for value in values if isinstance(value, Mapping) for key in value})
    if keys:
        return {key: Value("float64") for key in keys}
    return Value(_TYPES.get(COLUMNS[name].kind if name in COLUMNS else "", "string"))


def _filled(values: Sequence[Any], feature: Any) -> list[Any]:
    if not isinstance(feature, dict):
        return list(values)
    return [None if value is None else {key: value.get(key, 0.0) for key in feature} for value in values]
