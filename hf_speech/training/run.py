"""One training run, from a config to a finished folder: a loadable model, its numbers, plots and card."""

import logging
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml
from transformers import EarlyStoppingCallback, set_seed

from ..data.collator import SpeechCollator
from ..errors import InputError, one_line
from ..hub.card import write_card
from ..models.batchnorm import VectorBatchNorm1d
from ..plots import FILE_NAMES, plot_curves, plot_name
from ..results import FILE_NAME, Results, run_facts
from .adapters import FOLDER, save_adapted
from .arguments import TRAINING_DEFAULTS, RunConfig, target_rules, training_arguments
from .build import (
    augmentation_of,
    backbone_config,
    build_model,
    draft_model,
    feature_extractor,
    makes_speakers,
)
from .evaluation import Evaluation, evaluate_split, write_evaluation
from .facts import data_facts, model_facts, public_arguments, recipe_facts
from .folder import checkpoint_to_resume, claim_folder, remove_checkpoints
from .rows import RunRows, read_rows
from .tasks import PRIMARY_METRIC, metric_name, metrics_of
from .trainer import SpeechTrainer

logger = logging.getLogger(__name__)

DEFAULT_SEED = 42  # transformers' own
CONFIG_NAME = "train.yaml"


def train(config: RunConfig) -> Results:
    """Trains, measures and saves what a config says; the folder `output_dir` is then a loadable model.

    Returns:
        The content of its results.json.

    Raises:
        InputError: something that was given can't be used, or training diverged; nothing is written then but, perhaps,
            checkpoints.
    """
    started = time.monotonic()
    folder = claim_folder(config)
    seed = config.training.get("seed", DEFAULT_SEED)
    set_seed(seed)
    resumed = checkpoint_to_resume(config, folder)
    backbone = backbone_config(config.model)
    draft = draft_model(config, backbone)
    extractor = feature_extractor(config.model, draft.config)
    rows = read_rows(
        config.data,
        target_rules(config),
        min_seconds=draft.encoder.min_samples / extractor.sampling_rate,
    )
    model = build_model(config, rows, extractor, backbone)
    trainer = _trainer(config, rows, model, extractor)
    if resumed is None:
        remove_checkpoints(folder)  # not before all was checked
    logger.info("training on %s rows", "streamed" if rows.streams else len(rows.splits["train"]))
    begun = time.monotonic()
    trainer.train(resume_from_checkpoint=resumed)
    train_seconds = time.monotonic() - begun
    if not trainer.is_world_process_zero():
        return Results({}, {}, [], None, {})
    _refuse_divergence(model)
    rows = rows.without(trainer.data_collator.skipped)
    times = {"started": started, "train_seconds": train_seconds}
    with tempfile.TemporaryDirectory(dir=folder, prefix=".finishing-") as name:
        fresh = Path(name)
        if config.model.lora:  # what is measured is what is kept
            model = save_adapted(model, fresh)
        return _finish(folder, fresh, config, rows, model, extractor, trainer, times)


def leave_process_group() -> None:
    """Ends the connections to the other processes of a distributed run, if there are any.

    Left to the end of the process, gloo's threads may still run when they are destroyed, which aborts it.
    """
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def _refuse_divergence(model: Any) -> None:
    # argmax finds a class among NaN as well, so the numbers would look like those of a poor model.
    for name, weights in model.named_parameters():
        if not weights.isfinite().all():
            raise InputError(
                f"training diverged: {name} is NaN or infinite; give a smaller learning_rate, or a longer warmup_steps"
            )


def summary(results: Results, folder: Path) -> str:
    """A few lines for the terminal: what came out, and where it lies."""
    lines = [f"{folder}: {results.model['name']}, {results.model['parameters']:,} parameters"]
    width = max([10, *(len(number["name"]) + 1 for number in results.metrics)])
    for number in results.metrics:
        value, low, high = (number[key] for key in ("value", "low", "high"))
        shown = "not defined" if value is None else f"{value:.3f}  95 % interval {low:.3f} to {high:.3f}"
        by = f"({number['n']} utterances, by {number['interval_unit']})"
        lines.append(f"  {number['split']:11}{number['name']:{width}}{shown} {by}")
    return "\n".join(lines)


