"""Items in the order of their scores: sorted once, then every resample is measured in one pass without sorting."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Ranking:
    """N scored items, some of which are hits (targets of a verification, items that have a class).

    Items of one score can't be told apart by any threshold, so all counts are taken between distinct scores: nothing
    depends on the order in which tied items were given.

    Attributes:
        order: (N,) the items by score, the lowest first; tied items without hits before those with.
        hits: (N,) bool, in that order.
        ends: (K,) how many items have one of the k lowest distinct scores, k = 1 to K.
        scores: (K,) the distinct scores, the lowest first.
    """

    order: NDArray
    hits: NDArray
    ends: NDArray
    scores: NDArray

    @classmethod
    def of(cls, hits: ArrayLike, scores: ArrayLike) -> "Ranking":
        """Sorts the items.

        Args:
            hits: (N,) 1 or True at the hits, else 0 or False.
            scores: (N,) finite.

        Raises:
            ValueError: no items, other shapes, a hit that is neither 0 nor 1, a score that is not finite.
        """
        is_hit, values = np.asarray(hits), np.asarray(scores)
        if values.ndim != 1 or is_hit.shape != values.shape or not values.size:
            raise ValueError(f"labels are {is_hit.shape} and scores {values.shape}; both must be (N,), N at least 1")
        wrong = np.flatnonzero((is_hit != 0) & (is_hit != 1))
        if wrong.size:
            raise ValueError(f"label {is_hit[wrong[0]]} of item {wrong[0]} is neither 0 nor 1")
        wrong = np.flatnonzero(~np.isfinite(values))
        if wrong.size:
            raise ValueError(f"score {values[wrong[0]]} of item {wrong[0]} is not finite; score it or leave it out")
        order = np.lexsort((is_hit, values))
        ordered = values[order]
        ends = np.append(np.flatnonzero(ordered[1:] != ordered[:-1]) + 1, len(ordered))
        return cls(order, is_hit[order].astype(bool), ends, ordered[ends - 1])

    def below(self, weights: NDArray | None = None) -> tuple[NDArray, NDArray]:
        """How many hits, and how many others, lie below each distinct score; then how many there are in all.

        Args:
            weights: (N,) how many times each item counts, in the order in which the items were given; None: once.

        Returns:
            hits (K + 1,) and others (K + 1,), from 0 up to all of them.
        """
        counts = np.ones(len(self.order), dtype=np.int64) if weights is None else weights[self.order]
        starts = np.append(0, self.ends[:-1])
        hits = np.append(0, np.cumsum(np.add.reduceat(counts * self.hits, starts)))
        return hits, np.append(0, np.cumsum(np.add.reduceat(counts, starts))) - hits

    def corners(self) -> "Ranking":
        """The ranking without the scores at which a curve of hits below against others below does not bend.

        Runs of scores that have hits only, or others only, are taken together. A resample of a million trials is
        counted several times as fast; what is linear between neighbouring points (EER, minimum cost) stays as it is.
        """
        hits, others = (np.diff(counts) for counts in self.below())
        hits_only, others_only = others == 0, hits == 0
        straight = (hits_only[:-1] & hits_only[1:]) | (others_only[:-1] & others_only[1:])
        kept = np.append(~straight, True)
        return replace(self, ends=self.ends[kept], scores=self.scores[kept])
