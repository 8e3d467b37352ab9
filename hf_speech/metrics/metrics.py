"""The metrics as a Hugging Face `evaluate` module, which has to have its folder's name to be found.

metric = evaluate.load("path/to/hf_speech/metrics", "classification")     # or "regression"; needs no network
metric.compute(predictions=[0, 1], references=[0, 0], speakers=["ada", "bob"])
"""

from collections.abc import Sequence

import datasets
import evaluate

# `evaluate` copies this file and the siblings that it finds by reading the import lines below, not what those import in
# turn: every file of the folder must be named here, and a comment behind an import would be taken for an address.
# ruff: noqa: F401
from .bootstrap import LEVEL, MIN_SPEAKERS
from .classification import METRICS as CLASSIFICATION_METRICS
from .multilabel import METRICS as MULTILABEL_METRICS
from .numbers import classification_numbers, regression_numbers
from .ordinal import METRICS as ORDINAL_METRICS
from .ranking import Ranking
from .regression import METRICS as REGRESSION_METRICS
from .verification import roc

# Configuration name -> type of one prediction, names of the metrics.
CONFIGS = {
    "classification": (datasets.Value("int64"), tuple(CLASSIFICATION_METRICS)),
    "regression": (datasets.Value("float64"), tuple(REGRESSION_METRICS)),
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
    predictions: one a class index ("classification") or a value ("regression").
    references: the labels, of the same kind.
    speakers: who speaks in each item, in the same order; left out: not known.
    seed: of the bootstrap.

Returns:
    for every metric m: m, m_low and m_high (the ends of its interval), and interval_unit ("speaker" or "utterance").
"""


class SpeechMetric(evaluate.Metric):
    """UAR, accuracy, macro-F1, or MAE, RMSE, Pearson's r, CCC, with intervals; which of the two says `config_name`."""

    def _info(self) -> evaluate.MetricInfo:
        if self.config_name not in CONFIGS:
            raise ValueError(f"unknown configuration {self.config_name!r}; valid: {', '.join(CONFIGS)}")
        value, names = CONFIGS[self.config_name]
        return evaluate.MetricInfo(
            description=f"{', '.join(names)} with {LEVEL:.0%} intervals from a bootstrap over speakers and their "
            f"utterances (over utterances only, with fewer than {MIN_SPEAKERS} speakers).",
            citation=CITATION,
            inputs_description=INPUTS,
            features=datasets.Features({"predictions": value, "references": value}),
        )

    def _compute(
        self,
        predictions: Sequence[float],
        references: Sequence[float],
        speakers: Sequence[str] | None = None,
        seed: int = 0,
    ) -> dict[str, float | str]:
        if self.config_name == "classification":
            labels, guesses = [int(x) for x in references], [int(x) for x in predictions]
            numbers = classification_numbers(labels, guesses, max(labels + guesses) + 1, speakers, seed)
        else:
            numbers = regression_numbers(references, predictions, "", speakers, seed)
        flat: dict[str, float | str] = {"interval_unit": numbers[0]["interval_unit"]}
        for number in numbers:
            name = number["name"]
            flat |= {name: number["value"], f"{name}_low": number["low"], f"{name}_high": number["high"]}
        return flat
