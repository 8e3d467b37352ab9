"""Poolings with learned weights against the papers' formulas, and against SpeechBrain."""

import math
from typing import Any

import pytest
import torch
from speechbrain.lobes.models.ECAPA_TDNN import AttentiveStatisticsPooling
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from hf_speech.models.attention_pooling import AttentivePooling, DoubleMultiHeadPooling, MultiHeadPooling
from hf_speech.models.pooled import AttentionPooling
from hf_speech.models.pooling import POOLINGS
from hf_speech.models.registry import InputError, build

LEARNED = [name for name, part in POOLINGS.items() if issubclass(part, AttentionPooling)]
QUERIED = [name for name in LEARNED if issubclass(POOLINGS[name], MultiHeadPooling)]
SIZE, LENGTHS = 12, (7, 1, 4)


def pooling_of(name: str, size: int = SIZE, **options: Any) -> Any:
    """A pooling with random weights, norms that do something, and heads that divide; in evaluation mode."""
    torch.manual_seed(0)
    if "multi-head" in name:
        options = {"heads": 3} | options
    pooling = build(POOLINGS, name, "pooling", options, size)
    with torch.no_grad():
        for values in pooling.parameters():
            values.normal_()
        if isinstance(pooling, AttentivePooling):
            pooling.norm.running_mean.normal_()
            pooling.norm.running_var.uniform_(0.5, 2)
    return pooling.eval()


def batch(junk: float = 0.0) -> tuple[Tensor, Tensor]:
    mask = torch.arange(max(LENGTHS) + 1) < torch.tensor(LENGTHS)[:, None]
    frames = torch.randn(*mask.shape, SIZE, generator=torch.Generator().manual_seed(1))
    return frames.masked_fill(~mask[..., None], junk), mask


def softmax(scores: list[float]) -> list[float]:
    powers = [math.exp(score) for score in scores]
    return [power / sum(powers) for power in powers]


def dot(left: list[float], right: list[float]) -> float:
    return sum(a * b for a, b in zip(left, right, strict=True))


def combine(weights: list[float], vectors: list[list[float]]) -> list[float]:
    return [dot(weights, column) for column in map(list, zip(*vectors, strict=True))]


def paper(frames: Tensor, queries: Tensor, head_query: Tensor) -> tuple[list[float], list[float], list[float]]:
    """Section 3 of the paper, number by number: all c_j side by side, c, and each frame's weight in c."""
    heads, size = queries.shape
    root, shares, contexts = math.sqrt(size), [], []
    for head in range(heads):
        slices = [frame[head * size : (head + 1) * size] for frame in frames.double().tolist()]
        shares.append(softmax([dot(each, queries[head].tolist()) / root for each in slices]))
        contexts.append(combine(shares[-1], slices))
    head_shares = softmax([dot(context, head_query.tolist()) / root for context in contexts])
    return sum(contexts, []), combine(head_shares, contexts), combine(head_shares, shares)


@pytest.mark.parametrize("heads", [1, 3, 4, 12])
def test_double_attention_is_the_papers(heads: int) -> None:
    multi, double = (pooling_of(name, heads=heads) for name in ("multi-head", "double-multi-head"))
    with torch.no_grad():
        multi.queries.copy_(double.queries)
    frames, mask = batch(junk=float("nan"))
    joined = multi(frames, mask)
    vectors, weights = double.attend(frames, mask)
    for row, length in enumerate(LENGTHS):
        expected = paper(frames[row, :length], double.queries.double(), double.head_query[0].double())
        for found, numbers in zip((joined[row], vectors[row], weights[row, :length]), expected, strict=True):
            torch.testing.assert_close(found.double(), torch.tensor(numbers).double(), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", LEARNED)
def test_the_weights_sum_to_1_and_padding_has_none(name: str, training: bool) -> None:
    pooling, (frames, mask) = pooling_of(name).train(training), batch(junk=float("inf"))
    vectors, weights = pooling.attend(frames, mask)
    assert vectors.shape == (len(LENGTHS), pooling.output_size) and weights.shape == mask.shape
    assert (weights[mask] > 0).all() and (weights[~mask] == 0).all()
    assert weights[0].max() > 1.5 * weights[0, mask[0]].min()  # they do tell frames apart
    torch.testing.assert_close(weights.sum(-1), torch.ones(len(LENGTHS)))


@pytest.mark.parametrize("name", LEARNED)
def test_with_all_weights_zero_the_frames_count_alike(name: str) -> None:
    pooling, (frames, mask) = pooling_of(name), batch()
    with torch.no_grad():
        for values in pooling.parameters():
            values.zero_()
    vectors, weights = pooling.attend(frames, mask)
    torch.testing.assert_close(weights, mask / mask.sum(-1, keepdim=True))
    for row, length, found in zip(frames, LENGTHS, vectors, strict=True):
        expected = row[:length].mean(0)
        if name == "double-multi-head":
            expected = expected.view(3, -1).mean(0)
        if name == "attentive":
            deviation = row[:length].std(0, correction=0).clamp(min=1e-6)
            expected = torch.cat([expected, deviation])
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)


