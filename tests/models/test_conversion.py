"""Stock audio classifiers become ours, with their logits."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    ASTConfig,
    ASTForAudioClassification,
    AutoModelForAudioClassification,
    AutoModelForAudioXVector,
    AutoModelForPreTraining,
    PreTrainedModel,
    SEWConfig,
    SEWForSequenceClassification,
)

from hf_speech.errors import InputError
from hf_speech.models.conversion import from_stock
from hf_speech.testing import tiny_backbone_config

from .tiny import RAW_BACKBONES, STABLE, lively, waveforms


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
    torch.testing.assert_close(from_stock(str(tmp_path))(wave).logits, stock(wave).logits, atol=1e-5, rtol=0)


def test_what_is_no_stock_classifier_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Wav2Vec2ForXVector is no stock audio classifier"):
        from_stock(AutoModelForAudioXVector.from_config(tiny_backbone_config("wav2vec2")))
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
