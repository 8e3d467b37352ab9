"""Lists and data sets with their embeddings: what a model makes of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ..data.problems import Problems
from ..data.schema import column_texts
from ..errors import InputError
from ..inference import MAX_SECONDS
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
class Others:
    """Recordings of people who are in no trial.

    Attributes:
        name: of the data set.
        embeddings: of all of its rows.
        speakers: who speaks in each; None: that is not known of every one.
    """

    name: str
    embeddings: Embeddings
    speakers: list[str] | None

    def require_speakers(self, role: str, mend: str = "") -> list[str]:
        """Who speaks in each row.

        Raises:
            InputError: that is not known.
        """
        if self.speakers is None:
            raise InputError(
                f"--{role} {self.name}: not every row says who speaks; name the column: --columns speaker_id=...{mend}"
            )
        return self.speakers


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
            "channel": int(options.channel) if options.channel.isdigit() else options.channel,
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

    def others(self, name: str, columns: Mapping[str, str], on_missing: str) -> Others:
        """All rows of a data set.

        Raises:
            InputError: it can't be read, or its audio can't be used.
        """
        rows, ids = rows_of(name, columns)
        found = embed_files(self.model, self.extractor, NamedRows(ids, rows), on_bad=on_missing, **self.how)
        if "speaker_id" not in rows.column_names:
            return Others(name, found, None)
        who = dict(zip(ids, column_texts(rows, "speaker_id"), strict=True))
        speakers = [who[one] for one in found.ids]
        return Others(name, found, None if None in speakers else [str(speaker) for speaker in speakers])
