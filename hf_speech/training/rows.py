"""What a run learns from and is measured on: rows, split, labelled, and looked at before training starts."""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from datasets import Dataset, IterableDataset
from torch.utils.data import get_worker_info

from ..audio import SAMPLE_RATE
from ..data.checks import BadAudio, check_rows
from ..data.home import find_dataset
from ..data.readers import load_rows
from ..data.schema import Splits, item_ids
from ..data.several import TargetRule, encode_targets
from ..data.splits import only_rows, split_rows
from ..data.targets import encode_stream
from ..errors import InputError, unknown_name
from .audit import check_splits, source_splits
from .config import DataArguments, SplitArguments

logger = logging.getLogger(__name__)

STREAM_BUFFER = 1_000  # rows of a stream that are held to draw the next one from


@dataclass(frozen=True)
class RunRows:
    """The rows of a run.

    Attributes:
        splits: train, and where there are any validation and test; with `labels`, `length` and `duration`.
        targets: column that is predicted -> its label names in order; None for regression.
        unlabelled: rows that were left out for want of a label.
        bad: rows that were left out for their audio, by split.
        overlaps: what two splits have in common, see `data.audit.overlaps`; None: not looked at.
        root: folder or table that the rows were read from; None: not known.
        compared: what the splits were compared by, see `audit.Comparison`; None: not at all.
    """

    splits: dict[str, Any]
    targets: dict[str, list[str] | None]
    unlabelled: int
    bad: dict[str, list[BadAudio]]
    overlaps: list[dict[str, Any]] | None = None
    root: str | None = None
    compared: list[str] | None = None

    @property
    def names(self) -> list[str] | None:
        """The label names of the first target; None: there is none, or it is a number."""
        return next(iter(self.targets.values()), None)

    @property
    def streams(self) -> bool:
        """Whether training rows come as a stream of unknown length."""
        return isinstance(self.splits["train"], IterableDataset)

    def without(self, skipped: dict[str, str]) -> "RunRows":
        """The same with the streamed files noted that the collator had to leave out: file name -> reason."""
        found = [BadAudio(row=-1, file=file, reason=reason) for file, reason in skipped.items()]
        return replace(self, bad={**self.bad, "train": self.bad.get("train", []) + found}) if found else self

    def stream(self, seed: int) -> IterableDataset:
        """Training rows as they come, without an end, so that no batch is too small.

        They are mixed through a buffer, since class folders come class by class. Each has a `draw` of its own, on which
        all hangs that is random about it.
        """
        mixed = self.splits["train"].shuffle(seed=seed, buffer_size=STREAM_BUFFER).repeat(None)
        return mixed.map(lambda row, place: {**row, "draw": [seed, _worker(), place, 0]}, with_indices=True)

    def train_lengths(self, crop_seconds: float | None, slowest: float = 1.0) -> np.ndarray:
        """(N,) samples at 16 kHz that each training row has in a batch, at most.

        Args:
            crop_seconds: of longer rows, that is all that there is in a batch.
            slowest: lowest speed at which a row may be played, 1 or below: it is longer then.
        """
        lengths = np.ceil(np.asarray(self.splits["train"]["length"]) / min(slowest, 1.0)).astype(np.int64)
        return lengths if crop_seconds is None else np.minimum(lengths, round(crop_seconds * SAMPLE_RATE))

    def groups(self, column: str) -> np.ndarray:
        """(N,) numbers of the values that the training rows have in a column, or of their labels.

        Raises:
            InputError: no such column.
        """
        rows = self.splits["train"]
        if column not in {*rows.column_names, *self.targets} - {"labels", "length", "audio"}:
            raise unknown_name(column, self._classes(), "column to balance")
        values = rows["labels"] if [column] == list(self.targets) else rows[column]
        missing = sum(value is None for value in values)
        if missing:
            raise InputError(
                f"balance: {missing} of {len(values)} training rows have no {column}; {self._other_column()}"
            )
        if any(isinstance(value, float | list | dict) for value in values):
            raise InputError(f"balance: {column} has numbers or lists; {self._other_column()}")
        return np.unique(np.asarray([str(value) for value in values]), return_inverse=True)[1]

    def _other_column(self) -> str:
        classes = self._classes()
        return f"choose a column of classes: {', '.join(classes)}" if classes else "leave it out"

    def _classes(self) -> list[str]:
        """The columns of the training rows that can be balanced: known of every row, and some rows have the same."""
        rows = self.splits["train"]
        found = []
        for column in sorted({*rows.column_names, *self.targets} - {"labels", "length", "duration", "audio"}):
            values = rows["labels"] if [column] == list(self.targets) else rows[column]
            fit = not any(value is None or isinstance(value, float | list | dict) for value in values)
            if fit and len(set(values)) < len(values):
                found.append(column)
        return found

    def fingerprint(self, splits: Sequence[str] = ("train", "validation")) -> str:
        """Sixteen digits that two runs share if they had the same rows, in order; by default, to learn and choose by.

        The rows are looked at by their names, labels and, where they are known already, lengths; what else is in a file
        is not read for it.
        """
        digest = hashlib.sha256(json.dumps(self.targets).encode())
        for split in splits:
            rows = self.splits.get(split)
            if isinstance(rows, Dataset):
                lengths = [list(rows["length"])] if "length" in rows.column_names else []
                labels = [list(rows["labels"])] if self.targets else []
                for values in (item_ids(rows, self.root), *lengths, *labels):
                    digest.update(json.dumps(values).encode())
        return digest.hexdigest()[:16]


