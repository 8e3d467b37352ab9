"""Split rules: which rows are held out for validation and for testing.

One grammar for YAML and flags; a rule is one of

    none                     hold nothing out
    test                     a split that the data set has, by its name
    speaker_id=f01,m03       the rows whose column has one of these values
    crc32(speaker_id)%5==0   the rows whose value's CRC-32 leaves this remainder
    0.1                      a share of the groups (speakers), drawn with the seed

and no rule at all means: the data set's own split where it has one, else nothing.
"""

import hashlib
import logging
import os
import re
import zlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from datasets import Dataset

from ..errors import InputError, list_some
from .schema import Splits, as_text, audio_paths, class_names_of, column_texts, require_column

logger = logging.getLogger(__name__)

# What data sets call the two held-out splits.
OWN_SPLITS = {"test": ("test",), "validation": ("validation", "dev", "valid", "val", "eval")}


@dataclass(frozen=True)
class Pool:
    """The rows that a rule may take from, and how they belong together.

    Attributes:
        rows: the training rows that are left.
        group_by: the column whose values must not be torn apart; None: each row stands alone.
        target: the column by which lone rows are stratified; None: not at all.
        seed: of the draw.
        purpose: "test" or "validation", for messages.
    """

    rows: Dataset
    group_by: str | None
    target: str | None
    seed: int
    purpose: str


@dataclass(frozen=True)
class Rule:
    """One form of a rule.

    Attributes:
        pattern: what the whole text must match.
        example: shown in errors.
        take: (match, pool) -> the indices of the rows to hold out, rising.
    """

    pattern: re.Pattern[str]
    example: str
    take: Callable[[re.Match[str], Pool], list[int]]


def split_rows(
    splits: Mapping[str, Dataset],
    *,
    validation: str | None = None,
    test: str | None = None,
    group_by: str | None = "speaker_id",
    target: str | None = None,
    seed: int = 0,
) -> Splits:
    """Training, validation and test rows; a split without rows is absent.

    The test rows are taken from "train" first, the validation rows from what is left. The draw of a share depends on
    the seed and on the names of the groups (or the files), not on the order of the rows.

    Args:
        splits: split name -> rows, "train" among them.
        validation: rule, see the module's docstring.
        test: rule.
        group_by: column whose groups a share keeps whole; None, or a data set without `speaker_id`: single rows.
        target: column of the classes, by which single rows are stratified (leave it out for a regression).
        seed: of the draw of a share.

    Raises:
        InputError: no training rows, a rule that can't be read, takes nothing, or takes everything.
    """
    if "train" not in splits:
        raise InputError(f"there is no split 'train' to learn from; splits: {', '.join(splits)}")
    rules = {
        "test": _rule_text("test", test, validation, splits),
        "validation": _rule_text("validation", validation, test, splits),
    }
    if rules["test"] == rules["validation"] and rules["test"] in splits:
        raise InputError(f"the split {rules['test']!r} can't be both validation and test; name another for one of them")
    train = splits["train"]
    held_out: dict[str, Dataset] = {}
    for part, text in rules.items():
        if text == "none":
            continue
        if text in splits:
            held_out[part] = _named_split(splits, part, text)
            continue
        taken = _taken(part, text, Pool(train, _group_column(train, group_by), target, seed, part), splits)
        held_out[part] = train.select(taken)
        train = train.select(sorted(set(range(len(train))) - set(taken)))
    unused = sorted(set(splits) - {"train", *rules.values()})
    if unused:
        logger.info("splits of the data set that are not used: %s", ", ".join(unused))
    order = [part for part in ("validation", "test") if part in held_out]
    return Splits({"train": train} | {part: held_out[part] for part in order}, class_names_of(splits))


