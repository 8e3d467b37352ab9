"""What a sweep learns from and is tested on: all rows once, and the parts that they are divided into, fold by fold."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from datasets import Dataset, concatenate_datasets
from numpy.typing import NDArray

from ...data.checks import check_rows
from ...data.schema import Splits, add_columns, class_names_of
from ...data.targets import labels_of, target_statistics
from ...errors import InputError
from ...training.arguments import target_rules
from ...training.config import RunConfig
from ...training.rows import RunRows, found, labelled_rows, load_used
from ..folds import Fold, Folds, folds_of
from ..members import member_config

logger = logging.getLogger(__name__)

ALL = "all"
_NUMBER = "number_in_sweep"  # column: which of all rows one is


@dataclass(frozen=True)
class Part:
    """A fold, or the data set's own division.

    Attributes:
        name: of the fold; "" where there are none.
        places: split -> (n,) which of all rows are in it: train, perhaps validation, and what is tested.
        fields: of a run that learns from it, in the place of the sweep's.
    """

    name: str
    places: Mapping[str, NDArray]
    fields: Mapping[str, Any] = field(default_factory=dict)

    @property
    def tested(self) -> str:
        """The split that numbers are of: test, or validation where there is no other."""
        return "test" if "test" in self.places else "validation"

    @property
    def chooses(self) -> bool:
        """Whether there are validation rows to choose by, beside those that are tested."""
        return "validation" in self.places


@dataclass(frozen=True)
class SweepRows:
    """All rows of a sweep.

    Attributes:
        rows: `rows.splits` has one split, "all", in which every row is once, labelled and looked at.
        labels: (N,) class numbers, or values.
        parts: what of them is learnt from and tested.
        rule: what the parts are by, in words; "" for the data set's own division.
        fingerprint: of the rows and labels of all parts.
    """

    rows: RunRows
    labels: NDArray
    parts: list[Part]
    rule: str
    fingerprint: str

    @property
    def all(self) -> Dataset:
        """Every row once."""
        return self.rows.splits[ALL]

    @property
    def speakers(self) -> list[str] | None:
        """(N,) who speaks; None where that is not known of every row."""
        if "speaker_id" not in self.all.column_names:
            return None
        speakers = list(self.all["speaker_id"])
        return None if any(speaker is None for speaker in speakers) else [str(speaker) for speaker in speakers]


def sweep_rows(config: RunConfig, folds: str | None, min_seconds: float) -> SweepRows:
    """Reads, divides, labels and checks the rows of a sweep; each recording is looked at once, however many folds.

    Args:
        config: fields of a run, which say what is read and held out.
        folds: see `experiments.folds`; None: as the fields divide the data.
        min_seconds: the shortest usable waveform.

    Raises:
        InputError: no data, folds that can't be made, nothing that is tested, or files that can't be used.
    """
    if config.data.streaming:
        raise InputError("a layer sweep needs rows that are there, and streaming ones are not: leave streaming out")
    made = Folds([Fold("", {})], "", "") if folds is None else folds_of(config, folds, None)
    sources: dict[Any, Splits] = {}
    found_in: list[RunRows] = []
    for fold in made.folds:
        own = member_config(config, fold.fields, f"fold {fold.name}") if fold.fields else config
        data = found(own.data)
        place = (data.dataset, data.reader)
        if place not in sources:
            begun = sum(len(rows) for splits in sources.values() for rows in splits.values())
            sources[place] = _numbered(load_used(data, own.split.only), begun)
        found_in.append(labelled_rows(data, own.split, target_rules(own), sources[place]))
    _check_parts(found_in, made, config)
    whole, labels, number = _together(found_in, config, min_seconds)
    parts = [
        Part(fold.name, {split: _places(rows, number) for split, rows in run.splits.items()}, fold.fields)
        for fold, run in zip(made.folds, found_in, strict=True)
    ]
    for part in parts:
        for split, places in part.places.items():
            if not len(places):
                raise InputError(f"{part.name or 'the data'}: no row of {split} has audio that can be used")
        if whole.names is None:
            target_statistics(labels[part.places["train"]])
    fingerprint = made.fingerprint or found_in[0].fingerprint(("train", "validation", "test"))
    return SweepRows(whole, labels, parts, made.rule, fingerprint)


def _numbered(splits: Splits, begun: int) -> Splits:
    """The rows with their number among all of the sweep's."""
    numbered = {}
    for split, rows in splits.items():
        numbered[split] = add_columns(rows, {_NUMBER: list(range(begun, begun + len(rows)))})
        begun += len(rows)
    return Splits(numbered, class_names_of(splits))


def _check_parts(runs: Sequence[RunRows], made: Folds, config: RunConfig) -> None:
    """Refuses targets that a probe is not for, folds of other classes, and rows of which none is held out."""
    targets = runs[0].targets
    kinds = {rule.kind for rule in target_rules(config).values()}
    if len(targets) > 1 or "multi_label_classification" in kinds:
        raise InputError("a layer sweep has one target, a class or a number: give --target, and leave tasks out")
    for fold, run in zip(made.folds, runs, strict=True):
        if run.targets != targets:
            raise InputError(f"fold {fold.name}: has other classes than {made.folds[0].name}; name them all in labels")
    if not {"validation", "test"} & runs[0].splits.keys():
        raise InputError(
            "nothing is held out to test the layers on: give --folds, such as --folds speaker_id, or --test 0.2"
        )


def _together(
    runs: Sequence[RunRows], config: RunConfig, min_seconds: float
) -> tuple[RunRows, NDArray, dict[int, int]]:
    """Every row of any part once, looked at; the labels; and number of a row -> its place."""
    there: set[int] = set()
    pieces: list[Dataset] = []
    for run in runs:
        for rows in run.splits.values():
            numbers = rows[_NUMBER]
            new = [i for i, number in enumerate(numbers) if number not in there]
            there.update(numbers)
            if new:
                pieces.append(rows.select(new))
    rows, bad = check_rows(
        concatenate_datasets(pieces),
        how=config.data.check_audio,
        on_bad=config.data.on_bad_audio,
        min_duration=min_seconds,
        channel=config.data.channel,
    )
    first = runs[0]
    unlabelled = max(run.unlabelled for run in runs)
    whole = RunRows({ALL: rows}, first.targets, unlabelled, {ALL: bad}, root=first.root)
    ((target, names),) = first.targets.items()
    labels = labels_of(rows, [target])[target]
    labels = labels.astype(np.float64 if names is None else np.int64)
    return whole, labels, {number: place for place, number in enumerate(rows[_NUMBER])}


def _places(rows: Dataset, number: Mapping[int, int]) -> NDArray:
    return np.array([number[one] for one in rows[_NUMBER] if one in number], dtype=np.int64)
