"""Whether the interval of a verification metric holds the truth as often as it says, and what a large list costs.

    python -m benchmarks.verification_metrics
    python -m benchmarks.verification_metrics --only size    # on a quiet machine; the other part's figures stay
    python -m benchmarks.verification_metrics --only coverage --repetitions 20 --output /tmp/few.json    # a quick look

Coverage: speakers are drawn who differ in how much their recordings vary: an embedding is the speaker's mean plus noise
whose size is the speaker's own. All pairs of a speaker's recordings are targets, and a fixed part of the pairs of two
speakers' recordings are non-targets, scored by cosine. The truth is what 20,000 other speakers give. The interval by
speaker (both sides of the trial graph) is shown beside the one by trial, and how often the truth lies below either one
and above. An estimate from few speakers may lie to one
side of the truth, which costs coverage too: the mean of the estimates is written down as well.

Size: the curve of 10 million scores, and EER and minDCF at both priors read off it (the best of three, as others may
share the machine); and the seconds of the intervals of a list of VoxCeleb's extended size.
"""

import argparse
import json
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hf_speech.files import replacing
from hf_speech.metrics import bootstrap_trials, verification_numbers
from hf_speech.metrics.numbers import verification_measure
from hf_speech.metrics.verification import roc
from hf_speech.results import run_facts

from .limits import hold

OUTPUT = Path(__file__).parent / "results" / "verification_metrics.json"
DIMENSIONS, UTTERANCES = 16, 6
NOISE, SPREAD = 0.7, 0.35  # the median size of the noise, and the deviation of its logarithm among speakers
# Speakers -> pairs of recordings of each two speakers that are non-targets, of 36.
SIZES = {30: 36, 100: 4}
TRUTH_SPEAKERS, TRUTH_PAIRS = 20_000, 4_000_000
RESAMPLES = 1_000
PARTS = ("coverage", "size")
SCORES = 10_000_000
EXTENDED = {"speakers": 1_251, "trials": 580_000, "targets": 290_000}
LIMIT_OF_CURVE, LIMIT_OF_COVERAGE = {"EER and minDCF of 10 million scores, s": 3.0}, 0.02

Trials = tuple[NDArray, NDArray, NDArray, NDArray]
Measured = tuple[dict[str, Any], dict[str, float], dict[str, float]]


def speech_of(speakers: int, rng: np.random.Generator) -> NDArray:
    """Unit embeddings (speakers, UTTERANCES, DIMENSIONS)."""
    means = rng.normal(size=(speakers, 1, DIMENSIONS))
    sizes = NOISE * np.exp(SPREAD * rng.normal(size=(speakers, 1, 1)))
    vectors = means + sizes * rng.normal(size=(speakers, UTTERANCES, DIMENSIONS))
    return vectors / np.linalg.norm(vectors, axis=2, keepdims=True)


def targets_of(vectors: NDArray) -> tuple[NDArray, NDArray]:
    """Scores of all pairs of one speaker's recordings, and the speaker of each."""
    one, other = np.triu_indices(UTTERANCES, 1)
    scores = np.einsum("spd,spd->sp", vectors[:, one], vectors[:, other])
    return scores.ravel(), np.repeat(np.arange(len(vectors)), len(one))


