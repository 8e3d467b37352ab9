"""A frozen encoder is run once: what it says of each utterance is kept, and every epoch, fold and run trains on that.

What is kept is what reaches the first part that is trained, or random: the pooled vector of an utterance, else its
frames, else its frames of all layers. The model that is trained then has a stand-in for its encoder, which takes these
in the place of waveforms; batches, their order, and all that lies above are as they would be without. The numbers are
those of float32, whatever precision the rest is trained in.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from tqdm import tqdm

from ..audio import SAMPLE_RATE
from ..data.chunks import Chunk, chunk_rows
from ..data.frozen import entry_names, with_places
from ..data.pieces import Pieces, moved
from ..errors import InputError, list_some
from ..memory import kept_memory
from ..models.embedding import evaluating
from ..models.encoder import Encoder
from ..models.frames import length_batches
from ..models.pooling import POOLINGS
from ..outcome import padded_seconds
from ..ranks import local_device
from ..store import ENTRY_BYTES, Store, in_megabytes
from .arguments import model_settings
from .build import augmentation_of
from .config import RunConfig
from .frozen_model import boundary_of, identity, stand_in
from .rows import RunRows

logger = logging.getLogger(__name__)


def check_frozen(config: RunConfig) -> None:
    """Refuses a run whose encoder learns, or hears something else each time.

    Raises:
        InputError: the field by which it does, and the mend.
    """
    for reason, holds in {**_what_learns(config), **_what_varies(config)}.items():
        if holds:
            raise InputError(f"frozen_cache: {reason}, or leave frozen_cache out")


def _what_learns(config: RunConfig) -> dict[str, Any]:
    """Why an encoder is not frozen -> whether that is so; the first one that is decides."""
    learning, pooling = config.learning, model_settings(config).get("pooling")
    instead = "give freeze backbone in its place"
    changes = learning.freeze != "backbone"
    token = getattr(POOLINGS.get(str(pooling)), "token", None)
    return {
        "lora trains within the encoder; leave it out": config.model.lora,
        f"freeze_steps lets the encoder train after a while; {instead}": changes and learning.freeze_steps,
        f"unfreeze_every lets the encoder train after a while; {instead}": changes and learning.unfreeze_every,
        f"freeze_layers lets the layers above train; {instead}": changes and learning.freeze_layers,
        f"freeze is {learning.freeze}, so the encoder is trained; give freeze backbone": changes,
        f"pooling {pooling} trains a token that enters the encoder; give another": token == "learned",
        "activation_checkpointing is for an encoder that is trained; leave it out": any(
            config.training.get(name) for name in ("activation_checkpointing", "gradient_checkpointing")
        ),
    }


def _what_varies(config: RunConfig) -> dict[str, Any]:
    """Why an utterance is not the same each time -> whether that is so."""
    return {
        "streaming leaves open which rows there are; leave it out": config.data.streaming,
        "crop_seconds draws another piece of an utterance each time; leave it out": config.batches.crop_seconds,
        "augment changes the audio each time; leave it out": augmentation_of(config),
    }


def run_once(config: RunConfig, rows: RunRows, model: Any, extractor: Any) -> RunRows:
    """Runs the encoder over all utterances of which it has not said anything yet, and puts a stand-in in its place.

    Args:
        config: of the run.
        rows: its rows.
        model: its model, which is changed; see `frozen_model.put_back`.
        extractor: its feature extractor.

    Returns:
        The rows, which say where it lies, see `data.frozen`.

    Raises:
        InputError: no room on the disk, a folder that can't be used, or something in the encoder is trained.
    """
    model.freeze("backbone")
    speech = model.base_model
    _require_frozen(speech.frame_encoder)
    kind = boundary_of(speech)
    name = config.model.backbone or speech.config.backbone_config.model_type
    cache = Path(str(config.batches.frozen_cache))
    store = Store(cache, identity(speech, extractor, kind), name, option="frozen_cache")
    parts = _parts(config, rows)
    wanted = {name for part in parts.values() for name in part.names}
    found = store.places(wanted)
    if wanted <= found.keys():
        logger.info("%s has what the encoder says of all utterances", store.folder)
    else:
        with store.alone():
            missing = _pieces_of(parts, wanted - store.places(wanted).keys())
            if missing:
                _Pass(config, speech, extractor, kind).add(missing, store)
        found = store.places(wanted)
    stand_in(speech, kind, store.key)
    splits = {split: with_places(part.rows, part.by_row(found)) for split, part in parts.items()}
    return replace(rows, splits={**rows.splits, **splits})


def _require_frozen(encoder: Encoder) -> None:
    learns = [name for name, p in encoder.named_parameters() if p.requires_grad and not name.startswith("layer_mix.")]
    if learns:
        raise InputError(f"frozen_cache: {list_some(learns, 3)} of the encoder is trained; leave frozen_cache out")


@dataclass(frozen=True)
class _Part:
    """The rows of a split, in the pieces in which a model hears them, and the names of these."""

    rows: Dataset
    pieces: list[Chunk]
    names: list[str]

    def by_row(self, found: Mapping[str, dict[str, str]]) -> list[list[dict[str, str]]]:
        """Where each piece of each row lies."""
        places: list[list[dict[str, str]]] = [[] for _ in range(len(self.rows))]
        for piece, name in zip(self.pieces, self.names, strict=True):
            places[piece.row].append(found[name])
        return places


def _parts(config: RunConfig, rows: RunRows) -> dict[str, _Part]:
    """Training rows whole, as they are trained on; the others in pieces, as they are evaluated."""
    parts = {}
    for split, there in rows.splits.items():
        longest = max(there["length"]) / SAMPLE_RATE + 1.0
        pieces = chunk_rows(there, longest if split == "train" else config.batches.max_seconds)
        parts[split] = _Part(there, pieces, entry_names(there, pieces, config.data.channel))
    return parts


def _pieces_of(parts: Mapping[str, _Part], names: set[str]) -> dict[str, tuple[Dataset, Chunk]]:
    """The pieces with these names, each once, as rows with their audio."""
    pieces: dict[str, tuple[Dataset, Chunk]] = {}
    for part in parts.values():
        heard = part.rows.select_columns([c for c in ("audio", "channel") if c in part.rows.column_names])
        pieces |= {name: (heard, piece) for piece, name in zip(part.pieces, part.names, strict=True) if name in names}
    return pieces


class _Pass:
    """One pass of an encoder over utterances.

    Args:
        config: of the run.
        speech: the `HfSpeechModel`.
        extractor: its feature extractor.
        kind: what is kept, see `frozen_model.boundary_of`.
    """

    def __init__(self, config: RunConfig, speech: Any, extractor: Any, kind: str) -> None:
        self.speech, self.extractor, self.kind = speech, extractor, kind
        self.channel, self.workers = config.data.channel, config.training.get("dataloader_num_workers", 0)
        self.device = torch.device("cpu") if config.training.get("use_cpu") else local_device()

    def add(self, pieces: Mapping[str, tuple[Dataset, Chunk]], store: Store) -> None:
        """Keeps what the encoder says of pieces, by name.

        Raises:
            InputError: there is no room for it, or audio that can't be used.
        """
        lengths = [piece.length for _, piece in pieces.values()]
        size = self.bytes_of(lengths)
        told = "the encoder is run once, over %d utterances, %.0f s; what it says (%s) takes about %s in %s"
        logger.info(told, len(pieces), sum(lengths) / SAMPLE_RATE, self.kind, in_megabytes(size), store.folder)
        store.require_room(size)
        self.speech.to(self.device)
        with store.adding() as keep, kept_memory(self.device):
            budget = padded_seconds(None, self.device) * SAMPLE_RATE
            for said in self._said(pieces, length_batches(lengths, budget)):
                keep(said)
        self.speech.to("cpu")

    def bytes_of(self, lengths: Sequence[int]) -> int:
        """What is kept of utterances of so many samples at 16 kHz takes at most, and nearly, so many bytes."""
        encoder = self.speech.frame_encoder
        if self.kind == "pooled":
            numbers = len(lengths) * self.speech.pooling.output_size
        else:
            # Padded at its ends, an utterance may have a frame more; a class token is one.
            hop = encoder.hop * SAMPLE_RATE / self.extractor.sampling_rate
            frames = sum(int(length / hop) + 2 for length in lengths)
            numbers = frames * encoder.output_size * (encoder.depth + 1 if self.kind == "layers" else 1)
        return 4 * numbers + ENTRY_BYTES * len(lengths)

    def _said(
        self, pieces: Mapping[str, tuple[Dataset, Chunk]], batches: Sequence[Sequence[int]]
    ) -> Iterator[dict[str, Tensor]]:
        """What is kept of each batch, by name."""
        names = list(pieces)
        loader = Pieces(list(pieces.values())).batches(
            batches,
            self.extractor,
            channel=self.channel,
            min_samples=self.speech.frame_encoder.min_samples,
            device=self.device,
            workers=self.workers,
        )
        shown = tqdm(loader, desc="running the encoder", disable=None, leave=False)
        for batch, tensors in zip(batches, shown, strict=True):
            with evaluating(self.speech), torch.no_grad():
                kept = self._kept({name: moved(values, self.device) for name, values in tensors.items()})
            yield {names[i]: values for i, values in zip(batch, kept, strict=True)}

    def _kept(self, tensors: Mapping[str, Tensor]) -> list[Tensor]:
        """What is kept of each utterance of a batch: (F, D), (F, L, D), or (1, P), float32 on the CPU."""
        encoded = self.speech.frame_encoder(**tensors, output_hidden_states=self.kind == "layers")
        frames, mask = encoded.frames, encoded.frame_mask
        if self.kind == "layers":
            frames = torch.stack(encoded.hidden_states, dim=2)
        elif self.kind == "pooled":
            frames, mask = self.speech.neck(frames, mask)
            frames, mask = self.speech.pooling(frames, mask)[:, None], mask[:, :1]
        counts, plain = mask.sum(1).tolist(), torch.contiguous_format
        kept = zip(frames.float().cpu(), counts, strict=True)
        return [values[:count].clone(memory_format=plain) for values, count in kept]
