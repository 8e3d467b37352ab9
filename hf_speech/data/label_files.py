"""Files that give each recording its label: lines `path label`, and the label JSON of the ft-ser folds.

wav/anna_01.wav  30s  -1             label list: the third field says nothing here and may be missing
{"Train": {"a.wav": "anger", "b.wav": {"anger": 2, "sad": 1}}, "Val": {}, "Test": {}}
{"a.wav": "anger"}                   without splits, all of it is "train"
"""

import json
import math
import os
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from ..errors import InputError, list_some, lookup
from .problems import Problems, read_lines
from .schema import as_text
from .stored import AUDIO_EXTENSIONS

# Our split -> what ft-ser calls it, in the order that it insists on.
SPLIT_KEYS = {"train": "Train", "validation": "Val", "test": "Test"}
_SPLITS = {key.lower(): split for split, key in SPLIT_KEYS.items()}

Labels = Mapping[str, str | Mapping[str, int | float]]


# --- label lists -----------------------------------------------------------------------------------------------------


def label_list_rows(source: Path, audio_root: Path | None, problems: Problems) -> dict[str, list[dict[str, Any]]]:
    """Rows from a file of lines `path label` or `path label -1`: `audio` and, as text, `label`; all of it "train".

    The rows say as well where they stand in the list (`LISTED` in stored.py).

    Args:
        source: the list, in UTF-8, gzipped or not.
        audio_root: the folder that paths count from; None: that of the list. A path without the extension will do.
        problems: takes lines of another form, missing or ambiguous files, and files that come twice.

    Raises:
        InputError: the list can't be read.
    """
    root = audio_root or source.parent
    finder = _Finder(root)
    rows = []
    lines: dict[str, int] = {}
    for line, text in read_lines(source, problems):
        fields = text.split()
        if len(fields) not in (2, 3):
            problems.add(
                "malformed line", source, f"has {len(fields)} fields; write `path label` or `path label -1`", line
            )
            continue
        path = _one_file(finder.at(fields[0]), fields[0], root, problems, (source, line))
        if path is None:
            continue
        if path in lines:
            problems.add("duplicate id", source, f"{fields[0]} is in line {lines[path]} already; remove one", line)
            continue
        lines[path] = line
        rows.append({"audio": path, "label": fields[1], "list_file": str(source), "list_line": line})
    return {"train": rows}


def path_list_rows(source: Path, audio_root: Path | None, problems: Problems) -> dict[str, list[dict[str, Any]]]:
    """Rows from a file of lines `path`: `audio` alone; all of it "train".

    Args:
        source: the list, in UTF-8, gzipped or not; a path may have spaces.
        audio_root: the folder that paths count from; None: that of the list.
        problems: takes missing or ambiguous files, and files that come twice.

    Raises:
        InputError: the list can't be read.
    """
    root = audio_root or source.parent
    finder = _Finder(root)
    rows: list[dict[str, Any]] = []
    lines: dict[str, int] = {}
    for line, text in read_lines(source, problems):
        path = _one_file(finder.at(text.strip()), text.strip(), root, problems, (source, line))
        if path is not None and path in lines:
            problems.add("duplicate id", source, f"{text} is in line {lines[path]} already; remove one", line)
        elif path is not None:
            lines[path] = line
            rows.append({"audio": path, "list_file": str(source), "list_line": line})
    return {"train": rows}


# --- label JSON ------------------------------------------------------------------------------------------------------


class _Pairs(list[tuple[str, Any]]):
    """An object of JSON with its keys as they come, the repeated ones too."""


