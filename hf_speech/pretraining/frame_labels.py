"""Cluster labels of frames in files: Parquet, and the JSON files of FT-w2v2-ser."""

import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import Any, TextIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from datasets import Dataset
from datasets.exceptions import DatasetsError
from numpy.typing import NDArray

from ..data.heard import Span, read_spans, write_spans
from ..errors import InputError, list_some
from ..files import replacing
from .cluster_options import MOST
from .clusters import column_of, label_type

LABELS, FITTED_ON = "labels.parquet", "fitted_on.parquet"
GROUP_FRAMES = 200_000  # of a row group, about: an hour of speech
_FIRST, _HOP, _CODEBOOK = "first_seconds", "hop_seconds", "codebook_sha256"


class LabelWriter:
    """Writes labels recording by recording; the file is there when all of them are, or not at all.

    Columns: id; split; seconds; frames (how many); for each number of clusters K `kK`, a list of int16 (int32 above
    32,768 clusters). The file's metadata say when the frames are, `first_seconds` and `hop_seconds`, and of which
    codebook the labels are, `codebook_sha256`.

    Args:
        path: of the Parquet file.
        counts: numbers of clusters, ascending.
        first: middle of the first frame of a recording, seconds.
        hop: from one frame to the next, seconds.
        codebook: SHA-256 of its file.
    """

    def __init__(self, path: Path, counts: Sequence[int], *, first: float, hop: float, codebook: str) -> None:
        self.counts = list(counts)
        lists = [(column_of(count), pa.list_(pa.from_numpy_dtype(label_type(count)))) for count in self.counts]
        self._schema = pa.schema(
            [("id", pa.string()), ("split", pa.string()), ("seconds", pa.float64()), ("frames", pa.int64()), *lists],
            metadata={_FIRST: repr(first), _HOP: repr(hop), _CODEBOOK: codebook},
        )
        self._path, self._stack = path, ExitStack()
        self._rows: list[tuple[str, str, float, dict[int, NDArray]]] = []

    def __enter__(self) -> "LabelWriter":
        temporary = self._stack.enter_context(replacing(self._path))
        self._file = self._stack.enter_context(pq.ParquetWriter(temporary, self._schema))
        return self

    def __exit__(self, *error: Any) -> None:
        if error[0] is None and self._rows:
            self._write()
        self._stack.__exit__(*error)

    def add(self, name: str, split: str, seconds: float, labels: Mapping[int, NDArray]) -> None:
        """Writes the labels of a recording, by number of clusters."""
        self._rows.append((name, split, seconds, dict(labels)))
        if sum(len(row[3][self.counts[0]]) for row in self._rows) >= GROUP_FRAMES:
            self._write()

    def _write(self) -> None:
        names, splits, seconds, labels = zip(*self._rows, strict=True)
        lengths = [len(row[self.counts[0]]) for row in labels]
        offsets = pa.array(np.cumsum([0, *lengths]), pa.int32())
        lists = [
            pa.ListArray.from_arrays(offsets, pa.array(np.concatenate([row[count] for row in labels])))
            for count in self.counts
        ]
        columns = [pa.array(names), pa.array(splits), pa.array(seconds, pa.float64()), pa.array(lengths, pa.int64())]
        self._file.write_table(pa.Table.from_arrays([*columns, *lists], schema=self._schema))
        self._rows.clear()


