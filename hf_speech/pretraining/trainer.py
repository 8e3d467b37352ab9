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
from ..errors import InputError
from ..models.embedding import evaluating
from ..models.frames import length_batches
from ..outcome import BATCH_SECONDS
from ..training.checkpoints import checkpoints
from ..training.trainer import SpeechTrainer
from .collator import MaskedCollator
from .model import PretrainingModel

_PATIENCE = 3  # lines of the log in a row, after which a collapse is one


@dataclass(frozen=True)
class Told:
    """What a model tells of the hidden frames of N rows.

    Attributes:
        numbers: see `PretrainingOutput.numbers`, means over all hidden frames.
        right: name -> (N,) how many hidden frames of each row were told right.
        hidden: (N,) hidden frames of each row.
    """

    numbers: dict[str, float]
    right: dict[str, NDArray]
    hidden: NDArray


class PretrainingTrainer(SpeechTrainer):
    """A `SpeechTrainer` of a `PretrainingModel`.

    Beside the loss, the log has its parts, and the share of hidden frames that are told right. Validation rows are
    hidden by the same masks each time.

    Args:
        collator: of rows.
        arguments: of `SpeechTrainer`.
    """

    model: PretrainingModel

    def __init__(self, *, collator: MaskedCollator, **arguments: Any) -> None:
        super().__init__(data_collator=collator, **arguments)
        self.collator = collator
        self._sums: dict[str, Tensor] = {}
        self._collapsed = 0

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """As the Trainer's; what else there is to know of the batch is noted."""
        outputs = model(**inputs)
        for name, value in _weighed(outputs).items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        return (outputs.loss, outputs) if return_outputs else outputs.loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """As the Trainer's; lines of training have the parts of the loss, as means over hidden frames of all processes.

        Raises:
            InputError: what is learnt has collapsed.
        """
        if "loss" not in logs or not self._sums:
            return super().log(logs, start_time)
        names = list(self._sums)
        sums = self.accelerator.reduce(torch.stack([self._sums[name] for name in names]), "sum").tolist()
        self._sums = {}
        numbers = _means(dict(zip(names, sums, strict=True)))
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
            told = self.tell(rows, self.args.process_index, self.args.world_size)
            names = list(told.numbers)
            weighed = torch.tensor([told.numbers[name] * told.hidden.sum() for name in names] + [told.hidden.sum()])
            *sums, frames = self.accelerator.reduce(weighed.double().to(self.args.device), "sum").tolist()
            numbers = {name: value / frames for name, value in zip(names, sums, strict=True)}
            # Of the last digits of a sum nobody is sure: all decide by what the first process found.
            (numbers,) = broadcast_object_list([numbers])
        values = {f"{metric_key_prefix}_{name}": value for name, value in numbers.items()}
        super().log(values)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, values)
        return values

    @torch.no_grad()
    def tell(self, rows: Dataset, rank: int = 0, ranks: int = 1) -> Told:
        """What the model tells of rows; of several processes, each asks it of some of the batches.

        Args:
            rows: with `audio`, `length` and `duration`.
            rank: number of this process.
            ranks: how many there are.
        """
        crop = self.collator.crop_seconds
        longest = np.inf if crop is None else crop * SAMPLE_RATE
        batches = length_batches([min(length, longest) for length in rows["length"]], BATCH_SECONDS * SAMPLE_RATE)
        sums: dict[str, Tensor] = dict.fromkeys(("loss", *self.model.names), torch.zeros((), device=self.args.device))
        right = {name: np.zeros(len(rows), dtype=np.int64) for name in self.model.told_names}
        hidden = np.zeros(len(rows), dtype=np.int64)
        with evaluating(self.model), self.compute_loss_context_manager():
            for batch in tqdm(batches[rank::ranks], desc="validating", disable=None, leave=False):
                inputs = self._prepare_inputs(self.collator([{**rows[i], "draw": (0, 0, i, 0)} for i in batch]))
                inputs.pop("origin", None)
                outputs = self.model(**inputs)
                places = np.asarray(batch)[inputs["hidden"].nonzero()[:, 0].cpu().numpy()]
                np.add.at(hidden, places, 1)
                for name, of_frames in outputs.told.items():
                    np.add.at(right[name], places, of_frames.cpu().numpy())
                sums = {name: sums.get(name, 0.0) + value for name, value in _weighed(outputs).items()}
        return Told(_means({name: float(value) for name, value in sums.items()}), right, hidden)


def _weighed(outputs: Any) -> dict[str, Tensor]:
    """The numbers of an output, each times its hidden frames, and these themselves."""
    frames = torch.as_tensor(float(outputs.frames), device=outputs.loss.device)
    return {**{name: value.float() * frames for name, value in outputs.numbers().items()}, "frames": frames}


def _means(sums: Mapping[str, float]) -> dict[str, float]:
    frames = max(sums.get("frames", 0.0), 1.0)
    return {name: value / frames for name, value in sums.items() if name != "frames"}
