"""The folder of a run: who may write to it, and which of its checkpoints can be gone on from."""

import logging
import os
import re
import shutil
from pathlib import Path

from ..errors import InputError
from ..results import FILE_NAME
from .arguments import RunConfig

logger = logging.getLogger(__name__)

# Without the first, transformers dies on a checkpoint; without the others it goes on silently with other weights.
CHECKPOINT_FILES = ("trainer_state.json", "model.safetensors", "optimizer.pt", "scheduler.pt")
ADAPTER_WEIGHTS = "adapter_model.safetensors"  # in the place of the model's, where low-rank updates are trained


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
        if found and not config.training.get("resume_from_checkpoint"):
            raise InputError(
                f"{folder}: holds {found[-1].name} of an unfinished run; go on with --resume-from-checkpoint "
                "true, or start again with --overwrite"
            )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: can't be made ({error.strerror}); give another --output-dir") from error
    return folder


def checkpoints(folder: Path) -> list[Path]:
    """The Trainer's checkpoints in a folder, by step."""
    found = [path for path in folder.glob("checkpoint-*") if re.fullmatch(r"checkpoint-\d+", path.name)]
    return sorted(found, key=lambda path: int(path.name.rpartition("-")[2]))


def remove_checkpoints(folder: Path) -> None:
    """Removes the Trainer's checkpoints; of several processes the first does it."""
    if int(os.environ.get("RANK", "0")) == 0:
        for checkpoint in checkpoints(folder):
            shutil.rmtree(checkpoint)


def checkpoint_to_resume(config: RunConfig, folder: Path) -> str | None:
    """The checkpoint that a run goes on from: the one that is named, or the last whole one.

    A run that was killed while it saved leaves a part of a checkpoint; the one before it is taken then.

    Raises:
        InputError: there is none.
    """
    wanted = config.training.get("resume_from_checkpoint")
    if not wanted:
        return None
    for candidate in reversed(checkpoints(folder)) if wanted is True else [Path(wanted)]:
        missing = _missing_files(candidate)
        if not missing:
            return str(candidate)
        logger.warning("%s is not whole: it lacks %s", candidate, ", ".join(missing))
    where = folder if wanted is True else wanted
    raise InputError(f"resume_from_checkpoint: there is no whole checkpoint in {where}; leave it out to start anew")


def _missing_files(checkpoint: Path) -> list[str]:
    adapted = (checkpoint / ADAPTER_WEIGHTS).is_file()
    wanted = [ADAPTER_WEIGHTS if adapted and name == "model.safetensors" else name for name in CHECKPOINT_FILES]
    missing = [name for name in wanted if not (checkpoint / name).is_file()]
    return missing if any(checkpoint.glob("rng_state*.pth")) else [*missing, "rng_state.pth"]
