"""What waveforms a model takes."""

import pytest
import torch
from torch import Tensor

from hf_speech.errors import InputError
from hf_speech.models.modeling import HfSpeechForSequenceClassification

from .tiny import RAW_BACKBONES, lively, padded, tiny_config, waveforms


@pytest.mark.parametrize("backbone", RAW_BACKBONES)
def test_a_clip_under_one_receptive_field_is_refused_by_its_place(backbone: str) -> None:
    model = lively(HfSpeechForSequenceClassification(tiny_config(backbone)))
    with pytest.raises(InputError, match=r"waveform 1 of the batch has 399 samples.*at least 400"):
        model(**padded(waveforms((5_000, 399, 4_000)), 5_000))
    with pytest.raises(InputError, match=r"waveform 0 of the batch has 399 samples.*at least 400"):
        model(torch.randn(1, 399))
    assert model(torch.randn(1, 400)).logits.shape == (1, 3)


def test_padding_at_the_left_is_refused() -> None:
    model = lively(HfSpeechForSequenceClassification(tiny_config()))
    mask = torch.ones(2, 5_000, dtype=torch.long)
    mask[1, :1_000] = 0
    with pytest.raises(InputError, match="attention_mask has a 0 before a 1: waveforms are padded at the right end"):
        model(torch.randn(2, 5_000), attention_mask=mask)


@pytest.mark.parametrize("backbone", ["wav2vec2", "wav2vec2-bert", "ecapa-tdnn", "wav2vec"])
@pytest.mark.parametrize(
    ("values", "mask", "message"),
    [
        (torch.ones(9_000), None, r"input_values have the shape (9000,): give waveforms as (batch, samples)"),
        (torch.ones(2, 1, 9_000), None, r"input_values have the shape (2, 1, 9000): give waveforms as"),
        (torch.ones(0, 9_000), None, r"input_values have the shape (0, 9000): give waveforms as"),
        (torch.ones(0, 9_000), torch.ones(0, 9_000), r"input_values have the shape (0, 9000): give waveforms as"),
        (torch.ones(2, 9_000, dtype=torch.int16), None, "input_values are torch.int16: give floats in [-1, 1]"),
        (
            torch.ones(2, 9_000),
            torch.ones(2, 8_000),
            "attention_mask has the shape (2, 8000), but input_values have (2, 9000)",
        ),
        (torch.ones(2, 9_000), torch.ones(9_000), "attention_mask has the shape (9000,), but input_values have"),
        (torch.ones(2, 9_000), torch.ones(1, 9_000), "attention_mask has the shape (1, 9000), but input_values have"),
    ],
)
def test_what_is_no_batch_of_waveforms_is_refused(
    backbone: str, values: Tensor, mask: Tensor | None, message: str
) -> None:
    model = lively(HfSpeechForSequenceClassification(tiny_config(backbone)))
    with pytest.raises(InputError) as refusal:
        model(values, attention_mask=mask)
    assert message in str(refusal.value) and "\n" not in str(refusal.value)


@pytest.mark.parametrize("backbone", ["wav2vec2", "hubert", "wav2vec2-bert", "ecapa-tdnn", "wav2vec"])
def test_waveforms_of_another_precision_are_cast(backbone: str) -> None:
    model = lively(HfSpeechForSequenceClassification(tiny_config(backbone)))
    batch = padded(waveforms((9_000, 8_000)), 9_500)
    wide = model(batch["input_values"].double(), attention_mask=batch["attention_mask"]).logits
    assert torch.equal(wide, model(**batch).logits)
    half = model.bfloat16()(**batch).logits
    assert half.dtype == torch.bfloat16 and half.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bool, torch.int32, torch.int64, torch.float32])
def test_a_mask_may_be_of_any_kind(dtype: torch.dtype) -> None:
    model = lively(HfSpeechForSequenceClassification(tiny_config()))
    batch = padded(waveforms((5_000, 3_000)), 6_000)
    expected = model(**batch).logits
    assert torch.equal(model(batch["input_values"], attention_mask=batch["attention_mask"].to(dtype)).logits, expected)


@pytest.mark.parametrize("backbone", RAW_BACKBONES)
def test_a_short_clip_is_trained_on_with_spec_augment(backbone: str) -> None:
    # 3,000 samples are 9 frames, less than one span of 10: transformers refuses them.
    masks = {"mask_time_prob": 0.65, "mask_time_length": 10}
    model = lively(HfSpeechForSequenceClassification(tiny_config(backbone, masks))).train()
    torch.manual_seed(0)
    for batch in (padded(waveforms((3_000,)), 3_000), padded(waveforms((3_000, 1_000)), 3_000)):
        output = model(**batch, labels=torch.zeros(len(batch["input_values"]), dtype=torch.long))
        output.loss.backward()
        assert output.loss.isfinite() and all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_spec_augment_masks_in_training_only() -> None:
    values = {"mask_time_prob": 0.65, "mask_time_length": 10, "hidden_dropout": 0.0, "attention_dropout": 0.0}
    values |= {"activation_dropout": 0.0, "feat_proj_dropout": 0.0}
    model = lively(HfSpeechForSequenceClassification(tiny_config("wav2vec2", values)))
    batch = padded(waveforms((16_000,)), 16_000)
    still = model(**batch).embeddings
    assert torch.equal(model(**batch).embeddings, still)
    assert (model.train()(**batch).embeddings - still).abs().max() > 0.01
    off = tiny_config("wav2vec2", {**values, "apply_spec_augment": False})
    unmasked = lively(HfSpeechForSequenceClassification(off)).train()
    assert not hasattr(unmasked.encoder.backbone, "masked_spec_embed")
    assert torch.equal(unmasked(**batch).embeddings, unmasked(**batch).embeddings)
