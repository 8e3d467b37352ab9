"""Regularisations read off the live modules of every SSL encoder, and measured in training mode."""

from math import comb
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hf_speech.errors import InputError
from hf_speech.models.backbones import OWN_BACKBONES
from hf_speech.models.configuration import SSL_BACKBONES, HfSpeechConfig
from hf_speech.models.modeling import HfSpeechForSequenceClassification
from hf_speech.models.presets import merged
from hf_speech.testing import tiny_backbone_config
from hf_speech.training.regularization import REGULARIZATIONS, regularized

from ..models.tiny import lively, padded, tiny_config, waveforms
from ..pairs import some_pairs

# The values of 2203.14688, by hand; conformers have one dropout more.
DROPOUTS = {"activation_dropout", "attention_dropout", "conformer_conv_dropout", "feat_proj_dropout", "hidden_dropout"}
HAS = {
    "default": (0.1, 0.5, 0.1, 0.1),  # dropouts, masks of time, masks of features, LayerDrop
    "none": (0.0, 0.0, 0.0, 0.0),
    "dropout": (0.1, 0.0, 0.0, 0.0),
    "masking": (0.0, 0.5, 0.1, 0.0),
    "layerdrop": (0.0, 0.0, 0.0, 0.1),
}
SIZE = 128  # the masks of features are 64 wide


def model_with(backbone: str, settings: dict[str, Any], **overrides: Any) -> Any:
    sizes = {"hidden_size": SIZE, "num_hidden_layers": 3}
    values = {**sizes, **settings["backbone_config"], **overrides}
    config = tiny_config(backbone, values, layerdrop=settings["layerdrop"])
    return lively(HfSpeechForSequenceClassification(config)).train()


def live_dropouts(model: Any) -> dict[str, float]:
    """Name -> probability of every dropout of the backbone, modules and those that an attention hands to its kernel."""
    found = {}
    for name, module in model.encoder.backbone.named_modules():
        if isinstance(module, nn.Dropout):
            found[name] = module.p
        elif isinstance(getattr(module, "dropout", None), float):
            found[f"{name}.dropout"] = module.dropout
    return found


def fields_of(backbone: str) -> set[str]:
    return set(tiny_backbone_config(backbone).to_dict())


@pytest.mark.parametrize("name", REGULARIZATIONS)
@pytest.mark.parametrize("backbone", SSL_BACKBONES)
def test_what_the_live_modules_have(backbone: str, name: str) -> None:
    dropout, time, feature, layerdrop = HAS[name]
    model = model_with(backbone, regularized(name, backbone))
    found = live_dropouts(model)
    assert len(found) >= 2 + 3 * 4 and set(found.values()) == {dropout}
    layers = model.encoder.backbone.encoder.layers
    skipping = [getattr(layer, "layerdrop", 0.0) for layer in layers]
    assert skipping == [0.0 if backbone == "wavlm" and i == 0 else layerdrop for i in range(3)]
    config = model.encoder.backbone.config
    assert (config.mask_time_prob, config.mask_feature_prob, config.layerdrop) == (time, feature, 0.0)
    if time:
        assert (config.mask_time_length, config.mask_feature_length) == (10, 64)
    embedding = getattr(model.encoder.backbone, "masked_spec_embed", None)
    assert (embedding is not None and embedding.requires_grad) == (time > 0)


@pytest.mark.parametrize("field", sorted(DROPOUTS))
@pytest.mark.parametrize("backbone", SSL_BACKBONES)
def test_each_dropout_reaches_modules_of_its_own(backbone: str, field: str) -> None:
    if field not in fields_of(backbone):
        return
    found = live_dropouts(model_with(backbone, regularized("none", backbone), **{field: 0.37}))
    reached = {name for name, probability in found.items() if probability == 0.37}
    assert {probability for name, probability in found.items() if name not in reached} == {0.0}
    if field == "feat_proj_dropout":
        assert reached == {"feature_projection.dropout"}
    else:
        assert {f"encoder.layers.{i}" for i in range(3)} <= {".".join(name.split(".")[:3]) for name in reached}
    assert ("encoder.dropout" in reached) == (field == "hidden_dropout")


@pytest.mark.parametrize("name", REGULARIZATIONS)
@pytest.mark.parametrize("backbone", SSL_BACKBONES)
def test_training_mode_is_as_random_as_the_name_says(backbone: str, name: str) -> None:
    model = model_with(backbone, regularized(name, backbone))
    batch = padded(waveforms((16_000, 9_000)), 16_500)
    torch.manual_seed(0)
    with torch.no_grad():
        first, *others = (model(**batch).embeddings for _ in range(12))
        expected = model.eval()(**batch).embeddings
    assert any(not torch.equal(first, other) for other in others) == (name != "none")
    if name == "none" and backbone != "wav2vec2-conformer":  # whose batch norms know training from evaluation
        torch.testing.assert_close(first, expected, atol=1e-5, rtol=0)


def covered(size: int, spans: int, length: int) -> float:
    """The mean share of `size` places within `spans` spans, whose starts are drawn without being put back."""
    starts = size - length + 1
    left = 0.0
    for j in range(size):
        covering = min(j, starts - 1) - max(0, j - length + 1) + 1
        left += comb(starts - covering, spans) / comb(starts, spans)
    return 1 - left / size


