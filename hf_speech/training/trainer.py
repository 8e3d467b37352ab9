"""transformers' Trainer, with whole utterances in evaluation."""

import logging
from typing import Any

import torch
from transformers import PrinterCallback, Trainer, TrainerCallback

from ..data.targets import known, labels_of
from ..inference import MAX_SECONDS, Inference, infer, own_model, tasks_of
from ..models.embedding import evaluating
from .tasks import metric_name, point_numbers

logger = logging.getLogger(__name__)


class LogLines(TrainerCallback):
    """A line for each thing that is logged, where there is no terminal for a progress bar."""

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Called by the Trainer with what it logs."""
        if state.is_world_process_zero and logs:
            shown = (f"{name} {value:.4g}" for name, value in logs.items() if isinstance(value, int | float))
            logger.info("step %d of %d: %s", state.global_step, state.max_steps, ", ".join(shown))


class OptimizerSteps(TrainerCallback):
    """Tells the model how many steps the optimiser has made, for losses that change with them.

    It is set, not counted, so a resumed run goes on with the right number.
    """

    def on_step_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Called by the Trainer before a step."""
        own_model(model).optimizer_step = state.global_step


class SpeechTrainer(Trainer):
    """The Trainer; only evaluation differs.

    Rows are evaluated whole (in averaged pieces above `max_seconds`) and in batches of like length, and the numbers
    of each task are logged: `eval_loss`, and those of `tasks.metrics_of`, as `eval_<task>/<name>` where there are
    several tasks.

    Args:
        max_seconds: see `inference.infer`.
        channel: of multi-channel files.
        arguments: everything else is the Trainer's own.

    Attributes:
        trained_parameters: how many numbers are trained, of those that the model has.
    """

    control: Any  # the Trainer sets it

    def __init__(
        self, *, max_seconds: float = MAX_SECONDS, channel: int | str = "mean", **arguments: Any
    ) -> None:  # the Trainer's own arguments, all of them by name
        super().__init__(**arguments)
        self.trained_parameters = sum(p.numel() for p in self.model.parameters() if p.requires_grad)
        self.add_callback(OptimizerSteps)
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
        model = own_model(self.model)
        with evaluating(model):  # the loss as it will be in the end, whatever the step
            numbers = validation_numbers(model, outcome, rows)
        values = {f"{metric_key_prefix}_{name}": value for name, value in numbers.items()}
        self.log(values)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, values)
        return values


def validation_numbers(model: Any, outcome: Inference, rows: Any) -> dict[str, float]:
    """Loss and numbers of every task, without intervals: name -> value, `<task>/<name>` where there are several.

    Args:
        model: the model.
        outcome: what it says of the rows.
        rows: with `labels`.
    """
    tasks = model.tasks
    labels = labels_of(rows, [task.name for task in tasks])
    tensors = {name: torch.from_numpy(values) for name, values in labels.items()}
    values = {"loss": float(model.loss([torch.from_numpy(scores) for scores in outcome.scores or ()], tensors))}
    for task in tasks_of(model):
        there = known(labels[task.name])
        if there.any():
            found = point_numbers(task, labels[task.name][there], outcome.task_logits[task.name][there])
            values |= {metric_name(tasks, task, name): value for name, value in found.items()}
    return values
