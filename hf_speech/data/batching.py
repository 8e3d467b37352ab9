"""Which rows make a batch: budgets of padded seconds, length buckets, balanced classes, equal shares for all ranks.

Every rank knows the whole plan of an epoch, which hangs on the seed and the epoch alone, so ranks need not speak with
each other, and a resumed run that skips the batches it has had goes on with the right one. What is random about an
example hangs on its `Draw`, not on who drew before.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from datasets import Dataset
from torch.utils.data import Dataset as MapDataset
from torch.utils.data import Sampler

from ..audio import SAMPLE_RATE
from ..errors import InputError

BUCKETS = 32  # with a budget of seconds; see benchmarks/batching.py for what is padding then
# Balanced epochs differ in their rows, so in the batches that they need: as many are made as the longest of these has.
TRIALS = 8


_PLAN = 2**32 - 1  # tells the stream of an epoch's plan from that of an example, whose third number is a row


class Draw(NamedTuple):
    """One example of an epoch: which row, and how often the epoch has drawn it before (0 at first)."""

    epoch: int
    index: int  # type: ignore[assignment]  # hides tuple.index
    turn: int


class KeyedRows(MapDataset):
    """Rows that are asked for by `Draw`, each with the key of all that is random about the example.

    Args:
        rows: the rows.
        seed: of the run, the first number of every key.

    Shape:
        Draw -> the row, and `draw`: (seed, epoch, index, turn), which seeds `numpy.random.default_rng`
    """

    def __init__(self, rows: Dataset, seed: int) -> None:
        self.rows, self.seed = rows, seed

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, draw: Draw) -> dict[str, Any]:
        return {**self.rows[draw.index], "draw": (self.seed, *draw)}

    def __getitems__(self, draws: Sequence[Draw]) -> list[dict[str, Any]]:
        """A batch of rows in one access, as a data loader asks for it."""
        rows = self.rows.__getitems__([draw.index for draw in draws])
        return [{**row, "draw": (self.seed, *draw)} for row, draw in zip(rows, draws, strict=True)]


class SpeechBatchSampler(Sampler[list[Draw]]):
    """Batches of rows of like length, at most a number of rows or a budget of padded seconds each, drawn every epoch.

    Rows fall into buckets by their length, the distinct lengths shared out equally, so that rows of one length are
    never apart. An epoch lines up the buckets from the longest, the rows of a bucket at random, and cuts the line into
    batches, each as large as the limit allows if its first row were as long as its bucket's longest.
    So rows of a bucket can stand for each other: the number of batches is that of every epoch, and no batch is over the
    budget. A batch may span neighbouring buckets, so no bucket leaves a small rest. More buckets pad less and mix less;
    rows of one length are wholly mixed whatever their number.

    Batches come in random order; but epoch 0 begins with the costliest, so that memory runs out at once or never.

    Balanced, every class is drawn equally often, round(N / classes) times and at least once, its rows equally often up
    to one, those that are drawn once more anew at random. Such epochs differ in length: one that needs more batches
    than the longest of the first eight is drawn again, and in one that needs fewer the largest batches are halved.

    On several ranks a step is num_ranks batches of like cost (rows x longest row). Where the number of batches does not
    divide by the ranks, some random ones (fewer than num_ranks) come twice; so do some where halves would be under
    `min_rows`. Then the second `turn` of a row makes it another example.

    Args:
        lengths: (N,) samples of each row, as they will be in a batch: cropped.
        batch_size: rows of a batch; or:
        batch_seconds: most seconds of a batch with its padding: rows x longest row.
        buckets: length buckets; 1 is wholly at random. None: 1 with `batch_size`, 32 with `batch_seconds`.
        seed: of the run, from 0.
        groups: (N,) class numbers for balanced sampling. None: every row once an epoch.
        min_rows: fewest rows of a batch, 2 where a batch norm trains. A last batch with fewer takes rows of those
            before; where these have none to spare, its rows, fewer than min_rows of the shortest bucket, are left out.
        rank: of this process.
        num_ranks: processes that train together.
        sample_rate: of `lengths`.

    Attributes:
        epoch: which `__iter__` gives; the only state.
        batch_size: None. A number would make accelerate drop the batches of another size.

    Raises:
        InputError: both or neither of `batch_size` and `batch_seconds`, a number out of range, fewer rows than
            min_rows, or min_rows of the longest row over the budget.
    """

    batch_size = None
    drop_last = False

    def __init__(
        self,
        lengths: Sequence[int] | np.ndarray,
        *,
        batch_size: int | None = None,
        batch_seconds: float | None = None,
        buckets: int | None = None,
        seed: int = 0,
        groups: Sequence[int] | np.ndarray | None = None,
        min_rows: int = 1,
        rank: int = 0,
        num_ranks: int = 1,
        sample_rate: int = SAMPLE_RATE,
    ) -> None:
        self.lengths = _whole_numbers(lengths, "lengths")
        if (batch_size is None) == (batch_seconds is None):
            raise InputError("batches: give either batch_size (rows) or batch_seconds (a budget), not both")
        if buckets is None:
            buckets = 1 if batch_seconds is None else BUCKETS
        _check_counts(batch_size=batch_size, buckets=buckets, min_rows=min_rows, num_ranks=num_ranks)
        if not 0 <= rank < num_ranks:
            raise InputError(f"rank {rank} of {num_ranks}: ranks are 0 to {num_ranks - 1}")
        if seed < 0:
            raise InputError(f"seed {seed} is negative; give 0 or more")
        _check_rows(self.lengths, min_rows)
        self.seed, self.rank, self.num_ranks, self.min_rows = seed, rank, num_ranks, min_rows
        self.sample_rate, self.epoch = sample_rate, 0
        distinct = np.unique(self.lengths)
        longest = np.array([part[-1] for part in np.array_split(distinct, min(buckets, len(distinct)))])
        self._bucket = np.searchsorted(longest, self.lengths)
        if batch_size is not None and batch_size < min_rows:
            raise InputError(f"batch_size {batch_size} is under {min_rows}, which a batch norm needs; give more")
        self._most = np.full(len(longest), batch_size) if batch_size else self._rows_within(longest, batch_seconds or 0)
        self._classes = None if groups is None else self._class_numbers(groups)
        trials = 1 if groups is None else TRIALS
        self._count = max(len(self._cuts(self._drawn(self._rng(epoch)))) - 1 for epoch in range(trials))

    def __len__(self) -> int:
        return math.ceil(self._count / self.num_ranks)

    def __iter__(self) -> Iterator[list[Draw]]:
        epoch = self.epoch
        for step in self.plan(epoch):
            yield [Draw(epoch, index, turn) for index, turn in step[self.rank].tolist()]

    def set_epoch(self, epoch: int) -> None:
        """Which epoch `__iter__` gives from its next call on."""
        self.epoch = epoch

    def plan(self, epoch: int) -> list[list[np.ndarray]]:
        """The batches of all ranks: a list a step of one (rows, 2) array a rank: index and turn."""
        rng = self._rng(epoch)
        batches = self._batches(rng)
        slots, count = len(self) * self.num_ranks, len(batches)
        again = rng.choice(count, slots - count, replace=slots > 2 * count)
        numbers = np.concatenate([np.arange(count), again])
        cost = np.array([len(batch) * self.lengths[batch].max() for batch in batches])
        steps = numbers[np.argsort(cost[numbers], kind="stable")].reshape(-1, self.num_ranks)
        steps = rng.permuted(steps, axis=1)
        order = rng.permutation(len(steps))
        if epoch == 0:
            first = int(np.argmax(cost[steps[order]].max(axis=1)))
            order[[0, first]] = order[[first, 0]]
        chosen = [batches[k] for k in steps[order].ravel()]
        rows = np.concatenate(chosen)
        keys = np.split(np.stack([rows, _turns(rows)], axis=1), np.cumsum([len(batch) for batch in chosen])[:-1])
        return [keys[k : k + self.num_ranks] for k in range(0, slots, self.num_ranks)]

    def padding_share(self, epoch: int = 0) -> float:
        """The share of an epoch's padded seconds, on all ranks, that is padding."""
        return padding_share(self._lengths_of(epoch))

    def random_padding_share(self, epoch: int = 0) -> float:
        """The same, were the epoch's rows shared out at random among as many batches of equal size."""
        return self._random_share(self._lengths_of(epoch))

    def describe(self) -> str:
        """A line for the log, by the plan of epoch 0."""
        batches = self._lengths_of(0)
        sizes = [len(batch) for batch in batches]
        seconds = [len(batch) * batch.max() / self.sample_rate for batch in batches]
        ranks = f" on each of {self.num_ranks} ranks" if self.num_ranks > 1 else ""
        own, at_random = (f"{100 * share:.1f} %" for share in (padding_share(batches), self._random_share(batches)))
        return (
            f"{len(self)} batches an epoch{ranks}, {_span(sizes)} rows and {_span(seconds)} s each with padding;"
            f" padding {own}, in random batches of {np.mean(sizes):.1f} rows {at_random}"
        )

    def _lengths_of(self, epoch: int) -> list[np.ndarray]:
        return [self.lengths[batch[:, 0]] for step in self.plan(epoch) for batch in step]

    def _random_share(self, batches: Sequence[np.ndarray]) -> float:
        return padding_share(random_batches(np.concatenate(batches), len(batches), self.seed))

    def _rng(self, epoch: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, epoch, _PLAN])

    def _rows_within(self, longest: np.ndarray, batch_seconds: float) -> np.ndarray:
        """How many rows of each bucket's longest are within the budget."""
        if not (math.isfinite(batch_seconds) and batch_seconds > 0):
            raise InputError(f"batch_seconds {batch_seconds:g}: give a number of seconds above 0")
        most = round(batch_seconds * self.sample_rate) // longest
        if most[-1] < self.min_rows:
            row = int(np.argmax(self.lengths))
            seconds = self.lengths[row] / self.sample_rate
            rows = "" if self.min_rows == 1 else f", of which a batch needs {self.min_rows}"
            mend = f"crop_seconds of at most {batch_seconds / self.min_rows:g}"
            mend += f", or batch_seconds of at least {math.ceil(seconds * self.min_rows)}"
            raise InputError(f"row {row} is {seconds:g} s{rows}: over batch_seconds {batch_seconds:g}; give {mend}")
        return most

    def _class_numbers(self, groups: Sequence[int] | np.ndarray) -> np.ndarray:
        """(N,) classes numbered from 0 without gaps."""
        numbers = _whole_numbers(groups, "groups")
        if len(numbers) != len(self.lengths):
            raise InputError(f"groups: {len(numbers)} classes for {len(self.lengths)} rows; give one a row")
        classes = np.unique(numbers, return_inverse=True)[1]
        draws = _draws_each(classes) * (int(classes.max()) + 1)
        if draws < self.min_rows:
            raise InputError(f"{draws} balanced draws are too few for a batch of {self.min_rows}; give more rows")
        return classes

    def _drawn(self, rng: np.random.Generator) -> np.ndarray:
        """(draws,) the rows of an epoch, bucket by bucket from the longest, at random within each."""
        rows = rng.permutation(len(self.lengths))
        if self._classes is not None:
            by_class = rows[np.argsort(self._classes[rows], kind="stable")]
            counts = np.bincount(self._classes)
            first = np.cumsum(counts) - counts
            place = np.arange(_draws_each(self._classes)) % counts[:, None]  # within its class, over and over
            rows = rng.permutation(by_class[(first[:, None] + place).ravel()])
        return rows[np.argsort(-self._bucket[rows], kind="stable")]

    def _cuts(self, rows: np.ndarray) -> list[int]:
        """Where the batches of an epoch's rows begin, and where the last one ends."""
        most = self._most[self._bucket[rows]].tolist()
        cuts = [0]
        while cuts[-1] + most[cuts[-1]] < len(rows):
            cuts.append(cuts[-1] + most[cuts[-1]])
        if len(rows) < len(cuts) * self.min_rows:
            return cuts  # only the last batch is too small: the others have too little to spare
        cuts.append(len(rows))
        for k in range(len(cuts) - 2, 0, -1):
            if cuts[k + 1] - cuts[k] >= self.min_rows:
                break
            cuts[k] = cuts[k + 1] - self.min_rows
        return cuts

    def _batches(self, rng: np.random.Generator) -> list[np.ndarray]:
        """The rows of each batch, as many as in every epoch; fewer where the largest can't be halved."""
        rows = self._drawn(rng)
        while len(cuts := self._cuts(rows)) - 1 > self._count:
            rows = self._drawn(rng)
        while len(cuts) - 1 < self._count:
            sizes = np.diff(cuts)
            largest = int(np.argmax(sizes))
            if sizes[largest] < 2 * self.min_rows:
                break
            cuts.insert(largest + 1, cuts[largest] + int(sizes[largest]) // 2)
        return np.split(rows[: cuts[-1]], cuts[1:-1])


def padding_share(batches: Iterable[Sequence[int] | np.ndarray]) -> float:
    """The share of the padded samples that is padding.

    Args:
        batches: the lengths of the rows of each batch, in any unit.

    >>> padding_share([[4, 2], [3, 3, 3]])  # 2 of 8 and 0 of 9
    0.11764705882352941
    """
    real = padded = 0
    for lengths in batches:
        real += int(np.sum(lengths))
        padded += len(lengths) * int(np.max(lengths))
    return (padded - real) / padded


def random_batches(lengths: Sequence[int] | np.ndarray, count: int, seed: int) -> list[np.ndarray]:
    """Lengths in random order, in batches whose sizes are equal up to one, to compare others with.

    Args:
        lengths: (N,).
        count: how many batches, at most N.
        seed: of the order.
    """
    return np.array_split(np.random.default_rng(seed).permutation(lengths), count)


def _turns(rows: np.ndarray) -> np.ndarray:
    """How often each entry has stood before: [5, 3, 5, 5] -> [0, 0, 1, 2]."""
    order = np.argsort(rows, kind="stable")
    values = rows[order]
    first = np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]]))
    turns = np.empty(len(rows), dtype=np.int64)
    turns[order] = np.arange(len(rows)) - np.repeat(first, np.diff(first, append=len(rows)))
    return turns


