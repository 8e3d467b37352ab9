"""The forms in which lists of trials are written, and which of them a list has.

| form | a line | from |
|---|---|---|
| label first | `1 id10270/a/00001.wav id10270/b/00002.wav` | VoxCeleb |
| label last | `speaker1 utterance7 target` | Kaldi |
| table | `1,a.wav,b.wav` below a header such as `label,path1,path2` | csv, tsv |
| pairs | `a.wav b.wav`, in a file of clients and one of impostors | |

A label is 1 or `target` (the same speaker), 0 or `nontarget`, in every form.
"""

import csv
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..data.problems import Problems, read_lines
from ..errors import InputError

LABELS = {"0": 0, "1": 1, "nontarget": 0, "target": 1}
DELIMITERS = ("\t", ",", ";")
LOOKED_AT = 100  # lines at the head of a list by which its form is known
# Names of columns, lower case and without "_", "-" and blanks. Sides go in pairs.
LABEL_NAMES = frozenset({"label", "target", "targettype", "trialtype", "issame", "istarget", "same", "samespeaker"})
_NUMBERED = ("utt", "utterance", "path", "file", "filename", "wav", "audio", "id", "segment", "recording")
SIDE_NAMES = (
    ("left", "right"),
    ("enrol", "test"),
    ("enroll", "test"),
    ("enrolment", "test"),
    ("enrollment", "test"),
    ("reference", "test"),
    ("model", "test"),
    ("modelid", "segment"),
    ("modelid", "segmentid"),
    *((f"{name}1", f"{name}2") for name in _NUMBERED),
)
HEADERS = "a csv with a header that names the label and two sides, such as 'label,enrol,test' or 'label,path1,path2'"


@dataclass(frozen=True)
class Form:
    """How the lines of a list are to be read.

    Attributes:
        words: what a line looks like.
        fields: how many a line has.
        left: which of them is the left side, from 0.
        right: which is the right side.
        label: which is the label; None: the file says it for all of its lines.
        delimiter: what stands between fields; None: blanks.
    """

    words: str
    fields: int
    left: int
    right: int
    label: int | None
    delimiter: str | None = None

    def trial(self, line: str) -> tuple[int | None, str, str]:
        """Label, left and right side.

        Raises:
            ValueError: the line is not of this form; what is wrong with it.
        """
        cells = line.split() if self.delimiter is None else _cells(line, self.delimiter)
        if len(cells) != self.fields:
            count = f"{len(cells)} field{'s' * (len(cells) != 1)}"
            raise ValueError(f"has {count}, where the list's lines have {self.fields}: '{self.words}'")
        left, right = cells[self.left], cells[self.right]
        if not left or not right:
            raise ValueError(f"has an empty field, where the list's lines have '{self.words}'")
        if self.label is None:
            return None, left, right
        label = LABELS.get(cells[self.label])
        if label is None:
            raise ValueError(f"has the label {cells[self.label][:30]!r}, which is none of {', '.join(LABELS)}")
        return label, left, right

    def fits(self, line: str) -> bool:
        """Whether a line is of this form."""
        try:
            self.trial(line)
        except ValueError:
            return False
        return True


LABEL_FIRST = Form("0|1 left right", 3, left=1, right=2, label=0)
LABEL_LAST = Form("enrol test target|nontarget", 3, left=0, right=1, label=2)
PAIR = Form("left right", 2, left=0, right=1, label=None)


def trials_in(path: str | Path, problems: Problems, label: int | None = None) -> Iterator[tuple[int, str, str, int]]:
    """The trials of a file: label, left and right side as they are written, line from 1.

    Args:
        path: the file, plain or gzipped.
        problems: takes the lines that are not of the file's form; they are left out.
        label: of all its lines, which then are pairs; None: each has its own.

    Raises:
        InputError: the file can't be read, or holds no trial.
    """
    lines = read_lines(path, problems)
    first = list(itertools.islice(lines, LOOKED_AT))
    form, header = (PAIR, False) if label is not None else form_of([line for _, line in first])
    empty = True
    for number, line in itertools.chain(first[header:], lines):
        try:
            said, left, right = form.trial(line)
        except ValueError as error:
            problems.add("malformed line", path, f"{line[:60]!r} {error}; mend or remove the line", number)
            continue
        empty = False
        yield said if label is None else label, left, right, number  # type: ignore[misc]
    if empty:
        raise InputError(f"{path}: holds no trial; {_wanted([line for _, line in first], label)}")


def _wanted(first: Sequence[str], label: int | None) -> str:
    """What the lines of a list without a trial should have been."""
    if label is not None:
        return f"its lines have the form '{PAIR.words}'"
    if first and all(map(PAIR.fits, first)):
        return f"lines '{PAIR.words}' have no label; give the files of clients and of impostors both"
    return f"its lines have the form '{LABEL_FIRST.words}' or '{LABEL_LAST.words}', or it is {HEADERS}"


def form_of(first: Sequence[str]) -> tuple[Form, bool]:
    """The form of a list, known by its first lines, and whether the first of them is a header.

    Of label first and label last it is the one that more lines have, in doubt label first.

    >>> form_of(["a.wav b.wav target"])[0].words
    'enrol test target|nontarget'
    >>> form_of(["duration,path_1,path_2,label", "3.2,a.wav,b.wav,1"])[0].trial("3.2,a.wav,b.wav,1")
    (1, 'a.wav', 'b.wav')
    """
    for delimiter in DELIMITERS:
        table = _table_form(first[0], delimiter) if first else None
        if table is not None:
            return table, True
    last, front = (sum(map(form.fits, first)) for form in (LABEL_LAST, LABEL_FIRST))
    return (LABEL_LAST if last > front else LABEL_FIRST), False


def _table_form(header: str, delimiter: str) -> Form | None:
    """The form of a table with this header; None: it is none."""
    try:
        names = _cells(header, delimiter)
    except ValueError:
        return None
    plain = ["".join(c for c in name.lower() if c not in "_- ") for name in names]
    labels = [i for i, name in enumerate(plain) if name in LABEL_NAMES]
    sides = [pair for pair in SIDE_NAMES if set(pair) <= set(plain)]
    if not labels or not sides:
        return None
    left, right = (plain.index(name) for name in sides[0])
    return Form(delimiter.join(names), len(names), left, right, labels[0], delimiter)


def _cells(line: str, delimiter: str) -> list[str]:
    try:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter, strict=True))]
    except csv.Error as error:
        raise ValueError(f"can't be taken apart ({error})") from error
