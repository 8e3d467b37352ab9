"""Stock audio classifiers and x-vector models become ours, with their outputs."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import (
    ASTConfig,
    ASTForAudioClassification,
    AutoModelForAudioClassification,
    AutoModelForAudioXVector,
    AutoModelForPreTraining,
    PreTrainedModel,
    SEWConfig,
    SEWForSequenceClassification,
    Wav2Vec2FeatureExtractor,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_AUDIO_XVECTOR_MAPPING_NAMES

from hf_speech.errors import InputError
from hf_speech.models.configuration import SSL_BACKBONES
from hf_speech.models.conversion import from_stock
from hf_speech.models.frontends import FRONTENDS
from hf_speech.models.modeling import HfSpeechForXVector, HfSpeechModel
from hf_speech.testing import tiny_backbone_config

from .tiny import RAW_BACKBONES, STABLE, lively, padded, reloaded, waveforms

X_VECTOR_BACKBONES = [name for name in MODEL_FOR_AUDIO_XVECTOR_MAPPING_NAMES if name in SSL_BACKBONES]


def stock_x_vector(backbone: str, **values: Any) -> PreTrainedModel:
    """Every size another number; time-delay layers that see 15 frames, as those of the published models do."""
    sizes = {"tdnn_dim": [12, 10, 14], "tdnn_kernel": [5, 3, 3], "tdnn_dilation": [1, 2, 3], "xvector_output_dim": 9}
    config = tiny_backbone_config(backbone, id2label=dict(enumerate("abcd")), **sizes, **values)
    return lively(AutoModelForAudioXVector.from_config(config))


def stock_classifier(backbone: str, **values: Any) -> PreTrainedModel:
    labels = {0: "calm", 1: "angry", 2: "sad", 3: "glad"}
    config = tiny_backbone_config(backbone, classifier_proj_size=24, id2label=labels, **values)
    config.label2id = {name: i for i, name in labels.items()}
    return lively(AutoModelForAudioClassification.from_config(config))


@torch.inference_mode()
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("norm", ["post", "stable"])
@pytest.mark.parametrize("backbone", RAW_BACKBONES)
def test_the_logits_are_the_stock_model_s(backbone: str, norm: str, weighted: bool) -> None:
    values: dict[str, Any] = {} if norm == "post" else STABLE
    if norm == "stable" and backbone in ("data2vec-audio", "wav2vec2-conformer"):
        pytest.skip("one kind of norm only")
    stock = stock_classifier(backbone, use_weighted_layer_sum=weighted, **values)
    ours = from_stock(stock)
    assert ours.config.id2label == {0: "calm", 1: "angry", 2: "sad", 3: "glad"}
    assert not ours.training and ours.config.layer == ("weighted_sum" if weighted else "last")
    expected = torch.cat([stock(wave[None]).logits for wave in waveforms((16_000, 5_000, 400))])
    found = torch.cat([ours(wave[None]).logits for wave in waveforms((16_000, 5_000, 400))])
    assert expected.std() > 0.1
    print(f"{backbone} {norm} weighted={weighted}: {(found - expected).abs().max():.1e}")
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@torch.inference_mode()
def test_a_folder_converts_too(tmp_path: Path) -> None:
    stock = stock_classifier("hubert")
    stock.save_pretrained(tmp_path)
    wave = waveforms((8_000,))[0][None]
    torch.testing.assert_close(from_stock(tmp_path)(wave).logits, stock(wave).logits, atol=1e-5, rtol=0)


@torch.inference_mode()
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("backbone", X_VECTOR_BACKBONES)
def test_an_x_vector_model_keeps_its_embeddings_and_its_loss(backbone: str, weighted: bool) -> None:
    stock = stock_x_vector(backbone, use_weighted_layer_sum=weighted)
    ours = from_stock(stock)
    assert type(ours) is HfSpeechForXVector and not ours.training and ours.config.num_labels == 4
    labels = torch.tensor([2])
    for wave in waveforms((16_000, 9_000, 6_000)):
        values = FRONTENDS["w2v-bert-fbank"](16_000)(wave[None])[0] if backbone == "wav2vec2-bert" else wave[None]
        expected, found = stock(values, labels=labels), ours(wave[None], labels=labels)
        assert expected.embeddings.std() > 0.1
        print(f"{backbone} weighted={weighted}: {(found.embeddings - expected.embeddings).abs().max():.1e}")
        torch.testing.assert_close(found.embeddings, expected.embeddings, atol=1e-5, rtol=0)
        # What goes into the margin loss there, and the scores that it makes of it.
        torch.testing.assert_close(ours.head.affine(found.embeddings), expected.logits, atol=2e-5, rtol=0)
        cosines = nn.functional.normalize(expected.logits) @ nn.functional.normalize(stock.objective.weight, dim=0)
        torch.testing.assert_close(found.logits, 30 * cosines, atol=5e-4, rtol=0)
        torch.testing.assert_close(found.loss, expected.loss, atol=5e-4, rtol=1e-5)


@torch.inference_mode()
def test_the_stock_x_vector_pools_over_padding_and_ours_does_not() -> None:
    stock = stock_x_vector("wav2vec2", **STABLE)  # whose encoder does not read the padding
    ours, waves = from_stock(stock), waveforms((16_000, 9_000))
    batch = padded(waves, 16_000, junk=0.0)
    # 9,000 samples are 27 frames, of which 13 have seen nothing but real ones: 15 each. It counts 8 less, not 14.
    assert stock._get_feat_extract_output_lengths(9_000) == 27
    assert stock._get_tdnn_output_lengths(27) == 19 and ours.speech.neck.count(27) == 13
    alone = torch.cat([stock(wave[None]).embeddings for wave in waves])
    theirs = (stock(**batch).embeddings - alone).abs().amax(1)
    found = (ours(**padded(waves, 16_500)).embeddings - alone).abs().amax(1)
    print(f"in a batch: theirs {theirs.tolist()}, ours {found.tolist()}")
    assert theirs[1] > 0.01 and found.max() < 1e-5
    # The longest utterance has none behind it.
    assert theirs[0] < 1e-5


@torch.inference_mode()
def test_an_utterance_of_fewer_frames_than_the_layers_see() -> None:
    stock = stock_x_vector("wav2vec2")
    ours, waves = from_stock(stock), waveforms((16_000, 400, 4_000))  # 49, 1 and 12 frames
    with pytest.raises(RuntimeError, match="Kernel size can't be greater"):
        stock(waves[1][None])
    found = ours(**padded(waves, 16_500))
    alone = torch.cat([ours(wave[None]).embeddings for wave in waves])
    torch.testing.assert_close(found.embeddings, alone, atol=1e-5, rtol=0)
    assert found.logits.isfinite().all() and alone.std(0).min() > 0.01


def x_vector_folder(folder: Path) -> PreTrainedModel:
    stock = stock_x_vector("wavlm")
    stock.save_pretrained(folder)
    return stock


def without(folder: Path, gone: str) -> None:
    """Takes all weights out of a checkpoint whose names start so."""
    path = folder / "model.safetensors"
    weights = {name: value for name, value in load_file(path).items() if not name.startswith(gone)}
    assert len(weights) < len(load_file(path))
    save_file(weights, path, {"format": "pt"})


def embeddings(model: Any) -> Tensor:
    return model(waveforms((8_000,))[0][None]).embeddings


@torch.inference_mode()
def test_an_x_vector_folder_converts_too_and_comes_back_from_a_folder_of_ours(tmp_path: Path) -> None:
    stock = x_vector_folder(tmp_path / "stock")
    ours = from_stock(str(tmp_path / "stock"))
    torch.testing.assert_close(embeddings(ours), embeddings(stock), atol=1e-5, rtol=0)
    torch.testing.assert_close(embeddings(reloaded(ours, tmp_path / "ours")), embeddings(stock), atol=1e-5, rtol=0)
    assert type(AutoModelForAudioXVector.from_pretrained(tmp_path / "ours")) is HfSpeechForXVector
    with pytest.raises(InputError, match="ours: is a model of ours already; load it with from_pretrained"):
        from_stock(str(tmp_path / "ours"))


@torch.inference_mode()
def test_without_the_centres_there_are_embeddings_alone(tmp_path: Path) -> None:
    stock = x_vector_folder(tmp_path)
    without(tmp_path, "objective.")
    ours = from_stock(str(tmp_path))
    assert type(ours) is HfSpeechModel
    torch.testing.assert_close(embeddings(ours), embeddings(stock), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("gone", "words"),
    [
        ("tdnn.1.", r"no trained classifier \(it lacks tdnn\.1\.kernel\.bias, tdnn\.1\.kernel\.weight\)"),
        ("wavlm.encoder.layers.1.", r"lacks \d+ weights of its encoder, such as wavlm\.encoder\.layers\.1\.\S+: fetch"),
    ],
)
def test_a_checkpoint_that_is_not_whole_is_refused(gone: str, words: str, tmp_path: Path) -> None:
    x_vector_folder(tmp_path)
    without(tmp_path, gone)
    with pytest.raises(InputError, match=words):
        from_stock(str(tmp_path))


@pytest.mark.parametrize("normalised", [True, False])
def test_waveforms_are_normalised_as_the_folder_says(normalised: bool, tmp_path: Path) -> None:
    stock_classifier("wav2vec2").save_pretrained(tmp_path)
    assert from_stock(str(tmp_path)).config.do_normalize is None
    Wav2Vec2FeatureExtractor(do_normalize=normalised).save_pretrained(tmp_path)
    assert from_stock(str(tmp_path)).config.do_normalize is normalised
    (tmp_path / "preprocessor_config.json").write_text("{")
    with pytest.raises(InputError, match=r"its preprocessor_config\.json can't be read .*; mend it"):
        from_stock(str(tmp_path))


def test_an_adapter_above_the_encoder_is_refused() -> None:
    with pytest.raises(InputError, match=r"Wav2Vec2ForXVector has an adapter above its encoder \(add_adapter\)"):
        from_stock(stock_x_vector("wav2vec2", add_adapter=True))


def test_what_is_no_stock_classifier_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Wav2Vec2ForPreTraining is no stock audio classifier .* no x-vector model"):
        from_stock(AutoModelForPreTraining.from_config(tiny_backbone_config("wav2vec2")))
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    with pytest.raises(InputError, match="ASTForAudioClassification is no stock audio classifier"):
        from_stock(ASTForAudioClassification(ASTConfig(**small)))
    with pytest.raises(InputError, match=r"'sew'.*valid: data2vec-audio, ecapa-tdnn, hubert, "):
        from_stock(SEWForSequenceClassification(SEWConfig(**small, squeeze_factor=1, num_conv_pos_embeddings=4)))


def test_a_checkpoint_without_a_classifier_is_refused(tmp_path: Path) -> None:
    # transformers would load it with a random one
    AutoModelForPreTraining.from_config(tiny_backbone_config("wav2vec2")).save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"no trained classifier.*classifier\.weight.*from_backbone"):
        from_stock(str(tmp_path))


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothere: can't be loaded "):
        from_stock(str(tmp_path / "nothere"))
