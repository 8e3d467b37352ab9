"""What is wrong with a corpus, collected until all of it has been looked at: by file and line, never by traceback."""

import gzip
import itertools
import logging
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError, list_some, lookup, one_line

logger = logging.getLogger(__name__)

ON_BAD = {"raise": True, "skip": False}
KEPT = 1_000  # problems that are remembered word for word; all are counted
_LISTED = 20  # problems that a message shows

BOM = "\ufeff"


@dataclass(frozen=True)
class Problem:
    """One row, line or file that can't be used.

    Attributes:
        kind: a few words by which problems are counted, such as "missing file".
        file: where it stands.
        line: which line, from 1; None where there are none.
        reason: what is wrong and the mend.
    """

    kind: str
    file: str
    line: int | None
    reason: str

    def __str__(self) -> str:
        """`file, line n: reason`."""
        return f"{self.file}: {self.reason}" if self.line is None else f"{self.file}, line {self.line}: {self.reason}"


class Problems:
    """Collects problems, and at the end refuses the corpus or goes on without what is bad.

    >>> problems = Problems("skip")
    >>> problems.add("missing file", "labels.txt", "there is no a.wav; remove the line", line=3)
    >>> problems.counts, str(next(iter(problems)))
    (Counter({'missing file': 1}), 'labels.txt, line 3: there is no a.wav; remove the line')

    Args:
        on_bad: "raise" or "skip".
    """

    def __init__(self, on_bad: str = "raise") -> None:
        self.on_bad = on_bad
        self.refuse = lookup(ON_BAD, on_bad, "answer to bad rows")
        self.counts: Counter[str] = Counter()
        self._kept: list[Problem] = []

    def __len__(self) -> int:
        """How many there are."""
        return self.counts.total()

    def __iter__(self) -> Iterator[Problem]:
        """Those that are remembered, in the order in which they were found."""
        return iter(self._kept)

    def add(self, kind: str, file: str | Path, reason: str, line: int | None = None) -> None:
        """Note one more."""
        self.counts[kind] += 1
        if len(self._kept) < KEPT:
            self._kept.append(Problem(kind, str(file), line, one_line(reason)))

    def add_many(self, counts: Mapping[str, int], described: Iterable[tuple[str, str | Path, str, int | None]]) -> None:
        """Note many more at once; of a million that are counted no more are put into words than are remembered.

        Args:
            counts: kind -> how many.
            described: the same, each as `add` takes it, in words; best a generator: only its first are asked for.
        """
        self.counts.update(counts)
        for kind, file, reason, line in itertools.islice(described, KEPT - len(self._kept)):
            self._kept.append(Problem(kind, str(file), line, one_line(reason)))

    def take(self, others: "Problems") -> None:
        """Note what was found elsewhere, such as in another process."""
        self.counts.update(others.counts)
        self._kept += others._kept[: KEPT - len(self._kept)]

    def forgive(self, *kinds: str) -> None:
        """Forget problems of some kinds, which do no harm to what is read."""
        for kind in kinds:
            self.counts.pop(kind, None)
        self._kept = [problem for problem in self._kept if problem.kind not in kinds]

    def settle(self, what: str, option: str | None = "--on-bad-row") -> None:
        """Refuse if anything was found and that is what was asked for; else say what is left out.

        Args:
            what: what was looked at, such as "IEMOCAP".
            option: the flag that leaves bad rows out; None: there is none.

        Raises:
            InputError: "raise", and something was found; up to 20 are listed.
        """
        if not len(self):
            return
        listed = list_some(self._kept[:_LISTED])
        if len(self) > _LISTED:
            listed += f"; and {len(self) - _LISTED} more"
        kinds = ", ".join(f"{kind}: {count}" for kind, count in sorted(self.counts.items()))
        if self.refuse:
            mend = f" (go on without them: {option} skip)" if option else ""
            raise InputError(f"{what}: {kinds}{mend}: {listed}" if mend or len(self) > 1 else listed)
        logger.warning("%s: left out: %s: %s", what, kinds, listed)

    def to_dict(self) -> dict[str, Any]:
        """For audit.json: how many of each kind, and those that are remembered."""
        rows = [{"kind": p.kind, "file": p.file, "line": p.line, "reason": p.reason} for p in self._kept]
        return {"count": len(self), "kinds": dict(sorted(self.counts.items())), "rows": rows}

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any], on_bad: str = "raise") -> "Problems":
        """What `to_dict` gave."""
        problems = cls(on_bad)
        problems.counts.update(facts["kinds"])
        problems._kept = [Problem(**row) for row in facts["rows"]]
        return problems


def read_lines(path: str | Path, problems: Problems, encoding: str = "utf-8") -> Iterator[tuple[int, str]]:
    """The lines of a text file that say something, with their numbers (from 1), stripped; .gz is unpacked.

    A byte order mark and Windows line ends are noted as problems (once a file) and do no further harm: the row itself
    is yielded. A line that is not in the encoding is noted and left out.

    Raises:
        InputError: the file can't be read.
    """
    path = Path(path)
    opener: Any = gzip.open if path.suffix == ".gz" else open
    windows = False
    try:
        with opener(path, "rb") as file:
            for number, raw in enumerate(file, start=1):
                try:
                    line = raw.decode(encoding)
                except UnicodeDecodeError as error:
                    where = f"not {encoding} at byte {error.start} of the line; save the file as {encoding}"
                    problems.add("encoding", path, where, number)
                    continue
                if number == 1 and raw.startswith(b"\xef\xbb\xbf"):
                    problems.add("byte order mark", path, "begins with a byte order mark; save it without", 1)
                    line = line.removeprefix(BOM).removeprefix("\xef\xbb\xbf")
                if line.endswith("\r\n") and not windows:
                    windows = True
                    problems.add("Windows line ends", path, "ends in CR LF; convert the file (dos2unix)", number)
                if line.strip():
                    yield number, line.strip()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; check the path") from None
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: can't be read ({one_line(error)}); get the file again") from error
