"""The parts of a run that are built from its arguments: configuration, feature extractor, model."""

import logging
from dataclasses import fields
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import CONFIG_MAPPING, AutoConfig, Wav2Vec2FeatureExtractor

from ..audio import SAMPLE_RATE
from ..data.augment import Augmentation, augmentation
from ..data.speeds import speed_class_names
from ..data.targets import class_counts, class_weights, known, labels_of, target_statistics
from ..errors import InputError, one_line, unknown_name
from ..models.backbones import OWN_BACKBONES
from ..models.configuration import BACKBONES, HfSpeechConfig
from ..models.conversion import stored_extractor
from ..models.modeling import HfSpeechForSequenceClassification, HfSpeechModel
from ..models.presets import PRESETS, merged
from ..names import refuse_missing_folder
from .adapters import add_lora, check_lora
from .arguments import model_settings
from .config import HeadArguments, ModelArguments, RunConfig
from .recipes import recipe_names
from .regularization import regularized
from .rows import RunRows
from .start import is_finished, take_weights

logger = logging.getLogger(__name__)


def backbone_config(config: RunConfig) -> Any:
    """The configuration of the backbone that a run names, with the run's own values in it.

    Raises:
        InputError: no such checkpoint, not of a kind that can be built on, or a value that its config does not take.
    """
    arguments = config.model
    try:
        if arguments.backbone in PRESETS:
            preset = PRESETS[str(arguments.backbone)]["backbone_config"]
            stock = OWN_BACKBONES[preset["model_type"]]()
            values = merged(preset, encoder_values(config, preset["model_type"]))
        elif arguments.backbone is not None:
            _check_there(arguments.backbone)
            stock = AutoConfig.from_pretrained(arguments.backbone)
            stock = getattr(stock, "backbone_config", stock)  # of a finished model of ours
            if stock.model_type not in BACKBONES:
                raise unknown_name(stock.model_type, BACKBONES, f"model_type of backbone {arguments.backbone}:")
            values = encoder_values(config, stock.model_type)
        else:
            model_type = arguments.backbone_config["model_type"]
            stock = (OWN_BACKBONES.get(model_type) or CONFIG_MAPPING[model_type])()
            values = encoder_values(config, model_type)
        values.pop("model_type", None)
        return HfSpeechForSequenceClassification.backbone_config_of(stock, values)
    except InputError:
        raise
    except StrictDataclassError as error:
        raise InputError(f"backbone_config: {one_line(error)}") from error
    except (OSError, ValueError) as error:
        mend = f"give a folder with a checkpoint, a name on the Hub, or a preset ({', '.join(PRESETS)})"
        raise InputError(f"backbone {arguments.backbone}: can't be loaded ({one_line(error)}); {mend}") from error


def _check_there(name: str) -> None:
    """Refuses a folder that is not there; one that a recipe would make is told so.

    Raises:
        InputError: the name can't be one of the Hub.
    """
    recipe = Path(name).name
    known = recipe in recipe_names()
    refuse_missing_folder(
        name, f"train {recipe} into it, or give another" if known else "give one with a checkpoint", "backbone"
    )


def encoder_values(config: RunConfig, model_type: str) -> dict[str, Any]:
    """The values of an encoder's configuration that a run gives: its own over those of its regularisation."""
    preset = regularized(config.learning.regularization, model_type) if config.learning.regularization else {}
    return merged(preset.get("backbone_config", {}), config.model.backbone_config)


def draft_model(config: RunConfig, backbone: Any) -> HfSpeechModel:
    """The model of a run without its heads and without numbers: shows what can't be built before any data is read.

    Raises:
        InputError: the values don't fit together.
    """
    of_the_head = {f.name for f in fields(HeadArguments)}
    settings = {name: value for name, value in model_settings(config).items() if name not in of_the_head}
    attention = config.model.attn_implementation
    try:
        with torch.device("meta"):
            draft = HfSpeechModel.from_backbone(backbone, attn_implementation=attention, **settings)
        draft.freeze(config.learning.freeze, config.learning.freeze_layers)
        if config.model.lora:
            check_lora(draft, config.model.lora)
        return draft
    except InputError:
        raise
    except (OSError, ValueError, RuntimeError, TypeError) as error:  # what torch and others say
        mend = "mend backbone_config and the model's fields"
        raise InputError(f"the model can't be built ({one_line(error)}); {mend}") from error


def feature_extractor(arguments: ModelArguments, config: HfSpeechConfig) -> Any:
    """The checkpoint's feature extractor; every model of ours is told what is padding.

    A checkpoint without one gets the rule of the published ones: SSL encoders with layer norm take waveforms of zero
    mean and unit variance. From scratch all SSL encoders do. Models that make spectral features take waveforms as they
    are.
    """
    backbone = config.backbone_config
    spectral = backbone.model_type in OWN_BACKBONES or not hasattr(backbone, "feat_extract_norm")
    extractor = Wav2Vec2FeatureExtractor(do_normalize=not spectral)
    if arguments.backbone is not None and not spectral:
        stored = stored_extractor(arguments.backbone)
        if stored is not None:
            extractor = stored
        else:
            extractor.do_normalize = config.normalizes
            logger.warning("%s has no feature extractor; normalising: %s", arguments.backbone, extractor.do_normalize)
    extractor.return_attention_mask = True
    if arguments.normalize is not None:
        extractor.do_normalize = arguments.normalize
    return extractor


