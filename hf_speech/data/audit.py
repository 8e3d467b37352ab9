"""The split audit: who and what stands in two splits, and how the rows of each split are made up.

    overlaps  for every pair of splits: speakers, sessions, recordings that both have, and equal audio
    facts     a split's hours, speakers, classes, ages, durations, and the fingerprint of its ids
    audit     both, as audit.json has them

It reads columns and hashes of the audio, never the audio, and goes over them in Arrow and NumPy: 1.1 million rows take
seconds. Rows come as `datasets.Dataset` or as Arrow tables.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset

from ..errors import InputError, list_some
from ..fingerprint import fingerprint
from .schema import as_text, media_fragment

Rows: TypeAlias = Any  # a Dataset, or a pa.Table

COMPARED = ("speaker_id", "session_id", "recording_id")
COUNTED = ("label", "emotion", "gender", "language", "fold", "speaker_id")
EXAMPLES = 10
LISTED = 50  # a column with more values than this is summed up, not counted value by value
UNKNOWN = 0  # the hash of a row whose audio was not looked at

# What an overlap is of -> one of them, several.
NOUNS = {
    "speaker_id": ("speaker", "speakers"),
    "session_id": ("session", "sessions"),
    "recording_id": ("recording", "recordings"),
    "file": ("file", "files"),
    "content": ("clip", "clips"),
}


def audit(splits: Mapping[str, Rows], content: Mapping[str, np.ndarray] | None = None) -> dict[str, Any]:
    """All that audit.json says of the splits, in JSON's own types.

    Args:
        splits: split name -> rows.
        content: split name -> see `overlaps`.

    Returns:
        `splits`: split name -> see `facts`; `overlaps`: see there; `repeated`: split name -> see `repeated`.
    """
    return {
        "splits": facts(splits),
        "overlaps": overlaps(splits, content=content),
        "repeated": {name: repeated(splits[name], hashes) for name, hashes in (content or {}).items()},
    }


def overlaps(
    splits: Mapping[str, Rows],
    columns: Sequence[str] = COMPARED,
    content: Mapping[str, np.ndarray] | None = None,
) -> list[dict[str, Any]]:
    """What two splits have in common, for every pair of splits and every column that both have.

    Args:
        splits: split name -> rows.
        columns: the columns whose values are compared, as text; empty cells are passed by.
        content: split name -> (rows,) uint64, a hash of each row's audio, 0 where it is not known. Splits that are
            not in it are not compared by content.

    Returns:
        {"between": [a, b], "what": column or "content", "count": different values in both, "of": [in a, in b],
        "examples": up to ten of them, the first in order; of content the ids of a row of a and one of b}.
    """
    values = {}
    for name, rows in splits.items():
        for column in columns:
            cells = texts(rows, column)
            if cells is not None:
                values[name, column] = cells.unique().drop_null()
    hashes = {name: _checked(name, splits[name], found) for name, found in (content or {}).items()}
    contents = {name: _different(found) for name, found in hashes.items()}
    found = []
    for a, b in combinations(splits, 2):
        for column in columns:
            if (a, column) in values and (b, column) in values:
                first, second = values[a, column], values[b, column]
                shared = first.filter(pc.is_in(first, value_set=second))
                examples: list[Any] = shared.sort()[:EXAMPLES].to_pylist()
                found.append(_overlap(a, b, column, len(shared), len(first), len(second), examples))
        if a in contents and b in contents:
            both = np.intersect1d(contents[a], contents[b], assume_unique=True)
            examples = _pairs(splits[a], hashes[a], splits[b], hashes[b], both)
            found.append(_overlap(a, b, "content", len(both), len(contents[a]), len(contents[b]), examples))
    return found


def _overlap(
    a: str, b: str, what: str, count: int, in_first: int, in_second: int, examples: list[Any]
) -> dict[str, Any]:
    return {"between": [a, b], "what": what, "count": count, "of": [in_first, in_second], "examples": examples}


def repeated(rows: Rows, hashes: np.ndarray) -> dict[str, Any]:
    """Rows of one split whose audio an earlier row has already.

    Args:
        rows: the split.
        hashes: (rows,) uint64, see `overlaps`.

    Returns:
        {"count": those rows, "examples": up to ten pairs of ids}.
    """
    values, counts = np.unique(hashes[hashes != UNKNOWN], return_counts=True)
    twice = values[counts > 1]
    pairs = _ids_by_content(_ids(rows), hashes, twice).values()
    return {"count": int((counts - 1).sum()), "examples": [pair[:2] for pair in pairs]}


def _checked(name: str, rows: Rows, hashes: np.ndarray) -> np.ndarray:
    if len(hashes) != len(rows):
        raise ValueError(f"{len(hashes)} hashes for the {len(rows)} rows of {name}")
    return hashes


def _different(hashes: np.ndarray) -> np.ndarray:
    """The known hashes, each once, rising."""
    values = np.unique(hashes)
    return values[values != UNKNOWN]


def _pairs(first: Rows, of_first: np.ndarray, second: Rows, of_second: np.ndarray, both: np.ndarray) -> list[Any]:
    """Ids of rows with the same audio, one of each split, for the first ten of those in both."""
    if not len(both):
        return []
    left = _ids_by_content(_ids(first), of_first, both)
    right = _ids_by_content(_ids(second), of_second, np.array(list(left), dtype=both.dtype))
    return [[ids[0], right[value][0]] for value, ids in left.items()]


def _ids_by_content(ids: pa.ChunkedArray, hashes: np.ndarray, wanted: np.ndarray) -> dict[int, list[str]]:
    """Hash -> the two lowest ids that have it, for the ten wanted hashes whose lowest ids come first."""
    places = np.flatnonzero(np.isin(hashes, wanted))
    names = ids.take(pa.array(places))
    order = pc.sort_indices(names).to_numpy()
    keys = hashes[places][order]
    firsts = np.sort(np.unique(keys, return_index=True)[1])[:EXAMPLES]
    return {int(keys[i]): names.take(pa.array(order[keys == keys[i]][:2])).to_pylist() for i in firsts}


def _ids(rows: Rows) -> pa.ChunkedArray:
    """The column `id`; where there is none, the places of the rows."""
    found = texts(rows, "id")
    return found if found is not None else pa.chunked_array([[f"row {i}" for i in range(len(rows))]], pa.string())


def facts(splits: Mapping[str, Rows]) -> dict[str, dict[str, Any]]:
    """What each split is made of; None where the rows do not say.

    Returns:
        Split name -> `rows`; `seconds`, `hours`; `speakers`, `sessions`, `recordings`: how many; `duration` {min,
        mean, max} in seconds; `by` {column: see `_counts`} for the columns of `COUNTED` that are there; `age` {min,
        mean, max, decades {"20": rows}} in years; `fingerprint` of the ids, as results.json has it.
    """
    return {name: _facts(rows) for name, rows in splits.items()}


def _facts(rows: Rows) -> dict[str, Any]:
    different: dict[str, int] = {}
    counts: dict[str, dict[str, Any]] = {}
    for column in dict.fromkeys((*COUNTED, *COMPARED)):
        cells = texts(rows, column)  # of one column at a time
        if cells is not None:
            summary = _counts(cells)
            different[column] = summary["values"]
            if column in COUNTED:
                counts[column] = summary
    seconds = _durations(rows)
    total = None if seconds is None else float(seconds.sum())
    ids = texts(rows, "id")
    return {
        "rows": len(rows),
        "seconds": None if total is None else round(total, 3),
        "hours": None if total is None else round(total / 3600, 3),
        "speakers": different.get("speaker_id"),
        "sessions": different.get("session_id"),
        "recordings": different.get("recording_id"),
        "duration": _range(seconds, 3),
        "by": counts,
        "age": _ages(rows),
        "fingerprint": None if ids is None else fingerprint(ids.to_pylist()),
    }


def _counts(cells: pa.ChunkedArray) -> dict[str, Any]:
    """{"values": how many, "empty": rows without one, "min", "median", "max": rows a value, "counts": {value: rows}}.

    `counts` is there for at most 50 values.
    """
    counted = cells.drop_null().value_counts()
    values, counts = counted.field("values"), counted.field("counts").to_numpy()
    summary: dict[str, Any] = {"values": len(values), "empty": cells.null_count, "min": 0, "median": 0.0, "max": 0}
    if len(values):
        summary |= {"min": int(counts.min()), "median": float(np.median(counts)), "max": int(counts.max())}
    if len(values) <= LISTED:
        summary["counts"] = dict(sorted(zip(values.to_pylist(), counts.tolist(), strict=True)))
    return summary


def _range(values: np.ndarray | None, digits: int) -> dict[str, float] | None:
    if values is None or not len(values):
        return None
    numbers = {"min": values.min(), "mean": values.mean(), "max": values.max()}
    return {name: round(float(number), digits) for name, number in numbers.items()}


def _durations(rows: Rows) -> np.ndarray | None:
    """Seconds of each row that says so: from `duration`, else from `end` and `start`."""
    seconds = _numbers(rows, "duration")
    if seconds is None:
        end, start = _numbers(rows, "end"), _numbers(rows, "start")
        seconds = None if end is None else end - (0.0 if start is None else np.nan_to_num(start))
    if seconds is None or np.isnan(seconds).all():
        return None
    return seconds[~np.isnan(seconds)]


def _ages(rows: Rows) -> dict[str, Any] | None:
    ages = _numbers(rows, "age")
    if ages is None or np.isnan(ages).all():
        return None
    ages = ages[~np.isnan(ages)]
    decades, counts = np.unique(ages // 10 * 10, return_counts=True)
    by_decade = {str(int(decade)): int(count) for decade, count in zip(decades, counts, strict=True)}
    return {**(_range(ages, 1) or {}), "decades": by_decade}


def _column(rows: Rows, name: str) -> pa.ChunkedArray | None:
    """A column alone, selected rows in their order; None where there is none."""
    if name not in rows.column_names:
        return None
    if isinstance(rows, Dataset):
        rows = rows.select_columns([name]).with_format("arrow")[:]
    return rows.column(name)


def texts(rows: Rows, name: str) -> pa.ChunkedArray | None:
    """A column by the rule of `as_text`, as Arrow text with null at empty cells; None where there is none."""
    column = _column(rows, name)
    if column is None:
        return None
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        stripped = pc.utf8_trim_whitespace(column.cast(pa.string()))
        empty = pc.equal(stripped, "")
        return pc.if_else(empty, None, stripped) if pc.any(empty).as_py() else stripped
    # Numbers: few values stand in many rows.
    encoded = column.combine_chunks().dictionary_encode()
    words = pa.array([as_text(value) for value in encoded.dictionary.to_pylist()], pa.string())
    return pa.chunked_array([words.take(encoded.indices)], pa.string())


def _numbers(rows: Rows, name: str) -> np.ndarray | None:
    """A column as float64, NaN at empty cells; None where there is none, or it holds no numbers."""
    column = _column(rows, name)
    if column is None:
        return None
    try:
        return column.cast(pa.float64()).to_numpy().astype(np.float64)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None


def places(rows: Dataset) -> pa.ChunkedArray:
    """Which file a row is, and which piece of it, see `media_fragment`; null where the audio is embedded."""
    paths: list[pa.Array] = []
    for batch in rows.select_columns(["audio"]).with_format("arrow").iter(100):
        audio = batch["audio"].combine_chunks()
        # The path of embedded audio may be a bare name, which others have as well.
        paths.append(pc.if_else(audio.field("bytes").is_null(), audio.field("path").cast(pa.string()), None))
    named = pa.chunked_array(paths, pa.string())
    if not {"start", "end", "channel"} & set(rows.column_names):
        return named
    channel = texts(rows, "channel")
    channels = [None] * len(rows) if channel is None else channel.to_pylist()
    pieces = zip(_seconds(rows, "start"), _seconds(rows, "end"), channels, strict=True)
    fragments = pa.array([media_fragment(*piece) for piece in pieces], pa.string())
    return pc.binary_join_element_wise(named, fragments, "")


def _seconds(rows: Rows, name: str) -> list[float | None]:
    """A column in Python's own numbers, None at empty cells and where there is none."""
    values = _numbers(rows, name)
    return [None] * len(rows) if values is None else [None if v != v else v for v in values.tolist()]


