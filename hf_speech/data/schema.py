"""The columns of a row: their one home, and how a column of a data set is read and added without touching the audio."""

import difflib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import Audio, Dataset, Features, IterableDataset
from datasets.arrow_dataset import update_metadata_with_features
from datasets.fingerprint import Hasher
from datasets.table import InMemoryTable, concat_tables

from ..errors import InputError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Column:
    """What a column of the schema holds.

    Attributes:
        kind: "audio", "text", "number" (float) or "count" (int).
        meaning: one line, with the unit.
    """

    kind: str
    meaning: str


COLUMNS = {
    "id": Column("text", "name of the row, unique in the data set"),
    "audio": Column("audio", "the recording: {bytes, path}; bytes None where the path is to be opened"),
    "duration": Column("number", "seconds of audio in the row, from the file's header"),
    "length": Column("count", "samples of the row at 16 kHz, from the file's header, never by decoding"),
    "start": Column("number", "where the row begins inside the recording, in seconds; none: at its beginning"),
    "end": Column("number", "where the row ends inside the recording, in seconds; none: at its end"),
    "channel": Column("count", "channel of the file (from 0) that is the row; none: the run's"),
    "segment_start": Column("number", "where embedded audio was cut from its recording, in seconds"),
    "segment_end": Column("number", "to where it was cut; none: to the recording's end"),
    "speaker_id": Column("text", "who speaks"),
    "recording_id": Column("text", "the recording (video, call, meeting) the row was cut from"),
    "session_id": Column("text", "the recording session"),
    "label": Column("text", "the class, where a corpus names it no further (class folders)"),
    "emotion": Column("text", "the emotion"),
    "age": Column("number", "age of the speaker in years"),
    "gender": Column("text", "gender of the speaker"),
    "language": Column("text", "language spoken"),
    "text": Column("text", "what is said"),
    "overlap": Column("number", "seconds of the row during which another speaker talks as well"),
    "fold": Column("text", "the cross-validation fold"),
    "split": Column("text", "train, validation or test; a reader turns it into splits"),
    "labels": Column("count", "made by `encode_target`: class number, or the value of a regression"),
}

# What corpora write for a gender, in lower case -> what the column holds.
GENDERS = {"f": "female", "m": "male", "female": "female", "male": "male"}

# Names that other corpora give to these columns.
ALIASES = {
    "speaker": "speaker_id",
    "spk": "speaker_id",
    "spk_id": "speaker_id",
    "client_id": "speaker_id",
    "recording": "recording_id",
    "session": "session_id",
    "sex": "gender",
    "lang": "language",
    "locale": "language",
    "transcript": "text",
    "transcription": "text",
    "sentence": "text",
}


def near_miss(name: str) -> str | None:
    """The column of the schema that `name` seems to mean, or None where it is one itself or is like none.

    >>> near_miss("Speaker"), near_miss("emotoin"), near_miss("emotion"), near_miss("accent")
    ('speaker_id', 'emotion', None, None)
    """
    if name in COLUMNS:
        return None
    lower = name.strip().lower()
    if lower in COLUMNS or lower in ALIASES:
        return ALIASES.get(lower, lower)
    # 0.85 allows one swap in a word of seven letters; shorter names are too near to everything ("page" to "age").
    near = difflib.get_close_matches(lower, [c for c in COLUMNS if len(c) > 4], n=1, cutoff=0.85)
    return near[0] if near else None


class StoredAudio(Audio):
    """The `Audio` feature that hands recordings on as they are stored.

    `datasets.Audio` imports torchcodec even to note down a path; this one needs it for nothing.
    """

    def __init__(self) -> None:
        super().__init__(decode=False)

    def encode_example(self, value: Any) -> dict[str, Any]:
        """A path, bytes, or a {bytes, path} struct, as a {bytes, path} struct."""
        if isinstance(value, bytes | bytearray):
            return {"bytes": bytes(value), "path": None}
        if isinstance(value, Mapping):
            return {"bytes": value.get("bytes"), "path": value.get("path")}
        return {"bytes": None, "path": str(value)}


