"""EER and minimum detection cost of a list of scores, against SpeechBrain's functions and against scikit-learn's curve.

    python -m benchmarks equal_error        # three minutes

Of 10,000 scores, SpeechBrain's `EER` and `minDCF` (prior 0.01), whose memory grows with the square of the list; of a
million, scikit-learn's `roc_curve`, the crossing of both errors by linear interpolation, and the least cost over its
thresholds. The numbers have to agree: with scikit-learn's to 1e-6, with SpeechBrain's, which takes the nearest
threshold and none between, to one score's step.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from hf_speech.metrics.verification import roc

from .rows import Row
from .sample import Sample
from .turns import by_turns, ratio

FEW, MANY, PRIOR = 10_000, 1_000_000, 0.01
ROUNDS = {"few": 3, "many": 7}
AT_LEAST = {"few": 200.0, "many": 2.0}
REPEATED = 20  # times in a row, where once is too short for a clock

Numbers = tuple[float, float]


def scores_of(count: int) -> tuple[NDArray, NDArray]:
    """Labels and scores, as many targets as others, whose EER is about 10 %."""
    rng = np.random.default_rng(0)
    labels = np.arange(count) % 2
    return labels, rng.normal(size=count) + 2.5 * labels


def ours(labels: NDArray, scores: NDArray) -> Numbers:
    curve = roc(labels, scores)
    return curve.eer, curve.min_dcf(PRIOR)


def speechbrain_s(positive: torch.Tensor, negative: torch.Tensor) -> Numbers:
    from speechbrain.utils.metric_stats import EER, minDCF

    # Not divided by the cost of the better constant answer, as ours is.
    cost = minDCF(positive, negative, p_target=PRIOR)[0]
    return EER(positive, negative)[0], float(cost) / PRIOR


def scikit_learn_s(labels: NDArray, scores: NDArray) -> Numbers:
    from sklearn.metrics import roc_curve

    false_alarms, hits, _ = roc_curve(labels, scores, drop_intermediate=False)
    misses = 1 - hits
    place = int(np.argmax(false_alarms >= misses))
    before = place - 1
    above, below = misses[before] - false_alarms[before], false_alarms[place] - misses[place]
    share = above / (above + below)
    eer = false_alarms[before] + share * (false_alarms[place] - false_alarms[before])
    cost = (PRIOR * misses + (1 - PRIOR) * false_alarms).min() / PRIOR
    return float(eer), float(cost)


def rows(sample: Sample, few: int = FEW, many: int = MANY) -> list[Row]:
    """All rows of this file; the sample has no part in it."""
    labels, scores = scores_of(few)
    positive, negative = (torch.from_numpy(scores[labels == which]) for which in (1, 0))
    apart = _difference(ours(labels, scores), speechbrain_s(positive, negative), 2 / few)

    def repeated() -> None:
        for _ in range(REPEATED):
            ours(labels, scores)

    times = by_turns(
        {"ours": repeated, "SpeechBrain": lambda: speechbrain_s(positive, negative)}, ROUNDS["few"], warm=False
    )
    own = [seconds / REPEATED for seconds in times["ours"]]
    made = [
        Row(
            "EER, few",
            f"EER and minDCF of {few:,} scores",
            "SpeechBrain's `EER` and `minDCF`",
            ratio(own, times["SpeechBrain"]),
            AT_LEAST["few"],
            same=f"EER within {apart[0]:.1e}, minDCF within {apart[1]:.1e}",
            facts={"seconds": own, "other_seconds": times["SpeechBrain"]},
        )
    ]
    labels, scores = scores_of(many)
    apart = _difference(ours(labels, scores), scikit_learn_s(labels, scores), 1e-6)
    times = by_turns(
        {"ours": lambda: ours(labels, scores), "sklearn": lambda: scikit_learn_s(labels, scores)}, ROUNDS["many"]
    )
    made.append(
        Row(
            "EER, many",
            f"EER and minDCF of {many:,} scores",
            "scikit-learn's `roc_curve` and interpolation",
            ratio(times["ours"], times["sklearn"]),
            AT_LEAST["many"],
            same=f"EER within {apart[0]:.1e}, minDCF within {apart[1]:.1e}",
            facts={"seconds": times["ours"], "other_seconds": times["sklearn"]},
        )
    )
    return made


def _difference(some: Numbers, others: Numbers, most: float) -> tuple[float, float]:
    found = abs(some[0] - others[0]), abs(some[1] - others[1])
    if found[0] > most or found[1] > most / PRIOR:
        raise SystemExit(f"EER and minDCF differ: {some} and {others}")
    return found
