"""Cells -> rows as `datasets` holds them: audio by its path, numbers of the schema as numbers, the rest as text."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from datasets import Audio, Dataset, Features, Value

from .schema import COLUMNS

AUDIO_EXTENSIONS = frozenset({".wav", ".flac", ".ogg", ".mp3", ".m4a", ".aac"})
_TYPES = {"number": "float64", "count": "int64"}
# Where a row stands in the list that names it; such columns are there only while a corpus is prepared.
LISTED = {"list_file": Value("string"), "list_line": Value("int64")}
# What is measured then, whatever a table says.
MEASURED = frozenset({"length", "duration"})
_LARGEST = 2**53  # of whole numbers that a float64 holds


def is_hidden(name: str) -> bool:
    """Whether a file or folder is hidden, or what macOS writes into archives: `._` twins look like audio, and are not.

    >>> is_hidden("._a.wav"), is_hidden("__MACOSX"), is_hidden("a.wav")
    (True, True, False)
    """
    return name.startswith(".") or name == "__MACOSX"


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


def cell_of(name: str, text: str) -> Any:
    """What a column holds for a word of a list: a number where the schema says so, else the text; None for "".

    >>> cell_of("age", "31"), cell_of("channel", "1.0"), cell_of("speaker_id", "31"), cell_of("age", "")
    (31.0, 1, '31', None)

    Raises:
        ValueError: it is not the number that it must be, with the mend.
    """
    kind = COLUMNS[name].kind if name in COLUMNS else "text"
    if not text or kind not in _TYPES:
        return text or None
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    whole = kind == "count"
    if not math.isfinite(number) or (whole and not (number.is_integer() and abs(number) <= _LARGEST)):
        what = "a whole number" if whole else "a number"
        raise ValueError(f"{name!r} must be {what}, not {text!r}; leave it empty where unknown")
    return int(number) if whole else number


def _feature(name: str, values: Sequence[Any]) -> Any:
    keys = sorted({key for value in values if isinstance(value, Mapping) for key in value})
    if keys:
        return {key: Value("float64") for key in keys}
    if name in LISTED:
        return LISTED[name]
    return Value(_TYPES.get(COLUMNS[name].kind if name in COLUMNS else "", "string"))


def _filled(values: Sequence[Any], feature: Any) -> list[Any]:
    if not isinstance(feature, dict):
        return list(values)
    return [None if value is None else {key: value.get(key, 0.0) for key in feature} for value in values]
