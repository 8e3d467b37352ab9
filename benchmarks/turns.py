"""Two or more ways of one thing, run by turns, A B A B, so that other work on the machine falls on all of them."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from tqdm import tqdm

Way = Callable[[], Any]


@dataclass(frozen=True)
class Ratio:
    """How many times as fast one way was as another: of the rounds' ratios the median, the smallest and the largest."""

    median: float
    smallest: float
    largest: float
    rounds: int


def seconds_of(way: Way) -> float:
    """The wall time of a call; of a GPU, until it has done what it was given."""
    _finish()
    begun = time.perf_counter()
    way()
    _finish()
    return time.perf_counter() - begun


def by_turns(
    ways: Mapping[str, Way], rounds: int, *, warm: bool = True, clock: Callable[[Way], float] = seconds_of
) -> dict[str, list[float]]:
    """Seconds of each way in each round; every other round goes through them from the last to the first.

    Args:
        ways: name -> what is called.
        rounds: how often each is timed.
        warm: whether each is called once before, since first calls allocate, compile and fill caches.
        clock: a call -> its seconds; the ways of some benchmarks know better which part of them counts.
    """
    if warm:
        for way in ways.values():
            way()
    found: dict[str, list[float]] = {name: [] for name in ways}
    order = [name for turn in range(rounds) for name in list(ways)[:: -1 if turn % 2 else 1]]
    for name in tqdm(order, desc="by turns", disable=None, leave=False):
        found[name].append(clock(ways[name]))
    return found


def fastest(times: Mapping[str, Sequence[float]], start: str = "") -> str:
    """The name of the way that took least, by the median; of those whose names begin so."""
    return min((name for name in times if name.startswith(start)), key=lambda name: statistics.median(times[name]))


def ratio(ours: Sequence[float], other: Sequence[float], times: float = 1.0) -> Ratio:
    """The other's seconds over ours, round by round: above 1 ours is the faster.

    >>> ratio([1.0, 2.0, 1.0], [3.0, 4.0, 5.0])
    Ratio(median=3.0, smallest=2.0, largest=5.0, rounds=3)

    Args:
        ours: seconds in each round.
        other: the same of what it is compared with.
        times: how often the other one has to do what was timed once.
    """
    found = [times * b / a for a, b in zip(ours, other, strict=True)]
    return Ratio(statistics.median(found), min(found), max(found), len(found))


def _finish() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
