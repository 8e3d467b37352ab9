"""Anybody's own recordings as a corpus: whatever the readers of `hf_speech.data` read."""

import logging
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
from datasets import Dataset

from ..data.problems import Problems
from ..data.readers import load_rows
from ..data.schema import media_fragment
from ..data.splits import split_rows
from ..errors import InputError
from .builder import Corpus, CorpusBuilder, CorpusConfig
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
_OURS = frozenset({"length", "duration"})  # measured, whatever the table says


@dataclass
class OwnConfig(CorpusConfig):
    """Options of the readers, and the split rules of `hf_speech.data.splits`."""

    label_file: str | None = field(
        default=None, metadata={"help": "the table or list; its paths count from --data-dir"}
    )
    columns: dict[str, str] = field(default_factory=dict, metadata={"help": "our column -> the table's, as a=b,c=d"})
    labels: list[str] | None = field(default=None, metadata={"help": "what labels-json may hold, as anger,sad"})
    validation: str | None = field(default=None, metadata={"help": "split rule of validation rows, such as 0.1"})
    test: str | None = field(default=None, metadata={"help": "split rule of test rows, such as speaker_id=anna,ben"})
    group_by: str | None = field(default="speaker_id", metadata={"help": "column that a share keeps together"})
    split_seed: int = field(default=0, metadata={"help": "seed of a share"})


class OwnBuilder(CorpusBuilder):
    """Rows from a reader; `own_builder` makes the class of each."""

    BUILDER_CONFIG_CLASS = OwnConfig
    READER = ""

    def find_rows(self, problems: Problems) -> Corpus:
        """See `CorpusBuilder`."""
        config = self.config
        source = Path(config.label_file) if config.label_file else self.data_dir
        if self.READER.startswith("label") and not config.label_file:
            raise InputError(f"{self.READER}: give --label-file, {OWN[self.READER]}")
        splits = load_rows(
            source,
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
        root = str(self.data_dir.absolute())
        tables = {split: _table(rows, root) for split, rows in splits.items()}
        names = dict.fromkeys(name for table in tables.values() for name in table.column_names)
        features = {name: kind for rows in splits.values() for name, kind in rows.features.items()}
        return Corpus(tables, columns={name: features[name] for name in names if name in features and name != "id"})


def _table(rows: Dataset, root: str) -> pa.Table:
    """`id`, `path` and the rows' own columns."""
    rows = rows.flatten_indices() if rows._indices is not None else rows
    table: pa.Table = rows.data.table.replace_schema_metadata(None)
    paths = table["audio"].combine_chunks().field("path").to_pylist()
    ids = table["id"].to_pylist() if "id" in table.column_names else _names(paths, table, root)
    clash = [name for name in table.column_names if name in PRIVATE]
    if clash:
        logger.warning("columns named %s are ours: yours are called %s_", ", ".join(clash), "_, ".join(clash))
        table = table.rename_columns([f"{name}_" if name in PRIVATE else name for name in table.column_names])
    table = table.drop_columns([name for name in ("audio", "id", *_OURS) if name in table.column_names])
    return table.add_column(0, "id", pa.array(ids, pa.string())).add_column(1, "path", pa.array(paths, pa.string()))


def _names(paths: list[str], table: pa.Table, root: str) -> list[str]:
    """A name a row that holds on any machine: the path in the data folder without its suffix, and the cut, if any."""
    cuts = [""] * len(paths)
    if "start" in table.column_names or "end" in table.column_names:
        spans = [
            table[name].to_pylist() if name in table.column_names else [None] * len(paths) for name in ("start", "end")
        ]
        cuts = [media_fragment(start, end) for start, end in zip(*spans, strict=True)]
    inside = [path[len(root) + 1 :] if path.startswith(f"{root}/") else path.lstrip("/") for path in paths]
    return [str(Path(name).with_suffix("")) + cut for name, cut in zip(inside, cuts, strict=True)]


def own_builder(reader: str) -> type[OwnBuilder]:
    """The builder class for a reader."""
    return type(f"Own{reader.title().replace('-', '')}", (OwnBuilder,), {"READER": reader, "__module__": __name__})
