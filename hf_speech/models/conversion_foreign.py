"""Checkpoints of SpeechBrain, fairseq and four research systems -> models of ours, whole and with equal outputs.

What a checkpoint's parts become is said in `conversion_speechbrain`, `conversion_fairseq`, `conversion_wav2vec` and
`conversion_systems`. Here they are put together. No weight is left random: what is missing, or is one too many, is an
error; so files are refused that hold something else under a like name.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from torch import Tensor, nn

from .backbones import Wav2VecConfig
from .checkpoints import read_checkpoint
from .configuration import HfSpeechConfig
from .conversion_fairseq import wav2vec2_config, wav2vec2_normalises, wav2vec2_weights
from .conversion_speechbrain import Parts, ecapa_parts, told_by, xvector_parts
from .conversion_systems import System, aishell4_system, dmha_system, few_samples_system, ft_ser_system
from .conversion_wav2vec import wav2vec_options, wav2vec_weights
from .conversion_weights import fill, naming_file
from .fairseq_settings import fairseq_parts, settings_of
from .modeling import (
    HfSpeechForSequenceClassification,
    HfSpeechForXVector,
    HfSpeechModel,
    HfSpeechPreTrainedModel,
)
from .registry import InputError, lookup, one_line, options_of
from .ssl_encoder import SSLEncoder
from .state_dicts import state_of

File: TypeAlias = str | os.PathLike[str]
Weights: TypeAlias = File | Mapping[str, Tensor] | nn.Module

SYSTEMS: dict[str, Callable[..., System]] = {
    "dmha-age": dmha_system,
    "ft-ser": ft_ser_system,
    "few-samples": few_samples_system,
    "aishell4-sid": aishell4_system,
}
_MARGIN: dict[str, Any] = {"head": "cosine", "head_config": {"scale": 30.0}}
_MARGIN |= {"loss": "aam_softmax", "loss_config": {"margin": 0.2}}


def from_speechbrain(
    source: Weights,
    *,
    classifier: Weights | None = None,
    labels: Sequence[str] | None = None,
    dilations: Sequence[int] | None = None,
    activation: str | None = None,
) -> HfSpeechModel | HfSpeechForXVector:
    """A model with the weights of SpeechBrain's `ECAPA_TDNN` or `Xvector`, that takes waveforms.

    Its features are those of the recipes for VoxCeleb: SpeechBrain's `Fbank`, and of each utterance the mean taken off
    (`InputNormalization` with norm_type "sentence" and std_norm False); as many bands as the weights are for.

    For an utterance alone the embedding of an ECAPA-TDNN is SpeechBrain's; in a padded batch ours stays the same, and
    SpeechBrain's does not. Its x-vector adds noise to what it pools, anew at each call; ours is the mean of what it
    gives then (see `conversion_speechbrain`), and a deviation of one frame is 0, and not NaN.

    Args:
        source: file (`embedding_model.ckpt`), state dict or loaded module.
        classifier: the same of the `Classifier` of SpeechBrain's ECAPA-TDNN, without hidden blocks; ours gives its
            cosines times 30.
        labels: names of the classifier's classes in order; None: numbered.
        dilations: of all layers; None: the module's, or SpeechBrain's defaults.
        activation: of an x-vector, "leaky-relu" or "relu"; None: the module's, or SpeechBrain's default, the former.

    Returns:
        The model in evaluation mode: `HfSpeechModel`, or with a classifier `HfSpeechForXVector`, which then trains with
        the loss of the recipe (additive angular margin 0.2).

    Raises:
        InputError: it is none of these, or weights are missing.

    Example:
        >>> model = from_speechbrain("embedding_model.ckpt", classifier="classifier.ckpt")  # doctest: +SKIP
    """
    if labels is not None and classifier is None:
        raise InputError("labels are names of a classifier's classes: give its weights too, or leave the labels out")
    told: dict[str, Any] = told_by(source) if isinstance(source, nn.Module) else {}
    if dilations is not None:
        told["dilations"] = list(dilations)
    if activation is not None:
        told["activation"] = activation
    state = _state(source, "SpeechBrain")
    with naming_file(source):
        kind, parts = _speechbrain_parts(state, told)
        settings, states = _speechbrain_model(kind, parts, "speechbrain-fbank", "mean"), dict(parts.states)
        # Made in any case: what is wrong with this file is then not said of the classifier's.
        model = _whole(HfSpeechModel, settings | _MARGIN, states, None)
    if classifier is None:
        return model
    weights = _state(classifier, "a classifier of SpeechBrain's")
    with naming_file(classifier):
        states["head"] = {"weight": _centres(weights)}
        settings |= _MARGIN | {"num_labels": len(states["head"]["weight"])}
        return _whole(HfSpeechForXVector, settings, states, labels)


def from_fairseq(
    path: File,
    *,
    labels: Sequence[str] | None = None,
    backbone_config: dict[str, Any] | None = None,
    model_class: type[HfSpeechPreTrainedModel] = HfSpeechForSequenceClassification,
    **settings: Any,
) -> HfSpeechPreTrainedModel:
    """A model on fairseq's pretrained wav2vec 2.0 or wav2vec 1.0, with a fresh head, ready to be trained.

    As `from_backbone`, for a `.pt` of fairseq's: of a pretrained model, or of a transcriber made from one, whose output
    layer is left out. wav2vec 2.0 becomes transformers' encoder, wav2vec 1.0 the network "wav2vec". `do_normalize`
    is as the file has it.

    Args:
        path: the file.
        labels: label names in order; sets `num_labels`, `id2label` and `label2id`.
        backbone_config: values that replace the encoder's own, such as `{"hidden_dropout": 0.0}`.
        model_class: what is made of it.
        settings: fields of `HfSpeechConfig`: layer, pooling, head, loss, tasks ...

    Raises:
        InputError: an unknown setting or name, no such file, or one that is something else or lacks weights.

    Example:
        >>> model = from_fairseq("wav2vec_small.pt", layer=9, labels=["calm", "angry"])  # doctest: +SKIP
    """
    content = read_checkpoint(path)
    with naming_file(path):
        state, own = fairseq_parts(content)
        if any(name.startswith("feature_aggregator.") for name in state):
            part, weights = "network", wav2vec_weights(state)
            stock: Any = Wav2VecConfig(network_config=wav2vec_options(own, state))
            normalised = bool(settings_of(own).get("normalize", False))
        else:
            part, weights = "encoder", wav2vec2_weights(state)
            stock, normalised = wav2vec2_config(own, state), wav2vec2_normalises(own, state)
    settings = {"do_normalize": normalised, **settings}
    model = model_class.from_backbone(stock, labels=labels, backbone_config=backbone_config, **settings)
    with naming_file(path):
        _fill_encoder(model, {part: weights})
    return model


def from_system(
    path: File, system: str, *, labels: Sequence[str] | None = None, **settings: Any
) -> HfSpeechPreTrainedModel:
    """A model from a checkpoint of one of four research systems.

    With a classifier in it, the whole model, in evaluation mode, as the function of that system in `conversion_systems`
    describes it. A stage of ft-ser's pretraining (TAPT, P-TAPT) has none: its encoder then carries an `HfSpeechModel`,
    or with `labels` a fresh head, to be trained. What else it has is left out: quantizer, clusterings, and behind a
    wav2vec 1.0 the convolution that halves its frames.

    Args:
        path: the file: `.chkpt` of dmha-age, Lightning's `.ckpt` of the others.
        system: "dmha-age", "ft-ser", "few-samples" or "aishell4-sid".
        labels: label names in order; None: numbered.
        settings: with few-samples `pooling`, which its wav2vec 2.0 was trained with ("mean" if not given); with a
            stage that has no classifier, fields of `HfSpeechConfig`.

    Returns:
        `HfSpeechForXVector` for few-samples, else `HfSpeechForSequenceClassification` (or `HfSpeechModel`, see above).

    Raises:
        InputError: an unknown system or setting, no such file, or one that is something else or lacks weights.

    Example:
        >>> model = from_system("epoch=12.ckpt", "ft-ser", labels=["calm", "angry", "sad"])  # doctest: +SKIP
    """
    make = lookup(SYSTEMS, system, "system")
    told = {name: settings.pop(name) for name in options_of(make) if name in settings}
    content = read_checkpoint(path)
    with naming_file(path):
        found = make(content, **told)
        own, states = found.settings, dict(found.states)
        if "speechbrain" in states:
            if told:
                raise InputError(f"it holds a network with a pooling of its own: leave out {', '.join(told)}")
            kind, parts = _speechbrain_parts(states.pop("speechbrain"), {})
            own = _speechbrain_model(kind, parts, "mfcc", "mean+variance") | own
            states |= parts.states
        if "head" in states:
            if settings:
                raise InputError(
                    f"it holds a whole model of {system}, whose settings are its own: leave out {', '.join(settings)}"
                )
            model_class = HfSpeechForXVector if system == "few-samples" else HfSpeechForSequenceClassification
            return _whole(model_class, own, states, labels)
    return _on_encoder(path, own["backbone_config"], states, labels, settings)


def _on_encoder(
    path: File, backbone: Any, states: Mapping[str, Any], labels: Sequence[str] | None, settings: Mapping[str, Any]
) -> HfSpeechPreTrainedModel:
    """A model whose encoder alone has weights; the rest has none, or is fresh."""
    model_class = HfSpeechModel if labels is None else HfSpeechForSequenceClassification
    if isinstance(backbone, Mapping):
        backbone = Wav2VecConfig(network_config=backbone["network_config"])
    model = model_class.from_backbone(backbone, labels=labels, **settings)
    with naming_file(path):
        _fill_encoder(model, states)
    return model.eval() if labels is None else model


def _whole(
    model_class: Any, settings: Mapping[str, Any], states: Mapping[str, Mapping[str, Tensor]], labels: Any
) -> Any:
    """A model of which every part gets its weights: those of the encoder, "pooling", "projection" and "head"."""
    settings = dict(settings)
    if labels is not None:
        count = settings.pop("num_labels")
        if len(labels) != count:
            raise InputError(f"{len(labels)} labels were given, but the weights are for {count} classes: give as many")
        settings |= {"id2label": dict(enumerate(labels)), "label2id": {name: i for i, name in enumerate(labels)}}
    model = model_class(HfSpeechConfig(**settings)).eval()
    if hasattr(model.base_model.pooling, "token") and "token" not in states:
        raise InputError(f"it holds no class token, which the pooling {settings['pooling']!r} looks at: give another")
    _fill_encoder(model, states)
    fill(model.base_model.neck, {}, "neck")
    for part in ("pooling", "projection"):
        fill(getattr(model.base_model, part), states.get(part, {}), part)
    if "head" in states:
        fill(model.head, states["head"], "head")
    return model


def _fill_encoder(model: HfSpeechPreTrainedModel, states: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Gives the encoder its weights: "network", or "encoder" and where it has a learned class token "token"."""
    encoder = model.encoder
    if not isinstance(encoder, SSLEncoder):
        fill(encoder.backbone, states["network"], "network")
        return
    try:
        encoder.load_stock_weights(dict(states["encoder"]))
    except RuntimeError as error:  # of torch, for weights of another shape
        raise InputError(f"the weights of the encoder: {one_line(error)}") from error
    token = getattr(getattr(encoder, "class_token", None), "token", None)
    if token is not None and "token" in states:
        token.data.copy_(states["token"]["weight"])