def trials_of(vectors: NDArray, pairs: int) -> Trials:
    """Labels, scores, left and right speakers: all targets, and so many non-targets of each two speakers."""
    of_targets, own = targets_of(vectors)
    left, right = (np.repeat(side, pairs) for side in np.triu_indices(len(vectors), 1))
    # Which recordings: the same for every draw of speakers, spread over all 36 pairs.
    places = (np.arange(len(left)) * (UTTERANCES**2 // pairs) + np.arange(len(left)) // UTTERANCES**2) % UTTERANCES**2
    of_others = np.einsum(
        "nd,nd->n", vectors[left, places // UTTERANCES], vectors[right, places % UTTERANCES], optimize=True
    )
    labels = np.repeat([1, 0], [len(own), len(left)])
    sides = (np.concatenate([own, side]) for side in (left, right))
    return labels, np.concatenate([of_targets, of_others]), *sides


def truth() -> dict[str, float]:
    """The numbers of a very large sample."""
    rng = np.random.default_rng(0)
    vectors = speech_of(TRUTH_SPEAKERS, rng)
    of_targets, _ = targets_of(vectors)
    left = rng.integers(0, TRUTH_SPEAKERS, TRUTH_PAIRS)
    right = (left + rng.integers(1, TRUTH_SPEAKERS, TRUTH_PAIRS)) % TRUTH_SPEAKERS
    one, other = rng.integers(0, UTTERANCES, (2, TRUTH_PAIRS))
    of_others = np.concatenate(
        [
            np.einsum("nd,nd->n", vectors[left[part], one[part]], vectors[right[part], other[part]])
            for part in np.array_split(np.arange(TRUTH_PAIRS), 40)
        ]
    )
    labels = np.repeat([1, 0], [len(of_targets), TRUTH_PAIRS])
    return verification_measure(labels, np.concatenate([of_targets, of_others])).values()


def repeat(size: int, resamples: int, seed: int) -> tuple[NDArray, dict[str, tuple[NDArray, NDArray]]]:
    """One set of speakers: the numbers, and the ends of their intervals by speaker and by trial."""
    rng = np.random.default_rng([4, size, seed])
    labels, scores, left, right = trials_of(speech_of(size, rng), SIZES[size])
    order = np.argsort(scores, kind="stable")
    measure = verification_measure(labels[order], scores[order])
    ends = {}
    for who in ((left[order], right[order]), len(labels)):
        interval = bootstrap_trials(measure.of, who, repetitions=resamples, seed=seed)
        ends[interval.unit] = interval.low, interval.high
    return np.array(list(measure.values().values())), ends


def coverage(size: int, repetitions: int, resamples: int, workers: int, true: dict[str, float]) -> list[dict[str, Any]]:
    """A row a number: how often either interval held the truth, and how wide it was."""
    begun = time.perf_counter()
    with ProcessPoolExecutor(workers) as pool:
        draws = list(pool.map(partial(repeat, size, resamples), range(repetitions), chunksize=5))
    values = np.array([value for value, _ in draws])
    rows = []
    for i, (name, wanted) in enumerate(true.items()):
        row: dict[str, Any] = {"speakers": size, "number": name, "truth": wanted, "mean": float(values[:, i].mean())}
        row["deviation"] = float(values[:, i].std())
        for unit in ("speaker", "trial"):
            low, high = (np.array([ends[unit][side][i] for _, ends in draws]) for side in (0, 1))
            row |= {f"coverage_by_{unit}": float(np.mean((low <= wanted) & (wanted <= high)))}
            row |= {f"below_by_{unit}": float(np.mean(wanted < low)), f"above_by_{unit}": float(np.mean(wanted > high))}
            row |= {f"width_by_{unit}": float(np.mean(high - low))}
        rows.append(row)
    print(f"{size} speakers: {time.perf_counter() - begun:.0f} s", flush=True)
    return rows


def best_time(work: Callable[[], object], times: int = 3) -> float:
    """Seconds of the fastest of some runs: others share the machine."""
    found = []
    for _ in range(times):
        begun = time.perf_counter()
        work()
        found.append(time.perf_counter() - begun)
    return min(found)


def time_of_curve() -> float:
    """Seconds of EER and minDCF at both priors, of scores that are all different, unsorted."""
    rng = np.random.default_rng(2)
    labels = (rng.random(SCORES) < 0.5).astype(np.int8)
    scores = rng.normal(size=SCORES) + 2.5 * labels

    def work() -> tuple[float, ...]:
        curve = roc(labels, scores)
        return curve.eer, curve.min_dcf(0.01), curve.min_dcf(0.05)

    return best_time(work)


def time_of_intervals() -> dict[str, float]:
    """Seconds of all numbers with intervals by speaker, of a list of VoxCeleb's extended size."""
    rng = np.random.default_rng(3)
    targets = EXTENDED["targets"]
    left = rng.integers(0, EXTENDED["speakers"], EXTENDED["trials"])
    right = (left + rng.integers(1, EXTENDED["speakers"], EXTENDED["trials"])) % EXTENDED["speakers"]
    right[:targets] = left[:targets]
    labels = (left == right).astype(int)
    llrs = rng.normal(8 * labels - 4.0, np.sqrt(8.0))
    return {
        name: best_time(partial(verification_numbers, labels, llrs, (left, right), llrs=ratios), times=1)
        for name, ratios in (("scores", None), ("ratios", llrs))
    }


def measure_coverage(repetitions: int, workers: int) -> Measured:
    """What is written down of it; the figures, and their limits."""
    true = truth()
    rows = []
    for size in SIZES:
        found = coverage(size, repetitions, RESAMPLES, workers, true)
        for row in found:
            print(json.dumps(row), flush=True)
        rows += found
    facts = {"repetitions": repetitions, "resamples": RESAMPLES, "utterances": UTTERANCES}
    content = facts | {"nontarget_pairs_of_two_speakers": SIZES, "rows": rows}
    figures = {
        f"{row['speakers']} speakers, {row['number']}, distance of the coverage from 95 %": round(
            abs(row["coverage_by_speaker"] - 0.95), 6
        )
        for row in rows
    }
    return content, figures, dict.fromkeys(figures, LIMIT_OF_COVERAGE)


def measure_size() -> Measured:
    """What is written down of it; the figures, and their limits."""
    curve, intervals = time_of_curve(), time_of_intervals()
    print(f"10 million scores: {curve:.2f} s; intervals of {EXTENDED['trials']:,} trials: {intervals}", flush=True)
    content = {"scores": SCORES, "curve_seconds": curve, "extended_list": EXTENDED, "interval_seconds": intervals}
    return content, dict.fromkeys(LIMIT_OF_CURVE, curve), LIMIT_OF_CURVE


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=PARTS, help="one of the two; the other one's figures stay")
    parser.add_argument("--repetitions", type=int, default=1_000, help="sets of speakers (%(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="processes (%(default)s)")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="%(default)s")
    options = parser.parse_args()
    parts: dict[str, Callable[[], Measured]] = {
        "coverage": partial(measure_coverage, options.repetitions, options.workers),
        "size": measure_size,
    }
    figures: dict[str, float] = {}
    limits: dict[str, float] = {}
    for name in (options.only,) if options.only else PARTS:
        begun = time.perf_counter()
        content, found, most = parts[name]()
        content["run"] = run_facts(0, device="cpu", wall_seconds=time.perf_counter() - begun)
        there = json.loads(options.output.read_text(encoding="utf-8")) if options.output.exists() else {}
        with replacing(options.output) as temporary:
            temporary.write_text(json.dumps(there | {name: content}, indent=2) + "\n", encoding="utf-8")
        figures |= found
        limits |= most
    hold(figures, limits)


if __name__ == "__main__":
    main()