def _worker() -> int:
    """Which of a data loader's processes this is: 0 the main one, then the workers."""
    worker = get_worker_info()
    return 0 if worker is None else worker.id + 1


def read_rows(
    arguments: DataArguments,
    split: SplitArguments,
    targets: Mapping[str, TargetRule],
    *,
    min_seconds: float,
    loaded: Splits | None = None,
) -> RunRows:
    """Reads, splits, labels and checks the rows that a run's arguments name.

    Args:
        arguments: where the data lies.
        split: what of it is held out.
        targets: column to be predicted -> how; the first one decides where one has to.
        min_seconds: the shortest usable waveform.
        loaded: rows in the place of those that lie there.

    Raises:
        InputError: no data set, a missing column, an unknown label, a rule that takes nothing, a speaker in two splits
            where that is not wanted, files that can't be used (all of them are listed).
    """
    arguments = found(arguments)
    if arguments.streaming:
        if split.only:
            raise InputError("only has no part where rows are streamed: leave one of them out")
        if split.speaker_independent:
            raise InputError("speaker_independent can't be checked on a stream: leave it out, or streaming")
        if len(targets) > 1:
            raise InputError("a stream's rows can have one target: leave out streaming, or all tasks but one")
        if any(rule.bins or rule.kind == "multi_label_classification" for rule in targets.values()):
            raise InputError("a stream's rows can have neither bins nor several labels: leave out streaming")
        return _read_stream(arguments, split, targets, min_seconds)
    loaded = load_used(arguments, split.only) if loaded is None else loaded
    rows = labelled_rows(arguments, split, targets, loaded)
    checked, bad = check_audio_of(rows.splits, arguments, min_seconds)
    return replace(rows, splits=checked, bad=bad)


def found(arguments: DataArguments) -> DataArguments:
    """The same with the place where the data lies.

    Raises:
        InputError: none is given, or there is no such corpus.
    """
    if arguments.dataset is None:
        raise InputError("no data: give --dataset, a folder with a sub-folder a class, a csv, or a name on the Hub")
    return replace(arguments, dataset=find_dataset(arguments.dataset, arguments.data_dir))


def load_used(arguments: DataArguments, only: str | None) -> Splits:
    """The rows of a data set that are used at all, by the data set's own splits.

    Args:
        arguments: where it lies, see `found`.
        only: rule of those that are used; None: all.

    Raises:
        InputError: it can't be read, it has nothing but recordings, or the rule takes nothing.
    """
    loaded = load_any(arguments)
    if all(rows.column_names == ["audio"] for rows in loaded.values()):
        raise InputError(
            f"{arguments.dataset}: has recordings without labels; make a sub-folder for each class and move them "
            "there, or a csv with a column path and one of labels"
        )
    return loaded if only is None else only_rows(loaded, only)


