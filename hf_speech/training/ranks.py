"""Processes that train one model together: each validates a share of the rows, and all hear of all."""

import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch.distributed as dist
from accelerate.utils import gather_object
from torch.nn.parallel import DistributedDataParallel

from ..errors import BrokenRunError, InputError, one_line
from ..inference import Inference
from .checkpoints import checkpoints

_TURN = 10.0  # seconds in which the first process of a machine refuses what all of them refuse
# What gloo and NCCL say of a process that is gone.
_LOST = ("onnection reset by peer", "onnection closed by peer", "Broken pipe", "remote process exited", "NCCL")


@contextmanager
def first_speaks() -> Iterator[None]:
    """Leaves it to the first process of a machine to say what all of them refuse before they train together.

    torchrun ends all when one has ended, so the others must not end first. Where they are not ended they speak too:
    what they refuse may be theirs alone.
    """
    try:
        yield
    except InputError:
        place = os.environ.get("LOCAL_RANK", os.environ.get("RANK", "0"))
        if place != "0" and not (dist.is_available() and dist.is_initialized()):
            time.sleep(_TURN)
        raise


def shares(wrapped: Any) -> bool:
    """Whether the processes of a run can each run the model by itself: not where each holds a part of it."""
    return isinstance(wrapped, DistributedDataParallel)


def share_of(lengths: Sequence[int], rank: int, ranks: int) -> list[int]:
    """The rows that a process validates, rising; every row is one process's, and all have about as much audio.

    The rows are dealt out from the longest to the shortest, back and forth.

    >>> [share_of([5, 1, 4, 2, 3], rank, 2) for rank in (0, 1)]
    [[0, 1, 3], [2, 4]]

    Args:
        lengths: of all rows, samples.
        rank: of the process.
        ranks: how many there are.
    """
    order = sorted(range(len(lengths)), key=lambda row: (-lengths[row], row))
    turn = [*range(ranks), *reversed(range(ranks))]
    return sorted(row for place, row in enumerate(order) if turn[place % len(turn)] == rank)


def gathered(outcome: Inference | None, rows: Sequence[int], count: int) -> Inference:
    """What all processes together found, on every one of them.

    Args:
        outcome: of this process; None: it has no row.
        rows: those that it ran, in order.
        count: of all rows.
    """
    found: list[tuple[Sequence[int], Inference]] = gather_object([] if outcome is None else [(rows, outcome)])
    first = found[0][1]

    def whole(parts: Sequence[np.ndarray]) -> np.ndarray:
        values = np.empty((count, *parts[0].shape[1:]), parts[0].dtype)
        for (places, _), part in zip(found, parts, strict=True):
            values[places] = part
        return values

    return Inference(
        {task: whole([one.task_logits[task] for _, one in found]) for task in first.task_logits},
        tuple(whole([one.scores[i] for _, one in found if one.scores]) for i in range(len(first.scores)))
        if first.scores is not None
        else None,
        whole([one.embeddings for _, one in found if one.embeddings is not None])
        if first.embeddings is not None
        else None,
    )


@contextmanager
def told_of_lost_ranks(folder: Path) -> Iterator[None]:
    """Turns the errors by which a process learns that another one is gone into one line.

    Args:
        folder: of the run.

    Raises:
        BrokenRunError: in their place.
    """
    try:
        yield
    except RuntimeError as error:
        if not (dist.is_available() and dist.is_initialized() and any(words in str(error) for words in _LOST)):
            raise
        found = checkpoints(folder)
        last = f"the same command goes on from {found[-1]}" if found else "there is no checkpoint yet"
        raise BrokenRunError(
            f"another process of this run has ended ({_first_sentence(error)}): what it said itself, and torchrun, "
            f"tell why; {last}"
        ) from error


def _first_sentence(error: Exception) -> str:
    """Without the advice that follows it, and the place in gloo's source before it.

    >>> _first_sentence(RuntimeError("[a/pair.cc:547] Connection closed by peer [127.0.0.1]:15. This may mean more."))
    'Connection closed by peer [127.0.0.1]:15'
    """
    return re.sub(r"^\[\S+:\d+\] ", "", one_line(error)).partition(". ")[0].rstrip(".")


def share_statistics(model: Any) -> None:
    """Gives all processes the first one's statistics of batch norms, which have seen other rows last on each.

    In training the first one's hold in any case, from the next step on.
    """
    for values in model.buffers():
        dist.broadcast(values, src=0)