def test_one_head_is_self_attention() -> None:
    single, (frames, mask) = pooling_of("self-attention"), batch()
    with torch.no_grad():
        for name in ("multi-head", "double-multi-head"):
            other = pooling_of(name, heads=1)
            other.queries.copy_(single.queries)
            torch.testing.assert_close(other.attend(frames, mask), single.attend(frames, mask))


def test_a_frames_weight_in_self_attention_is_what_it_adds() -> None:
    frames, mask = batch()
    vectors, weights = pooling_of("self-attention").attend(frames, mask)
    torch.testing.assert_close((weights[:, None] @ frames)[:, 0], vectors)


def test_scores_of_any_size_give_finite_numbers_and_gradients() -> None:
    for name in LEARNED:
        pooling, (frames, mask) = pooling_of(name), batch()
        loud = (1e4 * frames).requires_grad_()
        vectors, weights = pooling.attend(loud, mask)
        vectors.sum().backward()
        assert vectors.isfinite().all() and weights.isfinite().all() and loud.grad.isfinite().all()


@pytest.mark.parametrize(("heads", "drop"), [(2, 0.9), (4, 0.3), (3, 0.0), (1, 0.5)])
def test_heads_are_dropped_at_the_rate_and_one_always_stays(heads: int, drop: float) -> None:
    # Head j's slice is the j-th unit vector, so the pooled vector is the weights of the heads; a zero query makes them
    # equal among those that stay.
    pooling = DoubleMultiHeadPooling(heads * heads, heads=heads, head_drop=drop)
    nn.init.zeros_(pooling.head_query)
    count = 20_000
    frames, mask = torch.eye(heads).view(1, 1, -1).expand(count, -1, -1), torch.ones(count, 1, dtype=torch.bool)
    torch.manual_seed(0)
    weights = pooling.train()(frames, mask)
    kept = weights > 0
    assert kept.any(-1).all()
    torch.testing.assert_close(weights, kept / kept.sum(-1, keepdim=True))
    # All are dropped with the probability drop^H, and then one of H stays. A share's standard error is under 0.0036.
    rates = (~kept).double().mean(0)
    torch.testing.assert_close(rates, torch.full_like(rates, drop - drop**heads / heads), atol=0.015, rtol=0)
    torch.testing.assert_close(pooling.eval()(frames, mask), torch.full((count, heads), 1 / heads))


def test_a_seed_drops_the_same_heads_again() -> None:
    pooling, (frames, mask) = pooling_of("double-multi-head", head_drop=0.5).train(), batch()
    vectors = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        vectors.append(pooling(frames, mask))
    assert torch.equal(vectors[0], vectors[1]) and not torch.equal(vectors[0], vectors[2])


@pytest.mark.parametrize("name", ["multi-head", "double-multi-head"])
def test_no_head_meets_the_query_of_another(name: str) -> None:
    heads, size, count = 64, 128, 50
    pooling = pooling_of(name, size, heads=heads)
    with FlopCounterMode(display=False) as counter:  # it counts matrix products
        pooling(torch.randn(1, count, size), torch.ones(1, count, dtype=torch.bool))
    assert counter.get_total_flops() <= 5 * count * size


@pytest.mark.parametrize("name", QUERIED)
def test_queries_are_drawn_as_xavier_has_it_and_loaded_ones_stay(name: str) -> None:
    heads = {} if name == "self-attention" else {"heads": 64}
    pooling = build(POOLINGS, name, "pooling", heads, 64 * 400)
    with torch.no_grad():
        for values in pooling.parameters():
            values.fill_(9.0)
    pooling.reset_parameters()
    for values in pooling.parameters():
        assert values.std().item() == pytest.approx((2 / sum(values.shape)) ** 0.5, rel=0.15)
        values._is_hf_initialized = True  # transformers' mark of a weight that came from a file
    before = [values.clone() for values in pooling.parameters()]
    pooling.reset_parameters()
    assert all(map(torch.equal, before, pooling.parameters()))


