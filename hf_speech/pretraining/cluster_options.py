"""What `hf-speech cluster` can be told, each with its meaning."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Literal

from ..errors import InputError
from ..layers import options as features
from ..training.config import DataArguments
from ..verification.options import channel_number, meaning

COUNTS = (64, 512, 4096)  # clusters; of P-TAPT's published script
MOST = 2**20  # clusters: more are neither fitted nor believed of a file
EPOCHS = 10


@dataclass(frozen=True)
class FitOptions:
    """What is clustered, and how."""

    layer: int | None = meaning(
        "of the encoder, from 1 up: 7 is the output of the seventh transformer layer", None, "N"
    )
    counts: list[int] = meaning(
        f"numbers of clusters, all in the same passes; none: {','.join(map(str, COUNTS))}, of a --codebook all it has",
        [],
        "K,K",
    )
    codebook: str | None = meaning("fit nothing: label with what an earlier `cluster` fitted", None, "DIR")
    apply: list[str] = meaning(
        "splits whose rows get labels, or all; none: those that were fitted on, of a --codebook all", [], "SPLIT,SPLIT"
    )
    sample_ratio: float = meaning("share of the frames of each recording that is fitted on", 1.0, "SHARE")
    epochs: int = meaning("times that these are gone over", EPOCHS, "N")
    seed: int = meaning("of the frames that are drawn, the first centroids, and the order of the batches", 0, "N")
    format: Literal["parquet", "json"] = meaning(
        "json: besides labels.parquet the files of FT-w2v2-ser, 64-clus.json ... and all-clus.json", "parquet"
    )
    overwrite: bool = meaning("replace what an earlier `cluster` wrote", False)

    def __post_init__(self) -> None:
        if self.codebook is None and self.layer is None:
            raise InputError("give --layer, a number from 1 up, or --codebook, a folder that `cluster` fitted")
        if self.counts and not (2 <= min(self.counts) and max(self.counts) <= MOST):
            raise InputError(
                f"--counts is {self.counts}; give numbers of clusters from 2 up to {MOST}, such as 64,512,4096"
            )
        if not 0 < self.sample_ratio <= 1:
            raise InputError(f"--sample-ratio is {self.sample_ratio}; give a share above 0, at most 1")
        if self.epochs < 1:
            raise InputError(f"--epochs is {self.epochs}; give 1 or more")
        if self.seed < 0:
            raise InputError(f"--seed is {self.seed}; give 0 or more")
        if self.codebook is not None:
            of_the_fit = ("sample_ratio", "epochs", "seed")
            refuse_of_the_fit([name for name in of_the_fit if getattr(self, name) != getattr(FitOptions, name)])


@dataclass(frozen=True)
class RecordingOptions(features.RecordingOptions):
    """Where the recordings are, and which of them count."""

    split: str = meaning("the split that is fitted on", "train", "NAME")
    only: str | None = meaning("rows that are used at all, such as session_id=1,2,3,4; none: all", None, "RULE")
    channel: str = meaning("channel of multi-channel files: an index from 0, or mean", "mean")

    @property
    def channel_number(self) -> int | str:
        """The channel, as readers take it."""
        return channel_number(self.channel)

    def arguments(self, dataset: str) -> DataArguments:
        """The same, as the fields of a run say it."""
        said = {name: value for name, value in asdict(self).items() if name not in ("split", "only")}
        return DataArguments(dataset=dataset, **{**said, "channel": self.channel_number})


@dataclass(frozen=True)
class PassOptions:
    """How the encoder is run."""

    chunk_seconds: float = meaning("longer recordings are heard in pieces", 30.0, "S")
    batch_seconds: float | None = meaning(
        "padded seconds in a batch; none: 60 on an accelerator, 20 on a CPU (transformers in bfloat16: 40)", None, "S"
    )
    dtype: Literal["float32", "bfloat16"] = meaning("precision", "float32")
    num_workers: int = meaning("processes that decode audio", 0, "N")
    revision: str | None = meaning("branch, tag or commit of the model on the Hub", None, "REV")

    def __post_init__(self) -> None:
        if not 0 < self.chunk_seconds < math.inf:
            raise InputError(f"--chunk-seconds is {self.chunk_seconds}; give seconds above 0")
        if self.batch_seconds is not None and not 0 <= self.batch_seconds < math.inf:
            raise InputError(f"--batch-seconds is {self.batch_seconds}; give seconds, or 0 for one recording at a time")
        if self.num_workers < 0:
            raise InputError(f"--num-workers is {self.num_workers}; give 0 or more")


@dataclass(frozen=True)
class ClusterOptions:
    """All that can be told, part by part."""

    fit: FitOptions
    recordings: RecordingOptions = field(default_factory=RecordingOptions)
    passing: PassOptions = field(default_factory=PassOptions)

    def __post_init__(self) -> None:
        if self.fit.codebook is not None and self.recordings.split != RecordingOptions.split:
            refuse_of_the_fit(["split"])


def refuse_of_the_fit(names: Sequence[str]) -> None:
    """Refuses what was said of a fit beside a codebook.

    Raises:
        InputError: something was.
    """
    if names:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in names)
        raise InputError(f"{flags}: with --codebook nothing is fitted, so this does nothing; leave it out")
