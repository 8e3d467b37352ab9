"""Rows -> frames of layers, or their statistics: one pass of an encoder, in memory that hangs on no number of rows.

A row longer than `max_seconds` is heard in pieces that overlap by a receptive field less one hop, and begin at
multiples of the hop. So its frames, put together, are as many as those of the whole, each once and of the samples that
it would have seen there below the transformer. What lies in another piece is not attended to, and where the feature
extractor normalises, each piece is normalised alone.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from ..audio import SAMPLE_RATE
from ..data.chunks import Chunk, whole_rows
from ..data.pieces import Pieces
from ..errors import InputError, lookup
from ..models.frames import length_batches
from ..models.masking import masked_mean
from ..models.pooling import EPS
from ..outcome import MAX_SECONDS, padded_seconds
from ..precision import is_half
from .encoders import LayeredEncoder

STATISTICS = {"mean": 1, "mean+std": 2}  # poolings that can be put together from pieces -> vectors of a frame's size
_WINDOW = 50  # batches whose rows are sorted by length together: what waits for its other pieces is among them


def frames_of_rows(
    encoder: LayeredEncoder,
    rows: Dataset,
    *,
    max_seconds: float = MAX_SECONDS,
    batch_seconds: float | None = None,
    channel: int | str = "mean",
    workers: int = 0,
    description: str | None = None,
    places: Sequence[int] | None = None,
) -> Iterator[tuple[int, list[NDArray]]]:
    """The frames of each row, one row after another.

    They come sorted by length within windows of some dozens of batches, so only so many frames are held at a time, and
    those of one row, of all layers, which while its pieces are put together are there twice: of an hour of speech, 50
    frames a second of 768 numbers, 0.55 GB a layer.

    Args:
        encoder: of the layers.
        rows: with `audio` and `length`, as `check_rows` gives them.
        max_seconds: the longest piece that is heard at once; infinity: every row whole, which takes memory as it does.
        batch_seconds: padded seconds in a batch; None: 60 on an accelerator, on a CPU 20, and 40 in bfloat16.
        channel: of multi-channel files; the column `channel` of a row stands above it.
        workers: processes that read ahead; 0: none.
        description: words beside the progress bar (shown on a terminal only); None: no bar.
        places: numbers of the rows that are heard; None: all.

    Yields:
        The row's number, and for each of `encoder.layers` its frames (F, D) float32.

    Raises:
        InputError: no column `length`, pieces that are too short, or audio that can't be used.
    """
    waiting: dict[int, dict[int, list[NDArray]]] = {}  # row -> its pieces that are there, by number
    for pieces, states, mask in _heard(
        encoder, rows, places, max_seconds, batch_seconds, channel, workers, description
    ):
        counts = mask.sum(1).tolist()
        arrays = [frames.float().cpu().numpy() for frames in states]
        for i, (piece, count) in enumerate(zip(pieces, counts, strict=True)):
            there = waiting.setdefault(piece.chunk.row, {})
            # A copy: a view would hold the whole batch.
            there[piece.number] = [values[i, :count].copy() for values in arrays]
            if len(there) == piece.total:
                del waiting[piece.chunk.row]
                yield piece.chunk.row, _joined([there[number] for number in range(piece.total)])


def pooled_of_rows(
    encoder: LayeredEncoder,
    rows: Dataset,
    pooling: str = "mean+std",
    *,
    max_seconds: float = MAX_SECONDS,
    batch_seconds: float | None = None,
    channel: int | str = "mean",
    workers: int = 0,
    description: str | None = None,
    places: Sequence[int] | None = None,
) -> NDArray:
    """Statistics of the frames of each row, taken where they are computed: frames are never gathered.

    They are those of the models' poolings "mean" and "mean+std", over all frames of a row, of however many pieces.

    Args:
        encoder: see `frames_of_rows`, as all that follow but the next.
        rows: see there.
        pooling: "mean" or "mean+std".
        max_seconds: see there.
        batch_seconds: see there.
        channel: see there.
        workers: see there.
        description: see there.
        places: see there.

    Returns:
        (N, L, D or 2 * D) float32, in the order of the rows, or of `places`.

    Raises:
        InputError: see there; or another pooling.
    """
    parts = lookup(STATISTICS, pooling, "pooling of layers")
    wanted = range(len(rows)) if places is None else places
    at = {row: place for place, row in enumerate(wanted)}
    # The smallest numbers that pieces can be put together from: frames, their mean, the sum of squares around it.
    counts = np.zeros(len(at))
    means, squares = (np.zeros((len(at), len(encoder.layers), encoder.size), np.float32) for _ in range(2))
    for pieces, states, mask in _heard(
        encoder, rows, list(at), max_seconds, batch_seconds, channel, workers, description
    ):
        moments = [_moments(frames, mask) for frames in states]
        new_means, new_squares = (np.stack([one[k] for one in moments], axis=1) for k in (0, 1))
        for i, piece in enumerate(pieces):
            row, count = at[piece.chunk.row], int(mask[i].sum())
            total = counts[row] + count
            # Chan, Golub & LeVeque, "Updating formulae ...", 1979, equations 2.1a and 2.1b.
            apart = new_means[i] - means[row]
            means[row] += apart * (count / total)
            squares[row] += new_squares[i] + apart**2 * (counts[row] * count / total)
            counts[row] = total
    if parts == 1:
        return means
    deviations = np.sqrt(squares / counts[:, None, None] + EPS).astype(np.float32)
    return np.concatenate([means, deviations], axis=-1)


def require_numbers(encoder: LayeredEncoder, layers: Sequence[NDArray], name: str) -> None:
    """Refuses frames or statistics that are no numbers.

    Args:
        encoder: they are of.
        layers: one for each of its layers.
        name: of the recording.

    Raises:
        InputError: some are NaN or infinite.
    """
    for layer, values in zip(encoder.layers, layers, strict=True):
        if not np.isfinite(values).all():
            raise InputError(
                f"{name}: layer {layer} has NaN or infinite numbers; check the model's weights, or leave it out"
            )


def _moments(frames: Tensor, mask: Tensor) -> tuple[NDArray, NDArray]:
    """Of frames (B, F, D): their means (B, D), and the sums of squares around these (B, D)."""
    numbers = frames.float().masked_fill(~mask[..., None], 0.0)
    means = masked_mean(numbers, mask)
    squares = masked_mean((numbers - means[:, None]).square(), mask) * mask.sum(1, keepdim=True)
    return means.cpu().numpy(), squares.cpu().numpy()


class _Piece:
    """A piece of a row: which of its row's, of how many."""

    def __init__(self, chunk: Chunk, number: int, total: int) -> None:
        self.chunk, self.number, self.total = chunk, number, total


