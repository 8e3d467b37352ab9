"""The stand-in for a frozen encoder that was run once, and what tells one such encoder from others."""

from typing import Any

from torch import Tensor, nn

from ..errors import InputError
from ..identity import encoder_identity
from ..inference import own_model
from ..models.encoder import Encoder, EncoderOutput, Rung
from ..models.necks import NoNeck
from ..models.pooling import FirstPooling, RandomPooling

FORMAT = 4  # of what is kept; to be raised when other numbers come out for the same audio


class FrozenEncoder(Encoder):
    """Stands for a frozen encoder while all above it is trained: gives what was kept of it.

    Of a learned sum of layers it keeps the weights, under their own name.

    Args:
        encoder: the one that it stands for.
        output_size: dimensions of a frame.
        key: of what was kept.
        replaced: what the model has now: the encoder, the neck, the pooling.

    Attributes:
        key: the same.
        replaced: the same; no part of this module.
    """

    def __init__(self, encoder: Encoder, output_size: int, key: str, replaced: tuple[nn.Module, ...]) -> None:
        super().__init__()
        self.backbone = nn.Module()
        self.output_size, self.min_samples, self.hop = output_size, encoder.min_samples, encoder.hop
        self.depth, self.key, self.replaced = encoder.depth, key, replaced
        self.layer_mix = getattr(encoder, "layer_mix", None)
        self._names = [rung.name for rung in encoder.rungs()]
        self.frozen_rungs = len(self._names)

    def rungs(self) -> list[Rung]:
        """Those of the encoder, by name; there is nothing on them."""
        return [Rung(name, []) for name in self._names]

    def forward(
        self,
        input_values: Tensor,
        attention_mask: Tensor | None = None,
        *,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> EncoderOutput:
        """Gives frames.

        Args:
            input_values: frames (B, F, D), or of all layers (B, F, L, D), padded at the end.
            attention_mask: (B, F), 1 at real frames; None: all are real.
            output_hidden_states: refused, as are attentions: they were not kept.
            output_attentions: see above.

        Raises:
            InputError: layers or attentions were asked for.
        """
        if output_hidden_states or output_attentions:
            raise InputError("frozen_cache: layers and attentions were not kept; leave frozen_cache out")
        if attention_mask is None:
            attention_mask = input_values.new_ones(input_values.shape[:2])
        frames = input_values if self.layer_mix is None else self.layer_mix(input_values.unbind(2))
        return EncoderOutput(frames, attention_mask.bool())


def boundary_of(speech: Any) -> str:
    """How far nothing is trained or random: "pooled" (vectors), "frames", or "layers" (frames of each).

    Args:
        speech: an `HfSpeechModel` with a frozen encoder.
    """
    if getattr(speech.frame_encoder, "layer_mix", None) is not None:
        return "layers"
    above = nn.ModuleList([speech.neck, speech.pooling])
    learns = any(True for _ in above.parameters())
    draws = any(isinstance(part, nn.Dropout | RandomPooling) for part in above.modules())
    return "frames" if learns or draws else "pooled"


def stand_in(speech: Any, kind: str, key: str) -> None:
    """Puts a stand-in in the place of a model's encoder, and of all that lies below the boundary with it.

    Args:
        speech: an `HfSpeechModel` with a frozen encoder.
        kind: see `boundary_of`.
        key: see `FrozenEncoder`.
    """
    encoder, size = speech.frame_encoder, speech.frame_encoder.output_size
    replaced = (encoder, speech.neck, speech.pooling)
    if kind == "pooled":  # the vector is the one frame there is
        size = speech.pooling.output_size
        speech.neck, speech.pooling = NoNeck(size), FirstPooling(size)
    speech.frame_encoder = FrozenEncoder(encoder, size, key, replaced)


def put_back(model: Any) -> None:
    """Gives a model its encoder back, if something stands for it."""
    speech = own_model(model).base_model
    encoder = speech.frame_encoder
    if isinstance(encoder, FrozenEncoder):
        speech.frame_encoder, speech.neck, speech.pooling = (part.to(model.device) for part in encoder.replaced)


def key_of(model: Any) -> str | None:
    """Of a model whose encoder was run once, what tells that encoder from others; None of any other model."""
    encoder = own_model(model).encoder
    return encoder.key if isinstance(encoder, FrozenEncoder) else None


def identity(speech: Any, extractor: Any, kind: str) -> dict[str, Any]:
    """All that decides the numbers that are kept, beside the audio.

    Args:
        speech: the `HfSpeechModel`.
        extractor: the feature extractor.
        kind: see `boundary_of`.
    """
    pooled = {name: getattr(speech.config, name) for name in ("neck", "neck_config", "pooling", "pooling_config")}
    return {
        "format": FORMAT,
        "boundary": kind,
        **(pooled if kind == "pooled" else {}),
        **encoder_identity(speech, extractor),
    }
