"""The Trainer of pretraining: losses in parts, validation on masks that stay the same, an end to a collapse."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import broadcast_object_list
from datasets import Dataset
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from ..audio import SAMPLE_RATE
from ..data.collator import SpeechCollator
from ..errors import InputError
from ..models.embedding import evaluating
from ..models.frames import length_batches
from ..outcome import BATCH_SECONDS
from ..training.checkpoints import checkpoints
from ..training.trainer import SpeechTrainer
from .model import PretrainingModel

_PATIENCE = 3  # lines of the log in a row, after which a collapse is one


@dataclass(frozen=True)
class Accuracies:
    """What a model tells of N rows.

    Attributes:
        sums: the loss and its parts, summed over frames, and how many these were ("weight").
        right: what was told right, by name: (N,) how often in each row.
        asked: (N,) how often each row was asked, likewise.
        use: see `PretrainingOutput`, summed over the batches; None: there is none.
    """

    sums: dict[str, float]
    right: dict[str, NDArray]
    asked: dict[str, NDArray]
    use: Tensor | None = None

    def counted(self) -> dict[str, float]:
        """All of it in sums by name, which those of other rows can be added to."""
        right = {f"right {name}": float(counts.sum()) for name, counts in self.right.items()}
        asked = {f"asked {name}": float(counts.sum()) for name, counts in self.asked.items()}
        return {**self.sums, **right, **asked}


class PretrainingTrainer(SpeechTrainer):
    """A `SpeechTrainer` of a `PretrainingModel`.

    Beside the loss, the log has its parts, and the share of what is told right. Frames of validation rows are hidden by
    the same masks each time.

    Args:
        collator: of training rows.
        validating: of validation rows, which are as they are.
        arguments: of `SpeechTrainer`.
    """

    model: PretrainingModel

    def __init__(self, *, collator: SpeechCollator, validating: SpeechCollator, **arguments: Any) -> None:
        super().__init__(data_collator=collator, **arguments)
        self.validating = validating
        self._noted: dict[str, Tensor] = {}
        self._collapsed = 0

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """As the Trainer's; what else there is to know of the batch is noted."""
        outputs = model(**inputs)
        for name, value in _sums(outputs).items():
            self._noted[name] = self._noted.get(name, 0.0) + value
        return (outputs.loss, outputs) if return_outputs else outputs.loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """As the Trainer's; lines of training have the parts of the loss, as means over what all processes saw.

        Raises:
            InputError: what is learnt has collapsed.
        """
        if "loss" not in logs or not self._noted:
            return super().log(logs, start_time)
        noted, self._noted = self._noted, {}
        sums = self.accelerator.reduce(torch.stack(list(noted.values())), "sum").tolist()
        numbers = _means(dict(zip(noted, sums, strict=True)))
        super().log({**logs, **{name: round(numbers[name], 5) for name in self.model.names}}, start_time)
        self._look_for_collapse(numbers)

    def _look_for_collapse(self, numbers: Mapping[str, float]) -> None:
        told = self.model.collapse(numbers)
        self._collapsed = self._collapsed + 1 if told else 0
        if told is None or self._collapsed < _PATIENCE:
            return
        found = checkpoints(Path(str(self.args.output_dir)))
        last = f"the last whole checkpoint is {found[-1]}" if found else "there is no checkpoint yet"
        raise InputError(f"step {self.state.global_step}: {told}; {last}")

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """The loss and its parts on validation rows; they are logged, and returned under `<prefix>_<name>`."""
        rows = self.eval_dataset if eval_dataset is None else eval_dataset
        with self.watch.apart():
            answers = self.measure(rows, self.args.process_index, self.args.world_size)
            counted, use = answers.counted(), answers.use
            sums = torch.tensor(list(counted.values()), dtype=torch.float64, device=self.args.device)
            sums = self.accelerator.reduce(sums, "sum")
            if use is not None:
                use = self.accelerator.reduce(use, "sum")
            numbers = self.numbers(dict(zip(counted, sums.tolist(), strict=True)), use)
            # Of the last digits of a sum nobody is sure: all decide by what the first process found.
            (numbers,) = broadcast_object_list([numbers])
        values = {f"{metric_key_prefix}_{name}": value for name, value in numbers.items()}
        super().log(values)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, values)
        return values

    @torch.no_grad()
    def measure(self, rows: Dataset, rank: int = 0, ranks: int = 1) -> Accuracies:
        """What the model tells of rows; of several processes, each asks it of some of the batches.

        Args:
            rows: with `audio`, `length` and `duration`.
            rank: number of this process.
            ranks: how many there are.
        """
        crop = self.validating.crop_seconds
        longest = np.inf if crop is None else crop * SAMPLE_RATE
        batches = length_batches([min(length, longest) for length in rows["length"]], BATCH_SECONDS * SAMPLE_RATE)
        sums = dict.fromkeys(("weight", "loss", *self.model.part_names), 0.0)
        right, asked = ({name: np.zeros(len(rows), np.int64) for name in self.model.accuracy_names} for _ in range(2))
        use = self.model.no_use()
        with evaluating(self.model), self.compute_loss_context_manager():
            for batch in tqdm(batches[rank::ranks], desc="validating", disable=None, leave=False):
                inputs = self._prepare_inputs(self.validating([{**rows[i], "draw": (0, 0, i, 0)} for i in batch]))
                inputs.pop("origin", None)
                outputs = self.model(**inputs)
                for name, value in _of_loss(outputs).items():
                    sums[name] += float(value)
                if use is not None:
                    use += outputs.use
                for name, correct in outputs.correct.items():
                    places = np.asarray(batch)[correct.rows.cpu().numpy()]
                    np.add.at(asked[name], places, 1)
                    np.add.at(right[name], places, correct.right.cpu().numpy())
        return Accuracies(sums, right, asked, use)

    def numbers(self, sums: Mapping[str, float], use: Tensor | None) -> dict[str, float]:
        """The loss, its parts and the accuracies of what was measured.

        Args:
            sums: see `Accuracies.counted`, of all rows.
            use: likewise; see `Accuracies`.
        """
        means = _means(sums)
        return means if use is None else self.model.over_batches(means, use)


def _sums(outputs: Any) -> dict[str, Tensor]:
    """The numbers of a batch in sums, as `Accuracies.counted` has them."""
    right = {f"right {name}": correct.right.sum().float() for name, correct in outputs.correct.items()}
    asked = {
        f"asked {name}": torch.as_tensor(float(len(correct.rows)), device=outputs.loss.device)
        for name, correct in outputs.correct.items()
    }
    return {**_of_loss(outputs), **right, **asked}


def _of_loss(outputs: Any) -> dict[str, Tensor]:
    """The loss and its parts, summed over frames, and how many these are."""
    weight = torch.as_tensor(float(outputs.weight), device=outputs.loss.device)
    parts = {"loss": outputs.loss, **outputs.parts}
    return {"weight": weight, **{name: value.detach().float() * weight for name, value in parts.items()}}


def _means(sums: Mapping[str, float]) -> dict[str, float]:
    """The loss and its parts as means, and what was told right as shares."""
    weight = max(sums["weight"], 1.0)
    asked = {name.removeprefix("asked "): count for name, count in sums.items() if name.startswith("asked ")}
    means = {name: value / weight for name, value in sums.items() if name != "weight" and " " not in name}
    return {**means, **{name: sums[f"right {name}"] / max(count, 1.0) for name, count in asked.items()}}