def only_rows(splits: Mapping[str, Dataset], text: str) -> Splits:
    """The rows of every split whose column has one of the values of a rule such as `recording_id=meeting1`.

    A split without such rows is left out, and so are class names that no row has any more.

    Raises:
        InputError: another form of rule, no such column, a value that no row has.
    """
    match = RULES["values of a column"].pattern.fullmatch(text.strip())
    if match is None:
        raise InputError(f"only {text!r} can't be read; write column=value,value, such as recording_id=meeting1")
    column, wanted = match["column"].strip(), {as_text(value) for value in match["values"].split(",")} - {None}
    for rows in splits.values():
        require_column(rows, column, f"only {text!r}")
    cells = {name: column_texts(rows, column) for name, rows in splits.items()}
    there = {cell for values in cells.values() for cell in values if cell is not None}
    absent = sorted(str(value) for value in wanted - there)
    if absent:
        raise InputError(f"only {text!r}: no {column} is {', '.join(absent)}; there are: {list_some(sorted(there))}")
    kept = {name: [i for i, cell in enumerate(values) if cell in wanted] for name, values in cells.items()}
    rest = {name: splits[name].select(taken) for name, taken in kept.items() if taken}
    classes = class_names_of(splits)
    for name, names in classes.items():
        met = {cell for rows in rest.values() if name in rows.column_names for cell in column_texts(rows, name)}
        classes[name] = [one for one in names if one in met]
    return Splits(rest, classes)


def _rule_text(part: str, rule: str | None, other: str | None, splits: Mapping[str, Dataset]) -> str:
    """The rule in force: the one given, or the data set's own split that the other part does not ask for by name."""
    if rule is not None:
        return str(rule).strip()
    return next((name for name in OWN_SPLITS[part] if name in splits and name != other), "none")


def _named_split(splits: Mapping[str, Dataset], part: str, name: str) -> Dataset:
    if name == "train":
        raise InputError(f"{part} rule 'train': training rows can't be held out as well; name another split or a share")
    if not len(splits[name]):
        raise InputError(f"{part} rule {name!r}: that split has no rows; splits: {', '.join(splits)}")
    return splits[name]


def _taken(part: str, text: str, pool: Pool, splits: Mapping[str, Dataset]) -> list[int]:
    """The indices that a rule takes, checked: some, and not all."""
    for rule in RULES.values():
        match = rule.pattern.fullmatch(text)
        if match:
            taken = rule.take(match, pool)
            if not taken:
                raise InputError(f"{part} rule {text!r} takes no row of the {len(pool.rows)} that are left")
            if len(taken) == len(pool.rows):
                raise InputError(f"{part} rule {text!r} takes all {len(pool.rows)} rows and leaves none to train on")
            return taken
    examples = ", ".join(f"{rule.example} ({name})" for name, rule in RULES.items())
    raise InputError(f"{part} rule {text!r} can't be read; write none, a split ({', '.join(splits)}), or {examples}")


def _group_column(rows: Dataset, group_by: str | None) -> str | None:
    """The group column, or None where the data set names no speakers and none was asked for in particular."""
    if group_by == "speaker_id" and group_by not in rows.column_names:
        return None
    if group_by is not None:
        require_column(rows, group_by, "groups of a split")
    return group_by


def take_values(match: re.Match[str], pool: Pool) -> list[int]:
    """Rows whose column has one of the values.

    Raises:
        InputError: no such column, or a value that no row has.
    """
    column = match["column"].strip()
    require_column(pool.rows, column, f"{pool.purpose} rule {match[0]!r}")
    wanted = {as_text(value) for value in match["values"].split(",")} - {None}
    cells = column_texts(pool.rows, column)
    absent = sorted(str(value) for value in wanted - set(cells))
    if absent:
        there = list_some(sorted({cell for cell in cells if cell is not None}))
        raise InputError(f"{pool.purpose} rule {match[0]!r}: no {column} is {', '.join(absent)}; there are: {there}")
    return [i for i, cell in enumerate(cells) if cell in wanted]


def take_remainder(match: re.Match[str], pool: Pool) -> list[int]:
    """Rows where the CRC-32 of the value's UTF-8 bytes leaves this remainder; rows without a value are not taken.

    A value always falls on the same side, whatever else the data set holds.

    Raises:
        InputError: no such column, a remainder that can't occur, or one that no value has.
    """
    column, divisor, remainder = match["column"].strip(), int(match["divisor"]), int(match["remainder"])
    require_column(pool.rows, column, f"{pool.purpose} rule {match[0]!r}")
    if divisor < 2 or remainder >= divisor:
        raise InputError(f"{pool.purpose} rule {match[0]!r}: the divisor must be 2 or more, the remainder below it")
    cells = column_texts(pool.rows, column)
    remainders = {cell: zlib.crc32(cell.encode()) % divisor for cell in sorted({c for c in cells if c is not None})}
    if remainder not in remainders.values():
        there = list_some([f"{cell}: {rest}" for cell, rest in remainders.items()])
        raise InputError(f"{pool.purpose} rule {match[0]!r}: no {column} leaves {remainder}; remainders: {there}")
    return [i for i, cell in enumerate(cells) if cell is not None and remainders[cell] == remainder]