def build_model(config: RunConfig, rows: RunRows, extractor: Any, backbone: Any) -> Any:
    """The model of a run, as yet untrained, with what has to be known of its rows; with `lora`, in peft's wrapper.

    Args:
        config: the run.
        rows: its rows, labelled.
        extractor: its feature extractor.
        backbone: configuration of its backbone.

    Raises:
        InputError: the values don't fit together, or not the checkpoint's weights.
    """
    arguments = config.model
    pretrained = arguments.backbone is not None and arguments.backbone not in PRESETS
    finished = pretrained and is_finished(str(arguments.backbone))
    encoder = str(arguments.backbone) if pretrained and not finished else backbone
    settings = {name: value for name, value in model_settings(config).items() if name != "tasks"}
    settings = merged(settings, _task_settings(config, rows))
    try:
        model = HfSpeechForSequenceClassification.from_backbone(
            encoder,
            backbone_config=encoder_values(config, backbone.model_type) if encoder is not backbone else None,
            sampling_rate=extractor.sampling_rate,
            do_normalize=bool(extractor.do_normalize),
            attn_implementation=arguments.attn_implementation,
            **settings,
        )
        if finished:
            take_weights(model, str(arguments.backbone))
    except InputError:
        raise
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:  # what torch and others say
        what = f"on {arguments.backbone}" if pretrained else "from scratch"
        mend = "mend backbone_config and the model's fields, or the checkpoint"
        raise InputError(f"the model can't be built {what} ({one_line(error)}); {mend}") from error
    _check_bins(model, rows)
    if config.learning.freeze == "backbone" and not pretrained and any(True for _ in model.encoder.parameters()):
        logger.warning("the backbone is from scratch and frozen: its random weights are never trained")
    return add_lora(model, arguments.lora, backbone=arguments.backbone) if arguments.lora else model


def _task_settings(config: RunConfig, rows: RunRows) -> dict[str, Any]:
    """What the training rows say of the heads: labels, counts, weights, statistics of numbers."""
    train, tables = rows.splits["train"], config.head.tasks
    if not tables:
        ((target, names),) = rows.targets.items()
        facts = _facts(target, names, config.head.class_weights, train["labels"], rows.streams)
        if makes_speakers(config):
            facts = _with_speeds(facts, config.batches.augment["speeds"])
        return {**facts, "unit": config.run.unit, "target": target, "bins": config.data.bins}
    labels = labels_of(train, list(rows.targets))
    tasks = {}
    for target, names in rows.targets.items():
        weights = tables[target].get("class_weights", None if names is None else config.head.class_weights)
        there = labels[target][known(labels[target])].tolist()
        tasks[target] = {
            **tables[target],
            **_facts(target, names, weights, there, False),
            "unit": tables[target].get("unit") or (config.run.unit if names is None else None),
        }
    return {"tasks": tasks}


def _check_bins(model: HfSpeechForSequenceClassification, rows: RunRows) -> None:
    """Refuses numbers that a distribution over bins can't be about, in the rows that a loss is taken of."""
    learned = {split: there for split, there in rows.splits.items() if split != "test"}
    for task, head in zip(model.tasks, model.heads, strict=True):
        if head.bins is None:
            continue
        low, high, step = head.bins
        for split, there in learned.items():
            labels = (
                np.array(list(there["labels"])) if rows.streams else labels_of(there, list(rows.targets))[task.name]
            )
            labels = labels[known(labels)]
            if not len(labels):
                continue
            lowest, highest = float(labels.min()), float(labels.max())
            below, above = max(0, ceil((low - lowest) / step)), max(0, ceil((highest - high) / step))
            if below or above:
                raise InputError(
                    f"{split}: {task.name} is {lowest:g} to {highest:g}, but the values of head {task.head!r} are "
                    f"{low:g} to {high:g}; give its head_config low {low - below * step:g} and high "
                    f"{high + above * step:g}, or leave such rows out"
                )


def augmentation_of(config: RunConfig, sampling_rate: int = SAMPLE_RATE) -> Augmentation | None:
    """What is done to the training audio; None: nothing.

    Raises:
        InputError: an unknown field of `augment`, or an impossible value.
    """
    table = {name: value for name, value in config.batches.augment.items() if name != "speed_classes"}
    return augmentation(table, sampling_rate)


def makes_speakers(config: RunConfig) -> bool:
    """Whether each speed of the augmentation makes new speakers, as classes of their own.

    Raises:
        InputError: there are no speeds, or it is not speakers that are told apart.
    """
    table = config.batches.augment
    if not isinstance(table.get("speed_classes", False), bool):
        raise InputError(f"augment: speed_classes is {table['speed_classes']!r}; give true or false")
    if not table.get("speed_classes"):
        return False
    speaks = config.data.target == "speaker_id" and not config.head.tasks and not config.data.bins
    if not table.get("speeds") or not speaks:
        raise InputError("augment: speed_classes needs speeds, and speaker_id as the target; leave it out")
    return True


def _with_speeds(facts: dict[str, Any], speeds: list[float]) -> dict[str, Any]:
    """The facts of a classifier of speakers of which each speed makes new ones."""
    names = speed_class_names(facts["labels"], speeds)
    count = len(names) // len(facts["labels"])  # speed 1 is one of them, whether or not it is drawn
    repeated = {name: values and [*values] * count for name, values in facts.items() if name != "labels"}
    return {"labels": names, **repeated}


def _facts(target: str, names: list[str] | None, weights: Any, labels: Any, is_stream: bool) -> dict[str, Any]:
    """The settings of one head that follow from the labels of the training rows."""
    if names is None:
        mean, std = target_statistics(labels)
        return {"labels": [target], "target_mean": mean, "target_std": std, "problem_type": "regression"}
    if not is_stream and isinstance(labels[0], list):  # several a row
        return {"labels": names, "class_weights": weights, "problem_type": "multi_label_classification"}
    balanced = class_weights(labels, len(names)) if weights == "balanced" else weights
    counts = None if is_stream else class_counts(labels, len(names))  # a stream is not read to its end for this
    return {"labels": names, "class_weights": balanced, "class_counts": counts}
