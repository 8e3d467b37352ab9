"""Pieces of rows as batches, read one by one: what every pass of a model over recordings takes."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as MapDataset

from .chunks import Chunk
from .collator import SpeechCollator


class Rows(Protocol):
    """What has rows by number, such as a data set."""

    def __getitem__(self, place: int, /) -> Mapping[str, Any]:
        """The row, with its audio."""


class Pieces(MapDataset):
    """Pieces of rows, as a collator takes them; each is read when it is asked for."""

    def __init__(self, pieces: Sequence[tuple[Rows, Chunk]]) -> None:
        self.pieces = pieces

    def __len__(self) -> int:
        return len(self.pieces)

    def __getitem__(self, index: int) -> dict[str, Any]:
        rows, piece = self.pieces[index]
        return piece.of(rows[piece.row])

    def batches(
        self,
        batches: Sequence[Sequence[int]],
        extractor: Any,
        *,
        channel: int | str,
        min_samples: int,
        device: torch.device,
        workers: int = 0,
    ) -> DataLoader:
        """The batches of `SpeechCollator`, in order.

        Args:
            batches: numbers of the pieces in each.
            extractor: the model's feature extractor.
            channel: of multi-channel files; that of a row stands above it.
            min_samples: the shortest piece, at the extractor's rate.
            device: of the model; for a GPU batches lie in pinned memory, see `moved`.
            workers: processes that read ahead; 0: none.
        """
        collate = SpeechCollator(extractor, channel=channel, min_samples=min_samples)
        pins = device.type == "cuda"
        return DataLoader(self, batch_sampler=batches, collate_fn=collate, num_workers=workers, pin_memory=pins)


def moved(values: Tensor, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """A part of a batch on the model's device; what is pinned is copied to a GPU while the process goes on."""
    return values.to(device, non_blocking=device.type == "cuda").to(dtype or values.dtype)
