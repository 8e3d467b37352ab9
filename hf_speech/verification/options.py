"""What `hf-speech verify` can be told, each with its meaning."""

import math
from dataclasses import dataclass, field
from typing import Any, Literal

from ..errors import InputError


def meaning(text: str, default: Any = None, metavar: str | None = None) -> Any:
    """A field of options: what it is for, its default, and what stands for its value in the help."""
    metadata = {"help": text, "metavar": metavar}
    if isinstance(default, list | dict):
        return field(default_factory=default.copy, metadata=metadata)
    return field(default=default, metadata=metadata)


def channel_number(channel: str) -> int | str:
    """A channel that was typed, as readers take it: an index, or mean."""
    return int(channel) if channel.isdecimal() else channel


@dataclass(frozen=True)
class TrialOptions:
    """Which trials, and where their audio lies."""

    audio_root: str | None = meaning("folder that the names in the list begin at; none: that of the list", None, "DIR")
    impostors: str | None = meaning("pairs of two speakers, where TRIALS has those of one", None, "FILE")
    enrolment: str | None = meaning("models of several utterances: lines 'name utterance utterance ...'", None, "FILE")
    utterances: str | None = meaning(
        "who speaks in each: a csv or data set with speaker_id, and if known session_id and gender; none: as "
        "VoxCeleb's names say",
        None,
        "DATASET",
    )
    columns: dict[str, str] = meaning(
        "columns of ours = those of the data sets, such as speaker_id=speaker,session_id=session", {}, "OURS=THEIRS"
    )
    on_missing: Literal["raise", "skip"] = meaning("what to do with trials whose audio is missing or broken", "raise")


@dataclass(frozen=True)
class EmbeddingOptions:
    """How utterances become embeddings."""

    chunk_seconds: float | None = meaning(
        "cut longer utterances into pieces and average their embeddings; none: of 30 s; inf: whole", None, "S"
    )
    batch_seconds: float | None = meaning(
        "padded seconds in a batch; none: 60 on an accelerator, 20 on a CPU (transformers in bfloat16: 40)", None, "S"
    )
    dtype: Literal["float32", "bfloat16"] = meaning("precision", "float32")
    channel: str = meaning("channel of multi-channel files: an index from 0, or mean", "mean")
    embedding_cache: str | None = meaning(
        "folder where embeddings are kept between runs; none: a folder `embeddings` in the output", None, "DIR"
    )
    num_workers: int = meaning("processes that decode audio", 0, "N")

    @property
    def channel_number(self) -> int | str:
        """The channel, as readers take it."""
        return channel_number(self.channel)

    def __post_init__(self) -> None:
        if self.chunk_seconds is not None and not self.chunk_seconds > 0:
            raise InputError(f"--chunk-seconds is {self.chunk_seconds}; give seconds above 0, or inf")
        if self.batch_seconds is not None and not 0 <= self.batch_seconds < math.inf:
            raise InputError(f"--batch-seconds is {self.batch_seconds}; give seconds, or 0 for one utterance at a time")
        if self.num_workers < 0:
            raise InputError(f"--num-workers is {self.num_workers}; give 0 or more")


