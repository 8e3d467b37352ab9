"""What stands between frames and pooling: blind to padding, against torch's own modules, sizes by hand."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hf_speech.models.necks import NECKS, TDNNNeck, TransformerNeck
from hf_speech.models.positions import sinusoids
from hf_speech.models.registry import InputError, build

TOLERANCE = 1e-5
SIZE = 12
COUNTS = (41, 30, 11, 8, 7, 6, 3, 1)
# Small, for the options of each neck that has some.
OPTIONS: dict[str, dict[str, Any]] = {
    "transformer": {"layers": 2, "size": 16, "heads": 4, "feedforward": 24},
    "tdnn": {"sizes": [16, 10, 14], "kernel_sizes": [3, 2, 1], "dilations": [2, 3, 1]},
}


@torch.no_grad()
def neck_of(name: str, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    neck = build(NECKS, name, "neck", OPTIONS.get(name, {}) | options, SIZE)
    for module in neck.modules():
        if isinstance(getattr(module, "bias", None), nn.Parameter):
            module.bias.normal_(0, 0.3)
        if isinstance(module, nn.LayerNorm):
            module.weight.uniform_(0.5, 1.5)
    return neck.eval()


def frames(counts: tuple[int, ...] = COUNTS) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(count, SIZE, generator=generator) for count in counts]


def padded(rows: list[Tensor], size: int = 44, junk: float = 20.0) -> tuple[Tensor, Tensor]:
    batch = junk * torch.randn(len(rows), size, SIZE, generator=torch.Generator().manual_seed(9))
    for values, row in zip(batch, rows, strict=True):
        values[: len(row)] = row
    return batch, torch.arange(size) < torch.tensor([len(row) for row in rows])[:, None]


@pytest.mark.parametrize("name", NECKS)
@pytest.mark.parametrize("size", [44, 41])
@torch.no_grad()
def test_padding_changes_nothing(name: str, size: int) -> None:
    neck, rows = neck_of(name), frames()
    together, mask = neck(*padded(rows, size))
    assert together.shape == (len(rows), neck.count(size), neck.output_size) and mask.shape == together.shape[:2]
    assert mask.sum(-1).tolist() == [neck.count(len(row)) for row in rows]
    for found, kept, row in zip(together, mask, rows, strict=True):
        alone, nothing = neck(row[None], None)
        assert nothing is None and len(alone[0]) == neck.count(len(row)) >= 1
        torch.testing.assert_close(found[kept], alone[0], atol=TOLERANCE, rtol=0)
        masked, every = neck(row[None], torch.ones(1, len(row), dtype=torch.bool))
        assert every.all() and torch.allclose(masked, alone, atol=1e-6)


@pytest.mark.parametrize("short", [(5,), (2, 1), (6, 4)])
@pytest.mark.parametrize("name", ["transformer", "tdnn"])
@torch.no_grad()
def test_a_batch_of_nothing_but_short_utterances(name: str, short: tuple[int, ...]) -> None:
    neck, rows = neck_of(name), frames(short)
    together, mask = neck(*padded(rows, max(short)))
    assert together.shape == (len(rows), 1, neck.output_size) and mask.all()
    for found, row in zip(together, rows, strict=True):
        torch.testing.assert_close(found, neck(row[None])[0][0], atol=TOLERANCE, rtol=0)


@torch.no_grad()
def test_without_its_mask_a_padded_batch_does_change() -> None:
    # The proof that the test above can see a leak.
    neck, rows = neck_of("transformer"), frames()
    together, _ = neck(padded(rows)[0])
    assert (together[1, : neck.count(30)] - neck(rows[1][None])[0][0]).abs().max() > 0.1
    neck = neck_of("tdnn")  # the utterance of 3 frames sees what stands behind it
    assert (neck(padded(rows)[0])[0][6, 0] - neck(rows[6][None])[0][0, 0]).abs().max() > 0.1


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # 1 to 7 frames give 1; a further one comes with each 4.
        ("transformer", {1: 1, 6: 1, 7: 1, 10: 1, 11: 2, 14: 2, 15: 3, 49: 11}),
        # 3 taps 2 apart see 5 frames, 2 taps 3 apart of those see 8.
        ("tdnn", {1: 1, 7: 1, 8: 1, 9: 2, 10: 3, 49: 42}),
    ],
)
def test_frames_are_counted_by_hand(name: str, expected: dict[int, int]) -> None:
    neck = neck_of(name)
    assert {frames: neck.count(frames) for frames in expected} == expected
    assert neck.count(torch.tensor(list(expected))).tolist() == list(expected.values())


def test_a_frame_of_the_x_vector_s_has_seen_15_with_its_own_in_the_middle() -> None:
    with torch.device("meta"):
        neck = TDNNNeck(768)
    # A linear layer; 512 channels under 5, 3, 3 taps and 1; 1500 in the end.
    found = sum(p.numel() for p in neck.parameters())
    assert found == 768 * 512 + 512 + 512 * 512 * (5 + 3 + 3 + 1) + 4 * 512 + 512 * 1500 + 1500
    assert (neck.field, neck.output_size, neck.centre(0), neck.centre(10)) == (15, 1500, 7, 17)
    small, values = neck_of("tdnn"), frames((20,))[0][None].requires_grad_()
    small(values)[0][0, 4].sum().backward()
    # Taps at 0, 2, 4 of every place, and of those at 0 and 3: all of 8 but the second and the last but one.
    assert values.grad is not None
    assert values.grad[0].abs().sum(-1).nonzero().flatten().tolist() == [4, 6, 7, 8, 9, 11]


def test_relu_and_none_by_hand() -> None:
    values, mask = torch.tensor([[[-1.0, 2.0]], [[0.5, -3.0]]]), torch.ones(2, 1, dtype=torch.bool)
    same, kept = NECKS["none"](2)(values, mask)
    positive, still = NECKS["relu"](2)(values, mask)
    assert same is values and kept is mask and still is mask
    assert positive.tolist() == [[[0.0, 2.0]], [[0.5, 0.0]]]


def test_the_preset_has_the_sizes_of_the_original() -> None:
    with torch.device("meta"):
        neck = TransformerNeck(768)
    # 768 places become 383, then 191, of 256 channels each.
    subsampling = (9 * 256 + 256) + (9 * 256 * 256 + 256) + (191 * 256 * 256 + 256)
    layer = 4 * (256 * 256 + 256) + (256 * 2048 + 2048) + (2048 * 256 + 256) + 4 * 256
    found = sum(p.numel() for p in neck.parameters())
    print(f"transformer neck on 768 dimensions: {found:,} parameters")
    assert found == subsampling + 6 * layer + 2 * 256 == 21_001_216
    assert neck.output_size == 256


@torch.no_grad()
def test_it_is_torchs_own_transformer_on_the_subsampled_frames() -> None:
    neck, (row,) = neck_of("transformer"), frames((41,))
    convolved = nn.Sequential(neck.convolutions[0], nn.ReLU(), neck.convolutions[1], nn.ReLU())(row[None, None])[0]
    assert convolved.shape == (16, 9, 2)
    values = torch.stack([neck.projection(convolved[:, place].flatten()) for place in range(9)])
    values = 4 * values + sinusoids(torch.arange(9), 16)  # 4 = sqrt(16)
    for ours in neck.layers:
        layer = nn.TransformerEncoderLayer(16, 4, 24, dropout=0.0, batch_first=True, norm_first=True).eval()
        theirs = {
            "self_attn.in_proj_": ours.query_key_value,
            "self_attn.out_proj.": ours.attended,
            "linear1.": ours.inner,
            "linear2.": ours.outer,
            "norm1.": ours.attention_norm,
            "norm2.": ours.feedforward_norm,
        }
        layer.load_state_dict({f"{a}{b}": getattr(part, b) for a, part in theirs.items() for b in ("weight", "bias")})
        values = layer(values[None])[0]
    expected = nn.functional.layer_norm(values, (16,), neck.norm.weight, neck.norm.bias)
    torch.testing.assert_close(neck(row[None])[0][0], expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("name", NECKS)
def test_gradients_of_a_padded_batch_are_those_of_its_utterances(name: str) -> None:
    neck, rows = neck_of(name, **({"dropout": 0.0} if name == "transformer" else {})).train(), frames()
    batch, mask = padded(rows)
    batch.requires_grad_()
    together, kept = neck(batch, mask)
    torch.stack([values[real].pow(3).mean() for values, real in zip(together, kept, strict=True)]).sum().backward()
    assert batch.grad.isfinite().all() and (batch.grad[~mask] == 0).all()
    found = {parameter: p.grad.clone() for parameter, p in neck.named_parameters()}
    neck.zero_grad()
    for row, gradient in zip(rows, batch.grad, strict=True):
        row.requires_grad_()
        neck(row[None])[0].pow(3).mean().backward()
        torch.testing.assert_close(gradient[: len(row)], row.grad, atol=1e-4, rtol=1e-4)
    largest = max((float(p.grad.abs().max()) for p in neck.parameters()), default=1.0)
    for parameter, p in neck.named_parameters():
        torch.testing.assert_close(found[parameter], p.grad, atol=1e-5 * max(1.0, largest), rtol=0, msg=parameter)


@pytest.mark.parametrize("name", NECKS)
@pytest.mark.parametrize("junk", [float("inf"), float("nan")])
@torch.no_grad()
def test_what_stands_in_the_padding_is_not_read(name: str, junk: float) -> None:
    neck, rows = neck_of(name), frames()
    expected, mask = neck(*padded(rows))
    found, _ = neck(*padded(rows, junk=junk))
    assert torch.equal(found[mask], expected[mask])


@pytest.mark.parametrize("name", NECKS)
def test_bfloat16_is_close_and_trains(name: str) -> None:
    neck, (batch, mask) = neck_of(name), padded(frames())
    with torch.no_grad():
        expected, kept = neck(batch, mask)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            mixed, _ = neck(batch, mask)
    found, _ = neck.to(torch.bfloat16).train()(batch.to(torch.bfloat16).requires_grad_(), mask)
    assert found.dtype == torch.bfloat16
    found[kept].float().pow(3).mean().backward()
    assert all(parameter.grad.isfinite().all() for parameter in neck.parameters())
    found, _ = neck.eval()(batch.to(torch.bfloat16), mask)
    for half in (found, mixed):
        error = (half.float() - expected)[kept].square().mean().sqrt()
        assert error < 0.05 * expected[kept].square().mean().sqrt()


@torch.no_grad()
def test_dropout_acts_in_training_only() -> None:
    neck, (batch, mask) = neck_of("transformer", dropout=0.5), padded(frames())
    assert torch.equal(neck(batch, mask)[0], neck(batch, mask)[0])
    neck.train()
    assert not torch.allclose(neck(batch, mask)[0], neck(batch, mask)[0])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": 10, "heads": 4}, "multiple of its heads, 4"),
        ({"size": 9, "heads": 3}, "must be even"),
        ({"layers": 0}, "1 or more"),
        ({"dropout": 1.0}, "from 0 to below 1"),
        ({"width": 3}, "unknown option of neck 'transformer' 'width'"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        build(NECKS, "transformer", "neck", options, SIZE)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sizes": [8, 8]}, r"kernel_sizes is \(5, 3, 3, 1, 1\); give a list with one number a convolution"),
        ({"sizes": []}, r"sizes is \[\]; give a list"),
        ({"dilations": [1, 2, 0, 1, 1]}, "neck 'tdnn': dilations has 0; give whole numbers of 1 or more"),
        ({"kernel_sizes": [5, 3, 3, -1, 1]}, "kernel_sizes has -1; give whole numbers of 1 or more"),
    ],
)
def test_impossible_convolutions_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        build(NECKS, "tdnn", "neck", options, SIZE)


def test_frames_too_narrow_are_refused() -> None:
    with pytest.raises(InputError, match="7 dimensions or more, not 6"):
        TransformerNeck(6)
