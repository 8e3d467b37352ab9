"""Checkpoint files of the research systems become whole models, which compute what theirs do."""

from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torchaudio
from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN
from speechbrain.lobes.models.Xvector import Xvector
from torch import Tensor, nn

from hf_speech.errors import InputError
from hf_speech.models.conversion_foreign import SYSTEMS, from_system
from hf_speech.models.modeling import HfSpeechForSequenceClassification, HfSpeechForXVector, HfSpeechModel

from .test_conversion_dmha import (
    HEADS_OF_DMHA,
    POOLINGS_OF_DMHA,
    cosines_by_dmha,
    embedding_by_dmha,
    rest_of_dmha,
    vgg_by_dmha,
    vgg_state,
)
from .test_conversion_systems import LABELS, WIDTH, few_samples_state, normal, old_names, wav2vec2
from .test_conversion_wav2vec import AGGREGATOR, LARGE_FLAGS, LAYERS, by_fairseq
from .test_conversion_wav2vec import in_fairseq as wav2vec_in_fairseq
from .tiny import lively, padded, reloaded, waveforms

NAMES = [f"class {i}" for i in range(LABELS)]


def check(model: Any, expected: Tensor, waves: list[Tensor], folder: Path, what: str, atol: float) -> None:
    """What a model gives for these waveforms in a padded batch, and when it comes back from a folder."""
    assert not model.training and expected.std() > 0.1
    for each in (model, reloaded(model, folder)):
        found = each(**padded(waves, 9_000))[what]
        print(f"{what}: {(found - expected).abs().max():.1e}")
        torch.testing.assert_close(found, expected, atol=atol, rtol=1e-5)


def ft_ser_file(path: Path) -> tuple[Any, Tensor, Tensor]:
    original, weight, bias = wav2vec2(), normal(LABELS, WIDTH), normal(LABELS, seed=1)
    state = {f"model.wav2vec2.wav2vec2.{name}": value for name, value in old_names(original.state_dict()).items()}
    state |= {"model.linear_head.1.weight": weight, "model.linear_head.1.bias": bias}
    torch.save({"state_dict": state}, path)
    return original, weight, bias


