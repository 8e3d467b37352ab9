"""Margins on scaled cosines: the right class's score is lowered in training, so that classes come to lie further apart.

Each takes float32 scores (B, C), a scale times cosines, and labels (B,), and gives scores of the same shape.
"""

from math import cos, pi, sin

import torch
from torch import Tensor


def additive_margin(scores: Tensor, labels: Tensor, scale: float, margin: float) -> Tensor:
    """The right class's cosine less a margin: cos - m.

    Wang et al., "CosFace: Large Margin Cosine Loss for Deep Face Recognition", CVPR 2018, section 3.1.

    Args:
        scores: (B, C), scale * cosine.
        labels: (B,) class numbers.
        scale: of the cosines.
        margin: m, as a cosine.
    """
    own = scores.gather(1, labels[:, None])
    return scores.scatter(1, labels[:, None], own - scale * margin)


def additive_angular_margin(
    scores: Tensor, labels: Tensor, scale: float, margin: float, easy_margin: bool = False
) -> Tensor:
    """The cosine of the right class's angle plus a margin: cos(angle + m).

    Deng et al., "ArcFace: Additive Angular Margin Loss for Deep Face Recognition", CVPR 2019, section 3.1; the rest as
    in the authors' code. Beyond an angle of pi - m, where cos(angle + m) would rise again, it goes on as
    cos - m sin(pi - m). With the easy margin, angles beyond a right one have no margin.

    Args:
        scores: (B, C), scale * cosine.
        labels: (B,) class numbers.
        scale: of the cosines.
        margin: m, in radians.
        easy_margin: see above.
    """
    own = scores.gather(1, labels[:, None])
    cosines = own / scale
    # The scores stand outside the product, and are not scale * cosines: without a margin they come out as they were.
    shifted = own * cos(margin) - scale * sin(margin) * _sine(cosines)
    if easy_margin:
        shifted = torch.where(cosines > 0, shifted, own)
    else:
        shifted = torch.where(cosines > cos(pi - margin), shifted, own - scale * margin * sin(pi - margin))
    return scores.scatter(1, labels[:, None], shifted)


def annealed(margin: float, step: int | None) -> float:
    """A margin that grows to its full size over some hundred thousand optimiser steps.

    The score with margin and the score without are mixed as 1 : alpha (Liu et al., "Large-margin softmax loss", ICML
    2016), with alpha = 1000 / (1 + 1e-4 step)^2 (the code of India et al., "Double multi-head attention for speaker
    verification", ICASSP 2021). For an additive margin that is a margin of m / (1 + alpha).

    Args:
        margin: the full margin.
        step: optimiser steps so far; None: the full margin.
    """
    if step is None:
        return margin
    return margin / (1 + 1000 / (1 + 1e-4 * step) ** 2)


def warmed(margin: float, step: int | None, warmup_steps: float, total: int | None = None) -> float:
    """A margin that grows in a straight line from 0 over the first optimiser steps.

    Args:
        margin: the full margin.
        step: optimiser steps so far; None: the full margin.
        warmup_steps: steps until the margin is full; below 1 a share of the run.
        total: optimiser steps of the run; None: not told, and a share of it is nothing.
    """
    if warmup_steps < 1:
        warmup_steps *= total or 0
    if step is None or step >= warmup_steps:
        return margin
    return margin * step / warmup_steps


def _sine(cosines: Tensor) -> Tensor:
    # As a product, 1 - cos^2 keeps its digits near 1. At 0 the root has an infinite slope, which times 0 is NaN.
    square = (1 - cosines) * (1 + cosines)
    inside = square > 0
    return torch.where(inside, torch.where(inside, square, 1.0).sqrt(), 0.0)
