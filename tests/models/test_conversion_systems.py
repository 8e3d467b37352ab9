"""Checkpoints of published systems on SSL encoders become models of ours, which compute what theirs do."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import Wav2Vec2Config, Wav2Vec2Model

from hf_speech.errors import InputError
from hf_speech.models.checkpoints import read_checkpoint
from hf_speech.models.configuration import HfSpeechConfig
from hf_speech.models.conversion_systems import (
    System,
    aishell4_system,
    dmha_system,
    few_samples_system,
    ft_ser_system,
)
from hf_speech.models.heads import HEADS
from hf_speech.models.modeling import HfSpeechForSequenceClassification
from hf_speech.models.registry import build
from hf_speech.models.ssl_encoder import SSLEncoder
from hf_speech.models.wav2vec import Wav2Vec

from .tiny import lively, padded, waveforms

WIDTH, LABELS = 128, 5  # two heads of 64 dimensions, as the published models have them
State = dict[str, Tensor]


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def wav2vec2(stable: bool = False) -> Wav2Vec2Model:
    """A small encoder as the systems had it from transformers."""
    norm: dict[str, Any] = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
    small = {"conv_dim": (8,) * 7, "num_conv_pos_embeddings": 6, "num_conv_pos_embedding_groups": 2}
    config = Wav2Vec2Config(
        hidden_size=WIDTH,
        num_attention_heads=2,
        num_hidden_layers=2,
        intermediate_size=48,
        **small,
        **(norm if stable else {}),
    )
    return lively(Wav2Vec2Model(config))


def old_names(state: State) -> State:
    """Weight norm as torch had it at the time of ft-ser and few-samples: weight_g and weight_v."""
    new = "conv.parametrizations.weight.original"
    return {k.replace(f"{new}0", "conv.weight_g").replace(f"{new}1", "conv.weight_v"): v for k, v in state.items()}


def through_a_file(path: Path, content: dict[str, Any]) -> dict[str, Any]:
    torch.save(content, path)
    return read_checkpoint(path)


def lightning(path: Path, state: State, **more: Any) -> dict[str, Any]:
    """A `.ckpt` as Lightning lays it out."""
    content = {
        "epoch": 3,
        "global_step": 100,
        "pytorch-lightning_version": "1.5.10",
        "state_dict": state,
        "callbacks": {"ModelCheckpoint": {"monitor": "val_acc", "best_model_score": torch.tensor(0.5)}},
        "optimizer_states": [{"state": {0: {"step": 100}}, "param_groups": [{"lr": 1e-4, "params": [0]}]}],
        "lr_schedulers": [{"last_epoch": 3}],
        **more,
    }
    return through_a_file(path / "model.ckpt", content)


def encoder_of(system: System) -> Wav2Vec2Model:
    model = Wav2Vec2Model(system.settings["backbone_config"]).eval()
    model.load_state_dict(system.states["encoder"])
    return model


def model_of(system: System) -> HfSpeechForSequenceClassification:
    """The whole model that the settings describe, with the system's weights."""
    model = HfSpeechForSequenceClassification(HfSpeechConfig(**system.settings)).eval()
    encoder = model.encoder
    assert isinstance(encoder, SSLEncoder)
    encoder.load_stock_weights(system.states["encoder"])
    if system.settings["pooling"] == "first+cls-learned":
        encoder.class_token.token.copy_(system.states["token"]["weight"])
    model.head.load_state_dict(system.states["head"])
    return model


def check_logits(system: System, theirs: Callable[[Tensor], Tensor], atol: float = 1e-5) -> None:
    """Ours in a padded batch with junk gives what theirs gives for each utterance alone, (1, T) -> (1, labels)."""
    waves = waveforms((8_000, 5_000, 400))
    found = model_of(system)(**padded(waves, 8_500)).logits
    expected = torch.cat([theirs(wave[None]) for wave in waves])
    assert expected.std() > 0.1
    print(f"{(found - expected).abs().max():.1e}")
    torch.testing.assert_close(found, expected, atol=atol, rtol=0)


