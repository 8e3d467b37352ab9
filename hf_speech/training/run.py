"""One training run, from a config to a finished folder: a loadable model, its numbers, plots and card."""

import logging
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import (
    CONFIG_MAPPING,
    AutoConfig,
    AutoFeatureExtractor,
    EarlyStoppingCallback,
    Wav2Vec2FeatureExtractor,
    set_seed,
)

from ..data.collator import SpeechCollator
from ..data.targets import class_weights, target_statistics
from ..errors import InputError, unknown_name
from ..hub.card import write_card
from ..models.configuration import BACKBONES, PROBLEM_TYPES
from ..models.frames import receptive_field
from ..models.modeling import HfSpeechForSequenceClassification
from ..plots import FILE_NAMES, plot_curves
from ..results import FILE_NAME, Results, run_facts
from .arguments import ModelArguments, RunConfig, training_arguments
from .evaluation import Evaluation, evaluate_rows, write_evaluation
from .facts import data_facts, data_name, model_facts, public_arguments, recipe_facts
from .rows import RunRows, read_rows
from .trainer import SpeechTrainer

logger = logging.getLogger(__name__)

DEFAULT_SEED = 42  # transformers' own
PRIMARY_METRIC = {"single_label_classification": "uar", "regression": "mae"}
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
    folder = _claim_folder(config)
    seed = config.training.get("seed", DEFAULT_SEED)
    set_seed(seed)
    encoder = encoder_config(config.model)
    rows = read_rows(
        config.data,
        regression=PROBLEM_TYPES[config.model.loss] == "regression",
        seed=seed,
        min_samples=receptive_field(encoder.conv_kernel, encoder.conv_stride),
    )
    extractor = _feature_extractor(config.model, encoder)
    model = build_model(config, rows)
    trainer = _trainer(config, rows, model, extractor)
    if not config.training.get("resume_from_checkpoint"):
        _remove_checkpoints(folder)  # not before all was checked
    logger.info("training on %s rows", "streamed" if rows.streams else len(rows.splits["train"]))
    begun = time.monotonic()
    outcome = trainer.train(resume_from_checkpoint=config.training.get("resume_from_checkpoint"))
    train_seconds = time.monotonic() - begun
    if not trainer.is_world_process_zero():
        return Results({}, {}, [], None, {})
    _refuse_divergence(model)
    evaluations = _evaluate(config, rows, model, extractor, seed)
    results = Results(
        model=model_facts(
            model,
            name=config.run.name or folder.absolute().name,
            backbone=public_arguments(config).get("backbone"),
            licence=config.run.license,
        ),
        data=data_facts(config, rows),
        metrics=[number for evaluation in evaluations.values() for number in evaluation.metrics],
        confusion=next((e.confusion for e in reversed(evaluations.values())), None),
        run=run_facts(
            seed,
            device=str(model.device),
            wall_seconds=round(time.monotonic() - started, 1),
            steps=outcome.global_step,
            epochs=round(float(trainer.state.epoch or 0), 2),
            arguments=public_arguments(config),
            recipe=recipe_facts(config, trainer.args),
        )
        | {"train_seconds": round(train_seconds, 1)},
    )
    _finish(folder, config, model, extractor, results, evaluations, trainer.state.log_history)
    return results


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
    for number in results.metrics:
        value, low, high = (number[key] for key in ("value", "low", "high"))
        shown = "not defined" if value is None else f"{value:.3f}  95 % interval {low:.3f} to {high:.3f}"
        lines.append(
            f"  {number['split']:11}{number['name']:10}{shown} ({number['n']} utterances, by {number['interval_unit']})"
        )
    return "\n".join(lines)


def _claim_folder(config: RunConfig) -> Path:
    if config.run.output_dir is None:
        raise InputError("no place for the model: give --output-dir, a folder that is made")
    folder = Path(config.run.output_dir)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file; give a folder as --output-dir")
    checkpoints = sorted(folder.glob("checkpoint-*"))
    resumes = config.training.get("resume_from_checkpoint")
    if resumes and not (checkpoints if resumes is True else Path(resumes).is_dir()):
        where = folder if resumes is True else resumes
        raise InputError(f"resume_from_checkpoint: there is no checkpoint in {where}; leave it out to start anew")
    if not config.run.overwrite:
        if (folder / FILE_NAME).exists():
            raise InputError(f"{folder}: holds a finished model; give another --output-dir, or --overwrite")
        if checkpoints and not resumes:
            raise InputError(
                f"{folder}: holds {checkpoints[-1].name} of an unfinished run; go on with --resume-from-checkpoint "
                "true, or start again with --overwrite"
            )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: can't be made ({error.strerror}); give another --output-dir") from error
    return folder


def _remove_checkpoints(folder: Path) -> None:
    for checkpoint in folder.glob("checkpoint-*"):
        shutil.rmtree(checkpoint)


