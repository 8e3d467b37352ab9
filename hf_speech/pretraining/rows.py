"""The rows that an encoder learns from without labels, none of which is tested on."""

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from datasets import Dataset

from ..data.checks import MIN_DURATION, BadAudio
from ..data.heard import contents, in_both
from ..data.schema import Splits, file_name
from ..data.splits import only_rows, split_rows
from ..errors import InputError
from ..training.audit import check_splits, source_splits
from ..training.config import DataArguments, SplitArguments
from ..training.rows import RunRows, check_audio_of, found, load_any

logger = logging.getLogger(__name__)


def unlabelled_rows(
    arguments: DataArguments, split: SplitArguments, *, min_seconds: float, loaded: Splits | None = None
) -> tuple[RunRows, Dataset | None]:
    """Reads, splits and checks rows to learn from; those that are held out for testing are not among them.

    Args:
        arguments: where the data lies.
        split: what of it is held out.
        min_seconds: shorter rows are left out, with a warning; files that are broken are not passed over so.
        loaded: rows in the place of those that lie there.

    Returns:
        The rows to learn from; and those that are held out for testing, of which nothing is heard, or None.

    Raises:
        InputError: no data set, a rule that takes nothing, files that can't be used (all of them are listed), rows that
            are all too short, or speech to learn from that is tested on as well.
    """
    arguments = found(arguments)
    loaded = load_any(arguments) if loaded is None else loaded
    loaded = loaded if split.only is None else only_rows(loaded, split.only)
    group_by = None if split.group_by == "none" else split.group_by
    splits = split_rows(loaded, validation=split.validation, test=split.test, group_by=group_by, seed=split.split_seed)
    audit = check_splits(splits, source_splits(splits, loaded), arguments, [], split.speaker_independent)
    learned, tested = without_tested(splits)
    checked, bad = check_audio_of(learned, arguments, MIN_DURATION)
    for name, rows in checked.items():
        checked[name], short = _long_enough(name, rows, min_seconds)
        bad[name] = [*bad[name], *short]
    return RunRows(checked, {}, 0, bad, audit.overlaps, arguments.dataset, audit.compared), tested


def without_tested(splits: Mapping[str, Dataset]) -> tuple[dict[str, Dataset], Dataset | None]:
    """The splits that are learned from, and the one that is tested on, if there is one.

    Raises:
        InputError: some speech is in both.
    """
    learned, tested = {name: rows for name, rows in splits.items() if name != "test"}, splits.get("test")
    if tested is not None:
        for name, rows in learned.items():
            refuse_tested(rows, tested, name)
    return learned, tested


def refuse_tested(learned: Dataset, tested: Dataset, name: str = "train") -> None:
    """Refuses rows to learn from in which there is speech that is tested on, whatever its file is called.

    An encoder that was adapted to the very speech it is tested on is not measured on unheard speech.

    Args:
        learned: rows with `audio`, and perhaps `start` and `end`.
        tested: likewise.
        name: of the split that is learned from, for the message.

    Raises:
        InputError: some have the same content, or are cut from the same one at the same time.
    """
    both = in_both(learned, (span for span, _ in contents(tested)))
    if both:
        raise InputError(
            f"{name}: {len(both)} recordings to learn from are tested on too, such as {Path(both[0]).name}; take them "
            "out of the rows to learn from"
        )


def _long_enough(name: str, rows: Dataset, min_seconds: float) -> tuple[Dataset, list[BadAudio]]:
    """The rows that are so long, and the others."""
    short = np.flatnonzero(np.asarray(rows["duration"]) < min_seconds)
    if not len(short):
        return rows, []
    if len(short) == len(rows):
        raise InputError(
            f"{name}: all {len(rows)} recordings are shorter than {min_seconds:.3g} s, so no frame can be hidden; give "
            "longer ones, or a smaller length (masking)"
        )
    reason = f"is shorter than {min_seconds:.3g} s: no frame can be hidden"
    bad = [BadAudio(int(row), file_name(rows[int(row)]["audio"]), reason) for row in short]
    told = "%s: %d of %d recordings, such as %s, are shorter than %.3g s, in which no frame can be hidden, and left out"
    logger.warning(f"{told}; results.json names them", name, len(bad), len(rows), Path(bad[0].file).name, min_seconds)
    return rows.select(np.setdiff1d(np.arange(len(rows)), short)), bad