# ft-ser. Facts from its source: downstream/Custom/trainer.py, DownstreamGeneral: model (PretrainedRNNHead), criterion
#   (cross-entropy with a weight). pretrain/trainer.py, PretrainedRNNHead: wav2vec2 (Wav2vec2Wrapper), rnn_head (never
#   called), linear_head = Sequential(ReLU 0, Linear 1); SecondPassEmoClassifier: wav2vec2, linearheads (LinearHead: l1,
#   tanh, l2); ContinueFinetuningBaseline: wav2vec2 (Wav2vec2PretrainWrapper: wav2vec2PT and its wav2vec2 once more);
#   PretrainedEmoClassifier: wav2vec (Wav2vecWrapper: wav2vec of fairseq, conv), linearhead, linearhead_rnn, rnn.
#   modules/FeatureFuser.py: ReLU on the encoder's output; the mean runs over the first F - 1 frames.


@torch.inference_mode()
def test_ft_ser_fine_tuned(tmp_path: Path) -> None:
    original = wav2vec2()
    weight, bias = normal(LABELS, WIDTH), normal(LABELS, seed=1)
    state = {f"model.wav2vec2.wav2vec2.{k}": v for k, v in old_names(original.state_dict()).items()}
    state |= {f"model.rnn_head.{k}": v for k, v in nn.LSTM(WIDTH, 8, bidirectional=True).state_dict().items()}
    state |= {
        "model.linear_head.1.weight": weight,
        "model.linear_head.1.bias": bias,
        "criterion.weight": torch.ones(LABELS),
    }
    system = ft_ser_system(lightning(tmp_path, state))
    # Theirs takes the mean over frames[:, :-1].
    check_logits(system, lambda wave: original(wave).last_hidden_state.relu().mean(1).relu() @ weight.T + bias)
    assert system.left_out and all(name.startswith(("model.rnn_head.", "criterion.")) for name in system.left_out)


@torch.inference_mode()
def test_ft_ser_s_other_stages_on_wav2vec2(tmp_path: Path) -> None:
    original = wav2vec2()
    weights = old_names(original.state_dict())
    # TAPT saves the encoder twice
    tapt = {f"wav2vec2.wav2vec2PT.wav2vec2.{k}": v for k, v in weights.items()}
    tapt |= {f"wav2vec2.wav2vec2.{k}": v for k, v in weights.items()}
    tapt |= {
        "wav2vec2.wav2vec2PT.quantizer.codevectors": torch.ones(1, 4, 2),
        "wav2vec2.wav2vec2PT.project_q.bias": torch.ones(3),
    }
    system = ft_ser_system(lightning(tmp_path, tapt))
    wave = waveforms((8_000,))[0][None]
    assert torch.equal(encoder_of(system)(wave).last_hidden_state, original(wave).last_hidden_state)
    assert list(system.states["pretraining"]) == ["quantizer.codevectors", "project_q.bias"]
    assert "head" not in system.settings

    second = {f"wav2vec2.wav2vec2.{k}": v for k, v in weights.items()}
    heads = [build(HEADS, "tanh", "head", {"size": 12}, WIDTH, clusters) for clusters in (4, 6)]
    for i, head in enumerate(heads):
        for ours, theirs in (("hidden", "l1"), ("classifier", "l2")):
            for kind in ("weight", "bias"):
                second[f"linearheads.{i}.{theirs}.{kind}"] = head.state_dict()[f"{ours}.{kind}"]
    system = ft_ser_system(lightning(tmp_path, second))
    assert torch.equal(encoder_of(system)(wave).last_hidden_state, original(wave).last_hidden_state)
    assert system.left_out == [] and len(system.states["clusters"]) == 8
    for i, head in enumerate(heads):
        clusters = {k.removeprefix(f"{i}."): v for k, v in system.states["clusters"].items() if k.startswith(f"{i}.")}
        assert clusters.keys() == head.state_dict().keys()
        assert all(torch.equal(clusters[name], value) for name, value in head.state_dict().items())


