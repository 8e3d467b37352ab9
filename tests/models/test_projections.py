"""Projections: the arithmetic of each, and the batch of one."""

import pytest
import torch
from torch import Tensor, nn

from hf_speech.errors import InputError
from hf_speech.models.projections import PROJECTIONS
from hf_speech.models.registry import build, options_of

from .tiny import lively


def affine(layer: nn.Linear, vectors: Tensor) -> Tensor:
    return vectors @ layer.weight.T + layer.bias


def normed(norm: nn.BatchNorm1d, vectors: Tensor) -> Tensor:
    return (vectors - norm.running_mean) / (norm.running_var + norm.eps).sqrt() * norm.weight + norm.bias


@torch.no_grad()
@pytest.mark.parametrize("size", [4, 9])
def test_each_projection_is_what_its_formula_says(size: int) -> None:
    vectors = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))
    own = {name: {"size": size} if "size" in options_of(part) else {} for name, part in PROJECTIONS.items()}
    parts = {name: lively(build(PROJECTIONS, name, "projection", own[name], 6)) for name in PROJECTIONS}
    before, after, dmha = parts["batchnorm+linear"], parts["linear+batchnorm"], parts["dmha"]
    hidden = normed(dmha.hidden_norm, affine(dmha.hidden, vectors)).clamp(min=0)
    expected = {
        "none": vectors,
        "linear": affine(parts["linear"].linear, vectors),
        "batchnorm+linear": affine(before.linear, normed(before.norm, vectors)),
        "linear+batchnorm": normed(after.norm, affine(after.linear, vectors)),
        "dmha": normed(dmha.norm, affine(dmha.linear, hidden)).clamp(min=0),
    }
    assert expected.keys() == PROJECTIONS.keys()
    for name, part in parts.items():
        assert part.output_size == (6 if name == "none" else size)
        torch.testing.assert_close(part(vectors), expected[name], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_dmha_as_its_authors_code_has_it() -> None:
    vectors = torch.randn(5, 6)
    part = lively(PROJECTIONS["dmha"](6, size=4, dropout=0.5, as_in="code"))
    hidden = affine(part.hidden, vectors).clamp(min=0)
    expected = normed(part.norm, affine(part.linear, hidden).clamp(min=0))
    torch.testing.assert_close(part(vectors), expected, atol=1e-5, rtol=1e-5)
    assert part.hidden_norm is None


def test_dropout_is_for_training() -> None:
    part = PROJECTIONS["dmha"](6, dropout=0.5)
    vectors = torch.randn(8, 6)
    share = (part(vectors) == 0).float().mean()
    assert 0.65 < share < 0.85  # half of them by ReLU, half of the rest by dropout
    assert torch.equal(part.eval()(vectors), part(vectors))


@pytest.mark.parametrize("name", PROJECTIONS)
def test_a_batch_of_one(name: str) -> None:
    part, vector = PROJECTIONS[name](6), torch.randn(1, 6)
    assert part.eval()(vector).shape == (1, part.output_size)
    part.train()
    if any(isinstance(module, nn.BatchNorm1d) for module in part.modules()):
        with pytest.raises(InputError, match=rf"^projection '{name.replace('+', '.')}' can't train on a batch of one"):
            part(vector)
    else:
        assert part(vector).isfinite().all()


@pytest.mark.parametrize("name", PROJECTIONS)
def test_gradients_are_finite(name: str) -> None:
    part = PROJECTIONS[name](6)
    for dtype in (torch.float32, torch.bfloat16):
        part, vectors = part.to(dtype), torch.randn(4, 6).to(dtype).requires_grad_()
        part(vectors).square().sum().backward()
        assert vectors.grad.isfinite().all() and all(weight.grad.isfinite().all() for weight in part.parameters())


@pytest.mark.parametrize("name", [name for name, part in PROJECTIONS.items() if "size" in options_of(part)])
def test_a_size_that_cannot_be_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="size is 0; give a whole number of 1 or more"):
        PROJECTIONS[name](6, size=0)


def test_options_of_dmha_that_cannot_be_are_refused() -> None:
    with pytest.raises(InputError, match="dropout is 1; give a number from 0 to below 1"):
        PROJECTIONS["dmha"](6, dropout=1)
    with pytest.raises(InputError, match="as_in is 'thesis'; valid: code, paper"):
        PROJECTIONS["dmha"](6, as_in="thesis")
