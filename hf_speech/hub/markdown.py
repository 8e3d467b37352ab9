"""Markdown that a card is made of."""

from collections.abc import Sequence
from typing import Any


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table as Markdown has it."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell(value) for value in line) + " |" for line in lines)


def bullets(lines: Sequence[str]) -> str:
    """A list, a line each."""
    return "\n".join(f"- {line}" for line in lines)


def cell(value: Any) -> str:
    """Text that stays in its cell: no line ends, no bars."""
    return " ".join(str(value).split()).replace("|", "\\|")


def listed(words: Sequence[str], last: str) -> str:
    """Words in a row, "and" or "or" before the last one.

    >>> listed(["a", "b", "c"], "and")
    'a, b and c'
    """
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}"


def known(value: Any) -> Any:
    """The value, or words for one that is not known."""
    return "not recorded" if value is None else value
