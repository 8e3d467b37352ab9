"""w2v-BERT on features: blind to padding, and nothing kept between calls."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModel, Wav2Vec2BertConfig, Wav2Vec2BertModel

from hf_speech.models.registry import InputError
from hf_speech.models.w2v_bert import make_exact

from .tiny import lively

TOLERANCE = 1e-5
COUNTS = (37, 20, 5, 1)
SIZE = 41
KINDS = ("relative_key", "rotary", "relative", None)
TINY: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "conv_depthwise_kernel_size": 7,
    "left_max_position_embeddings": 8,
    "right_max_position_embeddings": 4,
    "max_source_positions": 16,  # fewer than the frames here: the stock table has to grow
    "mask_time_prob": 0.0,
    "layerdrop": 0.0,
}


@torch.no_grad()
def backbone(kind: str | None, exact: bool = True, attention: str = "sdpa", **overrides: Any) -> Wav2Vec2BertModel:
    config = Wav2Vec2BertConfig(**TINY | {"position_embeddings_type": kind} | overrides)
    model = AutoModel.from_config(config, attn_implementation=attention)
    if exact:
        make_exact(model)
    lively(model)
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            module.weight.normal_()
        for name in ("pos_bias_u", "pos_bias_v"):
            if hasattr(module, name):
                getattr(module, name).normal_()
    return model


def features(counts: tuple[int, ...] = COUNTS, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(count, 160, generator=generator) for count in counts]


def padded(rows: list[Tensor], size: int = SIZE) -> dict[str, Tensor]:
    batch = 5 * torch.randn(len(rows), size, 160, generator=torch.Generator().manual_seed(9))
    for values, row in zip(batch, rows, strict=True):
        values[: len(row)] = row
    mask = torch.arange(size) < torch.tensor([len(row) for row in rows])[:, None]
    return {"input_features": batch, "attention_mask": mask}


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_padding_changes_nothing_in_any_layer(kind: str | None, attention: str) -> None:
    model, rows = backbone(kind, attention=attention), features()
    together = model(**padded(rows), output_hidden_states=True).hidden_states
    assert len(together) == 4
    for place, row in enumerate(rows):
        alone = model(row[None], output_hidden_states=True).hidden_states
        for found, expected in zip(together, alone, strict=True):
            torch.testing.assert_close(found[place, : len(row)], expected[0], atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_without_its_mask_a_padded_batch_does_change(kind: str | None) -> None:
    # The proof that the test above can see a leak.
    model, rows = backbone(kind), features()
    together = model(padded(rows)["input_features"]).last_hidden_state
    assert (together[1, :20] - model(rows[1][None]).last_hidden_state[0]).abs().max() > 0.1


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_the_numbers_are_the_stock_ones(kind: str | None) -> None:
    model, stock = backbone(kind), backbone(kind, exact=False)
    stock.load_state_dict(model.state_dict())
    batch = padded(features())
    found, expected = model(**batch).last_hidden_state, stock(**batch).last_hidden_state
    real = batch["attention_mask"]
    torch.testing.assert_close(found[real], expected[real], atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_fewer_layers_give_the_inner_layer(kind: str | None) -> None:
    whole, first = backbone(kind), backbone(kind, num_hidden_layers=2)
    first.load_state_dict(whole.state_dict(), strict=False)
    batch = padded(features())
    states = whole(**batch, output_hidden_states=True).hidden_states
    found = first(**batch).last_hidden_state
    torch.testing.assert_close(found, states[2], atol=1e-6, rtol=0)
    assert torch.equal(whole(**batch).last_hidden_state, states[3])  # no norm behind the layers


@pytest.mark.parametrize("checkpointing", [None, False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_a_padded_batch_are_those_of_its_utterances(kind: str | None, checkpointing: bool | None) -> None:
    dropouts = ("hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout")
    model = backbone(kind, **dict.fromkeys((*dropouts, "conformer_conv_dropout"), 0.0)).train()
    rows = features()
    for row in rows:
        model(row[None]).last_hidden_state.pow(3).mean().backward()
    expected = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    if checkpointing is not None:
        model.activation_checkpointing_enable({"use_reentrant": checkpointing})
    together = model(**padded(rows)).last_hidden_state
    model(**padded(features((7, 30), seed=1), 33))  # other lengths, before the backward pass recomputes
    torch.stack([found[: len(row)].pow(3).mean() for found, row in zip(together, rows, strict=True)]).sum().backward()
    largest = max(float(gradient.abs().max()) for gradient in expected.values())
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(
            parameter.grad, expected[name], atol=1e-5 * max(1.0, largest), rtol=0, msg=f"{name} of {kind}"
        )


@pytest.mark.parametrize("kind", KINDS)
def test_evaluation_does_not_stop_training(kind: str | None) -> None:
    model, batch = backbone(kind), padded(features())
    with torch.inference_mode():
        model(**batch)
    model(**batch).last_hidden_state.pow(3).sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_threads_share_a_model(kind: str | None) -> None:
    model = backbone(kind)
    batches = [padded(features((5 + 3 * i, 9), seed=i), 30 + i) for i in range(8)]

    def frames(batch: dict[str, Tensor]) -> list[Tensor]:
        with torch.inference_mode():
            return [model(**batch).last_hidden_state for _ in range(3)]

    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(frames, batches))
    for batch, found in zip(batches, together, strict=True):
        expected = frames(batch)[0]
        for one in found:
            torch.testing.assert_close(one, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_is_close_and_trains(kind: str | None) -> None:
    model, batch = backbone(kind), padded(features())
    with torch.no_grad():
        expected = model(**batch).last_hidden_state[batch["attention_mask"]]
    model.to(torch.bfloat16)
    batch["input_features"] = batch["input_features"].to(torch.bfloat16)
    found = model(**batch).last_hidden_state[batch["attention_mask"]]
    assert (found.float() - expected).square().mean().sqrt() < 0.1 * expected.square().mean().sqrt()
    found.float().pow(3).mean().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_an_adapter_is_refused() -> None:
    model = AutoModel.from_config(Wav2Vec2BertConfig(**TINY, add_adapter=True))
    with pytest.raises(InputError, match="add_adapter"):
        make_exact(model)
