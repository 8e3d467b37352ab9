"""Several recipes side by side, for people: README.md, and what the terminal shows, both from comparison.json alone."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..files import replacing
from ..hub.markdown import listed, markdown_table
from ..hub.words import interval_of, metric_title, value_of
from .tables import how_it_was_computed, number_line, over_runs, short

PLOT = "beside.png"


def write_page(root: Path, comparison: Mapping[str, Any], absent: Sequence[str]) -> None:
    """README.md of several cross-validations.

    Args:
        root: folder of the experiment.
        comparison: content of comparison.json.
        absent: recipes of which a run is not finished.
    """
    recipes, metrics = comparison["recipes"], _metrics(comparison)
    names = [name for name, found in recipes.items() if found["is_adapted"]]
    adapted = listed(names, "and") if names else ""
    first, title = next(iter(recipes)), metric_title(metrics[0]["name"])
    runs = "one run" if comparison["runs"] == 1 else f"{comparison['runs']} runs, each with a seed of its own,"
    text = [
        f"# {root.absolute().name}: {listed(list(recipes), 'and')} side by side",
        f"Data: {comparison['data']}; target: `{comparison['target']}`; folds: {comparison['folds']}; {runs} of each "
        f"fold and recipe. The same {metrics[0]['n']} utterances are tested by all, each by models that have not "
        "learnt from it.",
        _numbers_table(comparison),
        f"The last two columns are the recipe's mean minus that of {first}, with the 95 % interval of this difference: "
        "both recipes are resampled together, the same utterances for either, so that what makes an utterance hard for "
        "both falls out. Where it holds 0, the difference may be chance.",
        " ".join(how_it_was_computed(metrics, comparison["runs"], adapted)),
        f"{title}, fold by fold:",
        _folds_table(comparison),
        f"Not in the table, as some of its runs are not finished: {', '.join(absent)}." if absent else "",
        f"![{title} of each recipe]({PLOT})\n\n{title} of every run, fold by fold, and the means over all with their "
        "95 % intervals.",
        "A page for each recipe: " + ", ".join(f"[{name}]({name}/README.md)" for name in recipes) + ".",
    ]
    with replacing(root / "README.md") as temporary:
        temporary.write_text("\n\n".join(filter(None, text)) + "\n", encoding="utf-8")


def told(comparison: Mapping[str, Any], root: Path) -> str:
    """A few lines for the terminal."""
    recipes = comparison["recipes"]
    count = sum(len(found["members"]) for found in recipes.values())
    lines = [f"{root}: {comparison['folds']}, {len(recipes)} recipes, {count} runs"]
    width = max(map(len, recipes)) + 1
    for metric in _metrics(comparison):
        lines.append(f"  {metric['name']}")
        for recipe, number, difference in _of_number(comparison, metric["name"]):
            beside = f"; minus {next(iter(recipes))}: {' ('.join(_cells(difference))})" if difference else ""
            lines.append(f"    {recipe:{width}}{number_line(number, comparison['runs'] > 1)}{beside}")
    return "\n".join(lines)


def _metrics(comparison: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The numbers of the first recipe."""
    return next(iter(comparison["recipes"].values()))["metrics"]


def _of_number(comparison: Mapping[str, Any], name: str) -> Iterator[tuple[str, dict[str, Any], dict[str, Any] | None]]:
    """Each recipe that has a number, with this, and how it differs from the first recipe's; None: it is that."""
    differences = {row["recipe"]: row for row in comparison["differences"] if row["name"] == name}
    for recipe, found in comparison["recipes"].items():
        for number in found["metrics"]:
            if number["name"] == name:
                yield recipe, number, differences.get(recipe)


def _numbers_table(comparison: Mapping[str, Any]) -> str:
    """A row a recipe for every number; the number that decides first."""
    several = comparison["runs"] > 1
    rows = []
    for metric in _metrics(comparison):
        for recipe, number, difference in _of_number(comparison, metric["name"]):
            spreads = ["fold_std", *(["run_std"] if several else [])]
            cells = [value_of(number), interval_of(number), *(short(number[spread]) for spread in spreads)]
            rows.append(
                [metric_title(number["name"]), recipe, *cells, *(_cells(difference) if difference else ("", ""))]
            )
    spreads = ["Fold std", *(["Run std"] if several else [])]
    first = next(iter(comparison["recipes"]))
    return markdown_table(
        ["Number", "Recipe", "Mean", "95 % interval", *spreads, f"Minus {first}", "95 % interval"], rows
    )


def _folds_table(comparison: Mapping[str, Any]) -> str:
    """The number that decides: a row a fold, a column a recipe."""
    recipes, name = comparison["recipes"], _metrics(comparison)[0]["name"]
    of_first = next(iter(recipes.values()))["members"]
    rows = []
    for fold, count in {member["fold"]: member["n"] for member in of_first}.items():
        found = ([one for one in each["members"] if one["fold"] == fold] for each in recipes.values())
        rows.append([fold, count, *(over_runs([one["metrics"][name] for one in members]) for members in found)])
    return markdown_table([f"Fold ({comparison['folds']})", "Utterances", *recipes], rows)


def _cells(difference: Mapping[str, Any]) -> tuple[str, str]:
    """A difference and its interval."""
    told = value_of({**difference, "value": difference["difference"]})
    if not re.search("[1-9]", told.partition(" ")[0]):  # not defined, or too little to be seen
        told = told.removeprefix("-")
    elif not told.startswith("-"):
        told = f"+{told}"
    return told, interval_of(difference)
