"""One vector an utterance -> one number a label."""

from torch import Tensor, nn

from .configuration import HfSpeechConfig
from .registry import InputError


class LinearHead(nn.Module):
    """One affine map.

    Shape:
        (B, input_size) -> (B, num_labels)
    """

    def __init__(self, config: HfSpeechConfig, input_size: int) -> None:
        super().__init__()
        self.classifier = nn.Linear(input_size, config.num_labels)

    def forward(self, vectors: Tensor) -> Tensor:
        """See the class."""
        return self.classifier(vectors)


class ProjectorHead(LinearHead):
    """Two affine maps without anything between: the head of transformers' audio classifiers.

    There, the projector comes before mean pooling; a mean and an affine map can change places.

    Shape:
        (B, input_size) -> (B, num_labels)
    """

    def __init__(self, config: HfSpeechConfig, input_size: int) -> None:
        super().__init__(config, config.head_size)
        self.projector = nn.Linear(input_size, config.head_size)

    def forward(self, vectors: Tensor) -> Tensor:
        """See the class."""
        return self.classifier(self.projector(vectors))


class MLPHead(LinearHead):
    """Linear, ReLU, dropout, linear.

    Shape:
        (B, input_size) -> (B, num_labels)
    """

    def __init__(self, config: HfSpeechConfig, input_size: int) -> None:
        super().__init__(config, config.head_size)
        self.hidden = nn.Linear(input_size, config.head_size)
        self.activation = nn.ReLU()
        self.dropout = nn.Dropout(config.head_dropout)

    def forward(self, vectors: Tensor) -> Tensor:
        """See the class."""
        return self.classifier(self.dropout(self.activation(self.hidden(vectors))))


class BatchNormHead(MLPHead):
    """Linear, batch norm, ReLU, dropout, linear.

    Batch norm: Ioffe & Szegedy, ICML 2015. In training it needs two utterances or more in a batch.

    Shape:
        (B, input_size) -> (B, num_labels)
    """

    def __init__(self, config: HfSpeechConfig, input_size: int) -> None:
        super().__init__(config, input_size)
        self.norm = nn.BatchNorm1d(config.head_size)

    def forward(self, vectors: Tensor) -> Tensor:
        """See the class.

        Raises:
            InputError: a batch of one in training: it has no variance.
        """
        if self.norm.training and vectors.shape[0] < 2:
            raise InputError("head 'batchnorm' can't train on a batch of one: use a larger batch, or head 'mlp'")
        return self.classifier(self.dropout(self.activation(self.norm(self.hidden(vectors)))))


HEADS = {
    "linear": LinearHead,
    "projector": ProjectorHead,
    "mlp": MLPHead,
    "batchnorm": BatchNormHead,
}
