"""A gallery of known speakers: one safetensors file with an embedding a recording, and a table of whose they are."""

import json
import math
import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from ..errors import InputError, list_some, one_line, unknown_name
from ..files import locked, replacing, to_disk
from ..models.registry import is_number
from .plda import speaker_means

FORMAT = "hf_speech gallery 1"
UNKNOWN = "unknown"  # what identification says of somebody who is in no gallery; nobody can be called that
_LISTED = 20  # names, where there is no such speaker
_PATIENCE = 60.0  # seconds; another process has the lock while it writes the file, no longer
# What a file that is none, or made to do harm, raises; a deeply nested table the last one.
_UNREADABLE = (OSError, SafetensorError, ValueError, LookupError, TypeError, AttributeError, RecursionError)


@dataclass(frozen=True, eq=False)
class Gallery:
    """Recordings of known speakers, as one model hears them.

    Attributes:
        model: digest of the model that embedded them (`embedder_digest`).
        embeddings: (R, E) float32, as the model gives them.
        names: (R,) who speaks.
        seconds: (R,) how long.
        digests: (R,) SHA-256 of the files, hexadecimal; no two alike.
        piece: how long the pieces are, in seconds, whose embeddings were averaged; infinity: nothing was cut.

    Raises:
        InputError: columns that don't match, a name that can't be one, or numbers that are none.
    """

    model: str
    embeddings: NDArray
    names: tuple[str, ...]
    seconds: tuple[float, ...]
    digests: tuple[str, ...]
    piece: float

    def __post_init__(self) -> None:
        shape = self.embeddings.shape
        if len(shape) != 2 or {len(self.names), len(self.seconds), len(self.digests)} != {shape[0]}:
            raise InputError(f"embeddings have shape {shape} for {len(self.names)} names; give one row for each")
        if self.embeddings.dtype.kind != "f" or (self.names and not shape[1]) or not np.isfinite(self.embeddings).all():
            raise InputError("an embedding has no numbers, or one that is not finite; leave it out")
        for name in dict.fromkeys(self.names):
            check_name(name)
        wrong = [value for value in self.seconds if not (is_number(value) and value > 0)]
        if wrong:
            raise InputError(f"a recording is {wrong[0]!r} seconds long; give a number above 0")
        if not all(isinstance(digest, str) for digest in self.digests) or len(set(self.digests)) < len(self.digests):
            raise InputError("two recordings have one digest, or one has none; give each its own")
        if not self.piece > 0:
            raise InputError(f"pieces are {self.piece} seconds long; give a number above 0")

    @classmethod
    def empty(cls, model: str, piece: float) -> "Gallery":
        """Nobody, as yet."""
        return cls(model, np.zeros((0, 0), np.float32), (), (), (), piece)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Gallery":
        """Reads what `save` wrote.

        Raises:
            InputError: no such file, or not one of these.
        """
        if not Path(path).is_file():
            raise InputError(f"{path}: there is no such gallery; `hf-speech enroll --gallery {path}` makes one")
        try:
            with safe_open(path, framework="numpy") as file:
                facts = file.metadata() or {}
                if facts.get("format") != FORMAT:
                    raise ValueError(f"its format is {facts.get('format')!r}, not {FORMAT!r}")
                if not {"model", "piece", "table"} <= facts.keys():
                    raise ValueError("it does not say how its embeddings were made")
                table, embeddings = json.loads(facts["table"]), file.get_tensor("embeddings")
                columns = [table[name] for name in ("names", "seconds", "digests")]
                if not all(isinstance(column, list) for column in columns):
                    raise ValueError("its table has columns that are no lists")
                names, seconds, digests = map(tuple, columns)
                return cls(facts["model"], embeddings, names, seconds, digests, float(facts["piece"]))
        except _UNREADABLE as error:
            raise InputError(f"{path}: is no gallery of speakers ({one_line(error)}); give another file") from error

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes it as safetensors, whole or not at all.

        Raises:
            InputError: it can't be written there.
        """
        table = {"names": self.names, "seconds": self.seconds, "digests": self.digests}
        facts = {"format": FORMAT, "model": self.model, "piece": str(self.piece), "table": json.dumps(table)}
        content = save({"embeddings": np.ascontiguousarray(self.embeddings, np.float32)}, facts)
        try:
            with replacing(path) as temporary:
                temporary.write_bytes(content)
                to_disk(temporary)
        except OSError as error:
            raise InputError(f"{path}: can't be written ({error.strerror}); give a gallery elsewhere") from error

    def speakers(self) -> tuple[list[str], NDArray, NDArray, NDArray]:
        """Names (S,), sorted; their mean embeddings (S, E); seconds in all (S,); how many recordings (S,)."""
        if not self.names:
            return [], self.embeddings, np.zeros(0), np.zeros(0, int)
        known = sorted(set(self.names))
        means, place, counts = speaker_means(self.embeddings.astype(np.float64), self.names)
        return known, means.astype(np.float32), np.bincount(place, self.seconds), counts

    def of(self, name: str) -> tuple[int, float]:
        """How many recordings of a speaker there are, and how many seconds."""
        places = [i for i, each in enumerate(self.names) if each == name]
        return len(places), sum(self.seconds[i] for i in places)

    def require_model(self, digest: str, path: str | os.PathLike[str]) -> None:
        """Refuses a gallery that another model made: its embeddings mean something else.

        Raises:
            InputError: as it says.
        """
        if self.model != digest:
            raise InputError(
                f"{path}: its speakers were enrolled with another model; give that one, or enrol into another gallery"
            )

    def require_size(self, size: int) -> None:
        """Refuses embeddings of other dimensions than the model's, which a file that was tampered with may hold.

        Raises:
            InputError: as it says.
        """
        if self.names and self.embeddings.shape[1] != size:
            raise InputError(
                f"the gallery's embeddings have {self.embeddings.shape[1]} dimensions, and the model gives {size}; "
                "enrol into another gallery"
            )

    def cut_to(self, piece: float, path: str | os.PathLike[str]) -> "Gallery":
        """The gallery as it is where recordings are cut into pieces of another length.

        Embeddings of recordings that neither length cuts are the same.

        Args:
            piece: seconds; infinity: nothing is cut.
            path: for the message.

        Raises:
            InputError: a recording would have another embedding.
        """
        if self.piece != piece and max(self.seconds, default=0.0) > min(self.piece, piece):
            was, now = ("whole" if math.isinf(one) else f"in pieces of {one:g} s" for one in (self.piece, piece))
            raise InputError(
                f"{path}: long recordings were enrolled {was}, and the model now takes them {now}; enrol them again, "
                "into another gallery"
            )
        return replace(self, piece=piece)

    def without(self, name: str, digests: Collection[str] | None = None) -> "Gallery":
        """The gallery without a speaker, or without some recordings of theirs.

        Raises:
            InputError: no such speaker, or no such recording of theirs.
        """
        if name not in self.names:
            known = set(self.names)
            listed = {} if len(known) <= _LISTED else dict.fromkeys(known, f"those of {len(known)} speakers")
            raise unknown_name(name, () if listed else known, "speaker", listed)
        theirs = {digest for digest, each in zip(self.digests, self.names, strict=True) if each == name}
        leaving = theirs if digests is None else set(digests)
        if not leaving <= theirs:
            count = len(leaving - theirs)
            raise InputError(f"{count} of the recordings are none that {name!r} was enrolled with; leave them out")
        return self._only([i for i, digest in enumerate(self.digests) if digest not in leaving])

    def with_recordings(
        self, name: str, embeddings: NDArray, seconds: Sequence[float], digests: Sequence[str]
    ) -> "Gallery":
        """The gallery with more recordings of a speaker; those that are there are passed over.

        Args:
            name: of the speaker.
            embeddings: (N, E).
            seconds: (N,).
            digests: (N,) SHA-256 of the files.

        Raises:
            InputError: a name that can't be one, an embedding that is not finite or of another size, or a recording of
                somebody else.
        """
        check_name(name)
        self.require_size(embeddings.shape[1])
        self.require_nobody_elses(name, digests)
        there = set(self.digests)
        new = [i for i, digest in enumerate(digests) if digest not in there and digest not in digests[:i]]
        if not np.isfinite(embeddings[new]).all():
            raise InputError(f"a recording of {name!r} has an embedding that is not finite; leave it out")
        before = self.embeddings if len(self.embeddings) else np.zeros((0, embeddings.shape[1]), np.float32)
        return replace(
            self,
            embeddings=np.concatenate([before, embeddings[new].astype(np.float32)]),
            names=(*self.names, *[name] * len(new)),
            seconds=(*self.seconds, *(float(seconds[i]) for i in new)),
            digests=(*self.digests, *(digests[i] for i in new)),
        )

    def require_nobody_elses(self, name: str, digests: Collection[str]) -> None:
        """Refuses a recording that somebody else was enrolled with.

        Raises:
            InputError: as it says.
        """
        asked = set(digests)
        pairs = zip(self.digests, self.names, strict=True)
        others = sorted({each for digest, each in pairs if digest in asked and each != name})
        if others:
            raise InputError(
                f"a recording of {name!r} is enrolled as {list_some(others, 3)}; leave it out, or remove it there first"
            )

    def _only(self, places: Sequence[int]) -> "Gallery":
        return replace(
            self,
            embeddings=self.embeddings[list(places)],
            names=tuple(self.names[i] for i in places),
            seconds=tuple(self.seconds[i] for i in places),
            digests=tuple(self.digests[i] for i in places),
        )


@contextmanager
def changing(path: str | os.PathLike[str]) -> Iterator[None]:
    """While one process reads, changes and writes a gallery, others wait; the lock is that of the gallery's folder.

    Raises:
        InputError: there is no such folder, or another process has held it for a minute.
    """
    folder = Path(path).absolute().parent
    if not folder.is_dir():
        raise InputError(f"{path}: there is no folder {folder}; make it first")
    handle = os.open(folder, os.O_RDONLY)
    try:
        if locked(handle, _PATIENCE) is False:
            raise InputError(f"{folder}: another process holds this folder; wait for it, or give a gallery elsewhere")
        yield
    finally:
        os.close(handle)


def check_name(name: str) -> None:
    """Refuses a name that would confuse.

    Raises:
        InputError: an empty one, one with line breaks or blanks at its ends, or "unknown".
    """
    if not isinstance(name, str) or not name or name != name.strip() or not name.isprintable():
        raise InputError(f"{name!r} can't be a speaker's name; give printable text without blanks at its ends")
    if name == UNKNOWN:
        raise InputError(f"nobody can be called {UNKNOWN!r}, which is said of those in no gallery; give another name")
