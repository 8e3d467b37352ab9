"""What is learnt of unlabelled speech: to tell a hidden frame from others, with codes that are all used."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Contrast(NamedTuple):
    """Of M hidden frames.

    Attributes:
        loss: the mean cross-entropy.
        correct: (M,) bool, which were told from all their distractors.
        chance: the share that guessing would tell: a frame with n distractors left is told by one guess in n + 1.
    """

    loss: Tensor
    correct: Tensor
    chance: Tensor


def contrastive_loss(
    predicted: Tensor, targets: Tensor, codes: Tensor, negatives: Tensor, temperature: float
) -> Contrast:
    """How well hidden frames are told from others of their utterance, by the cosine.

    Baevski et al., "wav2vec 2.0" (2020), section 3.2, equation 3. A distractor with the code of the true one is left
    out, as it can't be told from it. The mean is taken in float32, so no sum of a large batch overflows in 16 bits; the
    original sums, and divides the gradient by the hidden frames of all.

    Args:
        predicted: (M, D), what the encoder makes of hidden frames.
        targets: (M, D), the quantised features that stood there.
        codes: (M, ...), what the targets were made of; equal ones are one code.
        negatives: (M, N), which of the M targets are the distractors.
        temperature: that divides the cosines.

    Returns:
        A frame whose distractors all have its own code is not told from anything: it counts as wrong, so that a
        collapsed codebook does not look like a perfect one.
    """
    with torch.autocast(predicted.device.type, enabled=False):  # it would multiply in 16 bits, whatever the factors are
        cosines = F.normalize(predicted.float(), dim=-1) @ F.normalize(targets.float(), dim=-1).T
    same = torch.unique(codes.detach().flatten(1), dim=0, return_inverse=True)[1]
    own = cosines.diagonal()[:, None]
    others = cosines.gather(1, negatives).masked_fill(same[negatives] == same[:, None], -torch.inf)
    logits = torch.cat([own, others], dim=1) / temperature
    loss = -logits.log_softmax(dim=1)[:, 0].mean()
    best = others.amax(dim=1)
    chance = 1 / (1 + others.isfinite().sum(dim=1))
    return Contrast(loss, (own[:, 0] > best) & best.isfinite(), chance.mean())


def perplexity(probabilities: Tensor) -> Tensor:
    """How many codes of each codebook are in use: the exponential of the entropy of their mean, summed over codebooks.

    Args:
        probabilities: (M, G, V), of each hidden frame and codebook those of its V codes.

    Returns:
        From G (one code each) to G * V (all alike often).
    """
    return perplexity_of(probabilities.float().mean(dim=0))


def perplexity_of(use: Tensor) -> Tensor:
    """The same of mean probabilities, (G, V)."""
    # The logarithm of 0 has no gradient: one code that is never likely would make that of its whole book NaN.
    logarithms = torch.xlogy(use, use.clamp_min(torch.finfo(use.dtype).tiny))
    return (-logarithms.sum(dim=-1)).exp().sum()


def diversity_loss(used: Tensor, codes: int) -> Tensor:
    """The share of codes that are not in use, by their perplexity: 0 where all are alike often.

    Baevski et al. (2020), section 3.2, equation 4, in the form of their code, which takes the perplexity in place of
    the entropy.

    Args:
        used: see `perplexity`.
        codes: G * V.
    """
    return (codes - used) / codes
