"""Processes that work together, as torchrun and `accelerate launch` start them: ranks 0, 1, ... of one group."""

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from .errors import BrokenRunError, InputError, one_line

_TURN = 10.0  # seconds in which the first process of a machine refuses what all of them refuse
# One may wait long for the others, who have longer files or a slower disk; one that ends is noticed at once.
PATIENCE = timedelta(days=2)
# What gloo and NCCL say of a process that is gone.
_LOST = ("onnection reset by peer", "onnection closed by peer", "Broken pipe", "remote process exited", "NCCL")


@contextmanager
def first_speaks(*, known_to_all: bool = False) -> Iterator[None]:
    """Leaves it to the first process of a machine to say what all of them refuse before they work together.

    torchrun ends all when one has ended, so the others must not end first. Where they are not ended they speak too:
    what they refuse may be theirs alone.

    Args:
        known_to_all: what is refused within is refused by all, though they are working together already.
    """
    try:
        yield
    except InputError:
        place = os.environ.get("LOCAL_RANK", os.environ.get("RANK", "0"))
        if place != "0" and (known_to_all or not _together()):
            time.sleep(_TURN)
        raise


@contextmanager
def told_of_lost_ranks(left: Callable[[], str]) -> Iterator[None]:
    """Turns the errors by which a process learns that another one is gone into one line.

    Args:
        left: says what there is to go on with.

    Raises:
        BrokenRunError: in their place.
    """
    try:
        yield
    except RuntimeError as error:
        if not (_together() and any(words in str(error) for words in _LOST)):
            raise
        raise BrokenRunError(
            f"another process of this run has ended ({_first_sentence(error)}): what it said itself, and torchrun, "
            f"tell why; {left()}"
        ) from error


def join_ranks() -> tuple[int, int]:
    """Meets the other processes, if there are any and that has not been done -> rank, and how many there are.

    `leave_process_group` has to follow before the process ends.
    """
    if not _together():
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return 0, 1
        # What is exchanged lies in the CPU's memory, whatever computes it.
        dist.init_process_group("gloo", timeout=PATIENCE)
    return dist.get_rank(), dist.get_world_size()


def leave_process_group() -> None:
    """Ends the connections to the other processes of a distributed run, if there are any.

    Left to the end of the process, gloo's threads may still run when they are destroyed, which aborts it.
    """
    if _together():
        dist.destroy_process_group()


def wait_for_all() -> None:
    """Comes back when every rank has called it."""
    if _together():
        dist.barrier()


def from_all(found: Any) -> list[Any]:
    """What each rank has found, by rank, on every one of them."""
    if not _together():
        return [found]
    everything = [None] * dist.get_world_size()
    dist.all_gather_object(everything, found)
    return everything


def summed(values: Tensor) -> Tensor:
    """The sum over all ranks, on every one of them: whole numbers on the CPU, any shape."""
    if not _together():
        return values
    # NCCL, which training on an accelerator uses, takes nothing from the CPU.
    total = values if "gloo" in dist.get_backend_config() else values.to(local_device())
    dist.all_reduce(total)
    return total.cpu()


def local_device() -> torch.device:
    """The accelerator of this process, each rank of a machine has its own; the CPU where there is none."""
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    refused = os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true")  # accelerate launch --cpu
    if accelerator is None or refused:
        return torch.device("cpu")
    return torch.device(accelerator.type, int(os.environ.get("LOCAL_RANK", "0")))


def _together() -> bool:
    return dist.is_available() and dist.is_initialized()


def _first_sentence(error: Exception) -> str:
    """Without the advice that follows it, and the place in gloo's source before it.

    >>> _first_sentence(RuntimeError("[a/pair.cc:547] Connection closed by peer [127.0.0.1]:15. This may mean more."))
    'Connection closed by peer [127.0.0.1]:15'
    """
    return re.sub(r"^\[\S+:\d+\] ", "", one_line(error)).partition(". ")[0].rstrip(".")
