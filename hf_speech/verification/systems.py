"""What gives scores and probabilities, fitted as the options say: back end and calibration."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from .backend import Backend, cohort_overlap
from .calibration import Calibration, cross_calibrated
from .heard import Heard, Others
from .options import CalibrationOptions, ScoringOptions
from .trial_sets import TrialSet

logger = logging.getLogger(__name__)


def fitted_backend(scoring: ScoringOptions, size: int, others: Mapping[str, Others]) -> Backend:
    """The back end that the options ask for.

    Args:
        scoring: the options.
        size: dimensions of the embeddings.
        others: "background" and "cohort", those that are given.

    Raises:
        InputError: they don't say who speaks where that is needed, or can't be fitted on.
    """
    background, cohort = others.get("background"), others.get("cohort")
    backend = Backend.cosine(size)
    if background is not None and (scoring.lda is not None or scoring.whiten is not None or scoring.plda):
        backend = Backend.fit(
            background.embeddings.vectors,
            background.require_speakers("background"),
            lda=scoring.lda,
            shrinkage=scoring.whiten,
            plda=scoring.plda,
            top=None,
            ids=background.embeddings.ids,
        )
    elif scoring.center:
        learnt = (background or cohort).embeddings  # type: ignore[union-attr]
        backend = Backend.centred(learnt.vectors, learnt.ids)
    if scoring.score_norm == "none":
        return backend
    role, group = ("cohort", cohort) if cohort is not None else ("background", background)
    speakers = None
    if scoring.cohort_of == "speakers":
        speakers = group.require_speakers(role, ", or give --cohort-of utterances")  # type: ignore[union-attr]
    recordings = group.embeddings  # type: ignore[union-attr]
    how: dict[str, Any] = {"norm": scoring.score_norm, "top": scoring.top, "ids": recordings.ids}
    backend = backend.normalised(recordings.vectors, speakers, **how)
    if scoring.score_norm == "as-norm" and len(backend.cohort) < scoring.top:
        logger.warning("the cohort has %d, fewer than --top %d: all of it counts", len(backend.cohort), scoring.top)
    return backend


def counts_of(role: str, others: Others, tested: list[str] | None) -> dict[str, Any]:
    """What results.json says of recordings of others; speakers who are in the trials as well are warned of.

    Args:
        role: "background" or "cohort".
        others: the recordings.
        tested: who is in the trials; None: not known.
    """
    facts: dict[str, Any] = {"name": Path(others.name).name, "recordings": len(others.embeddings.ids)}
    if others.speakers is None:
        return facts
    facts["speakers"] = len(set(others.speakers))
    if tested is None:
        return facts
    both, recordings = cohort_overlap(others.speakers, tested)
    facts |= {"speakers_in_trials": len(both), "recordings_of_them": recordings}
    if both:
        told = "--%s %s: %d of its speakers (%d recordings), such as %s, are in the trials too: give others"
        logger.warning(told, role, others.name, len(both), recordings, both[0])
    return facts


def overlap_of(name: str, fitted: TrialSet, tested: TrialSet) -> int | None:
    """How many speakers the list that is fitted on shares with the trials; None: not known. They are warned of."""
    if fitted.speakers is None or tested.speakers is None:
        return None
    both = sorted(set(fitted.speakers) & set(tested.speakers))
    if both:
        told = "--calibrate %s: %d of its speakers, such as %s, are in the trials too: ratios come out too good"
        logger.warning(told, name, len(both), both[0])
    return len(both)


def fitted_calibration(
    options: CalibrationOptions, backend: Backend, tested: Heard, fitted: Heard | None, seed: int
) -> tuple[Calibration, NDArray]:
    """A calibration for new trials, and the log-likelihood ratios (T,) of those that are tested.

    Args:
        options: how.
        backend: that gives the scores.
        tested: the trials.
        fitted: those that it is fitted on; None: the tested ones, and the ratio of each by those of other speakers.
        seed: of the deal of speakers.

    Raises:
        InputError: it can't be fitted on them.
    """
    scores, (own, names) = tested.scores(backend), tested.qualities(backend, options.qualities)
    how: dict[str, Any] = {"names": names, "p_target": options.calibration_prior}
    on, their_scores, theirs = tested, scores, own
    if fitted is not None:
        on, their_scores, theirs = fitted, fitted.scores(backend), fitted.qualities(backend, options.qualities)[0]
    rates = options.false_acceptance_rates
    calibration = Calibration.fit(their_scores, on.trials.labels, theirs, false_acceptance_rates=rates, **how)
    if fitted is not None:
        return calibration, calibration.llr(scores, own)
    speakers: Any = tested.trials.speakers_of_trials()
    return calibration, cross_calibrated(scores, tested.trials.labels, speakers, own, seed=seed, **how)