def require_disjoint(found: Sequence[Mapping[str, Any]], column: str, target: str) -> None:
    """Refuse splits that share values of a column.

    Args:
        found: see `overlaps`.
        column: such as "speaker_id".
        target: what is predicted, for the message.

    Raises:
        InputError: some do; up to five values of each pair are named.
    """
    shared = [overlap for overlap in found if overlap["what"] == column and overlap["count"]]
    if shared:
        nouns = NOUNS[column][1]
        raise InputError(
            f"target {target} is to be measured on new {nouns}, but "
            f"{list_some([in_words(overlap, 5) for overlap in shared])}; hold whole {nouns} out (a share such as "
            f"--test 0.1 with --group-by {column}, or --test {column}=...), leave the data set's own split out "
            f"(--{shared[0]['between'][1]} none), or accept it: --speaker-independent false"
        )


def in_words(overlap: Mapping[str, Any], examples: int = 0) -> str:
    """One line for what two splits share, with as many of its examples.

    >>> in_words({"between": ["train", "test"], "what": "speaker_id", "count": 1, "of": [8, 3], "examples": ["f01"]}, 5)
    '1 of the 3 speakers in test is in train as well (f01)'
    """
    first, second = overlap["between"]
    noun = NOUNS.get(overlap["what"], (overlap["what"], overlap["what"]))[overlap["of"][1] != 1]
    verb = "is" if overlap["count"] == 1 else "are"
    text = f"{overlap['count']:,} of the {overlap['of'][1]:,} {noun} in {second} {verb} in {first} as well"
    shown = [" = ".join(e) if isinstance(e, list | tuple) else str(e) for e in overlap["examples"][:examples]]
    more = overlap["count"] - len(shown)
    return f"{text} ({', '.join(shown)}{f' and {more:,} more' if more else ''})" if shown else text


