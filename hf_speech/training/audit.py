"""What the splits of a run have in common: looked at before training, stopped at or said in the results."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import Dataset

from ..data.audit import COMPARED, NOUNS, in_words, overlaps, places, require_disjoint, texts
from ..data.schema import near_miss, require_column
from ..errors import InputError, one_line
from .config import DataArguments

logger = logging.getLogger(__name__)

FILE_NAME = "audit.json"

# Targets that are meant for voices a model has not heard. Who speaks is not: there the speakers are the classes.
SPEAKER_INDEPENDENT = frozenset({"emotion", "age", "gender"})


@dataclass(frozen=True)
class Comparison:
    """What comparing the splits of a run has given.

    Attributes:
        overlaps: what two splits have in common, see `data.audit.overlaps`.
        compared: what all of them were compared by, known of every row: columns, "file"; and "content".
    """

    overlaps: list[dict[str, Any]]
    compared: list[str]


def check_splits(
    splits: Mapping[str, Dataset],
    sources: Mapping[str, str],
    arguments: DataArguments,
    targets: Sequence[str],
    independent: bool | None,
) -> Comparison:
    """Compares the splits of a run by speakers, sessions, recordings and files, and by audio where that was done.

    Args:
        splits: the rows of the run, by split.
        sources: split of the run -> the split of the data set that it is, or was drawn from.
        arguments: of the run.
        targets: the columns that are predicted.
        independent: whether no speaker may be in two splits; None: as the targets want it.

    Returns:
        The overlaps that were found, each that could be otherwise is logged as a warning; and what was looked at.

    Raises:
        InputError: a speaker is in two splits and the run is to be speaker-independent.
    """
    if independent is None:
        independent = bool(SPEAKER_INDEPENDENT.intersection(targets)) and "speaker_id" not in targets
    elif independent:
        for name, rows in splits.items():
            require_column(rows, "speaker_id", f"speaker_independent, {name}")
    # Classes are in all splits.
    columns = [column for column in (*COMPARED, "file") if column not in targets]
    names = {name: _names(rows) for name, rows in splits.items()}
    found = overlaps(names, columns)
    if independent:
        _require_mapped_speakers(splits, targets)
        _warn_of_unknown_speakers(names)
        require_disjoint(found, "speaker_id", " and ".join(targets))
    found = [_public(overlap) for overlap in found] + _known_content(splits, sources, arguments)
    shared = [overlap for overlap in found if overlap["count"]]
    for overlap in shared:
        # All rows of one meeting: what is in it can't be told apart by sessions or recordings.
        if overlap["of"] != [1, 1] or overlap["what"] not in ("session_id", "recording_id"):
            logger.warning("%s", in_words(overlap, 5))
    return Comparison(shared, _compared(found, names))


def _compared(found: Sequence[Mapping[str, Any]], names: Mapping[str, pa.Table]) -> list[str]:
    """What every row of every split was compared by with all other splits."""
    pairs: dict[str, set[tuple[str, str]]] = {}
    for overlap in found:
        pairs.setdefault(overlap["what"], set()).add(tuple(overlap["between"]))
    wanted = set(combinations(names, 2))
    whole = [what for what, there in pairs.items() if there == wanted]
    return [what for what in whole if what == "content" or not any(t[what].null_count for t in names.values())]


def source_splits(splits: Mapping[str, Dataset], loaded: Mapping[str, Dataset]) -> dict[str, str]:
    """Split of a run -> the data set's split that it is; what a rule has drawn comes from "train"."""
    names = {id(rows): name for name, rows in loaded.items()}
    return {name: names.get(id(rows), "train") for name, rows in splits.items()}


def _names(rows: Dataset) -> pa.Table:
    found = {column: texts(rows, column) for column in COMPARED}
    return pa.table({name: cells for name, cells in found.items() if cells is not None} | {"file": places(rows)})


def _require_mapped_speakers(splits: Mapping[str, Dataset], targets: Sequence[str]) -> None:
    """Refuse rows whose speakers are named in a column that was not mapped: the splits could not be compared by them.

    Raises:
        InputError: there is such a column.
    """
    columns = splits["train"].column_names
    meant = [name for name in columns if near_miss(name) == "speaker_id"]
    if len(splits) > 1 and meant and "speaker_id" not in columns:
        what = f"target {' and '.join(targets)} is to be measured on new speakers, and {meant[0]!r} seems to name them"
        raise InputError(f"{what}; map it: --columns speaker_id={meant[0]}, or accept it: --speaker-independent false")


def _warn_of_unknown_speakers(names: Mapping[str, pa.Table]) -> None:
    for split, table in names.items():
        unknown = table["speaker_id"].null_count if "speaker_id" in table.column_names else 0
        if unknown:
            logger.warning("%s: %d of %d rows do not say who speaks: not compared", split, unknown, len(table))


def _public(overlap: dict[str, Any]) -> dict[str, Any]:
    """Files by their last name: where they lie is nobody's business."""
    if overlap["what"] != "file":
        return overlap
    return {**overlap, "examples": [Path(example).name for example in overlap["examples"]]}


def _known_content(
    splits: Mapping[str, Dataset], sources: Mapping[str, str], arguments: DataArguments
) -> list[dict[str, Any]]:
    """The overlaps of audio that the data set's audit.json tells of, in the names of the run's splits.

    Rows that a rule draws from "train" for validation count as "train" there: which of the two has a clip is not told.
    """
    here = {source: name for name, source in sources.items() if name == "train" or source != "train"}
    found = []
    for overlap in _read_audit(arguments):
        a, b = overlap["between"]
        if overlap["what"] == "content" and a in here and b in here:
            first, second = sorted((here[a], here[b]), key=list(splits).index)
            turn = 1 if (first, second) == (here[a], here[b]) else -1
            examples = [pair[::turn] for pair in overlap["examples"]]
            found.append({**overlap, "between": [first, second], "of": overlap["of"][::turn], "examples": examples})
    return found


def _read_audit(arguments: DataArguments) -> list[dict[str, Any]]:
    """The overlaps in the audit.json of the data set; none where it has none."""
    path = _audit_file(arguments)
    if path is None:
        return []
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if arguments.dataset_config not in (None, "default", content.get("config_name")):
            return []  # it tells of more than is in use
        return [_checked(overlap) for overlap in content["overlaps"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        logger.warning("%s: can't be read (%s), so the splits are not compared by audio", path, one_line(error))
        return []


def _checked(overlap: dict[str, Any]) -> dict[str, Any]:
    """An overlap as `data.audit.overlaps` gives it.

    Raises:
        ValueError: it is none.
    """
    sizes = [overlap["count"], *overlap["of"]]
    if not (len(overlap["between"]) == 2 and len(sizes) == 3 and all(type(size) is int for size in sizes)):
        raise ValueError(f"no overlap: {overlap}")
    if overlap["what"] not in NOUNS or not isinstance(overlap["examples"], list):
        raise ValueError(f"no overlap: {overlap}")
    return overlap


def _audit_file(arguments: DataArguments) -> Path | None:
    """Where the data set's audit.json is; one on the Hub is fetched, if it can be."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    name = str(arguments.dataset)
    if Path(name).exists():
        file = Path(name) / FILE_NAME
        return file if file.is_file() else None
    try:
        return Path(hf_hub_download(name, FILE_NAME, repo_type="dataset"))
    except (EntryNotFoundError, OSError, ValueError) as error:
        logger.debug("%s: no %s: %s", name, FILE_NAME, one_line(error))
        return None