def _heard(
    encoder: LayeredEncoder,
    rows: Dataset,
    places: Sequence[int] | None,
    max_seconds: float,
    batch_seconds: float | None,
    channel: int | str,
    workers: int,
    description: str | None,
) -> Iterator[tuple[list[_Piece], list[Tensor], Tensor]]:
    """Batch by batch: its pieces, the frames of each layer (B, F, D), and the mask of these."""
    pieces = _pieces_of(encoder, rows, places, max_seconds)
    seconds = padded_seconds(batch_seconds, encoder.device, encoder.encoder.depth > 0 and is_half(encoder.dtype))
    batches = _batches_of(pieces, seconds * SAMPLE_RATE)
    heard = rows.select_columns([name for name in ("audio", "channel") if name in rows.column_names])
    loader = Pieces([(heard, piece.chunk) for piece in pieces]).batches(
        batches,
        encoder.extractor,
        channel=channel,
        min_samples=encoder.min_samples,
        device=encoder.device,
        workers=workers,
    )
    shown = tqdm(loader, desc=description, disable=None if description else True, leave=False)
    with encoder.ready():
        for batch, tensors in zip(batches, shown, strict=True):
            yield [pieces[i] for i in batch], *encoder(**tensors)


def _pieces_of(
    encoder: LayeredEncoder, rows: Dataset, places: Sequence[int] | None, max_seconds: float
) -> list[_Piece]:
    """The rows in pieces, in order; see the top of this file."""
    most = encoder.piece_frames(max_seconds)
    wholes = whole_rows(rows)
    pieces: list[_Piece] = []
    for whole in wholes if places is None else [wholes[row] for row in places]:
        frames = encoder.row_frames(whole.length)
        total = max(math.ceil(frames / most), 1)
        bounds = [frames * k // total for k in range(total + 1)]
        cuts = [_cut(encoder, whole, bounds[k], bounds[k + 1], k + 1 == total) for k in range(total)]
        pieces += [_Piece(cut, k, total) for k, cut in enumerate(cuts)]
    return pieces


def _cut(encoder: LayeredEncoder, whole: Chunk, first: int, last: int, ends: bool) -> Chunk:
    """The piece of a row from which frames come, `first` to before `last`; one that ends the row does so as the row."""
    if first == 0 and ends:
        return whole
    offset = first * encoder.hop / encoder.rate
    begin = (whole.start or 0.0) + offset
    if ends:
        return Chunk(whole.row, begin, whole.end, whole.length - round(offset * SAMPLE_RATE))
    seconds = ((last - first - 1) * encoder.hop + encoder.min_samples) / encoder.rate
    return Chunk(whole.row, begin, begin + seconds, round(seconds * SAMPLE_RATE))


def _batches_of(pieces: Sequence[_Piece], budget: float) -> list[list[int]]:
    """Numbers of pieces, of like length together, within windows of whole rows."""
    batches: list[list[int]] = []
    window: list[int] = []
    held = 0
    for i, piece in enumerate(pieces):
        window.append(i)
        held += piece.chunk.length
        is_last = i + 1 == len(pieces)
        if is_last or (piece.number + 1 == piece.total and held > _WINDOW * budget):
            found = length_batches([pieces[place].chunk.length for place in window], budget)
            batches += [[window[place] for place in batch] for batch in found]
            window, held = [], 0
    return batches


def _joined(pieces: Sequence[Sequence[NDArray]]) -> list[NDArray]:
    """Pieces of layers -> layers whole."""
    return list(pieces[0]) if len(pieces) == 1 else [np.concatenate(layer) for layer in zip(*pieces, strict=True)]
