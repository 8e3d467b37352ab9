"""Statistics of all layers, kept: one pass over the recordings, from which a killed one goes on."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray
from tqdm import tqdm

from ..audio import SAMPLE_RATE
from ..data.chunks import whole_rows
from ..data.frozen import entry_names
from ..data.schema import file_name
from ..errors import lookup
from ..outcome import MAX_SECONDS
from ..store import ENTRY_BYTES, Store, in_megabytes
from .encoders import LayeredEncoder
from .passes import STATISTICS, pooled_of_rows, require_numbers

logger = logging.getLogger(__name__)

FOLDER = "features"
_BLOCK_SECONDS = 600.0  # of audio between two looks at what is to be kept


def kept_features(
    encoder: LayeredEncoder,
    rows: Dataset,
    root: Path,
    pooling: str = "mean+std",
    *,
    name: str = "",
    max_seconds: float = MAX_SECONDS,
    channel: int | str = "mean",
    workers: int = 0,
) -> NDArray:
    """What `pooled_of_rows` gives, from a folder where it is there already; what is missing is computed and kept.

    Rows are known by their audio and their cut, so rows that two data sets share are heard once.

    Args:
        encoder: of the layers.
        rows: see `pooled_of_rows`.
        root: folder of the experiment; it is kept in `features` there.
        pooling: see `pooled_of_rows`.
        name: of the model, for whoever looks into the folder.
        max_seconds: see `frames_of_rows`, as are the others.
        channel: see there.
        workers: see there.

    Returns:
        (N, L, D or 2 * D) float32, in the order of the rows.

    Raises:
        InputError: see there; or numbers that are none, no room on the disk, or what is kept is damaged.
    """
    size = lookup(STATISTICS, pooling, "pooling of layers") * encoder.size
    identity = {**encoder.identity(), "pooling": pooling, "max_seconds": max_seconds}
    store = Store(root / FOLDER, identity, name, option="--output-dir")
    names = entry_names(rows, whole_rows(rows), channel)
    with store.alone():
        found = store.places(set(names))
        missing = list({entry: place for place, entry in enumerate(names) if entry not in found}.values())
        if missing:
            lengths = np.asarray(rows["length"])[missing]
            taken = len(missing) * (4 * size * len(encoder.layers) + ENTRY_BYTES)
            _tell(encoder, store, lengths, taken, len(set(names)) - len(missing))
            store.require_room(taken)
            with store.adding() as keep, _bar(lengths.sum() / SAMPLE_RATE) as bar, encoder.ready():
                for block in _blocks(missing, lengths):
                    said = pooled_of_rows(
                        encoder, rows, pooling, max_seconds=max_seconds, channel=channel, workers=workers, places=block
                    )
                    for place, values in zip(block, said, strict=True):
                        require_numbers(encoder, values, file_name(rows[place]["audio"]))
                    keep({names[place]: torch.from_numpy(values) for place, values in zip(block, said, strict=True)})
                    bar.update(round(sum(rows.select(block)["length"]) / SAMPLE_RATE))
    features = np.empty((len(names), len(encoder.layers), size), np.float32)
    rows_of: dict[str, list[int]] = {}
    for row, entry in enumerate(names):
        rows_of.setdefault(entry, []).append(row)
    for entry, values in store.entries(rows_of):  # all at once would take as much again
        features[rows_of[entry]] = values.numpy()
    return features


def _tell(encoder: LayeredEncoder, store: Store, lengths: NDArray, taken: int, there: int) -> None:
    what = f"{len(encoder.layers)} layers" if len(encoder.layers) > 1 else "a layer"
    kept = f"; {there} are there already" if there else ""
    told = "one pass gives %s of %d recordings, %.0f s of audio; that takes %s in %s%s"
    seconds = lengths.sum() / SAMPLE_RATE
    logger.info(told, what, len(lengths), seconds, in_megabytes(taken), store.folder.parent, kept)


def _bar(seconds: float) -> tqdm:
    return tqdm(total=round(seconds), desc="running the encoder", unit="s", disable=None, leave=False)


def _blocks(places: Sequence[int], lengths: NDArray) -> list[list[int]]:
    """Rows in blocks of some length together, the longest first: what does not fit into memory shows at once."""
    blocks: list[list[int]] = []
    held = 0.0
    for i in np.argsort(-lengths, kind="stable"):
        if not blocks or held >= _BLOCK_SECONDS * SAMPLE_RATE:
            blocks.append([])
            held = 0.0
        blocks[-1].append(places[i])
        held += float(lengths[i])
    return blocks
