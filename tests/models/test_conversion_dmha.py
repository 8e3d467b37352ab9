"""Checkpoints of double multi-head attention become settings and weights of ours, which compute what its code does."""

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hf_speech.errors import InputError
from hf_speech.models.checkpoints import read_checkpoint
from hf_speech.models.configuration import HfSpeechConfig
from hf_speech.models.conversion_systems import dmha_system
from hf_speech.models.modeling import HfSpeechForSequenceClassification
from hf_speech.models.network_encoder import NETWORKS, NetworkEncoder

from .tiny import lively, padded, waveforms

LABELS = 5
State = dict[str, Tensor]


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# dmha. Facts from its source: scripts/model.py, SpeakerClassifier: front_end, poolingLayer, fc1, b1 (not called), fc2,
#   b2, preLayer, b3 (not called), predictionLayer; embedding = b2(relu(fc2(relu(fc1(pooled))))). scripts/CNNs.py,
#   VGG3L, VGG4L: conv11, conv12, conv21 ...; scripts/poolings.py: query (d, H), divided by sqrt(query.size(-1)), so
#   by sqrt(H); att (d, 1), divided by nothing; scripts/loss.py, AMSoftmax: W (in, classes), cosines. The fork for age:
#   scripts/resnet.py: conv1, bn1, layer1 .. layer3 of two BasicBlocks, fc (not called).

HEADS_OF_DMHA, EMBEDDING = 4, 7


def vgg_state(blocks: int, size: int) -> State:
    channels = [1, *(size // 2 ** (blocks - block) for block in range(1, blocks + 1))]
    state = {}
    for block in range(1, blocks + 1):
        for place, before in ((1, channels[block - 1]), (2, channels[block])):
            name = f"front_end.conv{block}{place}"
            state[f"{name}.weight"] = (
                normal(channels[block], before, 3, 3, seed=10 * block + place) / (4 * before) ** 0.5
            )
            state[f"{name}.bias"] = 0.3 * normal(channels[block], seed=block)
    return state


def vgg_by_dmha(features: Tensor, state: State, blocks: int) -> Tensor:
    x = features[:, None]
    for block in range(1, blocks + 1):
        for place in (1, 2):
            name = f"front_end.conv{block}{place}"
            x = F.relu(F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], padding=1))
        x = F.max_pool2d(x, 2, stride=2, ceil_mode=True)
    x = x.transpose(1, 2)
    return x.reshape(x.shape[0], x.shape[1], -1)


def first_attention(frames: Tensor, query: Tensor) -> Tensor:
    """(B, F, D), (d, H) -> (B, H, d), as the code has it."""
    heads = query.shape[1]
    slices = frames.unflatten(-1, (heads, -1))
    scores = torch.einsum("bfhd,dh->bfh", slices, query) / heads**0.5
    return torch.einsum("bfh,bfhd->bhd", scores.softmax(1), slices)


def double(frames: Tensor, state: State) -> Tensor:
    contexts = first_attention(frames, state["poolingLayer.utteranceAttention.query"])
    weights = (contexts @ state["poolingLayer.headsAttention.att"]).softmax(1)
    return (weights * contexts).sum(1)


def single(frames: Tensor, state: State) -> Tensor:
    weights = (frames @ state["poolingLayer.att"]).softmax(1)
    return (weights * frames).sum(1)


def statistics(frames: Tensor) -> Tensor:
    """torch's deviation of a single frame is NaN; we say 0."""
    return torch.cat([frames.mean(1), frames.std(1) if frames.shape[1] > 1 else 0 * frames[:, 0]], 1)