def take_share(match: re.Match[str], pool: Pool) -> list[int]:
    """Rows of a share of the groups, at least one group; without groups, of the rows of each class.

    Raises:
        InputError: not between 0 and 1, fewer than two groups, or a row without a group.
    """
    share = float(match["share"])
    if not 0 < share < 1:
        raise InputError(f"{pool.purpose} rule {match[0]!r}: a share lies between 0 and 1, as 0.1")
    if pool.group_by is None:
        logger.warning("%s rule %r: drawn from single rows, so a speaker may be on both sides", pool.purpose, match[0])
        names: Sequence[str | None] = _row_names(pool.rows)
    else:
        names = column_texts(pool.rows, pool.group_by)
    strata: Sequence[str | None] = [None] * len(names)
    if pool.group_by is None and pool.target is not None:
        require_column(pool.rows, pool.target, f"classes of {pool.purpose} rule {match[0]!r}")
        strata = column_texts(pool.rows, pool.target)
    empty = [i for i, name in enumerate(names) if name is None]
    if empty:
        where = f"{len(empty)} rows have no {pool.group_by} (the first is row {empty[0]})"
        raise InputError(f"{pool.purpose} rule {match[0]!r}: {where}; fill the column in, or group by another")
    groups: dict[str | None, set[str]] = defaultdict(set)
    for stratum, name in zip(strata, names, strict=True):
        groups[stratum].add(str(name))
    if sum(map(len, groups.values())) < 2:
        what = f"one {pool.group_by}" if pool.group_by else "one row"
        raise InputError(f"{pool.purpose} rule {match[0]!r}: there is but {what}, nothing would be left to train on")
    chosen = {name for members in groups.values() for name in _draw(members, share, pool.seed)}
    return [i for i, name in enumerate(names) if name in chosen]


def _draw(names: set[str], share: float, seed: int) -> list[str]:
    """A share of the names, at least one; a class with a single row keeps it for training."""
    if len(names) < 2:
        return []
    count = min(max(1, round(share * len(names))), len(names) - 1)
    # Ranked by a digest and not shuffled, so that neither the row order nor a Python release changes the draw.
    return sorted(names, key=lambda name: hashlib.sha256(f"{seed}\0{name}".encode()).digest())[:count]


def _row_names(rows: Dataset) -> list[str]:
    """A name for each row that holds on any machine: its path beneath the common folder, and its segment."""
    paths = [path or "" for path in audio_paths(rows)]
    root = os.path.commonprefix(paths).rpartition("/")[0]
    spans = [column_texts(rows, c) if c in rows.column_names else [""] * len(paths) for c in ("start", "end")]
    seen: dict[str, int] = defaultdict(int)
    names = []
    for path, start, end in zip(paths, *spans, strict=True):
        name = f"{path[len(root) :]} {start} {end}"
        seen[name] += 1
        # Embedded audio may come without a path, or twice with the same: then the row's place tells them apart.
        names.append(name if seen[name] == 1 else f"{name} #{seen[name]}")
    return names


RULES = {
    "remainder of a checksum": Rule(
        re.compile(r"crc32\((?P<column>[^()]+)\)\s*%\s*(?P<divisor>\d+)\s*==\s*(?P<remainder>\d+)"),
        "crc32(speaker_id)%5==0",
        take_remainder,
    ),
    "values of a column": Rule(
        re.compile(r"(?P<column>[^=,()%]+)=(?P<values>[^=]+)"), "speaker_id=f01,m03", take_values
    ),
    "share of the groups": Rule(re.compile(r"(?P<share>\d*\.?\d+)"), "0.1", take_share),
}
