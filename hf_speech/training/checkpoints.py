"""Checkpoints that are there whole or not at all, and know of which run they are.

The Trainer writes its files one by one: a kill in between leaves a folder that it later dies on, or goes on from
silently with other weights. Here they are written under a hidden name, listed with their sizes and hashes, and only
then called `checkpoint-<step>`; before a run goes on, the list is checked.
"""

import dataclasses
import json
import logging
import os
import re
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from ..errors import InputError, list_some
from ..files import is_full, sha256_of, to_disk
from .hf_arguments import TRAINING_DEFAULTS

logger = logging.getLogger(__name__)

MANIFEST = "checkpoint.json"
_STAGED = ".checkpoint-{step}.partial"
# Fields of a run that may change before it goes on: what is learnt does not hang on them. Of data the content counts
FREE = {"output_dir", "overwrite", "resume_from_checkpoint", "keep_checkpoints", "name", "data_name", "data_dir"}
FREE |= {"dataset", "language", "license", "data_license", "synthetic", "unit", "logging_steps", "logging_first_step"}
FREE |= {"report_to", "run_name", "disable_tqdm", "save_total_limit", "dataloader_prefetch_factor"}
FREE |= {"dataloader_pin_memory", "log_level", "project", "trackio_space_id"}
_MEND = "give what it was to go on, another --output-dir, or --overwrite to start anew"
# A worker has one thread, whose sums differ in the last digit from those of several.
_NEARLY = {"dataloader_num_workers"}


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a folder, by step."""
    found = [path for path in folder.glob("checkpoint-*") if re.fullmatch(r"checkpoint-\d+", path.name)]
    return sorted(found, key=step_of)


def step_of(checkpoint: Path) -> int:
    """The optimiser steps that a checkpoint stands for."""
    return int(checkpoint.name.rpartition("-")[2])


def step_of_last(folder: Path) -> int | None:
    """The steps of the latest checkpoint in a folder; None where there is none."""
    found = checkpoints(folder)
    return step_of(found[-1]) if found else None


def staging_folder(folder: Path, step: int) -> Path:
    """Where the files of a checkpoint are written before they are one."""
    return folder / _STAGED.format(step=step)


def remove_staged(folder: Path) -> None:
    """Removes what a killed run left of a checkpoint."""
    for path in folder.glob(_STAGED.format(step="*") + "*"):
        shutil.rmtree(path, ignore_errors=True)


def publish(staged: Path, checkpoint: Path, facts: Mapping[str, Any]) -> None:
    """Makes a checkpoint of written files: they reach the disk, are listed, and get their name.

    Args:
        staged: the folder that they are in.
        checkpoint: what it is to be called; one of that name is replaced.
        facts: of the run, see `facts_of`.
    """
    files = sorted(path for path in staged.rglob("*") if path.is_file())
    listed = {path.relative_to(staged).as_posix(): _fingerprint(path) for path in files}
    (staged / MANIFEST).write_text(json.dumps({**facts, "files": listed}, indent=1) + "\n", encoding="utf-8")
    for path in [*files, staged / MANIFEST, staged]:
        to_disk(path)
    if checkpoint.exists():
        replaced = staged.with_name(f"{staged.name}.replaced")
        os.replace(checkpoint, replaced)
        os.replace(staged, checkpoint)
        shutil.rmtree(replaced)
    else:
        os.replace(staged, checkpoint)
    to_disk(checkpoint.parent)


def faults(checkpoint: Path) -> list[str]:
    """What a checkpoint lacks, or what of it is damaged; nothing: it is whole.

    Every file is read, so that one which changed on the disk is found out before it is gone on from.
    """
    try:
        listed = _manifest(checkpoint)["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return [f"{MANIFEST} is missing or can't be read"]
    found = []
    for name, fingerprint in listed.items():
        path = checkpoint / name
        if not path.is_file():
            found.append(f"{name} is missing")
        elif path.stat().st_size != fingerprint["bytes"]:
            found.append(f"{name} has {path.stat().st_size} bytes, not {fingerprint['bytes']}")
        elif _fingerprint(path) != fingerprint:
            found.append(f"{name} is damaged")
    return found


def last_whole(folder: Path) -> Path | None:
    """The latest checkpoint that is whole; None where there are none at all.

    Raises:
        InputError: there are checkpoints, and none is whole.
    """
    found = checkpoints(folder)
    for checkpoint in reversed(found):
        wrong = faults(checkpoint)
        if not wrong:
            return checkpoint
        logger.warning("%s is not whole: %s", checkpoint, list_some(wrong, 3))
    if found:
        raise InputError(f"{folder}: none of its checkpoints is whole; --overwrite starts anew")
    return None


def facts_of(recipe: Mapping[str, Any], data: str, processes: int, frozen: str | None = None) -> dict[str, Any]:
    """What a checkpoint says of its run.

    Args:
        recipe: the fields of the run.
        data: fingerprint of the training rows.
        processes: that train together.
        frozen: key of the frozen encoder that was run once, which the checkpoint does not hold; None: it holds all.
    """
    return {"fields": _plain(recipe), "data": data, "processes": processes, "frozen": frozen}


def check_same_fields(checkpoint: Path, recipe: Mapping[str, Any]) -> None:
    """Refuses a checkpoint of a run with other fields; those that change nothing of what is learnt may differ.

    Raises:
        InputError: what differs.
    """
    changed = dict(differences(_manifest(checkpoint)["fields"], _plain(recipe)))
    for name in _NEARLY & changed.keys():
        logger.warning("%s: %s was %s: it goes on, but not bit for bit", checkpoint, name, _short(changed.pop(name)[0]))
    differ = [f"{name} is {_short(was)} there and {_short(now)} here" for name, (was, now) in changed.items()]
    if differ:
        raise InputError(f"{checkpoint}: is of another run: {list_some(differ, 5)}; {_MEND}")


def differences(
    old: Mapping[str, Any], new: Mapping[str, Any], free: Collection[str] = FREE
) -> list[tuple[str, tuple[Any, Any]]]:
    """Fields of two runs that differ, as (name, (old, new)), but for those that change nothing of what is learnt."""
    values = {name: tuple(table.get(name, _default(name)) for table in (old, new)) for name in sorted({*old, *new})}
    return [(name, pair) for name, pair in values.items() if name not in free and pair[0] != pair[1]]


def check_same_parts(checkpoint: Path, frozen: bool) -> None:
    """Refuses a checkpoint that holds the encoder where it is run once, or lacks it where it is run every time.

    Args:
        checkpoint: to go on from.
        frozen: whether the run has a `frozen_cache`.

    Raises:
        InputError: it does.
    """
    if (_manifest(checkpoint).get("frozen") is not None) == frozen:
        return
    lacks = "lacks the frozen encoder, which was run once; give frozen_cache as then"
    wrong = "is of a run without frozen_cache, and holds the encoder; leave frozen_cache out" if frozen else lacks
    raise InputError(f"{checkpoint}: {wrong}, or --overwrite to start anew")


def check_same_data(checkpoint: Path, facts: Mapping[str, Any]) -> None:
    """Refuses a checkpoint whose training rows, or frozen encoder, were others; says where the processes were more.

    Raises:
        InputError: the data has changed.
    """
    there = _manifest(checkpoint)
    if there["data"] != facts["data"]:
        raise InputError(f"{checkpoint}: its training rows were others than those of the data as it is now; {_MEND}")
    if there.get("frozen") != facts.get("frozen"):
        raise InputError(f"{checkpoint}: was trained on what another frozen encoder had said; {_MEND}")
    if there["processes"] != facts["processes"]:
        told = "%s was trained on by %d processes, and now there are %d: it goes on, but with other batches"
        logger.warning(told, checkpoint, there["processes"], facts["processes"])


@contextmanager
def told_of_full_disk(folder: Path, what: str) -> Iterator[None]:
    """Turns the many errors of a full disk into one line; whole checkpoints are named.

    Args:
        folder: of the run.
        what: was being written.

    Raises:
        InputError: in place of an error, where the disk has no room.
    """
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        if isinstance(error, InputError) or not is_full(error, folder):
            raise
        found = checkpoints(folder)
        there = f"the last whole checkpoint is {found[-1]}" if found else "there is no checkpoint yet"
        raise InputError(
            f"{folder}: the disk is full, and {what} could not be written; {there}; make room and give the same "
            "command again"
        ) from error


def _plain(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The fields as JSON gives them back."""
    return json.loads(json.dumps(recipe, default=str))


@cache
def _defaults() -> dict[str, Any]:
    from transformers import TrainingArguments

    from .config import GROUPS

    items = [item for kind in (TrainingArguments, *GROUPS.values()) for item in dataclasses.fields(kind)]
    own = {item.name: item.default_factory() if callable(item.default_factory) else item.default for item in items}
    return {**own, **TRAINING_DEFAULTS}


def _default(name: str) -> Any:
    return _defaults().get(name)


def _short(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _manifest(checkpoint: Path) -> dict[str, Any]:
    return json.loads((checkpoint / MANIFEST).read_text(encoding="utf-8"))


def _fingerprint(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
