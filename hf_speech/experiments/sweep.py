"""`hf-speech sweep`: a recipe with every point of a grid and every seed; the best one by validation rows.

The folder holds, beside those of the runs (members.py):

    sweep.csv          a row a run: what was varied, seed, how it stands, its numbers on validation and test rows
    README.md          a row a point: mean and deviation over the seeds
    best.yaml          the recipe with the values of the best point; `hf-speech train` takes it
    sweep-<name>.png   what decides against each thing that is varied, with the spread over seeds

Of several recipes each has a best.yaml and plots of its own, with its name behind.
"""

import dataclasses
import hashlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ..errors import InputError, list_some, unknown_name
from ..files import replacing, write_table
from ..hub.words import whole
from ..plots import plot_sweep
from ..pretraining.stages import shared
from ..training.arguments import model_settings, read_config, target_rules
from ..training.config import RunConfig
from ..training.hf_arguments import greater_is_better
from ..training.rows import found, labelled_rows, load_used
from ..training.tasks import deciding
from ..training.work import DEFAULT_SEED
from .frozen import with_cache
from .grid import SETTING, Sweep
from .jobs import Launcher
from .members import Ended, Member, experiment_folder, folder_name, member_config, recipe_name, run_members
from .points import CONFIG, Point, points_of, points_table, score_of, told, write_sweep_page
from .tables import TABLE_OF_SWEEP, dead_or_done

logger = logging.getLogger(__name__)


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
    configs = {recipe_name(config): read_config(config, plan.fields) for config in plan.configs}
    if len(configs) < len(plan.configs):
        raise InputError(f"two recipes have the same name: {list_some(plan.configs)}")
    members = [member for name, config in configs.items() for member in _members(plan, name, config, len(configs) > 1)]
    members = [dataclasses.replace(one, config=shared(with_cache(one.config, root, cached), root)) for one in members]
    metrics, rows = _looked_at(members, plan.metric)
    recipes = {f"{name}: {field}" if len(configs) > 1 else field: value
               for name, config in configs.items() for field, value in config.recipe().items()}  # fmt: skip
    definition = {"kind": "sweep", "configs": list(configs), "axes": plan.axes, "fixed": ["configs", "axes"]}
    with experiment_folder(root, {**definition, "rows": rows, "fields": recipes}):
        ended = run_members(root, members, launcher, lambda now: _write_table(now, root, metrics))
        best: dict[str, Point] = {}
        pages = []
        for name in configs:
            points = points_of(ended, name, metrics[name])
            ending = f"-{folder_name(name)}" if len(configs) > 1 else ""
            best |= _write_best(points, root, ending, plan)
            pages.append(points_table(points, best.get(name)))
        write_sweep_page(root, pages)
        if best and any(one.results is None for one in ended):
            logger.info("%s", told(best, root))
        dead_or_done(ended, root, TABLE_OF_SWEEP)
    if not best:
        raise InputError(
            f"{root}: {list_some(list(metrics.values()))} is not defined on the validation rows of any run"
        )
    return best


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


def _looked_at(members: Sequence[Member], metric: str | None) -> tuple[dict[str, str], dict[str, str]]:
    """Looks at the rows of all runs before any of them is run, and at what is to decide between them.

    Args:
        members: all runs.
        metric: that is to decide; None: that by which the runs choose their weights.

    Returns:
        Recipe -> what decides; part of the data -> its fingerprint.

    Raises:
        InputError: no validation rows, a number that they don't give, or several numbers that decide.
    """
    metrics: dict[str, set[str]] = {}
    fingerprints: dict[str, str] = {}
    for member in members:
        config = member.config
        rules = target_rules(config)
        part = hashlib.sha256(repr((config.data, config.split, rules)).encode()).hexdigest()[:16]
        if part not in fingerprints:
            fingerprints[part] = _validated_rows(member, rules)
        kinds = {name: rule.kind for name, rule in rules.items()}
        usual, numbers = deciding(kinds, _ordered(config, rules), config.split.trials is not None)
        chosen = str(metric or config.training.get("metric_for_best_model", usual)).removeprefix("eval_")
        if chosen not in numbers:
            raise unknown_name(chosen, sorted(numbers), "metric")
        if chosen == "loss" and config.training.get("save_strategy") == "no":
            raise InputError(f"metric loss: runs without checkpoints (save_strategy no) keep none; take {usual}")
        metrics.setdefault(member.marks[CONFIG], set()).add(chosen)
    for name, several in metrics.items():
        if len(several) > 1:
            raise InputError(f"{name}: its points choose by {' and '.join(sorted(several))}; give one: --metric")
    return {name: several.pop() for name, several in metrics.items()}, fingerprints


def _ordered(config: RunConfig, rules: Mapping[str, Any]) -> list[str]:
    """The tasks of a run whose classes have an order."""
    settings = model_settings(config)
    tables = settings.get("tasks") or {config.data.target: settings}
    return [
        name
        for name, table in tables.items()
        if table.get("ordered") or rules[name].bins or table.get("head", settings.get("head")) == "ordinal"
    ]


def _validated_rows(member: Member, rules: Mapping[str, Any]) -> str:
    """The fingerprint of the rows of a run; refused, if nothing can be chosen by them."""
    config = member.config
    if config.data.streaming:
        there, told = config.split.validation not in (None, "none"), "streamed"
    else:
        data = found(config.data)
        rows = labelled_rows(data, config.split, rules, load_used(data, config.split.only))
        there, told = "validation" in rows.splits, rows.fingerprint(sorted(rows.splits))
    if not there:
        what = "a sweep chooses by validation rows, and there are none: give --validation, as 0.1"
        raise InputError(f"{member.name}: {what}")
    return told


def _write_table(ended: Sequence[Ended], root: Path, metrics: Mapping[str, str]) -> None:
    names = list(dict.fromkeys(
        f"{number['split']}/{number['name']}" for one in ended if one.results for number in whole(one.results.metrics)
    ))  # fmt: skip
    rows = []
    for one in ended:
        numbers = {f"{n['split']}/{n['name']}": n["value"] for n in whole(one.results.metrics)} if one.results else {}
        metric = metrics[one.member.marks[CONFIG]]
        value = score_of(one.results, metric) if one.results else None
        rows.append(
            {
                "run": one.member.name,
                **one.member.marks,
                "state": one.told,
                "metric": metric,
                "value": "" if value is None else value,
                **{name: "" if numbers.get(name) is None else numbers[name] for name in names},
                "reason": one.reason if one.results is None or value is not None else f"{metric} is not defined",
            }
        )
    write_table(rows, root / TABLE_OF_SWEEP)


def _write_best(points: Sequence[Point], root: Path, ending: str, plan: Sweep) -> dict[str, Point]:
    """Writes best.yaml and the plots of one recipe -> its name and best point; nothing where no run is finished."""
    able = [point for point in points if point.scores and not point.missing] or [p for p in points if p.scores]
    if not able:
        return {}
    metric = able[0].metric
    best = (max if greater_is_better(metric) else min)(able, key=lambda point: point.mean)
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
