"""Claims of speed: what was compared, how the pairs came out, what they are held to; and the files of such claims."""

import json
import re
import statistics
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hf_speech.files import replacing
from hf_speech.results import device_name, run_facts

from .turns import Ratio

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"


@dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes:
        name: by which it is found again, and replaced by a later run.
        work: what is done.
        against: what it is compared with.
        ratio: the other's time over ours.
        at_least: what the median is held to.
        computed: whether the other's time was reckoned from a part of its work.
        same: what both compute, how far apart; in words.
        facts: seconds, rates and sizes.
        most: further limits, name of a fact -> the most it may be.
    """

    name: str
    work: str
    against: str
    ratio: Ratio
    at_least: float
    computed: bool = False
    same: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    most: dict[str, float] = field(default_factory=dict)

    @property
    def broken(self) -> list[str]:
        """What falls short, in words."""
        short = [] if self.ratio.median >= self.at_least else [f"{self.ratio.median:.3g} of {self.at_least:g} times"]
        return short + [
            f"{name} {self.facts[name]:.3g}, limit {limit:g}"
            for name, limit in self.most.items()
            if self.facts[name] > limit
        ]

    def __str__(self) -> str:
        found = f"{self.ratio.median:.3g} times ({self.ratio.smallest:.3g} to {self.ratio.largest:.3g})"
        verdict = f"SHORT: {'; '.join(self.broken)}" if self.broken else f"at least {self.at_least:.3g}"
        return f"{self.name}: {self.work}, against {self.against}: {found}; {verdict}"


def audio_facts(seconds: Sequence[float], other: Any, audio: float) -> dict[str, Any]:
    """What is told of work on audio.

    Args:
        seconds: that ours took in each round.
        other: the same of what it is compared with.
        audio: seconds of it.
    """
    rate = audio / statistics.median(seconds)
    return {"seconds": list(seconds), "other_seconds": other, "audio_seconds_per_second": rate}


def results_file(device: str = "cpu") -> Path:
    """Where the figures of a device are kept, by its name in words."""
    words = re.findall(r"[a-z0-9]+", device_name(device).lower())
    return RESULTS / f"{'-'.join(word for word in words if word not in ('r', 'tm'))}.json"


def write_rows(path: Path, rows: Sequence[Row], facts: dict[str, Any], device: str, begun: float) -> None:
    """Puts rows into a file, in the place of those of the same name; others stay, each with the run that made it.

    Args:
        path: of the file.
        rows: that were measured.
        facts: of the run.
        device: as torch names it.
        begun: when the run began, by `time.perf_counter`.
    """
    there, run = _read(path), _run(device, begun) | facts
    made = {row.name: asdict(row) | {"run": run} for row in rows}
    _write(path, there | {"rows": there.get("rows", {}) | made})


def write_facts(path: Path, facts: dict[str, Any], device: str, begun: float) -> None:
    """Puts parts into such a file, each with the run that made it; arguments as in `write_rows`."""
    run = _run(device, begun)
    _write(path, _read(path) | {name: {"found": found, "run": run} for name, found in facts.items()})


def _run(device: str, begun: float) -> dict[str, Any]:
    run = run_facts(0, device=device, wall_seconds=round(time.perf_counter() - begun, 1))
    # What a run writes itself makes no other code of it.
    asked = ["git", "status", "--porcelain", "--", ".", ":!README.md", f":!{RESULTS.relative_to(ROOT)}"]
    said = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True)
    if run["commit"] and said.returncode == 0 and not said.stdout:
        run["commit"] = run["commit"].removesuffix("-dirty")
    return {name: run[name] for name in ("commit", "versions", "device", "wall_seconds")}


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _write(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read_rows(path: Path) -> list[Row]:
    """The rows of such a file."""
    found = _read(path).get("rows", {}).values()
    names = Row.__dataclass_fields__
    return [
        Row(**{key: value for key, value in row.items() if key in names} | {"ratio": Ratio(**row["ratio"])})
        for row in found
    ]


def section(path: Path) -> str:
    """What the README has of such a file: where it was measured, and its rows as a table."""
    rows, run = grouped(read_rows(path)), next(iter(_read(path)["rows"].values()))["run"]
    place = path.relative_to(ROOT)
    return f"On {run['device']} ([figures]({place})):\n\n{table(rows)}"


def grouped(rows: Sequence[Row]) -> list[Row]:
    """In the order in which benchmarks were first measured, those of one side by side."""
    kinds = list(dict.fromkeys(row.name.split(",")[0] for row in rows))
    return sorted(rows, key=lambda row: kinds.index(row.name.split(",")[0]))


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown."""
    lines = ["| work | against | times as fast (smallest to largest) | held to |", "|---|---|---|---|"]
    for row in rows:
        ratio = row.ratio
        spread = "" if ratio.rounds == 1 else f" ({_short(ratio.smallest)} to {_short(ratio.largest)})"
        held = f"{row.at_least:.3g}" + (f"; falls short: {'; '.join(row.broken)}" if row.broken else "")
        mark = "*" if row.computed else ""
        lines.append(f"| {row.work} | {row.against} | {_short(ratio.median)}{mark}{spread} | {held} |")
    return "\n".join(lines)


def _short(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:,.0f}"
