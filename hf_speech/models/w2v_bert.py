"""w2v-BERT 2.0 of transformers, made to keep nothing between calls.

Its conformer layers (Seamless Communication, 2312.05187, section 3.2.1) are exact under padding as they are, given the
mask of the frames: the depthwise convolution is causal and finds zeros behind an utterance's end, and padded keys are
masked. The clipped relative keys of the published checkpoint ("relative_key") keep nothing; the other kinds of
positions do, and are replaced.
"""

from transformers import PreTrainedModel

from .positions import POSITIONS
from .registry import InputError


def make_exact(backbone: PreTrainedModel) -> None:
    """Gives a `Wav2Vec2BertModel` positions that are made anew at each call.

    It is to be called with features (B, F, 160) and a frame mask (B, F), 1 at real frames. Features must be finite in
    the padding as well: they don't count there, but a gradient of 0 times infinity is not a number.

    Args:
        backbone: the model; its weights, and their names, stay as they are.

    Raises:
        InputError: it has an adapter, whose convolutions shorten the frames and read the padding.
    """
    if backbone.adapter is not None:
        raise InputError("a w2v-BERT with an adapter reads the padding: set add_adapter to false in its configuration")
    kind = backbone.config.position_embeddings_type
    if kind in POSITIONS:
        backbone.encoder.embed_positions = POSITIONS[kind](backbone.config)
