"""What a configuration refuses, and that each refusal lists what is valid."""

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoConfig, PreTrainedConfig

from hf_speech.errors import InputError
from hf_speech.models.backbones import EcapaConfig
from hf_speech.models.configuration import BACKBONES, HfSpeechConfig
from hf_speech.models.heads import HEADS
from hf_speech.models.losses import LOSSES
from hf_speech.models.modeling import HfSpeechForSequenceClassification, HfSpeechModel
from hf_speech.models.pooling import POOLINGS
from hf_speech.testing import tiny_backbone_config

from .tiny import tiny_config

NAN, INFINITE = float("nan"), float("inf")
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
        ({"class_weights": [1.0, NAN, 1.0]}, ["class_weights must be above 0", "give a finite number a label"]),
        ({"class_weights": [1.0, INFINITE, 1.0]}, ["class_weights must be above 0"]),
        ({"class_weights": ["a", "b", "c"]}, ["class_weights must be above 0, but are ['a', 'b', 'c']"]),
        ({"class_weights": [True, True, True]}, ["class_weights must be above 0"]),
        ({"class_counts": [1, -1, 0]}, ["class_counts must be 0 or more, but are [1, -1, 0]"]),
        ({"class_counts": [1, NAN, 0]}, ["class_counts must be 0 or more"]),
        ({"num_labels": 1, "target_mean": NAN}, ["target_mean must be a finite number, but is nan"]),
        ({"num_labels": 1, "target_mean": 10**400}, ["target_mean must be a finite number"]),
        ({"num_labels": 1, "target_std": INFINITE}, ["target_std must be above 0, but is inf; give a finite number"]),
        ({"num_labels": 1, "target_std": NAN}, ["target_std must be above 0, but is nan"]),
        ({"num_labels": "3"}, ["num_labels is '3'; give a whole number of 1 or more"]),
        ({"num_labels": 0}, ["num_labels is 0; give a whole number of 1 or more"]),
        ({"id2label": {0: "a", 1: "b"}}, ["num_labels is 3, but there are 2 labels: leave num_labels out"]),
        ({"layer": True}, ["layer is True; give a whole number or text"]),
        ({"pooling": ["mean"]}, ["pooling is ['mean']; give text"]),
        ({"head_config": "abc"}, ["head_config is 'abc'; give a table or nothing"]),
        ({"backbone_config": "wav2vec2"}, ["backbone_config is 'wav2vec2'; give a configuration, or its table"]),
        ({"backbone_config": {"model_type": "vgg", "frontend": 3}}, ["frontend is 3; give text"]),
        (
            {"backbone_config": {"model_type": "ecapa-tdnn"}, "layer": 2},
            ["layer 2 does not exist; valid: last, as ecapa-tdnn has no layers to choose from"],
        ),
        (
            {"backbone_config": {"model_type": "ecapa-tdnn", "num_hidden_layers": 3}, "layer": 2},
            ["num_hidden_layers is 3, but ecapa-tdnn has no layers to choose from", "network_config"],
        ),
        (
            {"backbone_config": {"model_type": "ecapa-tdnn", "hiden_size": 64}},
            ["unknown value of a ecapa-tdnn configuration 'hiden_size'", "network_config"],
        ),
        (
            {"backbone_config": {"model_type": "wav2vec2", "hiden_size": 64}},
            ["unknown value of a wav2vec2 configuration 'hiden_size' (did you mean 'hidden_size'?)"],
        ),
        ({"tasks": {"age": {"los": "mse"}}}, ["unknown field of task 'age' 'los' (did you mean 'loss'?)", "labels"]),
        ({"tasks": {"a.b": {"labels": ["x", "y"]}}}, ["a task can't be called 'a.b'"]),
        ({"tasks": {"age": {"loss": "mse", "weight": -1}}}, ["task 'age': weight is -1; give a number of 0 or more"]),
        ({"tasks": {"age": {"loss": "mse", "weight": "1"}}}, ["task 'age': weight is '1'; give a number of 0 or more"]),
        ({"tasks": {"age": {"loss": "mse", "weight": NAN}}}, ["task 'age': weight is nan; give a number of 0 or more"]),
        ({"tasks": {"a": "x"}}, ["tasks: 'a' is 'x'; give a table, field -> value"]),
        ({"tasks": ["x"]}, ["tasks: a table has no name; give {name: {field: value}}"]),
        ({"tasks": {1: {"labels": ["x", "y"]}}}, ["a task can't be called 1"]),
        ({"tasks": {"a": {"labels": "abc"}}}, ["task 'a': labels is 'abc'; give a list of names"]),
        ({"tasks": {"a": {"labels": 3}}}, ["task 'a': labels is 3; give a list of names"]),
        ({"tasks": {"a": {"num_labels": "3"}}}, ["task 'a': num_labels is '3'; give a whole number of 1 or more"]),
        (
            {"tasks": {"a": {"labels": ["x", "y"], "num_labels": 3}}},
            ["task 'a': num_labels is 3, but there are 2 labels: leave it out"],
        ),
        (
            {"tasks": {"a": {"labels": ["x", "y"], "head_config": "abc"}}},
            ["head 'linear': its options are 'abc'; give a table, option -> value"],
        ),
        (
            {"tasks": {"a": {"labels": ["x", "y"], "class_weights": "balanced"}}},
            ["class_weights is 'balanced'; give a list, one number a label"],
        ),
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
    for settings, expected in (({}, [0, 0]), ({"layerdrop": 0.2}, [0.2, 0.2])):
        backbone: Any = HfSpeechModel(HfSpeechConfig(backbone_config=stock, **settings)).encoder.backbone
        assert [getattr(layer, "layerdrop", 0) for layer in backbone.encoder.layers] == expected
        assert backbone.config.layerdrop == 0  # transformers' own, in the loop over the layers
    assert stock.layerdrop == 0.3  # what was given is not changed


@pytest.mark.parametrize("values", [{"bogus": 3}, {"num_hidden_layers": 2}, {"frontend_confg": {}}])
def test_configurations_of_our_networks_refuse_what_has_no_effect(values: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"{next(iter(values))}"):
        EcapaConfig(**values)
    assert EcapaConfig(**EcapaConfig(frontend="mfcc").to_dict()).frontend == "mfcc"


@pytest.mark.parametrize("read", [HfSpeechConfig.from_pretrained, AutoConfig.from_pretrained])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_file_of_another_version_is_read(backbone: str, read: Any, tmp_path: Path) -> None:
    tiny_config(backbone).save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    stored = json.loads(file.read_text())
    stored["backbone_config"] |= {"of_another_version": 7, "gradient_checkpointing": False}
    file.write_text(json.dumps(stored))
    config = read(tmp_path)
    assert config.backbone_config.of_another_version == 7
    assert config.encoder_config().of_another_version == 7
    config.save_pretrained(tmp_path / "again")
    assert read(tmp_path / "again").backbone_config.of_another_version == 7
    # transformers lets a number of labels replace those of a file.
    assert read(tmp_path, num_labels=7).num_labels == 7 and config.num_labels == 3


@pytest.mark.parametrize("backbone", ["wav2vec2", "ecapa-tdnn"])
def test_a_whole_table_of_a_checkpoint_is_taken(backbone: str) -> None:
    stock: PreTrainedConfig = tiny_backbone_config(backbone)
    stock.num_ctc_classes = 80  # as old checkpoints have it
    taken = HfSpeechConfig(backbone_config=stock.to_dict()).backbone_config
    assert taken.num_ctc_classes == 80 and taken.to_dict() == stock.to_dict()