class FrameLabels(Mapping[str, dict[int, NDArray]]):
    """The labels of many recordings, on the disk: id -> number of clusters -> (F,) labels of its frames.

    They lie in the cache of `datasets`, mapped, so memory holds what is asked for, and the ids.

    Args:
        rows: of the file.
        counts: numbers of clusters, ascending.
        first: middle of the first frame of a recording, seconds.
        hop: from one frame to the next, seconds.
    """

    def __init__(self, rows: Dataset, counts: Sequence[int], first: float, hop: float) -> None:
        self.counts, self.first, self.hop = list(counts), first, hop
        self._rows = rows
        self._places = {name: place for place, name in enumerate(rows["id"])}

    def __getitem__(self, name: str) -> dict[int, NDArray]:
        place = self._places[name]
        return {
            count: self._rows.data.column(column_of(count))[place].values.to_numpy().astype(label_type(count))
            for count in self.counts
        }

    def largest(self) -> dict[int, float]:
        """Number of clusters -> share of all frames that are of the largest one."""
        shares = {}
        for count in self.counts:
            sizes = np.zeros(count, dtype=np.int64)
            for chunk in self._rows.data.column(column_of(count)).chunks:
                sizes += np.bincount(chunk.flatten().to_numpy(), minlength=count)
            shares[count] = float(sizes.max() / max(sizes.sum(), 1))
        return shares

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def read_frame_labels(path: str | os.PathLike[str]) -> FrameLabels:
    """The labels that `hf-speech cluster` wrote.

    Args:
        path: of the Parquet file, or of its folder.

    Raises:
        InputError: there is no such file, or it holds no labels, or such as can't be.
    """
    file = Path(path) / LABELS if Path(path).is_dir() else Path(path)
    if not file.is_file():
        raise InputError(f"{file}: there is no such file; `hf-speech cluster` writes it")
    try:
        schema = pq.read_schema(file)
        first, hop = (float((schema.metadata or {})[key.encode()]) for key in (_FIRST, _HOP))
        schema.field("id")
    except (OSError, KeyError, ValueError, pa.ArrowException) as error:
        raise InputError(f"{file}: holds no labels of frames; give what `hf-speech cluster` wrote") from error
    if not (math.isfinite(first) and math.isfinite(hop) and hop > 0):
        raise _refusal(file, "its metadata", f"say that frames are at {first} s and every {hop} s")
    counts = [int(name[1:]) for name in schema.names if re.fullmatch("k[1-9][0-9]{0,17}", name)]
    _check_kinds(file, schema, counts)
    try:
        rows = Dataset.from_parquet(str(file))
    except (DatasetsError, pa.ArrowException) as error:
        raise _refusal(file, "it", "is damaged") from error
    _check_labels(file, rows.data.table, counts)
    return FrameLabels(rows, counts, first, hop)


def _refusal(file: Path, column: str, what: str) -> InputError:
    return InputError(f"{file}: {column} {what}; give what `hf-speech cluster` wrote")


def _check_kinds(file: Path, schema: pa.Schema, counts: Sequence[int]) -> None:
    """Refuses columns that can't be those of a `LabelWriter`.

    Raises:
        InputError: so.
    """
    if schema.field("id").type not in (pa.string(), pa.large_string()):
        raise _refusal(file, "column id", f"is of the kind {schema.field('id').type}, not of strings")
    if not counts:
        raise _refusal(file, "it", "has no column of labels, such as k64")
    for count in counts:
        kind = schema.field(column_of(count)).type
        if count > MOST:
            raise _refusal(file, f"column {column_of(count)}", f"is of more than {MOST} clusters")
        if not (pa.types.is_list(kind) and pa.types.is_integer(kind.value_type)):
            raise _refusal(file, f"column {column_of(count)}", f"is of the kind {kind}, not of lists of whole numbers")


def _check_labels(file: Path, table: pa.Table, counts: Sequence[int]) -> None:
    """Refuses labels that are of no cluster, and rows whose frames have some labels and lack others.

    Raises:
        InputError: so.
    """
    frames = pc.list_value_length(table[column_of(counts[0])])
    for count in counts:
        name, lists = f"column {column_of(count)}", table[column_of(count)]
        labels = pc.list_flatten(lists)
        if lists.null_count or labels.null_count:
            raise _refusal(file, name, "has frames without a label")
        if pc.list_value_length(lists) != frames:
            raise _refusal(file, name, f"has other frames than column {column_of(counts[0])}")
        least, most = pc.min_max(labels).as_py().values()
        if least is None:
            raise _refusal(file, name, "has no labels")
        if least < 0 or most >= count:
            raise _refusal(file, name, f"has the label {least if least < 0 else most}, and labels are 0 to {count - 1}")


