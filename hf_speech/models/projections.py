"""Pooled vector -> embedding."""

from torch import Tensor, nn

from .batchnorm import VectorBatchNorm1d
from .registry import InputError


class Projection(nn.Module):
    """Base of the projections: `(B, input_size) -> (B, output_size)`.

    Args:
        size: dimensions of the embedding.

    Attributes:
        output_size: the same.

    Raises:
        InputError: a size below 1.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        if size < 1:
            raise InputError(f"projection: size is {size!r}; give a whole number of 1 or more")
        self.output_size = size


class NoProjection(Projection):
    """The pooled vector is the embedding.

    Shape:
        (B, input_size) -> (B, input_size)
    """

    def __init__(self, input_size: int) -> None:
        super().__init__(input_size)

    def forward(self, vectors: Tensor) -> Tensor:
        """See the class."""
        return vectors


class LinearProjection(Projection):
    """One affine map: the layer of the x-vector network whose output is the embedding.

    Snyder et al., "X-vectors", ICASSP 2018, section 2.1, segment6.

    Args:
        input_size: dimensions of the pooled vector.
        size: dimensions of the embedding.

    Shape:
        (B, input_size) -> (B, size)
    """

    def __init__(self, input_size: int, *, size: int = 512) -> None:
        super().__init__(size)
        self.linear = nn.Linear(input_size, size)

    def forward(self, vectors: Tensor) -> Tensor:
        """See the class."""
        return self.linear(vectors)


class BatchNormLinearProjection(Projection):
    """Batch norm of the pooled vector, then an affine map: ECAPA-TDNN's, as SpeechBrain has it.

    Desplanques et al., "ECAPA-TDNN", Interspeech 2020, figure 2. In training it needs two utterances or more.

    Args:
        input_size: dimensions of the pooled vector.
        size: dimensions of the embedding.

    Shape:
        (B, input_size) -> (B, size)
    """

    def __init__(self, input_size: int, *, size: int = 192) -> None:
        super().__init__(size)
        self.norm = VectorBatchNorm1d(input_size, "projection 'batchnorm+linear'", "projection 'linear'")
        self.linear = nn.Linear(input_size, size)

    def forward(self, vectors: Tensor) -> Tensor:
        """See the class."""
        return self.linear(self.norm(vectors))


class LinearBatchNormProjection(Projection):
    """An affine map, then batch norm: each dimension of the embedding has mean 0 over the training rows.

    In training it needs two utterances or more.

    Args:
        input_size: dimensions of the pooled vector.
        size: dimensions of the embedding.

    Shape:
        (B, input_size) -> (B, size)
    """

    def __init__(self, input_size: int, *, size: int = 192) -> None:
        super().__init__(size)
        self.linear = nn.Linear(input_size, size)
        self.norm = VectorBatchNorm1d(size, "projection 'linear+batchnorm'", "projection 'linear'")

    def forward(self, vectors: Tensor) -> Tensor:
        """See the class."""
        return self.norm(self.linear(vectors))


class DoubleAttentionProjection(Projection):
    """The two hidden layers behind double multi-head attention; the second one's output is the embedding.

    India et al., "Double Multi-Head Attention", 2007.13199, section 3: each layer is an affine map, batch norm and
    ReLU. The linear layer that they put before the margin loss is not part of the embedding, and so not of this. In
    training it needs two utterances or more.

    Args:
        input_size: dimensions of the pooled vector.
        size: dimensions of both layers.
        dropout: after each ReLU; 0.5 in the authors' age classifier, 0 in the paper.
        as_in: "paper", or "code" for weights trained with what its authors published: ReLU after both affine maps, and
            one batch norm at the end.

    Shape:
        (B, input_size) -> (B, size)

    Raises:
        InputError: a value that can't be.
    """

    def __init__(self, input_size: int, *, size: int = 400, dropout: float = 0.0, as_in: str = "paper") -> None:
        super().__init__(size)
        if not 0 <= dropout < 1:
            raise InputError(f"projection 'dmha': dropout is {dropout}; give a number from 0 to below 1")
        if as_in not in ("paper", "code"):
            raise InputError(f"projection 'dmha': as_in is {as_in!r}; valid: code, paper")
        self.hidden, self.linear = nn.Linear(input_size, size), nn.Linear(size, size)
        norms = [VectorBatchNorm1d(size, "projection 'dmha'", "projection 'linear'") for _ in range(2)]
        self.hidden_norm = norms[0] if as_in == "paper" else None
        self.norm = norms[1]
        self.dropout = nn.Dropout(dropout)

    def forward(self, vectors: Tensor) -> Tensor:
        """See the class."""
        if self.hidden_norm is None:
            hidden = self.dropout(self.hidden(vectors).relu())
            return self.norm(self.dropout(self.linear(hidden).relu()))
        hidden = self.dropout(self.hidden_norm(self.hidden(vectors)).relu())
        return self.dropout(self.norm(self.linear(hidden)).relu())


PROJECTIONS: dict[str, type[Projection]] = {
    "none": NoProjection,
    "linear": LinearProjection,
    "batchnorm+linear": BatchNormLinearProjection,
    "linear+batchnorm": LinearBatchNormProjection,
    "dmha": DoubleAttentionProjection,
}