@dataclass(frozen=True)
class ScoringOptions:
    """How embeddings become scores."""

    background: str | None = meaning(
        "training recordings with speaker_id, that centring, LDA, whitening and PLDA are fitted on", None, "DATASET"
    )
    center: bool = meaning(
        "subtract the mean of the background, or of the cohort, before lengths are normalised", False
    )
    lda: int | None = meaning("dimensions that LDA keeps", None, "N")
    whiten: float | None = meaning("whiten within speakers; the share of the identity in the covariance", None, "SHARE")
    plda: bool = meaning("score by PLDA, and not by the cosine", False)
    score_norm: Literal["none", "s-norm", "as-norm"] = meaning("normalise scores against a cohort", "none")
    cohort: str | None = meaning("recordings of people who are in no trial; none: the background", None, "DATASET")
    cohort_of: Literal["speakers", "utterances"] = meaning(
        "what the cohort consists of: means, or recordings", "speakers"
    )
    cohort_columns: dict[str, str] = meaning(
        "the same as --columns, of background and cohort; none: as --columns", {}, "OURS=THEIRS"
    )
    top: int = meaning("of as-norm: how many of the cohort's scores count, the highest for each side", 300, "K")

    def __post_init__(self) -> None:
        self._check_numbers()
        fitted = {"lda": self.lda is not None, "whiten": self.whiten is not None, "plda": self.plda}
        for name, wanted in fitted.items():
            if wanted and self.background is None:
                raise InputError(f"--{name} is fitted on recordings of known speakers: give --background too")
        if self.cohort is None and self.background is None:
            for name, wanted in {"center": self.center, "score-norm": self.score_norm != "none"}.items():
                if wanted:
                    raise InputError(f"--{name} needs recordings of others: give --background or --cohort too")
        elif self.background is not None and not (self.center or any(fitted.values()) or self._norms_by(None)):
            raise InputError("--background is used by nothing: give --center, --lda, --whiten, --plda or --score-norm")
        if self.cohort is not None and self.score_norm == "none" and not (self.center and self.background is None):
            raise InputError("--cohort is used by nothing: give --score-norm s-norm or as-norm too")

    def _check_numbers(self) -> None:
        if self.lda is not None and self.lda < 1:
            raise InputError(f"--lda is {self.lda}; give 1 dimension or more")
        if self.whiten is not None and not 0 < self.whiten < math.inf:
            raise InputError(f"--whiten is {self.whiten}; give a share above 0")
        if self.top < 2:
            raise InputError(f"--top is {self.top}; give 2 or more")
        if self.top != ScoringOptions.top and self.score_norm != "as-norm":
            raise InputError("--top belongs to as-norm: give --score-norm as-norm too")
        if self.cohort_of != "speakers" and self.score_norm == "none":
            raise InputError("--cohort-of belongs to a score normalisation: give --score-norm too")
        if self.cohort_columns and self.cohort is None and self.background is None:
            raise InputError("--cohort-columns names columns of --cohort or --background: give one of them too")

    def _norms_by(self, cohort: str | None) -> bool:
        return self.score_norm != "none" and self.cohort == cohort


@dataclass(frozen=True)
class CalibrationOptions:
    """How scores become log-likelihood ratios."""

    calibrate: str | None = meaning(
        "fit a calibration: on a list of trials of other speakers, or `cross`: each trial's on those of other speakers",
        None,
        "LIST|cross",
    )
    qualities: list[str] = meaning(
        "measures of both sides that are weighed beside the score: log_duration, magnitude, cohort_mean",
        [],
        "NAME,NAME",
    )
    false_acceptance_rates: list[float] = meaning(
        "thresholds to find beside that at the EER: shares of non-targets that are accepted", [], "RATE,RATE"
    )
    calibration_prior: float = meaning("share of targets that the calibration is fitted for", 0.5, "P")
    no_kept: bool = meaning("score by the plain cosine, whatever the model keeps", False)
    keep: bool = meaning(
        "keep back end, calibration and thresholds with the model, for `verify MODEL A B`, `identify`, `predict`", False
    )

    def __post_init__(self) -> None:
        if not 0 < self.calibration_prior < 1:
            raise InputError(f"--calibration-prior is {self.calibration_prior}; give a probability between 0 and 1")
        for rate in self.false_acceptance_rates:
            if not 0 < rate < 1:
                raise InputError(f"--false-acceptance-rates: {rate} is no share between 0 and 1")
        if self.calibrate is None:
            given = {
                "qualities": self.qualities,
                "false-acceptance-rates": self.false_acceptance_rates,
                "keep": self.keep,
            }
            for name, value in given.items():
                if value:
                    raise InputError(f"--{name} belongs to a calibration: give --calibrate LIST, or --calibrate cross")


@dataclass(frozen=True)
class ReportOptions:
    """What is measured and drawn."""

    p_target: list[float] = meaning("prior probabilities of a target, of the detection costs", [0.01, 0.05], "P,P")
    map_method: Literal["auto", "tsne", "umap", "pca"] = meaning(
        "how embeddings are laid out in a picture; umap needs umap-learn", "auto"
    )
    seed: int = meaning("of the resamples of intervals, and of the map", 0)
    no_plots: bool = meaning("write no pictures", False)
    overwrite: bool = meaning("replace the results of an earlier run", False)

    def __post_init__(self) -> None:
        named = {f"{prior:g}" for prior in self.p_target}
        if not named or len(named) < len(self.p_target) or not all(0 < prior < 1 for prior in self.p_target):
            raise InputError(f"--p-target is {self.p_target}; give probabilities between 0 and 1, none twice")
        if self.seed < 0:
            raise InputError(f"--seed is {self.seed}; give 0 or more")