class Splits(dict[str, Dataset]):
    """Split name -> rows, and the class order that the data set itself declares.

    Attributes:
        class_names: column -> its class names in the data set's own order (from ClassLabel columns).
    """

    def __init__(self, rows: Mapping[str, Any], class_names: Mapping[str, list[str]] | None = None) -> None:
        super().__init__(rows)
        self.class_names = dict(class_names or {})


def class_names_of(splits: Mapping[str, Dataset]) -> dict[str, list[str]]:
    """The class orders declared by a data set; none for a plain dictionary."""
    return dict(splits.class_names) if isinstance(splits, Splits) else {}


def require_column(rows: Dataset | IterableDataset, name: str, purpose: str) -> None:
    """Refuse rows without the column `name`.

    Raises:
        InputError: it is not there; those that are get listed, the likeliest first.
    """
    names = rows.column_names or []
    if name in names:
        return
    mend = "; give the one to predict as --target" if name == "label" else ""
    raise InputError(f"{purpose}: there is no column {name!r}{_meant(name, names)}; columns: {', '.join(names)}{mend}")


def _meant(name: str, names: Sequence[str]) -> str:
    """What whoever asks for a column that is not among these may have meant, for messages; "" where none is near."""
    ours = near_miss(name)
    if ours in names and name.strip().lower() in {*COLUMNS, *ALIASES}:
        return f" (it is called {ours} here, mapped or not: write {ours})"
    near = [ours] if ours in names else [c for c in names if near_miss(c) == name]
    near = near or difflib.get_close_matches(name, names, n=1)
    if not near:
        return ""
    if name in COLUMNS:
        return f" (is it {near[0]!r}? then map it: --columns {name}={near[0]})"
    return f" (did you mean {near[0]!r}?)"


def renamed_columns(names: list[str], columns: Mapping[str, str], source: str) -> dict[str, str]:
    """Old name -> new name for every column that stays; a mapped name pushes out a column that already has it.

    Raises:
        InputError: a column that is to be renamed is not there.
    """
    for new, old in columns.items():
        if old not in names:
            raise InputError(f"{source}: there is no column {old!r} to use as {new!r}; columns: {', '.join(names)}")
    renamed = {old: new for new, old in columns.items()}
    pushed_out = [name for name in names if name in columns and name not in renamed]
    if pushed_out:
        logger.warning("%s: mapped columns take the place of its own: %s", source, ", ".join(pushed_out))
    return {name: renamed.get(name, name) for name in names if name not in pushed_out}


def as_text(value: object) -> str | None:
    """A cell as the text that rules and classes compare: whole floats without ".0", empty cells as None.

    >>> as_text(31.0), as_text(" anger "), as_text(""), as_text(None), as_text(0)
    ('31', 'anger', None, None, '0')
    """
    if value is None or (isinstance(value, float) and value != value):
        return None
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip() or None


def channel_of(row: Mapping[str, Any], default: int | str) -> int | str:
    """The channel to read of a row: its own, where it has one, else the run's.

    >>> channel_of({"channel": 1}, "mean"), channel_of({"channel": None}, "mean"), channel_of({}, 0)
    (1, 'mean', 0)
    """
    text = as_text(row.get("channel"))  # a number that lay in a table as text, or as a float beside empty cells
    if text is None:
        return default
    return int(text) if text.isdecimal() else text


def column_texts(rows: Dataset, name: str) -> list[str | None]:
    """Every cell of a column by `as_text`, in row order."""
    return [as_text(value) for value in rows[name]]


def audio_paths(rows: Dataset) -> list[str | None]:
    """The path of every row's audio, in row order; embedded bytes are passed by, not copied."""
    paths: list[str | None] = []
    for batch in rows.select_columns(["audio"]).with_format("arrow").iter(100):
        paths += batch["audio"].combine_chunks().field("path").to_pylist()
    return paths


def file_name(audio: Mapping[str, Any] | None) -> str:
    """What a message calls the audio of a row, as `read_audio` does."""
    path = (audio or {}).get("path")
    embedded = (audio or {}).get("bytes") is not None
    return f"<bytes of {path}>" if path and embedded else str(path or "<bytes>")