@pytest.mark.parametrize(
    ("heads", "near"),
    [(5, "2, 3, 4, 6"), (24, "3, 4, 6, 12"), (0, "1, 2, 3, 4")],
)
@pytest.mark.parametrize("name", ["multi-head", "double-multi-head"])
def test_heads_that_do_not_divide_are_refused(name: str, heads: object, near: str) -> None:
    message = f"heads is {heads!r}; give a whole number that divides the 12 dimensions of a frame, such as {near}$"
    with pytest.raises(InputError, match=message):
        build(POOLINGS, name, "pooling", {"heads": heads}, 12)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("double-multi-head", {"head_drop": 1.0}, "head_drop is 1.0; give a probability from 0 to below 1"),
        ("double-multi-head", {"head_drop": -0.1}, "head_drop is -0.1"),
        ("attentive", {"bottleneck": 0}, "bottleneck is 0; give a whole number of 1 or more"),
        ("self-attention", {"heads": 2}, "pooling 'self-attention' has no options"),
    ],
)
def test_options_that_can_not_be_are_refused(name: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        build(POOLINGS, name, "pooling", options, 16)


def speechbrains(ours: AttentivePooling, global_context: bool) -> AttentiveStatisticsPooling:
    """SpeechBrain's pooling with our weights; its affine maps are convolutions with a kernel of one frame."""
    theirs = AttentiveStatisticsPooling(SIZE, ours.hidden.out_features, global_context)
    theirs.tdnn.norm.norm.load_state_dict(ours.norm.state_dict())
    with torch.no_grad():
        for conv, linear in ((theirs.tdnn.conv.conv, ours.hidden), (theirs.conv.conv, ours.score)):
            conv.weight.copy_(linear.weight[..., None])
            conv.bias.copy_(linear.bias)
    return theirs.train(ours.training)


@pytest.mark.parametrize("global_context", [False, True])
def test_attentive_is_speechbrains_for_utterances_alone_and_ours_in_a_batch(global_context: bool) -> None:
    ours = pooling_of("attentive", bottleneck=5, global_context=global_context)
    theirs = speechbrains(ours, global_context)
    frames, mask = batch(junk=float("nan"))
    together = ours(frames, mask)
    for row, length, found in zip(frames, LENGTHS, together, strict=True):
        expected = theirs(row[None, :length].transpose(1, 2))[0, :, 0]
        torch.testing.assert_close(ours(row[None, :length], mask[:1, :length])[0], expected, atol=1e-5, rtol=0)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("global_context", [False, True])
def test_attentive_trains_as_speechbrains(global_context: bool) -> None:
    ours = pooling_of("attentive", bottleneck=5, global_context=global_context).train()
    theirs = speechbrains(ours, global_context)
    frames = torch.randn(4, 9, SIZE)
    mine, other = frames.clone().requires_grad_(), frames.clone().requires_grad_()
    vectors = ours(mine, torch.ones(4, 9, dtype=torch.bool))
    expected = theirs(other.transpose(1, 2))[..., 0]
    torch.testing.assert_close(vectors, expected, atol=1e-5, rtol=0)
    vectors.square().sum().backward()
    expected.square().sum().backward()
    torch.testing.assert_close(mine.grad, other.grad, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(ours.hidden.weight.grad, theirs.tdnn.conv.conv.weight.grad[..., 0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(ours.norm.running_mean, theirs.tdnn.norm.norm.running_mean)
    torch.testing.assert_close(ours.norm.running_var, theirs.tdnn.norm.norm.running_var)


def test_the_norm_takes_its_statistics_from_real_frames() -> None:
    pooling, (frames, mask) = pooling_of("attentive", global_context=False, bottleneck=5), batch(junk=50.0)
    hidden = pooling.hidden(frames[mask]).relu()
    before = pooling.norm.running_mean.clone(), pooling.norm.running_var.clone()
    pooling.train()(frames, mask)
    torch.testing.assert_close(pooling.norm.running_mean, 0.9 * before[0] + 0.1 * hidden.mean(0))
    torch.testing.assert_close(pooling.norm.running_var, 0.9 * before[1] + 0.1 * hidden.var(0))
