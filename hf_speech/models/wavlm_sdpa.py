"""WavLM's attention through torch's fused kernels, which take its gated position bias as an additive mask.

Chen et al., "WavLM", IEEE JSTSP 2022, section III-B; Chi et al., "XLM-E", ACL 2022. transformers writes the
attention weights out, averages them over the heads and keeps a copy of the position bias for every utterance.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel
from transformers.models.wavlm.modeling_wavlm import WavLMAttention

from .registry import InputError


class SDPAWavLMAttention(WavLMAttention):
    """The same parameters and, to rounding, the same numbers as `WavLMAttention`; no attention weights come out."""

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        position_bias: Tensor | None = None,
        **kwargs: object,
    ) -> tuple[Tensor, None, Tensor]:
        """Attends.

        Args:
            hidden_states: (B, F, D).
            attention_mask: (B, F) bool, True at real frames; None: all are real.
            position_bias: (1, heads, F, F), as the first layer made it; None in the first layer.
            kwargs: what the encoder was called with.

        Returns:
            The frames (B, F, D), None in place of weights, and the position bias for the next layer.

        Raises:
            InputError: attention weights are asked for.
        """
        if kwargs.get("output_attentions"):
            raise InputError(
                "WavLM's fused attention gives no weights (output_attentions); "
                'load the model with attn_implementation="eager"'
            )
        batch, frames, _ = hidden_states.shape
        if position_bias is None:
            position_bias = self.compute_bias(frames, frames)[None]
        query, key, value = (
            self._by_head(project(hidden_states)) for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        bias = (self._gate(hidden_states) * position_bias).to(query.dtype)
        if attention_mask is not None:
            padded = ~attention_mask.bool()[:, None, None]
            bias = bias.masked_fill_(padded, torch.finfo(bias.dtype).min)
        dropout = self.dropout if self.training else 0.0
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=bias, dropout_p=dropout)
        return self.out_proj(attended.transpose(1, 2).reshape(batch, frames, -1)), None, position_bias

    def _by_head(self, values: Tensor) -> Tensor:
        """(B, F, D) -> (B, heads, F, D / heads)."""
        return values.unflatten(-1, (self.num_heads, self.head_dim)).transpose(1, 2)

    def _gate(self, hidden_states: Tensor) -> Tensor:
        """What each query multiplies its distances' bias by: (B, F, D) -> (B, heads, F, 1).

        With a and b two sigmoids, each of the sum of four of the eight projected numbers, and s the head's own factor:
        2 + a (s b - 1).
        """
        projected = self.gru_rel_pos_linear(self._by_head(hidden_states)).unflatten(-1, (2, 4)).sum(-1)
        update, reset = torch.sigmoid(projected).split(1, dim=-1)
        return 2.0 + update * (self.gru_rel_pos_const * reset - 1.0)


def use_sdpa(backbone: PreTrainedModel, fused: bool = True) -> None:
    """Lets every layer of a WavLM encoder attend through `scaled_dot_product_attention`, or as transformers does.

    Parameters, their names and what hangs on the modules stay as they are: an attention has no other state than its
    parent class has, so only its class is another.

    Args:
        backbone: a `WavLMModel`.
        fused: False goes back to transformers' own attention.

    Raises:
        InputError: its configuration asks for attention weights.
    """
    if fused and backbone.config.output_attentions:
        raise InputError(
            'a WavLM whose output_attentions is true needs attn_implementation="eager"; ask for neither, or for both'
        )
    for layer in backbone.encoder.layers:
        layer.attention.__class__ = SDPAWavLMAttention if fused else WavLMAttention
