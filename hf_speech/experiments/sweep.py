"""`hf-speech sweep`: a recipe with every point of a grid and every seed; the best one by validation rows.

The folder holds, beside those of the runs (members.py):

    sweep.csv          a row a run: what was varied, seed, how it stands, its numbers on validation and test rows
    best.yaml          the recipe with the values of the best point; `hf-speech train` takes it
    sweep-<name>.png   what decides against each thing that is varied, with the spread over seeds

Of several recipes each has a best.yaml and plots of its own, with its name behind.
"""

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ..errors import InputError, list_some
from ..files import replacing, write_table
from ..plots import plot_sweep
from ..results import Results
from ..training.arguments import read_config, target_rules
from ..training.config import RunConfig
from ..training.hf_arguments import greater_is_better
from ..training.rows import found, labelled_rows, load_used
from ..training.run import DEFAULT_SEED
from .frozen import with_cache
from .grid import SETTING, Sweep
from .jobs import Launcher
from .members import Ended, Member, experiment_folder, folder_name, member_config, run_members
from .tables import TABLE_OF_SWEEP, dead_or_done

logger = logging.getLogger(__name__)

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
        metric: what decides; None: no run is finished.
        greater_is_better: of it.
    """

    config: str
    marks: dict[str, Any]
    recipe: RunConfig
    scores: list[float]
    missing: int
    metric: str | None
    greater_is_better: bool

    @property
    def mean(self) -> float:
        """Over the seeds; NaN where none is finished."""
        return float(np.mean(self.scores)) if self.scores else float("nan")


def sweep(plan: Sweep, root: Path, launcher: Launcher, *, cached: bool = True) -> dict[str, Point]:
    """Trains every point with every seed, and finds the best by validation rows.

    Args:
        plan: what is tried.
        root: folder of the experiment; what is finished there is not run again.
        launcher: starts the runs.
        cached: whether a frozen encoder is run once for all runs, where that can be.

    Returns:
        Recipe -> its best point, among those of which every seed is finished where there are any.

    Raises:
        InputError: a field that does not exist, runs without validation rows, another experiment in the folder.
        BrokenRunError: some runs died; the table and what was found among the others is written.
    """
    configs = {_name(config): read_config(config, plan.fields) for config in plan.configs}
    if len(configs) < len(plan.configs):
        raise InputError(f"two recipes have the same name: {list_some(plan.configs)}")
    members = [member for name, config in configs.items() for member in _members(plan, name, config, len(configs) > 1)]
    members = [dataclasses.replace(one, config=with_cache(one.config, root, cached)) for one in members]
    for name, config in configs.items():
        _require_validation(name, config)
    recipes = {f"{name}: {field}" if len(configs) > 1 else field: value
               for name, config in configs.items() for field, value in config.recipe().items()}  # fmt: skip
    with experiment_folder(root, {"kind": "sweep", "configs": list(configs), "fixed": ["configs"], "fields": recipes}):
        ended = run_members(root, members, launcher, lambda now: _write_table(now, root, plan))
        best: dict[str, Point] = {}
        for name in configs:
            points = _points(ended, name, plan)
            ending = f"-{folder_name(name)}" if len(configs) > 1 else ""
            best |= _write_best(points, root, ending, plan)
        dead_or_done(ended, root, TABLE_OF_SWEEP)
    return best


def _name(config: str) -> str:
    """What a recipe is called: its name, or that of its file or folder."""
    path = Path(config)
    return path.parent.name if path.name == "train.yaml" else path.stem if path.suffix in (".yaml", ".yml") else config


def _members(plan: Sweep, name: str, config: RunConfig, several: bool) -> list[Member]:
    seeds = plan.seeds or [config.training.get("seed", DEFAULT_SEED)]
    members = []
    for marks, fields in plan.points():
        named = [str(value) if axis == SETTING else f"{axis}={value}" for axis, value in marks.items()]
        words = "-".join(map(folder_name, named))
        for seed in seeds:
            parts = [*([folder_name(name)] if several else []), *([words] if words else []), f"seed{seed}"]
            members.append(
                Member(
                    "-".join(parts),
                    member_config(config, {**fields, "seed": seed}, f"{name} with {words or 'its own values'}"),
                    {CONFIG: name, **marks, "seed": seed},
                )
            )
    twice = [one.name for i, one in enumerate(members) if one.name in {other.name for other in members[:i]}]
    if twice:
        raise InputError(f"two points would be called {twice[0]}; name settings in another way")
    return members


def _require_validation(name: str, config: RunConfig) -> None:
    """Refuses runs that nothing can be chosen by, before any of them is run."""
    if config.data.streaming:
        there = config.split.validation not in (None, "none")
    else:
        data = found(config.data)
        rows = labelled_rows(data, config.split, target_rules(config), load_used(data, config.split.only))
        there = "validation" in rows.splits
    if not there:
        raise InputError(f"{name}: a sweep chooses by validation rows, and there are none: give --validation, as 0.1")


def score_of(results: Results, metric: str | None) -> tuple[str, float | None, bool]:
    """What decides between runs: its name, its value on the validation rows, and whether more is better.

    Args:
        results: of a run.
        metric: which; None: that by which the run has chosen its checkpoint, or, where it keeps its last step, the
            first that it has on validation rows.

    Raises:
        InputError: the run has no such number.
    """
    chosen = results.run.get("selection")
    if chosen and metric in (None, chosen["metric"]):
        return chosen["metric"], chosen["value"], bool(chosen["greater_is_better"])
    there = {number["name"]: number for number in results.metrics if number["split"] == "validation"}
    name = metric or next(iter(there), None)
    if name is None or name not in there:
        raise InputError(f"metric {name!r}: a run has on validation rows {', '.join(there) or 'nothing'}")
    return name, there[name]["value"], greater_is_better(name)


def _write_table(ended: Sequence[Ended], root: Path, plan: Sweep) -> None:
    names = list(dict.fromkeys(
        f"{number['split']}/{number['name']}" for one in ended if one.results for number in one.results.metrics
    ))  # fmt: skip
    rows = []
    for one in ended:
        numbers = {f"{n['split']}/{n['name']}": n["value"] for n in one.results.metrics} if one.results else {}
        metric, value, _ = score_of(one.results, plan.metric) if one.results else ("", "", True)
        rows.append(
            {
                "run": one.member.name,
                **one.member.marks,
                "state": one.told,
                "metric": metric,
                "value": "" if value is None else value,
                **{name: "" if numbers.get(name) is None else numbers[name] for name in names},
                "reason": one.reason,
            }
        )
    write_table(rows, root / TABLE_OF_SWEEP)


def _points(ended: Sequence[Ended], config: str, plan: Sweep) -> list[Point]:
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
        found = [score_of(one.results, plan.metric) for one in group if one.results is not None]
        whole = [value for _, value, _ in found if value is not None]
        metric, _, greater = found[0] if found else (None, None, True)
        points.append(Point(config, marks, first.config, whole, len(group) - len(whole), metric, greater))
    return points


def _write_best(points: Sequence[Point], root: Path, ending: str, plan: Sweep) -> dict[str, Point]:
    """Writes best.yaml and the plots of one recipe -> its name and best point; nothing where no run is finished."""
    able = [point for point in points if point.scores and not point.missing] or [p for p in points if p.scores]
    if not able:
        return {}
    metric = str(able[0].metric)
    best = (max if able[0].greater_is_better else min)(able, key=lambda point: point.mean)
    seeds = f"{len(best.scores)} seed{'' if len(best.scores) == 1 else 's'}"
    head = f"# The best of {len(points)} points by {metric} on validation rows: {best.mean:.4g}, mean over {seeds}.\n"
    fields = {name: value for name, value in best.recipe.recipe().items() if name != "seed"}
    with replacing(root / f"best{ending}.yaml") as temporary:
        temporary.write_text(head + yaml.safe_dump(fields, sort_keys=False, allow_unicode=True), encoding="utf-8")
    for axis in plan.axes:
        if len({repr(point.marks[axis]) for point in points}) > 1:
            lines: dict[str, list[tuple[Any, list[float]]]] = {}
            for point in points:
                others = ", ".join(f"{name} {value}" for name, value in point.marks.items() if name != axis)
                lines.setdefault(others, []).append((_drawn(point.marks[axis]), point.scores))
            plot_sweep(axis, lines, metric, root / f"sweep-{folder_name(axis)}{ending}.png")
    return {best.config: best}


def _drawn(value: Any) -> Any:
    """A value as it is drawn: a number, else in words."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def told(best: dict[str, Point], root: Path) -> str:
    """A few lines for the terminal."""
    names = [f"best-{folder_name(name)}.yaml" for name in best] if len(best) > 1 else ["best.yaml"]
    lines = [f"{root}: {', '.join([TABLE_OF_SWEEP, *names])}"]
    for name, point in best.items():
        words = ", ".join(f"{axis} {value}" for axis, value in point.marks.items()) or "its own values"
        spread = f" ± {np.std(point.scores):.3f} over {len(point.scores)} seeds" if len(point.scores) > 1 else ""
        lines.append(f"  {name}: {words}: {point.mean:.3f}{spread} on validation rows")
    return "\n".join(lines)