def write_fitted_on(folder: Path, spans: Iterable[Span], codebook: str) -> None:
    """Writes which speech a codebook, of that SHA-256, was fitted on; see `fitted_on`."""
    write_spans(folder / FITTED_ON, spans, **{_CODEBOOK: codebook})


def fitted_on(path: str | os.PathLike[str], codebook: str | None = None) -> list[Span]:
    """Which speech the codebook of labels was fitted on, so that none of it is tested on.

    Args:
        path: of what `hf-speech cluster` wrote, as `read_frame_labels` takes it.
        codebook: its SHA-256; None: that of which the labels are.

    Returns:
        Of each recording the SHA-256 of its stored audio, and where it begins and ends there, seconds; an end that is
        that of the audio is infinity.

    Raises:
        InputError: it is not noted there, or of another codebook.
    """
    labels = Path(path) / LABELS if Path(path).is_dir() else Path(path)
    file = labels.with_name(FITTED_ON)
    try:
        spans, metadata = read_spans(file)
        noted = metadata[_CODEBOOK]
        wanted = _codebook_of(pq.read_schema(labels)) if codebook is None else codebook
    except (InputError, OSError, KeyError, ValueError, pa.ArrowException) as error:
        raise InputError(f"{file}: can't be read, which says what the codebook was fitted on; fit it anew") from error
    if noted != wanted:
        raise InputError(
            f"{file}: tells of another codebook than {'that' if codebook else labels.name} beside it; fit it anew"
        )
    return spans


def _codebook_of(schema: pa.Schema) -> str:
    """The SHA-256 of the codebook that a file of ours is of.

    Raises:
        KeyError: it is none of ours.
    """
    return str((schema.metadata or {})[_CODEBOOK.encode()], "utf-8")


class LabelJson:
    """Writes labels as FT-w2v2-ser has them: `64-clus.json` {file: [label, ...]}, one for each number of clusters.

    Beside these `all-clus.json`, {file: [labels of the first number, of the second, ...]}.

    Args:
        folder: where to write.
        counts: numbers of clusters, ascending.
    """

    def __init__(self, folder: Path, counts: Sequence[int]) -> None:
        self.counts = list(counts)
        self._paths = [*(folder / f"{count}-clus.json" for count in self.counts), folder / "all-clus.json"]
        self._stack = ExitStack()
        self._files: list[TextIO] = []
        self._any = False

    def __enter__(self) -> "LabelJson":
        temporaries = [self._stack.enter_context(replacing(path)) for path in self._paths]
        self._files = [self._stack.enter_context(path.open("w", encoding="utf-8")) for path in temporaries]
        self._put(["{"] * len(self._files))
        return self

    def __exit__(self, *error: Any) -> None:
        if error[0] is None:
            self._put(["\n}\n"] * len(self._files))
        self._stack.__exit__(*error)

    def add(self, name: str, labels: Mapping[int, NDArray]) -> None:
        """Writes the labels of a recording, whose id is given, under the name of its file."""
        plain = [labels[count].tolist() for count in self.counts]
        start = f"{',' if self._any else ''}\n{json.dumps(json_name(name), ensure_ascii=False)}: "
        self._put([start + json.dumps(values) for values in [*plain, plain]])
        self._any = True

    def _put(self, texts: Sequence[str]) -> None:
        for file, text in zip(self._files, texts, strict=True):
            file.write(text)


def json_name(name: str) -> str:
    """What FT-w2v2-ser's files call a recording: the last part of its id.

    >>> json_name("session1/Ses01F_impro01_F000.wav")
    'Ses01F_impro01_F000.wav'
    """
    return PurePosixPath(name).name


def require_json_names(names: Sequence[str]) -> None:
    """Refuses ids of which two have one name in FT-w2v2-ser's files.

    Raises:
        InputError: there are such.
    """
    seen: dict[str, str] = {}
    twice = [f"{seen[json_name(name)]} and {name}" for name in names if seen.setdefault(json_name(name), name) != name]
    if twice:
        raise InputError(
            f"--format json: recordings are told apart by the names of their files, and some are called alike: "
            f"{list_some(twice, 3)}; leave --format json out"
        )
