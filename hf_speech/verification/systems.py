"""What gives scores and probabilities, fitted as the options say: back end and calibration."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ..errors import InputError
from .backend import Backend, cohort_overlap
from .calibration import Calibration, cross_calibrated
from .heard import Heard, OtherRows, Others
from .options import CalibrationOptions, ScoringOptions

logger = logging.getLogger(__name__)

_UNKNOWN = "not every row says who speaks; name the column: --cohort-columns speaker_id=..."


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
            background.speakers or [],
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
    group = cohort or background
    speakers = group.speakers if scoring.cohort_of == "speakers" else None  # type: ignore[union-attr]
    recordings = group.embeddings  # type: ignore[union-attr]
    how: dict[str, Any] = {"norm": scoring.score_norm, "top": scoring.top, "ids": recordings.ids}
    backend = backend.normalised(recordings.vectors, speakers, **how)
    if scoring.score_norm == "as-norm" and len(backend.cohort) < scoring.top:
        logger.warning("the cohort has %d, fewer than --top %d: all of it counts", len(backend.cohort), scoring.top)
    return backend


def require_speakers(scoring: ScoringOptions, others: Mapping[str, OtherRows]) -> None:
    """Refuses recordings of others that don't say who speaks, where that is needed.

    Raises:
        InputError: there are such.
    """
    background, cohort = others.get("background"), others.get("cohort")
    if background is not None and background.speakers is None:
        if scoring.lda is not None or scoring.whiten is not None or scoring.plda:
            raise InputError(f"--background {background.name}: {_UNKNOWN}")
    group = cohort or background
    if group is not None and group.speakers is None and scoring.score_norm != "none":
        if scoring.cohort_of == "speakers":
            role = "cohort" if cohort is not None else "background"
            raise InputError(f"--{role} {group.name}: {_UNKNOWN}, or give --cohort-of utterances")


def counts_of(role: str, others: Others, tested: Heard) -> dict[str, Any]:
    """What results.json says of recordings of others; those that are in the trials too are warned of.

    Args:
        role: "background" or "cohort".
        others: the recordings.
        tested: the trials.
    """
    facts: dict[str, Any] = {"name": Path(others.name).name, "recordings": len(others.embeddings.ids)}
    shared = set(others.embeddings.digests) & set(tested.embeddings.digests)
    facts["recordings_in_trials"] = len(shared)
    if shared:
        logger.warning(
            "--%s %s: %d of its recordings are in the trials too; give others", role, others.name, len(shared)
        )
    if others.speakers is None:
        return facts
    facts["speakers"] = len(set(others.speakers))
    if tested.trials.speakers is None:
        return facts
    both, recordings = cohort_overlap(others.speakers, tested.trials.speakers)
    facts |= {"speakers_in_trials": len(both), "recordings_of_them": recordings}
    if both:
        told = "--%s %s: %d of its speakers (%d recordings), such as %s, are in the trials too: give others"
        logger.warning(told, role, others.name, len(both), recordings, both[0])
    return facts


def overlap_of(name: str, fitted: Heard, tested: Heard) -> dict[str, Any]:
    """How much of the list that is fitted on is in the trials too, for results.json; it is warned of."""
    shared = set(fitted.embeddings.digests) & set(tested.embeddings.digests)
    facts: dict[str, Any] = {"recordings_in_trials": len(shared), "speakers_in_trials": None}
    if fitted.trials.speakers is not None and tested.trials.speakers is not None:
        facts["speakers_in_trials"] = len(set(fitted.trials.speakers) & set(tested.trials.speakers))
    if shared or facts["speakers_in_trials"]:
        told = "--calibrate %s: %s of its speakers and %d of its recordings are in the trials too: ratios are too good"
        logger.warning(told, name, facts["speakers_in_trials"] or "some", len(shared))
    return facts


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
