"""SIGTERM, as a cluster sends it to a job that has to leave: the run saves first, and can go on later."""

import logging
import signal
import threading
from typing import Any

import torch
import torch.distributed as dist
from transformers import TrainerCallback

from ..errors import StoppedError

logger = logging.getLogger(__name__)


class SaveWhenTold(TrainerCallback):
    """Saves a checkpoint after the step in which SIGTERM came, and ends the run by `StoppedError`.

    At the end of an epoch it waits for what belongs there (a validation, the scheduler's view of it), so that the run
    which goes on from there is the run that was not stopped.
    """

    def __init__(self) -> None:
        self.is_told = self.is_saving = False
        self._before: Any = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called by the Trainer: from here on the signal is heard."""
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._hear)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called by the Trainer after an optimiser step."""
        if self._all_told(args) and not float(state.epoch).is_integer():
            self.is_saving = control.should_save = True

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called by the Trainer after an epoch, before its validation."""
        if self._all_told(args):
            self.is_saving = control.should_save = True

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called by the Trainer after a checkpoint was written."""
        if self.is_saving:
            self._restore()
            raise StoppedError(f"stopped by SIGTERM at step {state.global_step} of {state.max_steps}, which is saved")

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called by the Trainer: the signal is as it was."""
        self._restore()

    def _hear(self, number: int, frame: Any) -> None:
        self.is_told = True

    def _restore(self) -> None:
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)
            self._before = None

    def _all_told(self, args: Any) -> bool:
        """Whether any process was told: they save together."""
        if args.world_size > 1:
            told = torch.tensor(float(self.is_told), device=args.device)
            dist.all_reduce(told, dist.ReduceOp.MAX)
            self.is_told = bool(told.item())
        return self.is_told
