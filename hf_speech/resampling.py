"""Sound at another rate: the filter, what it looks at, and its precision."""

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np

logger = logging.getLogger(__name__)


def resampling_margin(old: int, new: int) -> int:
    """Input samples at each side that the resampling filter looks at: 6 zero crossings (torchaudio's default)."""
    return 0 if old == new else math.ceil(6 * old / (0.99 * min(old, new))) + old


@contextmanager
def in_float32() -> Iterator[None]:
    """Within, torch computes on a CPU as its numbers are, in whatever precision a model around computes."""
    import torch

    if torch.is_autocast_enabled("cpu"):
        with torch.autocast("cpu", enabled=False):
            yield
    else:  # to leave an autocast that is no part of another empties what is kept of a model's weights
        yield


def resample(waveform: np.ndarray, old_rate: int, new_rate: int) -> np.ndarray:
    """(samples,) at one rate -> (ceil(samples * new / old),) at another."""
    import torch

    with in_float32():
        return _resampler(old_rate, new_rate)(torch.from_numpy(np.ascontiguousarray(waveform))).numpy()


@lru_cache(maxsize=16)  # a filter of odd rates has hundreds of megabytes
def _resampler(old_rate: int, new_rate: int) -> Any:
    """The filter of a pair of rates: made, and said, once."""
    import torchaudio

    logger.info("resampling from %d Hz to %d Hz", old_rate, new_rate)
    return torchaudio.transforms.Resample(old_rate, new_rate)