POOLINGS_OF_DMHA: dict[str, tuple[Callable[[int], State], Callable[[Tensor, State], Tensor]]] = {
    "double-multi-head": (
        lambda width: {
            "poolingLayer.utteranceAttention.query": normal(width // HEADS_OF_DMHA, HEADS_OF_DMHA),
            "poolingLayer.headsAttention.att": normal(width // HEADS_OF_DMHA, 1, seed=1),
        },
        double,
    ),
    "multi-head": (
        lambda width: {"poolingLayer.query": normal(width // HEADS_OF_DMHA, HEADS_OF_DMHA)},
        lambda frames, state: first_attention(frames, state["poolingLayer.query"]).flatten(1),
    ),
    "self-attention": (lambda width: {"poolingLayer.att": normal(width, 1) / 4}, single),
    "mean+std": (
        lambda width: {},
        lambda frames, state: statistics(frames),
    ),
}


def rest_of_dmha(pooled: int) -> State:
    state = {"fc1.weight": normal(EMBEDDING, pooled), "fc1.bias": normal(EMBEDDING, seed=1)}
    state |= {"fc2.weight": normal(EMBEDDING, EMBEDDING, seed=2), "fc2.bias": normal(EMBEDDING, seed=3)}
    for name in ("b1", "b2", "b3"):
        state |= {f"{name}.{k}": v for k, v in lively(nn.BatchNorm1d(EMBEDDING)).state_dict().items()}
    state |= {"preLayer.weight": normal(EMBEDDING, EMBEDDING, seed=4), "preLayer.bias": normal(EMBEDDING, seed=5)}
    return state | {"predictionLayer.W": normal(EMBEDDING, LABELS, seed=6)}


def embedding_by_dmha(frames: Tensor, state: State, pool: Callable[[Tensor, State], Tensor]) -> Tensor:
    hidden = F.relu(F.linear(pool(frames, state), state["fc1.weight"], state["fc1.bias"]))
    hidden = F.relu(F.linear(hidden, state["fc2.weight"], state["fc2.bias"]))
    return F.batch_norm(hidden, state["b2.running_mean"], state["b2.running_var"], state["b2.weight"], state["b2.bias"])


def cosines_by_dmha(embedding: Tensor, state: State) -> Tensor:
    last = F.normalize(F.linear(embedding, state["preLayer.weight"], state["preLayer.bias"]))
    return last @ F.normalize(state["predictionLayer.W"], dim=0)


@torch.inference_mode()
@pytest.mark.parametrize("blocks", [3, 4])
@pytest.mark.parametrize("pooling", POOLINGS_OF_DMHA)
def test_vgg_and_its_poolings(tmp_path: Path, pooling: str, blocks: int) -> None:
    size = 16
    width = size * (10 if blocks == 3 else 5)
    weights, pool = POOLINGS_OF_DMHA[pooling]
    pooled = {"double-multi-head": width // HEADS_OF_DMHA, "mean+std": 2 * width}.get(pooling, width)
    state = vgg_state(blocks, size) | weights(width) | rest_of_dmha(pooled)
    options = Namespace(scalingFactor=25.0, marginFactor=0.3, annealing=True, normalization="cmvn", mask_prob=0.3)
    content = {"model": state, "optimizer": {"state": {}}, "settings": options, "epoch": 1, "step": 2}
    torch.save(content, tmp_path / "dmha.chkpt")

    system = dmha_system(read_checkpoint(tmp_path / "dmha.chkpt"))
    model = HfSpeechForSequenceClassification(HfSpeechConfig(**system.settings)).eval()
    encoder = model.encoder
    assert isinstance(encoder, NetworkEncoder) and encoder.frontend is not None
    encoder.backbone.load_state_dict(system.states["network"])
    model.speech.pooling.load_state_dict(system.states.get("pooling", {}))
    model.speech.projection.load_state_dict(system.states["projection"])
    model.head.load_state_dict(system.states["head"])

    waves = waveforms((8_000, 5_000, 600))
    found = model(**padded(waves, 9_000))
    for wave, embedding, score in zip(waves, found.embeddings, found.logits, strict=True):
        frames = vgg_by_dmha(encoder.frontend(wave[None], None)[0], state, blocks)
        expected = embedding_by_dmha(frames, state, pool)[0]
        assert expected.std() > 0.1
        torch.testing.assert_close(embedding, expected, atol=1e-3, rtol=1e-4)
        torch.testing.assert_close(score, 25 * cosines_by_dmha(expected[None], state)[0], atol=1e-3, rtol=0)

    assert encoder.frontend.norm == "mean+variance" and system.settings["pooling"] == pooling
    assert system.settings["loss_config"] == {"margin": 0.3, "annealing": True}
    if pooling == "double-multi-head":
        assert system.settings["pooling_config"] == {"heads": HEADS_OF_DMHA, "head_drop": 1 / 3}
    assert {name.partition(".")[0] for name in system.left_out} == {"b1", "b3"}


@torch.inference_mode()
def test_the_residual_front_end() -> None:
    size = 16
    network = lively(NETWORKS["residual-vgg"](80, size=size))
    state: State = {}
    for name, value in network.state_dict().items():
        if name.startswith("stages."):
            _, stage, rest = name.split(".", 2)
            name = f"layer{int(stage) + 1}.{rest}"
        state[f"front_end.{name}"] = value
    assert {"front_end.layer1.0.conv1.weight", "front_end.layer2.0.downsample.1.running_var"} <= state.keys()
    state |= {"front_end.fc.weight": normal(8, 8), "front_end.fc.bias": normal(8)}
    state |= POOLINGS_OF_DMHA["double-multi-head"][0](8) | rest_of_dmha(2)
    system = dmha_system({"model": state})
    assert system.settings["backbone_config"]["network_config"] == {"size": size}
    again = NETWORKS["residual-vgg"](80, size=size).eval()
    again.load_state_dict(system.states["network"])
    features = normal(2, 30, 80)
    assert torch.equal(again(features), network(features))
    assert "front_end.fc.weight" in system.left_out
    assert system.settings["head_config"] == {"scale": 30.0, "affine": True}
    HfSpeechConfig(**system.settings)


@pytest.mark.parametrize(("chance", "drop"), [(0, 0.0), (0.0, 0.0), (0.3, 1 / 3), (0.5, 0.5), (0.05, 0.05)])
def test_heads_that_were_left_out(chance: float, drop: float) -> None:
    state = vgg_state(4, 16) | POOLINGS_OF_DMHA["double-multi-head"][0](80) | rest_of_dmha(80 // HEADS_OF_DMHA)
    settings = dmha_system({"model": state, "settings": {"mask_prob": chance}}).settings
    assert settings["pooling_config"] == {"heads": HEADS_OF_DMHA, "head_drop": drop}
    HfSpeechForSequenceClassification(HfSpeechConfig(**settings))
    with pytest.raises(InputError, match="dmha: mask_prob is 1, .*; give a number up to 0.5"):
        dmha_system({"model": state, "settings": {"mask_prob": 1}})


def test_what_is_not_whole_is_refused() -> None:
    with pytest.raises(InputError, match="no whole state dict of dmha: nothing in it becomes the network"):
        dmha_system({"model": rest_of_dmha(4)})
    vgg = vgg_state(4, 16)
    with pytest.raises(InputError, match="'Attention Statistical' sums squares without weights"):
        dmha_system({"model": vgg | {"poolingLayer.att": normal(80, 1)} | rest_of_dmha(160)})
    with pytest.raises(InputError, match="frames of 80 dimensions don't give pooled vectors of 81"):
        dmha_system({"model": vgg | {"poolingLayer.query": normal(20, 4)} | rest_of_dmha(81)})
    with pytest.raises(InputError, match=r"unknown normalization of dmha 'cmx'.*valid: cmn, cmvn"):
        model = vgg | {"poolingLayer.query": normal(20, 4)} | rest_of_dmha(80)
        dmha_system({"model": model, "settings": {"normalization": "cmx"}})