def labels_json_rows(
    source: Path, audio_root: Path | None, problems: Problems, labels: Collection[str] | None = None
) -> dict[str, list[dict[str, Any]]]:
    """Rows from the label JSON of a fold: `audio`, `emotion` and, where votes are given, `votes` {label: number}.

    Votes make that label the emotion which has most of them; a tie leaves it empty. The rows say as well where they
    stand in the file (`LISTED` in stored.py).

    Args:
        source: the file, in UTF-8.
        audio_root: the folder beneath which the files lie, at any depth; None: that of the JSON file.
        problems: takes files that are missing, ambiguous or given twice, values that are no label, unknown labels.
        labels: the labels that are allowed; None: all.

    Returns:
        "train", "validation" and "test", those of them that have rows.

    Raises:
        InputError: the file can't be read, is not JSON, or has no labels in it.
    """
    root = audio_root or source.parent
    finder = _Finder(root)
    text = _text(source, problems)
    splits = _parsed_splits(source, text)
    lines = {name: iter(found) for name, found in _key_lines(text).items()}
    split_of: dict[str, str] = {}
    rows: dict[str, list[dict[str, Any]]] = {split: [] for split in splits}
    for split, pairs in splits.items():
        for name, value in pairs:
            where = (source, next(lines.get(name, iter(())), None))
            cells = _label_cells(name, value, labels, problems, where)
            path = _one_file(finder.beneath(name), name, root, problems, where)
            if path in split_of:
                reason = f"{name} is in {SPLIT_KEYS[split_of[path]]} already; remove one"
                problems.add("duplicate id", source, reason, where[1])
            elif path is not None and cells is not None:
                split_of[path] = split
                rows[split].append({"audio": path, **cells, "list_file": str(source), "list_line": where[1]})
    return {split: rows[split] for split in SPLIT_KEYS if rows.get(split)}


