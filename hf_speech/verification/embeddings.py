"""The embeddings of many audio files: each utterance once, kept while they are computed, shared out over processes.

The batches are planned over all utterances, however many processes there are, and process r of R runs every R-th one,
from the r-th on. So an embedding is computed in the same company, and comes out the same to the bit, on one process or
several. In other company, such as among fewer utterances since others were kept, it differs by some 1e-7; one at a time
(`batch_seconds=0`) it is the same to the bit always.
"""

import logging
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from datasets import Dataset
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from ..audio import SAMPLE_RATE
from ..data.chunks import chunk_rows
from ..data.frozen import entry_name
from ..data.pieces import Pieces
from ..data.problems import ON_BAD
from ..errors import InputError, lookup
from ..files import replacing
from ..models.frames import length_batches
from ..outcome import MAX_SECONDS, average_of_pieces, padded_seconds
from ..ranks import first_speaks, from_all, join_ranks, summed, told_of_lost_ranks, wait_for_all
from ..store import ENTRY_BYTES, Store
from .embedder import Embedder
from .utterances import BadUtterance, Source, Utterances

logger = logging.getLogger(__name__)

_NOT_FINITE = (
    "is silent from end to end, or its embedding has NaN or infinite numbers; listen to it, or check the weights"
)


@dataclass(frozen=True)
class Embeddings:
    """The embeddings of N utterances.

    Attributes:
        ids: names, in the order asked for.
        vectors: (N, E) float32, as the model gives them: not scaled.
        seconds: (N,) float64, how long each utterance is.
        digests: (N,) SHA-256 of the files; empty where embeddings were read.
        bad: those that were asked for and left out.
        facts: how they were made, for results.json; empty where they were read from a file.
    """

    ids: list[str]
    vectors: NDArray
    seconds: NDArray
    digests: list[str] = field(default_factory=list)
    bad: list[BadUtterance] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)


def embed_files(
    model: Any,
    extractor: Any,
    files: Mapping[str, Source],
    *,
    cache: Path | None = None,
    chunk_seconds: float = MAX_SECONDS,
    batch_seconds: float | None = None,
    dtype: str = "float32",
    channel: int | str = "mean",
    on_bad: str = "raise",
    workers: int = 0,
    option: str = "--on-bad-audio",
) -> Embeddings:
    """Embeds audio files, those of like length together; under torchrun or `accelerate launch` each rank a share.

    An utterance longer than `chunk_seconds` is cut into pieces of equal length, none longer than that; its embedding is
    the mean of theirs, weighted by their length. What sounds the same is run once, whatever it is called.

    Args:
        model: of ours, or one of transformers that gives `embeddings`, one utterance at a time; it is not changed.
        extractor: its feature extractor.
        files: name of an utterance -> its file, or a row of a data set that has `audio`; `NamedRows` of many rows.
        cache: folder that keeps what was computed, by model and audio, for a run that goes on after a kill and for all
            later ones. None: nothing is kept.
        chunk_seconds: the longest piece; infinity: every utterance whole, which takes memory as the longest one does.
        batch_seconds: padded seconds in a batch; None: 60 on an accelerator; on a CPU 20, and 40 of a transformer in
            bfloat16.
        dtype: see `Embedder`.
        channel: of multi-channel files: "mean" of all, or a number from 0; that of a row stands above it.
        on_bad: "raise" at utterances that can't be embedded, or "skip" them with a warning that names each.
        workers: processes that read ahead; 0: none.
        option: the flag that says the same as `on_bad`, for messages.

    Returns:
        All of them, on every rank.

    Raises:
        InputError: utterances whose file is missing, broken or too short, or whose embedding is not finite, by name; a
            model that gives no embeddings; a folder that can't be used.
        BrokenRunError: another rank has ended.
    """
    refuse, begun = lookup(ON_BAD, on_bad, "answer to bad audio"), time.monotonic()
    if not files:
        raise InputError("there is nothing to embed; give a file")
    if batch_seconds is not None and not batch_seconds >= 0:
        raise InputError(f"batch_seconds is {batch_seconds:g}; give seconds, or 0 for one utterance at a time")
    rank, _ = join_ranks()
    left = f"the same command goes on with what is in {cache}" if cache else "nothing was kept"
    with told_of_lost_ranks(lambda: left):
        with first_speaks(known_to_all=True):
            embedder = Embedder(model, extractor, dtype)
            utterances = Utterances(files, channel, embedder.min_samples / int(extractor.sampling_rate))
            utterances.settle(utterances.bad, refuse, option)
            work = _Pass(embedder, utterances, channel, chunk_seconds, option if refuse else None)
            if cache is not None:
                work.store = Store(cache, embedder.identity(), type(model).__name__, writer=rank)
        work.run(batch_seconds, workers)
    vectors = work.averaged()
    broken = utterances.named(np.flatnonzero(~np.isfinite(vectors).all(axis=1)).tolist(), _NOT_FINITE)
    with first_speaks(known_to_all=True):
        utterances.settle(broken, refuse, option)
    rows = dict(utterances.rows)
    for one in broken:
        del rows[one.id]
    seconds = np.array([utterances.sounds[row].seconds for row in rows.values()])
    bad = [*utterances.bad, *broken]
    facts = {"utterances": len(rows), "left_out": len(bad), **work.facts(), "dtype": dtype}
    facts["wall_seconds"] = time.monotonic() - begun
    if rank == 0:
        logger.info("%s", _in_words(facts))
    digests = [utterances.sounds[row].digest for row in rows.values()]
    return Embeddings(list(rows), vectors[list(rows.values())], seconds, digests, bad, facts)


