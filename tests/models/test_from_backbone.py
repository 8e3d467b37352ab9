"""Encoders from checkpoints as they lie on the Hub: of any head, with the names and formats of their time."""

from pathlib import Path

import pytest
import torch
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModel,
    AutoModelForPreTraining,
    BertConfig,
    BertModel,
    PreTrainedModel,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    pipeline,
)

from hf_speech.errors import InputError
from hf_speech.models.conversion import from_stock
from hf_speech.models.modeling import HfSpeechForSequenceClassification, HfSpeechForXVector
from hf_speech.models.presets import PRESETS
from hf_speech.testing import tiny_backbone_config

from .tiny import RAW_BACKBONES, STABLE, lively, waveforms

POSITIONS = "wav2vec2.encoder.pos_conv_embed.conv."


@pytest.fixture(scope="module", params=[{}, STABLE], ids=["post-norm", "stable-norm"])
def pretrained(request: pytest.FixtureRequest) -> PreTrainedModel:
    """A pretraining model: encoder, quantizer, projections."""
    return lively(AutoModelForPreTraining.from_config(tiny_backbone_config("wav2vec2", **request.param)))


def write_as_in_2021(model: PreTrainedModel, folder: Path) -> Path:
    """pytorch_model.bin with weight norm under its old names, as facebook/wav2vec2-base has it."""
    weights = model.state_dict()
    weights[POSITIONS + "weight_g"] = weights.pop(POSITIONS + "parametrizations.weight.original0")
    weights[POSITIONS + "weight_v"] = weights.pop(POSITIONS + "parametrizations.weight.original1")
    assert any(key.startswith("quantizer.") for key in weights) and "project_hid.weight" in weights
    torch.save(weights, folder / "pytorch_model.bin")
    model.config.save_pretrained(folder)
    Wav2Vec2FeatureExtractor().save_pretrained(folder)
    return folder


def expect_its_hidden_states(folder: Path, encoder: PreTrainedModel) -> None:
    wave = waveforms((9_000,))[0][None]
    with torch.inference_mode():
        expected = encoder(wave, output_hidden_states=True)
        for layer, frames in ((1, expected.hidden_states[1]), ("last", expected.last_hidden_state)):
            ours = HfSpeechForSequenceClassification.from_backbone(folder, layer=layer, labels=["a", "b"]).eval()
            torch.testing.assert_close(ours.speech(wave).last_hidden_state, frames, atol=1e-5, rtol=0)
            assert len(ours.encoder.backbone.encoder.layers) == (1 if layer == 1 else 2)


def test_a_pretraining_checkpoint_with_old_names_in_a_bin(pretrained: PreTrainedModel, tmp_path: Path) -> None:
    expect_its_hidden_states(write_as_in_2021(pretrained, tmp_path), pretrained.wav2vec2)


def test_a_pretraining_checkpoint_in_safetensors(pretrained: PreTrainedModel, tmp_path: Path) -> None:
    pretrained.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").exists()
    expect_its_hidden_states(tmp_path, pretrained.wav2vec2)


def test_a_checkpoint_with_a_ctc_head(tmp_path: Path) -> None:
    model = lively(Wav2Vec2ForCTC(tiny_backbone_config("wav2vec2", vocab_size=32)))
    model.save_pretrained(tmp_path)
    expect_its_hidden_states(tmp_path, model.wav2vec2)


@pytest.mark.parametrize("backbone", RAW_BACKBONES)
def test_a_bare_encoder_of_every_kind(backbone: str, tmp_path: Path) -> None:
    model = lively(AutoModel.from_config(tiny_backbone_config(backbone)))
    model.save_pretrained(tmp_path)
    expect_its_hidden_states(tmp_path, model)


def test_a_checkpoint_in_half_precision_trains_in_float32(tmp_path: Path) -> None:
    AutoModel.from_config(tiny_backbone_config("wav2vec2")).to(torch.float16).save_pretrained(tmp_path)
    model = HfSpeechForSequenceClassification.from_backbone(str(tmp_path), labels=["a", "b"])
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    model.save_pretrained(tmp_path / "ours")
    loaded = HfSpeechForSequenceClassification.from_pretrained(tmp_path / "ours")
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    half = HfSpeechForSequenceClassification.from_pretrained(tmp_path / "ours", dtype=torch.bfloat16)
    assert {p.dtype for p in half.parameters()} == {torch.bfloat16}


def test_a_checkpoint_may_lack_the_mask_embedding(tmp_path: Path) -> None:
    # Some were pretrained without masking, or saved with it off; training then starts it afresh.
    AutoModel.from_config(tiny_backbone_config("wav2vec2")).save_pretrained(tmp_path)
    model = HfSpeechForSequenceClassification.from_backbone(
        str(tmp_path), labels=["a", "b"], backbone_config={"mask_time_prob": 0.5, "mask_time_length": 2}
    )
    output = model.train()(torch.randn(2, 9_000), labels=torch.tensor([0, 1]))
    assert output.loss.isfinite()


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path) -> None:
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertModel(BertConfig(**small)).save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"unknown backbone model_type 'bert'.*valid: data2vec-audio, ecapa"):
        HfSpeechForSequenceClassification.from_backbone(str(tmp_path), labels=["a", "b"])


