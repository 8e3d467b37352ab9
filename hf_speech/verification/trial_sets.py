"""A list of trials with all that belongs to it: the audio of its utterances, who speaks in them, what is left out."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, concatenate_datasets
from numpy.typing import NDArray

from ..data.home import find_dataset
from ..data.problems import Problems
from ..data.readers import load_rows
from ..data.schema import column_texts, item_ids, near_miss
from ..errors import InputError
from .audio_files import AudioFiles, find_audio
from .breakdown import with_models
from .enrolment import Enrolment, complete, read_enrolment, spoken
from .options import TrialOptions
from .trials import (
    check_trials,
    count_trials,
    fingerprint,
    read_trials,
    utterances_of,
    voxceleb_speakers,
    without_extension,
)

logger = logging.getLogger(__name__)

FACTS = ("speaker_id", "session_id", "gender", "language", "corpus")  # that groups of trials are made by


@dataclass(frozen=True)
class TrialSet:
    """A list, and what is known of its sides.

    Attributes:
        file: where it stands.
        impostors: where its non-targets stand, if in a file of their own.
        trials: a table with the columns of `TRIALS`: those that can be scored.
        models: name of a side -> the utterances that it was enrolled with; other sides are utterances.
        audio: where the utterances lie.
        facts: of the sides: `id`, and of `FACTS` those that are known, and `duration` when they were embedded.
        left_out: kind of fault -> how many lines or sides were left out for it.
    """

    file: Path
    impostors: Path | None
    trials: pa.Table
    models: Enrolment
    audio: AudioFiles
    facts: pa.Table
    left_out: Counter[str]

    @cached_property
    def names(self) -> list[str]:
        """The sides, each once: utterances and models."""
        return utterances_of(self.trials)

    @cached_property
    def labels(self) -> NDArray:
        """(T,) 1 for a target, 0 for a non-target."""
        return np.asarray(self.trials["label"])

    @cached_property
    def sides(self) -> tuple[NDArray, NDArray]:
        """(T,) and (T,): places of the left and of the right sides among the names."""
        known = pa.array(self.names, pa.string())
        left, right = (pc.index_in(self.trials[side].cast(pa.string()), known) for side in ("left", "right"))
        return np.asarray(left), np.asarray(right)

    @cached_property
    def speakers(self) -> list[str] | None:
        """Who speaks, by side; None where that is not known of every one."""
        found = self.facts_of("speaker_id")
        return None if None in found else [str(speaker) for speaker in found]

    def facts_of(self, column: str) -> list[Any]:
        """What a column of the facts says of each side."""
        by_name = dict(zip(self.facts["id"].to_pylist(), self.facts[column].to_pylist(), strict=True))
        return [by_name.get(name) for name in self.names]

    def speakers_of_trials(self) -> tuple[Any, Any] | None:
        """(T,) and (T,): who speaks on either side; None where that is not known of every one."""
        if self.speakers is None:
            return None
        who = np.asarray(self.speakers, dtype=object)
        return who[self.sides[0]], who[self.sides[1]]

    def utterances(self) -> list[str]:
        """What has to be heard for it, each once."""
        return spoken(self.names, self.models)

    def require_both_kinds(self) -> None:
        """Refuses a list by which nothing can be measured.

        Raises:
            InputError: it has no targets, or no non-targets.
        """
        targets = int(self.labels.sum())
        if not 0 < targets < len(self.labels):
            kind, lacking = ("targets", "non-targets") if targets else ("non-targets", "targets")
            raise InputError(
                f"{self.file}: all {len(self.labels):,} trials are {kind}: the EER is not defined; add {lacking}"
            )

    def without(self, broken: Mapping[str, str], problems: Problems) -> "TrialSet":
        """The list without the trials of utterances that can't be used: name -> why.

        Raises:
            InputError: there are such trials, and `problems` refuses them; or none is left.
        """
        if not broken:
            return self
        usable = complete(self.names, self.models, set(self.utterances()) - broken.keys())
        sides = dict(broken)
        for name, members in self.models.items():
            found = next((member for member in members if member in broken), None)
            if found is not None:
                sides[name] = f"{found}: {broken[found]}"
        who = dict(zip(self.facts["id"].to_pylist(), self.facts["speaker_id"].to_pylist(), strict=True))
        known = pa.array(usable, pa.string())
        kept = check_trials(self.trials, known, self.file, problems, self.impostors, speakers=who, broken=sides)
        _settle(problems, self.file, len(kept))
        return replace(self, trials=kept, left_out=self.left_out + problems.counts)

    def with_durations(self, seconds: Mapping[str, float]) -> "TrialSet":
        """The list with how long its sides are; a model is as long as its utterances are on average."""
        members = [self.models.get(name, (name,)) for name in self.facts["id"].to_pylist()]
        durations = [
            sum(seconds[one] for one in found) / len(found) if seconds.keys() >= set(found) else None
            for found in members
        ]
        column = pa.array(durations, pa.float64())
        facts = self.facts.drop_columns("duration") if "duration" in self.facts.column_names else self.facts
        return replace(self, facts=facts.append_column("duration", column))

    def repeated(self) -> int:
        """How many trials ask again what an earlier one has asked, whichever side came first."""
        pairs = np.sort(np.stack(self.sides), axis=0)
        return len(self.labels) - len(np.unique(pairs[0].astype(np.int64) * len(self.names) + pairs[1]))

    def counts(self) -> dict[str, Any]:
        """What results.json says of it."""
        return {
            "file": self.file.name,
            **{name: count for name, count in count_trials(self.trials).items() if "session" not in name},
            "twice": self.repeated(),
            "fingerprint": fingerprint(self.trials),
            "sides": len(self.names),
            "models": sum(name in self.models for name in self.names),
            "speakers": len(set(self.speakers)) if self.speakers is not None else None,
            **self.audio.facts(),
            "left_out": dict(self.left_out),
        }


def read_trial_set(path: str | Path, options: TrialOptions, *, impostors: str | None = None) -> TrialSet:
    """Reads a list, finds its audio, and learns who speaks.

    Args:
        path: the list.
        options: where its audio lies, and what is known of it.
        impostors: the file of its non-targets.

    Raises:
        InputError: a file or folder that is not there or can't be read; with on_missing "raise", lines that are no
            trials, missing audio, or labels that the speakers belie.
    """
    file, problems = Path(path), Problems(options.on_missing)
    trials = read_trials(file, problems, impostors=impostors)
    models = read_enrolment(options.enrolment, problems) if options.enrolment else {}
    names = utterances_of(trials)
    problems.forgive("Windows line ends", "byte order mark")
    audio = find_audio(spoken(names, models), options.audio_root or file.parent)
    if not audio.found:
        raise InputError(
            f"{file}: none of its {len(audio.missing):,} utterances lies in {audio.root}, such as {audio.missing[0]}; "
            "give --audio-root, the folder that the names begin at"
        )
    enrolled = {name: models[name] for name in names if name in models}
    facts = with_models(_facts(spoken(names, models), options), enrolled)
    who = dict(zip(facts["id"].to_pylist(), facts["speaker_id"].to_pylist(), strict=True))
    usable = pa.array(complete(names, models, audio.found), pa.string())
    second = Path(impostors) if impostors else None
    kept = check_trials(trials, usable, file, problems, second, speakers=who)
    _settle(problems, file, len(kept))
    if audio.unused:
        logger.info("%s: %d audio files below it belong to no trial of %s", audio.root, len(audio.unused), file.name)
    return TrialSet(file, second, kept, enrolled, audio, facts, Counter(problems.counts))


def _settle(problems: Problems, file: Path, left: int) -> None:
    problems.settle(str(file), option="--on-missing")
    if not left:
        raise InputError(f"{file}: no trial is left that can be scored; see the lines above")


def _facts(utterances: Sequence[str], options: TrialOptions) -> pa.Table:
    """What is known of utterances: `id`, `speaker_id`, and other columns of `FACTS` that a data set has."""
    ids = pa.array(utterances, pa.string())
    if options.utterances is None:
        return pa.table({"id": ids, "speaker_id": voxceleb_speakers(ids)})
    rows, names = rows_of(options.utterances, options.columns)
    named = pa.array([without_extension(name) for name in names], pa.string())
    places = pc.index_in(ids, named)
    if places.null_count == len(ids):
        raise InputError(
            f"--utterances {options.utterances}: has none of the list's utterances; it names {named[0]}, the list "
            f"{ids[0]}: name both alike"
        )
    if places.null_count:
        logger.warning("--utterances %s: lacks %d of %d utterances", options.utterances, places.null_count, len(ids))
    columns = [name for name in FACTS if name in rows.column_names]
    if "speaker_id" not in columns:
        mend = "name the column: --columns speaker_id=..."
        raise InputError(f"--utterances {options.utterances}: has no column speaker_id; {mend}")
    texts = {name: pa.array(column_texts(rows, name), pa.string()).take(places) for name in columns}
    return pa.table({"id": ids, **texts})


def rows_of(name: str, columns: Mapping[str, str]) -> tuple[Dataset, list[str]]:
    """All rows of a data set, whatever its splits, and a name for each.

    Args:
        name: a path, a prepared corpus, or a name on the Hub.
        columns: column of ours -> what it is called there.

    Raises:
        InputError: there is no such data set, or it can't be read.
    """
    place = find_dataset(name, None)
    splits = load_rows(place, columns=columns)
    rows = concatenate_datasets([rows for rows in splits.values() if isinstance(rows, Dataset)])
    for theirs in rows.column_names:
        ours = near_miss(theirs)
        if ours in FACTS and ours not in rows.column_names:
            logger.info("%s: the column %r is taken for %s", name, theirs, ours)
            rows = rows.rename_column(theirs, ours)
    return rows, item_ids(rows, place)
