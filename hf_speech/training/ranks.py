"""Processes that train one model together: each validates a share of the rows, and all hear of all."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch.distributed as dist
from accelerate.utils import gather_object
from torch.nn.parallel import DistributedDataParallel

from ..outcome import Inference


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


def share_statistics(model: Any) -> None:
    """Gives all processes the first one's statistics of batch norms, which have seen other rows last on each.

    In training the first one's hold in any case, from the next step on.
    """
    for values in model.buffers():
        dist.broadcast(values, src=0)