def load_any(arguments: DataArguments) -> Splits:
    """All rows of a data set, by its own splits, with labels or without.

    Args:
        arguments: where it lies, see `found`.

    Raises:
        InputError: it can't be read.
    """
    return load_rows(
        str(arguments.dataset),
        reader=arguments.reader,
        config_name=arguments.dataset_config,
        columns=arguments.columns,
        audio_root=arguments.audio_root,
    )


def labelled_rows(
    arguments: DataArguments, split: SplitArguments, targets: Mapping[str, TargetRule], loaded: Splits
) -> RunRows:
    """The rows of a run, split and labelled; their audio is not looked at, and they have no lengths yet.

    Args:
        arguments: where the data lies, see `found`.
        split: what of it is held out.
        targets: column to be predicted -> how; the first one decides where one has to.
        loaded: the rows that are used.

    Raises:
        InputError: see `read_rows`.
    """
    first, rule = next(iter(targets.items()))
    splits = split_rows(
        loaded,
        validation=split.validation,
        test=split.test,
        # Speakers who are to be told apart can't be on one side only.
        group_by=None if split.group_by in (*targets, "none") else split.group_by,
        target=first if rule.kind == "single_label_classification" and not rule.bins else None,
        seed=split.split_seed,
    )
    labelled, names, unlabelled = encode_targets(splits, targets)
    if unlabelled:
        logger.info("%d rows have no %s and are left out", unlabelled, " or ".join(targets))
    audit = check_splits(labelled, source_splits(splits, loaded), arguments, list(targets), split.speaker_independent)
    return RunRows(labelled, names, unlabelled, {}, audit.overlaps, arguments.dataset, audit.compared)


def check_audio_of(
    splits: Mapping[str, Dataset], arguments: DataArguments, min_seconds: float
) -> tuple[dict[str, Dataset], dict[str, list[BadAudio]]]:
    """The rows of every split whose audio can be used, with their lengths, and those whose can't.

    Raises:
        InputError: there are such and the run does not skip them; one message names the bad files of all splits.
    """
    checked, bad, complaints = {}, {}, []
    for split, rows in splits.items():
        try:
            checked[split], bad[split] = check_rows(
                rows,
                # Held-out rows are decoded whole in any case, after hours of training: better found before.
                how=arguments.check_audio if split == "train" else "full",
                on_bad=arguments.on_bad_audio,
                min_duration=min_seconds,
                channel=arguments.channel,
            )
        except InputError as error:
            complaints.append(f"{split}: {error}")
    if complaints:
        raise InputError("; ".join(complaints))
    return checked, bad


def _read_stream(
    arguments: DataArguments, split: SplitArguments, targets: Mapping[str, TargetRule], min_seconds: float
) -> RunRows:
    """Training rows as a stream; validation and test, which are gone over again and again, as ordinary rows."""
    streams = load_rows(
        str(arguments.dataset),
        reader=arguments.reader,
        config_name=arguments.dataset_config,
        columns=arguments.columns,
        streaming=True,
        audio_root=arguments.audio_root,
    )
    wanted = {"train": "train"}
    for part, rule in (("validation", split.validation), ("test", split.test)):
        name = part if rule is None and part in streams else rule
        if name not in (None, "none"):
            wanted[part] = name
    for part, name in wanted.items():
        if name not in streams:
            raise InputError(f"{part}: {name!r} is not a split; a streamed data set has {', '.join(streams)}")
    ((target, how),) = targets.items()
    encode, names = encode_stream(streams, target, labels=how.labels, regression=how.regression)
    held_out = {
        part: Dataset.from_list(list(encode(streams[name]))) for part, name in wanted.items() if part != "train"
    }
    checked, bad = check_audio_of(held_out, arguments, min_seconds)
    return RunRows(
        Splits({"train": encode(streams["train"]), **checked}), {target: names}, 0, bad, root=arguments.dataset
    )
