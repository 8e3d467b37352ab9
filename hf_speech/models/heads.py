"""One vector an utterance -> scores: what the loss acts on. `logits` makes of them what the user sees."""

from math import inf, log
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import initialization as init

from .batchnorm import VectorBatchNorm1d
from .registry import InputError

# Problem types, as transformers names them.
SINGLE_LABEL = "single_label_classification"
MULTI_LABEL = "multi_label_classification"
REGRESSION = "regression"

MOST_VALUES = 10_000  # of a distribution head
SHORTEST = 1e-6  # a shorter vector has no direction: its cosines are 0, and so is its gradient


class Head(nn.Module):
    """Base of the heads: `(vectors (B, input_size)) -> scores (B, S)`.

    Args:
        input_size: dimensions of the vector.
        num_labels: classes; 1 for a regression.

    Attributes:
        problem_types: what it can serve.
        in_units: whether `logits` gives the regression target in its own unit; else it is standardised.
        scale: factor on the cosines in the scores; 1 where the scores are no cosines.
        bins: lowest and highest value and step of the distribution that the scores are about, where they are.
    """

    problem_types: ClassVar[tuple[str, ...]] = (SINGLE_LABEL, MULTI_LABEL, REGRESSION)
    in_units: ClassVar[bool] = False
    scale: float = 1.0
    bins: tuple[float, float, float] | None = None

    def __init__(self, input_size: int, num_labels: int) -> None:
        super().__init__()

    def logits(self, scores: Tensor) -> Tensor:
        """What users see: (B, S) -> (B, num_labels); the softmax of it gives the probabilities of classes."""
        return scores


class LinearHead(Head):
    """One affine map.

    Shape:
        (B, input_size) -> (B, num_labels)
    """

    def __init__(self, input_size: int, num_labels: int) -> None:
        super().__init__(input_size, num_labels)
        self.classifier = nn.Linear(input_size, num_labels)

    def forward(self, vectors: Tensor) -> Tensor:
        """See the class."""
        return self.classifier(vectors)


class ProjectorHead(Head):
    """Two affine maps without anything between: the head of transformers' audio classifiers.

    There, the projector comes before mean pooling; a mean and an affine map can change places.

    Args:
        input_size: dimensions of the vector.
        num_labels: classes.
        size: dimensions between the maps.

    Shape:
        (B, input_size) -> (B, num_labels)
    """

    def __init__(self, input_size: int, num_labels: int, *, size: int = 256) -> None:
        super().__init__(input_size, num_labels)
        _check_size(size, "head 'projector': size")
        self.projector = nn.Linear(input_size, size)
        self.classifier = nn.Linear(size, num_labels)

    def forward(self, vectors: Tensor) -> Tensor:
        """See the class."""
        return self.classifier(self.projector(vectors))


class TanhHead(Head):
    """Linear, tanh, linear: the head of Chen & Rudnicky's pre-training on emotion, ICASSP 2023, in its code.

    Args:
        input_size: dimensions of the vector.
        num_labels: classes.
        size: dimensions of the hidden layer.

    Shape:
        (B, input_size) -> (B, num_labels)
    """

    def __init__(self, input_size: int, num_labels: int, *, size: int = 128) -> None:
        super().__init__(input_size, num_labels)
        _check_size(size, "head 'tanh': size")
        self.hidden = nn.Linear(input_size, size)
        self.classifier = nn.Linear(size, num_labels)

    def forward(self, vectors: Tensor) -> Tensor:
        """See the class."""
        return self.classifier(self.hidden(vectors).tanh())


class MLPHead(Head):
    """Linear, ReLU, dropout, linear.

    Args:
        input_size: dimensions of the vector.
        num_labels: classes.
        size: dimensions of the hidden layer.
        dropout: probability, before the last layer.

    Shape:
        (B, input_size) -> (B, num_labels)
    """

    def __init__(self, input_size: int, num_labels: int, *, size: int = 256, dropout: float = 0.1) -> None:
        super().__init__(input_size, num_labels)
        _check_size(size, "head 'mlp' or 'batchnorm': size")
        _check_dropout(dropout, "head 'mlp' or 'batchnorm'")
        self.hidden = nn.Linear(input_size, size)
        self.activation = nn.ReLU()
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(size, num_labels)

    def forward(self, vectors: Tensor) -> Tensor:
        """See the class."""
        return self.classifier(self.dropout(self.activation(self.hidden(vectors))))


