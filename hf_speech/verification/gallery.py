"""A gallery of known speakers: one safetensors file with an embedding a recording, and a table of whose they are."""

import json
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
from .plda import speaker_means

FORMAT = "hf_speech gallery 1"
UNKNOWN = "unknown"  # what identification says of somebody who is in no gallery; nobody can be called that
_LISTED = 20  # names, where there is no such speaker
_PATIENCE = 60.0  # seconds; another process has the lock while it writes the file, no longer


@dataclass(frozen=True, eq=False)
class Gallery:
    """Recordings of known speakers, as one model hears them.

    Attributes:
        model: digest of the model that embedded them (`embedder_digest`).
        embeddings: (R, E) float32, as the model gives them.
        names: (R,) who speaks.
        seconds: (R,) how long.
        digests: (R,) SHA-256 of the files, hexadecimal; no two alike.
    """

    model: str
    embeddings: NDArray
    names: tuple[str, ...]
    seconds: tuple[float, ...]
    digests: tuple[str, ...]

    @classmethod
    def empty(cls, model: str) -> "Gallery":
        """Nobody, as yet."""
        return cls(model, np.zeros((0, 0), np.float32), (), (), ())

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
                table, embeddings = json.loads(facts["table"]), file.get_tensor("embeddings")
                model = facts["model"]
            names = tuple(map(str, table["names"]))
            seconds, digests = tuple(map(float, table["seconds"])), tuple(map(str, table["digests"]))
            if embeddings.ndim != 2 or {len(names), len(seconds), len(digests)} != {len(embeddings)}:
                raise ValueError("its table does not fit its embeddings")
        except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: is no gallery of speakers ({one_line(error)}); give another file") from error
        return cls(model, embeddings, names, seconds, digests)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes it as safetensors, whole or not at all.

        Raises:
            InputError: it can't be written there.
        """
        table = {"names": self.names, "seconds": self.seconds, "digests": self.digests}
        facts = {"format": FORMAT, "model": self.model, "table": json.dumps(table)}
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
            InputError: a name that can't be one, an embedding that is not finite, or a recording of somebody else.
        """
        check_name(name)
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
        chosen = [tuple(values[i] for i in places) for values in (self.names, self.seconds, self.digests)]
        return Gallery(self.model, self.embeddings[list(places)], *chosen)  # type: ignore[arg-type]


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
    if not name or name != name.strip() or not name.isprintable():
        raise InputError(f"{name!r} can't be a speaker's name; give printable text without blanks at its ends")
    if name == UNKNOWN:
        raise InputError(f"nobody can be called {UNKNOWN!r}, which is said of those in no gallery; give another name")
