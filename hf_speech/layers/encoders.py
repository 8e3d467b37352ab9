"""A model, or a checkpoint of a self-supervised encoder -> frames of several of its layers in one pass.

Layers are numbered from 1, and layer k is the output of the k-th transformer layer before any final norm: what
`HfSpeechModel` pools with `layer=k`, and `hidden_states[k]` of transformers. wav2vec 1.0 has no transformer layers: the
frames that come out of it are its layer 1.
"""

import logging
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoFeatureExtractor, PretrainedConfig, Wav2Vec2FeatureExtractor

from ..audio import SAMPLE_RATE
from ..data.pieces import moved
from ..errors import InputError, lookup
from ..identity import encoder_identity
from ..memory import kept_memory
from ..models.backbones import Wav2VecConfig
from ..models.configuration import SSL_BACKBONES, HfSpeechConfig
from ..models.conversion import stored_extractor
from ..models.embedding import evaluating
from ..models.encoder import naming
from ..models.modeling import HfSpeechModel
from ..models.pooling import POOLINGS
from ..names import refuse_missing_folder
from ..precision import computed_in
from ..ranks import local_device
from ..verification.embedder import DTYPES

logger = logging.getLogger(__name__)

FORMAT = 3  # of the frames; to be raised when other numbers come out for the same audio


