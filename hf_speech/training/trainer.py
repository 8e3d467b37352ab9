"""transformers' Trainer, with whole utterances in evaluation, and runs that can be stopped anywhere."""

import logging
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast_object_list
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import PrinterCallback, ProgressCallback, Trainer, TrainerCallback, TrainerState
from transformers.trainer import TRAINER_STATE_NAME, TRAINING_ARGS_NAME
from transformers.trainer_utils import rotate_checkpoints

from ..data.batching import KeyedRows, SpeechBatchSampler
from ..data.collator import augmented
from ..data.targets import known, labels_of
from ..errors import InputError, StoppedError, list_some
from ..inference import infer, own_model, tasks_of
from ..memory import kept_memory
from ..models.embedding import evaluating
from ..outcome import MAX_SECONDS, Inference
from .checkpoints import checkpoints, publish, staging_folder, step_of_last, told_of_full_disk
from .freezing import FreezingSteps, parameter_groups
from .learning import Learning
from .log_lines import Bar, LogLines
from .ranks import gathered, share_of, share_statistics, shares
from .schedules import make_scheduler
from .stopping import EarlyStopping, SaveAfterValidation, SaveWhenTold, ignore_signals, stopped_short
from .tasks import metric_name, point_numbers
from .trials import ValidationTrials
from .watch import Watch, WriteMetrics

logger = logging.getLogger(__name__)

_NAMED = 8  # files that a message names
_NOMINAL = {"train_samples_per_second", "train_steps_per_second", "total_flos"}


class LastLine(TrainerCallback):
    """The last step is logged, too: a run of fewer steps than `logging_steps` has a curve."""

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called by the Trainer after an optimiser step."""
        control.should_log |= state.global_step >= state.max_steps


class OptimizerSteps(TrainerCallback):
    """Tells the model how many steps the optimiser has made, for losses that change with them.

    It is set, not counted, so a resumed run goes on with the right number.
    """

    def on_step_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Called by the Trainer before a step."""
        own_model(model).optimizer_step, own_model(model).run_steps = state.global_step, state.max_steps


