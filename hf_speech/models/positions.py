"""Where a frame stands, as angles of many speeds; made at each call, so that nothing is kept from another batch.

transformers' own modules keep the last batch's table: made in inference mode it stops training, shared between threads
it is of another batch, and in bfloat16 its rotary places beyond 256 are no longer told apart.
"""

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig


def angles(places: Tensor, size: int, base: float = 10_000.0) -> Tensor:
    """Each place times base**(-2 i / size), i = 0 ... size / 2 - 1: (F,) -> (F, size / 2) float32.

    Vaswani et al., "Attention is all you need", NeurIPS 2017, section 3.5.
    """
    exponents = torch.arange(0, size, 2, dtype=torch.float32, device=places.device) / size
    return places.float()[:, None] * base**-exponents


def sinusoids(places: Tensor, size: int) -> Tensor:
    """The sine of each angle and behind it its cosine, in turn: (F,) -> (F, size) float32; `size` is even."""
    turned = angles(places, size)
    return torch.stack([turned.sin(), turned.cos()], dim=-1).flatten(-2)


class RotaryPositions(nn.Module):
    """Rotary positions as a conformer of transformers takes them, in float32 until they are done.

    Su et al., "RoFormer", 2021, section 3.2.2.
    """

    def __init__(self, config: PretrainedConfig) -> None:
        super().__init__()
        self.size = config.hidden_size // config.num_attention_heads
        self.base = float(config.rotary_embedding_base)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Frames (B, F, D) -> cosines and sines (2, F, 1, 1, D / heads), both halves of a head with the same angles."""
        places = torch.arange(hidden_states.shape[1], device=hidden_states.device)
        turned = angles(places, self.size, self.base).repeat(1, 2)
        return torch.stack([turned.cos(), turned.sin()])[:, :, None, None].to(hidden_states.dtype)


class RelativePositions(nn.Module):
    """Sinusoids of the distances between frames, as a conformer of transformers takes them.

    Dai et al., "Transformer-XL", ACL 2019, section 3.3.
    """

    def __init__(self, config: PretrainedConfig) -> None:
        super().__init__()
        self.size = config.hidden_size

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Frames (B, F, D) -> embeddings of the distances F - 1 to 1 - F, (1, 2 F - 1, D)."""
        frames = hidden_states.shape[1]
        distances = torch.arange(frames - 1, -frames, -1, device=hidden_states.device)
        return sinusoids(distances, self.size)[None].to(hidden_states.dtype)


POSITIONS = {"rotary": RotaryPositions, "relative": RelativePositions}
