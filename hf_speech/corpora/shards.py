"""Examples -> Parquet shards, each whole or not there, none larger than asked for, none written twice."""

import contextlib
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Features
from datasets.arrow_writer import ParquetWriter
from tqdm.auto import tqdm

from ..data.problems import Problems
from ..errors import InputError
from ..files import replacing
from .examples import Options, read_examples
from .places import sources_state

UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9}
_BUFFER = 32 * 10**6  # bytes of audio that are gathered before they are written
_ROW_GROUP = 100  # rows; small, so that one row can be read without much around it
_ROW_OVERHEAD = 500  # bytes of a row beside its audio and its texts, at most
_SHARD_OVERHEAD = 200_000  # bytes of a shard's schema and indices, at most


@dataclass(frozen=True)
class Shard:
    """A file to be written: its name, and which rows of the split it holds."""

    name: str
    first: int
    count: int


@dataclass(frozen=True)
class Written:
    """What a shard was found to hold.

    Attributes:
        kept: for each of its rows whether it is there.
        hashes: of the embedded audio of the rows that are there, uint64 (BLAKE2b); empty where audio is not embedded.
        bytes: of audio.
    """

    kept: np.ndarray
    hashes: np.ndarray
    bytes: int


def parse_size(text: str) -> int:
    """Bytes of a size such as 500MB.

    >>> parse_size("500MB"), parse_size("2 GB")
    (500000000, 2000000000)

    Raises:
        InputError: it is none, or under 1 MB.
    """
    number, unit = text.strip()[:-2].strip(), text.strip()[-2:].upper()
    try:
        size = int(float(number) * UNITS[unit])
    except (KeyError, ValueError, OverflowError):
        raise InputError(f"size {text!r}: give a number with MB or GB, such as 500MB") from None
    if size < 10**6:
        raise InputError(f"size {text!r}: shards under 1 MB are of no use; give 500MB or so")
    return size


def plan_shards(split: str, rows: pa.Table, options: Options, parts: str | None, limit: int) -> list[Shard]:
    """Which rows go into which file, so that no file is larger than `limit` bytes (unless one row is).

    The rows of a part must be neighbours.
    """
    ends = np.cumsum(_sizes(rows, options) + _text_sizes(rows) + _ROW_OVERHEAD)
    bounds = _part_bounds(rows, parts)
    shards: list[Shard] = []
    for part, first, stop in bounds:
        cuts = [first]
        while cuts[-1] < stop:
            before = ends[cuts[-1] - 1] if cuts[-1] else 0
            fits = int(np.searchsorted(ends, before + limit - _SHARD_OVERHEAD, side="right"))
            cuts.append(min(stop, max(fits, cuts[-1] + 1)))
        stem = split if part is None else f"{split}-{part}"
        count = len(cuts) - 1
        for i, (begin, end) in enumerate(zip(cuts, cuts[1:], strict=False)):
            shards.append(Shard(f"{stem}-{i:05d}-of-{count:05d}.parquet", begin, end - begin))
    return shards


def _part_bounds(rows: pa.Table, parts: str | None) -> list[tuple[str | None, int, int]]:
    if not len(rows):
        return []
    if parts is None:
        return [(None, 0, len(rows))]
    names = rows[parts].to_pylist()
    starts = [i for i, name in enumerate(names) if i == 0 or names[i - 1] != name]
    return [(names[i], i, j) for i, j in zip(starts, [*starts[1:], len(names)], strict=True)]


def _sizes(rows: pa.Table, options: Options) -> np.ndarray:
    """An upper bound of the bytes of audio of each row, (rows,) int64."""
    if not options.embed_audio:
        return np.zeros(len(rows), np.int64)
    # FLAC falls back to plain 16-bit samples where nothing can be gained, with a header for each 4096 of them.
    rate = 16_000 if options.transcode else rows["file_rate"].to_numpy()
    as_flac = np.ceil(rows["duration"].to_numpy() * rate * 2 * 1.02).astype(np.int64) + 10_000
    if options.transcode:
        return as_flac
    whole = np.ones(len(rows), bool)
    for name in ("start", "end", "channel"):
        if name in rows.column_names:
            whole &= pc.is_null(rows[name]).to_numpy()
    return np.where(whole, _file_sizes(rows) if whole.any() else 0, as_flac)


