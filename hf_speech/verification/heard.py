"""Lists and data sets with their embeddings: what a model makes of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset
from numpy.typing import NDArray

from ..data.problems import Problems
from ..data.schema import column_texts
from ..errors import InputError
from ..outcome import MAX_SECONDS
from .backend import Backend
from .calibration import pair_qualities
from .embeddings import Embeddings, embed_files
from .enrolment import averaged
from .options import EmbeddingOptions
from .qualities import qualities_of
from .trial_sets import TrialSet, rows_of
from .utterances import NamedRows


@dataclass(frozen=True)
class Heard:
    """A list of trials and the embeddings of its sides.

    Attributes:
        trials: the list: what can be scored of it.
        embeddings: of its utterances.
        vectors: (S, E), of its sides, in the order of `trials.names`.
    """

    trials: TrialSet
    embeddings: Embeddings
    vectors: NDArray

    def scores(self, backend: Backend) -> NDArray:
        """(T,) of the trials."""
        return backend.score(self.vectors, *self.trials.sides, ids=self.trials.names)

    def qualities(self, backend: Backend, names: Sequence[str]) -> tuple[NDArray | None, tuple[str, ...] | None]:
        """(T, Q) measures of the trials, and what they are called; None where none are asked for."""
        if not names:
            return None, None
        measures = qualities_of(self.trials.facts_of("duration"), self.vectors, backend, names)
        return pair_qualities(measures, *self.trials.sides)


@dataclass(frozen=True)
class OtherRows:
    """Recordings of people who are in no trial, before they are heard.

    Attributes:
        name: of the data set.
        rows: all of it.
        ids: a name for each row.
        speakers: id -> who speaks; None: that is not known of every one.
    """

    name: str
    rows: Dataset
    ids: list[str]
    speakers: dict[str, str] | None

    @classmethod
    def read(cls, role: str, name: str, columns: Mapping[str, str]) -> "OtherRows":
        """The rows of a data set.

        Raises:
            InputError: it can't be read, or a name stands for two of its rows.
        """
        rows, ids = rows_of(name, columns)
        if len(set(ids)) < len(ids):
            raise InputError(f"--{role} {name}: has rows of one name; keep one of each, or give an id to each")
        texts = column_texts(rows, "speaker_id") if "speaker_id" in rows.column_names else [None] * len(ids)
        who = {one: str(speaker) for one, speaker in zip(ids, texts, strict=True) if speaker is not None}
        return cls(name, rows, ids, who if len(who) == len(ids) else None)


@dataclass(frozen=True)
class Others:
    """The same, heard.

    Attributes:
        name: of the data set.
        embeddings: of its rows.
        speakers: who speaks in each; None: that is not known of every one.
    """

    name: str
    embeddings: Embeddings
    speakers: list[str] | None


class Ear:
    """Makes embeddings by one model, as the options say.

    Args:
        model: that gives embeddings.
        extractor: its feature extractor.
        options: how.
        chunk_seconds: the longest piece; None: as in prediction.
        cache: folder where embeddings are kept.
    """

    def __init__(
        self, model: Any, extractor: Any, options: EmbeddingOptions, chunk_seconds: float | None, cache: Path
    ) -> None:
        self.model, self.extractor = model, extractor
        self.how: dict[str, Any] = {
            "cache": cache,
            "chunk_seconds": MAX_SECONDS if chunk_seconds is None else chunk_seconds,
            "batch_seconds": options.batch_seconds,
            "dtype": options.dtype,
            "channel": options.channel_number,
            "workers": options.num_workers,
            "option": "--on-missing",
        }

    def trials(self, asked: TrialSet, on_missing: str) -> Heard:
        """A list whose utterances are embedded; its trials with audio that can't be used are refused or left out.

        Raises:
            InputError: there are such, by line; or the trials that are left are all of one kind.
        """
        files = {name: asked.audio.found[name] for name in asked.utterances()}
        found = embed_files(self.model, self.extractor, files, on_bad="skip", **self.how)
        heard = asked.without({bad.id: bad.reason for bad in found.bad}, Problems(on_missing))
        heard.require_both_kinds()
        heard = heard.with_durations(dict(zip(found.ids, found.seconds.tolist(), strict=True)))
        return Heard(heard, found, averaged(found.vectors, found.ids, heard.names, heard.models))

    def others(self, found: OtherRows, on_missing: str) -> Others:
        """Recordings of others, embedded.

        Raises:
            InputError: their audio can't be used.
        """
        rows = NamedRows(found.ids, found.rows)
        heard = embed_files(self.model, self.extractor, rows, on_bad=on_missing, **self.how)
        who = found.speakers
        return Others(found.name, heard, None if who is None else [who[one] for one in heard.ids])
