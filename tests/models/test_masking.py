"""Means over real frames: one by one where only numbers are wanted, and all at once elsewhere; both are the same."""

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from hf_speech.models.attention_pooling import AttentivePooling
from hf_speech.models.masking import length_mask, masked_mean, utterances

FRAMES = torch.arange(24.0).reshape(2, 4, 3)
MASK = torch.tensor([[True, True, True, True], [True, True, False, False]])


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


def by_hand(frames: Tensor, mask: Tensor) -> Tensor:
    return torch.stack([values[real].mean(0) for values, real in zip(frames, mask, strict=True)])


def test_utterances_are_views_of_real_frames() -> None:
    found = utterances(FRAMES, MASK)
    assert [values.shape for values in found] == [(4, 3), (2, 3)]
    assert all(values.untyped_storage().data_ptr() == FRAMES.untyped_storage().data_ptr() for values in found)
    with torch.enable_grad():
        assert utterances(FRAMES, MASK) is None
    assert utterances(FRAMES.to("meta"), MASK.to("meta")) is None


def test_a_mask_with_holes_is_gone_over_as_a_whole() -> None:
    mask = torch.tensor([[False, True, True, False], [True, False, True, True]])
    assert utterances(FRAMES, mask) is None
    torch.testing.assert_close(masked_mean(FRAMES, mask), by_hand(FRAMES, mask))
    pooling, frames = AttentivePooling(3).eval(), FRAMES.sin()
    weights = pooling.attend(frames, mask)[1]
    assert not weights[~mask].any()
    torch.testing.assert_close(weights.sum(1), torch.ones(2))


def test_an_utterance_without_a_frame_has_no_number() -> None:
    mask = torch.tensor([[True, True, True, True], [False] * 4])
    assert utterances(FRAMES, mask) is None
    pooled = AttentivePooling(3).eval()(FRAMES, mask)
    assert pooled[0].isfinite().all() and pooled[1].isnan().all()


def test_an_empty_batch_has_no_means() -> None:
    assert masked_mean(FRAMES[:0], MASK[:0]).shape == (0, 3)


def test_transforms_of_functions_and_made_up_tensors_go_the_general_way() -> None:
    masks = torch.stack([MASK, length_mask(torch.tensor([1, 3]), 4)])
    found = torch.func.vmap(masked_mean, in_dims=(None, 0))(FRAMES, masks)
    torch.testing.assert_close(found, torch.stack([by_hand(FRAMES, mask) for mask in masks]))
    with FakeTensorMode():
        frames, mask = torch.empty(2, 4, 3), torch.ones(2, 4, dtype=torch.bool)
        assert masked_mean(frames, mask).shape == (2, 3)