class LayeredEncoder:
    """An encoder that gives the frames of several of its layers in one pass.

    A class token, which some of our models put before the frames, takes part and is left out of what is given.

    Args:
        speech: an `HfSpeechModel` whose encoder ends with the highest of the layers.
        extractor: its feature extractor.
        layers: numbers from 1, ascending; those that are given.
        depth: layers that there are to choose from.
        dtype: "float32"; or "bfloat16": autocast, where weights and norms stay as they are.

    Attributes:
        layers: the same, as is `depth`.
        size: dimensions of a frame.
        extractor: the same.
        min_samples: the shortest waveform that gives a frame, at the extractor's rate.
        hop: samples between the starts of two frames, at that rate.

    Raises:
        InputError: another dtype.
    """

    def __init__(
        self, speech: HfSpeechModel, extractor: Any, layers: Sequence[int], depth: int, dtype: str = "float32"
    ) -> None:
        self.dtype = lookup(DTYPES, dtype, "dtype")
        self.speech: Any = speech.eval()
        self.encoder: Any = speech.frame_encoder
        self.extractor, self.layers, self.depth = extractor, tuple(layers), depth
        self.size: int = self.encoder.output_size
        self.min_samples: int = self.encoder.min_samples
        self.hop: int = self.encoder.hop
        self._tokens = int(getattr(self.encoder, "class_token", None) is not None)  # before the frames

    @property
    def rate(self) -> int:
        """Samples a second of the waveforms that it takes."""
        return int(self.extractor.sampling_rate)

    @property
    def device(self) -> torch.device:
        """Where it computes: where the model lies already, or on the accelerator, if there is one."""
        return local_device() if self.speech.device.type == "cpu" else self.speech.device

    @property
    def first_centre(self) -> float:
        """The middle of the first frame, seconds from the start of the waveform."""
        return self.encoder.frame_centre(self._tokens) / self.rate

    def frames(self, samples: int) -> int:
        """Frames of so many samples at the extractor's rate; 0 where there are too few for one."""
        return max(1 + (samples - self.min_samples) // self.hop, 0)

    def row_frames(self, length: int) -> int:
        """Frames of a row of so many samples at 16 kHz, as its column `length` counts them."""
        return self.frames(round(length * self.rate / SAMPLE_RATE))

    def piece_frames(self, max_seconds: float) -> int:
        """The most frames of a piece of at most so many seconds; infinity: as many as there may be.

        Raises:
            InputError: it is too short for a frame.
        """
        most = sys.maxsize if math.isinf(max_seconds) else self.frames(round(max_seconds * self.rate))
        if most < 1:
            least = self.min_samples / self.rate
            raise InputError(f"pieces of {max_seconds:g} s are too short for a frame; give {least:g} s or more")
        return most

    @contextmanager
    def ready(self) -> Iterator[None]:
        """Within, the model is on its device and in evaluation mode."""
        before = self.speech.device
        try:
            self.speech.to(self.device)
            with evaluating(self.speech), kept_memory(self.device):
                yield
        finally:
            self.speech.to(before)

    @torch.no_grad()  # not inference mode: what a model caches here may be met again in training
    def __call__(self, input_values: Tensor, attention_mask: Tensor | None = None) -> tuple[list[Tensor], Tensor]:
        """The frames of a batch.

        Shape:
            input_values (B, T), attention_mask (B, T), 1 at real samples, or None -> L tensors (B, F, D), one a layer,
            and the frame mask (B, F) bool; all on the model's device
        """
        device = self.speech.device
        values = moved(input_values, device, self.speech.dtype)
        mask = None if attention_mask is None else moved(attention_mask, device)
        is_layered = self.encoder.depth > 0
        with computed_in(device, self.dtype):
            encoded = self.encoder(values, mask, output_hidden_states=is_layered)
        states = [encoded.hidden_states[k] for k in self.layers] if is_layered else [encoded.frames]
        first = self._tokens
        return [frames[:, first:] for frames in states], encoded.frame_mask[:, first:]

    def identity(self) -> dict[str, Any]:
        """All that decides the numbers, beside the audio."""
        return {
            "format": FORMAT,
            "layers": list(self.layers),
            **encoder_identity(self.speech, self.extractor),
            "computed in": str(self.dtype),
        }


def load_layers(
    model: str | Path,
    layers: str | int | Sequence[int] = "all",
    *,
    revision: str | None = None,
    dtype: str = "float32",
    class_token: bool = True,
) -> LayeredEncoder:
    """Loads as many layers of an encoder as are needed.

    Args:
        model: folder or Hub name of a finished model of ours, whose encoder is taken, with the layers that it was built
            with; or of a checkpoint of a self-supervised encoder, whatever head that has.
        layers: "all"; or numbers from 1 up, as text ("7", "3,6,9") or as such.
        revision: branch, tag or commit on the Hub.
        dtype: see `LayeredEncoder`.
        class_token: whether that of a finished model takes part; a model with another pooling has none.

    Raises:
        InputError: there is no such model, it has no layers, or not these.
    """
    name = str(Path(model).absolute()) if Path(model).exists() else str(model)
    refuse_missing_folder(str(model), "give a model's folder, or a name on the Hub")
    with naming(str(model)):
        config = AutoConfig.from_pretrained(name, revision=revision)
    is_ours = config.model_type == HfSpeechConfig.model_type
    depth = _depth_of(config, str(model))
    chosen = chosen_layers(layers, depth, str(model))
    with _silent_of_unused():
        if is_ours:
            speech, extractor = _of_ours(name, config, max(chosen), revision, class_token)
        else:
            speech, extractor = _of_checkpoint(name, config, max(chosen), revision)
    return LayeredEncoder(speech, extractor, chosen, depth, dtype)


def chosen_layers(layers: str | int | Sequence[int], depth: int, name: str) -> tuple[int, ...]:
    """The numbers of layers, ascending, each once.

    Args:
        layers: see `load_layers`.
        depth: how many there are.
        name: of the model, for messages.

    Raises:
        InputError: none, what is no number, or a layer that is not there.

    >>> chosen_layers("9,3", 12, "a model"), chosen_layers("all", 2, "a model")
    ((3, 9), (1, 2))
    """
    if layers == "all":
        return tuple(range(1, depth + 1))
    there = f"it has layer{'' if depth == 1 else 's'} 1{f' to {depth}' if depth > 1 else ''}"
    given = [layers] if isinstance(layers, int) else layers.split(",") if isinstance(layers, str) else list(layers)
    try:
        numbers = {int(number) for number in given}
    except ValueError:
        numbers = set()
    if not numbers:
        raise InputError(f"{name}: {layers!r} names no layers; give all, or numbers such as 3,6,9 ({there})")
    absent = sorted(number for number in numbers if not 1 <= number <= depth)
    if absent:
        raise InputError(f"{name}: there is no layer {absent[0]}; {there}")
    return tuple(sorted(numbers))


@contextmanager
def _silent_of_unused() -> Iterator[None]:
    """Within, transformers' reports of a loading are left out where they list nothing but weights that are not used.

    Heads and higher layers are such; weights that are absent, or of another shape, are reported as ever.
    """

    def tells(record: logging.LogRecord) -> bool:
        said = record.getMessage()
        return "LOAD REPORT" not in said or any(fault in said for fault in ("MISSING", "MISMATCH", "CONVERSION"))

    theirs = logging.getLogger("transformers.modeling_utils")
    theirs.addFilter(tells)
    try:
        yield
    finally:
        theirs.removeFilter(tells)


def has_layers(model: str | Path, revision: str | None = None) -> bool:
    """Whether `load_layers` finds layers in a model."""
    try:
        return _depth_of(AutoConfig.from_pretrained(str(model), revision=revision), str(model)) > 0
    except (InputError, OSError, ValueError):
        return False


def _depth_of(config: PretrainedConfig, name: str) -> int:
    """How many layers there are to choose from; 1 of wav2vec 1.0.

    Raises:
        InputError: there are none.
    """
    backbone, depth = config, getattr(config, "num_hidden_layers", 0)
    if config.model_type == HfSpeechConfig.model_type:
        backbone, depth = config.backbone_config, config.depth
    if backbone.model_type == Wav2VecConfig.model_type:
        return 1
    if backbone.model_type not in SSL_BACKBONES:
        what = "leave the layer out for its embeddings, or give" if config is not backbone else "give"
        raise InputError(
            f"{name}: a {backbone.model_type} has no layers to choose from; {what} an encoder of one of these kinds: "
            f"{', '.join(SSL_BACKBONES)}"
        )
    return int(depth)


def _of_ours(name: str, config: Any, layer: int, revision: str | None, class_token: bool) -> tuple[HfSpeechModel, Any]:
    """The encoder of a finished model of ours, up to a layer, and the feature extractor."""
    has_token = class_token and getattr(POOLINGS.get(config.pooling), "token", None) is not None
    cut = HfSpeechConfig(
        backbone_config=config.backbone_config,
        layer=layer if config.backbone_config.num_hidden_layers else "last",
        pooling=config.pooling if has_token else "mean",
        sampling_rate=config.sampling_rate,
        do_normalize=config.do_normalize,
    )
    with naming(name):
        speech, report = HfSpeechModel.from_pretrained(name, config=cut, revision=revision, output_loading_info=True)
        extractor = AutoFeatureExtractor.from_pretrained(name, revision=revision)
    absent = sorted(key for key in report["missing_keys"] if not key.endswith("masked_spec_embed"))
    if absent:
        raise InputError(f"{name}: lacks {len(absent)} weights of its encoder, such as {absent[0]}: fetch it again")
    return speech, extractor


def _of_checkpoint(name: str, config: Any, layer: int, revision: str | None) -> tuple[HfSpeechModel, Any]:
    """The encoder of a checkpoint of transformers, up to a layer, and the feature extractor."""
    extractor = stored_extractor(name, revision)
    spectral = not hasattr(config, "feat_extract_norm")  # w2v-BERT: its filter banks are made in the model
    if extractor is None or spectral:
        extractor = Wav2Vec2FeatureExtractor(do_normalize=not spectral and config.feat_extract_norm == "layer")
        if not spectral:
            logger.warning("%s has no feature extractor; normalising: %s", name, extractor.do_normalize)
    extractor.return_attention_mask = True
    speech = HfSpeechModel.from_backbone(
        name,
        revision=revision,
        layer=layer,
        pooling="mean",
        sampling_rate=extractor.sampling_rate,
        do_normalize=bool(extractor.do_normalize),
    )
    return speech, extractor
