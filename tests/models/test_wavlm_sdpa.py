"""WavLM's fused attention against transformers' own, with equal weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModel, WavLMModel

from hf_speech.models.registry import InputError
from hf_speech.models.wavlm_sdpa import use_sdpa
from hf_speech.testing import tiny_backbone_config

from .tiny import STABLE, lively, without_dropout

TOLERANCE = 1e-5
COUNTS = (37, 20, 5, 1)
SIZE = 41
KINDS: dict[str, dict[str, Any]] = {"post-norm": {}, "stable": STABLE}


def encoders(**overrides: Any) -> tuple[WavLMModel, WavLMModel]:
    """Two encoders with the same weights: transformers' attention, and ours."""
    # Few buckets, so that distances of all sizes occur in 41 frames.
    config = tiny_backbone_config("wavlm", num_buckets=16, max_bucket_distance=20, **overrides)
    stock, ours = AutoModel.from_config(config), AutoModel.from_config(config)
    lively(stock)
    with torch.no_grad():
        stock.encoder.layers[0].attention.rel_attn_embed.weight.normal_()
        for layer in stock.encoder.layers:
            layer.attention.gru_rel_pos_const.normal_()
    ours.load_state_dict(stock.state_dict())
    use_sdpa(ours)
    return stock, ours.eval()


def frames(seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(count, 32, generator=generator) for count in COUNTS]


def padded(rows: list[Tensor]) -> tuple[Tensor, Tensor]:
    batch = 5 * torch.randn(len(rows), SIZE, 32, generator=torch.Generator().manual_seed(9))
    for values, row in zip(batch, rows, strict=True):
        values[: len(row)] = row
    return batch, torch.arange(SIZE) < torch.tensor([len(row) for row in rows])[:, None]


def encoded(model: WavLMModel, batch: Tensor, mask: Tensor | None = None) -> Tensor:
    return model.encoder(batch.clone(), attention_mask=mask).last_hidden_state  # it writes into what it is given


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_it_is_the_eager_attention(kind: str) -> None:
    stock, ours = encoders(**KINDS[kind])
    batch, mask = padded(frames())
    expected, found = encoded(stock, batch, mask), encoded(ours, batch, mask)
    print(f"{kind}: {(found - expected)[mask].abs().max():.1e}")
    torch.testing.assert_close(found[mask], expected[mask], atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(encoded(ours, batch), encoded(stock, batch), atol=TOLERANCE, rtol=0)


@torch.no_grad()
def test_the_position_bias_and_its_gate_matter_here() -> None:
    # The proof that the test above would see them left out.
    _, ours = encoders()
    batch, mask = padded(frames())
    expected, attention = encoded(ours, batch, mask), ours.encoder.layers[0].attention
    for parameter in (attention.rel_attn_embed.weight, attention.gru_rel_pos_const, attention.gru_rel_pos_linear.bias):
        kept = parameter.clone()
        parameter.zero_()
        assert (encoded(ours, batch, mask) - expected)[mask].abs().max() > 0.01
        parameter.copy_(kept)


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_padding_changes_nothing(kind: str) -> None:
    _, ours = encoders(**KINDS[kind])
    rows = frames()
    together = encoded(ours, *padded(rows))
    for found, row in zip(together, rows, strict=True):
        torch.testing.assert_close(found[: len(row)], encoded(ours, row[None])[0], atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_are_the_eager_ones(checkpointing: bool) -> None:
    stock, ours = encoders(**without_dropout("wavlm"))
    batch, mask = padded(frames())
    gradients = []
    for model in (stock.train(), ours.train()):
        if checkpointing:
            model.activation_checkpointing_enable({"use_reentrant": False})
        encoded(model, batch, mask)[mask].pow(3).mean().backward()
        gradients.append({name: p.grad for name, p in model.encoder.named_parameters()})
    assert gradients[0].keys() == gradients[1].keys()
    largest = max(float(gradient.abs().max()) for gradient in gradients[0].values())
    for name, expected in gradients[0].items():
        assert expected.abs().max() > 0 or name.endswith("k_proj.bias"), name
        torch.testing.assert_close(gradients[1][name], expected, atol=1e-5 * max(1.0, largest), rtol=0, msg=name)


def test_attention_dropout_acts_in_training_only() -> None:
    _, ours = encoders(**without_dropout("wavlm") | {"attention_dropout": 0.5})
    batch, mask = padded(frames())
    with torch.no_grad():
        assert torch.equal(encoded(ours, batch, mask), encoded(ours, batch, mask))
        ours.train()
        assert not torch.allclose(encoded(ours, batch, mask), encoded(ours, batch, mask))


def test_bfloat16_is_close_and_trains() -> None:
    stock, ours = encoders(**without_dropout("wavlm"))
    batch, mask = padded(frames())
    with torch.no_grad():
        expected = encoded(stock, batch, mask)[mask]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            mixed = encoded(ours, batch, mask)[mask]
    found = encoded(ours.to(torch.bfloat16).train(), batch.to(torch.bfloat16), mask)[mask]
    assert found.dtype == torch.bfloat16
    for half in (found, mixed):
        assert (half.float() - expected).square().mean().sqrt() < 0.05 * expected.square().mean().sqrt()
    found.float().pow(3).mean().backward()
    assert all(p.grad.isfinite().all() for p in ours.encoder.parameters())


def test_a_single_frame_gives_finite_gradients() -> None:
    _, ours = encoders()
    found = encoded(ours, torch.randn(1, 1, 32), torch.ones(1, 1, dtype=torch.bool))
    found.pow(3).sum().backward()
    assert found.isfinite().all()
    assert all(p.grad.isfinite().all() for p in ours.encoder.parameters())


def test_hidden_states_are_recorded_as_before(tmp_path: Path) -> None:
    stock, ours = encoders()
    waves = torch.randn(2, 4_000)
    with torch.no_grad():
        expected = stock(waves, output_hidden_states=True).hidden_states
        found = ours(waves, output_hidden_states=True).hidden_states
        assert len(found) == len(expected) == 3
        torch.testing.assert_close(found, expected, atol=TOLERANCE, rtol=0)
        ours.save_pretrained(tmp_path)
        loaded = AutoModel.from_pretrained(tmp_path).eval()
        assert torch.equal(loaded(waves).last_hidden_state, expected[-1])


def test_the_parameters_stay_the_same_ones() -> None:
    model = AutoModel.from_config(tiny_backbone_config("wavlm"))
    before = dict(model.named_parameters())
    use_sdpa(model)
    after = dict(model.named_parameters())
    assert list(before) == list(after) and all(before[name] is after[name] for name in before)


def ask_at_the_call(model: WavLMModel) -> None:
    model(torch.randn(1, 4_000), output_attentions=True)


def ask_in_the_configuration(model: WavLMModel) -> None:
    model.config.output_attentions = True
    use_sdpa(model)


@pytest.mark.parametrize("ask", [ask_at_the_call, ask_in_the_configuration])
def test_attention_weights_are_refused(ask: Callable[[WavLMModel], None]) -> None:
    _, ours = encoders()
    with pytest.raises(InputError, match='attn_implementation="eager"'):
        ask(ours)
