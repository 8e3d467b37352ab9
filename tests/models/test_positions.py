"""Positions by hand, and against those of transformers."""

import pytest
import torch
from transformers import CONFIG_MAPPING, AutoModel

from hf_speech.models.positions import POSITIONS, angles, sinusoids


def test_sinusoids_are_those_of_the_paper() -> None:
    # Place p, pair i of four numbers: sin(p / 10000**(2 i / 4)), cos of the same; at i = 1 the divisor is 100.
    found = sinusoids(torch.tensor([0, 1, -3]), 4)
    expected = [
        [0.0, 1, 0, 1],
        [0.8414710, 0.5403023, 0.0099998, 0.9999500],
        [-0.14112, -0.9899925, -0.0299955, 0.99955],
    ]
    torch.testing.assert_close(found, torch.tensor(expected), atol=1e-6, rtol=0)


def test_angles_have_another_base_if_wanted() -> None:
    torch.testing.assert_close(angles(torch.tensor([0, 8]), 4, base=16.0), torch.tensor([[0.0, 0.0], [8.0, 2.0]]))


@pytest.mark.parametrize("kind", POSITIONS)
@pytest.mark.parametrize("model_type", ["wav2vec2-conformer", "wav2vec2-bert"])
@pytest.mark.parametrize("frames", [1, 23])
def test_they_are_the_stock_ones(model_type: str, kind: str, frames: int) -> None:
    config = CONFIG_MAPPING[model_type](
        position_embeddings_type=kind, hidden_size=32, num_attention_heads=2, num_hidden_layers=1, intermediate_size=8
    )
    stock, values = AutoModel.from_config(config).encoder.embed_positions, torch.randn(2, frames, 32)
    torch.testing.assert_close(POSITIONS[kind](config)(values), stock(values), atol=1e-5, rtol=0)


def test_rotary_positions_in_bfloat16_reach_beyond_256() -> None:
    config = CONFIG_MAPPING["wav2vec2-bert"](
        position_embeddings_type="rotary", hidden_size=32, num_attention_heads=2, num_hidden_layers=1
    )
    stock = AutoModel.from_config(config).encoder.embed_positions.to(torch.bfloat16)
    frames, places = torch.zeros(1, 1_000, 32, dtype=torch.bfloat16), torch.arange(1_000.0)
    # A head has 16 dimensions: the first angle is the place itself, the eighth the place / 10,000**(7 / 8).
    cosines = torch.stack([places.cos(), (places * 10_000**-0.875).cos()], dim=1)
    ours, theirs = (positions(frames)[0, :, 0, 0, [0, 7]].float() for positions in (POSITIONS["rotary"](config), stock))
    torch.testing.assert_close(ours, cosines, atol=0.01, rtol=0)
    assert (theirs - cosines).abs().max() > 0.5
