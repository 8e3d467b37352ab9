"""Stock audio classifiers of transformers -> ours, with equal logits."""

from transformers import AutoConfig, AutoModelForAudioClassification, PreTrainedModel

from .configuration import HfSpeechConfig
from .modeling import HfSpeechForSequenceClassification
from .registry import InputError


def from_stock(stock: str | PreTrainedModel, *, revision: str | None = None) -> HfSpeechForSequenceClassification:
    """Converts a `Wav2Vec2ForSequenceClassification`, or its sibling of another encoder, to a model of ours.

    The logits are the stock model's for an utterance alone. In a padded batch ours stay the same, and the stock ones
    differ where the encoder has a group norm (or is a data2vec-audio or a conformer): it reads the padding.

    Args:
        stock: Hub name or folder of a checkpoint, or the loaded model.
        revision: branch, tag or commit on the Hub.

    Raises:
        InputError: the model is no stock audio classifier over a supported encoder, or the checkpoint has no
            classifier's weights.
    """
    if isinstance(stock, str):
        stock = _trained_classifier(stock, revision)
    # An x-vector model has parts of these names too, and others between them.
    if not (hasattr(stock, "projector") and hasattr(stock, "classifier")) or hasattr(stock, "tdnn"):
        raise InputError(
            f"{type(stock).__name__} is no stock audio classifier (encoder, projector, mean, classifier): give a "
            "Wav2Vec2ForSequenceClassification or its like"
        )
    config = HfSpeechConfig(
        backbone_config=stock.config.to_dict(),
        layer="weighted_sum" if stock.config.use_weighted_layer_sum else "last",
        pooling="mean",
        head="projector",
        head_config={"size": stock.config.classifier_proj_size},
        id2label=stock.config.id2label,
        label2id=stock.config.label2id,
    )
    model = HfSpeechForSequenceClassification(config).eval()
    model.encoder.load_stock_weights(stock.base_model.state_dict())
    if model.encoder.layer_mix is not None:
        model.encoder.layer_mix.layer_weights.data.copy_(stock.layer_weights.data)
    model.head.projector.load_state_dict(stock.projector.state_dict())
    model.head.classifier.load_state_dict(stock.classifier.state_dict())
    return model


def _trained_classifier(name: str, revision: str | None) -> PreTrainedModel:
    AutoConfig.from_pretrained(name, revision=revision)  # a clear error of the library's for a wrong name
    model, report = AutoModelForAudioClassification.from_pretrained(name, revision=revision, output_loading_info=True)
    absent = sorted(key for key in report["missing_keys"] if not key.startswith(f"{model.base_model_prefix}."))
    if absent:  # transformers draws them at random
        raise InputError(
            f"{name}: has no trained classifier (it lacks {', '.join(absent)}): start one from its encoder with "
            "from_backbone"
        )
    return model
