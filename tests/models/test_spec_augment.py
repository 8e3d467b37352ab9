"""SpecAugment on spectral features: how much is hidden, where, of whom, and that evaluation knows nothing of it."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from hf_speech.errors import InputError
from hf_speech.models.backbones import OWN_BACKBONES, SpectralNetworkConfig
from hf_speech.models.frontends import FRONTENDS
from hf_speech.models.modeling import HfSpeechForSequenceClassification
from hf_speech.models.spec_augment import SpecAugment, draw_masks

from .tiny import lively, padded, reloaded, tiny_config, waveforms

SPECTRAL = [name for name, kind in OWN_BACKBONES.items() if issubclass(kind, SpectralNetworkConfig)]
ISCAP = {"time_masks": [2, 2], "time_width": 40, "band_masks": [2, 2], "band_width": 30}
ONLY_TIME = {"band_masks": [0, 0]}


def hidden(features: Tensor, counts: Tensor | None = None, bands: int = 80, **options: Any) -> Tensor:
    """Where ones have become zeros: (B, F, bands) bool."""
    return SpecAugment(bands, **options).train()(features, counts) == 0


def runs(row: Tensor) -> list[int]:
    """The lengths of the stretches of True in a row."""
    edges = torch.diff(row.int(), prepend=torch.zeros(1), append=torch.zeros(1)).nonzero().flatten().tolist()
    return [stop - start for start, stop in zip(edges[::2], edges[1::2], strict=True)]


def expected_share(size: int, masks: tuple[int, int], width: int) -> float:
    """The mean share of `size` places that is hidden, by summing over all numbers and widths, mask for mask.

    A place j is left by one mask of width w with the probability 1 - n / (size - w + 1), n of whose places cover it.
    """
    left = []
    for j in range(size):
        missed = 0.0
        for w in range(width + 1):
            places = size - w + 1
            covering = max(0, min(j, size - w) - max(0, j - w + 1) + 1) if w else 0
            missed += (1 - covering / places) / (width + 1)
        numbers = range(masks[0], masks[1] + 1)
        left.append(sum(missed**number for number in numbers) / len(numbers))
    return 1 - sum(left) / size


@pytest.mark.parametrize("options", [{}, ISCAP])
def test_the_shares_hidden_are_those_of_the_formula(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    frames, bands, batch = 300, 80, 3_000
    values = {"time_masks": [5, 10], "time_width": 10, "band_masks": [1, 3], "band_width": 4} | options
    mask = hidden(torch.ones(batch, frames, bands), **options)
    time, band = mask.all(2), mask.all(1)
    assert torch.equal(mask, time[..., None] | band[:, None])  # whole frames and whole bands, nothing else
    for found, size, kind in ((time, frames, "time"), (band, bands, "band")):
        shares = found.float().mean(1)
        expected = expected_share(size, tuple(values[f"{kind}_masks"]), values[f"{kind}_width"])
        print(f"{kind}: {shares.mean():.4f} hidden, {expected:.4f} by the formula")
        assert (shares.mean() - expected).abs() < 4 * shares.std() / batch**0.5


def test_numbers_and_widths_are_uniform() -> None:
    torch.manual_seed(0)
    mask = hidden(torch.ones(20_000, 1, 80), band_masks=[0, 1], band_width=4, time_masks=[0, 0])[:, 0]
    widths = Counter(int(row.sum()) for row in mask)
    # No mask in half of the cases; else 0 to 4, with 1/5 each.
    for width, expected in {0: 0.6, 1: 0.1, 2: 0.1, 3: 0.1, 4: 0.1}.items():
        assert widths[width] / 20_000 == pytest.approx(expected, abs=0.015)
    starts = Counter(int(row.int().argmax()) for row in mask if row.sum() == 4)
    assert set(starts) == set(range(77))  # every place where it fits


def test_each_utterance_has_masks_of_its_own() -> None:
    torch.manual_seed(0)
    mask = hidden(torch.ones(50, 200, 80))
    assert len({row.numpy().tobytes() for row in mask}) == 50


def test_a_mask_is_one_stretch_no_wider_than_the_widest() -> None:
    torch.manual_seed(0)
    mask = hidden(torch.ones(500, 300, 80), time_masks=[1, 1], time_width=12, **ONLY_TIME).all(2)
    found = [runs(row) for row in mask]
    assert {len(stretches) for stretches in found} == {0, 1}
    assert {length for stretches in found for length in stretches} == set(range(1, 13))


def test_masks_keep_to_the_real_frames_and_to_their_share() -> None:
    torch.manual_seed(0)
    counts = torch.tensor([1, 2, 3, 10, 50, 200]).repeat(200)
    padding = torch.arange(200) >= counts[:, None]
    features = torch.ones(len(counts), 200, 80).masked_fill(padding[..., None], 7.0)
    for share in (0.5, 0.2, 0.9):
        mask = hidden(features, counts, time_masks=[20, 20], time_width=40, time_share=share, **ONLY_TIME).all(2)
        assert not (mask & padding).any()
        hidden_frames = mask.sum(1)
        assert (hidden_frames <= (counts * share).floor()).all()
        assert (hidden_frames[counts == 1] == 0).all()
        assert hidden_frames[counts == 200].float().mean() > 0.6 * share * 200  # and is used, where there is enough


def test_the_length_of_others_changes_nothing() -> None:
    features, counts = torch.rand(3, 120, 80) + 1, torch.tensor([120, 40, 90])
    augment = SpecAugment(80).train()
    torch.manual_seed(3)
    whole = augment(features, counts)
    torch.manual_seed(3)
    shorter = augment(features[:, :110], counts.clamp(max=110))
    assert torch.equal(whole[1:, :110], shorter[1:])


def test_what_is_not_hidden_stays_to_the_bit_and_evaluation_hides_nothing() -> None:
    features = torch.randn(4, 100, 80)
    augment = SpecAugment(80).train()
    found = augment(features)
    assert torch.equal(found[found != 0], features[found != 0]) and (found == 0).any()
    state = torch.get_rng_state()
    assert augment.eval()(features) is features
    assert torch.equal(torch.get_rng_state(), state)


def test_the_drawn_numbers_are_those_of_torch_s_generator() -> None:
    sizes = torch.full((4,), 60)
    torch.manual_seed(1)
    first = draw_masks(sizes, sizes, 60, (2, 5), 10)
    second = draw_masks(sizes, sizes, 60, (2, 5), 10)
    torch.manual_seed(1)
    assert torch.equal(draw_masks(sizes, sizes, 60, (2, 5), 10), first) and not torch.equal(first, second)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"time_masks": [5]}, "spec_augment: time_masks is [5]; give the fewest and the most, such as [1, 3]"),
        ({"band_masks": [3, 1]}, "spec_augment: band_masks is [3, 1]; give the fewest and the most"),
        ({"time_width": 0}, "spec_augment: time_width is 0; give 1 or more"),
        ({"time_share": 1.0}, "spec_augment: time_share is 1.0; give a share from 0 to below 1"),
        ({"band_width": 30}, "spec_augment: 3 masks of 30 bands could hide all 80; give fewer band_masks"),
        ({"bands": 3}, "unknown option of spec_augment 'bands'"),
        ({"time_width": "x"}, "spec_augment: time_width is 'x'; give a whole number, such as 10"),
    ],
)
def test_what_can_not_be_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as refusal:
        HfSpeechForSequenceClassification(tiny_config("ecapa-tdnn", {"spec_augment": options}))
    assert said in str(refusal.value) and "\n" not in str(refusal.value)


# In the models.


def model_with(backbone: str, spec_augment: dict[str, Any] | None, **values: Any) -> HfSpeechForSequenceClassification:
    return lively(HfSpeechForSequenceClassification(tiny_config(backbone, {"spec_augment": spec_augment, **values})))


@pytest.mark.parametrize("frontend", FRONTENDS)
@pytest.mark.parametrize("backbone", SPECTRAL)
def test_networks_train_behind_it_also_on_the_shortest_clips(backbone: str, frontend: str) -> None:
    options = {"band_masks": [2, 2], "band_width": 3}
    model = model_with(backbone, options, frontend=frontend).train()
    batch = padded(waveforms((9_000, model.encoder.min_samples, 4_000)), 9_500)
    loss = model(**batch, labels=torch.tensor([0, 1, 2])).loss
    loss.backward()
    assert loss.isfinite() and all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("backbone", SPECTRAL)
def test_the_network_gets_normalised_features_with_zeros_in_them(backbone: str) -> None:
    model = model_with(backbone, ISCAP, frontend="log-mel", frontend_config={"norm": "mean"}).train()
    entered: list[Tensor] = []
    model.encoder.backbone.register_forward_pre_hook(lambda _, inputs: entered.append(inputs[0]))
    batch = padded(waveforms((16_000, 9_000)), 16_000)
    torch.manual_seed(0)
    with torch.no_grad():
        model(**batch)
        model.eval()(**batch)
        model(**batch)
    masked, whole, again = entered
    assert torch.equal(whole, again)
    kept = masked != 0
    assert torch.equal(masked[kept], whole[kept])
    assert 0.1 < (masked[0] == 0).float().mean() - (whole[0] == 0).float().mean() < 0.9
    assert whole[0].mean(0).abs().max() < 1e-3  # so 0 is the mean of the utterance


@pytest.mark.parametrize("backbone", SPECTRAL)
def test_a_frozen_network_sees_everything(backbone: str) -> None:
    model = model_with(backbone, {}).train()
    batch = padded(waveforms((9_000, 6_000)), 9_000)
    with torch.no_grad():
        assert not torch.equal(model(**batch).embeddings, model(**batch).embeddings)
        model.freeze_backbone()
        model.train()
        assert model.training and torch.equal(model(**batch).embeddings, model(**batch).embeddings)


@pytest.mark.parametrize("backbone", SPECTRAL)
def test_it_has_no_part_in_evaluation_and_is_kept(backbone: str, tmp_path: Path) -> None:
    model = model_with(backbone, ISCAP)
    plain = lively(HfSpeechForSequenceClassification(tiny_config(backbone)))
    assert plain.encoder.spec_augment is None
    batch = padded(waveforms((9_000, 6_000)), 9_500)
    with torch.no_grad():
        assert torch.equal(model(**batch).logits, plain(**batch).logits)
    loaded = reloaded(model, tmp_path)
    assert loaded.config.backbone_config.spec_augment == ISCAP
    assert loaded.encoder.spec_augment.time_width == 40