def test_weights_of_something_else_under_the_right_config_are_refused(tmp_path: Path) -> None:
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertModel(BertConfig(**small)).save_pretrained(tmp_path)
    tiny_backbone_config("wav2vec2").save_pretrained(tmp_path)
    with pytest.raises(InputError) as refusal:
        HfSpeechForSequenceClassification.from_backbone(str(tmp_path), labels=["a", "b"])
    assert str(tmp_path) in str(refusal.value) and "not a checkpoint of a wav2vec2 encoder" in str(refusal.value)


def test_a_checkpoint_of_another_depth_is_refused(tmp_path: Path) -> None:
    AutoModel.from_config(tiny_backbone_config("wav2vec2")).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="encoder.layers.2"):
        HfSpeechForSequenceClassification.from_backbone(
            str(tmp_path), labels=["a", "b"], backbone_config={"num_hidden_layers": 3}
        )


@pytest.mark.parametrize("content", ["config", "nothing"])
def test_a_folder_without_weights_is_named(content: str, tmp_path: Path) -> None:
    if content == "config":
        tiny_backbone_config("wav2vec2").save_pretrained(tmp_path)
    with pytest.raises(InputError) as refusal:
        HfSpeechForSequenceClassification.from_backbone(str(tmp_path), labels=["a", "b"])
    assert str(tmp_path) in str(refusal.value) and "\n" not in str(refusal.value)


def test_a_path_is_a_folder_and_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for make in (HfSpeechForSequenceClassification.from_backbone, from_stock):
        with pytest.raises(InputError, match="ecapa-512: there is no such folder"):
            make(Path("ecapa-512"))  # the name of a preset
    tiny_backbone_config("wav2vec2").save_pretrained("ecapa-512")
    with pytest.raises(InputError, match="ecapa-512: can't be loaded"):  # it has no weights
        HfSpeechForSequenceClassification.from_backbone(Path("ecapa-512"))


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    missing = str(tmp_path / "no-such-folder")
    with pytest.raises(InputError, match="no-such-folder.*give the folder of a checkpoint or a name on the Hub"):
        HfSpeechForSequenceClassification.from_backbone(missing, labels=["a", "b"])


@pytest.mark.parametrize(
    ("backbone", "kind", "said"),
    [
        ("ecapa-256", "eager", "attn_implementation is 'eager', but a network 'ecapa-tdnn' has no attention; leave"),
        ("wav2vec2", "banana", "attn_implementation 'banana': "),
        ("wav2vec2", "flash_attention_2", "attn_implementation 'flash_attention_2': "),
    ],
)
def test_attention_that_can_not_be_had_is_refused(backbone: str, kind: str, said: str) -> None:
    source = backbone if backbone in PRESETS else tiny_backbone_config(backbone)
    with pytest.raises(InputError) as refusal:
        HfSpeechForSequenceClassification.from_backbone(source, labels=["a", "b"], attn_implementation=kind)
    assert str(refusal.value).startswith(said) and "\n" not in str(refusal.value)


@pytest.mark.parametrize(("backbone", "normalizes"), [("ecapa-tdnn", False), ("wav2vec2", True)])
def test_a_saved_model_can_be_used_at_once(backbone: str, normalizes: bool, tmp_path: Path) -> None:
    """By every Auto class, without the package too, and by the pipeline, which wants a feature extractor."""
    overrides = STABLE if normalizes else {}
    made = HfSpeechForXVector.from_backbone(tiny_backbone_config(backbone, **overrides), labels=["a", "b"])
    lively(made).save_pretrained(tmp_path)
    extractor = AutoFeatureExtractor.from_pretrained(tmp_path)
    assert (extractor.do_normalize, extractor.return_attention_mask) == (normalizes, True)
    wave = waveforms((9_000,))[0]
    said = pipeline("audio-classification", model=str(tmp_path), trust_remote_code=True)(
        {"raw": wave.numpy(), "sampling_rate": 16_000}
    )
    batch = extractor(wave.numpy(), sampling_rate=16_000, return_tensors="pt")
    with torch.inference_mode():
        logits = made(**batch).logits[0].softmax(-1)
    assert {row["label"]: row["score"] for row in said} == pytest.approx(dict(zip("ab", logits.tolist(), strict=True)))
    named = AutoConfig.from_pretrained(tmp_path).auto_map
    assert set(named) == {
        "AutoConfig",
        *(f"AutoModel{kind}" for kind in ("", "ForAudioClassification", "ForAudioXVector")),
    }


def test_a_feature_extractor_that_is_there_stays(tmp_path: Path) -> None:
    Wav2Vec2FeatureExtractor(do_normalize=True, padding_value=0.5).save_pretrained(tmp_path)
    HfSpeechForXVector.from_backbone(tiny_backbone_config("ecapa-tdnn"), labels=["a", "b"]).save_pretrained(tmp_path)
    assert AutoFeatureExtractor.from_pretrained(tmp_path).padding_value == 0.5


def test_a_name_is_no_list_of_labels() -> None:
    with pytest.raises(InputError, match="labels is 'ab'; give a list of names"):
        HfSpeechForXVector.from_backbone(tiny_backbone_config("ecapa-tdnn"), labels="ab")


def test_a_misspelt_preset_is_not_looked_for_on_the_hub() -> None:
    with pytest.raises(
        InputError, match=r"unknown preset 'ecapa-513' \(did you mean 'ecapa-512'\?\); valid: ecapa-1024, "
    ):
        HfSpeechForXVector.from_backbone("ecapa-513", labels=["a", "b"])
