"""A model as what makes embeddings of batches: which ones it has, in which precision, and by what they are known."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import Wav2Vec2FeatureExtractor

from ..data.checks import MIN_SAMPLES
from ..data.pieces import moved
from ..errors import InputError, lookup
from ..identity import digest_of_weights, heard_as, releases, settings_that_count
from ..inference import gains_by_length, own_model
from ..memory import kept_memory
from ..models.embedding import evaluating
from ..models.modeling import HfSpeechPreTrainedModel
from ..precision import computed_in, is_half
from ..ranks import local_device

FORMAT = 3  # of what is kept; to be raised when other numbers come out for the same audio
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
# Fields of our configuration that decide the embedding; heads, losses and thresholds come after it.
_FIELDS = ("layer", "neck", "neck_config", "pooling", "pooling_config", "projection", "projection_config")


class Embedder:
    """Makes embeddings of batches.

    Of a model of ours only what lies below the heads is run. A stock one has to give `embeddings` among its outputs, as
    transformers' `...ForXVector` do.

    Args:
        model: any such model; it is not changed.
        extractor: its feature extractor.
        dtype: "float32"; or "bfloat16": autocast, where weights, spectra and norms stay as they are. (Of an ECAPA-TDNN
            trained on speech, the lowest cosine to float32 is 0.99998; with weights rounded too it was 0.997.)

    Attributes:
        size: dimensions of an embedding.
        exact: whether an embedding does not depend on who else is in the batch.
        gains: whether its products are faster in longer batches, on a CPU too: those of a transformer in 16 bits.
        min_samples: the shortest waveform that is embedded, at the rate of its extractor: what the model takes, and
            25 ms at least.

    Raises:
        InputError: another dtype, or the model gives no embeddings.
    """

    def __init__(self, model: Any, extractor: Any, dtype: str = "float32") -> None:
        self.dtype = lookup(DTYPES, dtype, "dtype")
        self.extractor = extractor
        whole = own_model(model)
        self.exact = isinstance(whole, HfSpeechPreTrainedModel)
        self.model: Any = whole.base_model if self.exact else whole
        self.gains: bool = gains_by_length(model, is_half(self.dtype))
        self.min_samples: int = max(whole.encoder.min_samples if self.exact else 0, MIN_SAMPLES)
        self.size: int = self.model.output_size if self.exact else self._size_of_stock()

    @property
    def device(self) -> torch.device:
        """Where it computes: where the model lies already, or on the accelerator, if there is one."""
        return local_device() if self.model.device.type == "cpu" else self.model.device

    @contextmanager
    def ready(self) -> Iterator[None]:
        """Within, the model is on its device and in evaluation mode."""
        before = self.model.device
        try:
            self.model.to(self.device)
            with evaluating(self.model), computed_in(self.device, self.dtype), kept_memory(self.device):
                yield
        finally:
            self.model.to(before)

    @torch.no_grad()  # not inference mode: what a model caches here may be met again in training
    def __call__(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Embeds a batch; see `ready`.

        Shape:
            input_values (B, T), attention_mask (B, T) -> (B, E) float32 on the CPU
        """
        device = self.model.device
        values = moved(batch["input_values"], device, self.model.dtype)
        with computed_in(device, self.dtype):
            outputs = self.model(values, attention_mask=moved(batch["attention_mask"], device))
        return outputs.embeddings.float().cpu()

    def identity(self) -> dict[str, Any]:
        """All that decides the numbers, beside the audio."""
        config = self.model.config
        if self.exact:
            settings = {name: getattr(config, name) for name in _FIELDS}
            settings["backbone"] = settings_that_count(config.backbone_config.to_dict())
        else:
            settings = settings_that_count(config.to_dict())
        return {
            "format": FORMAT,
            "class": type(self.model).__name__,
            "settings": settings,
            "attention": config._attn_implementation,
            **heard_as(self.extractor),
            "dtype": f"{self.model.dtype}, computed in {self.dtype}",
            **releases(),
            "weights": digest_of_weights(self.model.state_dict().items()),
        }

    def _size_of_stock(self) -> int:
        """Found by a second of silence, before any work is done in vain."""
        if not isinstance(self.extractor, Wav2Vec2FeatureExtractor):
            raise InputError(
                f"{type(self.model).__name__} takes no waveforms, but what {type(self.extractor).__name__} makes, and "
                "no embeddings are taken of it here; give a model of waveforms"
            )
        silence = torch.zeros(1, int(self.extractor.sampling_rate), device=self.model.device, dtype=self.model.dtype)
        with evaluating(self.model), torch.no_grad():
            embeddings = getattr(self.model(silence), "embeddings", None)
        if embeddings is None:
            raise InputError(
                f"{type(self.model).__name__} gives no embeddings; give a model of hf_speech, or one of transformers "
                "that does (...ForXVector)"
            )
        return int(embeddings.shape[1])
