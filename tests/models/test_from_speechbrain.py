"""SpeechBrain's speaker models become ours, whole: from its features, and from the waveform, the same embedding."""

from pathlib import Path
from typing import Any

import pytest
import torch
from speechbrain.lobes.features import Fbank
from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN, Classifier
from speechbrain.lobes.models.Xvector import Classifier as XvectorClassifier
from speechbrain.lobes.models.Xvector import Xvector
from speechbrain.processing.features import InputNormalization
from torch import Tensor, nn

from hf_speech.errors import InputError
from hf_speech.models.conversion_foreign import from_speechbrain
from hf_speech.models.modeling import HfSpeechForXVector, HfSpeechModel

from .tiny import lively, padded, reloaded, waveforms

LENGTHS = (24_000, 16_000, 4_000)
LABELS = ["ann", "bob", "cyd"]


def features_of(waveform: Tensor, bands: int) -> Tensor:
    """What SpeechBrain's recipes for VoxCeleb feed their networks: (T,) -> (1, F, bands)."""
    features = Fbank(n_mels=bands)(waveform[None])
    return InputNormalization(norm_type="sentence", std_norm=False)(features, torch.ones(1))


def ecapa(**options: Any) -> ECAPA_TDNN:
    small = {"channels": [64, 64, 64, 64, 96], "lin_neurons": 24, "res2net_scale": 4, "se_channels": 16}
    return lively(ECAPA_TDNN(80, **(small | options)))


def xvector(**options: Any) -> Xvector:
    return lively(Xvector(in_channels=24, **({"tdnn_channels": [32, 32, 32, 32, 50], "lin_neurons": 20} | options)))


def check(stock: nn.Module, ours: HfSpeechModel, bands: int, from_waveform: float) -> None:
    """The embeddings, from SpeechBrain's features and from the waveform; ours in a padded batch."""
    waves = waveforms(LENGTHS)
    together = ours(**padded(waves, 25_000)).embeddings
    for wave, batched in zip(waves, together, strict=True):
        features = features_of(wave, bands)
        expected = stock(features)[0, 0]
        assert expected.std() > 0.3
        frames = ours.encoder.backbone(features)
        pooled = ours.pooling(frames, torch.ones(frames.shape[:2], dtype=torch.bool))
        embedding = ours.projection(pooled)[0]
        alone = ours(wave[None]).embeddings[0]
        for what, found in (("features", embedding), ("waveform", alone), ("batch", batched)):
            print(f"{type(stock).__name__} from {what}: {(found - expected).abs().max():.1e}")
        torch.testing.assert_close(embedding, expected, atol=1e-4, rtol=0)
        torch.testing.assert_close(alone, expected, atol=from_waveform, rtol=0)
        torch.testing.assert_close(batched, alone, atol=1e-4, rtol=0)


@torch.inference_mode()
@pytest.mark.parametrize("given_as", ["file", "state dict", "module"])
def test_ecapa(given_as: str, tmp_path: Path) -> None:
    stock = ecapa()
    torch.save(stock.state_dict(), tmp_path / "embedding_model.ckpt")
    sources: dict[str, Any] = {
        "file": tmp_path / "embedding_model.ckpt",
        "state dict": stock.state_dict(),
        "module": stock,
    }
    ours = from_speechbrain(sources[given_as])
    assert type(ours) is HfSpeechModel and not ours.training
    check(stock, ours, 80, from_waveform=1e-3)


@torch.inference_mode()
def test_the_published_size_of_ecapa() -> None:
    stock = lively(ECAPA_TDNN(80, channels=[1024, 1024, 1024, 1024, 3072]))
    check(stock, from_speechbrain(stock.state_dict()), 80, from_waveform=1e-3)


@torch.inference_mode()
def test_the_xvector() -> None:
    stock = xvector()
    ours = from_speechbrain(stock.state_dict())
    # Its noise is of 1e-5 to 9e-5.
    check(stock, ours, 24, from_waveform=1e-3)
    front = ours.config.backbone_config
    assert (front.frontend, front.frontend_config) == ("speechbrain-fbank", {"bands": 24, "norm": "mean"})


@torch.inference_mode()
@pytest.mark.parametrize("given_as", ["file", "module"])
def test_a_classifier_comes_along(given_as: str, tmp_path: Path) -> None:
    stock, classifier = ecapa(), Classifier(24, lin_neurons=24, out_neurons=3)
    torch.save(classifier.state_dict(), tmp_path / "classifier.ckpt")
    source = str(tmp_path / "classifier.ckpt") if given_as == "file" else classifier
    ours = from_speechbrain(stock, classifier=source, labels=LABELS)
    assert type(ours) is HfSpeechForXVector and ours.config.id2label == dict(enumerate(LABELS))
    assert (ours.config.loss, ours.config.loss_config) == ("aam_softmax", {"margin": 0.2})
    loaded = reloaded(ours, tmp_path / "ours")
    for wave in waveforms(LENGTHS):
        expected = classifier(stock(features_of(wave, 80)))[:, 0]
        for model in (ours, loaded):
            torch.testing.assert_close(model(wave[None]).logits, 30 * expected, atol=1e-3, rtol=0)
    assert from_speechbrain(stock, classifier=source).config.id2label[2] == "LABEL_2"