def _text_sizes(rows: pa.Table) -> np.ndarray:
    """Bytes of the texts of each row."""
    sizes = np.zeros(len(rows), np.int64)
    for name, kind in zip(rows.column_names, rows.schema.types, strict=True):
        if pa.types.is_string(kind):
            sizes += pc.fill_null(pc.binary_length(rows[name]), 0).to_numpy()
    return sizes


def _file_sizes(rows: pa.Table) -> np.ndarray:
    if "size" in rows.column_names and not rows["size"].null_count:
        return rows["size"].to_numpy()
    sizes = np.zeros(len(rows), np.int64)
    known = rows["size"].to_pylist() if "size" in rows.column_names else [None] * len(rows)
    for i, (path, size) in enumerate(zip(rows["path"], known, strict=True)):
        sizes[i] = Path(path.as_py()).stat().st_size if size is None else size
    return sizes


def write_shards(
    folder: Path,
    shards: list[Shard],
    rows: pa.Table,
    features: Features,
    options: Options,
    problems: Problems,
    bar: tqdm,
) -> Written:
    """Write the shards that are not there yet.

    A shard with rows that can't be read is not written where problems stop the run: the rest is still looked at, so
    that one message names them all.

    Returns:
        What all the shards hold, in order.
    """
    parts = []
    for shard in shards:
        piece = rows.slice(shard.first, shard.count)
        state = sources_state(piece)
        known = _read_facts(folder / shard.name, state, problems)
        if known is not None:
            parts.append(known)
            bar.update(shard.count)
            continue
        found = Problems(problems.on_bad)
        written = _write_shard(folder / shard.name, piece, features, options, found, bar)
        problems.take(found)
        if not (len(found) and found.refuse):
            _write_facts(folder / shard.name, state, written, found)
        parts.append(written)
    empty = [np.zeros(0, bool)], [np.zeros(0, np.uint64)]
    return Written(
        np.concatenate([part.kept for part in parts] or empty[0]),
        np.concatenate([part.hashes for part in parts] or empty[1]),
        sum(part.bytes for part in parts),
    )


class _RefusedError(Exception):
    """A shard with rows that can't be read, where such rows stop the run."""


def _write_shard(
    path: Path, rows: pa.Table, features: Features, options: Options, problems: Problems, bar: tqdm
) -> Written:
    kept = np.zeros(len(rows), bool)
    hashes: list[int] = []
    size = gathered = 0
    with contextlib.suppress(_RefusedError), replacing(path) as temporary:
        writer = ParquetWriter(features=features, path=str(temporary), writer_batch_size=_ROW_GROUP)
        try:
            for i, example in read_examples(rows, features, options, problems):
                content = example["audio"]["bytes"]
                if content is not None:
                    hashes.append(content_hash(content))
                    size += len(content)
                    gathered += len(content)
                kept[i] = True
                writer.write(example)
                if gathered > _BUFFER:
                    writer.write_examples_on_file()
                    gathered = 0
                bar.update()
            writer.finalize()
        finally:
            writer.close()
        if len(problems) and problems.refuse:
            raise _RefusedError
    bar.update(int((~kept).sum()))
    return Written(kept, np.array(hashes, np.uint64), size)


def content_hash(content: bytes) -> int:
    """64 bits of BLAKE2b: among two million recordings two differing ones are equal once in ten million corpora."""
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")


def _facts_file(shard: Path) -> Path:
    return shard.with_suffix(".json")


def _write_facts(shard: Path, state: str, written: Written, problems: Problems) -> None:
    """Last of a shard's files: it says that the shard is whole, and what its sources were like."""
    facts = {
        "state": state,
        "left_out": np.flatnonzero(~written.kept).tolist(),
        "rows": len(written.kept),
        "hashes": written.hashes.tobytes().hex(),
        "bytes": written.bytes,
        "problems": problems.to_dict(),
    }
    with replacing(_facts_file(shard)) as temporary:
        temporary.write_text(json.dumps(facts))


def _read_facts(shard: Path, state: str, problems: Problems) -> Written | None:
    """What a shard holds that an earlier run has written, if its sources are still the same."""
    if not (shard.is_file() and _facts_file(shard).is_file()):
        return None
    facts: dict[str, Any] = json.loads(_facts_file(shard).read_text())
    if facts["state"] != state:
        _facts_file(shard).unlink()  # before the shard is replaced
        return None
    kept = np.ones(facts["rows"], bool)
    kept[facts["left_out"]] = False
    problems.take(Problems.from_dict(facts["problems"]))
    return Written(kept, np.frombuffer(bytes.fromhex(facts["hashes"]), np.uint64), facts["bytes"])
