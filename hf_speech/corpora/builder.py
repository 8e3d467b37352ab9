"""What every corpus script builds on: rows found on disk -> a `datasets` builder.

A script defines one class: which columns it adds, and `find_rows`, which looks at names and metadata only. Measuring,
reading, checking, auditing and writing are the same for all corpora.
"""

import abc
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import datasets
import pyarrow as pa

from ..data.problems import Problems
from ..errors import InputError
from .examples import features_of, read_examples
from .lengths import measure


@dataclass
class CorpusConfig(datasets.BuilderConfig):
    """Options of every corpus; a script adds its own fields, each with {"help": ...} as metadata.

    Attributes:
        embed_audio: whether rows hold the audio itself; if not, its path.
        transcode: "flac" to decode and write flac (16 kHz, mono); None: bytes as they are.
        on_bad_row: "raise" or "skip".
    """

    embed_audio: bool = field(default=True, metadata={"help": "rows hold the audio itself; no: its path"})
    transcode: Literal["flac"] | None = field(default=None, metadata={"help": "flac: convert all audio to it"})
    on_bad_row: Literal["raise", "skip"] = field(default="raise", metadata={"help": "raise, or skip what is bad"})


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
    """

    splits: dict[str, pa.Table]
    files: dict[str, str] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    parts: str | None = None
    columns: dict[str, Any] | None = None


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
        return datasets.DatasetInfo(features=features_of(self.COLUMNS, self.config.embed_audio))

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        problems = Problems(self.config.on_bad_row)
        corpus = self.find_rows(problems)
        measured = {name: measure(table, problems) for name, table in corpus.splits.items()}
        problems.settle(self.dataset_name)
        if corpus.columns is not None:
            self.info.features = features_of(corpus.columns, self.config.embed_audio)
        return [datasets.SplitGenerator(name=name, gen_kwargs={"rows": rows}) for name, rows in measured.items()]

    def _generate_examples(self, rows: pa.Table) -> Iterator[tuple[str, dict[str, Any]]]:
        problems = Problems(self.config.on_bad_row)
        for _, example in read_examples(rows, self.info.features, self.config, problems):
            yield example["id"], example
        problems.settle(self.dataset_name)