def _draws_each(classes: np.ndarray) -> int:
    """How often an epoch draws each class."""
    return max(1, round(len(classes) / (int(classes.max()) + 1)))


def _whole_numbers(values: Sequence[int] | np.ndarray, name: str) -> np.ndarray:
    """(N,) int64."""
    array = np.asarray(values)
    if array.ndim != 1 or (array.size and not np.issubdtype(array.dtype, np.integer)):
        raise InputError(f"{name}: {array.dtype} of shape {array.shape}; give one whole number a row")
    return array.astype(np.int64)


def _check_counts(**counts: int | None) -> None:
    for name, count in counts.items():
        if count is not None and count < 1:
            raise InputError(f"{name} {count}: give 1 or more")


def _check_rows(lengths: np.ndarray, min_rows: int) -> None:
    empty = np.flatnonzero(lengths < 1)
    if len(empty):
        raise InputError(f"row {empty[0]} has a length of {lengths[empty[0]]} samples; leave it out")
    if len(lengths) < min_rows or not len(lengths):
        raise InputError(f"{len(lengths)} rows are too few for a batch of {min_rows}; give more")


def _span(numbers: Sequence[float]) -> str:
    low, high = (f"{end(numbers):.4g}" for end in (min, max))
    return low if low == high else f"{low} to {high}"
