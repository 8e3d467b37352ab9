"""Waveform -> frames: w2v-BERT 2.0, with the filter banks that it takes made inside the model."""

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig

from .encoder import Rung
from .frontends import FRONTENDS
from .masking import length_mask
from .ssl_encoder import SSLEncoder
from .w2v_bert import make_exact


class W2VBertEncoder(SSLEncoder):
    """w2v-BERT 2.0 behind the encoder contract (Seamless Communication, 2312.05187, section 3.2.1).

    Its filter banks are those of transformers' SeamlessM4TFeatureExtractor: two frames of 10 ms stacked, so 50 frames a
    second, each band of zero mean and unit variance over the utterance.
    """

    def _set_rate(self, built: PretrainedConfig) -> None:
        self.frontend = FRONTENDS["w2v-bert-fbank"](16_000)
        self.min_samples, self.hop = self.frontend.min_samples, self.frontend.hop

    def _make_exact(self, built: PretrainedConfig) -> None:
        make_exact(self.backbone)

    def _features(self, input_values: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        features, counts = self.frontend(input_values, attention_mask.long().sum(-1))
        features = features.to(next(self.backbone.parameters()).dtype)
        if self.class_token is not None:
            features, counts = nn.functional.pad(features, (0, 0, 1, 0)), counts + 1
        return features, length_mask(counts, features.shape[1]).to(torch.long), counts

    def _feature_rungs(self) -> list[Rung]:
        # The filter banks have nothing to train: their projection is what makes features of the waveform.
        return [Rung("cnn", [self.backbone.feature_projection]), Rung("projection", [])]
