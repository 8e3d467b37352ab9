"""wav2vec 2.0's pretraining: a hidden frame is told from others of its utterance by its quantised features."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AutoModelForPreTraining, PretrainedConfig

from ..errors import InputError
from ..models.configuration import HfSpeechConfig
from ..models.encoder import naming
from ..models.ssl_encoder import SSLEncoder
from .model import Correct, PretrainingModel, PretrainingOutput, take, with_masks
from .objectives import contrastive_loss, diversity_loss, perplexity, perplexity_of
from .spans import Masking

logger = logging.getLogger(__name__)

QUANTIZED = ("wav2vec2", "wav2vec2-conformer")  # the encoders for which transformers has codebooks
_FEW_CODES = 1.5  # in use of each codebook, below which it has collapsed


@dataclass(frozen=True)
class GumbelTemperature:
    """How soft the choice of a code is: it falls by a factor each optimiser step, to a floor.

    Baevski et al. (2020), section 4.2: from 2 by .999995 to .5 (base), .1 (large).
    """

    start: float = 2.0
    factor: float = 0.999995
    end: float = 0.5

    def __post_init__(self) -> None:
        if not (self.start >= self.end > 0 and 0 < self.factor <= 1):
            raise InputError(
                f"temperature from {self.start:g} by {self.factor:g} to {self.end:g}: give an end above 0, a start "
                "that is not lower, and a factor above 0, up to 1"
            )

    def at(self, step: int) -> float:
        """The temperature after so many steps.

        >>> GumbelTemperature(factor=0.5).at(1), GumbelTemperature(factor=0.5).at(100)
        (1.0, 0.5)
        """
        return max(self.start * self.factor**step, self.end)


class ContrastivePretraining(PretrainingModel):
    """An encoder with codebooks, exact under padding, and what it learns from.

    Its codebooks and projections are those of transformers' `Wav2Vec2ForPreTraining` or its conformer, so checkpoints
    go in and out. Only hidden frames are quantised and compared, and all sums run over these alone.

    Args:
        stock: the pretraining model of transformers of which the weights are taken, of a config as `with_masks` gives.
        masking: of the frames.
        temperature: of the choice of codes.

    Attributes:
        optimizer_step: see the base class; it decides on the temperature.
    """

    part_names = ("contrastive_loss", "diversity_loss", "perplexity", "chance")

    def __init__(
        self, stock: Any, masking: Masking, temperature: GumbelTemperature | None = None, layerdrop: float = 0.0
    ) -> None:
        super().__init__()
        self.config, self.negatives = stock.config, stock.config.num_negatives
        self.architecture = type(stock).__name__
        self.masking, self.temperature = masking, temperature or GumbelTemperature()
        self.encoder: SSLEncoder = SSLEncoder(
            HfSpeechConfig(backbone_config=with_masks(stock.config), num_labels=1, layerdrop=layerdrop)
        )
        self.encoder.load_stock_weights(stock.base_model.state_dict())
        self.quantizer, self.dropout_features = stock.quantizer, stock.dropout_features
        self.project_hid, self.project_q = stock.project_hid, stock.project_q

    def forward(
        self, input_values: Tensor, attention_mask: Tensor, hidden: Tensor, negatives: Tensor
    ) -> PretrainingOutput:
        """The losses of a batch.

        Args:
            input_values: (B, T) waveforms, padded at the right.
            attention_mask: (B, T), 1 at real samples.
            hidden: (B, F) bool, M True of which none is padding.
            negatives: (M, N) numbers of the hidden frames, counted through the batch, that are the distractors.
        """
        outputs = self.encoder(input_values, attention_mask, hidden=hidden)
        features = self.dropout_features(outputs.features)[hidden]
        vectors, codes, probabilities = self._quantized(features)
        predicted, targets = self.project_hid(outputs.frames[hidden]), self.project_q(vectors)
        kappa = self.config.contrastive_logits_temperature
        contrast = contrastive_loss(predicted, targets, codes, negatives, kappa)
        used = perplexity(probabilities)
        diversity = diversity_loss(used, self.quantizer.num_groups * self.quantizer.num_vars)
        loss = contrast.loss + self.config.diversity_loss_weight * diversity
        parts = {"contrastive_loss": contrast.loss, "diversity_loss": diversity, "perplexity": used}
        parts["chance"] = contrast.chance
        correct = Correct(hidden.nonzero()[:, 0], contrast.correct)
        use = probabilities.detach().sum(dim=0)
        return PretrainingOutput(loss, parts, {"accuracy": correct}, len(features), use)

    def no_use(self) -> Tensor | None:
        """See the base class."""
        return torch.zeros(self.quantizer.num_groups, self.quantizer.num_vars, device=self.device)

    def over_batches(self, numbers: Mapping[str, float], use: Tensor) -> dict[str, float]:
        """See the base class: which codes are in use, and the loss by it, is known of all frames together."""
        used = perplexity_of(use / use.sum(dim=-1, keepdim=True).clamp_min(1.0))
        diversity = float(diversity_loss(used, use.numel()))
        loss = numbers["contrastive_loss"] + self.config.diversity_loss_weight * diversity
        return {**numbers, "loss": loss, "diversity_loss": diversity, "perplexity": float(used)}

    def collapse(self, numbers: Mapping[str, float]) -> str | None:
        """See the base class: of each codebook hardly more than one code is in use."""
        groups = self.quantizer.num_groups
        if numbers["perplexity"] >= _FEW_CODES * groups:
            return None
        return (
            f"the codebooks have collapsed: {numbers['perplexity']:.1f} codes of {groups} books are in use; give a "
            "smaller learning_rate, a longer warm-up (schedule_config), larger batches, or a larger "
            "backbone_config.diversity_loss_weight"
        )

    def _quantized(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features (M, C) -> quantised (M, G * d), codes (M, G), probabilities (M, G, V) of the choice.

        In training a code is drawn by the Gumbel softmax, whose gradient is that of the soft choice (Baevski et al.,
        2020, section 3.1); else the likeliest one is taken.
        """
        quantizer = self.quantizer
        scores = quantizer.weight_proj(features).unflatten(-1, (quantizer.num_groups, quantizer.num_vars)).float()
        probabilities = scores.softmax(-1)
        if self.training:
            chosen = F.gumbel_softmax(scores, tau=self.temperature.at(self.optimizer_step), hard=True)
        else:
            chosen = F.one_hot(scores.argmax(-1), quantizer.num_vars).to(scores.dtype)
            probabilities = chosen
        books = quantizer.codevectors.view(quantizer.num_groups, quantizer.num_vars, -1)
        vectors = torch.einsum("mgv,gvd->mgd", chosen.to(books.dtype), books)
        return vectors.flatten(1), chosen.argmax(-1), probabilities

    def facts(self) -> dict[str, Any]:
        """See the base class: how many codes there are, which its perplexity is of."""
        return {"codes": self.quantizer.num_groups * self.quantizer.num_vars}

    def save(self, folder: Path) -> None:
        """Writes the checkpoint that transformers' pretraining model loads, and every encoder of ours starts from."""
        stock = AutoModelForPreTraining.from_config(self.config)
        encoder = self.encoder.backbone.state_dict()
        weights = {f"{stock.base_model_prefix}.{name}": values for name, values in encoder.items()}
        for part in ("quantizer", "project_hid", "project_q"):
            weights |= {f"{part}.{name}": values for name, values in getattr(self, part).state_dict().items()}
        take(stock, weights)
        stock.save_pretrained(folder)


