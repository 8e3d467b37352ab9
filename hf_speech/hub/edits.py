"""Cards that people edit: which parts of a card are as they were made, and a new card that keeps what was edited.

A card ends with a comment, which no page shows, of digests for each of its sections: of the section as it was made, and
as it was pushed where that is something else. A section that no longer has the first was edited, one that still has the
second was edited before it was pushed, one without any was added, a digest without its section tells of one that was
taken out. That is enough to make the card anew around the edits, whatever version made the old one.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from ..errors import InputError, one_line

_MARK = re.compile(r"\n*<!-- hf_speech made these sections: ((?:[0-9a-f]{8}(?::[0-9a-f]{16}){1,2} ?)+)-->\n?")
_FRONT = re.compile(r"---\r?\n(.*?)\r?\n---\r?\n", re.DOTALL)
METADATA, INTRODUCTION, RESULTS = "metadata", "introduction", "Results"
# Of the metadata, what is measured or follows from the run; the rest is said by people.
_MEASURED: tuple[str, ...] = ("model-index", "metrics", "co2_eq_emissions", "base_model", "base_model_relation")
_MEASURED += ("datasets", "language", "pipeline_tag", "library_name", "configs", "dataset_info", "size_categories")
_EARLIER = "> **Written for earlier weights.** The numbers of these are in `results.json`.\n"


class _Digests(NamedTuple):
    made: str
    pushed: str


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


def read_card(path: str | Path) -> str:
    """The text of a card.

    Raises:
        InputError: it is not UTF-8.
    """
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except UnicodeError as error:
        raise InputError(f"{path}: is not UTF-8 ({one_line(error)}); save it as UTF-8") from error


def signed(card: str) -> str:
    """The card with the mark at its end, in place of one that it has."""
    body = unsigned(card)
    sections = _sections(body)
    return f"{body}\n{_mark(sections, sections)}\n"


def unsigned(card: str) -> str:
    """The card without the mark, with one line end at its end."""
    return _MARK.sub("", card.replace("\r\n", "\n")).rstrip("\n") + "\n"


def introduction(card: str) -> str:
    """What stands before the first heading of a section."""
    return _sections(unsigned(card)).get(INTRODUCTION, "").strip()


def merged(new: str, old: str, *, mine: str | None = None, same_weights: bool = True) -> Merged:
    """The new card with what was edited in the old one.

    What was edited in both places is as in the old one.

    Args:
        new: as it is made now; signed or not.
        old: as it lies on the Hub, or in a folder.
        mine: the new one with edits of one's own; None: there are none.
        same_weights: whether the old card is of the same weights: then results that others have entered hold on, and
            what was written of the numbers is not out of date.
    """
    marks = _digests(old)
    fresh, own, there = _sections(unsigned(new)), _sections(unsigned(mine or new)), _sections(unsigned(old))
    if marks is None:
        if set(there) - {METADATA} or METADATA not in fresh:
            return Merged(old, ["all of it"], made_by_us=False)
        marks = {}  # nothing but metadata, as the Hub's own form makes them
    edited = {name for name, text in there.items() if _is_edited(marks.get(_short(name)), text)}
    # What was pushed as it is there, and is edited here, goes on being edited here.
    edited -= {name for name in edited & own.keys() if _goes_on(marks.get(_short(name)), there[name], fresh, own, name)}
    taken_out = {name for name in own if name not in there and _short(name) in marks and own[name] == fresh.get(name)}
    result = {name: there[name] if name in edited else text for name, text in own.items() if name not in taken_out}
    if METADATA in edited:
        result[METADATA] = _merged_metadata(own.get(METADATA, ""), there[METADATA], same_weights)
    result = _with_added(result, there, edited)
    if not same_weights:
        for name in edited & {INTRODUCTION, RESULTS} & result.keys():
            result[name] = _of_earlier_weights(result[name])
    kept = [name for name in there if name in edited] + [f"{name} (left out)" for name in own if name in taken_out]
    pushed = {name: text for name, text in result.items() if name not in edited}
    return Merged(f"{_joined(result)}\n\n{_mark(fresh, pushed)}\n", kept, made_by_us=True)


def _is_edited(mark: _Digests | None, text: str) -> bool:
    return mark is None or mark.made != _long(text)


def _goes_on(mark: _Digests | None, text: str, fresh: Mapping[str, str], own: Mapping[str, str], name: str) -> bool:
    return mark is not None and mark.pushed == _long(text) and own[name] != fresh.get(name)


def _with_added(result: dict[str, str], there: dict[str, str], edited: Iterable[str]) -> dict[str, str]:
    """The sections with those that were added to the old card, each behind the one that it stood behind there."""
    names, order = list(there), list(result)
    for name in sorted(edited, key=names.index):
        if name not in result:
            before = next((n for n in reversed(names[: names.index(name)]) if n in order), None)
            order.insert(order.index(before) + 1 if before else 0, name)
    return {name: result.get(name, there.get(name, "")) for name in order}


def _of_earlier_weights(section: str) -> str:
    """The section with a line, behind its heading, that says that its numbers are not of these weights."""
    if _EARLIER in section:
        return section
    heading, line_end, rest = section.lstrip("\n").partition("\n")
    return f"{heading}{line_end}\n{_EARLIER}{rest}" if heading.startswith("#") else f"{_EARLIER}\n{section}"


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


def _joined(sections: Mapping[str, str]) -> str:
    """The sections one after the other; one that stood last somewhere ends with an empty line too."""
    apart = (text if text.endswith("\n\n") or name == METADATA else f"{text}\n" for name, text in sections.items())
    return "".join(apart).rstrip()


def _unused(name: str, taken: dict[str, str]) -> str:
    numbered = [name, *(f"{name} ({i})" for i in range(2, len(taken) + 3))]
    return next(one for one in numbered if one not in taken)


def _digests(card: str) -> dict[str, _Digests] | None:
    """Digest of a section's name -> digests of the section; None: the card has no mark."""
    mark = _MARK.search(card.replace("\r\n", "\n"))
    if mark is None:
        return None
    parts = [pair.split(":") for pair in mark[1].split()]
    return {name: _Digests(made, (pushed or [made])[0]) for name, made, *pushed in parts}


def _mark(made: Mapping[str, str], pushed: Mapping[str, str]) -> str:
    pairs = []
    for name, text in made.items():
        one, other = _long(text), _long(pushed[name]) if name in pushed else ""
        pairs.append(f"{_short(name)}:{one}" + (f":{other}" if other not in ("", one) else ""))
    return f"<!-- hf_speech made these sections: {' '.join(pairs)} -->"


def _short(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:8]


def _long(text: str) -> str:
    return hashlib.sha256("\n".join(line.rstrip() for line in text.strip().splitlines()).encode()).hexdigest()[:16]


def _merged_metadata(new: str, old: str, same_weights: bool) -> str:
    """The metadata as somebody has edited it, with what is measured as in the new one."""
    fresh, there = _read(new), _read(old)
    if there is None or fresh is None:
        return old
    result = {**fresh, **{name: value for name, value in there.items() if name not in _MEASURED}}
    if same_weights:
        others = [r for r in _results(there) if _measured_of(r) not in map(_measured_of, _results(fresh))]
        if others:
            index = {"name": fresh.get("model_name", ""), **(result.get("model-index") or [{}])[0]}
            result["model-index"] = [{**index, "results": [*_results(fresh), *others]}]
    return f"---\n{yaml.safe_dump(result, sort_keys=False, allow_unicode=True)}---\n"


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
