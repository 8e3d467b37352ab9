"""Stock audio classifiers and x-vector models of transformers -> ours, with equal outputs."""

import os
from collections.abc import Mapping
from typing import Any

from torch import Tensor
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModelForAudioClassification,
    AutoModelForAudioXVector,
    PreTrainedModel,
    SequenceFeatureExtractor,
)
from transformers.utils import cached_file

from .configuration import HfSpeechConfig
from .conversion_weights import fill
from .encoder import name_of, naming
from .modeling import HfSpeechForSequenceClassification, HfSpeechForXVector, HfSpeechModel
from .pooling import TORCH_STD
from .registry import InputError, one_line

_CENTRES = "objective.weight"  # of the speakers that an x-vector model was trained on
# What transformers raises for a feature extractor's file that is missing, or whose JSON is not what it takes it to be.
_DAMAGED = (OSError, ValueError, AttributeError, TypeError, KeyError, RecursionError)
_MASK = "masked_spec_embed"  # for training alone; a checkpoint may lack it


def from_stock(
    stock: str | os.PathLike[str] | PreTrainedModel, *, revision: str | None = None
) -> HfSpeechForSequenceClassification | HfSpeechModel:
    """Converts a `Wav2Vec2ForSequenceClassification` or a `Wav2Vec2ForXVector`, or their like over another encoder.

    The outputs are the stock model's for an utterance alone. In a padded batch ours stay the same. The stock ones
    differ where the encoder has a group norm (or is a data2vec-audio or a conformer): it reads the padding. A stock
    x-vector model does so over any encoder: it counts the frames that its time-delay layers leave as if they had no
    dilation, and pools six frames too many (by default), which see the padding.

    Whether waveforms are to be normalised (`do_normalize`) is as the checkpoint's feature extractor has it.

    An x-vector model becomes an `HfSpeechForXVector`: `embeddings` and the loss (additive margin) are the same. What
    is called `logits` there are no scores of classes but a further vector, `model.head.affine(embeddings)` here; ours
    are the scaled cosines between it and the centres of the speakers, which the stock model makes for its loss alone.
    Of fewer frames than a field of the time-delay layers (15 by default, 0.3 s) the stock model makes none, or a
    deviation that is NaN; for ours see `TDNNNeck` and `MeanStdPooling`.

    Args:
        stock: Hub name or folder of a checkpoint, or the loaded model.
        revision: branch, tag or commit on the Hub.

    Returns:
        The model in evaluation mode; an `HfSpeechModel`, which makes embeddings, for the checkpoint of an x-vector
        model without the centres.

    Raises:
        InputError: the model is none of these over a supported encoder, or the checkpoint lacks weights.
    """
    given: dict[str, Any] = {}
    centres = True
    if isinstance(stock, str | os.PathLike):
        name = name_of(stock)
        stock, centres = _trained(name, revision)
        given["do_normalize"] = _normalises(name, revision)
    if not (hasattr(stock, "projector") and hasattr(stock, "classifier")):
        raise InputError(
            f"{type(stock).__name__} is no stock audio classifier (encoder, projector, mean, classifier) and no "
            "x-vector model: give a Wav2Vec2ForSequenceClassification, a Wav2Vec2ForXVector or their like"
        )
    for name in ("add_adapter", "use_intermediate_ffn_before_adapter"):
        if getattr(stock.config, name, False):
            raise InputError(f"{type(stock).__name__} has an adapter above its encoder ({name}), which ours does not")
    given |= {
        "backbone_config": stock.config.to_dict(),
        "layer": "weighted_sum" if stock.config.use_weighted_layer_sum else "last",
        "id2label": stock.config.id2label,
        "label2id": stock.config.label2id,
    }
    model = _x_vector(stock, given, centres) if hasattr(stock, "tdnn") else _classifier(stock, given)
    model.encoder.load_stock_weights(stock.base_model.state_dict())
    if model.encoder.layer_mix is not None:
        fill(model.encoder.layer_mix, {"layer_weights": stock.layer_weights}, "weighted sum")
    return model.eval()


def _classifier(stock: PreTrainedModel, given: Mapping[str, Any]) -> HfSpeechForSequenceClassification:
    """A model with the head of a stock classifier; its encoder is yet to be filled."""
    size = stock.config.classifier_proj_size
    kind = stock.config.problem_type or ("regression" if stock.config.num_labels == 1 else None)
    config = HfSpeechConfig(pooling="mean", head="projector", head_config={"size": size}, problem_type=kind, **given)
    model = HfSpeechForSequenceClassification(config)
    fill(model.head, _affine("projector", stock.projector) | _affine("classifier", stock.classifier), "head")
    return model


