"""The folder of a run: who may write to it, and which of its checkpoints can be gone on from."""

import logging
import os
import shutil
from pathlib import Path

from ..errors import InputError, list_some
from ..results import FILE_NAME
from .checkpoints import check_same_fields, checkpoints, faults, last_whole, remove_staged
from .config import RunConfig

logger = logging.getLogger(__name__)


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
    found = checkpoints(folder)
    if not config.run.overwrite:
        if (folder / FILE_NAME).exists():
            raise InputError(f"{folder}: holds a finished model; give another --output-dir, or --overwrite")
        if found and config.training.get("resume_from_checkpoint") is False:
            raise InputError(f"{folder}: holds {found[-1].name} of an unfinished run; --overwrite starts anew")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: can't be made ({error.strerror}); give another --output-dir") from error
    return folder


def remove_checkpoints(folder: Path) -> None:
    """Removes the Trainer's checkpoints; of several processes the first does it."""
    if int(os.environ.get("RANK", "0")) == 0:
        remove_staged(folder)
        for checkpoint in checkpoints(folder):
            shutil.rmtree(checkpoint)


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
