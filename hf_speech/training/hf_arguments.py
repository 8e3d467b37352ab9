"""Transformers' own training arguments: which a run may set, what ours are by default, what follows from the data."""

import dataclasses
import functools
import json
import os
import sys
import typing
from collections.abc import Collection, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..errors import InputError, one_line, unknown_name
from .config import RunConfig
from .publishing import FIELDS as OF_PUBLISHING

# Where ours differ from transformers' own defaults.
TRAINING_DEFAULTS: dict[str, Any] = {
    "per_device_train_batch_size": 16,
    "num_train_epochs": 10,
    "learning_rate": 1e-4,
    "logging_steps": 10,
    "save_strategy": "epoch",
    "save_total_limit": 2,
    "remove_unused_columns": False,
    "logging_nan_inf_filter": False,  # a loss that is NaN ends the run
}
# Fields of TrainingArguments that the run decides, or that would go round the model's own loss.
OF_THE_RUN = {"output_dir", "do_train", "do_eval", "do_predict", "remove_unused_columns", "length_column_name"}
OF_THE_RUN |= {"label_smoothing_factor", "label_names", "prediction_loss_only", "logging_nan_inf_filter"}
OF_THE_RUN |= {"save_only_model", "accelerator_config", "auto_find_batch_size", "per_device_eval_batch_size"}
OF_THE_RUN |= {"dataloader_persistent_workers", "restore_callback_states_from_checkpoint"}
OF_THE_RUN |= {"dataloader_drop_last", "ignore_data_skip", "data_seed"}
OF_THE_RUN |= {"hub_token"}  # train.yaml and the card show all fields: a token belongs in the environment
# Fields in whose place a run has its own.
REPLACED = {
    "lr_scheduler_type": "schedule",
    "lr_scheduler_kwargs": "schedule_config",
    "warmup_steps": "schedule_config, such as {warmup_steps: 0.1}",
    "train_sampling_strategy": "buckets, or batch_seconds",
    "enable_jit_checkpoint": "nothing: a run that is sent SIGTERM saves first",
}


@functools.cache
def training_fields() -> Mapping[str, Any]:
    """Names and types of transformers' training arguments that a run may set."""
    from transformers import TrainingArguments

    hints = typing.get_type_hints(TrainingArguments)
    hints["resume_from_checkpoint"] |= bool  # true: the last one; transformers' command line knows paths only
    hints["fsdp"] |= bool  # as transformers takes it
    left_out = OF_THE_RUN | REPLACED.keys()
    return {f.name: hints[f.name] for f in dataclasses.fields(TrainingArguments) if f.init and f.name not in left_out}


def greater_is_better(metric: str) -> bool:
    """Whether more of a metric is better; of several tasks, its name is `<task>/<metric>`."""
    from ..metrics.regression import LOWER_IS_BETTER

    name = metric.rpartition("/")[2]
    return name not in LOWER_IS_BETTER and "loss" not in name.split("_")


def training_arguments(
    config: RunConfig, *, validates: bool, metric: str, numbers: Collection[str], uneven: bool = False
) -> Any:
    """Transformers' `TrainingArguments` of this run.

    Args:
        config: the run.
        validates: whether there are validation rows: then what is saved is validated, each epoch if nothing is
            said, and the best one kept, where the arguments do not say otherwise.
        metric: name of the metric that decides which is best ("uar", "mae"), where the arguments name none.
        numbers: names of all metrics that a validation gives.
        uneven: whether some parameters have no gradient in some steps, of which several processes have to be told.
    """
    import torch
    from transformers import TrainingArguments

    derived: dict[str, Any] = {
        "dataloader_pin_memory": torch.cuda.is_available(),
        "disable_tqdm": not sys.stderr.isatty(),  # log lines in place of a bar
        "use_cpu": not torch.accelerator.is_available(),  # or bf16 is refused there
        "eval_strategy": "no",
        "ddp_find_unused_parameters": uneven,
    }
    given = {name: value for name, value in config.training.items() if name not in OF_PUBLISHING}
    best = str(given.get("metric_for_best_model", metric)).removeprefix("eval_")
    if best not in numbers:
        raise unknown_name(best, numbers, "metric_for_best_model")
    if validates and given.get("eval_strategy") != "no":
        by_steps = given.get("save_strategy") == "steps"
        derived.update(
            eval_strategy="steps" if by_steps else "epoch",
            eval_steps=given.get("save_steps") if by_steps else None,
            load_best_model_at_end=given.get("save_strategy") != "no",
            greater_is_better=greater_is_better(best),
        )
    # Of a stream every process reads all rows and takes its share; other batches are dealt out by their sampler.
    dealt = {"dispatch_batches": False} if config.data.streaming else {"even_batches": False}
    derived["accelerator_config"] = {**dealt, "non_blocking": {**derived, **given}["dataloader_pin_memory"]}
    values = {**TRAINING_DEFAULTS, **derived, **given, "metric_for_best_model": f"eval_{best}"}
    if given.get("deepspeed"):
        _check_deepspeed(given["deepspeed"])
    try:
        arguments = TrainingArguments(output_dir=config.run.output_dir, **values)
    except (ValueError, TypeError, OSError) as error:
        raise InputError(f"training arguments: {one_line(error)}") from error
    _check_sharding(arguments)
    return arguments


def _check_deepspeed(given: str | dict[str, Any]) -> None:
    """Refuses a DeepSpeed that is not installed, and a file that is not there or no JSON.

    Raises:
        InputError: so.
    """
    if find_spec("deepspeed") is None:
        raise InputError("deepspeed is not installed: pip install --no-build-isolation deepspeed")
    if isinstance(given, str):
        try:
            json.loads(Path(given).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"deepspeed: {given} can't be read as JSON: {one_line(error)}") from error


def _check_sharding(arguments: Any) -> None:
    """Refuses FSDP on a CPU, where accelerate would run DDP without a word.

    Raises:
        InputError: it was asked for, by a field or by `accelerate launch`.
    """
    launched = os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"
    if (arguments.fsdp or launched) and arguments.device.type == "cpu":
        raise InputError("fsdp shards a model over GPUs, and this run is on a CPU: leave fsdp out (DDP needs no field)")
