"""Heads: shapes, the arithmetic of each, and what they refuse."""

from typing import Any

import pytest
import torch
from torch import Tensor

from hf_speech.errors import InputError
from hf_speech.models.heads import HEADS, Head, OrdinalHead
from hf_speech.models.registry import build


def make(name: str, input_size: int, num_labels: int = 5, **options: Any) -> Head:
    """A head in evaluation mode; "distribution" has one label."""
    torch.manual_seed(0)
    return build(HEADS, name, "head", options, input_size, 1 if name == "distribution" else num_labels).eval()


@pytest.mark.parametrize("name", HEADS)
def test_shapes(name: str) -> None:
    for size in (6, 32):
        head = make(name, size)
        scores = head(torch.randn(2, size))
        assert scores.shape == ((2, 101) if name == "distribution" else (2, 5))
        assert head.logits(scores).shape == ((2, 1) if name == "distribution" else (2, 5))


@torch.inference_mode()
@pytest.mark.parametrize("name", ["linear", "projector", "tanh", "mlp", "batchnorm"])
def test_layered_heads_are_what_their_formulas_say(name: str) -> None:
    head: Any = make(name, 6) if name == "linear" else make(name, 6, size=7)
    vectors = torch.randn(4, 6)
    inner = vectors
    if name == "projector":
        inner = vectors @ head.projector.weight.T + head.projector.bias
    elif name != "linear":
        inner = vectors @ head.hidden.weight.T + head.hidden.bias
    if name == "batchnorm":
        head.norm.running_mean.normal_()
        head.norm.running_var.uniform_(0.5, 2)
        head.norm.weight.uniform_(0.5, 1.5)
        head.norm.bias.normal_()
        inner = (inner - head.norm.running_mean) / (head.norm.running_var + head.norm.eps).sqrt()
        inner = inner * head.norm.weight + head.norm.bias
    if name in ("mlp", "batchnorm"):
        inner = inner.clamp(min=0)
    if name == "tanh":
        inner = (inner.exp() - (-inner).exp()) / (inner.exp() + (-inner).exp())
    expected = inner @ head.classifier.weight.T + head.classifier.bias
    assert inner.shape[1] == (6 if name == "linear" else 7)
    torch.testing.assert_close(head(vectors), expected, atol=1e-5, rtol=1e-5)


def test_dropout_acts_in_training_only() -> None:
    for name in ("mlp", "batchnorm"):
        head, vectors = make(name, 6, dropout=0.5), torch.randn(4, 6)
        assert torch.equal(head(vectors), head(vectors))
        assert not torch.equal(head.train()(vectors), head(vectors))


def test_batch_norm_refuses_a_batch_of_one_in_training_only() -> None:
    head, vector = make("batchnorm", 6), torch.randn(1, 6)
    assert head(vector).isfinite().all()
    with pytest.raises(InputError, match="'batchnorm' can't train on a batch of one: use a larger batch, or head 'mlp"):
        head.train()(vector)
    assert head(vector.repeat(2, 1)).isfinite().all()


def cosine_head(centres: list[list[float]], num_labels: int, **options: Any) -> Any:
    head: Any = make("cosine", 2, num_labels, **options)
    head.weight.data.copy_(torch.tensor(centres))
    return head


def test_the_cosine_head_by_hand() -> None:
    head = cosine_head([[3.0, 4.0], [0.0, 2.0]], 2, scale=10)
    scores = head(torch.tensor([[7.0, 0.0], [0.0, -0.01], [4.0, 3.0]]))
    torch.testing.assert_close(scores, torch.tensor([[6.0, 0.0], [-8.0, -10.0], [9.6, 6.0]]))
    assert head.scale == 10


def test_of_several_centres_the_nearest_counts() -> None:
    # The first class has the centres right and left, the second up twice.
    head = cosine_head([[1.0, 0.0], [-5.0, 0.0], [0.0, 1.0], [0.0, 3.0]], 2, scale=1, sub_centers=2)
    scores = head(torch.tensor([[-0.6, 0.8], [0.6, -0.8]]))
    torch.testing.assert_close(scores, torch.tensor([[0.6, 0.8], [0.6, -0.8]]))


