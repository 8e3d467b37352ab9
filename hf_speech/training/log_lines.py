"""What a run says while it trains, in words: below its bar on a terminal, else line by line."""

import logging
from collections.abc import Mapping
from typing import Any

from transformers import ProgressCallback, TrainerCallback

logger = logging.getLogger(__name__)

# What is logged -> how it is said; the costs come last.
_SAID = {
    "grad_norm": "gradient norm {:.4g}",
    "learning_rate": "learning rate {:.4g}",
    "train_loss": "mean loss {:.4g}",
    "train_runtime": "{:.4g} s in all",
}
_COSTS = {
    "audio_seconds_per_second": "{:.4g} s of audio a second",
    "data_wait": "{:.1%} of the time waiting for data",
    "padding": "{:.1%} padding",
    "memory_gb": "{:.3g} GB of memory",
}


def in_words(logs: Mapping[str, Any], step: int, steps: int) -> str:
    """A line of the log.

    Args:
        logs: what the Trainer logs: numbers by name.
        step: that was made last.
        steps: of the whole run.

    >>> in_words({"eval_loss": 2.0471, "eval_uar": 0.4375, "epoch": 5.0}, 20, 160)
    'step 20 of 160, epoch 5, validation: loss 2.047, uar 0.4375'
    >>> in_words({"loss": 1.9, "grad_norm": 2.5, "data_wait": 0.061, "padding": 0.014, "epoch": 0.5}, 2, 160)
    'step 2 of 160, epoch 0.5: loss 1.9, gradient norm 2.5; 6.1 % of the time waiting for data, 1.4 % padding'
    """
    numbers = {name: value for name, value in logs.items() if isinstance(value, int | float) and name != "epoch"}
    costs = ", ".join(words.format(numbers.pop(name)) for name, words in _COSTS.items() if name in numbers)
    costs = costs.replace("%", " %")
    said = ", ".join(_said(name, value) for name, value in numbers.items())
    where = f"step {step} of {steps}" + (f", epoch {logs['epoch']:.4g}" if "epoch" in logs else "")
    validated = ", validation" if any(name.startswith("eval_") for name in numbers) else ""
    return f"{where}{validated}: {'; '.join(part for part in (said, costs) if part)}"


def _said(name: str, value: float) -> str:
    return _SAID[name].format(value) if name in _SAID else f"{name.removeprefix('eval_')} {value:.4g}"


class LogLines(TrainerCallback):
    """A line for each thing that is logged, where there is no terminal for a progress bar."""

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Called by the Trainer with what it logs."""
        if state.is_world_process_zero and logs:
            logger.info("%s", in_words(logs, state.global_step, state.max_steps))


class Bar(ProgressCallback):
    """transformers' progress bar, with such lines in place of tables of Python."""

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Called by the Trainer with what it logs."""
        if state.is_world_process_zero and self.training_bar is not None and logs:
            self.training_bar.write(in_words(logs, state.global_step, state.max_steps))
