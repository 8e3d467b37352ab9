"""One run of pretraining, from a config to a folder with an adapted encoder, from which `train` can start."""

from functools import partial
from pathlib import Path
from typing import Any

import torch

from ..data.schema import item_ids
from ..errors import InputError
from ..hub.encoder_card import TASK
from ..metrics.numbers import share_numbers
from ..models.configuration import HfSpeechConfig
from ..models.frames import conv_frames, receptive_field
from ..models.presets import PRESETS
from ..results import Results, metric_rows
from ..training.build import augmentation_of, backbone_config, feature_extractor
from ..training.checkpoints import facts_of
from ..training.config import RunConfig
from ..training.costs import energy_of, size_of
from ..training.facts import data_facts, data_name, public_arguments, recipe_facts
from ..training.hf_arguments import training_arguments
from ..training.learning import learning_of
from ..training.rows import RunRows, found
from ..training.setup import early_stopping, make_sampler, told_of_arguments
from ..training.start import is_finished
from ..training.work import Run, Work
from .collator import MaskedCollator
from .contrastive import load_contrastive
from .fields import masking_of, temperature_of
from .model import PretrainingModel
from .rows import unlabelled_rows
from .trainer import PretrainingTrainer

CONFIG_NAME = "pretrain.yaml"


def make_pretraining(config: RunConfig, folder: Path) -> Run:
    """The parts of a run that learns without labels.

    Raises:
        InputError: fields that don't fit together, an encoder that can't be pretrained, or data that can't be used.
    """
    found(config.data)
    model, extractor = _model(config)
    least = receptive_field(*_convolutions(model), masking_of(config).min_frames) / extractor.sampling_rate
    if config.batches.crop_seconds is not None and config.batches.crop_seconds < least:
        raise InputError(
            f"crop_seconds is {config.batches.crop_seconds:g}, in which no frame can be hidden; give {least:.3g} or "
            "more"
        )
    rows = unlabelled_rows(config.data, config.split, min_seconds=least)
    trainer = _trainer(config, rows, model, extractor, _collator(config, model, extractor))
    return Run(config, folder, rows, model, extractor, trainer)


def _model(config: RunConfig) -> tuple[PretrainingModel, Any]:
    """The model of a run, and its feature extractor."""
    arguments = config.model
    backbone = backbone_config(config)
    if arguments.backbone is not None and is_finished(arguments.backbone):
        raise InputError(
            f"backbone {arguments.backbone}: is a finished classifier; give the encoder that it started from"
        )
    if arguments.attn_implementation is not None:
        backbone._attn_implementation = arguments.attn_implementation
    model = load_contrastive(
        backbone, arguments.backbone, masking_of(config), temperature_of(config), arguments.layerdrop or 0.0
    )
    return model, feature_extractor(arguments, HfSpeechConfig(backbone_config=backbone, num_labels=1))


def _convolutions(model: PretrainingModel) -> tuple[tuple[int, ...], tuple[int, ...]]:
    encoder: Any = model.encoder
    return encoder.kernels, encoder.strides


def _collator(config: RunConfig, model: PretrainingModel, extractor: Any) -> MaskedCollator:
    kernels, strides = _convolutions(model)
    return MaskedCollator(
        extractor,
        masking_of(config),
        partial(conv_frames, kernels=kernels, strides=strides),
        model.negatives,
        crop_seconds=config.batches.crop_seconds,
        channel=config.data.channel,
        min_samples=receptive_field(kernels, strides, masking_of(config).min_frames),
        on_bad=config.data.on_bad_audio,
        augmentation=augmentation_of(config, extractor.sampling_rate),
        augment_later=torch.accelerator.is_available(),
        with_origin=True,
    )


def _trainer(
    config: RunConfig, rows: RunRows, model: PretrainingModel, extractor: Any, collator: MaskedCollator
) -> PretrainingTrainer:
    learning = learning_of(config)
    arguments = training_arguments(
        config,
        validates="validation" in rows.splits,
        metric="loss",
        numbers=("loss", *model.names),
        uneven=learning.freezing.changes or bool(config.model.layerdrop),
    )
    with told_of_arguments():
        return PretrainingTrainer(
            model=model,
            args=arguments,
            collator=collator,
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
    metrics, chance = _metrics(run, trainer) if "validation" in run.rows.splits else ([], None)
    model.save(fresh)
    run.extractor.save_pretrained(fresh)
    learnt = {name: value for name, value in vars(run.config.pretraining).items() if value != {}}
    facts = run.facts({**learnt, **recipe_facts(run.config, trainer.args, trainer.trained_parameters)})
    energy = energy_of(trainer, int(run.times["from_step"]))
    return Results(
        model={**_model_facts(run), "bytes": size_of(fresh), "chance": chance},
        data=data_facts(run.config, run.rows),
        metrics=metrics,
        confusion=None,
        run=facts | ({"energy": energy} if energy else {}),
    )


def _metrics(run: Run, trainer: PretrainingTrainer) -> tuple[list[dict[str, Any]], float | None]:
    """The shares of the hidden frames of validation rows that are told right, and what guessing would reach."""
    rows = run.rows.splits["validation"]
    told = trainer.tell(rows)
    speakers = rows["speaker_id"] if "speaker_id" in rows.column_names else None
    if speakers is not None and any(speaker is None for speaker in speakers):
        speakers = None
    numbers = share_numbers(told.right, told.hidden, speakers, run.seed)
    ids = item_ids(rows, run.rows.root)
    rows_of_results = metric_rows(numbers, dataset=data_name(run.config), split="validation", ids=ids)
    return rows_of_results, told.numbers.get("chance")


def _model_facts(run: Run) -> dict[str, Any]:
    config, model = run.config, run.model
    origin = public_arguments(config).get("backbone")
    return {
        "name": run.name,
        "task": TASK,
        "problem_type": config.pretraining.objective,
        "labels": [],
        "backbone": origin if origin and origin not in PRESETS else f"{model.config.model_type}, from scratch",
        "parameters": sum(parameter.numel() for parameter in model.encoder.parameters()),
        "layer": "last",
        "pooling": None,
        "head": None,
        "loss": config.pretraining.objective,
        "sample_rate": run.extractor.sampling_rate,
        "architecture": model.architecture,
        "license": config.run.license,
    }


PRETRAINING = Work(make_pretraining, write_pretraining, CONFIG_NAME)
