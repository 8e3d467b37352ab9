"""What a sweep tries: every point of a grid, with every named setting, with every seed, of one recipe or several.

A sweep file is YAML with these keys, of which `config` makes it one:

    config: ecapa-voxceleb-tiny-few          # a recipe or a file beside this one; or a list of them
    grid: {learning_rate: [1e-4, 1e-3]}      # field -> values; every combination is tried
    settings:                                # or fields that belong together, by a name
      constant rate: {schedule: constant}
      whole: {freeze_steps: 0, freeze: none}
    seeds: [1, 2, 3]
    metric: eer                              # what decides, and chooses checkpoints; left out: the run's own
    fields: {max_steps: 25000}               # fields of every run
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ..errors import InputError, list_some, one_line, unknown_name
from ..fields import read_yaml
from ..shipped import shipped_folder
from ..training.recipes import find_recipe

SETTING = "setting"  # how a named setting is called in tables
# Fields that no point can have a value of its own of -> what is there instead.
_OF_THE_SWEEP = {"seed": "give --seeds 1,2,3", "output_dir": "each run has a folder of its own"}
_OF_THE_SWEEP |= dict.fromkeys(("overwrite", "resume_from_checkpoint"), "the same command goes on with what is there")
_OF_THE_SWEEP |= {"frozen_cache": "a frozen encoder is run once for all"}
_OF_THE_SWEEP |= {"metric_for_best_model": "the same number decides between all: give --metric"}
_KEYS = ("config", "grid", "settings", "seeds", "metric", "fields")


@dataclass(frozen=True)
class Sweep:
    """What is tried.

    Attributes:
        configs: recipes or files.
        grid: field -> values.
        settings: name -> fields.
        seeds: of the runs of each point; empty: the config's own.
        metric: that decides, and chooses the checkpoints; None: the run's own.
        fields: of every run.
    """

    configs: list[str]
    grid: dict[str, list[Any]] = field(default_factory=dict)
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    seeds: list[int] = field(default_factory=list)
    metric: str | None = None
    fields: dict[str, Any] = field(default_factory=dict)

    def points(self) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """Every point as (what tells it from the others, the fields that it changes)."""
        settings: list[tuple[dict[str, Any], dict[str, Any]]] = [({}, {})]
        if self.settings:
            settings = [({SETTING: name}, dict(fields)) for name, fields in self.settings.items()]
        found = []
        for marks, fields in settings:
            for values in itertools.product(*self.grid.values()):
                point = dict(zip(self.grid, values, strict=True))
                found.append(({**marks, **point}, {**fields, **point}))
        return found

    @property
    def axes(self) -> list[str]:
        """What is varied: names of fields, and `SETTING`."""
        return [*([SETTING] if self.settings else []), *self.grid]


def read_sweep(
    config: str,
    grid: Sequence[str] = (),
    seeds: str | None = None,
    metric: str | None = None,
    fields: Mapping[str, Any] | None = None,
) -> Sweep:
    """A sweep from flags, or from a file with flags above it.

    Args:
        config: a recipe or file of a run, a sweep file, or the name of a sweep that comes with the package.
        grid: `name=value,value` each.
        seeds: `1,2,3`.
        metric: that decides.
        fields: of every run.

    Raises:
        InputError: a file or flag that can't be read, or nothing that is varied.
    """
    path = find_sweep(config)
    content = _read(path) if path is not None else {"config": config}
    where = str(path) if path is not None else "flags"
    for name in content:
        if name not in _KEYS:
            raise InputError(f"{where}: {unknown_name(str(name), _KEYS, 'key of a sweep file')}")
    if path is not None and "config" not in content:
        raise InputError(f"{where}: has no config, the recipe or file of the runs")
    decides = metric or content.get("metric")
    axes = [_axis(text) for text in grid]
    _list([name for name, _ in axes] or ["none"], "--grid")
    found = Sweep(
        configs=[_beside(path, str(one)) for one in _list(content.get("config"), f"{where}: config")],
        grid={**_grid(content.get("grid"), where), **dict(axes)},
        settings=_tables(content.get("settings"), f"{where}: settings"),
        seeds=_seeds(seeds.split(",") if seeds is not None else content.get("seeds") or [], where),
        metric=decides,
        fields={
            **({} if decides is None else {"metric_for_best_model": decides}),
            **_table(content.get("fields"), f"{where}: fields"),
            **(fields or {}),
        },
    )
    if not found.grid and not found.settings and len(found.seeds) < 2 and len(found.configs) < 2:
        raise InputError("nothing is varied: give --grid, such as --grid learning_rate=1e-4,1e-3, or --seeds 1,2,3")
    for name in (*found.grid, *(one for together in found.settings.values() for one in together)):
        if name.replace("-", "_") in _OF_THE_SWEEP:
            raise InputError(f"{where}: {name} can't be varied: {_OF_THE_SWEEP[name.replace('-', '_')]}")
    both = [name for name in found.grid if name in {str(given).replace("-", "_") for given in fields or {}}]
    if both:
        raise InputError(f"{list_some(both)} is varied and has one value as well: leave one of them out")
    return found


def sweep_names() -> list[str]:
    """The sweeps that come with the package."""
    return sorted(path.stem for path in (shipped_folder("model_cards") / "sweeps").glob("*.yaml"))


def find_sweep(name: str) -> Path | None:
    """The sweep file that a word means; None: it is a run's."""
    if name in sweep_names():
        return shipped_folder("model_cards") / "sweeps" / f"{name}.yaml"
    try:
        path = find_recipe(name)
    except InputError as error:
        raise InputError(f"{error}; sweeps: {', '.join(sweep_names())}") from None
    if not path.is_file():
        raise InputError(f"{name}: there is no such file")
    return path if {"config", "grid", "settings", "seeds"} & _read(path).keys() else None


