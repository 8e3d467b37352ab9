"""What scoring a list of VoxCeleb's size costs: 580,000 trials over 145,000 utterances, embeddings of 192 dimensions.

    python -m benchmarks.verification_scores                 # a minute or two
    python -m benchmarks.verification_scores --share 0.02    # a fiftieth of the trials and utterances; writes nothing

Random embeddings, scored by cosine and by cosine with AS-norm (a cohort of 6,000, the 300 most like each side), each in
a process of its own, whose peak of resident memory is told. Before the time counts, scores are compared with the
definition in float64, and with those of each trial alone and turned round. Loops go over trials one by one; 2,000 of
each are timed, and the whole list is reckoned from them: torch.nn.CosineSimilarity (and topk) as SpeechBrain's recipe
has it, which is what is held to 30 times our time; the barest one of NumPy, with unit vectors made beforehand for
AS-norm; and scikit-learn's cosine_similarity.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hf_speech.files import replacing
from hf_speech.results import run_facts
from hf_speech.verification import Backend

from .limits import hold

OUTPUT = Path(__file__).parent / "results" / "verification_scores.json"
TRIALS, UTTERANCES, SIZE, COHORT, TOP = 580_000, 145_000, 192, 6_000, 300
KINDS = ("cosine", "as-norm")
RUNS, PARTS, LOOPED, COMPARED, EXACT, ALIKE = 7, 5, 2_000, 50, 1e-5, 1e-3
Loop = Callable[[int, int], float]
FIGURES = {"s": "seconds", "MB": "megabytes", "difference": "difference"}
# Seconds, MB, and the share of the loop's time: a thirtieth.
LIMITS = {
    "cosine, s": 2,
    "as-norm, s": 20,
    "cosine, MB": 1_500,
    "as-norm, MB": 1_500,
    "as-norm, time / loop of torch": 1 / 30,
    "cosine, time / loop of torch": 1 / 30,
    "cosine, difference": EXACT,
    "as-norm, difference": EXACT,
}


def unit(vectors: NDArray) -> NDArray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def cosine_of(one: NDArray, other: NDArray) -> float:
    """A trial by itself."""
    return float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)))


def normalised_of(one: NDArray, other: NDArray, cohort: NDArray) -> float:
    """A trial of unit vectors by itself, against a cohort of them."""
    score, found = one @ other, 0.0
    for side in (one, other):
        highest = np.partition(cohort @ side, len(cohort) - TOP)[len(cohort) - TOP :]
        found += float((score - highest.mean()) / highest.std()) / 2
    return found


def loops(kind: str, vectors: NDArray, cohort: NDArray, mean: NDArray) -> dict[str, Loop]:
    """The score of one trial, as loops have it."""
    import torch
    from sklearn.metrics.pairwise import cosine_similarity

    similarity = torch.nn.CosineSimilarity(dim=-1, eps=1e-6)
    if kind == "as-norm":
        centred, others = unit(vectors - mean), unit(cohort - mean)
        sides, rest = torch.from_numpy(vectors - mean)[:, None, None], torch.from_numpy(cohort - mean)[:, None]

        def as_recipe(left: int, right: int) -> float:
            score, found = float(similarity(sides[left], sides[right])[0]), 0.0
            for side in (sides[left], sides[right]):
                highest = torch.topk(similarity(side.repeat(len(rest), 1, 1), rest), k=TOP, dim=0)[0]
                found += float((score - highest.mean()) / highest.std(correction=0)) / 2
            return found

        return {
            "NumPy": lambda left, right: normalised_of(centred[left], centred[right], others),
            "torch": as_recipe,
        }
    tensors = torch.from_numpy(vectors)[:, None, None]
    return {
        "NumPy": lambda left, right: cosine_of(vectors[left], vectors[right]),
        "torch": lambda left, right: float(similarity(tensors[left], tensors[right])[0]),
        "scikit-learn": lambda left, right: cosine_similarity(vectors[left][None], vectors[right][None])[0, 0],
    }


def difference(
    backend: Backend, scores: NDArray, vectors: NDArray, sides: NDArray, reference: Callable[[int, int], float]
) -> float:
    """The largest from the definition, relative above 1; ends the process if a trial alone has another score."""
    worst = 0.0
    for place in np.linspace(0, len(scores) - 1, COMPARED).astype(int):
        left, right = sides[:, place]
        pair = vectors[[left, right]]
        if not scores[place] == backend.score(pair, [0], [1])[0] == backend.score(pair, [1], [0])[0]:
            raise SystemExit(f"trial {place} has another score alone or turned round")
        wanted = reference(left, right)
        worst = max(worst, abs(scores[place] - wanted) / max(1.0, abs(wanted)))
    return worst


def looped_seconds(single: Loop, sides: NDArray) -> float:
    """Of one trial in a loop over some."""
    begun = time.perf_counter()
    for left, right in sides.T:
        single(left, right)
    return (time.perf_counter() - begun) / sides.shape[1]


def measure(kind: str, share: float) -> dict[str, Any]:
    """The figures of one kind of score."""
    rng = np.random.default_rng(0)
    count, size = round(share * TRIALS), round(share * UTTERANCES)
    vectors = rng.standard_normal((size, SIZE), dtype=np.float32)
    cohort = rng.standard_normal((COHORT, SIZE), dtype=np.float32)
    sides = rng.integers(0, size, (2, count))
    backend = Backend.cosine(SIZE) if kind == "cosine" else Backend.centred(cohort).normalised(cohort, top=TOP)
    seconds = []
    for _ in range(RUNS if kind == "cosine" else 1):
        begun = time.perf_counter()
        scores = backend.score(vectors, *sides)
        seconds.append(time.perf_counter() - begun)
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3  # before the comparisons, which need more
    mean = cohort.mean(axis=0, dtype=np.float64)
    wide = (vectors.astype(np.float64), cohort.astype(np.float64), mean)
    found = difference(backend, scores, vectors, sides, loops(kind, *wide)["NumPy"])
    looped = {}
    for name, single in loops(kind, vectors, cohort, mean.astype(np.float32)).items():
        if abs(single(*sides[:, 0]) - scores[0]) > ALIKE:
            raise SystemExit(f"the loop of {name} computes something else")
        looped[name] = statistics.median(looped_seconds(single, part) for part in np.split(sides[:, :LOOPED], PARTS, 1))
        looped[name] *= count
    return {
        "kind": kind,
        "trials": count,
        "utterances": size,
        "seconds": statistics.median(seconds),
        "runs": seconds,
        "megabytes": megabytes,
        "difference": found,
        "loop_seconds": looped,
        "ratios": {name: spent / statistics.median(seconds) for name, spent in looped.items()},
    }


def child(kind: str, share: float) -> dict[str, Any]:
    """The same in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.verification_scores", "--kind", kind, "--share", str(share)]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=1.0, help="of the trials and utterances (%(default)s)")
    parser.add_argument("--kind", choices=KINDS, help="measure this one here, and print it")
    options = parser.parse_args()
    if options.kind:
        print(json.dumps(measure(options.kind, options.share)))
        return
    begun = time.perf_counter()
    rows = [child(kind, options.share) for kind in KINDS]
    for row in rows:
        print(json.dumps(row))
    content = {
        "dimensions": SIZE,
        "cohort": COHORT,
        "top": TOP,
        "scores": rows,
        "run": run_facts(0, device="cpu", wall_seconds=time.perf_counter() - begun),
    }
    if options.share == 1:
        with replacing(OUTPUT) as temporary:
            temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    figures = {f"{row['kind']}, {name}": row[key] for row in rows for name, key in FIGURES.items()}
    for row in rows:
        figures |= {f"{row['kind']}, time / loop of {name}": 1 / ratio for name, ratio in row["ratios"].items()}
    hold(figures, LIMITS)


if __name__ == "__main__":
    main()
