"""One run, from a config to a finished folder: a loadable model, its numbers, plots and card."""

import logging
import os
import shutil
import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import yaml
from transformers import set_seed

from ..errors import InputError
from ..hub.card import write_card
from ..hub.words import is_of_trials
from ..plots import FILE_NAMES, plot_name
from ..ranks import told_of_lost_ranks
from ..results import FILE_NAME, Results, group_of
from ..verification.kept import BACKEND_FILE
from .adapters import FOLDER
from .checkpoints import check_same_data, check_same_parts, checkpoints, step_of, told_of_full_disk
from .classifier import CLASSIFIER
from .config import RunConfig
from .folder import (
    FINISHING,
    StartAnew,
    alone,
    checkpoint_to_resume,
    claim_folder,
    remove_checkpoints,
    remove_leavings,
)
from .pictures import draw_curves
from .publishing import check_publishing, publish
from .stopping import told_where
from .watch import METRICS, write_metrics
from .work import DEFAULT_SEED, Run, Work

logger = logging.getLogger(__name__)


def train(config: RunConfig, work: Work = CLASSIFIER) -> Results:
    """Trains, measures and saves what a config says; the folder `output_dir` is then a loadable model.

    Args:
        config: fields of the run.
        work: what is trained: a classifier, or an encoder without labels (`pretraining`).

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
            results = _train(config, folder, work)
    except BaseException:
        if new and first:
            with suppress(OSError):  # there is something in it
                folder.rmdir()
        raise
    if first:
        publish(config, folder)
    return results


def _train(config: RunConfig, folder: Path, work: Work) -> Results:
    started = time.monotonic()
    set_seed(config.training.get("seed", DEFAULT_SEED))
    resumed = checkpoint_to_resume(config, folder)
    if resumed is not None:
        check_same_parts(resumed, frozen=config.batches.frozen_cache is not None)
    run = work.make(config, folder)
    trainer, rows = run.trainer, run.rows
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
    if trainer.args.activation_checkpointing:
        logger.info(
            "activation checkpointing: layers that are trained are computed twice in a step, which takes longer"
        )
    if trainer.args.torch_compile:
        logger.info("torch.compile: the first steps wait for the compiler, on a CPU for minutes")
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
    _refuse_divergence(run)
    run = replace(run, rows=rows.without(trainer.data_collator.skipped), times=times)
    with (
        tempfile.TemporaryDirectory(dir=folder, prefix=FINISHING) as name,
        told_of_full_disk(folder, "the finished model"),
        told_where(lambda: trainer.state, folder),
    ):
        results = work.write(run, Path(name))
        _tell(run, results, work.config_name, Path(name))
        _put_in_place(run, Path(name))
    logger.info("finished: %s", folder)
    return results


def _left(folder: Path) -> str:
    """From where a run goes on that has lost one of its processes."""
    found = checkpoints(folder)
    return f"the same command goes on from {found[-1]}" if found else "there is no checkpoint yet"


def _refuse_divergence(run: Run) -> None:
    # argmax finds a class among NaN as well, so the numbers would look like those of a poor model.
    for name, weights in run.model.named_parameters():
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
        guessing = (results.model.get("chance") or {}).get(number["name"])
        chance = "" if guessing is None else f" (guessing {guessing:.3f})"
        shown = "not defined" if value is None else f"{value:.3f}{chance}  95 % interval {low:.3f} to {high:.3f}"
        counted = "trials" if is_of_trials(number["name"]) else "utterances"
        by = f"({number['n']} {counted}, by {number['interval_unit']})"
        lines.append(f"  {number['split']:11}{number['name']:{width}}{shown} {by}")
    return "\n".join(lines)


def _tell(run: Run, results: Results, config_name: str, fresh: Path) -> None:
    """Writes what is said of a finished model: its fields, its curves, its numbers and its card."""
    text = yaml.safe_dump(run.config.recipe(), sort_keys=False, allow_unicode=True)
    (fresh / config_name).write_text(text, encoding="utf-8")
    history = run.trainer.state.log_history
    if any("loss" in entry or "eval_loss" in entry for entry in history):
        draw_curves(history, results, fresh / FILE_NAMES["curves"])
        write_metrics(history, fresh / METRICS)
    results.write(fresh)
    write_card(fresh)


def _put_in_place(run: Run, fresh: Path) -> None:
    """Moves the files of the finished model in; results.json, the mark of the end, last."""
    folder = run.folder
    for path in fresh.rglob("*.*"):
        path.chmod(0o644)  # safetensors leaves its file to its owner alone
    shutil.rmtree(folder / FOLDER, ignore_errors=True)
    stale = [path for kind in FILE_NAMES for path in folder.glob(plot_name(kind, "*"))]
    for path in (folder / FILE_NAME, folder / "predictions.csv", folder / BACKEND_FILE, *stale):
        path.unlink(missing_ok=True)
    if not run.config.run.keep_checkpoints:
        remove_checkpoints(folder)
    for path in sorted(fresh.iterdir(), key=lambda path: path.name == FILE_NAME):
        os.replace(path, folder / path.name)