def batches(rows: Dataset, columns: Sequence[str], size: int = 32) -> Iterator[list[dict[str, Any]]]:
    """The rows, those columns only, in lists of `size`: few enough that embedded audio fits in memory."""
    narrow = rows.select_columns([c for c in columns if c in rows.column_names]).with_format(None)
    for first in range(0, len(rows), size):
        cells = narrow[first : first + size]
        yield [dict(zip(cells, row, strict=True)) for row in zip(*cells.values(), strict=True)]


def add_columns(rows: Dataset, columns: Mapping[str, Sequence[Any] | pa.Array]) -> Dataset:
    """Rows with those columns added, or replaced where they exist; values in row order.

    `Dataset.add_column` first writes selected rows out, embedded audio and all. Here the selection stays, and a new
    column has a cell for every row beneath it (empty where that row is not selected). Only a selection that repeats a
    row is written out: one cell can't hold two values.

    Raises:
        InputError: a column has another number of values than there are rows.
    """
    new = {name: values if isinstance(values, pa.Array) else pa.array(values) for name, values in columns.items()}
    for name, values in new.items():
        if len(values) != len(rows):
            raise InputError(f"column {name!r} has {len(values)} values for {len(rows)} rows")
    rows = rows.remove_columns([name for name in columns if name in rows.column_names])
    if rows._indices is not None:
        indices = rows._indices.column(0).to_numpy()
        if len(np.unique(indices)) < len(indices):
            rows = rows.flatten_indices()
        else:
            place = np.full(len(rows.data), -1)
            place[indices] = np.arange(len(indices))
            new = {name: values.take(pa.array(place, mask=place < 0)) for name, values in new.items()}
    added = InMemoryTable.from_pydict(new)
    info = rows.info.copy()
    info.features = Features({**rows.features, **Features.from_arrow_schema(added.schema)})
    table = concat_tables([rows.data, added], axis=1)
    table = update_metadata_with_features(table, info.features)
    fingerprint = Hasher.hash([rows._fingerprint, {name: values.to_pylist() for name, values in new.items()}])
    return Dataset(table, info=info, split=rows.split, indices_table=rows._indices, fingerprint=fingerprint)


def media_fragment(start: float | None, end: float | None, channel: int | str | None = None) -> str:
    """A piece of a file: seconds as the W3C's Media Fragments write them, then the channel; "" for all of it.

    >>> media_fragment(0.5, 2.0), media_fragment(3600.123, None), media_fragment(None, None)
    ('#t=0.5,2', '#t=3600.123,', '')
    >>> media_fragment(0.5, None, 1), media_fragment(None, None, 0)
    ('#t=0.5,#channel=1', '#channel=0')
    """
    # Ten digits: samples of hours of sound are told apart, and rounding in the last bits is not.
    span = f"#t={start or 0:.10g},{'' if end is None else f'{end:.10g}'}"
    whole = start is None and end is None
    return ("" if whole else span) + ("" if channel is None else f"#channel={channel}")


def item_ids(rows: Dataset, root: str | None) -> list[str]:
    """A name an utterance that does not hang on where the data lies.

    The column `id` where every row has one of its own, else the path beneath the data set, and the cut.
    """
    if "id" in rows.column_names:
        named = [name for name in column_texts(rows, "id") if name is not None]
        if len(set(named)) == len(rows):
            return named
    folder = Path(root).absolute() if root else None
    folder = folder.parent if folder is not None and folder.is_file() else folder
    ids = []
    for i, path in enumerate(audio_paths(rows)):
        name = path or f"row {i}"
        if folder is not None and Path(name).is_relative_to(folder):
            name = Path(name).relative_to(folder).as_posix()
        ids.append(name)
    cuts = (rows[name] if name in rows.column_names else [None] * len(rows) for name in ("start", "end", "channel"))
    return [name + media_fragment(*cut) for name, *cut in zip(ids, *cuts, strict=True)]