def render_labels_json(splits: Mapping[str, Labels]) -> str:
    """The label JSON of a fold: all three of "Train", "Val" and "Test", in that order, else ft-ser does not know it.

    >>> print(render_labels_json({"test": {"b.wav": {"sad": 2, "anger": 1}}, "train": {"a.wav": "anger"}}), end="")
    {
    "Train": {
    "a.wav": "anger"
    },
    "Val": {},
    "Test": {
    "b.wav": {"sad": 2, "anger": 1}
    }
    }

    Args:
        splits: "train", "validation", "test" -> file -> its label, or its votes {label: number}.

    Raises:
        InputError: another split.
    """
    for split in splits:
        lookup(SPLIT_KEYS, split, "split of a label JSON")
    parts = []
    for split, key in SPLIT_KEYS.items():
        # A file a line, so that messages about this file name the line.
        cells = [f"{_json(name)}: {_json(value)}" for name, value in splits.get(split, {}).items()]
        parts.append(f"{_json(key)}: {{\n" + ",\n".join(cells) + "\n}" if cells else f"{_json(key)}: {{}}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _text(source: Path, problems: Problems) -> str:
    """The file's text with its line numbers kept."""
    lines: list[str] = []
    for number, line in read_lines(source, problems):
        lines += [""] * (number - 1 - len(lines)) + [line]
    return "\n".join(lines)


def _parsed_splits(source: Path, text: str) -> dict[str, _Pairs]:
    """Split -> its entries, both in the order of the file."""
    try:
        content = json.loads(text, object_pairs_hook=_Pairs)
    except json.JSONDecodeError as error:
        raise InputError(f"{source}, line {error.lineno}: is not JSON ({error.msg}); mend the file") from None
    if not isinstance(content, _Pairs) or not content:
        wanted = '{"Train": {file: label}, "Val": {}, "Test": {}} or {file: label}'
        raise InputError(f"{source}: holds no labels; write {wanted}")
    names = [name.lower() for name, _ in content]
    if not all(name in _SPLITS and isinstance(value, _Pairs) for name, (_, value) in zip(names, content, strict=True)):
        strange = [name for name, value in content if name.lower() not in _SPLITS and isinstance(value, _Pairs)]
        if strange and set(names) & set(_SPLITS):
            raise InputError(f"{source}: {strange[0]!r} is none of its splits; they are Train, Val and Test")
        return {"train": content}
    if len(set(names)) < len(names):
        raise InputError(f"{source}: has one of Train, Val, Test twice; make them one")
    return {_SPLITS[name]: value for name, (_, value) in zip(names, content, strict=True)}


def _key_lines(text: str) -> dict[str, list[int]]:
    """Key -> the lines on which it stands, in order."""
    lines: dict[str, list[int]] = defaultdict(list)
    line, at = 1, 0
    for match in re.finditer(r'"(?:[^"\\]|\\.)*"(?=\s*:)', text):
        line += text.count("\n", at, match.start())
        at = match.start()
        lines[json.loads(match[0])].append(line)
    return lines


def _label_cells(
    name: str, value: Any, labels: Collection[str] | None, problems: Problems, where: tuple[Path, int | None]
) -> dict[str, Any] | None:
    """`emotion`, and `votes` where there are some; None where the value is no label."""
    file, line = where
    votes = dict(value) if isinstance(value, _Pairs) else None
    emotion = as_text(value) if isinstance(value, str | int) and not isinstance(value, bool) else None
    if votes is not None and all(map(_is_count, votes.values())) and any(votes.values()):
        most = [label for label, count in votes.items() if count == max(votes.values())]
        emotion = most[0] if len(most) == 1 else None
    elif emotion is None:
        problems.add("malformed line", file, f"{name} has no label; write a label or {{label: votes}}", line)
        return None
    unknown = sorted({emotion, *(votes or ())} - {None, *labels}, key=str) if labels is not None else []
    if unknown:
        valid = ", ".join(sorted(labels or ()))
        reason = f"{name} is {', '.join(map(repr, unknown))}; labels are {valid}: map it or remove it"
        problems.add("unknown label", file, reason, line)
        return None
    return {"emotion": emotion} if votes is None else {"emotion": emotion, "votes": votes}


def _is_count(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


# --- where the files lie ---------------------------------------------------------------------------------------------


class _Finder:
    """Files by name; a folder is looked at once."""

    def __init__(self, root: Path) -> None:
        self.root = str(root)
        self._stems: dict[str, dict[str, list[str]]] = {}

    def at(self, name: str) -> list[str]:
        """The file of that path, or those that differ from it by an extension of audio."""
        folder, last = os.path.split(os.path.normpath(os.path.join(self.root, name)))
        if folder not in self._stems:
            files = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
            self._stems[folder] = _by_stem(os.path.join(folder, file) for file in files)
        return _matches(self._stems[folder], last)

    def beneath(self, name: str) -> list[str]:
        """The file of that path, else those of that name in any folder beneath the root."""
        return self.at(name) or ([] if os.path.dirname(name) else _matches(self._everywhere, name))

    @cached_property
    def _everywhere(self) -> dict[str, list[str]]:
        return _by_stem(os.path.join(place, file) for place, _, files in os.walk(self.root) for file in sorted(files))


def _by_stem(paths: Iterable[str]) -> dict[str, list[str]]:
    """Name without extension -> the audio files of that name; the `._` twins that macOS leaves are none."""
    stems: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        stem, extension = os.path.splitext(os.path.basename(path))
        if extension.lower() in AUDIO_EXTENSIONS and not stem.startswith("."):
            stems[stem].append(path)
    return stems


def _matches(stems: Mapping[str, list[str]], name: str) -> list[str]:
    exact = [path for path in stems.get(os.path.splitext(name)[0], []) if os.path.basename(path) == name]
    return sorted(exact or stems.get(name, []))


def _one_file(
    found: list[str], name: str, root: Path, problems: Problems, where: tuple[Path, int | None]
) -> str | None:
    """The one file found; None, and a problem, if there is none or there are several."""
    file, line = where
    if len(found) == 1:
        return found[0]
    if found:
        there = list_some([os.path.relpath(path, root) for path in found], 5)
        problems.add("ambiguous file", file, f"{name} may be {there}; write the one that is meant", line)
    else:
        problems.add("missing file", file, f"there is no {name} in {root}; add it or remove the line", line)
    return None
