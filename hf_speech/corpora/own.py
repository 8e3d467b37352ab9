"""Anybody's own recordings as a corpus: whatever the readers of `hf_speech.data` read."""

import logging
import os
from collections import Counter
from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import Path, PurePath

import pyarrow as pa
from datasets import Dataset

from ..data.problems import Problems
from ..data.readers import load_rows
from ..data.schema import media_fragment
from ..data.splits import split_rows
from ..data.stored import LISTED, MEASURED
from ..errors import InputError
from .builder import Corpus, CorpusBuilder, CorpusConfig, option
from .examples import PRIVATE

logger = logging.getLogger(__name__)

# What `prepare` calls them -> what stands in the field `label_file`, where there is one; data sets of the Hub are
# prepared already.
OWN = {
    "folder": "",
    "csv": "the table, where it is not metadata.csv in the folder",
    "kaldi": "",
    "label-list": "the file of lines `path label`",
    "labels-json": "the file of labels",
}


@dataclass
class OwnConfig(CorpusConfig):
    """Options of the readers, and the split rules of `hf_speech.data.splits`."""

    label_file: str | None = option(None, "the table or list, here or in --data-dir; its paths count from --data-dir")
    columns: dict[str, str] = option({}, "our column -> the table's, as a=b,c=d")
    labels: list[str] | None = option(None, "what labels-json may hold, as anger,sad")
    validation: str | None = option(None, "split rule of validation rows, such as 0.1")
    test: str | None = option(None, "split rule of test rows, such as speaker_id=anna,ben")
    group_by: str | None = option("speaker_id", "column that a share keeps together")
    split_seed: int = option(0, "seed of a share")


class OwnBuilder(CorpusBuilder):
    """Rows from a reader; `own_builder` makes the class of each."""

    BUILDER_CONFIG_CLASS = OwnConfig
    READER = ""

    def find_rows(self, problems: Problems) -> Corpus:
        """See `CorpusBuilder`."""
        config = self.config
        if self.READER.startswith("label") and not config.label_file:
            raise InputError(f"{self.READER}: give --label-file, {OWN[self.READER]}")
        splits = load_rows(
            _label_file(config.label_file, self.data_dir) if config.label_file else self.data_dir,
            reader=self.READER,
            columns=config.columns,
            audio_root=self.data_dir if config.label_file else None,
            problems=problems,
            labels=config.labels,
        )
        if splits and (config.validation or config.test):
            splits = split_rows(
                splits,
                validation=config.validation,
                test=config.test,
                group_by=config.group_by,
                seed=config.split_seed,
            )
        found = {split: _renamed(rows) for split, rows in splits.items()}
        features = {name: kind for rows in found.values() for name, kind in rows.features.items()}
        ours = {"id", "audio", *LISTED, *MEASURED}
        return Corpus(
            _tables(found, os.path.normpath(self.data_dir.absolute())),
            columns={name: kind for name, kind in features.items() if name not in ours},
        )


def _label_file(name: str, folder: Path) -> Path:
    """The table or list: as any path on a command line, or else in the data folder.

    Raises:
        InputError: it is in neither.
    """
    places = list(dict.fromkeys(place / name for place in (Path.cwd(), folder.absolute())))
    for place in places:
        if place.exists():
            return place
    raise InputError(f"--label-file {name}: there is no {' and no '.join(map(str, places))}; check the path")


def _renamed(rows: Dataset) -> Dataset:
    """The rows, columns that are called as ours with an underscore more."""
    clash = [name for name in rows.column_names if name in PRIVATE - LISTED.keys()]
    if clash:
        logger.warning("columns named %s are ours: yours are called %s_", ", ".join(clash), "_, ".join(clash))
    return rows.rename_columns({name: f"{name}_" for name in clash})


def _tables(splits: Mapping[str, Dataset], root: str) -> dict[str, pa.Table]:
    """`id`, `path` and the rows' own columns, by split."""
    tables = {}
    for split, rows in splits.items():
        rows = rows.flatten_indices() if rows._indices is not None else rows
        table: pa.Table = rows.data.table.replace_schema_metadata(None)
        paths = table["audio"].combine_chunks().field("path")
        table = table.drop_columns([name for name in ("audio", *MEASURED) if name in table.column_names])
        tables[split] = table.add_column(0, "path", paths.cast(pa.string()))
    if all("id" in table.column_names for table in tables.values()):
        return tables
    names = _names({path for table in tables.values() for path in table["path"].to_pylist()}, root)
    return {split: table.add_column(0, "id", pa.array(_ids(table, names))) for split, table in tables.items()}


def _ids(table: pa.Table, names: Mapping[str, str]) -> list[str]:
    """A name a row that holds on any machine: that of its file, and the piece of it, if any."""
    blank = [None] * len(table)
    cut = ("start", "end", "channel")
    pieces = zip(*(table[name].to_pylist() if name in table.column_names else blank for name in cut), strict=True)
    paths = table["path"].to_pylist()
    return [names[path] + media_fragment(*piece) for path, piece in zip(paths, pieces, strict=True)]


def _names(paths: Set[str], root: str) -> dict[str, str]:
    """Path -> its name: where it lies in the data folder, without the suffix where no other file is called alike.

    Of files elsewhere it is the end of the path, as many of its parts as tell them apart.
    """
    inside = f"{root.rstrip(os.sep)}{os.sep}"
    files = {path: os.path.normpath(path) for path in paths}
    called = {path: file.removeprefix(inside) for path, file in files.items()}
    outside = {path: PurePath(file).parts[1:] for path, file in files.items() if called[path] == file}
    taken = {called[path] for path in paths - outside.keys()}
    for count in range(1, 1 + max(map(len, outside.values()), default=0)):
        ends = {path: "/".join(parts[-count:]) for path, parts in outside.items()}
        called |= ends
        apart = len(set(ends.values())) == len({files[path] for path in outside})
        if apart and taken.isdisjoint(ends.values()):
            break
    short = _short(set(called.values()))
    return {path: short[name] for path, name in called.items()}


def _short(names: Set[str]) -> dict[str, str]:
    """File -> its name without the suffix; with it, where two would be called alike.

    >>> _short({"x/a.wav", "x/a.flac", "x/b.wav"}) == {"x/a.wav": "x/a.wav", "x/a.flac": "x/a.flac", "x/b.wav": "x/b"}
    True
    """
    short = {name: os.path.splitext(name)[0] for name in names}
    while True:
        count = Counter(short.values())
        alike = {name for name, stem in short.items() if stem != name and count[stem] > 1}
        if not alike:
            return short
        short |= {name: name for name in alike}


def own_builder(reader: str) -> type[OwnBuilder]:
    """The builder class for a reader."""
    return type(f"Own{reader.title().replace('-', '')}", (OwnBuilder,), {"READER": reader, "__module__": __name__})
