"""`hf-speech crossval` of several recipes: the same folds and runs of each, and one table of them side by side.

The folder holds, beside one folder a recipe, laid out as that of a cross-validation of it alone (crossval.py):

    table.csv         a row a run, of all recipes
    comparison.json   the numbers and runs of each recipe whose runs are all finished, and its differences to the first
    README.md, beside.png
    adaptation/       the stages before fine-tuning, which recipes share where they are the same

A difference is one of means over folds and runs; both are resampled together (verification/compare.py), each draw by
speaker over all folds at once, as the means themselves are (fold_numbers.py).
"""

import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ..errors import InputError, list_some
from ..files import replacing, write_table
from ..results import Results, plain, run_facts
from ..training.config import RunConfig
from ..training.folder import EXPERIMENT
from ..verification.compare import FILE_NAME, Row, compare_items
from .beside_page import PLOT, write_page
from .crossval import CrossValidation, Grid, finish, grids_of, plan, pooled, table_rows
from .fold_numbers import fold_measure
from .fold_plots import plot_folds_beside
from .jobs import Launcher
from .members import Ended, experiment_folder, folder_name, recipe_name, run_members
from .tables import TABLE, dead_or_done, is_adapted

logger = logging.getLogger(__name__)

KIND = "comparison"
_TAKEN = ("adaptation", "frozen", "slurm")  # folders that lie beside those of the recipes
_SEED = 0  # of the resamples


def names_of(configs: Sequence[str]) -> dict[str, str]:
    """What each recipe and its folder are called -> its file or name, as it was given.

    Raises:
        InputError: two would be called the same, or one as another folder of the experiment.
    """
    names: dict[str, str] = {}
    for config in configs:
        name = folder_name(recipe_name(config))
        if name in names:
            raise InputError(f"two recipes would be called {name}: {names[name]} and {config}; rename the file of one")
        if name in _TAKEN:
            raise InputError(f"{config}: another folder of the runs is called {name}; rename the file")
        names[name] = config
    return names


def side_by_side(
    configs: Mapping[str, RunConfig],
    root: Path,
    launcher: Launcher,
    *,
    folds: str | None = None,
    within: str | None = None,
    runs: int = 1,
) -> dict[str, Any]:
    """Trains and tests every recipe by the same folds, and writes how they compare.

    Args:
        configs: what a recipe is called -> its fields; the others are compared with the first.
        root: folder of the experiment; what is finished there is not run again.
        launcher: starts the runs of all.
        folds: what is held out in turn, see folds.py.
        within: column whose values get a model each.
        runs: of each fold.

    Returns:
        The content of comparison.json.

    Raises:
        InputError: folds that can't be made or are not the same for all, another experiment in the folder.
        BrokenRunError: some runs died; what the other recipes measured is written.
    """
    plans = {name: _plan(name, config, root, folds, within, runs) for name, config in configs.items()}
    _check_same_folds(plans)
    rows = {"all": next(iter(plans.values())).made.fingerprint}
    definition = {"kind": KIND, "fixed": ["folds"], "folds": folds or f"within {within}", "rows": rows, "fields": {}}
    with ExitStack() as folders:
        folders.enter_context(experiment_folder(root, definition))
        for planned in plans.values():
            folders.enter_context(planned.folder())
        members = [member for planned in plans.values() for member in planned.members]
        ended = run_members(root, members, launcher, lambda now: _write_tables(root, now))
        of_recipe = {name: [one for one in ended if one.member.place == name] for name in plans}
        whole = {name: found for name, found in of_recipe.items() if all(one.results for one in found)}
        results = {name: finish(plans[name], found) for name, found in whole.items()}
        comparison = {}
        if len(whole) > 1:
            comparison = _comparison(results, {name: grids_of(plans[name], found) for name, found in whole.items()})
            _write(root, comparison, [name for name in plans if name not in whole])
        others = sorted({path.parent.name for path in root.glob(f"*/{EXPERIMENT}")} - plans.keys())
        if others:
            logger.warning("%s: not in this table, as they were not given: %s", root, ", ".join(others))
        dead_or_done(ended, root)
    return comparison


def _plan(
    name: str, config: RunConfig, root: Path, folds: str | None, within: str | None, runs: int
) -> CrossValidation:
    try:
        return plan(config, root / name, folds, within, runs, name)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error


def _check_same_folds(plans: Mapping[str, CrossValidation]) -> None:
    (first, one), *others = plans.items()
    differ = [name for name, other in others if other.made.fingerprint != one.made.fingerprint]
    if differ:
        raise InputError(
            f"{list_some(differ, 3)}: other rows or labels in the folds than in those of {first}; give all recipes the "
            "same data, target and splits, such as by --dataset, --target, --validation"
        )


def _write_tables(root: Path, ended: Sequence[Ended]) -> None:
    """table.csv of each recipe, and of all."""
    for place in dict.fromkeys(one.member.place for one in ended):
        own = [one for one in ended if one.member.place == place]
        write_table(table_rows(own), root / place / TABLE)
    rows = zip(ended, table_rows(ended), strict=True)
    write_table([{"recipe": one.member.place, **row} for one, row in rows], root / TABLE)


def _comparison(results: Mapping[str, Results], grids: Mapping[str, Mapping[str, Grid]]) -> dict[str, Any]:
    """The content of comparison.json."""
    first = next(iter(results.values()))
    facts = first.run["experiment"]
    return plain(
        {
            "what": "cross-validations",
            "data": first.data["name"],
            "target": first.data["target"],
            "folds": facts["folds"],
            "runs": facts["runs"],
            "recipes": {
                name: {
                    "metrics": found.metrics,
                    "members": found.run["experiment"]["members"],
                    "is_adapted": is_adapted(found),
                }
                for name, found in results.items()
            },
            "differences": _differences(grids),
            "run": run_facts(_SEED, device="cpu"),
        }
    )


def _differences(grids: Mapping[str, Mapping[str, Grid]]) -> list[Row]:
    """Of each number of each recipe, that to the first recipe; rows as of `compare_items`, with `recipe` and `n`.

    Raises:
        InputError: two recipes were not tested on the same utterances.
    """
    (first, reference), *others = grids.items()
    rows: list[Row] = []
    for prefix, grid in reference.items():
        a = pooled(grid)
        measure = fold_measure(a.parts, len(a.ids))
        for name, other in others:
            if [set(one.ids) for one in grid[0]] != [set(one.ids) for one in other[prefix][0]]:
                raise InputError(f"{first} and {name} were tested on other utterances; give both the same on_bad_audio")
            b = pooled(other[prefix], a.ids)
            found = compare_items(measure, fold_measure(b.parts, len(a.ids)), a.speakers, seed=_SEED)
            rows += [{"recipe": name, **row, "name": prefix + row["name"], "n": len(a.ids)} for row in found]
    return rows


def _write(root: Path, comparison: Mapping[str, Any], absent: Sequence[str]) -> None:
    """README.md and the plot, comparison.json last; absent: recipes of which a run is not finished."""
    recipes = {name: (found["members"], found["metrics"][0]) for name, found in comparison["recipes"].items()}
    plot_folds_beside(recipes, root / PLOT)
    write_page(root, comparison, absent)
    with replacing(root / FILE_NAME) as temporary:
        temporary.write_text(json.dumps(comparison, indent=2, ensure_ascii=False, allow_nan=False) + "\n", "utf-8")