def encoder_config(arguments: ModelArguments) -> Any:
    """The configuration of the encoder that the arguments name, with their own values in it.

    Raises:
        InputError: no such checkpoint, not of a kind that can be built on, or a value that its config does not take.
    """
    values = dict(arguments.backbone_config)
    try:
        if arguments.backbone is None:
            stock = CONFIG_MAPPING[values.pop("model_type")]()
        else:
            stock = AutoConfig.from_pretrained(arguments.backbone)
        if stock.model_type not in BACKBONES:
            raise unknown_name(stock.model_type, BACKBONES, f"model_type of backbone {arguments.backbone}:")
        return HfSpeechForSequenceClassification.backbone_config_of(stock, values)
    except InputError:
        raise
    except StrictDataclassError as error:
        raise InputError(f"backbone_config: {_one_line(error)}") from error
    except (OSError, ValueError) as error:
        mend = "give a folder with a checkpoint, or a name on the Hub"
        raise InputError(f"backbone {arguments.backbone}: can't be loaded ({_one_line(error)}); {mend}") from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _feature_extractor(arguments: ModelArguments, encoder: Any) -> Any:
    """The checkpoint's feature extractor; every model of ours is told what is padding.

    A checkpoint without one, and an encoder from scratch, get the rule of the published ones: layer-norm encoders take
    waveforms of zero mean and unit variance. From scratch it is the rule for all.
    """
    extractor = Wav2Vec2FeatureExtractor(do_normalize=True)
    if arguments.backbone is not None:
        try:
            extractor = AutoFeatureExtractor.from_pretrained(arguments.backbone)
        except OSError:
            extractor.do_normalize = getattr(encoder, "feat_extract_norm", "layer") == "layer"
            logger.warning("%s has no feature extractor; normalising: %s", arguments.backbone, extractor.do_normalize)
    extractor.return_attention_mask = True
    if arguments.normalize is not None:
        extractor.do_normalize = arguments.normalize
    return extractor


def build_model(config: RunConfig, rows: RunRows) -> HfSpeechForSequenceClassification:
    """The model of a run, as yet untrained, with what has to be known of its rows.

    Raises:
        InputError: the values don't fit together, or not the checkpoint's weights.
    """
    arguments = config.model
    settings: dict[str, Any] = {"target": config.data.target, "unit": config.run.unit}
    if rows.names is None:
        mean, std = target_statistics(rows.splits["train"]["labels"])
        settings.update(target_mean=mean, target_std=std, problem_type="regression")
    elif arguments.class_weights == "balanced":
        settings["class_weights"] = class_weights(rows.splits["train"]["labels"], len(rows.names))
    else:
        settings["class_weights"] = arguments.class_weights
    try:
        model = HfSpeechForSequenceClassification.from_backbone(
            encoder_config(arguments) if arguments.backbone is None else arguments.backbone,
            labels=rows.names or [config.data.target],
            backbone_config=None if arguments.backbone is None else arguments.backbone_config,
            layer=arguments.layer,
            pooling=arguments.pooling,
            head=arguments.head,
            head_size=arguments.head_size,
            head_dropout=arguments.head_dropout,
            layerdrop=arguments.layerdrop,
            loss=arguments.loss,
            **settings,
        )
    except InputError:
        raise
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:  # what torch and transformers say of values
        what = "from scratch" if arguments.backbone is None else f"on {arguments.backbone}"
        mend = "mend backbone_config and the model's fields, or the checkpoint"
        raise InputError(f"the model can't be built {what} ({_one_line(error)}); {mend}") from error
    if arguments.freeze == "cnn":
        model.freeze_feature_encoder()
    elif arguments.freeze == "backbone":
        model.freeze_backbone()
    model.freeze_encoder_layers(arguments.freeze_layers)
    return model


def _trainer(config: RunConfig, rows: RunRows, model: Any, extractor: Any) -> SpeechTrainer:
    train_rows = rows.train_rows(config.data.crop_seconds)
    if rows.streams and config.training.get("max_steps", -1) < 1:
        raise InputError("streamed training rows have no end: give --max-steps")
    batch = config.training.get("per_device_train_batch_size", 16)
    # A batch norm can't train on a last batch of one.
    drop_last = config.model.head == "batchnorm" and not rows.streams and len(train_rows) % batch == 1
    arguments = training_arguments(
        config,
        validates="validation" in rows.splits,
        metric=PRIMARY_METRIC[model.config.problem_type],
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
        raise InputError(f"training arguments: {_one_line(error)}") from error


def _evaluate(config: RunConfig, rows: RunRows, model: Any, extractor: Any, seed: int) -> dict[str, Evaluation]:
    return {
        split: evaluate_rows(
            model,
            extractor,
            rows.splits[split],
            dataset=data_name(config),
            split=split,
            root=config.data.dataset,
            unit=config.run.unit,
            max_seconds=config.data.max_seconds,
            channel=config.data.channel,
            seed=seed,
        )
        for split in ("validation", "test")
        if split in rows.splits
    }


def _finish(
    folder: Path,
    config: RunConfig,
    model: Any,
    extractor: Any,
    results: Results,
    evaluations: dict[str, Evaluation],
    history: list[dict[str, Any]],
) -> None:
    """Writes all files beside their place, then moves them in; results.json, the mark of a finished run, comes last."""
    with tempfile.TemporaryDirectory(dir=folder, prefix=".finishing-") as name:
        fresh = Path(name)
        model.save_pretrained(fresh)
        extractor.save_pretrained(fresh)
        text = yaml.safe_dump(config.to_dict(), sort_keys=False, allow_unicode=True)
        (fresh / CONFIG_NAME).write_text(text, encoding="utf-8")
        if evaluations:
            write_evaluation(list(evaluations.values())[-1], fresh, config.run.unit)
        if any("loss" in entry for entry in history):
            plot_curves(history, fresh / FILE_NAMES["curves"])
        results.write(fresh)
        write_card(fresh)
        for stale in (FILE_NAME, *FILE_NAMES.values(), "predictions.csv"):
            (folder / stale).unlink(missing_ok=True)
        if not config.run.keep_checkpoints:
            _remove_checkpoints(folder)
        for path in sorted(fresh.iterdir(), key=lambda path: path.name == FILE_NAME):
            os.replace(path, folder / path.name)
    logger.info("finished: %s", folder)
