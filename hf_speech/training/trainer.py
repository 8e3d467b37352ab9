"""transformers' Trainer, with whole utterances in evaluation."""

import logging
from typing import Any

import numpy as np
import torch
from transformers import PrinterCallback, Trainer, TrainerCallback

from ..inference import MAX_SECONDS, infer
from ..metrics import classification, regression

logger = logging.getLogger(__name__)


class LogLines(TrainerCallback):
    """A line for each thing that is logged, where there is no terminal for a progress bar."""

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Called by the Trainer with what it logs."""
        if state.is_world_process_zero and logs:
            shown = (f"{name} {value:.4g}" for name, value in logs.items() if isinstance(value, int | float))
            logger.info("step %d of %d: %s", state.global_step, state.max_steps, ", ".join(shown))


class SpeechTrainer(Trainer):
    """The Trainer; only evaluation differs.

    Rows are evaluated whole (in averaged pieces above `max_seconds`) and in batches of like length, and the numbers
    of the task are logged: `eval_loss`, and UAR, WA and macro-F1, or MAE, RMSE and Pearson's r.

    Args:
        max_seconds: see `inference.infer`.
        channel: of multi-channel files.
        arguments: everything else is the Trainer's own.
    """

    control: Any  # the Trainer sets it

    def __init__(
        self, *, max_seconds: float = MAX_SECONDS, channel: int | str = "mean", **arguments: Any
    ) -> None:  # the Trainer's own arguments, all of them by name
        super().__init__(**arguments)
        if self.args.disable_tqdm:
            self.pop_callback(PrinterCallback)
            self.add_callback(LogLines)
        self.max_seconds, self.channel = max_seconds, channel

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Loss and numbers on rows with `labels`; they are logged, and returned under `<prefix>_<name>`."""
        rows = self.eval_dataset if eval_dataset is None else eval_dataset
        outcome = infer(
            self.model,
            self.processing_class,
            rows,
            max_seconds=self.max_seconds,
            channel=self.channel,
            description="validating",
        )
        numbers = point_numbers(self.model, outcome.logits, np.asarray(rows["labels"]))
        values = {f"{metric_key_prefix}_{name}": value for name, value in numbers.items()}
        self.log(values)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, values)
        return values


def point_numbers(model: Any, logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Loss and numbers of a task, without intervals: (N, C) logits and (N,) labels -> name -> value."""
    loss = model.loss(torch.from_numpy(logits), torch.from_numpy(labels))
    if model.config.problem_type == "regression":
        values = {name: float(metric(labels, logits[:, 0], None)) for name, metric in regression.METRICS.items()}
    else:
        confusion = classification.confusion_matrix(labels, logits.argmax(-1), logits.shape[1])
        values = {name: float(metric(confusion)) for name, metric in classification.METRICS.items()}
    return {"loss": float(loss), **values}