@pytest.mark.parametrize("backbone", SSL_BACKBONES)
def test_masks_fall_at_the_asked_share(backbone: str) -> None:
    model = model_with(backbone, regularized("masking", backbone))
    backbone_model, entered = model.encoder.backbone, []
    embedding = backbone_model.masked_spec_embed.detach().fill_(3.0)
    samples = model.encoder.min_samples + 99 * model.encoder.hop  # 100 frames: 5 spans of 10
    hook = backbone_model.encoder.register_forward_pre_hook(lambda _, inputs: entered.append(inputs[0].clone()))
    torch.manual_seed(0)
    with torch.no_grad():
        for seed in range(40):
            model(torch.stack(waveforms([samples] * 8, seed)))
    hook.remove()
    frames = torch.cat(entered)
    assert frames.shape == (320, 100, SIZE)
    hidden = ((frames == embedding) | (frames == 0)).all(-1)  # masks of features fall on masks of time as well
    shares = hidden.float().mean(1)
    expected = covered(100, 5, 10)
    print(f"{backbone}: {shares.mean():.3f} of time hidden, {expected:.3f} by the formula")
    assert (shares.mean() - expected).abs() < 4 * shares.std() / 320**0.5
    bands = (frames == 0).all(1).sum(1)
    assert set(bands.tolist()) == {0, 64}  # one span or, as 0.1 * 128 / 64 = 0.2 of the times, none
    assert (bands > 0).view(40, 8).float().mean() == pytest.approx(0.2, abs=4 * (0.2 * 0.8 / 40) ** 0.5)


LONG = {"mask_time_length": 60}  # 1.2 s
MANY = {"mask_time_min_masks": 50}


@pytest.mark.parametrize(
    ("backbone", "overrides"), some_pairs(SSL_BACKBONES, [{}, LONG, MANY, {"mask_feature_prob": 1.0}], every=2)
)
def test_masks_on_the_shortest_clips(backbone: str, overrides: dict[str, Any]) -> None:
    if "mask_time_min_masks" in overrides and "mask_time_min_masks" not in fields_of(backbone):
        return
    model = model_with(backbone, regularized("masking", backbone), **overrides)
    shortest = model.encoder.min_samples
    batches: list[dict[str, Tensor]] = [
        {"input_values": torch.stack(waveforms((shortest, shortest)))},
        padded(waveforms((shortest, 8_000)), 8_000),
        padded(waveforms((shortest + 3_200, 5_000)), 5_500),
    ]
    for batch in batches:
        for seed in range(3):
            torch.manual_seed(seed)
            model.zero_grad()
            output = model(**batch, labels=torch.tensor([0, 2]))
            output.loss.backward()
            assert output.loss.isfinite() and output.embeddings.isfinite().all()
            assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("backbone", SSL_BACKBONES)
def test_masks_longer_than_the_features_are_refused_at_once(backbone: str) -> None:
    values = regularized("default", backbone)["backbone_config"]
    with pytest.raises(InputError) as refusal:
        HfSpeechConfig(backbone_config=tiny_backbone_config(backbone, **values), num_labels=2)
    said = "backbone_config: mask_feature_length is 64, but hidden_size is 32; give 32 or less"
    assert str(refusal.value) == said
    HfSpeechConfig(backbone_config=tiny_backbone_config(backbone, **{**values, "mask_feature_length": 32}))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"mask_time_prob": 1.5}, "backbone_config: mask_time_prob is 1.5; give a share from 0 to 1"),
        ({"mask_time_prob": 0.1, "mask_time_length": 0}, "mask_time_length is 0; give 1 or more, or mask_time_prob 0"),
    ],
)
def test_impossible_masks_are_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as refusal:
        HfSpeechConfig(backbone_config=tiny_backbone_config("wav2vec2", **values), num_labels=2)
    assert said in str(refusal.value)
    off = {**values, "apply_spec_augment": False}
    assert HfSpeechConfig(backbone_config=tiny_backbone_config("wav2vec2", **off)).encoder_config().mask_time_prob == 0


def test_what_a_run_gives_itself_stands_above() -> None:
    given = {"backbone_config": {"mask_time_prob": 0.08, "hidden_dropout": 0.0}, "layerdrop": 0.05}
    values = merged(regularized("default", "wav2vec2"), given)
    table = values["backbone_config"]
    assert (table["mask_time_prob"], table["hidden_dropout"], values["layerdrop"]) == (0.08, 0.0, 0.05)
    assert (table["attention_dropout"], table["mask_feature_length"]) == (0.1, 64)


@pytest.mark.parametrize("name", REGULARIZATIONS)
@pytest.mark.parametrize("backbone", SSL_BACKBONES)
def test_only_values_that_the_configuration_has(backbone: str, name: str) -> None:
    assert set(regularized(name, backbone)["backbone_config"]) <= fields_of(backbone)
    assert REGULARIZATIONS[name]["layerdrop"] == HAS[name][3]


def test_names_that_do_not_exist_are_refused() -> None:
    with pytest.raises(InputError, match="unknown regularization 'dropouts'.*'dropout'.*; valid: default, dropout, "):
        regularized("dropouts", "wav2vec2")
    for backbone in OWN_BACKBONES:
        with pytest.raises(InputError, match=f"'none' is for encoders of transformers, and a {backbone} has none"):
            regularized("none", backbone)