def _x_vector(stock: PreTrainedModel, given: Mapping[str, Any], with_head: bool) -> HfSpeechForXVector | HfSpeechModel:
    """A model with all of a stock x-vector model that stands above the encoder."""
    stock_config, objective = stock.config, stock.objective
    config = HfSpeechConfig(
        neck="tdnn",
        neck_config={
            "sizes": list(stock_config.tdnn_dim),
            "kernel_sizes": list(stock_config.tdnn_kernel),
            "dilations": list(stock_config.tdnn_dilation),
        },
        pooling="mean+std",
        pooling_config=dict(TORCH_STD),
        projection="linear",
        projection_config={"size": stock_config.xvector_output_dim},
        head="cosine",
        head_config={"scale": objective.scale, "affine": True},
        loss="am_softmax",
        loss_config={"margin": objective.margin},
        **given,
    )
    model = HfSpeechForXVector(config) if with_head else HfSpeechModel(config)
    neck = _affine("projection", stock.projector)
    for i, layer in enumerate(stock.tdnn):
        # An affine map of the frames under the taps, one behind the other.
        kernel = layer.kernel.weight.unflatten(1, (layer.kernel_size, layer.in_conv_dim))
        neck |= {f"layers.{i}.weight": kernel.transpose(1, 2), f"layers.{i}.bias": layer.kernel.bias}
    fill(model.base_model.neck, neck, "neck")
    fill(model.base_model.projection, _affine("linear", stock.feature_extractor), "projection")
    if with_head:
        fill(model.head, _affine("affine", stock.classifier) | {"weight": objective.weight.T}, "head")
    return model


def _affine(name: str, layer: Any) -> dict[str, Tensor]:
    return {f"{name}.weight": layer.weight, f"{name}.bias": layer.bias}


def _trained(name: str, revision: str | None) -> tuple[PreTrainedModel, bool]:
    """The model of a checkpoint, and whether all of it was trained: an x-vector model may be there without centres."""
    with naming(name):
        config = AutoConfig.from_pretrained(name, revision=revision)
    if isinstance(config, HfSpeechConfig):
        raise InputError(f"{name}: is a model of ours already; load it with from_pretrained")
    is_x_vector = any(made_as.endswith("ForXVector") for made_as in config.architectures or ())
    auto_class = AutoModelForAudioXVector if is_x_vector else AutoModelForAudioClassification
    with naming(name):
        model, report = auto_class.from_pretrained(name, revision=revision, output_loading_info=True)
    # transformers draws at random what is missing
    missing = {key for key in report["missing_keys"] if not key.endswith(_MASK)}
    base = f"{model.base_model_prefix}."
    absent = sorted(key for key in missing if not key.startswith(base) and key != _CENTRES)
    if absent:
        raise InputError(
            f"{name}: has no trained classifier (it lacks {', '.join(absent)}): start one from its encoder with "
            "from_backbone"
        )
    lost = sorted(missing - {_CENTRES})
    if lost:
        raise InputError(f"{name}: lacks {len(lost)} weights of its encoder, such as {lost[0]}: fetch it again")
    return model, _CENTRES not in missing


def _normalises(name: str, revision: str | None) -> bool | None:
    """`do_normalize` of a checkpoint's feature extractor; None where there is none, or it has no such setting."""
    return getattr(stored_extractor(name, revision), "do_normalize", None)


def stored_extractor(name: str, revision: str | None = None) -> Any:
    """The feature extractor of a checkpoint; None where there is none.

    Args:
        name: folder or Hub name of the checkpoint.
        revision: branch, tag or commit on the Hub.

    Raises:
        InputError: it can't be read.
    """
    file = "preprocessor_config.json"
    try:
        if not cached_file(name, file, revision=revision, _raise_exceptions_for_missing_entries=False):
            return None
        extractor = AutoFeatureExtractor.from_pretrained(name, revision=revision)
    except _DAMAGED as error:
        raise InputError(f"{name}: its {file} can't be read ({one_line(error)}); mend it") from error
    if not isinstance(extractor, SequenceFeatureExtractor):
        raise InputError(f"{name}: its {file} is of a {type(extractor).__name__}, which is not for audio; mend it")
    rate, normalises = extractor.sampling_rate, getattr(extractor, "do_normalize", None)
    if type(rate) is not int or rate <= 0 or not isinstance(normalises, bool | None):
        raise InputError(
            f"{name}: its {file} says sampling_rate {rate!r} and do_normalize {normalises!r}; give a whole number "
            "above 0, and true or false"
        )
    return extractor
