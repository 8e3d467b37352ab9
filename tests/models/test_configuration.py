"""What a configuration refuses, and that each refusal lists what is valid."""

from pathlib import Path
from typing import Any

import pytest

from hf_speech.errors import InputError
from hf_speech.models.configuration import BACKBONES, HfSpeechConfig
from hf_speech.models.heads import HEADS
from hf_speech.models.losses import LOSSES
from hf_speech.models.modeling import HfSpeechForSequenceClassification, HfSpeechModel
from hf_speech.models.pooling import POOLINGS
from hf_speech.testing import tiny_backbone_config

from .tiny import tiny_config

TWELVE = tiny_backbone_config("wav2vec2", num_hidden_layers=12)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"loss": "crossentropy"}, ["unknown loss 'crossentropy' (did you mean 'cross_entropy'?)", *LOSSES]),
        ({"loss": "mse"}, ["'mse' predicts one number, but num_labels is 3"]),
        ({"num_labels": 1, "loss": "cross_entropy"}, ["'cross_entropy' needs at least 2 labels, but num_labels is 1"]),
        ({"loss": "cross_entropy", "problem_type": "regression"}, ["single_label_classification", "'regression'"]),
        ({"layer": 13}, ["layer 13 does not exist: the encoder has layers 1 to 12"]),
        ({"layer": 0}, ["layer 0 does not exist: the encoder has layers 1 to 12"]),
        ({"layer": -1}, ["layer -1 does not exist: the encoder has layers 1 to 12"]),
        ({"layer": "all"}, ["unknown layer 'all'; valid: last, weighted_sum, or a number from 1 to 12"]),
        ({"layer": "weighted_sum", "layerdrop": 0.1}, ["layerdrop must be 0 with layer 'weighted_sum'"]),
        ({"class_weights": [1.0, 2.0]}, ["class_weights has 2 values for 3 labels"]),
        ({"num_labels": 1, "target_std": 0.0}, ["target_std must be above 0, but is 0.0"]),
        ({"backbone_config": {"model_type": "wav2vec3"}}, ["'wav2vec3' (did you mean 'wav2vec'?)", *BACKBONES]),
        ({"backbone_config": {"hidden_size": 32}}, ["unknown backbone model_type None", *BACKBONES]),
        ({"head": "cosine", "loss": "mse", "num_labels": 1}, ["loss 'mse' does not go with head 'cosine'", "linear, "]),
        ({"loss": "aam_softmax"}, ["loss 'aam_softmax' does not go with head 'linear'", "valid heads", "cosine"]),
        (
            {"head": "ordinal", "loss": "coral", "num_labels": 1},
            ["'coral' needs at least 2 labels"],
        ),
        (
            {"head_config": {"sise": 3}, "head": "mlp"},
            ["head 'mlp' 'sise' (did you mean 'size'?)", "dropout"],
        ),
        ({"head_config": {"size": 3}}, ["head 'linear' has no options, but 'size' was given; leave it out"]),
        (
            {"head": "cosine", "loss": "aam_softmax", "loss_config": {"margin": 4.0}},
            ["loss 'aam_softmax': margin is 4.0; give a number from 0 to 3.14159"],
        ),
        ({"class_weights": [1.0, 0.0, 1.0]}, ["class_weights must be above 0"]),
        (
            {"backbone_config": {"model_type": "ecapa-tdnn"}, "layer": 2},
            ["layer 2 does not exist; valid: last, as ecapa-tdnn has no layers to choose from"],
        ),
        ({"tasks": {"age": {"los": "mse"}}}, ["unknown field of task 'age' 'los' (did you mean 'loss'?)", "labels"]),
        ({"tasks": {"a.b": {"labels": ["x", "y"]}}}, ["a task can't be called 'a.b'"]),
        ({"tasks": {"age": {"loss": "mse", "weight": -1}}}, ["task 'age': weight is -1; give a number of 0 or more"]),
    ],
)
def test_what_can_not_be_built_is_refused(settings: dict[str, Any], named: list[str]) -> None:
    with pytest.raises(InputError) as refusal:
        HfSpeechConfig(**{"backbone_config": TWELVE, "num_labels": 3, **settings})
    message = str(refusal.value)
    assert "\n" not in message
    for words in named:
        assert words in message


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"pooling": "mean_std"}, ["unknown pooling 'mean_std' (did you mean 'mean+std'?)", *POOLINGS]),
        ({"head": "batch_norm"}, ["unknown head 'batch_norm' (did you mean 'batchnorm'?)", *HEADS]),
        ({"poling": "mean"}, ["unknown setting of HfSpeechConfig 'poling' (did you mean 'pooling'?)", "head_config"]),
        (
            {"backbone_config": {"hidden_droput": 0.0}},
            ["unknown value of a wav2vec2 configuration 'hidden_droput' (did you mean 'hidden_dropout'?)"],
        ),
    ],
)
def test_from_backbone_refuses_misspelt_names(settings: dict[str, Any], named: list[str]) -> None:
    with pytest.raises(InputError) as refusal:
        HfSpeechForSequenceClassification.from_backbone(TWELVE, labels=["a", "b"], **settings)
    for words in named:
        assert words in str(refusal.value)


def test_settings_and_labels_arrive() -> None:
    model = HfSpeechForSequenceClassification.from_backbone(
        tiny_backbone_config("hubert"),
        labels=["calm", "angry"],
        layer=1,
        pooling="max",
        head="mlp",
        class_weights=[1.0, 2.0],
        backbone_config={"hidden_dropout": 0.25},
    )
    config = model.config
    assert (config.layer, config.pooling, config.head, config.class_weights) == (1, "max", "mlp", [1.0, 2.0])
    assert (config.id2label, config.label2id) == ({0: "calm", 1: "angry"}, {"calm": 0, "angry": 1})
    assert model.encoder.backbone.config.hidden_dropout == 0.25
    assert tiny_backbone_config("hubert").hidden_dropout == 0.1


def test_the_loss_follows_from_the_labels() -> None:
    assert tiny_config(num_labels=4).loss == "cross_entropy"
    assert tiny_config(num_labels=4).problem_type == "single_label_classification"
    assert tiny_config(num_labels=1).loss == "mse" and tiny_config(num_labels=1).problem_type == "regression"
    assert tiny_config(num_labels=1, loss="l1").problem_type == "regression"
    assert tiny_config(num_labels=1, problem_type="regression").loss == "mse"


def test_values_survive_the_disk(tmp_path: Path) -> None:
    config = tiny_config("wavlm", layer="weighted_sum", pooling="mean+std", class_weights=[1, 2.5, 3], unit="years")
    config.save_pretrained(tmp_path)
    loaded = HfSpeechConfig.from_pretrained(tmp_path)
    assert (loaded.layer, loaded.pooling, loaded.unit) == ("weighted_sum", "mean+std", "years")
    assert (loaded.loss, loaded.problem_type) == ("cross_entropy", "single_label_classification")
    assert loaded.class_weights == [1, 2.5, 3] and loaded.num_labels == 3
    assert loaded.backbone_config.to_dict() == config.backbone_config.to_dict()


def test_layerdrop_is_ours_not_the_checkpoint_s() -> None:
    stock = tiny_backbone_config("wav2vec2", layerdrop=0.3)
    assert HfSpeechModel(HfSpeechConfig(backbone_config=stock)).encoder.backbone.config.layerdrop == 0
    given = HfSpeechModel(HfSpeechConfig(backbone_config=stock, layerdrop=0.2))
    assert given.encoder.backbone.config.layerdrop == 0.2
    assert stock.layerdrop == 0.3  # what was given is not changed
