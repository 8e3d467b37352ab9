"""Parts of models that can't be, or don't go together: one line that names the part and what is valid, no model."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from hf_speech.errors import InputError
from hf_speech.models.modeling import HfSpeechForSequenceClassification
from hf_speech.models.presets import PRESETS
from hf_speech.testing import write_fake_corpus

from .models.tiny import tiny_config
from .training.runs import Refuse, read_table, refusing, write_table

ECAPA = {"network_config": {"channels": [16, 16, 16, 16, 24], "scale": 4, "se_channels": 8}}
PRESET: dict[str, Any] = {"backbone": "ecapa-256", "backbone_config": ECAPA, "pooling": None, "target": "speaker_id"}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The table of a corpus of 2 speakers x 4 clips."""
    return write_fake_corpus(tmp_path_factory.mktemp("corpus"), speakers=2, per_speaker=4, seconds=(0.2, 0.4))


@pytest.fixture
def refuse(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Refuse]:
    """refuse(*flags, **fields) -> the line with which `hf-speech train` refuses them; no model is left."""

    yield refusing(corpus, tmp_path, capsys)
    assert not list((tmp_path / "model").glob("*"))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            {"pooling": "multi-head", "pooling_config": {"heads": 5}},
            ("pooling: heads is 5", "divides the 32 dimensions"),
        ),
        ({"pooling": "double-multi-head", "pooling_config": {"heads": 0}}, ("pooling: heads is 0", "1, 2, 4, 8")),
        (
            {"pooling": "attentive", "pooling_config": {"botleneck": 8}},
            ("'botleneck'", "'bottleneck'", "global_context"),
        ),
        ({"pooling": "mean", "pooling_config": {"heads": 2}}, ("pooling 'mean' has no options, but 'heads'",)),
        ({"neck": "transformer", "neck_config": {"size": 6, "heads": 4}}, ("neck 'transformer'", "6", "4")),
        ({"neck": "gru"}, ("unknown neck 'gru'", "none, relu")),
        ({"projection": "linear", "projection_config": {"size": 0}}, ("size is 0", "1 or more")),
        ({"projection": "lineal"}, ("unknown projection 'lineal'", "did you mean 'linear'")),
        ({"head": "cosine", "head_config": {"scale": -1}}, ("head 'cosine': scale is -1",)),
        ({"head": "mlp", "head_config": {"sise": 8}}, ("option of head 'mlp' 'sise'", "did you mean 'size'")),
        (
            {"loss": "aam_softmax"},
            ("loss 'aam_softmax' does not go with head 'linear'", "valid heads for the loss: cosine"),
        ),
        (
            {"head": "cosine", "loss": "mse", "target": "age"},
            ("loss 'mse' does not go with head 'cosine'", "aam_softmax"),
        ),
        ({"head": "cosine", "loss": "aam_softmax", "loss_config": {"margin": 4}}, ("margin is 4", "0 to 3.14159")),
        (
            {"head": "cosine", "loss": "aam_softmax", "loss_config": {"margn": 0.2}},
            ("'margn'", "did you mean 'margin'"),
        ),
        ({"loss": "focal", "loss_config": {"gamma": "much"}}, ("loss 'focal': gamma is 'much'; give a number",)),
        ({"head": "ordinal", "loss": "coral", "target": "age", "bins": "20,30"}, ("a classifier needs two bins",)),
        (
            {"head": "ordinal", "loss": "coral", "target": "age", "bins": "15,40,60", "test": "none"},
            ("'age' has one class (15-39) in the training rows",),
        ),
        (
            {"head": "distribution", "loss": "label_distribution", "target": "age", "head_config": {"step": 3}},
            ("step 3",),
        ),
        ({"bins": "decadess", "target": "age"}, ("unknown rule of bins 'decadess'", "did you mean 'decades'")),
        ({"bins": "30,20,40", "target": "age"}, ("edges must be numbers that rise",)),
        ({"bins": "decades"}, ("row 0: 'low' is not a number, so it falls into no bin",)),
        ({"loss": "binary_cross_entropy", "labels": ["low", "loud"]}, ("no training row has label loud",)),
        ({"loss": "binary_cross_entropy", "class_weights": "balanced"}, ("balanced is for one label a row",)),
        ({"loss": "binary_cross_entropy", "streaming": True}, ("neither bins nor several labels",)),
        ({"target": "age", "bins": "decades", "streaming": True}, ("neither bins nor several labels",)),
        ({"layer": 3}, ("layer 3 does not exist: the encoder has layers 1 to 2",)),
        ({**PRESET, "layer": 2}, ("layer 2 does not exist; valid: last, as ecapa-tdnn has no layers",)),
        ({**PRESET, "layer": "weighted_sum"}, ("layer 'weighted_sum' does not exist",)),
        ({**PRESET, "freeze_layers": 1}, ("can't freeze 1 layers: the encoder has 0",)),
        ({**PRESET, "freeze": "cnn"}, ("no feature encoder to freeze",)),
        ({**PRESET, "pooling": "first+cls"}, ("puts a token before a transformer's frames",)),
        (
            {**PRESET, "backbone_config": {"network_config": {"chanels": [8]}}},
            ("option of backbone 'ecapa-tdnn' 'chanels'", "did you mean 'channels'"),
        ),
        (
            {**PRESET, "backbone_config": {"frontend": "mel"}},
            ("unknown frontend 'mel'", "kaldi-fbank, log-mel, mfcc"),
        ),
        ({**PRESET, "backbone_config": {"hidden_size": 8}}, ("'hidden_size'", "network_config")),
        ({**PRESET, "per_device_train_batch_size": 1}, ("batch_size 1 is under 2, which a batch norm needs",)),
        (
            {"projection": "linear+batchnorm", "per_device_train_batch_size": 1},
            ("batch_size 1 is under 2, which a batch norm needs",),
        ),
        ({"backbone": "ecapa-257", "backbone_config": None}, ("backbone ecapa-257: can't be loaded", *PRESETS)),
        ({"loss": "logit_adjusted", "streaming": True, "labels": ["low", "high"]}, ("needs class_counts",)),
    ],
)
def test_parts(refuse: Refuse, fields: dict[str, Any], said: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # or a Hub that is not there is waited for
    line = refuse(**fields)
    assert all(words in line for words in said), line


SPEEDS = {"speeds": [0.9, 1.0, 1.1], "speed_classes": True}


@pytest.mark.parametrize(
    ("augment", "target", "said"),
    [
        ({"speds": [0.9]}, "label", ("unknown field of augment 'speds'", "did you mean 'speeds'", "mu_law")),
        ({"sample_rate": 8000}, "label", ("unknown field of augment 'sample_rate'",)),
        ({"noise": {"probability": 2}}, "label", ("augment: noise.probability 2: give a number from 0 to 1",)),
        ({"noise": {"snr": [15, 0]}}, "label", ("augment: noise.snr [15, 0]: give the lowest and the highest value",)),
        ({"speeds": 0.9}, "label", ("augment: speeds 0.9: give a list",)),
        ({"speeds": [3.0]}, "label", ("augment: speed 3.0: give a factor from 0.5 to 2",)),
        ({"noise": {"colours": ["blue"]}}, "label", ("unknown colour of noise 'blue'", "brown, pink, white")),
        ({"noise": {"folder": "nowhere"}}, "label", ("augment: noise.folder nowhere: there is no such folder",)),
        ({"noise": {"probabilty": 1}}, "label", ("unknown option of noise 'probabilty'", "did you mean 'probability'")),
        (SPEEDS, "label", ("augment: speed_classes needs speeds, and speaker_id as the target",)),
        ({"speed_classes": True}, "speaker_id", ("augment: speed_classes needs speeds",)),
        ({**SPEEDS, "speed_classes": "some"}, "speaker_id", ("augment: speed_classes is 'some'; give true or false",)),
        ("loud", "label", ("augment: 'loud' is no table",)),
    ],
)
def test_augmentation(refuse: Refuse, augment: Any, target: str, said: tuple[str, ...]) -> None:
    line = refuse(augment=augment, target=target)
    assert all(words in line for words in said), line


def test_speeds_of_speakers_who_are_not_the_only_task(refuse: Refuse) -> None:
    line = refuse(augment=SPEEDS, tasks={"speaker_id": {}, "label": {}})
    assert "augment: speed_classes needs speeds, and speaker_id as the target" in line


def test_a_batch_that_is_left_with_one_row_is_no_surprise(corpus: Path, tmp_path: Path) -> None:
    """Where a projection norms over the batch, a last batch of one takes rows of the one before."""
    from .training.runs import read_results, train_tiny

    table = write_table(corpus.with_name("five.csv"), read_table(corpus)[:5])
    small = {"per_device_train_batch_size": 4, "num_train_epochs": 1, "projection": "linear+batchnorm"}
    folder = train_tiny(tmp_path / "model", table, projection_config={"size": 8}, **small)
    assert read_results(folder)["run"]["steps"] == 2  # 3 rows and 2


@pytest.mark.parametrize(
    ("settings", "labels", "said"),
    [
        ({}, torch.tensor([0, 3]), "label 3 is out of range; valid: 0 to 2, or -100"),
        ({}, torch.tensor([-1, 0]), "label -1 is out of range"),
        ({}, torch.tensor([0.0, 1.0]), "labels are torch.float32, but classes are whole numbers"),
        ({}, torch.tensor([0, 1, 2]), "labels have the shape (3,), but this model's loss takes (2,)"),
        ({"loss": "mse", "num_labels": 1}, torch.tensor([1.0, float("inf")]), "label inf is out of range"),
        ({"loss": "binary_cross_entropy"}, torch.tensor([[0.0, 1, 2], [0, 0, 1]]), "label 2 is out of range"),
        ({"loss": "binary_cross_entropy"}, torch.tensor([0, 1]), "labels have the shape (2,)"),
        ({"loss": "logit_adjusted"}, torch.tensor([0, 1]), "needs class_counts"),
        ({"tasks": {"a": {"num_labels": 2}, "b": {"num_labels": 2}}}, torch.tensor([0, 1]), "give labels as a table"),
        ({"tasks": {"a": {"num_labels": 2}}}, {"c": torch.tensor([0, 1])}, "unknown task in labels 'c'"),
        ({"tasks": {"a": {"num_labels": 2}}}, {"a": torch.tensor([0, 2])}, "label 2 is out of range; valid: 0 to 1"),
    ],
)
def test_labels_at_the_call(settings: dict[str, Any], labels: Any, said: str) -> None:
    model = HfSpeechForSequenceClassification(tiny_config(**settings))
    with pytest.raises(InputError) as caught:
        model(torch.zeros(2, 800), labels=labels)
    assert said in str(caught.value) and "\n" not in str(caught.value)
