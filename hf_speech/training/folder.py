"""The folder of a run: who may write to it, and which of its checkpoints can be gone on from."""

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from transformers import TrainerCallback

from ..errors import InputError, list_some
from ..fields import read_yaml
from ..files import locked
from ..results import FILE_NAME
from .checkpoints import check_same_fields, checkpoints, faults, last_whole, remove_staged
from .config import RunConfig
from .recipes import config_in

logger = logging.getLogger(__name__)

_OUTLIVED = 10.0  # seconds; a data loader's worker looks every five whether it still has a parent
EXPERIMENT = "experiment.yaml"  # what a folder of many runs holds: what the experiment is, and what `kind` of one
FINISHING = ".finishing-"  # how a folder begins in which a finished model is put together


def claim_folder(config: RunConfig) -> Path:
    """The folder of a run, made if need be; nothing in it is changed yet.

    Raises:
        InputError: no folder is given, it can't be made, or it holds what this run would destroy.
    """
    if config.run.output_dir is None:
        raise InputError("no place for the model: give --output-dir, a folder that is made")
    folder = Path(config.run.output_dir)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file; give a folder as --output-dir")
    kind = experiment_in(folder)
    if kind is not None:
        raise InputError(f"{folder}: holds a {kind} ({EXPERIMENT}); give another --output-dir")
    start = config.model.backbone
    if start is not None and Path(start).absolute() == folder.absolute():
        raise InputError(f"{folder}: is the backbone, which would be lost; give another --output-dir")
    found, resume = checkpoints(folder), config.training.get("resume_from_checkpoint")
    if config.run.overwrite and resume:
        raise InputError("overwrite starts anew, and resume_from_checkpoint goes on: leave one of them out")
    if not config.run.overwrite:
        if (folder / FILE_NAME).exists():
            raise InputError(f"{folder}: holds a finished model; give another --output-dir, or --overwrite")
        if (folder / "config.json").exists() and not (found or config_in(folder)):
            raise InputError(f"{folder}: holds a model of something else; give another --output-dir, or --overwrite")
        if found and resume is False:
            raise InputError(f"{folder}: holds {found[-1].name} of an unfinished run; --overwrite starts anew")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: can't be made ({error.strerror}); give another --output-dir") from error
    return folder


def experiment_in(folder: Path) -> str | None:
    """The kind of the experiment whose folder this is, such as cross-validation; None: it is none's."""
    if not (folder / EXPERIMENT).exists():
        return None
    try:
        return str(read_yaml((folder / EXPERIMENT).read_text(encoding="utf-8"))["kind"])
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError):
        return "number of runs"


class StartAnew(TrainerCallback):
    """Removes the checkpoints of an earlier run when training begins: not before all was checked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called by the Trainer."""
        if state.is_world_process_zero:
            remove_checkpoints(self.folder)


def remove_checkpoints(folder: Path) -> None:
    """Removes the checkpoints of a folder."""
    for checkpoint in checkpoints(folder):
        shutil.rmtree(checkpoint)


def remove_leavings(folder: Path) -> None:
    """Removes what a killed run left half-written."""
    remove_staged(folder)
    for path in folder.glob(f"{FINISHING}*"):
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """While a run writes to its folder, no other one does; of several processes of a run the first sees to it.

    The lock is the folder's own and leaves with the process, however that ends; where a file system has none, nobody
    is kept off.

    Raises:
        InputError: another run is at it.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        if int(os.environ.get("RANK", "0")) == 0 and locked(handle, _OUTLIVED) is False:
            mend = "wait for it, or give another --output-dir"
            raise InputError(f"{folder}: another run is writing there; {mend}")
        yield
    finally:
        os.close(handle)


def checkpoint_to_resume(config: RunConfig, folder: Path) -> Path | None:
    """The checkpoint that a run goes on from: the last whole one of its folder, or the one that is named; None: none.

    Raises:
        InputError: the one that is named is not whole, or none of them is; or it is of a run with other fields.
    """
    wanted = config.training.get("resume_from_checkpoint")
    found = None
    if isinstance(wanted, str):
        found = Path(wanted)
        wrong = faults(found) if found.is_dir() else ["there is no such folder"]
        if wrong:
            raise InputError(f"resume_from_checkpoint: {found} is no whole checkpoint: {list_some(wrong, 3)}")
    elif not config.run.overwrite and wanted is not False:
        found = last_whole(folder)
        if found is None and wanted:
            raise InputError(f"resume_from_checkpoint: there is no checkpoint in {folder}; leave it out to start anew")
    if found is not None:
        check_same_fields(found, config.recipe())
        logger.info("going on from %s", found)
    return found
