"""`hf-speech embed`: features of layers, or embeddings, of many recordings into a folder.

What is to be done is cut into parts of neighbouring recordings, the same however many processes there are; rank r of R
takes every R-th one. A part is planned, and computed, alone: a run that was killed and goes on writes what one in one
go would have written, to the bit.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from tqdm import tqdm

from ..errors import InputError
from ..files import is_full, replacing
from ..fingerprint import fingerprint
from ..identity import releases
from ..inference import load_model
from ..outcome import MAX_SECONDS
from ..ranks import first_speaks, join_ranks, told_of_lost_ranks, wait_for_all
from ..store import in_megabytes, require_room
from ..verification.embedder import Embedder
from ..verification.embeddings import embed_files
from ..verification.options import EmbeddingOptions
from ..verification.utterances import NamedRows
from .encoders import LayeredEncoder, has_layers, load_layers
from .folder import FeatureFolder
from .formats import FILES, INDEX, WRITERS, check_names, write_index
from .options import EmbedOptions, FeatureOptions
from .passes import STATISTICS, frames_of_rows, pooled_of_rows, require_numbers
from .recordings import Recordings, by_first, checked, read_recordings

logger = logging.getLogger(__name__)

_ENTRY_BYTES = 200  # of an utterance beside its numbers, and more


def embed(
    model: str,
    data: Sequence[str],
    folder: str | Path,
    options: EmbedOptions | None = None,
) -> dict[str, Any]:
    """Writes features of recordings; under torchrun or `accelerate launch` each rank a share.

    Args:
        model: a model's folder or Hub name; for layers also a checkpoint of an encoder.
        data: one data set as any reader takes it; or audio files, and folders of them.
        folder: where to write; it is made if need be.
        options: all else.

    Returns:
        The facts of features.json, on every rank.

    Raises:
        InputError: something that was given can't be used, or the folder holds features of something else.
        BrokenRunError: another rank has ended.
    """
    chosen, home = options or EmbedOptions(), Path(folder)
    work = _embeddings if chosen.features.layer is None else _layers
    rank, _ = join_ranks()
    try:
        with told_of_lost_ranks(lambda: f"the same command goes on with what is in {home}"):
            with first_speaks(known_to_all=True):
                found = read_recordings(data, chosen.recordings)
                check_names(found.ids, chosen.features.format)
                place = FeatureFolder(home)
            with place.alone() if rank == 0 else nullcontext():
                return work(model, found, place, chosen)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"by Ctrl-C; the same command goes on with what is in {home}") from None


def _layers(model: str, found: Recordings, place: FeatureFolder, options: EmbedOptions) -> dict[str, Any]:
    """Features of layers."""
    begun, features = time.monotonic(), options.features
    with first_speaks(known_to_all=True):
        encoder = load_layers(model, str(features.layer), revision=features.revision, dtype=options.embedding.dtype)
        least = encoder.min_samples / encoder.rate
        found = checked(found, options.recordings, least, options.embedding.channel_number)
        work = _Pass(encoder, found, place, options)
        by_first(lambda: place.claim(work.identity(), features.overwrite))
        missing = by_first(work.missing)
    work.run(missing)
    facts = {
        "model": model,
        "revision": features.revision,
        "layers": list(encoder.layers),
        "depth": encoder.depth,
        "size": encoder.size,
        "pooling": features.pooling,
        **work.facts(),
        "hop_seconds": encoder.hop / encoder.rate,
        "sampling_rate": encoder.rate,
        **_of_data(found, features),
    }
    if join_ranks()[0] == 0:
        if features.format == "kaldi":
            work.write_indices()
        place.finish(facts)
        logger.info("%s", _in_words(facts, len(missing), len(work.parts), time.monotonic() - begun))
    return facts


def _embeddings(model: str, found: Recordings, place: FeatureFolder, options: EmbedOptions) -> dict[str, Any]:
    """The model's own embeddings."""
    features, embedding = options.features, options.embedding
    with first_speaks(known_to_all=True):
        try:
            loaded, extractor = load_model(model, features.revision)
            embedder = Embedder(loaded, extractor, embedding.dtype)
        except InputError as error:
            if not has_layers(model, features.revision):
                raise
            raise InputError(f"{error}; or give --layer, for the frames of its layers") from error
        of_what = {**embedder.identity(), "format": features.format, "recordings": fingerprint(found.ids)}
        of_what["chunk_seconds"] = str(_longest(embedding))
        by_first(lambda: place.claim(of_what, features.overwrite))
    made = embed_files(
        loaded,
        extractor,
        NamedRows(found.ids, found.rows),
        cache=Path(embedding.embedding_cache or place.path / "embeddings"),
        chunk_seconds=_longest(embedding),
        batch_seconds=embedding.batch_seconds,
        dtype=embedding.dtype,
        channel=embedding.channel_number,
        on_bad=options.recordings.on_bad_audio,
        workers=embedding.num_workers,
    )
    facts: dict[str, Any] = {"model": model, "revision": features.revision, "size": embedder.size}
    facts |= {"rows": len(made.ids), "seconds": float(made.seconds.sum())}
    facts |= _of_data(Recordings(made.ids, found.rows, left_out=len(made.bad)), features)
    if join_ranks()[0] == 0:
        with _writers(place, [place.path / f"embeddings.{'ark' if features.format == 'kaldi' else 'parquet'}"],
                      features, embedder.size) as (writer,):  # fmt: skip
            begins = [writer.write(*row) for row in zip(made.ids, made.seconds.tolist(), made.vectors, strict=True)]
        if features.format == "kaldi":
            ark = place.path.absolute() / "embeddings.ark"
            write_index(
                place.path / "embeddings.scp",
                {name: (ark, begin) for name, begin in zip(made.ids, begins, strict=True)},
            )
        place.finish(facts)
    return facts


