"""The recordings of which features are wanted: read, looked at by one process for all, and named."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from datasets import Dataset, concatenate_datasets

from ..data.checks import check_rows
from ..data.chunks import whole_rows
from ..data.frozen import entry_names
from ..data.home import find_dataset
from ..data.readers import guess_reader, load_rows
from ..data.recordings import rows_of_files
from ..data.schema import add_columns, item_ids
from ..data.stored import AUDIO_EXTENSIONS
from ..errors import InputError
from ..ranks import from_all, join_ranks
from .options import RecordingOptions

Found = TypeVar("Found")


@dataclass(frozen=True)
class Recordings:
    """Recordings that can be used.

    Attributes:
        ids: their names.
        rows: with `audio`, and once they were looked at `length` and `duration`.
        digest: of names, audio and cuts; empty before they were looked at.
        left_out: how many could not be used.
    """

    ids: list[str]
    rows: Dataset
    digest: str = ""
    left_out: int = 0


def read_recordings(data: Sequence[str], options: RecordingOptions) -> Recordings:
    """Reads audio files, folders of them, or a data set.

    Args:
        data: one source as any reader takes it; or audio files, and folders of them.
        options: how it is read.

    Raises:
        InputError: there is none, or it can't be read.
    """
    if len(data) > 1 or _is_of_files(data[0], options):
        if options.split is not None:
            raise InputError(f"--split {options.split} is of a data set, and audio files have none; leave it out")
        rows, root = rows_of_files(data), data[0] if len(data) == 1 else None
        return Recordings(item_ids(rows, root), rows)
    source = find_dataset(data[0], options.data_dir)
    splits = load_rows(
        source,
        reader=options.reader,
        config_name=options.dataset_config,
        split=options.split,
        columns=options.columns,
        audio_root=options.audio_root,
    )
    rows = concatenate_datasets(list(splits.values()))
    return Recordings(item_ids(rows, source), rows)


def checked(found: Recordings, options: RecordingOptions, min_seconds: float, channel: int | str) -> Recordings:
    """Those of them that can be used, looked at by the first rank for all.

    Raises:
        InputError: there are others, and they are not to be left out; or none is left.
    """

    def look() -> tuple[list[int], list[int], list[float], list[str], int]:
        rows, bad = check_rows(
            found.rows,
            how=options.check_audio,
            on_bad=options.on_bad_audio,
            min_duration=min_seconds,
            channel=channel,
        )
        wrong = {one.row for one in bad}
        good = [i for i in range(len(found.rows)) if i not in wrong]
        audio = entry_names(rows, whole_rows(rows), channel)
        return good, list(rows["length"]), list(rows["duration"]), audio, len(bad)

    good, lengths, seconds, audio, left_out = by_first(look)
    rows = found.rows if not left_out else found.rows.select(good)
    ids = [found.ids[i] for i in good]
    digest = hashlib.sha256(json.dumps([ids, audio]).encode()).hexdigest()
    return Recordings(ids, add_columns(rows, {"length": lengths, "duration": seconds}), digest, left_out)


def by_first(work: Callable[[], Found]) -> Found:
    """What the first rank finds, on all of them; what it refuses, all refuse.

    Raises:
        InputError: on every rank.
    """
    found: Found | None = None
    refusal = None
    if join_ranks()[0] == 0:
        try:
            found = work()
        except InputError as error:
            refusal = str(error)
    found, refusal = from_all((found, refusal))[0]
    if refusal is not None:
        raise InputError(refusal)
    return found


def _is_of_files(source: str, options: RecordingOptions) -> bool:
    """Whether it is an audio file, or a folder of nothing that a reader of data sets would want."""
    path = Path(source)
    if options.reader is not None or options.dataset_config is not None:
        return False
    if path.is_file():
        return path.suffix.lower() in AUDIO_EXTENSIONS
    if not path.is_dir() or guess_reader(source) != "dataset":
        return False
    kinds = {file.suffix.lower() for file in path.rglob("*") if file.is_file()}
    return not kinds.isdisjoint(AUDIO_EXTENSIONS) and kinds.isdisjoint({".parquet", ".arrow", ".csv", ".jsonl"})
