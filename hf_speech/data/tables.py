"""The reader of tables: a .csv or .tsv file with a path column, any columns beside it, perhaps a column `split`."""

import csv
import re
from collections import Counter
from pathlib import Path
from typing import Any

from ..errors import InputError
from .request import Request
from .schema import Splits, renamed_columns
from .stored import LISTED, MEASURED, cell_of, stored_rows

TABLES = {".csv": ",", ".tsv": "\t"}
PATH_COLUMNS = ("path", "file", "audio", "filename", "file_name")
SPLIT_NAME = re.compile(r"\w+(\.\w+)*")  # what `datasets` takes


def metadata_table(folder: Path) -> Path | None:
    """The table of a folder laid out for the Hub (`metadata.csv` beside the audio), if there is one."""
    tables = [folder / f"metadata{suffix}" for suffix in TABLES]
    return next((table for table in tables if table.is_file()), None)


def read_csv(request: Request) -> Splits:
    """Rows from a .csv or .tsv file in UTF-8, or from a folder with `metadata.csv`.

    A path (columns["path"], or the first of PATH_COLUMNS that is there) counts from the folder of the table, or from
    `audio_root`, where it is not absolute. `age`, `start`, `end`, `duration` are numbers, `channel` is a whole one,
    everything else is text; an empty cell is None. A byte order mark and Windows line ends are what spreadsheets write,
    and right in a table (RFC 4180). Lines that can't be used are problems.

    Raises:
        InputError: no such file, not a table, no path column, a missing column.
    """
    path = Path(request.source).absolute()
    table = metadata_table(path) if path.is_dir() else path
    if table is None or not table.is_file():
        raise InputError(f"{request.source}: there is no such file; give a .csv or .tsv file with a path column")
    if request.config_name:
        raise InputError(f"{request.source}: a table has no configurations; leave {request.config_name!r} out")
    header, lines = _table_lines(table)
    names = _schema_names(table, header, request.columns)
    if request.preparing:
        names = _names_to_prepare(table, names)
    cells: dict[str, list[Any]] = {name: [] for name in (*names.values(), *(LISTED if request.preparing else ()))}
    seen: dict[str, int] = {}
    for line, fields in lines:
        try:
            row = _row(fields, header, names, request.audio_root or table.parent)
            _check_row(row, seen, line, request.preparing)
        except _BadLineError as bad:
            request.problems.add(bad.kind, table, bad.reason, line)
            continue
        row |= {"list_file": str(table), "list_line": line}
        for name, values in cells.items():
            values.append(row[name])
    splits = cells.pop("split", ["train"] * len(cells["audio"]))
    rows = stored_rows(cells)
    order = list(dict.fromkeys(splits))
    if len(order) == 1:
        return Splits({order[0]: rows})
    return Splits({name: rows.select([i for i, value in enumerate(splits) if value == name]) for name in order})


class _BadLineError(Exception):
    """A line that can't be used."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason


def _table_lines(table: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header, and the fields of each record with the line it ends on."""
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
    before = 1
    for line, fields in lines:
        if any("\n" in cell for cell in fields) and len(fields) != len(header):
            raise InputError(f"{table}, lines {before + 1} to {line}: a quote is opened and not closed; mend the table")
        before = line
    if not lines:
        raise InputError(f"{table}: no rows; the first line is the header, each further line a recording")
    return header, lines


def _row(fields: list[str], header: list[str], names: dict[str, str], root: Path) -> dict[str, Any]:
    """The cells of a line, by the row's columns."""
    if len(fields) != len(header):
        raise _BadLineError("malformed line", f"{len(fields)} fields, the header has {len(header)}; quote commas")
    given = dict(zip(header, fields, strict=True))
    row = {name: _cell(name, given[column].strip(), root) for column, name in names.items()}
    if "split" in row and row["split"] is None:
        raise _BadLineError("malformed line", "the column 'split' is empty; write train, validation or test")
    return row


def _check_row(row: dict[str, Any], seen: dict[str, int], line: int, preparing: bool) -> None:
    if preparing:
        split = row.get("split", "train")
        if split == "all" or not SPLIT_NAME.fullmatch(split):
            mend = "write a name of letters, digits and _, such as train; 'all' means every split"
            raise _BadLineError("malformed line", f"{split!r} can't be the name of a split; {mend}")
        if "id" in row and row["id"] is None:
            raise _BadLineError("malformed line", "the column 'id' is empty; fill it in, or leave the column out")
        if not Path(row["audio"]).is_file():
            raise _BadLineError("missing file", f"there is no {row['audio']}; remove the line, or mend the path")
    name = row.get("id")
    if name is not None and seen.setdefault(name, line) != line:
        raise _BadLineError("duplicate id", f"{name!r} stands in line {seen[name]} already; give each row its own id")


def _schema_names(table: Path, header: list[str], columns: dict[str, str]) -> dict[str, str]:
    """Column of the table -> column of the row; the path column becomes `audio`."""
    columns = dict(columns)
    path = columns.pop("path", None) or columns.pop("audio", None)
    path = path or next((name for name in PATH_COLUMNS if name in header), None)
    if path is None:
        raise InputError(f"{table}: no path column; columns: {', '.join(header)}; map one of them: columns path=NAME")
    return renamed_columns(header, {**columns, "audio": path}, str(table))


def _names_to_prepare(table: Path, names: dict[str, str]) -> dict[str, str]:
    """The same without what is measured."""
    ours = [column for column, name in names.items() if name in LISTED]
    if ours:
        raise InputError(f"{table}: a column can't be called {names[ours[0]]!r} here; rename {ours[0]!r}")
    return {column: name for column, name in names.items() if name not in MEASURED}


def _cell(name: str, text: str, root: Path) -> Any:
    if name == "audio":
        if not text:
            raise _BadLineError("malformed line", "the path is empty; fill it in, or remove the line")
        return str(root / text)
    try:
        return cell_of(name, text)
    except ValueError as error:
        raise _BadLineError("malformed line", str(error)) from error