def write_embeddings(path: str | os.PathLike[str], embeddings: Embeddings) -> None:
    """Writes Parquet with the columns id, seconds and embedding; the same embeddings give the same bytes."""
    flat = pa.array(np.ascontiguousarray(embeddings.vectors, dtype=np.float32).reshape(-1))
    columns = {
        "id": pa.array(embeddings.ids, pa.string()),
        "seconds": pa.array(embeddings.seconds, pa.float64()),
        "embedding": pa.FixedSizeListArray.from_arrays(flat, embeddings.vectors.shape[1]),
    }
    with replacing(path) as temporary:
        pq.write_table(pa.table(columns), temporary)


def read_embeddings(path: str | os.PathLike[str]) -> Embeddings:
    """What `write_embeddings` wrote.

    Raises:
        InputError: the file is missing, or is not such a file.
    """
    try:
        table = pq.read_table(path, columns=["id", "seconds", "embedding"])
        size = table.schema.field("embedding").type.list_size
        flat = table["embedding"].combine_chunks().flatten().to_numpy()
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file; check the path") from None
    except (OSError, ValueError, AttributeError, pa.ArrowException) as error:
        raise InputError(f"{path}: holds no embeddings; give a Parquet file with id, seconds, embedding") from error
    return Embeddings(table["id"].to_pylist(), flat.reshape(-1, size), table["seconds"].to_numpy())


