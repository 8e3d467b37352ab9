"""What a frozen encoder has said of utterances: read from the disk, in the place of their audio.

Rows that carry it have the column `FROZEN`, which says of each piece of a row where it lies.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from datasets import Dataset
from safetensors import safe_open
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ..audio import SAMPLE_RATE
from ..files import sha256_of
from .chunks import Chunk
from .collator import BatchOrigin, batch_labels
from .schema import add_columns, audio_paths, batches, channel_of, file_name

FROZEN = "frozen"  # [{file, entry}] of a row, one a piece: a safetensors file and the name of a tensor in it
_OPEN = 1_000  # files that are mapped at once; Linux lets a process map some 65,000


class FrozenCollator:
    """Makes a padded batch of what a frozen encoder has said of rows.

    Args:
        sample_rate: of the waveforms that it has heard, in Hz: `BatchOrigin` counts their samples.

    Attributes:
        skipped: nothing; what can't be used was found out when it was heard.

    Shape:
        rows [{frozen, length, audio, labels?}], one piece each -> input_values (B, F, ...) float32, attention_mask
        (B, F) int64, 1 at real frames, origin, labels as `SpeechCollator` has them
    """

    def __init__(self, sample_rate: int = SAMPLE_RATE) -> None:
        self.sample_rate = sample_rate
        self.skipped: dict[str, str] = {}

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """See the class."""
        batch: dict[str, Any] = frames_batch([row[FROZEN][0] for row in rows])
        samples = [round(row["length"] * self.sample_rate / SAMPLE_RATE) for row in rows]
        files = tuple(file_name(row["audio"]) for row in rows)
        batch["origin"] = BatchOrigin(files, sum(samples), len(samples) * max(samples))
        labels = batch_labels(rows)
        return batch if labels is None else {**batch, "labels": labels}


def frames_batch(places: Sequence[Mapping[str, str]]) -> dict[str, Tensor]:
    """The frames that lie at some places, padded: input_values (B, F, ...) and attention_mask (B, F)."""
    frames = [_file(place["file"]).get_tensor(place["entry"]) for place in places]
    counts = torch.tensor([len(values) for values in frames])
    mask = torch.arange(int(counts.max())) < counts[:, None]
    return {"input_values": pad_sequence(frames, batch_first=True), "attention_mask": mask.long()}


@lru_cache(maxsize=_OPEN)
def _file(path: str) -> Any:
    # Mapped, not read: what is in it comes into memory when it is asked for.
    return safe_open(path, framework="pt")


def places_of(rows: Dataset, pieces: Sequence[Chunk]) -> list[dict[str, str]]:
    """Where what was said of each piece lies.

    Args:
        rows: with the column `FROZEN`.
        pieces: all pieces of the rows, in order.
    """
    places = [place for row in rows[FROZEN] for place in row]
    if len(places) != len(pieces):
        raise ValueError(f"{len(places)} pieces are stored and {len(pieces)} are wanted")
    return places


def with_places(rows: Dataset, places: Sequence[Sequence[Mapping[str, str]]]) -> Dataset:
    """Rows with the column `FROZEN`; of their audio only the paths are left, so no epoch reads any."""
    paths = audio_paths(rows)
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    audio = pa.array([{"bytes": None, "path": path} for path in paths], type=kind)
    stored = pa.list_(pa.struct({"file": pa.string(), "entry": pa.string()}))
    return add_columns(rows, {"audio": audio, FROZEN: pa.array([list(row) for row in places], type=stored)})


def entry_names(rows: Dataset, pieces: Sequence[Chunk], channel: int | str) -> list[str]:
    """A name for each piece by what is heard there: the stored bytes of its audio, and the cut.

    Args:
        rows: with `audio`.
        pieces: of these rows.
        channel: of multi-channel files; the column `channel` of a row stands above it.
    """
    audio, channels = [], []
    of_file: dict[str, str] = {}
    for batch in batches(rows, ["audio", "channel"]):
        for row in batch:
            content, path = row["audio"]["bytes"], row["audio"]["path"]
            if content is None and path not in of_file:
                of_file[path] = sha256_of(Path(path))
            audio.append(of_file[path] if content is None else hashlib.sha256(content).hexdigest())
            channels.append(channel_of(row, channel))
    return [entry_name(audio[piece.row], piece, channels[piece.row]) for piece in pieces]


def entry_name(content: str, piece: Chunk, channel: int | str) -> str:
    """A name for a piece of audio by what is heard there.

    Args:
        content: SHA-256 of the stored bytes.
        piece: the cut.
        channel: that is heard.
    """
    cut = [content, piece.start or 0.0, piece.end, channel]
    return hashlib.sha256(json.dumps(cut).encode()).hexdigest()[:32]