def _state(source: Weights, what: str) -> dict[str, Tensor]:
    if isinstance(source, nn.Module):
        return source.state_dict()
    content = source if isinstance(source, Mapping) else read_checkpoint(source)
    with naming_file(source):
        return state_of(content, "state_dict", what)


def _speechbrain_parts(state: Mapping[str, Tensor], told: Mapping[str, Any]) -> tuple[str, Parts]:
    """The type of the network, and its parts; `told` is what no shape tells."""
    if any(name.endswith("blocks.0.conv.conv.weight") for name in state):
        if "activation" in told:
            raise InputError("an ECAPA_TDNN has ReLU only: leave out the activation")
        return "ecapa-tdnn", ecapa_parts(state, **told)
    if any(name.endswith("blocks.0.conv.weight") for name in state):
        return "x-vector", xvector_parts(state, **told)
    raise InputError(
        "no state dict of SpeechBrain's ECAPA_TDNN or Xvector: none of its names ends in blocks.0.conv.conv.weight or "
        "blocks.0.conv.weight"
    )


def _speechbrain_model(kind: str, parts: Parts, frontend: str, norm: str) -> dict[str, Any]:
    """Settings of the model that SpeechBrain's network is with this front end."""
    bands = "coefficients" if frontend == "mfcc" else "bands"
    return {
        "backbone_config": {
            "model_type": kind,
            "frontend": frontend,
            "frontend_config": {bands: parts.input_size, "norm": norm},
            "network_config": parts.options["network"],
        },
        "pooling": "attentive" if kind == "ecapa-tdnn" else "mean+std",
        "pooling_config": parts.options["pooling"],
        "projection": "batchnorm+linear" if kind == "ecapa-tdnn" else "linear",
        "projection_config": parts.options["projection"],
    }


def _centres(state: Mapping[str, Tensor]) -> Tensor:
    """The only weight of a classifier, (labels, dimensions)."""
    weights = list(state.values())
    if len(weights) != 1 or weights[0].dim() != 2 or not next(iter(state)).endswith("weight"):
        raise InputError(
            "a classifier of SpeechBrain's without hidden blocks has one weight, (labels, dimensions); this one has "
            f"{', '.join(list(state)[:8])}: convert the embeddings alone, and train a head"
        )
    return weights[0]
