"""When a run ends or saves: SIGTERM, as a cluster sends it to a job that has to leave; early stopping; epochs' ends."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
import torch.distributed as dist
from transformers import EarlyStoppingCallback, TrainerCallback
from transformers.trainer_utils import IntervalStrategy

from .checkpoints import checkpoints


class SaveWhenTold(TrainerCallback):
    """Hears SIGTERM while a run trains.

    At the end of an epoch, and of the run, it waits for what belongs there (a validation, the scheduler's view of it),
    so that the run which goes on from there is the run that was not stopped.

    Attributes:
        is_due: whether the run is to be saved and ended after the step, or the epoch, that has just ended.
    """

    def __init__(self) -> None:
        self.is_told = self.is_due = False
        self._before: Any = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called by the Trainer: from here on the signal is heard."""
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._hear)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called by the Trainer after an optimiser step."""
        self.is_due = self._all_told(args) and not _epoch_ends(state)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called by the Trainer after an epoch, before its validation."""
        self.is_due = self._all_told(args)

    def restore(self) -> None:
        """The signal is as it was before."""
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)
            self._before = None

    def _hear(self, number: int, frame: Any) -> None:
        self.is_told = True

    def _all_told(self, args: Any) -> bool:
        """Whether any process was told: they save together."""
        if args.world_size > 1:
            told = torch.tensor(float(self.is_told), device=args.device)
            dist.all_reduce(told, dist.ReduceOp.MAX)
            self.is_told = bool(told.item())
        return self.is_told


class SaveAfterValidation(TrainerCallback):
    """Puts a save that falls on the end of an epoch off until that epoch's validation, which it has to remember."""

    def __init__(self) -> None:
        self.is_pending = False

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called by the Trainer after an optimiser step."""
        if control.should_save and args.eval_strategy == IntervalStrategy.EPOCH and _epoch_ends(state):
            control.should_save, self.is_pending = False, True

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called by the Trainer after an epoch, before its validation."""
        control.should_save |= self.is_pending
        self.is_pending = False


class EarlyStopping(EarlyStoppingCallback):
    """transformers' early stopping, which remembers over a kill how long there was no gain."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called by the Trainer, of a run that goes on with the state of its checkpoint."""
        super().on_train_begin(args, state, control, **kwargs)
        self.early_stopping_patience_counter = stopped_short(state)


def stopped_short(state: Any) -> int:
    """For how many validations there was no gain, as a checkpoint's state has it."""
    kept = (state.stateful_callbacks or {}).get(EarlyStopping.__name__)
    return kept["attributes"]["early_stopping_patience_counter"] if isinstance(kept, dict) else 0


def ignore_signals(worker: int) -> None:
    """For the workers of a data loader: a signal to all processes of a job is for the one that saves, or is told."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    sys.excepthook = _quiet_about_connections


def _quiet_about_connections(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Reports what a worker's thread raised, but not that the process it was handing a batch to is gone.

    multiprocessing's thread that hands tensors over reports every broken connection, and one breaks whenever Ctrl-C
    comes while a batch is on its way.
    """
    if not issubclass(kind, (ConnectionError, EOFError)):
        sys.__excepthook__(kind, error, trace)


@contextmanager
def told_where(state_of: Callable[[], Any], folder: Path) -> Iterator[None]:
    """Has the exception of Ctrl-C say where a run was, and where it goes on.

    Args:
        state_of: gives the Trainer's state.
        folder: of the run.
    """
    try:
        yield
    except KeyboardInterrupt:
        found, state = checkpoints(folder), state_of()
        goes_on = f"the same command goes on from {found[-1]}" if found else "there is no checkpoint yet"
        raise KeyboardInterrupt(f"at step {state.global_step} of {state.max_steps}; {goes_on}") from None


def _epoch_ends(state: Any) -> bool:
    """Whether the step that has just ended is the last of its epoch, or of the run."""
    return state.global_step >= state.max_steps or float(state.epoch).is_integer()