class BatchNormHead(MLPHead):
    """Linear, batch norm, ReLU, dropout, linear.

    Batch norm: Ioffe & Szegedy, ICML 2015. In training it needs two utterances or more in a batch.

    Args:
        input_size: dimensions of the vector.
        num_labels: classes.
        size: dimensions of the hidden layer.
        dropout: probability, before the last layer.

    Shape:
        (B, input_size) -> (B, num_labels)

    Raises:
        InputError: a batch of one in training: it has no variance.
    """

    def __init__(self, input_size: int, num_labels: int, *, size: int = 256, dropout: float = 0.1) -> None:
        super().__init__(input_size, num_labels, size=size, dropout=dropout)
        self.norm = VectorBatchNorm1d(size, "head 'batchnorm'", "head 'mlp'")

    def forward(self, vectors: Tensor) -> Tensor:
        """See the class."""
        return self.classifier(self.dropout(self.activation(self.norm(self.hidden(vectors)))))


class CosineHead(Head):
    """Scaled cosines between the vector and one or more learned centres a class; float32 whatever the input.

    Wang et al., "CosFace", CVPR 2018, section 3.1; with several centres a class the nearest one counts: Deng et al.,
    "Sub-center ArcFace", ECCV 2020, section 3.2. A margin is the loss's affair.

    Args:
        input_size: dimensions of the vector.
        num_labels: classes.
        scale: factor on the cosines.
        sub_centers: centres a class.
        affine: whether an affine map stands before the cosines, as in double multi-head attention (India et al.,
            2007.13199, section 3); the embedding is what goes into it.
        dropout: probability, of the vector.

    Shape:
        (B, input_size) -> (B, num_labels), from -scale to scale
    """

    problem_types = (SINGLE_LABEL,)

    def __init__(
        self,
        input_size: int,
        num_labels: int,
        *,
        scale: float = 30.0,
        sub_centers: int = 1,
        affine: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(input_size, num_labels)
        _check_dropout(dropout, "head 'cosine'")
        _check_size(sub_centers, "head 'cosine': sub_centers")
        if not scale > 0:
            raise InputError(f"head 'cosine': scale is {scale}; give a number above 0")
        self.scale = float(scale)
        self.sub_centers = sub_centers
        self.dropout = nn.Dropout(dropout)
        self.affine = nn.Linear(input_size, input_size) if affine else None
        self.weight = nn.Parameter(torch.empty(num_labels * sub_centers, input_size))  # a class's centres in a row
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws the centres: normal, so that all directions are as likely."""
        init.xavier_normal_(self.weight)

    def forward(self, vectors: Tensor) -> Tensor:
        """See the class."""
        vectors = self.dropout(vectors)
        if self.affine is not None:
            vectors = self.affine(vectors)
        with torch.autocast(device_type=vectors.device.type, enabled=False):
            cosines = F.linear(_unit(vectors.float()), _unit(self.weight.float()))
        if self.sub_centers > 1:
            cosines = cosines.unflatten(-1, (-1, self.sub_centers)).amax(-1)
        return self.scale * cosines


class OrdinalHead(Head):
    """Ordered classes: one number an utterance against a threshold between each class and the next (CORAL).

    Cao, Mirjalili & Raschka, "Rank consistent ordinal regression", Pattern Recognition Letters 2020, section 3.2:
    P(y > k) = sigmoid(w x + b_k) for k = 0 .. C - 2. There, the order of the biases comes out of the training; here it
    holds by construction, b_k = b_0 - softplus(d_1) - ... - softplus(d_k), so that classes always have probabilities.
    At the start all classes are as likely, but for w. The paper predicts the median of the distribution; the class with
    the highest score is its mode.

    Args:
        input_size: dimensions of the vector.
        num_labels: C, 2 or more.

    Shape:
        (B, input_size) -> (B, C), logarithms of the classes' probabilities, float32

    Raises:
        InputError: fewer than two classes.
    """

    problem_types = (SINGLE_LABEL,)

    def __init__(self, input_size: int, num_labels: int) -> None:
        super().__init__(input_size, num_labels)
        if num_labels < 2:
            raise InputError(f"head 'ordinal' needs at least 2 classes, but num_labels is {num_labels}")
        self.classifier = nn.Linear(input_size, 1, bias=False)
        self.bias = nn.Parameter(torch.empty(num_labels - 1))  # b_0, d_1 .. d_{C-2}; a bias by name: no weight decay
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Sets b_k = log((C - 1 - k) / (k + 1)), where all classes are as likely."""
        count = len(self.bias) + 1
        steps = [log(count / (k * (count - 1 - k))) for k in range(1, count - 1)]
        init.copy_(self.bias, torch.tensor([log(count - 1), *steps]))

    def biases(self) -> Tensor:
        """b_0 > b_1 > ...: (C - 1,)."""
        start, steps = self.bias.float()[:1], F.softplus(self.bias.float()[1:])
        return torch.cat([start, start - steps.cumsum(0)])

    def forward(self, vectors: Tensor) -> Tensor:
        """See the class."""
        heights = self.classifier(vectors).float() + self.biases()  # (B, C - 1), falling
        above, below = F.logsigmoid(heights), F.logsigmoid(-heights)
        # sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - exp(b - a)), and 1 - exp(-softplus(d)) = sigmoid(d)
        between = above[:, :-1] + below[:, 1:] + F.logsigmoid(self.bias.float()[1:])
        return torch.cat([below[:, :1], between, above[:, -1:]], dim=-1)


class DistributionHead(Head):
    """A distribution over equally spaced values of a number, such as the years of an age; its mean is the prediction.

    Gao et al., "Age estimation using expectation of label distribution learning" (DLDL-v2), IJCAI 2018, section 3.

    Args:
        input_size: dimensions of the vector.
        num_labels: 1.
        low: the lowest value, in the target's own unit.
        high: the highest value.
        step: between one value and the next.

    Shape:
        (B, input_size) -> (B, values), logits of the distribution

    Raises:
        InputError: the values do not go from low to high in whole steps, or there are several labels.
    """

    problem_types = (REGRESSION,)
    in_units = True
    bins: tuple[float, float, float]

    def __init__(
        self, input_size: int, num_labels: int, *, low: float = 0.0, high: float = 100.0, step: float = 1.0
    ) -> None:
        super().__init__(input_size, num_labels)
        if num_labels != 1:
            raise InputError(f"head 'distribution' predicts one number, but num_labels is {num_labels}")
        where = f"head 'distribution': low {low!r}, high {high!r}, step {step!r}"
        if not (step > 0 and 0 < high - low < inf):
            raise InputError(f"{where}; give numbers with low < high and step > 0")
        steps = (high - low) / step
        if not steps < MOST_VALUES:
            raise InputError(f"{where}; give a step that makes at most {MOST_VALUES:,} values from low to high")
        if abs(steps - round(steps)) > 1e-6:
            raise InputError(f"{where}; give a whole number of steps from low to high")
        self.bins = (float(low), float(high), float(step))
        self.classifier = nn.Linear(input_size, round(steps) + 1)

    def forward(self, vectors: Tensor) -> Tensor:
        """See the class."""
        return self.classifier(vectors)

    def logits(self, scores: Tensor) -> Tensor:
        """The mean of the distribution, in the target's own unit: (B, values) -> (B, 1) float32."""
        return expectation(scores, self.bins)[:, None]


def bin_values(bins: tuple[float, float, float], count: int, device: torch.device) -> Tensor:
    """The values from low to high: (count,) float32."""
    low, _, step = bins
    return low + step * torch.arange(count, dtype=torch.float32, device=device)


def expectation(scores: Tensor, bins: tuple[float, float, float]) -> Tensor:
    """The mean of the distribution over bins whose logits are the scores: (B, values) -> (B,) float32."""
    return (scores.float().softmax(-1) * bin_values(bins, scores.shape[-1], scores.device)).sum(-1)


def _check_dropout(dropout: float, where: str) -> None:
    if not 0 <= dropout < 1:
        raise InputError(f"{where}: dropout is {dropout!r}; give a number from 0 to below 1")


def _check_size(value: int, what: str) -> None:
    """Raises InputError if the value is below 1."""
    if value < 1:
        raise InputError(f"{what} is {value!r}; give a whole number of 1 or more")


def _unit(vectors: Tensor) -> Tensor:
    norms = vectors.norm(dim=-1, keepdim=True)
    return vectors / norms.masked_fill(norms < SHORTEST, inf)


HEADS: dict[str, type[Head]] = {
    "linear": LinearHead,
    "projector": ProjectorHead,
    "tanh": TanhHead,
    "mlp": MLPHead,
    "batchnorm": BatchNormHead,
    "cosine": CosineHead,
    "ordinal": OrdinalHead,
    "distribution": DistributionHead,
}
