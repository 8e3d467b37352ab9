"""Scoring a list of VoxCeleb's size: 580,000 trials over 145,000 utterances, embeddings of 192 dimensions.

    python -m benchmarks trial_scores        # three minutes

Random embeddings, scored by cosine and by cosine with AS-norm (a cohort of 6,000, the 300 most like each side), against
loops that go over the trials one by one: torch.nn.CosineSimilarity (and topk) as SpeechBrain's recipe has it, and the
barest one of NumPy, with unit vectors made beforehand for AS-norm. Of the loops some trials are timed, in turns with
the whole list by us, and what the list takes is computed from them. Scores are first compared with the definition in
float64, and with those of each trial alone and turned round.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hf_speech.verification import Backend

from .commands import most_memory
from .real_speech import ROOT
from .rows import Row
from .sample import Sample
from .turns import by_turns, ratio

TRIALS, UTTERANCES, SIZE, COHORT, TOP = 580_000, 145_000, 192, 6_000, 300
KINDS, LOOPS = ("cosine", "cosine and AS-norm"), ("torch", "NumPy")
ROUNDS, LOOPED, COMPARED, CHECKED, EXACT, ALIKE = 5, 500, 50, 10, 1e-5, 1e-4
AT_LEAST = {"cosine": {"torch": 10.0, "NumPy": 1.0}, "cosine and AS-norm": {"torch": 30.0, "NumPy": 10.0}}
MOST = {"cosine": {"seconds": 2.0, "megabytes": 1_500.0}, "cosine and AS-norm": {"seconds": 20.0, "megabytes": 1_500.0}}
IN_WORDS = {
    "torch": "a loop over trials, as SpeechBrain's recipe has it",
    "NumPy": "the barest loop over trials, NumPy",
}
Loop = Callable[[int, int], float]


def unit(vectors: NDArray) -> NDArray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def loops(kind: str, vectors: NDArray, cohort: NDArray, mean: NDArray) -> dict[str, Loop]:
    """The score of one trial, as loops have it."""
    similarity = torch.nn.CosineSimilarity(dim=-1, eps=1e-6)
    if kind == "cosine":
        tensors = torch.from_numpy(vectors)[:, None, None]
        return {
            "NumPy": lambda left, right: _cosine(vectors[left], vectors[right]),
            "torch": lambda left, right: float(similarity(tensors[left], tensors[right])[0]),
        }
    centred, others = unit(vectors - mean), unit(cohort - mean)
    sides, rest = torch.from_numpy(vectors - mean)[:, None, None], torch.from_numpy(cohort - mean)[:, None]

    def barest(left: int, right: int) -> float:
        one, other = centred[left], centred[right]
        score, found = one @ other, 0.0
        for side in (one, other):
            highest = np.partition(others @ side, len(others) - TOP)[len(others) - TOP :]
            found += float((score - highest.mean()) / highest.std()) / 2
        return found

    def as_recipe(left: int, right: int) -> float:
        score, found = float(similarity(sides[left], sides[right])[0]), 0.0
        for side in (sides[left], sides[right]):
            highest = torch.topk(similarity(side.repeat(len(rest), 1, 1), rest), k=TOP, dim=0)[0]
            found += float((score - highest.mean()) / highest.std(correction=0)) / 2
        return found

    return {"NumPy": barest, "torch": as_recipe}


def measure(kind: str, share: float) -> dict[str, Any]:
    """Times and differences of one kind of score; for a process of its own, whose memory is told."""
    rng = np.random.default_rng(0)
    count, size = round(share * TRIALS), round(share * UTTERANCES)
    vectors = rng.standard_normal((size, SIZE), dtype=np.float32)
    cohort = rng.standard_normal((COHORT, SIZE), dtype=np.float32)
    sides = rng.integers(0, size, (2, count))
    backend = Backend.cosine(SIZE) if kind == "cosine" else Backend.centred(cohort).normalised(cohort, top=TOP)
    scores = backend.score(vectors, *sides)
    megabytes = most_memory() / 1e6  # before the loops, which need more
    mean = cohort.mean(axis=0, dtype=np.float64)
    exact = loops(kind, vectors.astype(np.float64), cohort.astype(np.float64), mean)["NumPy"]
    found = _difference(backend, scores, vectors, sides, exact)
    single = loops(kind, vectors, cohort, mean.astype(np.float32))
    looped = min(LOOPED, count)
    for name, score in single.items():
        apart = max(abs(score(*sides[:, place]) - scores[place]) for place in range(CHECKED))
        if apart > ALIKE:
            raise SystemExit(f"the loop of {name} computes something else")

    def loop(score: Loop) -> None:
        for left, right in sides[:, :looped].T:
            score(left, right)

    ways: dict[str, Callable[[], Any]] = {"ours": lambda: backend.score(vectors, *sides)}
    ways |= {name: lambda score=score: loop(score) for name, score in single.items()}
    times = by_turns(ways, ROUNDS, warm=False)
    return {"times": times, "trials": count, "looped": looped, "megabytes": megabytes, "difference": found}


def rows(sample: Sample, share: float = 1.0) -> list[Row]:
    """All rows of this file.

    Args:
        sample: has no part in it.
        share: of the trials and utterances.
    """
    made = []
    for kind in KINDS:
        command = [sys.executable, "-m", "benchmarks.trial_scores", kind, str(share)]
        found = json.loads(subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout)
        times = found["times"]
        made += [
            Row(
                f"{kind}, {name}",
                f"{found['trials']:,} trials, {kind}",
                IN_WORDS[name],
                ratio(times["ours"], times[name], found["trials"] / found["looped"]),
                AT_LEAST[kind][name],
                computed=True,
                same=f"within {found['difference']:.1e} of the definition in float64",
                facts=found | {"seconds": sorted(times["ours"])[ROUNDS // 2]},
                most=MOST[kind],
            )
            for name in LOOPS
        ]
    return made


def _cosine(one: NDArray, other: NDArray) -> float:
    return float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)))


def _difference(backend: Backend, scores: NDArray, vectors: NDArray, sides: NDArray, exact: Loop) -> float:
    """The largest from the definition, relative above 1.

    Ends the process where it is too large, or a trial alone or turned round has another score.
    """
    worst = 0.0
    for place in np.linspace(0, len(scores) - 1, COMPARED).astype(int):
        left, right = sides[:, place]
        pair = vectors[[left, right]]
        if not scores[place] == backend.score(pair, [0], [1])[0] == backend.score(pair, [1], [0])[0]:
            raise SystemExit(f"trial {place} has another score alone or turned round")
        wanted = exact(left, right)
        worst = max(worst, abs(scores[place] - wanted) / max(1.0, abs(wanted)))
    if worst > EXACT:
        raise SystemExit(f"scores differ from the definition by {worst:.1e}")
    return float(worst)


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], float(sys.argv[2]))))
