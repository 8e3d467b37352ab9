"""How a run goes: seconds of audio a second, the share of time that it waits for data, padding, memory; metrics.csv."""

import csv
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from ..data.collator import BatchOrigin
from ..files import write_table

METRICS = "metrics.csv"
_FIRST = ("step", "epoch", "loss", "learning_rate", "grad_norm")


class Watch:
    """Counts what goes through a training loop between two lines of its log.

    Args:
        sample_rate: of the waveforms, in Hz.
        processes: that train together, each with batches of about this size.
    """

    def __init__(self, sample_rate: int, processes: int = 1) -> None:
        self.sample_rate, self.processes = sample_rate, processes
        self.begin()

    def begin(self) -> None:
        """Nothing has been counted yet."""
        self.since, self.waited, self.real, self.padded = time.monotonic(), 0.0, 0, 0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Around what fetches a batch."""
        begun = time.monotonic()
        try:
            yield
        finally:
            self.waited += time.monotonic() - begun

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Around what is not training, such as a validation: its time does not count."""
        begun = time.monotonic()
        try:
            yield
        finally:
            self.since += time.monotonic() - begun

    def count(self, origin: BatchOrigin) -> None:
        """A batch that is trained on."""
        self.real += origin.real_samples
        self.padded += origin.padded_samples

    def numbers(self) -> dict[str, float]:
        """What was counted since the last call.

        audio_seconds_per_second: of real audio, over all processes; data_wait: share of the time; padding: share of
        what the model was given; memory_gb: the most that was in use, of the accelerator where there is one, else of
        this process.
        """
        seconds = max(time.monotonic() - self.since, 1e-9)
        counted = {
            "audio_seconds_per_second": self.real * self.processes / self.sample_rate / seconds,
            "data_wait": min(self.waited / seconds, 1.0),
            "padding": 1 - self.real / self.padded if self.padded else 0.0,
            "memory_gb": _memory() / 1e9,
        }
        self.begin()
        return {name: round(value, 4) for name, value in counted.items()}


class WriteMetrics(TrainerCallback):
    """Keeps metrics.csv in the run's folder: a line for each optimiser step that was logged, and one a validation."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / METRICS
        self.columns: list[str] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called by the Trainer, of a run that goes on with the log of its checkpoint."""
        self.columns = []

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called by the Trainer with what it logs: a line is added, or a new column makes the table anew."""
        if not state.is_world_process_zero or not _is_line(state.log_history[-1]):
            return
        entry = state.log_history[-1]
        if entry.keys() <= set(self.columns):
            with self.path.open("a", newline="", encoding="utf-8") as file:
                csv.writer(file, lineterminator="\n").writerow([entry.get(name, "") for name in self.columns])
        else:
            self.columns = write_metrics(state.log_history, self.path)


def write_metrics(history: Sequence[dict[str, Any]], path: Path) -> list[str]:
    """The Trainer's log as a table: its first columns are step, epoch, loss, learning rate, norm of the gradient.

    Returns:
        The columns.
    """
    rows = [entry for entry in history if _is_line(entry)]
    names = {name: None for entry in rows for name in entry}
    columns = [*(name for name in _FIRST if name in names), *(name for name in names if name not in _FIRST)]
    if rows:
        write_table([{name: entry.get(name, "") for name in columns} for entry in rows], path)
    return columns


def _is_line(entry: dict[str, Any]) -> bool:
    """Whether it is not the summary at the end."""
    return "train_runtime" not in entry


def _memory() -> float:
    """Bytes."""
    if torch.cuda.is_available():
        return float(torch.cuda.max_memory_allocated())
    # Linux counts in kilobytes, macOS in bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1.0 if sys.platform == "darwin" else 1024.0)