@torch.inference_mode()
def test_ft_ser(tmp_path: Path) -> None:
    original, weight, bias = ft_ser_file(tmp_path / "a.ckpt")
    model = from_system(tmp_path / "a.ckpt", "ft-ser", labels=NAMES)
    assert type(model) is HfSpeechForSequenceClassification and model.config.id2label == dict(enumerate(NAMES))
    waves = waveforms((8_000, 5_000, 400))
    pooled = torch.cat([original(wave[None]).last_hidden_state.relu().mean(1) for wave in waves])
    check(model, pooled @ weight.T + bias, waves, tmp_path / "ours", "logits", 1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("stage", ["TAPT", "P-TAPT"])
def test_a_stage_of_ft_ser_s_pretraining_gives_its_encoder(stage: str, tmp_path: Path) -> None:
    original = wav2vec2()
    inside = "wav2vec2.wav2vec2PT.wav2vec2." if stage == "TAPT" else "wav2vec2.wav2vec2."
    state = {f"{inside}{name}": value for name, value in old_names(original.state_dict()).items()}
    more = "wav2vec2.wav2vec2PT.project_q.bias" if stage == "TAPT" else "linearheads.0.l1.bias"
    torch.save({"state_dict": state | {more: normal(3)}}, tmp_path / "a.ckpt")
    waves = waveforms((8_000, 5_000, 400))
    expected = torch.cat([original(wave[None]).last_hidden_state.mean(1) for wave in waves])
    plain = from_system(tmp_path / "a.ckpt", "ft-ser")
    assert type(plain) is HfSpeechModel
    check(plain, expected, waves, tmp_path / "ours", "embeddings", 1e-5)
    fresh = from_system(tmp_path / "a.ckpt", "ft-ser", labels=["calm", "angry"], neck="relu", layer=1)
    assert type(fresh) is HfSpeechForSequenceClassification and fresh.training and fresh.config.neck == "relu"
    hidden = original(waves[0][None], output_hidden_states=True).hidden_states[1]
    torch.testing.assert_close(fresh.eval()(waves[0][None]).embeddings, hidden.relu().mean(1), atol=1e-5, rtol=0)


@torch.inference_mode()
def test_the_stage_of_ft_ser_s_on_wav2vec_gives_its_network(tmp_path: Path) -> None:
    network = wav2vec_in_fairseq(LARGE_FLAGS, LAYERS, AGGREGATOR)
    state = {f"wav2vec.wav2vec.{name}": value for name, value in network.items()}
    torch.save({"state_dict": state | {"wav2vec.conv.bias": normal(16)}}, tmp_path / "a.ckpt")
    waves = waveforms((4_000, 1_234))
    expected = torch.cat([by_fairseq(wave, network, LARGE_FLAGS).mean(0, keepdim=True) for wave in waves])
    model = from_system(tmp_path / "a.ckpt", "ft-ser")
    check(model, expected.float(), waves, tmp_path / "ours", "embeddings", 1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("token", ["none", "constant", "learned"])
def test_few_samples_on_wav2vec2(token: str, tmp_path: Path) -> None:
    original, centres = wav2vec2(), normal(LABELS, WIDTH)
    state = few_samples_state(original) | {"classifier.classifier.weights": centres}
    numbers = {"none": None, "constant": torch.ones(WIDTH), "learned": normal(WIDTH)}[token]
    if numbers is not None:
        state["backbone.cls_token"] = numbers
    torch.save({"state_dict": state}, tmp_path / "a.ckpt")

    def embedding(wave: Tensor) -> Tensor:
        if numbers is None:
            return original(wave[None]).last_hidden_state.mean(1)
        projected, _ = original.feature_projection(original.feature_extractor(wave[None]).transpose(1, 2))
        return original.encoder(torch.cat([numbers[None, None], projected], dim=1)).last_hidden_state[:, 0]

    waves = waveforms((8_000, 5_000, 400))
    expected = torch.cat([embedding(wave) for wave in waves])
    model = from_system(tmp_path / "a.ckpt", "few-samples", labels=NAMES)
    assert type(model) is HfSpeechForXVector and model.config.normalizes
    check(model, expected, waves, tmp_path / "ours", "embeddings", 1e-5)
    cosines = F.linear(F.normalize(expected), F.normalize(centres))
    check(model, 30 * cosines, waves, tmp_path / "ours", "logits", 1e-4)


def cepstra(wave: Tensor) -> Tensor:
    """few-samples' features of a waveform: (1, F, 80)."""
    features = torchaudio.transforms.MFCC(n_mfcc=80)(wave[None]).transpose(1, 2)
    std, mean = torch.std_mean(features, dim=1, keepdim=True)
    return (features - mean) / (std + 1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("network", ["ECAPA-TDNN", "x-vector"])
def test_few_samples_on_networks_of_speechbrain(network: str, tmp_path: Path) -> None:
    ecapa = {"channels": [32, 32, 32, 32, 48], "lin_neurons": 24, "se_channels": 8, "res2net_scale": 4}
    stock = lively(
        ECAPA_TDNN(80, **ecapa)
        if network == "ECAPA-TDNN"
        else Xvector(in_channels=80, tdnn_channels=[32, 32, 32, 32, 50], lin_neurons=24)
    )
    centres = normal(LABELS, 24)
    state = {f"backbone.{name}": value for name, value in stock.state_dict().items()}
    torch.save({"state_dict": state | {"classifier.weights": centres}}, tmp_path / "a.ckpt")
    with pytest.raises(InputError, match=r"a\.ckpt: it holds a network with a pooling of its own: leave out pooling$"):
        from_system(tmp_path / "a.ckpt", "few-samples", pooling="mean")
    model = from_system(tmp_path / "a.ckpt", "few-samples")
    assert type(model) is HfSpeechForXVector and model.config.id2label[4] == "LABEL_4"
    waves = waveforms((8_000, 5_000, 4_000))
    expected = torch.cat([stock(cepstra(wave))[:, 0] for wave in waves])
    check(model, expected, waves, tmp_path / "ours", "embeddings", 1e-3)
    cosines = F.linear(F.normalize(expected), F.normalize(centres))
    check(model, 30 * cosines, waves, tmp_path / "ours", "logits", 3e-3)


@torch.inference_mode()
def test_aishell4(tmp_path: Path) -> None:
    original = wav2vec2(stable=True)
    classifier = nn.Sequential(nn.Linear(2 * WIDTH, 12), nn.ReLU(), nn.Dropout(0.3), nn.Linear(12, LABELS)).eval()
    state = {f"wav2vec2.{name}": value for name, value in original.state_dict().items()}
    state |= {f"classifier.{name}": value for name, value in classifier.state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "a.ckpt")
    waves = waveforms((8_000, 5_000, 1_000))
    frames = [original(wave[None]).last_hidden_state for wave in waves]
    expected = torch.cat([classifier(torch.cat([each.mean(1), each.std(1)], dim=1)) for each in frames])
    model = from_system(tmp_path / "a.ckpt", "aishell4-sid", labels=NAMES)
    check(model, expected, waves, tmp_path / "ours", "logits", 1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("pooling", POOLINGS_OF_DMHA)
def test_dmha(pooling: str, tmp_path: Path) -> None:
    size = 16
    width = 10 * size
    weights, pool = POOLINGS_OF_DMHA[pooling]
    pooled = {"double-multi-head": width // HEADS_OF_DMHA, "mean+std": 2 * width}.get(pooling, width)
    state = vgg_state(3, size) | weights(width) | rest_of_dmha(pooled)
    torch.save({"model": state, "settings": Namespace(scalingFactor=25.0)}, tmp_path / "a.chkpt")
    model = from_system(str(tmp_path / "a.chkpt"), "dmha-age", labels=NAMES)
    waves = waveforms((8_000, 5_000, 600))
    frames = [vgg_by_dmha(model.encoder.frontend(wave[None], None)[0], state, 3) for wave in waves]
    expected = torch.cat([embedding_by_dmha(each, state, pool) for each in frames])
    check(model, expected, waves, tmp_path / "ours", "embeddings", 1e-3)
    check(model, 25 * cosines_by_dmha(expected, state), waves, tmp_path / "ours", "logits", 1e-3)


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    ft_ser_file(path)
    with pytest.raises(
        InputError, match=r"unknown system 'ft_ser' \(did you mean 'ft-ser'\?\); valid: aishell4-sid, dmha"
    ):
        from_system(path, "ft_ser")
    with pytest.raises(
        InputError, match=r"a\.ckpt: no state dict of dmha: \d+ weights have no place in it|no checkpoint of"
    ):
        from_system(path, "dmha-age")
    with pytest.raises(InputError, match=r"a\.ckpt: it holds a whole model of ft-ser, .*: leave out layer, neck$"):
        from_system(path, "ft-ser", layer=1, neck="none")
    with pytest.raises(InputError, match=r"a\.ckpt: 2 labels were given, but the weights are for 5 classes"):
        from_system(path, "ft-ser", labels=["calm", "angry"])
    content = torch.load(path)
    name = "model.wav2vec2.wav2vec2.encoder.layers.1.attention.k_proj.bias"
    gone = content["state_dict"].pop(name)
    torch.save(content, tmp_path / "part.ckpt")
    with pytest.raises(
        InputError, match=r"part\.ckpt: the weights lack 1 parts of the encoder, such as \S+k_proj\.bias"
    ):
        from_system(tmp_path / "part.ckpt", "ft-ser")
    content["state_dict"][name] = gone
    content["state_dict"].pop("model.linear_head.1.weight")
    torch.save(content, tmp_path / "head.ckpt")
    with pytest.raises(InputError, match=r"head\.ckpt: the weights of the head \(LinearHead\) lack classifier\.weight"):
        from_system(tmp_path / "head.ckpt", "ft-ser")


def test_a_pooling_that_the_file_has_no_weights_for_is_refused(tmp_path: Path) -> None:
    state = few_samples_state(wav2vec2()) | {"classifier.classifier.weights": normal(LABELS, WIDTH)}
    torch.save({"state_dict": state}, tmp_path / "a.ckpt")
    assert from_system(tmp_path / "a.ckpt", "few-samples", pooling="max").config.pooling == "max"
    words = {
        "self-attention": r"a\.ckpt: the weights of the pooling \(SelfAttentionPooling\) lack queries",
        "mean+std": r"a\.ckpt: the weights of the head: weight has the shape \(5, 128\), not \(5, 256\)",
        "first+cls-learned": r"a\.ckpt: it holds no class token, which the pooling 'first\+cls-learned' looks at",
        "men": r"a\.ckpt: unknown pooling 'men' \(did you mean 'mean'\?\)",
    }
    for pooling, expected in words.items():
        with pytest.raises(InputError, match=expected):
            from_system(tmp_path / "a.ckpt", "few-samples", pooling=pooling)


@pytest.mark.parametrize("system", SYSTEMS)
def test_another_file_is_named(system: str, tmp_path: Path) -> None:
    state = {"bert.weight": torch.ones(2)}
    torch.save({"state_dict": state, "model": state}, tmp_path / "b.pt")
    with pytest.raises(InputError, match=r"b\.pt: no state dict of \S+: 1 weights have no place in it, such as bert"):
        from_system(tmp_path / "b.pt", system)