@torch.inference_mode()
def test_embeddings_are_the_same_from_a_folder(tmp_path: Path) -> None:
    stock = xvector()
    ours = from_speechbrain(stock)
    wave = waveforms((9_000,))[0]
    expected = ours(wave[None]).embeddings
    torch.testing.assert_close(reloaded(ours, tmp_path)(wave[None]).embeddings, expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(ours.embed([wave.numpy()]), expected, atol=1e-6, rtol=0)


@torch.inference_mode()
def test_a_module_says_what_no_shape_does() -> None:
    check(ecapa(dilations=[1, 3, 2, 5, 1]), from_speechbrain(ecapa(dilations=[1, 3, 2, 5, 1])), 80, 1e-3)
    stock = xvector(tdnn_dilations=[2, 1, 4, 1, 1], activation=nn.ReLU)
    check(stock, from_speechbrain(stock), 24, 1e-3)
    given = from_speechbrain(stock.state_dict(), dilations=[2, 1, 4, 1, 1], activation="relu")
    check(stock, given, 24, 1e-3)
    # Without being told, another model comes out: nothing in the weights says so.
    wave, plain = waveforms((9_000,))[0][None], from_speechbrain(stock.state_dict())
    assert (plain(wave).embeddings - given(wave).embeddings).abs().max() > 0.02


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    state = ecapa().state_dict()
    with pytest.raises(InputError, match=r"^no state dict of SpeechBrain's ECAPA_TDNN or Xvector: none of its names"):
        from_speechbrain(nn.Linear(2, 2))
    gone = {name: value for name, value in state.items() if not name.startswith("blocks.2.se_block.conv1")}
    torch.save(gone, tmp_path / "part.ckpt")
    words = r"part\.ckpt: the weights of the network \(EcapaTDNN\) lack blocks\.1\.excitation\.squeeze\.weight$"
    with pytest.raises(InputError, match=words):
        from_speechbrain(tmp_path / "part.ckpt")
    more = state | {"blocks.1.extra.weight": torch.ones(2)}
    with pytest.raises(InputError, match=r"have, one too many, blocks\.0\.extra\.weight"):
        from_speechbrain(more)
    odd = state | {"asp.tdnn.norm.norm.bias": torch.ones(3)}
    with pytest.raises(InputError, match=r"the weights of the pooling: norm\.bias has the shape \(3,\), not \(128,\)"):
        from_speechbrain(odd)
    with pytest.raises(InputError, match="labels are names of a classifier's classes"):
        from_speechbrain(state, labels=LABELS)
    with pytest.raises(InputError, match="an ECAPA_TDNN has ReLU only"):
        from_speechbrain(state, activation="relu")
    with pytest.raises(InputError, match="dilations has 2 values for 5 layers"):
        from_speechbrain(state, dilations=[1, 2])
    with pytest.raises(
        InputError, match="ECAPA_TDNN has the activations: ReLU, Sigmoid; ours of its kind has one of: ReLU"
    ):
        from_speechbrain(ecapa(activation=nn.Sigmoid))
    with pytest.raises(InputError, match="Xvector has the activations: GELU; ours of its kind has one of: LeakyReLU"):
        from_speechbrain(xvector(activation=nn.GELU))


def test_classifiers_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    stock = ecapa()
    torch.save({"weight": torch.ones(7)}, tmp_path / "c.ckpt")
    with pytest.raises(InputError, match=r"c\.ckpt: a classifier of SpeechBrain's without hidden blocks has one"):
        from_speechbrain(stock, classifier=tmp_path / "c.ckpt")
    with pytest.raises(InputError, match=r"has one weight, \(labels, dimensions\); this one has weight, blocks\.0"):
        from_speechbrain(stock, classifier=Classifier(24, lin_blocks=1, lin_neurons=24))
    with pytest.raises(InputError, match=r"has one weight, \(labels, dimensions\); this one has norm\."):
        from_speechbrain(xvector(), classifier=XvectorClassifier((4, 1, 20)))
    with pytest.raises(InputError, match=r"the weights of the head: weight has the shape \(7, 25\), not \(7, 24\)"):
        from_speechbrain(stock, classifier={"weight": torch.ones(7, 25)})
    with pytest.raises(InputError, match="3 labels were given, but the weights are for 7 classes: give as many"):
        from_speechbrain(stock, classifier={"weight": torch.ones(7, 24)}, labels=LABELS)
