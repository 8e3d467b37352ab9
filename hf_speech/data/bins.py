"""Numbers to classes by a rule: age to decades, or anything to bins between given edges.

A bin holds its lower edge and not its upper one, so ages given in whole years and in fractions fall alike. The names
stand in rising order: they are the class order that ordinal losses and metrics need.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

from ..errors import InputError, unknown_name
from .schema import as_text

_DECADES = ("teens", "twenties", "thirties", "forties", "fifties", "sixties", "seventies", "eighties", "nineties")
# Rule -> edges and names. The nine classes of Common Voice, and those six of them with enough speakers to learn from.
RULES: dict[str, tuple[tuple[float, ...], tuple[str, ...]]] = {
    "decades": (tuple(range(10, 101, 10)), _DECADES),
    "six-decades": (tuple(range(20, 81, 10)), _DECADES[1:7]),
}


def bin_names(rule: str) -> list[str]:
    """The classes of a rule, from the lowest to the highest.

    Args:
        rule: "decades" (teens from 10, ..., nineties to under 100), "six-decades" (twenties to seventies), or three or
            more rising edges, which may begin with -inf and end with inf.

    Raises:
        InputError: no such rule, edges that are no numbers or do not rise, or that make fewer than two bins.

    >>> bin_names("20,40,60,inf")
    ['20-39', '40-59', '60 and over']
    >>> bin_names("-inf,0.5,2.5,3.5")
    ['under 0.5', '0.5 to under 2.5', '2.5 to under 3.5']
    """
    return list(RULES[rule][1]) if rule in RULES else [_name(*ends) for ends in pairwise(_edges(rule))]


def to_bins(values: Sequence[object], rule: str) -> list[str | None]:
    """The class of every value; None where the cell is empty or the value lies outside of all bins.

    No value is moved into the nearest bin: an age of 12 is no example of a twenty-year-old.

    Args:
        values: numbers, or texts that are numbers; None, NaN and "" are empty cells.
        rule: as for `bin_names`.

    Raises:
        InputError: as `bin_names`; a value that is no number.

    >>> to_bins([19, 20, 29.9, "71", None, 105], "decades")
    ['teens', 'twenties', 'twenties', 'seventies', None, None]
    """
    names = bin_names(rule)
    ends = list(pairwise(_edges(rule)))
    binned: list[str | None] = []
    for i, value in enumerate(values):
        text = as_text(value)
        number = math.nan if text is None else _number(text)
        if number is None:
            raise InputError(f"row {i}: {text!r} is not a number, so it falls into no bin; mend or empty the cell")
        binned.append(next((name for name, (low, high) in zip(names, ends, strict=True) if low <= number < high), None))
    return binned


def _edges(rule: str) -> tuple[float, ...]:
    if rule in RULES:
        return RULES[rule][0]
    edges = [_number(text) for text in str(rule).split(",")]
    if len(edges) == 1 and edges[0] is None:
        raise unknown_name(rule, RULES, "rule of bins", {"20,30,40": "or edges such as 20,30,40"})
    numbers = tuple(edge for edge in edges if edge is not None and not math.isnan(edge))
    if len(numbers) < len(edges) or any(low >= high for low, high in pairwise(numbers)):
        raise InputError(f"bins {rule!r}: edges must be numbers that rise, such as 20,30,40")
    if len(numbers) < 3:
        raise InputError(f"bins {rule!r}: a classifier needs two bins or more, so give three edges or more")
    return numbers


def _name(low: float, high: float) -> str:
    if low == -math.inf:
        return f"under {high:.10g}"
    if high == math.inf:
        return f"{low:.10g} and over"
    if not (float(low).is_integer() and float(high).is_integer()) or low < 0:
        return f"{low:.10g} to under {high:.10g}"
    return f"{low:.10g}" if high == low + 1 else f"{low:.10g}-{high - 1:.10g}"


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