def _trainer(config: RunConfig, rows: RunRows, model: Any, extractor: Any) -> SpeechTrainer:
    train_rows = rows.train_rows(config.data.crop_seconds, config.training.get("seed", DEFAULT_SEED))
    if rows.streams and config.training.get("max_steps", -1) < 1:
        raise InputError("streamed training rows have no end: give --max-steps")
    batch = {**TRAINING_DEFAULTS, **config.training}["per_device_train_batch_size"]
    # A batch norm can't train on a last batch of one.
    normed = any(isinstance(module, VectorBatchNorm1d) for module in model.modules())
    drop_last = normed and not rows.streams and len(train_rows) % batch == 1
    arguments = training_arguments(
        config,
        validates="validation" in rows.splits,
        metric=metric_name(model.tasks, model.tasks[0], PRIMARY_METRIC[model.tasks[0].problem_type]),
        numbers={"loss", *(metric_name(model.tasks, task, name) for task in model.tasks for name in metrics_of(task))},
        drop_last=drop_last,
    )
    callbacks: list[Any] = []
    if config.run.early_stopping_patience is not None:
        if arguments.eval_strategy == "no":
            raise InputError("early_stopping_patience needs validation rows: give --validation, such as 0.1")
        callbacks.append(EarlyStoppingCallback(config.run.early_stopping_patience))
    collator = SpeechCollator(
        extractor,
        crop_seconds=config.data.crop_seconds,
        channel=config.data.channel,
        min_samples=model.encoder.min_samples,
        on_bad=config.data.on_bad_audio,
        augmentation=augmentation_of(config, extractor.sampling_rate),
        num_speakers=len(rows.names) if rows.names and makes_speakers(config) else None,
    )
    try:
        return SpeechTrainer(
            model=model,
            args=arguments,
            data_collator=collator,
            train_dataset=train_rows,
            eval_dataset=rows.splits.get("validation"),
            processing_class=extractor,
            callbacks=callbacks,
            max_seconds=config.data.max_seconds,
            channel=config.data.channel,
        )
    except (ValueError, RuntimeError, ImportError) as error:  # such as a report_to that is not installed
        raise InputError(f"training arguments: {one_line(error)}") from error


def _finish(
    folder: Path,
    fresh: Path,
    config: RunConfig,
    rows: RunRows,
    model: Any,
    extractor: Any,
    trainer: SpeechTrainer,
    times: dict[str, float],
) -> Results:
    """Measures, writes all files beside their place, then moves them in; results.json, the mark of the end, last."""
    seed = config.training.get("seed", DEFAULT_SEED)
    measured: list[str] = [split for split in ("validation", "test") if split in rows.splits]
    evaluations = {split: evaluate_split(config, rows, split, model, extractor, seed) for split in measured}
    results = _results(folder, config, rows, model, trainer, evaluations, times)
    model.save_pretrained(fresh)
    extractor.save_pretrained(fresh)
    text = yaml.safe_dump(config.recipe(), sort_keys=False, allow_unicode=True)
    (fresh / CONFIG_NAME).write_text(text, encoding="utf-8")
    if evaluations:
        write_evaluation(list(evaluations.values())[-1], fresh, config.run.unit)
    history = trainer.state.log_history
    if any("loss" in entry for entry in history):
        plot_curves(history, fresh / FILE_NAMES["curves"])
    results.write(fresh)
    write_card(fresh)
    for path in fresh.rglob("*.*"):
        path.chmod(0o644)  # safetensors leaves its file to its owner alone
    shutil.rmtree(folder / FOLDER, ignore_errors=True)
    stale = [path for kind in FILE_NAMES for path in folder.glob(plot_name(kind, "*"))]
    for path in (folder / FILE_NAME, folder / "predictions.csv", *stale):
        path.unlink(missing_ok=True)
    if not config.run.keep_checkpoints:
        remove_checkpoints(folder)
    for path in sorted(fresh.iterdir(), key=lambda path: path.name == FILE_NAME):
        os.replace(path, folder / path.name)
    logger.info("finished: %s", folder)
    return results


def _results(
    folder: Path,
    config: RunConfig,
    rows: RunRows,
    model: Any,
    trainer: SpeechTrainer,
    evaluations: dict[str, Evaluation],
    times: dict[str, float],
) -> Results:
    run = run_facts(
        config.training.get("seed", DEFAULT_SEED),
        device=str(model.device),
        wall_seconds=round(time.monotonic() - times["started"], 1),
        steps=trainer.state.global_step,
        epochs=round(float(trainer.state.epoch or 0), 2),
        arguments=public_arguments(config),
        recipe=recipe_facts(config, trainer.args, trainer.trained_parameters),
    )
    return Results(
        model=model_facts(
            model,
            name=config.run.name or folder.absolute().name,
            backbone=public_arguments(config).get("backbone"),
            licence=config.run.license,
            lora=config.model.lora,
        ),
        data=data_facts(config, rows),
        metrics=[number for evaluation in evaluations.values() for number in evaluation.metrics],
        confusion=next((e.confusion for e in reversed(evaluations.values())), None),
        run=run | {"train_seconds": round(times["train_seconds"], 1)},
    )