class EpochOfBatches(TrainerCallback):
    """Tells the sampler which epoch begins: on several processes, and after a resume, the Trainer does not reach it."""

    def __init__(self, sampler: SpeechBatchSampler) -> None:
        self.sampler = sampler

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called by the Trainer before an epoch, or before the rest of one."""
        self.sampler.set_epoch(int(state.epoch or 0))


class SpeechTrainer(Trainer):
    """The Trainer, for speech: whole utterances in evaluation, and a run that can be stopped anywhere and goes on.

    Rows are evaluated whole (in averaged pieces above `max_seconds`) and in batches of like length, and the numbers
    of each task are logged: `eval_loss`, and those of `tasks.metrics_of`, as `eval_<task>/<name>` where there are
    several tasks. Checkpoints are there whole or not at all (`checkpoints`).

    Args:
        learning: schedule, freezing and rates; None: transformers' own schedule, and nothing is frozen.
        sampler: of the training batches; None: the Trainer's own.
        facts: what checkpoints say of the run, see `checkpoints.facts_of`.
        trials: among the validation rows; their EER and minDCF are logged too.
        max_seconds: see `inference.infer`.
        channel: of multi-channel files.
        arguments: everything else is the Trainer's own.

    Attributes:
        trained_parameters: how many numbers are trained, of those that the model has.
    """

    control: Any  # the Trainer sets them
    optimizer: Any
    lr_scheduler: Any

    def __init__(
        self,
        *,
        learning: Learning | None = None,
        sampler: SpeechBatchSampler | None = None,
        facts: Mapping[str, Any] | None = None,
        trials: ValidationTrials | None = None,
        max_seconds: float = MAX_SECONDS,
        channel: int | str = "mean",
        **arguments: Any,
    ) -> None:  # the Trainer's own arguments, all of them by name
        super().__init__(**arguments)
        self.learning, self.sampler, self.facts = learning, sampler, facts or {}
        self.trials, self.max_seconds, self.channel = trials, max_seconds, channel
        self._staged: Path | None = None  # where a checkpoint is being written
        self._is_extra = False  # whether that is one which only a signal has asked for
        self._files: tuple[str, ...] = ()  # that the step which is being made is about
        self.watch = Watch(self.processing_class.sampling_rate, self.args.world_size)
        self.add_callback(OptimizerSteps)
        self.add_callback(LastLine)
        self.add_callback(SaveAfterValidation)
        self.stopper = SaveWhenTold()
        self.add_callback(self.stopper)
        self.add_callback(WriteMetrics(Path(self.args.output_dir)))
        if learning is not None:
            learning.freezing.thaw(own_model(self.model))
            self.add_callback(FreezingSteps(learning.freezing))
        if sampler is not None:
            self.add_callback(EpochOfBatches(sampler))
        self.trained_parameters = sum(p.numel() for p in self.model.parameters() if p.requires_grad)
        if self.args.disable_tqdm:
            self.pop_callback(PrinterCallback)
            self.add_callback(LogLines)
        elif self.pop_callback(ProgressCallback) is not None:  # a notebook has a table of its own
            self.add_callback(Bar)

    def get_train_dataloader(self) -> DataLoader:
        """The batches of the sampler, on every process its own."""
        if self.sampler is None:
            stream = super().get_train_dataloader()
            stream.worker_init_fn = ignore_signals
            return stream
        workers = self.args.dataloader_num_workers
        loader = DataLoader(
            KeyedRows(self.train_dataset, self.args.seed),
            batch_sampler=self.sampler,
            collate_fn=self.data_collator,
            num_workers=workers,
            worker_init_fn=ignore_signals,
            pin_memory=self.args.dataloader_pin_memory,
            prefetch_factor=self.args.dataloader_prefetch_factor if workers else None,
        )
        loader = self.accelerator.prepare(loader)
        wrapper = loader.batch_sampler
        if wrapper is not self.sampler:  # accelerate deals a sampler's batches out, and these are dealt out already
            wrapper.num_processes, wrapper.process_index = 1, 0
        return loader

    def create_optimizer(self, model: Any = None) -> Any:
        """As the Trainer's; with `layer_decay`, each layer has a learning rate of its own."""
        if self.optimizer is None and self.learning is not None and self.learning.layer_decay != 1:
            groups = parameter_groups(
                self.model,
                self.args.learning_rate,
                self.args.weight_decay,
                self.get_decay_parameter_names(self.model),
                self.learning.layer_decay,
            )
            kind, settings = self.get_optimizer_cls_and_kwargs(self.args, self.model)
            self.optimizer = kind(groups, **settings)
        return super().create_optimizer(model)

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """The schedule of the run.

        Raises:
            InputError: it does not fit into so many steps.
        """
        if self.lr_scheduler is None and self.learning is not None:
            self.learning.check(num_training_steps, self.args.learning_rate)
            self.lr_scheduler = make_scheduler(
                optimizer or self.optimizer,
                self.learning.schedule,
                num_training_steps,
                self.args.learning_rate,
                greater_is_better=None if self.args.eval_strategy == "no" else self.args.greater_is_better,
            )
            self._created_lr_scheduler = True
        return super().create_scheduler(num_training_steps, optimizer)

    def train(self, *arguments: Any, **settings: Any) -> Any:
        """As the Trainer's.

        Raises:
            StoppedError: SIGTERM came; a checkpoint was saved.
        """
        self.watch.begin()
        try:
            with warnings.catch_warnings(), kept_memory(self.args.device):
                # Once an epoch, where there are more workers than cores: they read files, and wait for them.
                warnings.filterwarnings("ignore", message="This DataLoader will create")
                return super().train(*arguments, **settings)
        finally:
            self.stopper.restore()

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: Any) -> Any:
        """As the Trainer's, and the time that it takes is noted."""
        with self.watch.waiting():
            return super().get_batch_samples(epoch_iterator, num_batches, device)

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """As the Trainer's, on augmented audio.

        Raises:
            InputError: the loss is NaN or infinite.
        """
        origin = inputs.pop("origin", None)
        if origin is not None:
            self.watch.count(origin)
        if "augmentation" in inputs:
            inputs = augmented(self._prepare_inputs(inputs))
        loss = super().training_step(model, inputs, num_items_in_batch)
        self._files = (*self._files, *origin.files)[-_NAMED:] if origin is not None else ()
        if not torch.isfinite(loss).all():
            self._refuse(f"the loss is {loss.item():g}")
        return loss

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm)
        # With half precision (fp16) gradients overflow now and then: its scaler leaves such a step out.
        if getattr(self.accelerator, "scaler", None) is None and not torch.isfinite(torch.as_tensor(norm)).all():
            self._refuse(f"the norm of the gradient is {float(norm):g}")
        self._files = ()
        return norm

    def _refuse(self, what: str) -> None:
        found = checkpoints(Path(self.args.output_dir))
        last = f"the last whole checkpoint is {found[-1]}" if found else "there is no checkpoint yet"
        files = f" on {list_some(self._files)}" if self._files else ""
        raise InputError(
            f"training diverged: {what} at step {self.state.global_step + 1}{files}; {last}; "
            "give a smaller learning_rate or a longer warm-up (schedule_config), or look at these files"
        )

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Loss and numbers on rows with `labels`; they are logged, and returned under `<prefix>_<name>`."""
        rows = self.eval_dataset if eval_dataset is None else eval_dataset
        model = own_model(self.model)
        with self.watch.apart():
            outcome = self._infer(rows)
            with evaluating(model):  # the loss as it will be in the end, whatever the step
                numbers = validation_numbers(model, outcome, rows)
            if self.trials is not None and outcome.embeddings is not None:
                numbers |= self.trials.numbers(outcome.embeddings)
            # Of the last digits of a sum nobody is sure: all decide by what the first process found.
            (numbers,) = broadcast_object_list([numbers])
        values = {f"{metric_key_prefix}_{name}": value for name, value in numbers.items()}
        self.log(values)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, values)
        return values

    def _infer(self, rows: Any) -> Inference:
        """What the model says of rows; of several processes each runs a share of them."""
        mine: Any = rows
        shared = self.args.world_size > 1 and shares(self.model_wrapped)
        if shared:
            share_statistics(self.model)
            places = share_of(rows["length"], self.args.process_index, self.args.world_size)
            mine = rows.select(places)
        outcome = None
        if len(mine):
            outcome = infer(
                self.model,
                self.processing_class,
                mine,
                max_seconds=self.max_seconds,
                channel=self.channel,
                description="validating",
            )
        return gathered(outcome, places, len(rows)) if shared else outcome  # type: ignore[return-value]

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """As the Trainer's; the lines of training say how it goes, too."""
        if self.sampler is not None:  # the Trainer counts batches of a size that a sampler does not keep to
            logs = {name: value for name, value in logs.items() if name not in _NOMINAL}
        super().log({**logs, **self.watch.numbers()} if "grad_norm" in logs or "loss" in logs else logs, start_time)

    def _get_output_dir(self, trial: Any) -> str:
        return str(self._staged or super()._get_output_dir(trial))

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """As the Trainer's, but whole or not at all, and without its pickled arguments."""
        folder, step = Path(self.args.output_dir), self.state.global_step
        self._require_finite()
        best, staged = self.state.best_model_checkpoint, staging_folder(folder, step)
        written, checkpoint = staged / f"checkpoint-{step}", folder / f"checkpoint-{step}"
        if self.args.should_save:
            shutil.rmtree(staged, ignore_errors=True)
        self.accelerator.wait_for_everyone()
        self._staged = staged
        try:
            with self.watch.apart(), told_of_full_disk(folder, f"the checkpoint of step {step}"):
                super()._save_checkpoint(model, trial)
                if self.state.best_global_step == step:
                    # A run that was not told to stop would have saved nothing here, and could not go back to it.
                    self.state.best_model_checkpoint = best if self._is_extra else str(checkpoint)
                self.accelerator.wait_for_everyone()
                if self.args.should_save:
                    (written / TRAINING_ARGS_NAME).unlink(missing_ok=True)
                    self.state.save_to_json(str(written / TRAINER_STATE_NAME))
                    publish(written, checkpoint, self.facts)
        finally:
            self._staged = None
            if self.args.should_save:
                shutil.rmtree(staged, ignore_errors=True)
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            rotate_checkpoints(
                str(folder), self.args.save_total_limit, self.state.best_model_checkpoint, use_mtime=True
            )

    def _require_finite(self) -> None:
        for name, weights in self.model.named_parameters():
            if not weights.isfinite().all():
                self._refuse(f"{name} has become NaN or infinite")

    def _maybe_log_save_evaluate(self, *arguments: Any, **settings: Any) -> None:
        super()._maybe_log_save_evaluate(*arguments, **settings)
        if not self.stopper.is_due:
            return
        step = self.state.global_step
        if step_of_last(Path(self.args.output_dir)) != step:
            self._is_extra = True
            self._save_checkpoint(self.model, None)
        raise StoppedError(f"stopped by SIGTERM at step {step} of {self.state.max_steps}, which is saved")

    def _init_training_state(
        self, max_steps: int, steps_an_epoch: int, epochs: int, checkpoint: str | None, trial: Any
    ) -> tuple[int, int]:
        """As the Trainer's, in the folder that the run has now; a run that has made all its steps makes no more."""
        begun = super()._init_training_state(max_steps, steps_an_epoch, epochs, checkpoint, trial)
        if checkpoint is None:
            return begun
        self.state.compute_steps(self.args, max_steps)  # how often is logged may change
        kept = TrainerState.load_from_json(str(Path(checkpoint) / TRAINER_STATE_NAME))
        if kept.best_model_checkpoint is not None:
            best = Path(self.args.output_dir) / Path(kept.best_model_checkpoint).name
            self.state.best_model_checkpoint = str(best) if best.is_dir() else None
            if not best.is_dir():
                logger.warning("%s, the best so far, is gone: the last one will be kept in its place", best)
        patience = [callback.early_stopping_patience for callback in self.callback_handler.callbacks
                    if isinstance(callback, EarlyStopping)]  # fmt: skip
        if self.state.global_step >= max_steps or any(stopped_short(self.state) >= count for count in patience):
            return epochs, 0
        return begun


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
