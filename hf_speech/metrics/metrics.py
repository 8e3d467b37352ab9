"""The metrics as a Hugging Face `evaluate` module, which has to have its folder's name to be found.

metric = evaluate.load("path/to/hf_speech/metrics", "classification")     # or "regression"; needs no network
metric.compute(predictions=[0, 1], references=[0, 0], speakers=["ada", "bob"])
metric = evaluate.load("path/to/hf_speech/metrics", "verification")
metric.compute(predictions=[0.8, 0.1], references=[1, 0], left_speakers=["ada", "ada"], right_speakers=["ada", "bob"])
"""

from collections.abc import Sequence
from typing import Any

import datasets
import evaluate

# `evaluate` copies this file and the siblings that it finds by reading the import lines below, not what those import in
# turn: every file of the folder must be named here, and a comment behind an import would be taken for an address.
# ruff: noqa: F401
from .bootstrap import LEVEL, MIN_SPEAKERS
from .classification import METRICS as CLASSIFICATION_METRICS
from .multilabel import METRICS as MULTILABEL_METRICS
from .numbers import P_TARGETS, classification_numbers, regression_numbers, verification_numbers, verification_units
from .ordinal import METRICS as ORDINAL_METRICS
from .ranking import Ranking
from .regression import METRICS as REGRESSION_METRICS
from .verification import roc

# Configuration name -> type of one prediction, of one reference, names of the metrics.
CONFIGS = {
    "classification": ("int64", "int64", tuple(CLASSIFICATION_METRICS)),
    "regression": ("float64", "float64", tuple(REGRESSION_METRICS)),
    "verification": ("float64", "int64", tuple(verification_units(calibrated=True))),
}

CITATION = """\
@book{davison1997bootstrap,
  title = {Bootstrap Methods and their Application},
  author = {Davison, A. C. and Hinkley, D. V.},
  publisher = {Cambridge University Press},
  year = {1997}
}"""

INPUTS = """
Args:
    predictions: one a class index ("classification"), a value ("regression"), or the score of a trial ("verification").
    references: the labels, of the same kind; of a trial 1 for the same speaker, 0 for two.
    speakers: who speaks in each item, in the same order; left out: not known.
    left_speakers: of trials instead of `speakers`: who speaks on the left side of each.
    right_speakers: who speaks on the right side.
    p_target: of trials: prior probabilities of the same speaker, one or several; by default 0.01 and 0.05.
    calibrated: of trials: whether scores are log-likelihood ratios; only then there are act_dcf, cllr and min_cllr.
    seed: of the bootstrap.

Returns:
    for every metric m: m, m_low and m_high (the ends of its interval), and interval_unit ("speaker", "utterance" or
    "trial"). Costs at the first prior are min_dcf and act_dcf, at further ones min_dcf_0.05 and the like.
"""


class SpeechMetric(evaluate.Metric):
    """Metrics of classes (UAR, accuracy, ...), values (MAE, CCC, ...) or trials (EER, minDCF, ...), with intervals.

    Which of them says `config_name`.
    """

    def _info(self) -> evaluate.MetricInfo:
        if self.config_name not in CONFIGS:
            raise ValueError(f"unknown configuration {self.config_name!r}; valid: {', '.join(CONFIGS)}")
        prediction, reference, names = CONFIGS[self.config_name]
        alone = "trials" if self.config_name == "verification" else "utterances"
        features = {"predictions": datasets.Value(prediction), "references": datasets.Value(reference)}
        return evaluate.MetricInfo(
            description=f"{', '.join(names)} with {LEVEL:.0%} intervals from a bootstrap over speakers "
            f"(over {alone} only, with fewer than {MIN_SPEAKERS} speakers).",
            citation=CITATION,
            inputs_description=INPUTS,
            features=datasets.Features(features),
        )

    def _compute(
        self,
        predictions: Sequence[float],
        references: Sequence[float],
        speakers: Sequence[str] | None = None,
        left_speakers: Sequence[str] | None = None,
        right_speakers: Sequence[str] | None = None,
        p_target: float | Sequence[float] | None = None,
        calibrated: bool = False,
        seed: int = 0,
    ) -> dict[str, float | str]:
        of_trials = left_speakers is not None or right_speakers is not None or p_target is not None or calibrated
        if self.config_name == "verification":
            if speakers is not None or (left_speakers is None) != (right_speakers is None):
                raise ValueError("a trial has two speakers; give left_speakers and right_speakers, or neither")
            sides = None if left_speakers is None or right_speakers is None else (left_speakers, right_speakers)
            priors = P_TARGETS if p_target is None else p_target
            return _flat(
                verification_numbers(
                    [int(x) for x in references],
                    predictions,
                    sides,
                    seed,
                    llrs=predictions if calibrated else None,
                    p_target=priors,
                )
            )
        if of_trials:
            raise ValueError("left_speakers, right_speakers, p_target and calibrated are of 'verification' alone")
        if self.config_name == "regression":
            return _flat(regression_numbers(references, predictions, "", speakers, seed))
        labels, guesses = [int(x) for x in references], [int(x) for x in predictions]
        return _flat(classification_numbers(labels, guesses, max(labels + guesses) + 1, speakers, seed))


def _flat(numbers: list[dict[str, Any]]) -> dict[str, float | str]:
    """Numbers as one table, which is what `compute` gives."""
    flat: dict[str, float | str] = {"interval_unit": numbers[0]["interval_unit"]}
    for number in numbers:
        name = number["name"]
        flat |= {name: number["value"], f"{name}_low": number["low"], f"{name}_high": number["high"]}
    return flat