class _Pass:
    """One pass of a model over utterances, of which each rank runs a share.

    Args:
        embedder: the model.
        utterances: what can be used of them.
        channel: see `embed_files`, as the next.
        chunk_seconds: the longest piece.
        refused: the flag by which embeddings that are not finite are left out; None: they are, and end nothing.

    Attributes:
        pieces: of all utterances, in order.
        vectors: (P, E), of every piece.
        store: where they are kept, or None.
        computed: how many of them were, by all ranks together; the others had been kept.
    """

    def __init__(
        self, embedder: Embedder, utterances: Utterances, channel: int | str, chunk_seconds: float, refused: str | None
    ) -> None:
        self.embedder, self.utterances, self.sounds = embedder, utterances, utterances.sounds
        self.channel, self.chunk_seconds, self.refused = channel, chunk_seconds, refused
        longest = (
            max(sound.length for sound in self.sounds) / SAMPLE_RATE + 1.0
            if math.isinf(chunk_seconds)
            else chunk_seconds
        )
        columns = {name: [getattr(sound, name) for sound in self.sounds] for name in ("length", "start", "end")}
        self.pieces = chunk_rows(Dataset.from_dict(columns), longest)
        self.vectors = np.zeros((len(self.pieces), embedder.size), np.float32)
        self.store: Store | None = None
        self.computed = 0

    def run(self, batch_seconds: float | None, workers: int) -> None:
        """Fills in the vectors.

        Raises:
            InputError: see `embed_files`.
        """
        rank, ranks = join_ranks()
        seconds = padded_seconds(batch_seconds, self.embedder.device, self.embedder.gains)
        budget = seconds * SAMPLE_RATE if self.embedder.exact else 0.0
        batches = length_batches([piece.length for piece in self.pieces], budget)
        missing = self._recalled(batches[rank::ranks])
        if any(from_all(bool(missing))):
            with _alone(self.store):
                missing = self._recalled(missing)  # another run may have been at it
                self._compute(missing, workers)
        # On all ranks but one the numbers are 0: added as whole numbers, their bits stay what they are.
        bits = summed(torch.from_numpy(self.vectors).view(torch.int32))
        self.vectors = bits.view(torch.float32).numpy()
        self.computed = sum(from_all(sum(map(len, missing))))

    def averaged(self) -> NDArray:
        """Means over the pieces of each file: (R, E) float32."""
        owners = np.array([piece.row for piece in self.pieces])
        weights = np.array([piece.length for piece in self.pieces], np.float64)
        return average_of_pieces(self.vectors, owners, weights, len(self.sounds))

    def facts(self) -> dict[str, Any]:
        """How it went, for results.json."""
        counts = np.bincount([piece.row for piece in self.pieces])
        return {
            "sounds": len(self.sounds),
            "cut": int((counts > 1).sum()),
            "computed": self.computed,
            "from_cache": len(self.pieces) - self.computed,
            "audio_seconds": sum(sound.seconds for sound in self.sounds),
            "chunk_seconds": None if math.isinf(self.chunk_seconds) else self.chunk_seconds,
            "ranks": join_ranks()[1],
        }

    def _recalled(self, batches: Sequence[Sequence[int]]) -> list[list[int]]:
        """Fills in what is kept -> the rest, batch by batch."""
        names = {self._name(i): i for batch in batches for i in batch} if self.store else {}
        kept = self.store.read(names) if self.store else {}
        for name, vector in kept.items():
            self.vectors[names[name]] = vector.numpy()
        known = {names[name] for name in kept}
        rest = [[i for i in batch if i not in known] for batch in batches]
        return [batch for batch in rest if batch]

    def _compute(self, batches: Sequence[Sequence[int]], workers: int) -> None:
        """Runs the model, and keeps what it gives."""
        if self.store:
            size = 4 * self.embedder.size + ENTRY_BYTES
            self.store.require_room(size * sum(map(len, batches)))
        counts = np.bincount([piece.row for piece in self.pieces])
        alone = [counts[piece.row] == 1 for piece in self.pieces]
        with self.embedder.ready(), self.store.adding() if self.store else nullcontext() as keep:
            for batch, tensors in zip(batches, self._batches(batches, workers), strict=True):
                values = self.embedder(tensors)
                values[[alone[i] and silent for i, silent in zip(batch, _silent(tensors), strict=True)]] = math.nan
                self.vectors[batch] = values.numpy()
                broken = [self.pieces[i].row for i in batch if not np.isfinite(self.vectors[i]).all()]
                if broken and self.refused:
                    self.utterances.settle(self.utterances.named(broken, _NOT_FINITE), True, self.refused)
                if keep:
                    keep({self._name(i): vector.clone() for i, vector in zip(batch, values, strict=True)})

    def _batches(self, batches: Sequence[Sequence[int]], workers: int) -> Iterator[dict[str, Tensor]]:
        embedder = self.embedder
        loader = Pieces([(self.utterances, piece) for piece in self.pieces]).batches(
            batches,
            embedder.extractor,
            channel=self.channel,
            min_samples=embedder.min_samples,
            device=embedder.device,
            workers=workers,
        )
        return iter(tqdm(loader, desc="embedding", disable=True if join_ranks()[0] else None, leave=False))

    def _name(self, index: int) -> str:
        piece = self.pieces[index]
        sound = self.sounds[piece.row]
        return entry_name(sound.digest, piece, sound.channel)


def _silent(tensors: Mapping[str, Tensor]) -> list[bool]:
    """Whether each waveform of a batch is the same number from end to end: what a model makes of it is no voice's."""
    values, mask = tensors["input_values"], tensors["attention_mask"].bool()
    highest, lowest = (values.masked_fill(~mask, sign * -math.inf) for sign in (1, -1))
    return (highest.amax(dim=1) == lowest.amin(dim=1)).tolist()


@contextmanager
def _alone(store: Store | None) -> Iterator[None]:
    """While the ranks of this run compute, other runs of the same model wait for them."""
    with store.alone() if store and join_ranks()[0] == 0 else nullcontext():
        wait_for_all()
        yield
        wait_for_all()


def _in_words(facts: Mapping[str, Any]) -> str:
    """What was done, in a line."""
    rate = facts["audio_seconds"] / max(facts["wall_seconds"], 1e-3)
    if not facts["computed"]:
        return f"the embeddings of {facts['utterances']} utterances were kept from an earlier run"
    words = f"embedded {facts['utterances']} utterances ({facts['sounds']} sounds"
    if facts["cut"]:
        words += f", {facts['cut']} in pieces of at most {facts['chunk_seconds']:g} s"
    words += f"), {facts['audio_seconds']:.0f} s of audio in {facts['wall_seconds']:.1f} s: {rate:.0f} s a second"
    return words + (f"; {facts['from_cache']} embeddings were there before" if facts["from_cache"] else "")
