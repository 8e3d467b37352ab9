"""What `hf-speech embed` can be told, each with its meaning."""

from dataclasses import dataclass, field
from typing import Literal

from ..errors import InputError
from ..verification.options import EmbeddingOptions, meaning


@dataclass(frozen=True)
class RecordingOptions:
    """Which recordings, and how they are read."""

    split: str | None = meaning("the one split of a data set; none: all of them", None, "NAME")
    reader: str | None = meaning("reader of the data; none: by what lies there", None, "NAME")
    dataset_config: str | None = meaning("configuration of a data set with several", None, "NAME")
    columns: dict[str, str] = meaning("columns of ours = those of the data, such as id=utterance", {}, "OURS=THEIRS")
    audio_root: str | None = meaning("folder that paths in a table or list begin at; none: its own", None, "DIR")
    data_dir: str | None = meaning("where prepared corpora lie; none: $HF_SPEECH_DATA", None, "DIR")
    check_audio: Literal["full", "headers"] = meaning("what is looked at of every file before the work", "full")
    on_bad_audio: Literal["raise", "skip"] = meaning(
        "stop at recordings that can't be used, or leave them out", "raise"
    )

    def __post_init__(self) -> None:
        if self.on_bad_audio == "skip" and self.check_audio != "full":
            raise InputError("--on-bad-audio skip needs --check-audio full: headers do not show every bad file")


@dataclass(frozen=True)
class FeatureOptions:
    """Which features, and what is written."""

    layer: str | None = meaning(
        "features of layers: a number from 1, several such as 3,6,9, or all; none: the model's embeddings", None, "K"
    )
    pooling: Literal["none", "mean", "mean+std"] = meaning(
        "with --layer: frames, or a vector of their statistics", "none"
    )
    format: Literal["parquet", "kaldi"] = meaning("Parquet, or Kaldi's ark and scp", "parquet")
    part_minutes: float = meaning("with --layer: minutes of audio in a file; a kill costs no more than one", 20.0, "M")
    revision: str | None = meaning("branch, tag or commit of the model on the Hub", None, "REV")
    overwrite: bool = meaning("replace features of another model or data, or with other settings", False)

    def __post_init__(self) -> None:
        if not self.part_minutes > 0:
            raise InputError(f"--part-minutes is {self.part_minutes}; give minutes above 0")
        if self.layer is None and self.pooling != "none":
            raise InputError(f"--pooling {self.pooling} is of a layer's frames: give --layer too")


@dataclass(frozen=True)
class EmbedOptions:
    """All that `embed` can be told."""

    features: FeatureOptions = field(default_factory=FeatureOptions)
    recordings: RecordingOptions = field(default_factory=RecordingOptions)
    embedding: EmbeddingOptions = field(default_factory=EmbeddingOptions)

    def __post_init__(self) -> None:
        if self.features.layer is not None and self.embedding.embedding_cache is not None:
            raise InputError("--embedding-cache is of the model's embeddings: with --layer, leave it out")