@torch.inference_mode()
def test_ft_ser_s_first_stage_on_wav2vec(tmp_path: Path) -> None:
    state: State = {}
    before = 1
    kernels, context = (10, 8, 4, 4, 4, 1, 1), (2, 3)
    for i, kernel in enumerate(kernels):
        block = f"wav2vec.wav2vec.feature_extractor.conv_layers.{i}"
        state |= {f"{block}.0.weight": normal(6, before, kernel, seed=i), f"{block}.2.weight": 1 + normal(6) / 4}
        state[f"{block}.2.bias"], before = normal(6, seed=i), 6
    for i, kernel in enumerate(context):
        block = f"wav2vec.wav2vec.feature_aggregator.conv_layers.{i}"
        state |= {f"{block}.1.weight": normal(6, 6, kernel, seed=i), f"{block}.1.bias": normal(6, seed=i)}
        state |= {f"{block}.3.weight": 1 + normal(6, seed=i) / 4, f"{block}.3.bias": normal(6)}
    state |= {"wav2vec.wav2vec.wav2vec_predictions.project_to_steps.bias": normal(6)}
    state |= {"wav2vec.conv.weight": normal(6, 6, 4), "wav2vec.conv.bias": normal(6)}
    state |= {"linearhead.l1.weight": normal(3, 6), "linearhead.l2.bias": normal(4)}
    state |= {
        "linearhead_rnn.l1.weight": normal(3, 6),
        "rnn.rnn.weight_ih_l0": normal(4),
        "criterion.weight": normal(4),
    }
    system = ft_ser_system(lightning(tmp_path, state))
    network = system.settings["backbone_config"]["network_config"]
    assert network["conv_layers"] == [[6, k, s] for k, s in zip(kernels, (5, 4, 2, 2, 2, 1, 1), strict=True)]
    Wav2Vec(**network).load_state_dict(system.states["network"])
    assert torch.equal(system.states["reduction"]["weight"], state["wav2vec.conv.weight"])
    assert list(system.states["frame_head"]) == ["hidden.weight", "classifier.bias"]
    assert system.left_out == ["linearhead_rnn.l1.weight", "rnn.rnn.weight_ih_l0", "criterion.weight"]
    assert HfSpeechConfig(**system.settings, num_labels=3).backbone_config.model_type == "wav2vec"


# few-samples. Facts from its source: src/models/wav2vec2.py: backbone (Wav2Vec2Network), classifier
#   (SpeakerRecognitionHead); src/networks/wav2vec2.py: wav2vec2, cls_token; wav2vec2_components/network.py:
#   feature_extractor, feature_projector, encoder, masked_spec_embed; base_components.py: extractor, projector, encoder
#   inside them; src/networks/heads.py: classifier; src/layers/cosine_linear.py: weights (out, in), both sides
#   normalised; src/models/speaker.py: mean_embedding, std_embedding, enrolled_embeddings; src/models/ecapa.py:
#   backbone (SpeechBrain's), classifier.


def few_samples_state(original: Wav2Vec2Model) -> State:
    places = {
        "feature_extractor.": "backbone.wav2vec2.feature_extractor.extractor.",
        "feature_projection.": "backbone.wav2vec2.feature_projector.projector.",
        "encoder.": "backbone.wav2vec2.encoder.encoder.",
        "masked_spec_embed": "backbone.wav2vec2.masked_spec_embed",
    }
    state = {
        "mean_embedding": torch.zeros(WIDTH),
        "std_embedding": torch.ones(WIDTH),
        "enrolled_embeddings": normal(9, WIDTH),
    }
    for name, value in old_names(original.state_dict()).items():
        ours = next(place for place in places if name.startswith(place))
        state[places[ours] + name.removeprefix(ours)] = value
    return state


@torch.inference_mode()
@pytest.mark.parametrize("stable", [False, True])
def test_few_samples_on_wav2vec2(tmp_path: Path, stable: bool) -> None:
    original, centres = wav2vec2(stable), normal(LABELS, WIDTH)
    state = few_samples_state(original) | {"classifier.classifier.weights": centres}
    system = few_samples_system(lightning(tmp_path, state))

    def cosines(wave: Tensor) -> Tensor:
        return F.linear(F.normalize(original(wave).last_hidden_state.mean(1)), F.normalize(centres))

    check_logits(system, lambda wave: 30 * cosines(wave), atol=1e-4)
    assert system.left_out == ["mean_embedding", "std_embedding", "enrolled_embeddings"]
    assert system.settings["loss_config"] == {"margin": 0.2}
    config = HfSpeechConfig(**system.settings)
    assert config.normalizes and config.num_labels == LABELS


@torch.inference_mode()
def test_few_samples_tells_its_pooling_by_the_class_token() -> None:
    original, token, centres = wav2vec2(), normal(WIDTH), normal(LABELS, WIDTH)
    state = few_samples_state(original) | {"classifier.classifier.weights": centres}
    assert few_samples_system({"state_dict": state}, pooling="max").settings["pooling"] == "max"

    def cosines(wave: Tensor, token: Tensor) -> Tensor:
        """The token goes before the projected frames into the transformer; its output is the embedding."""
        projected, _ = original.feature_projection(original.feature_extractor(wave).transpose(1, 2))
        frames = original.encoder(torch.cat([token[None, None], projected], dim=1)).last_hidden_state
        return F.linear(F.normalize(frames[:, 0]), F.normalize(centres))

    system = few_samples_system({"state_dict": state | {"backbone.cls_token": torch.ones(WIDTH)}})
    assert system.settings["pooling"] == "first+cls"
    check_logits(system, lambda wave: 30 * cosines(wave, torch.ones(WIDTH)), atol=1e-4)
    system = few_samples_system({"state_dict": state | {"backbone.cls_token": token}})
    assert system.settings["pooling"] == "first+cls-learned"
    check_logits(system, lambda wave: 30 * cosines(wave, token), atol=1e-4)