def _beside(path: Path | None, config: str) -> str:
    """A file named in a sweep file, as seen from there; a recipe's name stays as it is."""
    there = None if path is None else path.parent / config
    return str(there) if there is not None and there.is_file() else config


def _read(path: Path) -> dict[str, Any]:
    try:
        content = read_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path}: can't be read ({one_line(error)})") from error
    return _table(content, str(path))


def _table(value: Any, where: str) -> dict[str, Any]:
    if value is not None and not isinstance(value, dict):
        raise InputError(f"{where}: {value!r} is no table of names and values")
    return {str(name): content for name, content in (value or {}).items()}


def _tables(value: Any, where: str) -> dict[str, dict[str, Any]]:
    return {name: _table(fields, f"{where}: {name}") for name, fields in _table(value, where).items()}


def _list(value: Any, where: str) -> list[Any]:
    values = value if isinstance(value, list) else [value]
    if not values or values == [None]:
        raise InputError(f"{where}: is empty; give one value or more")
    repeated = [one for i, one in enumerate(values) if one in values[:i]]
    if repeated:
        raise InputError(f"{where}: {list_some(repeated)} is there twice")
    return values


def _grid(value: Any, where: str) -> dict[str, list[Any]]:
    return {
        name.replace("-", "_"): _list(values, f"{where}: grid: {name}")
        for name, values in _table(value, f"{where}: grid").items()
    }


def _axis(text: str) -> tuple[str, list[Any]]:
    """`name=v1,v2` -> the name and its values, as YAML reads them; lists and tables in brackets stay whole."""
    name, sign, values = text.partition("=")
    if not sign or not name.strip():
        raise InputError(f"--grid {text}: write a field and its values, such as learning_rate=1e-4,1e-3")
    try:
        parsed = read_yaml(f"[{values}]")
    except yaml.YAMLError:
        raise InputError(f"--grid {text}: {values!r} can't be read as values with commas between them") from None
    return name.strip().replace("-", "_"), _list(parsed, f"--grid {name}")


def _seeds(values: Sequence[Any], where: str) -> list[int]:
    if not isinstance(values, list):
        raise InputError(f"{where}: seeds are {values!r}; give whole numbers, such as 1,2,3")
    try:
        seeds = [int(str(value)) for value in values]
    except ValueError:
        raise InputError(f"{where}: seeds are {list_some(values)}; give whole numbers, such as 1,2,3") from None
    return _list(seeds, f"{where}: seeds") if seeds else []
