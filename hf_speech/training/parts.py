"""The parts of a model by name: what a run says of them is held against their own registries."""

from collections.abc import Callable, Mapping
from typing import Any

from ..errors import InputError, lookup, unknown_name
from ..fields import fit, kinds
from ..models.frontends import FRONTENDS
from ..models.heads import HEADS
from ..models.losses import LOSSES, check_options, check_pair
from ..models.necks import NECKS
from ..models.network_encoder import NETWORKS
from ..models.pooling import POOLINGS
from ..models.presets import merged
from ..models.projections import PROJECTIONS
from ..models.registry import with_options
from .schedules import SCHEDULES

PARTS: dict[str, Mapping[str, Callable[..., Any]]] = {
    "neck": NECKS,
    "pooling": POOLINGS,
    "projection": PROJECTIONS,
    "head": HEADS,
    "loss": {name: loss.function for name, loss in LOSSES.items()},
    "front end": FRONTENDS,
    "network": NETWORKS,
    "schedule": SCHEDULES,
}
# What a run may say of one of several tasks, and of what kind; the rest of `models.tasks.Task` follows from its data.
TASK_FIELDS: dict[str, Any] = {
    "head": str | None,
    "head_config": dict[str, Any] | None,
    "loss": str | None,
    "loss_config": dict[str, Any] | None,
    "class_weights": str | list[float] | None,
    "labels": list[str] | None,
    "bins": str | None,
    "unit": str | None,
    "weight": float,
}


def fit_tasks(tables: Mapping[Any, Any], where: str) -> dict[str, dict[str, Any]]:
    """The tables of several tasks, each value as its field wants it; an empty table takes what holds for all.

    Args:
        tables: column -> its fields, as YAML has them.
        where: what messages begin with.

    Raises:
        InputError: a column that is no text, a task that is no table, an unknown field, a value of the wrong kind.
    """
    fitted: dict[str, dict[str, Any]] = {}
    for column, table in tables.items():
        if not isinstance(column, str) or not column or "." in column or "/" in column:
            raise InputError(f"{where}: {column!r} can't name a task; give a column without dots and slashes")
        if table is not None and not isinstance(table, Mapping):
            form = "{" + f"{column}: {{loss: cross_entropy}}" + "}"
            raise InputError(f"{where}: task {column!r} is {table!r}, not a table of its fields, such as {form}")
        fitted[column] = {}
        for name, value in (table or {}).items():
            if name not in TASK_FIELDS:
                raise InputError(f"{where}: {unknown_name(name, TASK_FIELDS, f'field of task {column!r}')}")
            nothing = value == "none" and type(None) in kinds(TASK_FIELDS[name])
            fitted[column][name] = fit(None if nothing else value, TASK_FIELDS[name], f"{where}: {column}: {name}")
    return fitted


def check_parts(settings: Mapping[str, Any]) -> None:
    """Refuses names and options of parts that do not exist, or do not go together.

    Args:
        settings: fields of `HfSpeechConfig`, `tasks` among them.

    Raises:
        InputError: the part, and its valid names or options.
    """
    for what, registry in PARTS.items():
        if what in settings and what != "loss":
            part = lookup(registry, settings[what], what)
            with_options(part, settings.get(f"{what}_config") or {}, f"{what} {settings[what]!r}")
    tasks = settings.get("tasks") or {}
    shared = {name: settings[name] for name in TASK_FIELDS if name in settings}
    for name, table in tasks.items() if tasks else [(None, {})]:
        try:
            _check_task(merged(shared, table))
        except InputError as error:
            raise InputError(f"task {name!r}: {error}" if name else str(error)) from None


def _check_task(table: Mapping[str, Any]) -> None:
    head, loss = table.get("head") or "linear", table.get("loss") or "cross_entropy"
    with_options(lookup(HEADS, head, "head"), table.get("head_config") or {}, f"head {head!r}")
    check_options(loss, table.get("loss_config") or {})
    check_pair(loss, head)
    if isinstance(table.get("class_weights"), str):
        lookup({"balanced": True, "[1, 2], a factor a class": True}, table["class_weights"], "class_weights")
    if table.get("weight", 1.0) < 0:
        raise InputError(f"weight is {table['weight']:g}; give a number of 0 or more")
