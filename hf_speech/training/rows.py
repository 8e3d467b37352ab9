"""What a run learns from and is measured on: rows, split, labelled, and looked at before training starts."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset, IterableDataset

from ..audio import SAMPLE_RATE
from ..data.checks import BadAudio, check_rows
from ..data.readers import load_rows
from ..data.schema import Splits, add_columns, audio_paths
from ..data.splits import split_rows
from ..data.targets import encode_stream, encode_target
from ..errors import InputError
from .arguments import DataArguments


@dataclass(frozen=True)
class RunRows:
    """The rows of a run.

    Attributes:
        splits: train, and where there are any validation and test; with `labels`, `length` and `duration`.
        names: label names in order; None for regression.
        unlabelled: rows that were left out for want of a label.
        bad: rows that were left out for their audio, by split.
    """

    splits: dict[str, Any]
    names: list[str] | None
    unlabelled: int
    bad: dict[str, list[BadAudio]]

    @property
    def streams(self) -> bool:
        """Whether training rows come as a stream of unknown length."""
        return isinstance(self.splits["train"], IterableDataset)

    def train_rows(self, crop_seconds: float | None) -> Dataset | IterableDataset:
        """Training rows whose `length` is that of the crop, so that batches are grouped by what is really padded."""
        rows = self.splits["train"]
        if self.streams or crop_seconds is None:
            return rows
        longest = round(crop_seconds * SAMPLE_RATE)
        lengths = [min(length, longest) for length in rows["length"]]
        return add_columns(rows, {"length": lengths})


def read_rows(arguments: DataArguments, *, regression: bool, seed: int, min_samples: int) -> RunRows:
    """Reads, splits, labels and checks the rows that a run's arguments name.

    Args:
        arguments: where the data lies, what is predicted, how it is split.
        regression: whether the target is a number.
        seed: of a split by share.
        min_samples: the shortest usable waveform, at 16 kHz.

    Raises:
        InputError: no data set, a missing column, an unknown label, a rule that takes nothing, files that can't be
            used (all of them are listed).
    """
    if arguments.dataset is None:
        raise InputError("no data: give --dataset, a folder with a sub-folder a class, a csv, or a name on the Hub")
    if arguments.streaming:
        return _read_stream(arguments, regression, min_samples)
    splits = load_rows(
        arguments.dataset, reader=arguments.reader, config_name=arguments.dataset_config, columns=arguments.columns
    )
    splits = split_rows(
        splits,
        validation=arguments.validation,
        test=arguments.test,
        # Speakers who are to be told apart can't be on one side only.
        group_by=None if arguments.group_by == arguments.target else arguments.group_by,
        target=None if regression else arguments.target,
        seed=seed,
    )
    labelled, names, unlabelled = encode_target(
        splits, arguments.target, labels=arguments.labels, regression=regression
    )
    checked, bad = _check(labelled, arguments, min_samples)
    return RunRows(checked, names, unlabelled, bad)


def _check(
    splits: dict[str, Dataset], arguments: DataArguments, min_samples: int
) -> tuple[dict[str, Dataset], dict[str, list[BadAudio]]]:
    # Every split is looked at before the first complaint, so that one message names all bad files.
    checked, bad, complaints = {}, {}, []
    for split, rows in splits.items():
        try:
            checked[split], bad[split] = check_rows(
                rows,
                how=arguments.check_audio,
                on_bad=arguments.on_bad_audio,
                min_duration=min_samples / SAMPLE_RATE,
                channel=arguments.channel,
            )
        except InputError as error:
            complaints.append(f"{split}: {error}")
    if complaints:
        raise InputError("; ".join(complaints))
    return checked, bad


def _read_stream(arguments: DataArguments, regression: bool, min_samples: int) -> RunRows:
    """Training rows as a stream; validation and test, which are gone over again and again, as ordinary rows."""
    streams = load_rows(
        str(arguments.dataset),
        reader=arguments.reader,
        config_name=arguments.dataset_config,
        columns=arguments.columns,
        streaming=True,
    )
    wanted = {"train": "train"}
    for part, rule in (("validation", arguments.validation), ("test", arguments.test)):
        name = part if rule is None and part in streams else rule
        if name not in (None, "none"):
            wanted[part] = name
    for part, name in wanted.items():
        if name not in streams:
            raise InputError(f"{part}: {name!r} is not a split; a streamed data set has {', '.join(streams)}")
    encode, names = encode_stream(streams, arguments.target, labels=arguments.labels, regression=regression)
    held_out = {
        part: Dataset.from_list(list(encode(streams[name]))) for part, name in wanted.items() if part != "train"
    }
    checked, bad = _check(held_out, arguments, min_samples)
    return RunRows(Splits({"train": encode(streams["train"]), **checked}), names, 0, bad)


def item_ids(rows: Dataset, root: str | None) -> list[str]:
    """A name an utterance that does not hang on where the data lies: path beneath the data set, and the cut if any."""
    folder = Path(root).absolute() if root else None
    folder = folder.parent if folder is not None and folder.is_file() else folder
    ids = []
    for i, path in enumerate(audio_paths(rows)):
        name = path or f"row {i}"
        if folder is not None and Path(name).is_relative_to(folder):
            name = Path(name).relative_to(folder).as_posix()
        ids.append(name)
    if "start" in rows.column_names:
        cuts = zip(ids, rows["start"], rows["end"], strict=True)
        ids = [name if start is None else f"{name} {start:.3f} {end}" for name, start, end in cuts]
    return ids
