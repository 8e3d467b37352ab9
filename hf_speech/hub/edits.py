"""Cards that people edit: which parts of a card are as they were made, and a new card that keeps what was edited.

A card ends with a comment, which no page shows, of a digest for each of its sections as it was made. A section that no
longer has its digest was edited, one without a digest was added, a digest without its section tells of one that was
taken out. That is enough to make the card anew around the edits, whatever version made the old one.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import yaml

from ..errors import one_line

_MARK = re.compile(r"\n*<!-- hf_speech made these sections: ((?:[0-9a-f]{8}:[0-9a-f]{16} ?)+)-->\n?")
_FRONT = re.compile(r"---\r?\n(.*?)\r?\n---\r?\n", re.DOTALL)
METADATA, INTRODUCTION = "metadata", "introduction"
# Of the metadata, what is measured and not said: a card's numbers are those of the weights beside it.
_MEASURED = ("model-index", "metrics")


@dataclass(frozen=True)
class Merged:
    """A card made anew.

    Attributes:
        text: the card.
        kept: names of the sections that are as somebody wrote them.
        made_by_us: whether the old card has a mark; without one nothing of it is known, and it is kept whole.
    """

    text: str
    kept: list[str]
    made_by_us: bool


def signed(card: str) -> str:
    """The card with the mark at its end, in place of one that it has."""
    body = unsigned(card)
    return f"{body}\n{_mark(_sections(body))}\n"


def unsigned(card: str) -> str:
    """The card without the mark, with one line end at its end."""
    return _MARK.sub("", card.replace("\r\n", "\n")).rstrip("\n") + "\n"


def merged(new: str, old: str, *, keep_results: bool = True) -> Merged:
    """The new card with what was edited in the old one.

    Args:
        new: as it is made now; signed or not.
        old: as it lies on the Hub, or in a folder.
        keep_results: whether results that others have entered into the old card's metadata hold for the new one too.
    """
    digests = _digests(old)
    if digests is None:
        return Merged(old, ["all of it"], made_by_us=False)
    fresh, there = _sections(unsigned(new)), _sections(unsigned(old))
    edited = {name for name, text in there.items() if digests.get(_short(name)) != _long(text)}
    taken_out = {name for name in fresh if name not in there and _short(name) in digests}
    result = {name: there[name] if name in edited else text for name, text in fresh.items() if name not in taken_out}
    if METADATA in edited:
        result[METADATA] = _merged_metadata(fresh.get(METADATA, ""), there[METADATA], keep_results)
    result = _with_added(result, there, edited)
    kept = [name for name in there if name in edited] + [f"{name} (left out)" for name in fresh if name in taken_out]
    return Merged(f"{''.join(result.values()).rstrip()}\n\n{_mark(fresh)}\n", kept, made_by_us=True)


def _with_added(result: dict[str, str], there: dict[str, str], edited: Iterable[str]) -> dict[str, str]:
    """The sections with those that were added to the old card, each behind the one that it stood behind there."""
    names, order = list(there), list(result)
    for name in edited:
        if name not in result:
            before = next((n for n in reversed(names[: names.index(name)]) if n in order), None)
            order.insert(order.index(before) + 1 if before else 0, name)
    return {name: result.get(name, there.get(name, "")) for name in order}


def _sections(card: str) -> dict[str, str]:
    """Name of a section -> its text: the metadata, what stands before the first heading, a section a `## ` heading.

    A second heading of the same words gets a number; what looks like a heading in a block of code is none.
    """
    front = _FRONT.match(card)
    found = {METADATA: front[0]} if front else {}
    name, fenced = INTRODUCTION, False
    lines: list[str] = []
    for line in card[front.end() if front else 0 :].splitlines(keepends=True):
        fenced ^= line.lstrip().startswith("```")
        if line.startswith("## ") and not fenced:
            found[name] = "".join(lines)
            name, lines = _unused(line[3:].strip(), found), []
        lines.append(line)
    found[name] = "".join(lines)
    return {name: text for name, text in found.items() if text.strip()}


def _unused(name: str, taken: dict[str, str]) -> str:
    numbered = [name, *(f"{name} ({i})" for i in range(2, len(taken) + 3))]
    return next(one for one in numbered if one not in taken)


def _digests(card: str) -> dict[str, str] | None:
    """Digest of a section's name -> digest of the section; None: the card has no mark."""
    mark = _MARK.search(card.replace("\r\n", "\n"))
    return dict(pair.split(":") for pair in mark[1].split()) if mark else None


def _mark(sections: dict[str, str]) -> str:
    pairs = " ".join(f"{_short(name)}:{_long(text)}" for name, text in sections.items())
    return f"<!-- hf_speech made these sections: {pairs} -->"


def _short(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:8]


def _long(text: str) -> str:
    return hashlib.sha256("\n".join(line.rstrip() for line in text.strip().splitlines()).encode()).hexdigest()[:16]


def _merged_metadata(new: str, old: str, keep_results: bool) -> str:
    """The metadata as somebody has edited it, with the numbers of the new one."""
    fresh, there = _read(new), _read(old)
    if there is None or fresh is None:
        return old
    result = {**fresh, **there}
    for name in _MEASURED:
        result.pop(name, None)
        if name in fresh:
            result[name] = fresh[name]
    if keep_results:
        others = [r for r in _results(there) if _measured_of(r) not in map(_measured_of, _results(fresh))]
        if others:
            index = {"name": fresh.get("model_name", ""), **(result.get("model-index") or [{}])[0]}
            result["model-index"] = [{**index, "results": [*_results(fresh), *others]}]
    return f"---\n{yaml.safe_dump(result, sort_keys=False, allow_unicode=True)}---\n\n"


def _read(metadata: str) -> dict[str, Any] | None:
    front = _FRONT.match(metadata)
    try:
        content = yaml.safe_load(front[1]) if front else None
    except yaml.YAMLError:
        return None
    return content if isinstance(content, dict) else None


def _results(metadata: dict[str, Any]) -> list[Any]:
    index = metadata.get("model-index")
    first = index[0] if isinstance(index, list) and index else {}
    return list(first.get("results") or []) if isinstance(first, dict) else []


def _measured_of(result: Any) -> str:
    """What a result of a model-index is about, as text."""
    return one_line(str((result.get("task"), result.get("dataset")))) if isinstance(result, dict) else str(result)
