"""What every corpus script builds on: rows found on disk -> a `datasets` builder.

A script defines one class: which columns it adds, and `find_rows`, which looks at names and metadata only. Measuring,
reading, checking, auditing and writing are the same for all corpora.
"""

import abc
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Features

from ..data.problems import Problems
from ..data.schema import StoredAudio
from ..errors import InputError
from .examples import features_of, read_examples
from .lengths import measure


def option(default: Any, help: str) -> Any:
    """A field of a config that becomes a command-line option; each config has its own copy of a list or a dict.

    Args:
        default: its value where none is given.
        help: what it is for, in one line.
    """
    if isinstance(default, list | dict):
        return field(default_factory=default.copy, metadata={"help": help})
    return field(default=default, metadata={"help": help})


@dataclass
class CorpusConfig(datasets.BuilderConfig):
    """Options of every corpus; a script adds its own fields, each made by `option`.

    Attributes:
        embed_audio: whether rows hold the audio itself; if not, its path.
        transcode: "flac" to decode and write flac (16 kHz, mono); None: bytes as they are.
        on_bad_row: "raise" or "skip".
    """

    embed_audio: bool = option(True, "rows hold the audio itself; no: its path")
    transcode: Literal["flac"] | None = option(None, "flac: convert all audio to it")
    on_bad_row: Literal["raise", "skip"] = option("raise", "raise, or skip what is bad")


@dataclass
class Corpus:
    """What `find_rows` has found.

    Attributes:
        splits: split name -> table in the order of writing: `id`, the place of the audio (`path` alone for plain files,
            or all of `places.PLACE`), where wanted `start`, `end` (seconds) and `channel`, and the script's columns.
        files: further text files for the output folder: name -> content.
        facts: what audit.json says besides: name -> anything that JSON can hold.
        parts: a column by whose values shards are kept apart, each value being a configuration of the output as well.
        columns: the columns that are added, where they are not known before looking (a user's own table).
        is_corpus: whether this is the corpus that the script's card tells of, and not others laid out alike.
    """

    splits: dict[str, pa.Table]
    files: dict[str, str] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    parts: str | None = None
    columns: dict[str, Any] | None = None
    is_corpus: bool = True


class CorpusBuilder(datasets.GeneratorBasedBuilder):
    """A `datasets` builder whose rows come from `find_rows`.

    Attributes:
        COLUMNS: the columns that the corpus adds, with their types.
    """

    BUILDER_CONFIG_CLASS = CorpusConfig
    VERSION = datasets.Version("1.0.0")
    DEFAULT_WRITER_BATCH_SIZE = 100
    COLUMNS: ClassVar[Mapping[str, Any]] = {}

    @abc.abstractmethod
    def find_rows(self, problems: Problems) -> Corpus:
        """The rows, by names and metadata alone; no audio is opened.

        Args:
            problems: takes every row that can't be used; such a row is left out of what is returned.
        """

    @property
    def data_dir(self) -> Path:
        """The folder of the corpus.

        Raises:
            InputError: none was given, or it is not there.
        """
        if not self.config.data_dir:
            raise InputError(f"{self.dataset_name}: give --data-dir, the folder of the corpus")
        folder = Path(self.config.data_dir)
        if not folder.is_dir():
            raise InputError(f"{folder}: there is no such folder; give the folder of the corpus as --data-dir")
        return folder

    def _info(self) -> datasets.DatasetInfo:
        return datasets.DatasetInfo(features=_stored(features_of(self.COLUMNS, self.config.embed_audio)))

    def download_and_prepare(self, *args: Any, download_mode: Any = "force_redownload", **kwargs: Any) -> None:
        """As `datasets` has it, but anew each time: its cache does not see that the files of a folder have changed."""
        self.info = self._info()  # and not what an earlier run has left, which can't note audio without torchcodec
        super().download_and_prepare(*args, download_mode=download_mode, **kwargs)

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        problems = Problems(self.config.on_bad_row)
        corpus = self.find_rows(problems)
        tables = measured(without_twins(corpus.splits, problems), problems)
        problems.settle(self.dataset_name)
        if corpus.columns is not None:
            self.info.features = _stored(features_of(corpus.columns, self.config.embed_audio))
        return [datasets.SplitGenerator(name=name, gen_kwargs={"rows": rows}) for name, rows in tables.items()]

    def _generate_examples(self, rows: pa.Table) -> Iterator[tuple[str, dict[str, Any]]]:
        problems = Problems(self.config.on_bad_row)
        for _, example in read_examples(rows, self.info.features, self.config, problems):
            yield example["id"], example
        problems.settle(self.dataset_name)


def _stored(features: Features) -> Features:
    """The same features with audio as it is stored: `datasets` then needs no torchcodec to note it down."""
    return Features({**features, "audio": StoredAudio()})


def can_be_part(name: str, config_name: str) -> bool:
    """Whether a part, such as a meeting, can be a configuration of this name, and stand in the name of a file.

    >>> can_be_part("20200706_L_R001S01C01", "all"), can_be_part("all", "all"), can_be_part("a/b", "all")
    (True, False, False)
    """
    return re.fullmatch(r"\w[\w.-]*", name) is not None and name not in (config_name, "default")


def measured(tables: Mapping[str, pa.Table], problems: Problems, workers: int | None = None) -> dict[str, pa.Table]:
    """The rows of each split with their lengths; splits without rows are absent."""
    rows = {split: measure(table, problems, workers) for split, table in tables.items() if len(table)}
    return {split: table for split, table in rows.items() if len(table)}


def without_twins(splits: Mapping[str, pa.Table], problems: Problems) -> dict[str, pa.Table]:
    """The rows without those whose id an earlier row has."""
    ids = pa.chunked_array([chunk for table in splits.values() for chunk in table["id"].chunks], type=pa.string())
    if pc.count_distinct(ids).as_py() == len(ids):
        return dict(splits)
    counted = pc.value_counts(ids)
    twice = counted.field("values").filter(pc.greater(counted.field("counts"), 1))
    first: dict[str, str] = {}
    kept = {}
    for split, table in splits.items():
        keep = np.ones(len(table), bool)
        for i in np.flatnonzero(pc.is_in(table["id"], value_set=twice).to_numpy()):
            name, path = table["id"][i].as_py(), table["path"][i].as_py()
            if name in first:
                keep[i] = False
                file, line = (
                    (table["list_file"][i].as_py(), table["list_line"][i].as_py())
                    if "list_file" in table.column_names
                    else (path, None)
                )
                reason = f"{name} is the id of another row as well ({first[name]}); keep one of them"
                problems.add("duplicate id", file, reason, line)
            first.setdefault(name, path)
        kept[split] = table.filter(pa.array(keep))
    return kept
