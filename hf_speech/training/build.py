"""The parts of a run that are built from its arguments: encoder configuration, feature extractor, model."""

import logging
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import CONFIG_MAPPING, AutoConfig, AutoFeatureExtractor, Wav2Vec2FeatureExtractor
from transformers.utils import cached_file

from ..data.targets import class_weights, target_statistics
from ..errors import InputError, one_line, unknown_name
from ..models.configuration import BACKBONES
from ..models.modeling import HfSpeechForSequenceClassification
from .arguments import ModelArguments, RunConfig
from .rows import RunRows

logger = logging.getLogger(__name__)


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
        raise InputError(f"backbone_config: {one_line(error)}") from error
    except (OSError, ValueError) as error:
        mend = "give a folder with a checkpoint, or a name on the Hub"
        raise InputError(f"backbone {arguments.backbone}: can't be loaded ({one_line(error)}); {mend}") from error


def feature_extractor(arguments: ModelArguments, encoder: Any) -> Any:
    """The checkpoint's feature extractor; every model of ours is told what is padding.

    A checkpoint without one, and an encoder from scratch, get the rule of the published ones: layer-norm encoders take
    waveforms of zero mean and unit variance. From scratch it is the rule for all.
    """
    extractor = Wav2Vec2FeatureExtractor(do_normalize=True)
    if arguments.backbone is not None:
        name = "preprocessor_config.json"
        try:
            there = cached_file(arguments.backbone, name, _raise_exceptions_for_missing_entries=False)
            if there:
                extractor = AutoFeatureExtractor.from_pretrained(arguments.backbone)
        except (OSError, ValueError) as error:
            raise InputError(f"{arguments.backbone}: its {name} can't be read ({one_line(error)}); mend it") from error
        if not there:
            extractor.do_normalize = getattr(encoder, "feat_extract_norm", "layer") == "layer"
            logger.warning("%s has no feature extractor; normalising: %s", arguments.backbone, extractor.do_normalize)
    extractor.return_attention_mask = True
    if arguments.normalize is not None:
        extractor.do_normalize = arguments.normalize
    return extractor


def build_model(config: RunConfig, rows: RunRows, sampling_rate: int) -> HfSpeechForSequenceClassification:
    """The model of a run, as yet untrained, with what has to be known of its rows.

    Raises:
        InputError: the values don't fit together, or not the checkpoint's weights.
    """
    arguments = config.model
    settings: dict[str, Any] = {"target": config.data.target, "unit": config.run.unit, "sampling_rate": sampling_rate}
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
        raise InputError(f"the model can't be built {what} ({one_line(error)}); {mend}") from error
    if arguments.freeze == "cnn":
        model.freeze_feature_encoder()
    elif arguments.freeze == "backbone":
        model.freeze_backbone()
    model.freeze_encoder_layers(arguments.freeze_layers)
    return model
