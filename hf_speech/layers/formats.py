"""Features -> files: frames or vectors of utterances, as Parquet or as Kaldi's ark.

A writer takes the utterances of one file one by one, and `close` ends the file.
"""

from collections import Counter
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ..errors import InputError, list_some
from ..files import replacing
from ..verification.embeddings import Embeddings, write_embeddings

_ROW_GROUP = 2_000_000  # numbers of a row group: few enough that one utterance is read without much around it


class Writer(Protocol):
    """Writes one file."""

    def write(self, name: str, seconds: float, features: NDArray) -> int:
        """Takes an utterance: frames (F, D), or a vector (D,), float32 -> where it begins in the file, or 0."""

    def close(self) -> None:
        """Ends the file."""


class ParquetFrames:
    """Parquet with the columns id, seconds, and frames: a list of lists of D numbers an utterance."""

    def __init__(self, path: Path, size: int) -> None:
        self.size = size
        kinds = {"id": pa.string(), "seconds": pa.float64(), "frames": pa.list_(pa.list_(pa.float32(), size))}
        self.schema = pa.schema(list(kinds.items()))
        # Numbers of an encoder repeat nothing: neither a dictionary nor a compression pays.
        self.file = pq.ParquetWriter(path, self.schema, use_dictionary=False, compression="none")
        self.rows: list[tuple[str, float, NDArray]] = []
        self.held = 0  # numbers in them

    def write(self, name: str, seconds: float, features: NDArray) -> int:
        """See `Writer`."""
        self.rows.append((name, seconds, features))
        self.held += features.size
        if self.held >= _ROW_GROUP:
            self._write_group()
        return 0

    def close(self) -> None:
        """See `Writer`."""
        if self.rows:
            self._write_group()
        self.file.close()

    def _write_group(self) -> None:
        names, seconds, frames = zip(*self.rows, strict=True)
        self.rows, self.held = [], 0
        flat = pa.array(np.concatenate(frames).reshape(-1))
        ends = pa.array(np.cumsum([0, *map(len, frames)]), pa.int32())
        lists = pa.ListArray.from_arrays(ends, pa.FixedSizeListArray.from_arrays(flat, self.size))
        columns = [pa.array(names, pa.string()), pa.array(seconds, pa.float64()), lists]
        self.file.write_table(pa.Table.from_arrays(columns, schema=self.schema))


class ParquetVectors:
    """Parquet as `write_embeddings` writes it: id, seconds, embedding."""

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        self.rows: list[tuple[str, float, NDArray]] = []

    def write(self, name: str, seconds: float, features: NDArray) -> int:
        """See `Writer`."""
        self.rows.append((name, seconds, features))
        return 0

    def close(self) -> None:
        """See `Writer`."""
        if not self.rows:  # what was to come was refused
            return
        names, seconds, vectors = zip(*self.rows, strict=True)
        write_embeddings(self.path, Embeddings(list(names), np.stack(vectors), np.array(seconds)))


class KaldiArk:
    """An ark of Kaldi: a matrix (F, D), or a vector (D,), an utterance."""

    def __init__(self, path: Path, size: int) -> None:
        self.file: Any = path.open("wb")

    def write(self, name: str, seconds: float, features: NDArray) -> int:
        """See `Writer`."""
        import kaldiio

        begin = self.file.tell() + len(f"{name} ".encode())
        kaldiio.save_ark(self.file, {name: features})
        return begin

    def close(self) -> None:
        """See `Writer`."""
        self.file.close()


WRITERS: dict[tuple[str, bool], type] = {  # format, and whether they are frames
    ("parquet", True): ParquetFrames,
    ("parquet", False): ParquetVectors,
    ("kaldi", True): KaldiArk,
    ("kaldi", False): KaldiArk,
}
FILES = {"parquet": "part-{:05d}.parquet", "kaldi": "feats.{:05d}.ark"}  # format -> name of a file, by number
INDEX = "feats.scp"


def write_index(path: Path, places: dict[str, tuple[Path, int]]) -> None:
    """Writes Kaldi's scp: `id file:offset` a line, in the order of the ids' bytes, as its tools want them.

    Args:
        path: of the scp.
        places: id -> the ark, and where the utterance begins there.
    """
    lines = [f"{name} {file}:{begin}\n" for name, (file, begin) in places.items()]
    with replacing(path) as temporary:
        temporary.write_text("".join(sorted(lines, key=str.encode)), encoding="utf-8")


def check_names(names: list[str], format: str) -> None:
    """Refuses names by which utterances could not be found again.

    Raises:
        InputError: two utterances have one name, or one has a blank where Kaldi's lines end their names.
    """
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise InputError(
            f"several utterances are called {list_some(twice, 3)}; give a column `id` with a name for each"
        )
    spaced = [name for name in names if not name or any(letter.isspace() for letter in name)]
    if format == "kaldi" and spaced:
        raise InputError(
            f"Kaldi's names have no spaces: {list_some([repr(name) for name in spaced], 3)}; give a column `id` "
            "without, rename the files, or take --format parquet"
        )