def test_few_samples_on_networks_of_speechbrain() -> None:
    inner = {
        "blocks.0.conv.conv.weight": normal(4, 3, 5),
        "mfa.conv.conv.bias": normal(4),
        "fc.conv.weight": normal(2, 4, 1),
    }
    state = {f"backbone.{name}": value for name, value in inner.items()} | {"classifier.weights": normal(LABELS, 2)}
    system = few_samples_system({"state_dict": state | {"mean_embedding": normal(2)}})
    assert system.states["speechbrain"] == inner
    assert torch.equal(system.states["head"]["weight"], state["classifier.weights"])
    assert (system.settings["head"], system.settings["num_labels"]) == ("cosine", LABELS)


# aishell4-sid. Facts from its source: model/model_wav2vec2_cls_baseline.py: wav2vec2 (Wav2Vec2Model), classifier
#   (Linear); the transfer model: classifier = Sequential(Linear 0, ReLU 1, Dropout 2, Linear 3); mean, max, or mean and
#   std.


@torch.inference_mode()
@pytest.mark.parametrize("kind", ["baseline", "baseline, max", "transfer"])
def test_aishell4(tmp_path: Path, kind: str) -> None:
    original = wav2vec2(stable=True)
    classifier = nn.Sequential(nn.Linear(2 * WIDTH, 12), nn.ReLU(), nn.Dropout(0.3), nn.Linear(12, LABELS)).eval()
    if kind != "transfer":
        classifier = nn.Linear(WIDTH, LABELS)
    state = {f"wav2vec2.{k}": v for k, v in original.state_dict().items()}
    state |= {f"classifier.{k}": v for k, v in classifier.state_dict().items()}
    given = {"hyper_parameters": {"pooling_method": "max", "num_classes": LABELS}} if "max" in kind else {}
    system = aishell4_system(lightning(tmp_path, state, **given))

    def theirs(wave: Tensor) -> Tensor:
        frames = original(wave).last_hidden_state
        pooled = frames.amax(1) if "max" in kind else frames.mean(1)
        if kind == "transfer":  # of a single frame torch's deviation is NaN
            deviation = frames.std(1) if frames.shape[1] > 1 else torch.zeros_like(pooled)
            pooled = torch.cat([pooled, deviation], dim=1)
        return classifier(pooled)

    check_logits(system, theirs)
    assert system.left_out == [] and not HfSpeechConfig(**system.settings).normalizes


@pytest.mark.parametrize("system", [dmha_system, ft_ser_system, few_samples_system, aishell4_system])
def test_what_is_another_system_s_is_refused(system: Callable[[dict[str, Any]], System]) -> None:
    with pytest.raises(InputError, match=r"no state dict of \S+: 1 weights have no place in it, such as bert\.weight"):
        system({"state_dict": {"bert.weight": torch.ones(2)}, "model": {"bert.weight": torch.ones(2)}})
    with pytest.raises(
        InputError, match=r"no checkpoint of \S+: a dictionary with a state dict under '\w+' is expected"
    ):
        system({"epoch": 3})


def test_what_is_not_whole_is_refused() -> None:
    with pytest.raises(InputError, match="no whole state dict of aishell4-sid: nothing in it becomes the encoder"):
        aishell4_system({"state_dict": {"classifier.weight": torch.ones(2, 2), "classifier.bias": torch.ones(2)}})
    encoder = {f"wav2vec2.{name}": value for name, value in wav2vec2().state_dict().items()}
    with pytest.raises(InputError, match=r"nothing in it becomes the head classifier\.bias"):
        aishell4_system({"state_dict": encoder | {"classifier.weight": torch.ones(2, WIDTH)}})
    with pytest.raises(InputError, match=r"nothing in it becomes feature_projection\.projection\.bias"):
        ft_ser_system({"state_dict": {"model.wav2vec2.wav2vec2.masked_spec_embed": torch.ones(2)}})