def load_contrastive(
    config: PretrainedConfig,
    backbone: str | None,
    masking: Masking,
    temperature: GumbelTemperature | None = None,
    layerdrop: float = 0.0,
) -> ContrastivePretraining:
    """A model to pretrain, from a checkpoint or from scratch.

    Args:
        config: of the encoder.
        backbone: folder or Hub name of a checkpoint of it; what that lacks of the codebooks starts at random. None: all
            does.
        masking: see `ContrastivePretraining`, as the next.
        temperature: of the choice of codes.
        layerdrop: probability that a layer is skipped in training.

    Raises:
        InputError: the checkpoint can't be loaded, or transformers has no codebooks for such an encoder.
    """
    if config.model_type not in QUANTIZED:
        raise InputError(
            f"contrastive pretraining: transformers has no codebooks for {config.model_type}; take a backbone of "
            f"{' or '.join(QUANTIZED)}"
        )
    config = with_masks(config)
    if backbone is None:
        return ContrastivePretraining(AutoModelForPreTraining.from_config(config), masking, temperature, layerdrop)
    with naming(backbone):
        stock, report = AutoModelForPreTraining.from_pretrained(backbone, config=config, output_loading_info=True)
    prefix = f"{stock.base_model_prefix}."
    absent = {name for name in report["missing_keys"] if "masked_spec_embed" not in name}
    lost = sorted(name for name in absent if name.startswith(prefix))
    if lost:
        raise InputError(f"{backbone}: lacks {len(lost)} weights of its encoder, such as {lost[0]}: fetch it again")
    if absent:
        logger.warning("%s has no codebooks: they start at random, and take thousands of steps", backbone)
    return ContrastivePretraining(stock, masking, temperature, layerdrop)
