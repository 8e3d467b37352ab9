"""The points of a sweep: what their runs reached, and the tables of that for people."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..files import replacing
from ..hub.card import markdown_table
from ..hub.words import metric_title
from ..results import Results
from ..training.config import RunConfig
from ..training.hf_arguments import greater_is_better
from .members import Ended, folder_name
from .tables import TABLE_OF_SWEEP

CONFIG = "config"  # the column of the recipe's name, where there are several


@dataclass(frozen=True)
class Point:
    """What the runs of one point reached.

    Attributes:
        config: name of its recipe.
        marks: what was varied -> its value.
        recipe: its fields.
        scores: what decides, on validation rows, of each finished seed.
        missing: seeds that died.
        metric: what decides.
        tested: the first number on test rows of each finished seed: (its name, its values).
    """

    config: str
    marks: dict[str, Any]
    recipe: RunConfig
    scores: list[float]
    missing: int
    metric: str
    tested: tuple[str, list[float]]

    @property
    def mean(self) -> float:
        """Over the seeds; NaN where none is finished."""
        return float(np.mean(self.scores)) if self.scores else float("nan")

    @property
    def words(self) -> str:
        """What was varied, in words."""
        return ", ".join(f"{axis} {value}" for axis, value in self.marks.items()) or "its own values"


def score_of(results: Results, metric: str) -> float | None:
    """What decides between runs, on the validation rows of one; None where it is not defined.

    Args:
        results: of a run.
        metric: which: that by which the run has chosen its weights, or any that was measured in the end.
    """
    chosen = results.run.get("selection")
    if chosen and metric == chosen["metric"]:
        value = chosen["value"]
    else:
        there = {number["name"]: number["value"] for number in results.metrics if number["split"] == "validation"}
        value = there.get(metric)
    return None if value is None or not np.isfinite(value) else float(value)


def points_of(ended: Sequence[Ended], config: str, metric: str) -> list[Point]:
    """What each point of one recipe reached."""
    groups: dict[str, list[Ended]] = {}
    for one in ended:
        marks = {name: value for name, value in one.member.marks.items() if name not in (CONFIG, "seed")}
        if one.member.marks[CONFIG] == config:
            groups.setdefault(repr(marks), []).append(one)
    points = []
    for group in groups.values():
        first = group[0].member
        marks = {name: value for name, value in first.marks.items() if name not in (CONFIG, "seed")}
        results = [one.results for one in group if one.results is not None]
        scores = [score for one in results if (score := score_of(one, metric)) is not None]
        tests = [next((n for n in one.metrics if n["split"] == "test"), None) for one in results]
        values = [number["value"] for number in tests if number and number["value"] is not None]
        name = next((number["name"] for number in tests if number), "")
        points.append(Point(config, marks, first.config, scores, len(group) - len(scores), metric, (name, values)))
    return points


def told(best: Mapping[str, Point], root: Path) -> str:
    """A few lines for the terminal."""
    names = [f"best-{folder_name(name)}.yaml" for name in best] if len(best) > 1 else ["best.yaml"]
    lines = [f"{root}: {', '.join([TABLE_OF_SWEEP, 'README.md', *names])}"]
    for name, point in best.items():
        better = "more" if greater_is_better(point.metric) else "less"
        number, values = point.tested
        test = f"; test rows: {number} {_spread(values)}" if values else ""
        value = f"{point.metric} {_spread(point.scores)} on validation rows ({better} is better)"
        lines.append(f"  {name}: {point.words}: {value}{test}")
    return "\n".join(lines)


def points_table(points: Sequence[Point], best: Point | None) -> str:
    """A row a point, the best one in bold."""
    first = points[0]
    number = next((point.tested[0] for point in points if point.tested[0]), "")
    header = [*first.marks, "Runs", f"{metric_title(first.metric)}, validation"]
    header += [f"{metric_title(number)}, test"] if number else []
    rows = []
    for point in points:
        count = len(point.scores)
        cells = [*map(str, point.marks.values()), f"{count} of {count + point.missing}", _spread(point.scores)]
        cells += [_spread(point.tested[1])] if number else []
        rows.append([f"**{cell}**" for cell in cells] if point is best else cells)
    return f"## {first.config}\n\n{markdown_table(header, rows)}"


def _spread(values: Sequence[float]) -> str:
    """Mean, and standard deviation where there are several values."""
    if not values:
        return "none"
    return f"{np.mean(values):.3f}" + (f" ± {np.std(values):.3f}" if len(values) > 1 else "")


def write_sweep_page(root: Path, tables: Sequence[str]) -> None:
    """README.md of a sweep."""
    how = "Means over the finished seeds, ± their standard deviation (divided by their number). In bold: the best "
    how += "point by validation rows, among those of which every run is finished, if there are any; where several are "
    how += f"equal, the first. Every run is in {TABLE_OF_SWEEP}. As the best was chosen by validation rows, its number "
    how += "there is too good; that on test rows is not."
    pictures = [f"![{path.stem}]({path.name})" for path in sorted(root.glob("sweep-*.png"))]
    with replacing(root / "README.md") as temporary:
        text = "\n\n".join([f"# {root.absolute().name}: sweep", *tables, how, *pictures])
        temporary.write_text(text + "\n", encoding="utf-8")
