"""What speech something was made of, told by content and time: whatever a file is called, none of it is tested on."""

import functools
import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset

from ..errors import InputError
from ..files import replacing, sha256_of
from .schema import batches, file_name

Span = tuple[str, float, float]  # SHA-256 of stored audio, where it begins and ends there, seconds
HEARD = "heard.parquet"  # beside a pretrained encoder
_SPANS = pa.schema([("content", pa.string()), ("start", pa.float64()), ("end", pa.float64())])


def contents(rows: Dataset) -> Iterator[tuple[Span, str]]:
    """Of each row what it is, and its file; an end that is that of the audio is infinity."""
    for batch in batches(rows, ["audio", "start", "end"]):
        for row in batch:
            audio: Any = row["audio"]
            path = Path(str(audio["path"]))
            if audio["bytes"] is not None:
                content = hashlib.sha256(audio["bytes"]).hexdigest()
            elif path.is_file():
                stamp = path.stat()
                content = _content_of(str(path), stamp.st_size, stamp.st_mtime_ns)
            else:  # told of with all other bad files
                content = str(path)
            end = row.get("end")
            yield (content, row.get("start") or 0.0, np.inf if end is None else end), file_name(audio)


def in_both(rows: Dataset, others: Iterable[Span]) -> list[str]:
    """The files of those rows whose speech is among others, or overlaps with some."""
    spans: dict[str, list[tuple[float, float]]] = {}
    for content, begin, end in others:
        spans.setdefault(content, []).append((begin, end))
    return [
        file
        for (content, begin, end), file in contents(rows)
        if any(begin < other_end and other_begin < end for other_begin, other_end in spans.get(content, ()))
    ]


def write_spans(path: Path, spans: Iterable[Span], **metadata: str) -> None:
    """Writes spans as Parquet with the columns content, start and end.

    Args:
        path: of the file.
        spans: that are written.
        metadata: of the file, by name.
    """
    rows = [dict(zip(_SPANS.names, span, strict=True)) for span in spans]
    with replacing(path) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, _SPANS.with_metadata(metadata)), temporary)


def read_spans(path: str | os.PathLike[str]) -> tuple[list[Span], dict[str, str]]:
    """What `write_spans` wrote: spans, and the file's metadata.

    Raises:
        InputError: there is no such file, or it holds none.
    """
    try:
        table = pq.read_table(path).select(_SPANS.names)
    except (OSError, KeyError, pa.ArrowException) as error:
        raise InputError(f"{path}: can't be read, which says what speech was heard; make it anew") from error
    metadata = {str(name, "utf-8"): str(value, "utf-8") for name, value in (table.schema.metadata or {}).items()}
    return list(zip(*(column.to_pylist() for column in table.columns), strict=True)), metadata


def heard_by(backbone: str | None) -> list[Span]:
    """What an encoder has heard in pretraining of ours; of what is no folder, or has no list of it, nothing is known.

    Raises:
        InputError: the list can't be read.
    """
    file = Path(str(backbone)) / HEARD
    return read_spans(file)[0] if file.is_file() else []


def refuse_heard(backbone: str | None, tested: Dataset, name: str = "test") -> None:
    """Refuses to test on speech that an encoder has heard before, in pretraining of ours.

    Args:
        backbone: that a run starts from, see `heard_by`.
        tested: rows with `audio`.
        name: of their split.

    Raises:
        InputError: it has.
    """
    before = heard_by(backbone)
    both = in_both(tested, before) if before else []
    if both:
        raise InputError(
            f"{name}: the backbone {backbone} has heard {len(both)} of {len(tested)} recordings, such as "
            f"{Path(both[0]).name}; test on others, or adapt the encoder as a stage of the run (adaptation)"
        )


@functools.cache  # each stage of a run asks again
def _content_of(path: str, size: int, changed: int) -> str:
    return sha256_of(Path(path))