def describe(audited: Mapping[str, Any]) -> list[str]:
    """A few lines for the terminal and the card.

    Args:
        audited: see `audit`.
    """
    lines = [_describe_split(name, found) for name, found in audited["splits"].items()]
    clean: dict[str, list[str]] = {}
    for overlap in audited["overlaps"]:
        if overlap["count"]:
            lines.append(in_words(overlap, 5))
        else:
            clean.setdefault(" and ".join(overlap["between"]), []).append(NOUNS[overlap["what"]][0])
    lines += [f"{pair}: no {', no '.join(nouns)} in common" for pair, nouns in clean.items()]
    for name, found in audited["repeated"].items():
        if found["count"]:
            shown = "; ".join(" = ".join(pair) for pair in found["examples"][:5])
            lines.append(f"content twice in {name}: {found['count']:,} ({shown})")
    return lines


def _describe_split(name: str, found: Mapping[str, Any]) -> str:
    parts = [f"{found['rows']:,} rows"]
    for key in ("speakers", "sessions", "recordings"):
        if found[key] is not None:
            parts.append(f"{found[key]:,} {key if found[key] != 1 else key.removesuffix('s')}")
    if found["hours"] is not None:
        low, mean, high = (found["duration"][key] for key in ("min", "mean", "max"))
        parts.append(f"{found['hours']:,.2f} hours ({low:.2f} to {high:.2f} s, mean {mean:.2f} s)")
    for column, summary in found["by"].items():
        counts = summary.get("counts", {})
        if column != "speaker_id" and 1 < len(counts) <= 10:
            parts.append(f"{column}: " + " ".join(f"{value} {count:,}" for value, count in counts.items()))
    if found["age"] is not None:
        parts.append(f"age {found['age']['min']:g} to {found['age']['max']:g}")
    return f"{name}: {', '.join(parts)}"
