"""What a run makes of a classifier: its parts from the fields, and its files and numbers once it has trained."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from transformers import set_seed

from ..errors import InputError
from ..model_facts import model_facts
from ..results import Results
from .adapters import save_adapted
from .config import RunConfig
from .costs import energy_of, with_costs
from .evaluation import Evaluation, evaluate_split, write_evaluation
from .facts import data_facts, data_name, public_arguments, recipe_facts
from .frozen import run_once
from .frozen_model import put_back
from .pictures import draw_run
from .recipes import CONFIG_NAME
from .setup import make_trainer, read_and_build
from .work import DEFAULT_SEED, Run, Work

Adapt = Callable[[RunConfig, Path], str]  # fields, folder of a run -> the encoder that it starts from


def make_classifier(config: RunConfig, folder: Path, adapt: Adapt | None = None) -> Run:
    """The parts of a run that trains a classifier.

    Args:
        config: of the run.
        folder: of the run.
        adapt: what its field `adaptation` asks for; None: nothing can be done for it here.

    Raises:
        InputError: fields that don't fit together, a model that can't be built, or data that can't be used.
    """
    if config.learning.adaptation and adapt is None:
        raise InputError("adaptation: is done by `hf-speech train` and `crossval`; leave it out here")
    start = config
    if config.learning.adaptation and adapt is not None:
        encoder = adapt(config, folder)
        set_seed(int(config.training.get("seed", DEFAULT_SEED)))  # the stages have seeds of their own
        start = replace(config, model=replace(config.model, backbone=encoder))
    rows, model, extractor = read_and_build(start)
    if start is not config:  # what it was adapted from, not where that lies
        model.config.backbone_config._name_or_path = config.model.backbone or ""
        if config.model.lora:  # whoever loads the adapter has to have the encoder beneath it
            model.peft_config["default"].base_model_name_or_path = os.path.relpath(start.model.backbone or "", folder)
    if config.batches.frozen_cache is not None:
        rows = run_once(config, rows, model, extractor)
    return Run(config, folder, rows, model, extractor, make_trainer(config, rows, model, extractor))


def write_classifier(run: Run, fresh: Path) -> Results:
    """Measures a trained classifier on what is held out, and writes it into an empty folder."""
    config, model = run.config, run.model
    if config.model.lora:  # what is measured is what is kept
        model = save_adapted(model, fresh)
    measured: list[str] = [split for split in ("validation", "test") if split in run.rows.splits]
    evaluations = {
        split: evaluate_split(config, run.rows, split, model, run.extractor, run.seed, run.trainer.trials)
        for split in measured
    }
    put_back(model)
    model.save_pretrained(fresh)
    run.extractor.save_pretrained(fresh)
    results = _results(run, model, evaluations)
    paces = {split: one.pace for split, one in evaluations.items()}
    energy = energy_of(run.trainer, int(run.times["from_step"]))
    results = with_costs(results, fresh, model, run.extractor, paces, energy)
    if evaluations:
        write_evaluation(list(evaluations.values())[-1], fresh, config.run.unit)
    draw_run(evaluations, data_name(config), results.model, fresh)
    return results


def _results(run: Run, model: object, evaluations: dict[str, Evaluation]) -> Results:
    config = run.config
    return Results(
        model=model_facts(
            model,
            name=run.name,
            backbone=public_arguments(config).get("backbone"),
            licence=config.run.license,
            lora=config.model.lora,
        ),
        data=data_facts(config, run.rows),
        metrics=[number for evaluation in evaluations.values() for number in evaluation.metrics],
        confusion=next((e.confusion for e in reversed(evaluations.values())), None),
        run=run.facts(recipe_facts(config, run.trainer.args, run.trainer.trained_parameters)),
    )


CLASSIFIER = Work(make_classifier, write_classifier, CONFIG_NAME)