def _of_data(found: Recordings, features: FeatureOptions) -> dict[str, Any]:
    """What is to be known of the rows and the form, for features.json."""
    return {
        "left_out": found.left_out,
        "fingerprint": fingerprint(found.ids),
        "format": features.format,
        **releases(),
    }


def _longest(embedding: EmbeddingOptions) -> float:
    return MAX_SECONDS if embedding.chunk_seconds is None else embedding.chunk_seconds


@contextmanager
def _writers(place: FeatureFolder, paths: Sequence[Path], features: FeatureOptions, size: int) -> Iterator[list[Any]]:
    """Writers of files, which are there under their names when all of them are whole.

    Raises:
        InputError: the disk is full.
    """
    kind = WRITERS[features.format, features.layer is not None and features.pooling == "none"]
    try:
        with ExitStack() as names, ExitStack() as files:
            writers = []
            for path in paths:
                path.parent.mkdir(exist_ok=True)
                writers.append(kind(names.enter_context(replacing(path)), size))
                files.callback(writers[-1].close)
            yield writers
    except OSError as error:
        if not is_full(error, place.path):
            raise
        raise InputError(
            f"{place.path}: the disk is full; what was written before is kept: make room and give the command again"
        ) from error


class _Pass:
    """The parts of the work on layers.

    Args:
        encoder: of the layers.
        found: recordings that were looked at.
        place: where to write.
        options: see `embed`.

    Attributes:
        parts: numbers of the rows of each.
    """

    def __init__(self, encoder: LayeredEncoder, found: Recordings, place: FeatureFolder, options: EmbedOptions) -> None:
        features, embedding = options.features, options.embedding
        self.encoder, self.found, self.place, self.features = encoder, found, place, features
        self.seconds: list[float] = list(found.rows["duration"])
        self.most = encoder.piece_frames(_longest(embedding))
        self.parts = planned(self.seconds, 60 * features.part_minutes)
        self.options: dict[str, Any] = {
            "max_seconds": _longest(embedding),
            "batch_seconds": embedding.batch_seconds,
            "channel": embedding.channel_number,
            "workers": embedding.num_workers,
        }

    def identity(self) -> dict[str, Any]:
        """All that decides what is written."""
        settings = {name: getattr(self.features, name) for name in ("pooling", "format", "part_minutes")}
        heard = {"frames of a piece": self.most, "recordings": self.found.digest}
        return {**self.encoder.identity(), **settings, **heard}

    def missing(self) -> list[int]:
        """Numbers of the parts that are not there.

        Raises:
            InputError: there is no room for them.
        """
        missing = [number for number in range(len(self.parts)) if self.place.part(number) is None]
        rows = [row for number in missing for row in self.parts[number]]
        lengths = self.found.rows["length"]
        if self.features.pooling == "none":
            numbers = sum(self.encoder.row_frames(lengths[i]) + 1 for i in rows)
        else:
            numbers = STATISTICS[self.features.pooling] * len(rows)
        size = len(self.encoder.layers) * (4 * numbers * self.encoder.size + _ENTRY_BYTES * len(rows))
        require_room(self.place.path, size, "--output-dir")
        if missing:
            self.place.unfinish()
            told = "features of %d recordings, %.0f s, take about %s in %s"
            seconds = sum(self.seconds[i] for i in rows)
            logger.info(told, len(rows), seconds, in_megabytes(size), self.place.path)
        return missing

    def run(self, missing: Sequence[int]) -> None:
        """Computes this rank's share of the parts that are missing, and waits for the others."""
        rank, ranks = join_ranks()
        mine = missing[rank::ranks]
        total = sum(self.seconds[i] for number in mine for i in self.parts[number])
        bar = tqdm(total=round(total), desc="features", unit="s", disable=True if rank else None)
        with self.encoder.ready(), bar:
            for number in mine:
                self._compute(number, bar)
        wait_for_all()

    def facts(self) -> dict[str, Any]:
        """How much there is, once all of it is."""
        noted = [self.place.noted(number) for number in range(len(self.parts))]
        total = {name: sum(facts[name] for facts in noted) for name in ("rows", "frames")}
        return {**total, "seconds": round(sum(self.seconds), 3)}

    def write_indices(self) -> None:
        """Kaldi's scp of each layer."""
        for layer in self.encoder.layers:
            places: dict[str, tuple[Path, int]] = {}
            for number in range(len(self.parts)):
                begins = self.place.noted(number)["begins"][str(layer)]
                ark = self._file(layer, number).absolute()
                places |= {name: (ark, begin) for name, begin in begins.items()}
            write_index(self._file(layer, 0).with_name(INDEX), places)

    def _file(self, layer: int, number: int) -> Path:
        return self.place.path / f"layer{layer}" / FILES[self.features.format].format(number)

    def _compute(self, number: int, bar: tqdm) -> None:
        """Writes the files of a part, and notes it."""
        paths = [self._file(layer, number) for layer in self.encoder.layers]
        begins: dict[str, dict[str, int]] = {str(layer): {} for layer in self.encoder.layers}
        frames = 0
        with _writers(self.place, paths, self.features, self.encoder.size) as writers:
            for row, count, values in self._features(self.parts[number]):
                name, seconds = self.found.ids[row], self.seconds[row]
                require_numbers(self.encoder, values, name)
                for layer, writer, one in zip(begins, writers, values, strict=True):
                    begins[layer][name] = writer.write(name, seconds, one)
                frames += count
                bar.update(round(seconds))
        facts: dict[str, Any] = {"rows": len(self.parts[number]), "frames": frames}
        if self.features.format == "kaldi":
            facts["begins"] = begins
        self.place.note(number, paths, facts)

    def _features(self, places: Sequence[int]) -> Iterator[tuple[int, int, Sequence[NDArray]]]:
        """Each row's number, its frames, and what is written of each layer."""
        rows, pooling = self.found.rows, self.features.pooling
        if pooling == "none":
            for row, layers in frames_of_rows(self.encoder, rows, places=places, **self.options):
                yield row, len(layers[0]), layers
            return
        lengths = rows["length"]
        for row, vectors in zip(
            places, pooled_of_rows(self.encoder, rows, pooling, places=places, **self.options), strict=True
        ):
            yield row, self.encoder.row_frames(lengths[row]), vectors


def planned(seconds: Sequence[float], most: float) -> list[range]:
    """Neighbouring rows in parts of at most so many seconds each; a row that is longer is a part.

    >>> planned([3.0, 4.0, 5.0, 20.0, 1.0], 10)
    [range(0, 2), range(2, 3), range(3, 4), range(4, 5)]
    """
    parts: list[range] = []
    first, held = 0, 0.0
    for row, length in enumerate(seconds):
        if row > first and held + length > most:
            parts.append(range(first, row))
            first, held = row, 0.0
        held += length
    return [*parts, range(first, len(seconds))] if seconds else parts


def _in_words(facts: dict[str, Any], computed: int, parts: int, wall: float) -> str:
    """What was done, in a line."""
    layers = ", ".join(map(str, facts["layers"]))
    what = (
        f"{facts['rows']} recordings, {facts['frames']} frames, layer{'s' if len(facts['layers']) > 1 else ''} {layers}"
    )
    if not computed:
        return f"{what}: all of it was there before"
    before = f"; {parts - computed} of {parts} parts were there before" if computed < parts else ""
    return f"{what}: {facts['seconds']:.0f} s of audio in {wall:.1f} s{before}"
