"""A frozen encoder is run once for all runs of an experiment, where that gives what running it every time would."""

import dataclasses
import logging
from pathlib import Path

from ..errors import InputError
from ..training.config import RunConfig
from ..training.frozen import check_frozen

logger = logging.getLogger(__name__)

FOLDER = "frozen"


def with_cache(config: RunConfig, root: Path, wanted: bool = True) -> RunConfig:
    """The config with a place for what its frozen encoder says, shared by all runs.

    Args:
        config: of a run; one that names a place keeps it.
        root: folder of the experiment.
        wanted: whether that is to be done at all.
    """
    if not wanted or config.batches.frozen_cache is not None or config.learning.freeze != "backbone":
        return config
    cached = dataclasses.replace(
        config, batches=dataclasses.replace(config.batches, frozen_cache=str((root / FOLDER).absolute()))
    )
    try:
        check_frozen(cached)
    except InputError as error:
        why = str(error).removeprefix("frozen_cache: ")
        for mend in (", or leave frozen_cache out", "; leave frozen_cache out"):  # nobody has given it
            why = why.removesuffix(mend)
        logger.info("the encoder is frozen, and still run every time: %s", why)
        return config
    return cached
