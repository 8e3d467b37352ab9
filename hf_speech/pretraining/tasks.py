"""What an encoder can learn before it is fine-tuned: for each objective its rows, its model and its batches.

contrastive   a hidden frame is told from others of its utterance (wav2vec 2.0); rows need no labels
clusters      of which clusters a hidden frame is (HuBERT, P-TAPT); rows need what `hf-speech cluster` has written
labels        the label of an utterance, in each of its frames and in all together (P-TAPT's first phase)
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from datasets import Dataset
from torch import Tensor

from ..data.checks import MIN_DURATION
from ..data.collator import SpeechCollator
from ..data.heard import in_both
from ..data.schema import Splits, add_columns, item_ids
from ..data.targets import class_weights
from ..errors import InputError, list_some
from ..models.configuration import SSL_BACKBONES
from ..models.encoder import Encoder
from ..training.arguments import target_rules
from ..training.config import RunConfig
from ..training.rows import RunRows, read_rows
from ..training.setup import collator_settings
from ..training.start import is_finished
from .collator import MaskedCollator
from .contrastive import QUANTIZED, load_contrastive
from .fields import masking_of, temperature_of
from .frame_labels import FrameLabels, fitted_on, read_frame_labels
from .labelled import LabelledFrames, VotesCollator
from .model import PretrainingModel, make_encoder, with_masks
from .prediction import MaskedPrediction, TargetCollator
from .rows import unlabelled_rows, without_tested
from .spans import Masking


class Objective(Protocol):
    """What can be learnt."""

    def check(self, config: RunConfig, model_type: str) -> None:
        """Refuses an encoder, or fields, that it is not for.

        Raises:
            InputError: so.
        """

    def rows(self, config: RunConfig, shortest: float, loaded: Splits | None = None) -> tuple[RunRows, Dataset | None]:
        """The rows that are learnt from, and those that are tested on, of which nothing may be heard.

        Args:
            config: of the run.
            shortest: seconds; shorter rows are left out.
            loaded: rows in the place of those that the config names.

        Raises:
            InputError: rows that can't be used.
        """

    def refuse_heard(self, config: RunConfig, tested: Dataset) -> None:
        """Refuses what was made beforehand of speech that is tested on.

        Raises:
            InputError: so.
        """

    def model(self, config: RunConfig, backbone: Any, rows: RunRows) -> PretrainingModel:
        """The model, as yet untrained.

        Args:
            config: of the run.
            backbone: configuration of the encoder.
            rows: that are learnt from.

        Raises:
            InputError: the checkpoint can't be loaded.
        """

    def collator(self, config: RunConfig, model: PretrainingModel, rows: RunRows, extractor: Any) -> SpeechCollator:
        """What makes batches of rows."""


class Unheard:
    """An objective of which nothing is made beforehand."""

    def refuse_heard(self, config: RunConfig, tested: Dataset) -> None:
        """See the base class."""


class Contrastive(Unheard):
    """See `contrastive.ContrastivePretraining`."""

    def check(self, config: RunConfig, model_type: str) -> None:
        """See the base class."""
        if model_type not in QUANTIZED:
            raise InputError(
                f"objective contrastive: transformers has no codebooks for {model_type}; take a backbone of "
                f"{' or '.join(QUANTIZED)}, or objective clusters"
            )
        if config.model.backbone is not None and is_finished(config.model.backbone):
            raise InputError(
                f"backbone {config.model.backbone}: is a finished classifier; give the encoder that it started from"
            )
        temperature_of(config)

    def rows(self, config: RunConfig, shortest: float, loaded: Splits | None = None) -> tuple[RunRows, Dataset | None]:
        """See the base class."""
        return unlabelled_rows(config.data, config.split, min_seconds=shortest, loaded=loaded)

    def model(self, config: RunConfig, backbone: Any, rows: RunRows) -> PretrainingModel:
        """See the base class."""
        drop = config.model.layerdrop or 0.0
        return load_contrastive(backbone, config.model.backbone, masking_of(config), temperature_of(config), drop)

    def collator(self, config: RunConfig, model: PretrainingModel, rows: RunRows, extractor: Any) -> SpeechCollator:
        """See the base class."""
        return MaskedCollator(*_masks(config, model, extractor), model.negatives, **_settings(config, model, extractor))


class Clusters(Unheard):
    """See `prediction.MaskedPrediction`."""

    def refuse_heard(self, config: RunConfig, tested: Dataset) -> None:
        """See the base class: clusters that were fitted on it."""
        folder = str(config.pretraining.clusters)
        both = in_both(tested, fitted_on(folder))
        if both:
            raise InputError(
                f"clusters {folder}: were fitted on {len(both)} recordings that are tested on, such as "
                f"{Path(both[0]).name}; fit them on the rows to learn from"
            )

    def check(self, config: RunConfig, model_type: str) -> None:
        """See the base class."""
        if model_type not in SSL_BACKBONES:
            raise InputError(
                f"objective clusters: frames of a {model_type} can't be hidden; take a backbone of one of these kinds: "
                f"{', '.join(SSL_BACKBONES)}"
            )
        if config.pretraining.clusters is None:
            raise InputError("objective clusters: give --clusters, the folder that `hf-speech cluster` has written")
        if config.batches.augment.get("speeds"):
            raise InputError("augment: at another speed the clusters of frames lie elsewhere; leave speeds out")
        read_frame_labels(config.pretraining.clusters)

    def rows(self, config: RunConfig, shortest: float, loaded: Splits | None = None) -> tuple[RunRows, Dataset | None]:
        """See the base class: with `labels_of`, what each is called among the labels."""
        rows, tested = unlabelled_rows(config.data, config.split, min_seconds=shortest, loaded=loaded)
        labels = read_frame_labels(str(config.pretraining.clusters))
        splits = {}
        for name, there in rows.splits.items():
            ids = item_ids(there, rows.root)
            absent = [one for one in ids if one not in labels]
            if absent:
                raise InputError(
                    f"{name}: {len(absent)} of {len(ids)} recordings have no labels in {config.pretraining.clusters}, "
                    f"such as {list_some(absent, 2)}; label them with `hf-speech cluster --codebook`"
                )
            splits[name] = add_columns(there, {"labels_of": ids})
        return replace(rows, splits=splits), tested

    def model(self, config: RunConfig, backbone: Any, rows: RunRows) -> PretrainingModel:
        """See the base class."""
        hiding = with_masks(backbone)
        labels = read_frame_labels(str(config.pretraining.clusters))
        return MaskedPrediction(hiding, _encoder(config, hiding), labels.counts, labels.largest())

    def collator(self, config: RunConfig, model: PretrainingModel, rows: RunRows, extractor: Any) -> SpeechCollator:
        """See the base class."""
        labels: FrameLabels = read_frame_labels(str(config.pretraining.clusters))
        rate = extractor.sampling_rate
        first, hop = model.encoder.frame_centre(0) / rate, model.encoder.hop / rate
        masks = _masks(config, model, extractor)
        collator = TargetCollator(labels, first, hop, *masks, **_settings(config, model, extractor))
        if "train" in rows.splits:
            collator.require_labels(rows.splits["train"])
        return collator


class Labels(Unheard):
    """See `labelled.LabelledFrames`."""

    def check(self, config: RunConfig, model_type: str) -> None:
        """See the base class."""
        rules = target_rules(config)
        if any(rule.kind != "single_label_classification" for rule in rules.values()):
            raise InputError("objective labels: is for one label a row")

    def rows(self, config: RunConfig, shortest: float, loaded: Splits | None = None) -> tuple[RunRows, Dataset | None]:
        """See the base class: with `labels`."""
        split = config.split
        if split.speaker_independent is None:  # it is not told here how well a label is known of other voices
            split = replace(split, speaker_independent=False)
        least = max(shortest, MIN_DURATION)
        rows = read_rows(config.data, split, target_rules(config), min_seconds=least, loaded=loaded)
        learned, tested = without_tested(rows.splits)
        for name, there in learned.items():
            votes = there.features.get("votes")
            if config.pretraining.soft_labels and not isinstance(votes, dict):
                raise InputError(
                    f"{name}: soft_labels need a column votes with a table {{label: number}} in each row, such as "
                    "a label JSON gives; leave soft_labels out"
                )
        return replace(rows, splits=learned), tested

    def model(self, config: RunConfig, backbone: Any, rows: RunRows) -> PretrainingModel:
        """See the base class."""
        labels = list(rows.splits["train"]["labels"])
        number = len(rows.names or [])
        given = config.head.class_weights
        if isinstance(given, list) and len(given) != number:
            raise InputError(f"class_weights has {len(given)} factors for {number} labels; give one for each")
        weights = class_weights(labels, number) if given == "balanced" else given
        most = max(Counter(labels).values()) / len(labels)
        return LabelledFrames(backbone, _encoder(config, backbone), number, weights, most)  # type: ignore[arg-type]

    def collator(self, config: RunConfig, model: PretrainingModel, rows: RunRows, extractor: Any) -> SpeechCollator:
        """See the base class."""
        settings = _settings(config, model, extractor)
        if config.pretraining.soft_labels:
            return VotesCollator(rows.names or [], extractor, **settings)
        return SpeechCollator(extractor, **settings)


def _encoder(config: RunConfig, backbone: Any) -> Encoder:
    arguments = config.model
    return make_encoder(backbone, arguments.backbone, arguments.layerdrop or 0.0, arguments.attn_implementation)


def least_samples(config: RunConfig, encoder: Encoder) -> int:
    """The shortest waveform that can be learnt from: of one frame, or of as many as some of can be hidden."""
    frames = 1 if config.pretraining.objective == "labels" else masking_of(config).min_frames
    return encoder.min_samples + (frames - 1) * encoder.hop


def _settings(config: RunConfig, model: PretrainingModel, extractor: Any) -> dict[str, Any]:
    return collator_settings(config, extractor, least_samples(config, model.encoder))


def _masks(
    config: RunConfig, model: PretrainingModel, extractor: Any
) -> tuple[Any, Masking, Callable[[Tensor], Tensor]]:
    """The feature extractor, the masks, and how many frames samples make."""
    return extractor, masking_of(config), partial(_frames, model.encoder.min_samples, model.encoder.hop)


def _frames(min_samples: int, hop: int, samples: Tensor) -> Tensor:
    return (samples - min_samples) // hop + 1


OBJECTIVES: dict[str, Objective] = {"contrastive": Contrastive(), "clusters": Clusters(), "labels": Labels()}
