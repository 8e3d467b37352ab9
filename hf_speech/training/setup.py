"""What trains a run: the Trainer with its batches, its collator and its trials, from the run's fields."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from datasets import Dataset

from ..data.batching import SpeechBatchSampler
from ..data.collator import SpeechCollator
from ..data.frozen import FrozenCollator
from ..data.heard import refuse_heard
from ..data.targets import known, labels_of
from ..errors import InputError, one_line
from ..models.batchnorm import VectorBatchNorm1d
from .arguments import target_rules
from .build import augmentation_of, backbone_config, build_model, draft_model, feature_extractor, makes_speakers
from .checkpoints import facts_of
from .config import RunConfig
from .frozen_model import key_of
from .hf_arguments import training_arguments
from .learning import Learning, learning_of
from .rows import RunRows, found, read_rows
from .stopping import EarlyStopping
from .tasks import deciding
from .trainer import SpeechTrainer
from .trials import ValidationTrials, validation_trials


def read_and_build(config: RunConfig) -> tuple[RunRows, Any, Any]:
    """The rows of a run, its model, as yet untrained, and its feature extractor.

    Raises:
        InputError: a corpus that is not there, a model that can't be built (found out before any data is read), or
            data that can't be used.
    """
    found(config.data)
    backbone = backbone_config(config)
    draft = draft_model(config, backbone)
    extractor = feature_extractor(config.model, draft.config)
    shortest = draft.encoder.min_samples / extractor.sampling_rate
    rows = read_rows(config.data, config.split, target_rules(config), min_seconds=shortest)
    if isinstance(rows.splits.get("test"), Dataset):
        refuse_heard(config.model.backbone, rows.splits["test"])
    return rows, build_model(config, rows, extractor, backbone), extractor


def make_trainer(config: RunConfig, rows: RunRows, model: Any, extractor: Any) -> SpeechTrainer:
    """The trainer of a run.

    Raises:
        InputError: fields that don't fit together, or not the data.
    """
    if rows.streams and config.training.get("max_steps", -1) < 1:
        raise InputError("streamed training rows have no end: give --max-steps")
    learning, trials, first = learning_of(config), _trials(config, rows), model.tasks[0]
    kinds = {task.name: task.problem_type for task in model.tasks}
    metric, numbers = deciding(kinds, [task.name for task in model.tasks if task.is_ordered], trials is not None)
    arguments = training_arguments(
        config,
        validates="validation" in rows.splits,
        metric=metric,
        numbers=numbers,
        uneven=learning.freezing.changes or model.config.layerdrop > 0,
    )
    if arguments.eval_strategy != "no" and trials is None:
        labels = labels_of(rows.splits["validation"], list(rows.targets))[first.name]
        if not known(labels).any():
            raise InputError(f"validation: no row has a {first.name}, which decides; give it, or other validation rows")
    callbacks = early_stopping(config, learning, arguments)
    with told_of_arguments():
        return SpeechTrainer(
            model=model,
            args=arguments,
            data_collator=_collator(config, rows, model, extractor),
            train_dataset=rows.stream(arguments.seed) if rows.streams else rows.splits["train"],
            eval_dataset=rows.splits.get("validation"),
            processing_class=extractor,
            callbacks=callbacks,
            learning=learning,
            sampler=None if rows.streams else make_sampler(config, rows, model, arguments),
            trials=trials,
            facts=facts_of(config.recipe(), rows.fingerprint(), arguments.world_size, key_of(model)),
            max_seconds=config.batches.max_seconds,
            channel=config.data.channel,
        )


@contextmanager
def told_of_arguments() -> Iterator[None]:
    """Within, a trainer is made; what its libraries say of its arguments becomes one line.

    Raises:
        InputError: in the place of the library's error.
    """
    try:
        yield
    except (ValueError, RuntimeError, ImportError) as error:  # such as a report_to that is not installed
        if isinstance(error, InputError):
            raise
        raise InputError(f"training arguments: {one_line(error)}") from error


def early_stopping(config: RunConfig, learning: Learning, arguments: Any) -> list[Any]:
    """The callbacks of a run that may end before its time.

    Args:
        config: of the run.
        learning: what its fields say.
        arguments: transformers' own.

    Raises:
        InputError: it, or its schedule, hangs on validations that there are none of.
    """
    validates = arguments.eval_strategy != "no"
    if learning.schedule.needs_validation and not validates:
        raise InputError(f"schedule {config.learning.schedule!r} needs validation rows: give --validation, such as 0.1")
    if config.learning.early_stopping_patience is None:
        return []
    if not validates:
        raise InputError("early_stopping_patience needs validation rows: give --validation, such as 0.1")
    return [EarlyStopping(config.learning.early_stopping_patience)]


def _trials(config: RunConfig, rows: RunRows) -> ValidationTrials | None:
    if config.split.trials is None:
        return None
    if "validation" not in rows.splits:
        raise InputError("trials are of validation rows: give --validation, or leave trials out")
    return validation_trials(config.split.trials, rows.splits["validation"], rows.root)


def _collator(config: RunConfig, rows: RunRows, model: Any, extractor: Any) -> SpeechCollator | FrozenCollator:
    if key_of(model) is not None:
        return FrozenCollator(extractor.sampling_rate)
    return SpeechCollator(
        extractor,
        num_speakers=len(rows.names) if rows.names and makes_speakers(config) else None,
        **collator_settings(config, extractor, model.encoder.min_samples),
    )


def collator_settings(config: RunConfig, extractor: Any, min_samples: int) -> dict[str, Any]:
    """What every collator of training rows is told.

    Args:
        config: of the run.
        extractor: its feature extractor.
        min_samples: the shortest clip that can be learnt from.
    """
    return {
        "crop_seconds": config.batches.crop_seconds,
        "channel": config.data.channel,
        "min_samples": min_samples,
        "on_bad": config.data.on_bad_audio,
        "augmentation": augmentation_of(config, extractor.sampling_rate),
        "augment_later": torch.accelerator.is_available(),  # on the model's device; on a CPU the workers are as good
        "with_origin": True,
    }


def make_sampler(config: RunConfig, rows: RunRows, model: Any, arguments: Any) -> SpeechBatchSampler:
    """Batches of the training rows, the same on every process, of which each takes its own.

    Raises:
        InputError: a row that is longer than a batch, or a column to balance that is not there.
    """
    fields = config.batches
    by_rows = {"batch_size": arguments.per_device_train_batch_size}
    try:
        return SpeechBatchSampler(
            rows.train_lengths(fields.crop_seconds, slowest=min(fields.augment.get("speeds") or [1.0])),
            **(by_rows if fields.batch_seconds is None else {"batch_seconds": fields.batch_seconds}),
            buckets=fields.buckets,
            groups=None if fields.balance is None else rows.groups(fields.balance),
            # A batch norm can't train on a batch of one.
            min_rows=2 if any(isinstance(module, VectorBatchNorm1d) for module in model.modules()) else 1,
            seed=arguments.seed,
            rank=arguments.process_index,
            num_ranks=arguments.world_size,
        )
    except InputError as error:
        raise InputError(f"train: {error}") from None