def test_an_affine_map_before_the_cosines() -> None:
    head = cosine_head([[1.0, 0.0], [0.0, 2.0]], 2, scale=10, affine=True)
    head.affine.weight.data.copy_(torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
    head.affine.bias.data.copy_(torch.tensor([2.0, 0.0]))
    # (4, 1) becomes (1 + 2, 4), of length 5.
    torch.testing.assert_close(head(torch.tensor([[4.0, 1.0]])), torch.tensor([[6.0, 8.0]]))
    assert cosine_head([[1.0, 0.0], [0.0, 2.0]], 2).affine is None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_cosines_are_float32_inside(dtype: torch.dtype) -> None:
    head, vectors = make("cosine", 64), torch.randn(3, 64)
    expected = head(vectors)
    with torch.autocast("cpu", dtype):
        assert torch.equal(head(vectors), expected)
    half = head.to(dtype)(vectors.to(dtype))
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, head.float()(vectors.to(dtype).float()), atol=0, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_vector_of_zeros_has_no_direction(dtype: torch.dtype) -> None:
    head: Any = make("cosine", 4)
    vectors = torch.zeros(2, 4, dtype=dtype, requires_grad=True)
    scores = head(vectors)
    scores.log_softmax(-1)[:, 0].sum().backward()
    assert torch.equal(scores, torch.zeros(2, 5))
    assert vectors.grad is not None and torch.equal(vectors.grad, torch.zeros_like(vectors))
    assert head.weight.grad.isfinite().all()


def ordinal_probabilities(head: Any, vectors: Tensor) -> Tensor:
    """P(y = k) = P(y > k - 1) - P(y > k) in float64, from the definition."""
    raw = head.bias.double().tolist()
    biases = [raw[0]]
    for step in raw[1:]:
        biases.append(biases[-1] - torch.tensor(step).double().exp().add(1).log().item())
    heights = vectors.double() @ head.classifier.weight.double().T + torch.tensor(biases).double()
    above = 1 / (1 + (-heights).exp())
    ends = torch.ones(len(vectors), 1).double(), torch.zeros(len(vectors), 1).double()
    return -torch.cat([ends[0], above, ends[1]], dim=1).diff(dim=1)


@torch.inference_mode()
@pytest.mark.parametrize("count", [2, 3, 9, 101])
def test_the_ordinal_head_is_what_its_definition_says(count: int) -> None:
    head: Any = make("ordinal", 6, count)
    head.bias.normal_()
    head.bias[0] = 0.5 * count  # so that the thresholds, about 0.8 apart, lie on both sides of 0
    vectors = 3 * torch.randn(8, 6)
    assert (head.biases().diff() < 0).all()
    torch.testing.assert_close(head(vectors).exp().double(), ordinal_probabilities(head, vectors), atol=1e-6, rtol=1e-4)


@torch.inference_mode()
@pytest.mark.parametrize("count", [2, 3, 6, 9])
def test_at_first_all_classes_are_as_likely(count: int) -> None:
    head: Any = make("ordinal", 4, count)
    probabilities = head(torch.zeros(1, 4)).exp()
    torch.testing.assert_close(probabilities, torch.full((1, count), 1 / count))


def test_ordinal_probabilities_sum_to_one_and_stay_above_zero() -> None:
    head: Any = make("ordinal", 1, 6)
    head.classifier.weight.data.fill_(1.0)
    head.bias.data.copy_(torch.tensor([1.0, -12.0, 0.0, 20.0, -3.0]))  # distances of 6e-6 to 20
    heights = torch.tensor([[-40.0], [-3.0], [0.0], [3.0], [30.0], [60.0]])
    probabilities = head(heights).exp()
    torch.testing.assert_close(probabilities.sum(1), torch.ones(6))
    assert (probabilities > 0).all()
    extreme = torch.tensor([[-1e4], [1e4]], requires_grad=True)
    scores = head(extreme)
    scores.sum().backward()
    assert scores.isfinite().all() and scores.dtype == torch.float32
    assert all(value.grad.isfinite().all() for value in (extreme, head.bias, head.classifier.weight))


def test_a_greater_height_means_a_higher_class() -> None:
    head: Any = make("ordinal", 1, 5)
    head.classifier.weight.data.fill_(1.0)
    head.bias.data.copy_(torch.tensor([4.5, 3.0, 3.0, 3.0]))  # thresholds 3 apart, about 0
    probabilities = head(torch.linspace(-7, 7, 50)[:, None]).exp()
    assert ((probabilities @ torch.arange(5.0)).diff() > 0).all()
    assert probabilities.argmax(1).unique().tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("count", [2, 7])
def test_ordinal_biases_survive_the_meta_device_and_a_loaded_weight(count: int) -> None:
    with torch.device("meta"):
        head = OrdinalHead(3, count)
    head.to_empty(device="cpu")
    head.reset_parameters()
    assert torch.equal(head.bias, OrdinalHead(3, count).bias)
    head.bias.data.fill_(0.7)
    head.bias._is_hf_initialized = True  # as transformers marks weights that it has loaded
    head.reset_parameters()
    assert torch.equal(head.bias, torch.full((count - 1,), 0.7))


def test_centres_are_drawn_with_the_variance_of_xavier() -> None:
    head: Any = make("cosine", 300, 100, sub_centers=2)
    assert head.weight.shape == (200, 300)
    assert head.weight.std().item() == pytest.approx((2 / 500) ** 0.5, rel=0.02)


def test_the_distribution_head_gives_the_mean_in_its_unit() -> None:
    head: Any = make("distribution", 3, low=20, high=40, step=10)
    assert head.bins == (20, 40, 10) and head.classifier.out_features == 3 and head.in_units
    # Probabilities 1/7, 2/7, 4/7 over 20, 30, 40: (20 + 60 + 160) / 7.
    scores = torch.tensor([[1.0, 2.0, 4.0], [1.0, 1.0, 1.0]]).log()
    torch.testing.assert_close(head.logits(scores), torch.tensor([[240 / 7], [30.0]]))
    assert head.logits(scores.bfloat16()).dtype == torch.float32
    certain = torch.tensor([[-1e4, -1e4, 1e4]])
    assert head.logits(certain).item() == 40
    assert make("distribution", 3, low=0, high=1, step=0.1)(torch.zeros(1, 3)).shape == (1, 11)
    assert make("distribution", 3, high=9_999)(torch.zeros(1, 3)).shape == (1, 10_000)


@pytest.mark.parametrize(
    ("name", "num_labels", "options", "words"),
    [
        ("ordinal", 1, {}, "head 'ordinal' needs at least 2 classes, but num_labels is 1"),
        ("distribution", 2, {}, "head 'distribution' predicts one number, but num_labels is 2"),
        ("distribution", 1, {"low": 50, "high": 50}, "give numbers with low < high and step > 0"),
        ("distribution", 1, {"step": 0}, "give numbers with low < high and step > 0"),
        ("distribution", 1, {"high": 100, "step": 7}, "step 7; give a whole number of steps from low to high"),
        (
            "distribution",
            1,
            {"step": 1e-9},
            "step 1e-09; give a step that makes at most 10,000 values from low to high",
        ),
        ("distribution", 1, {"step": 5e-324}, "give a step that makes at most 10,000 values from low to high"),
        ("distribution", 1, {"high": 10_000}, "give a step that makes at most 10,000 values from low to high"),
        ("cosine", 3, {"scale": 10**400}, "give a number, such as 30.0"),
        ("cosine", 3, {"scale": 0}, "head 'cosine': scale is 0; give a number above 0"),
        ("cosine", 3, {"sub_centers": 0}, "sub_centers is 0; give a whole number of 1 or more"),
        ("mlp", 3, {"size": 0}, "size is 0; give a whole number of 1 or more"),
        ("projector", 3, {"size": 0}, "size is 0; give a whole number of 1 or more"),
        ("tanh", 3, {"size": -1}, "size is -1; give a whole number of 1 or more"),
        ("batchnorm", 3, {"dropout": 1.0}, "dropout is 1.0; give a number from 0 to below 1"),
        ("mlp", 3, {"dropout": -0.1}, "dropout is -0.1; give a number from 0 to below 1"),
        ("linear", 3, {"size": 3}, "head 'linear' has no options, but 'size' was given"),
        ("cosine", 3, {"margin": 0.2}, "unknown option of head 'cosine' 'margin'"),
    ],
)
def test_what_heads_refuse(name: str, num_labels: int, options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError) as refusal:
        build(HEADS, name, "head", options, 4, num_labels)
    assert words in str(refusal.value)
