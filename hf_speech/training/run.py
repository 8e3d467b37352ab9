"""One training run, from a config to a finished folder: a loadable model, its numbers, plots and card."""

import logging
import os
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from transformers import set_seed

from ..errors import InputError
from ..hub.card import write_card
from ..hub.words import is_of_trials
from ..model_facts import model_facts
from ..plots import FILE_NAMES, plot_curves, plot_name
from ..ranks import told_of_lost_ranks
from ..results import FILE_NAME, Results, group_of, run_facts
from ..verification.kept import BACKEND_FILE
from .adapters import FOLDER, save_adapted
from .checkpoints import check_same_data, check_same_parts, checkpoints, step_of, told_of_full_disk
from .config import RunConfig
from .costs import energy_of, with_costs
from .evaluation import Evaluation, evaluate_split, write_evaluation
from .facts import data_facts, data_name, public_arguments, recipe_facts, selection
from .folder import (
    FINISHING,
    StartAnew,
    alone,
    checkpoint_to_resume,
    claim_folder,
    remove_checkpoints,
    remove_leavings,
)
from .frozen import run_once
from .frozen_model import put_back
from .pictures import draw_run
from .publishing import check_publishing, publish
from .recipes import CONFIG_NAME
from .rows import RunRows
from .setup import make_trainer, read_and_build
from .stopping import told_where
from .trainer import SpeechTrainer
from .watch import METRICS, write_metrics

logger = logging.getLogger(__name__)

DEFAULT_SEED = 42  # transformers' own


def train(config: RunConfig) -> Results:
    """Trains, measures and saves what a config says; the folder `output_dir` is then a loadable model.

    Returns:
        The content of its results.json.

    Raises:
        InputError: something that was given can't be used, or training diverged; nothing is written then but, perhaps,
            checkpoints.
    """
    new = config.run.output_dir is not None and not Path(config.run.output_dir).exists()
    folder = claim_folder(config)
    first = os.environ.get("RANK", "0") == "0"
    try:
        if first:
            check_publishing(config)
        with alone(folder):
            results = _train(config, folder)
    except BaseException:
        if new and first:
            with suppress(OSError):  # there is something in it
                folder.rmdir()
        raise
    if first:
        publish(config, folder)
    return results


def _train(config: RunConfig, folder: Path) -> Results:
    started = time.monotonic()
    set_seed(config.training.get("seed", DEFAULT_SEED))
    resumed = checkpoint_to_resume(config, folder)
    if resumed is not None:
        check_same_parts(resumed, frozen=config.batches.frozen_cache is not None)
    rows, model, extractor = read_and_build(config)
    if config.batches.frozen_cache is not None:
        rows = run_once(config, rows, model, extractor)
    trainer = make_trainer(config, rows, model, extractor)
    if trainer.is_world_process_zero():
        remove_leavings(folder)
    if resumed is None:
        trainer.add_callback(StartAnew(folder))
    else:
        check_same_data(resumed, trainer.facts)
    logger.info("training on %s rows", "streamed" if rows.streams else len(rows.splits["train"]))
    if trainer.sampler is not None:
        speeds = "; before speeds: every row as at the slowest" if config.batches.augment.get("speeds") else ""
        logger.info("%s%s", trainer.sampler.describe(), speeds)
    begun = time.monotonic()
    with (
        told_where(lambda: trainer.state, folder),
        told_of_full_disk(folder, "the log"),
        told_of_lost_ranks(lambda: _left(folder)),
    ):
        trainer.train(resume_from_checkpoint=str(resumed) if resumed else None)
    times = {"started": started, "train_seconds": time.monotonic() - begun}
    times["from_step"] = step_of(resumed) if resumed else 0
    if not trainer.is_world_process_zero():
        return Results({}, {}, [], None, {})
    _refuse_divergence(model)
    rows = rows.without(trainer.data_collator.skipped)
    with (
        tempfile.TemporaryDirectory(dir=folder, prefix=FINISHING) as name,
        told_of_full_disk(folder, "the finished model"),
        told_where(lambda: trainer.state, folder),
    ):
        fresh = Path(name)
        if config.model.lora:  # what is measured is what is kept
            model = save_adapted(model, fresh)
        return _finish(folder, fresh, config, rows, model, extractor, trainer, times)


def _left(folder: Path) -> str:
    """From where a run goes on that has lost one of its processes."""
    found = checkpoints(folder)
    return f"the same command goes on from {found[-1]}" if found else "there is no checkpoint yet"


def _refuse_divergence(model: Any) -> None:
    # argmax finds a class among NaN as well, so the numbers would look like those of a poor model.
    for name, weights in model.named_parameters():
        if not weights.isfinite().all():
            raise InputError(
                f"training diverged: {name} is NaN or infinite; give a smaller learning_rate, or a longer warm-up "
                "(schedule_config)"
            )


def summary(results: Results, folder: Path) -> str:
    """A few lines for the terminal: what came out, and where it lies; groups of speakers are left to the files."""
    lines = [f"{folder}: {results.model['name']}, {results.model['parameters']:,} parameters"]
    numbers = [number for number in results.metrics if not group_of(number)[1]]
    width = max([10, *(len(number["name"]) + 1 for number in numbers)])
    for number in numbers:
        value, low, high = (number[key] for key in ("value", "low", "high"))
        shown = "not defined" if value is None else f"{value:.3f}  95 % interval {low:.3f} to {high:.3f}"
        counted = "trials" if is_of_trials(number["name"]) else "utterances"
        by = f"({number['n']} {counted}, by {number['interval_unit']})"
        lines.append(f"  {number['split']:11}{number['name']:{width}}{shown} {by}")
    return "\n".join(lines)


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
    evaluations = {
        split: evaluate_split(config, rows, split, model, extractor, seed, trainer.trials) for split in measured
    }
    put_back(model)
    model.save_pretrained(fresh)
    extractor.save_pretrained(fresh)
    results = _results(folder, config, rows, model, trainer, evaluations, times)
    paces = {split: one.pace for split, one in evaluations.items()}
    energy = energy_of(trainer, int(times["from_step"]))
    results = with_costs(results, fresh, model, extractor, paces, energy)
    text = yaml.safe_dump(config.recipe(), sort_keys=False, allow_unicode=True)
    (fresh / CONFIG_NAME).write_text(text, encoding="utf-8")
    if evaluations:
        write_evaluation(list(evaluations.values())[-1], fresh, config.run.unit)
    draw_run(evaluations, data_name(config), results.model, fresh)
    history = trainer.state.log_history
    if any("loss" in entry or "eval_loss" in entry for entry in history):
        plot_curves(history, fresh / FILE_NAMES["curves"])
        write_metrics(history, fresh / METRICS)
    results.write(fresh)
    write_card(fresh)
    for path in fresh.rglob("*.*"):
        path.chmod(0o644)  # safetensors leaves its file to its owner alone
    shutil.rmtree(folder / FOLDER, ignore_errors=True)
    stale = [path for kind in FILE_NAMES for path in folder.glob(plot_name(kind, "*"))]
    for path in (folder / FILE_NAME, folder / "predictions.csv", folder / BACKEND_FILE, *stale):
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
        run=run | {"train_seconds": round(times["train_seconds"], 1), "selection": selection(trainer)},
    )
