"""One run of pretraining, from a config to a folder with an adapted encoder, from which `train` can start."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from datasets import Dataset

from ..data.collator import SpeechCollator
from ..data.heard import HEARD, contents, heard_by, write_spans
from ..data.schema import Splits, item_ids
from ..errors import InputError
from ..hub.encoder_card import TASK
from ..metrics.numbers import share_numbers
from ..models.encoder import Encoder
from ..public import without_places
from ..results import Results, metric_rows
from ..training import recipes
from ..training.build import backbone_config, draft_model, feature_extractor
from ..training.checkpoints import facts_of
from ..training.config import RunConfig
from ..training.costs import energy_of, size_of
from ..training.facts import data_facts, data_name, public_arguments, recipe_facts
from ..training.hf_arguments import training_arguments
from ..training.learning import learning_of
from ..training.rows import RunRows, found
from ..training.setup import early_stopping, make_sampler, told_of_arguments
from ..training.work import Run, Work
from .model import PretrainingModel
from .origins import origins
from .rows import refuse_tested
from .tasks import OBJECTIVES, least_samples
from .trainer import Accuracies, PretrainingTrainer


def make_pretraining(
    config: RunConfig, folder: Path, *, loaded: Splits | None = None, unheard: Sequence[Dataset] = ()
) -> Run:
    """The parts of a run that adapts an encoder.

    Args:
        config: of the run.
        folder: of the run.
        loaded: rows in the place of those that the config names.
        unheard: rows of which nothing may be learnt from.

    Raises:
        InputError: fields that don't fit together, an encoder that can't learn so, or data that can't be used.
    """
    found(config.data)
    objective = OBJECTIVES[config.pretraining.objective]
    backbone = backbone_config(config)
    objective.check(config, backbone.model_type)
    if config.model.attn_implementation is not None:
        backbone._attn_implementation = config.model.attn_implementation
    draft = draft_model(config, backbone)
    extractor = feature_extractor(config.model, draft.config)
    rows, tested = objective.rows(config, _shortest(config, draft.encoder, extractor.sampling_rate), loaded)
    for held_out in unheard:
        for name, learned in rows.splits.items():
            refuse_tested(learned, held_out, name)
    for held_out in [*unheard, *([] if tested is None else [tested])]:
        objective.refuse_heard(config, held_out)
    model = objective.model(config, backbone, rows)
    plain = replace(config, batches=replace(config.batches, augment={}))
    plain = replace(plain, pretraining=replace(plain.pretraining, soft_labels=False))
    collators = [objective.collator(one, model, rows, extractor) for one in (config, plain)]
    return Run(config, folder, rows, model, extractor, _trainer(config, rows, model, extractor, *collators))


def _shortest(config: RunConfig, encoder: Encoder, rate: int) -> float:
    """The shortest row that can be learnt from, seconds.

    Raises:
        InputError: crops are shorter.
    """
    least = least_samples(config, encoder) / rate
    if config.batches.crop_seconds is not None and config.batches.crop_seconds < least:
        told = f"crop_seconds is {config.batches.crop_seconds:g}, in which no frame can be hidden; give {least:.3g}"
        raise InputError(f"{told} or more")
    return least


def _trainer(
    config: RunConfig,
    rows: RunRows,
    model: PretrainingModel,
    extractor: Any,
    collator: SpeechCollator,
    validating: SpeechCollator,
) -> PretrainingTrainer:
    learning = learning_of(config)
    arguments = training_arguments(
        config,
        validates="validation" in rows.splits,
        metric="loss",
        numbers=("loss", *(name for name in model.names if name != "chance")),
        uneven=learning.freezing.changes or bool(config.model.layerdrop),
    )
    with told_of_arguments():
        return PretrainingTrainer(
            model=model,
            args=arguments,
            collator=collator,
            validating=validating,
            train_dataset=rows.splits["train"],
            eval_dataset=rows.splits.get("validation"),
            processing_class=extractor,
            callbacks=early_stopping(config, learning, arguments),
            learning=learning,
            sampler=make_sampler(config, rows, model, arguments),
            facts=facts_of(config.recipe(), rows.fingerprint(), arguments.world_size),
            channel=config.data.channel,
        )


def write_pretraining(run: Run, fresh: Path) -> Results:
    """Measures a pretrained encoder on validation rows, and writes its checkpoint into an empty folder."""
    model, trainer = run.model, run.trainer
    assert isinstance(trainer, PretrainingTrainer)
    answers = trainer.measure(run.rows.splits["validation"]) if "validation" in run.rows.splits else None
    model.save(fresh)
    run.extractor.save_pretrained(fresh)
    own = (span for span, _ in contents(run.rows.splits["train"]))
    write_spans(fresh / HEARD, dict.fromkeys([*heard_by(run.config.model.backbone), *own]))
    learnt = without_places({name: value for name, value in vars(run.config.pretraining).items() if value != {}})
    facts = run.facts({**learnt, **recipe_facts(run.config, trainer.args, trainer.trained_parameters)})
    energy = energy_of(trainer, int(run.times["from_step"]))
    parts = {} if answers is None else _parts(trainer, answers)
    of_learning = {**parts, **model.facts(), **origins(run.config)}
    chance = {**model.chance, **({"accuracy": parts["chance"]} if "chance" in parts else {})}
    return Results(
        model={**_model_facts(run), "bytes": size_of(fresh), "chance": chance},
        data=data_facts(run.config, run.rows),
        metrics=[] if answers is None else _metrics(run, answers),
        confusion=None,
        run=facts | {"pretraining": of_learning} | ({"energy": energy} if energy else {}),
    )


def _parts(trainer: PretrainingTrainer, answers: Accuracies) -> dict[str, float]:
    """The loss and its parts on validation rows."""
    numbers = trainer.numbers(answers.counted(), answers.use)
    return {name: round(numbers[name], 5) for name in ("loss", *trainer.model.part_names)}


def _metrics(run: Run, answers: Accuracies) -> list[dict[str, Any]]:
    """The shares of what is asked of validation rows that is told right."""
    rows = run.rows.splits["validation"]
    speakers = rows["speaker_id"] if "speaker_id" in rows.column_names else None
    if speakers is not None and any(speaker is None for speaker in speakers):
        speakers = None
    numbers = [
        number
        for name, right in answers.right.items()
        for number in share_numbers({name: right}, answers.asked[name], speakers, run.seed)
    ]
    ids = item_ids(rows, run.rows.root)
    return metric_rows(numbers, dataset=data_name(run.config), split="validation", ids=ids)


def _model_facts(run: Run) -> dict[str, Any]:
    config, model = run.config, run.model
    origin = public_arguments(config).get("backbone")
    return {
        "name": run.name,
        "task": TASK,
        "problem_type": config.pretraining.objective,
        "labels": [],
        "backbone": origin or f"{model.config.model_type}, from scratch",
        "parameters": sum(parameter.numel() for parameter in model.encoder.parameters()),
        "layer": "last",
        "pooling": None,
        "head": None,
        "loss": config.pretraining.objective,
        "sample_rate": run.extractor.sampling_rate,
        "architecture": model.architecture,
        "license": config.run.license,
    }


PRETRAINING = Work(make_pretraining, write_pretraining, recipes.PRETRAINING)
