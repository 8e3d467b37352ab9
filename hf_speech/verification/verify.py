"""A model and a list of trials -> scores, numbers with intervals, pictures: `hf-speech verify MODEL TRIALS`."""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ..errors import InputError, lookup
from ..inference import load_model, tasks_of
from ..metrics.numbers import verification_numbers
from ..ranks import join_ranks
from ..results import FILE_NAME, Results
from .backend import Backend
from .calibration import Calibration
from .heard import Ear, Heard, OtherRows
from .kept import Kept, check_folder, keep, kept_of
from .options import CalibrationOptions, EmbeddingOptions, ReportOptions, ScoringOptions, TrialOptions
from .pairs import judge
from .qualities import MEASURES
from .systems import counts_of, fitted_backend, fitted_calibration, overlap_of, require_speakers
from .trial_sets import TrialSet, read_trial_set
from .trials import fingerprint

logger = logging.getLogger(__name__)

CROSS = "cross"


@dataclass(frozen=True)
class VerifyOptions:
    """All that can be told, part by part."""

    trials: TrialOptions = field(default_factory=TrialOptions)
    embedding: EmbeddingOptions = field(default_factory=EmbeddingOptions)
    scoring: ScoringOptions = field(default_factory=ScoringOptions)
    calibration: CalibrationOptions = field(default_factory=CalibrationOptions)
    report: ReportOptions = field(default_factory=ReportOptions)

    @property
    def plain(self) -> bool:
        """Whether the score is the cosine of embeddings as they are, and nothing is fitted."""
        return self.scoring == ScoringOptions()


@dataclass(frozen=True)
class Scored:
    """A list with its scores.

    Attributes:
        heard: the list and its embeddings.
        backend: that gives the scores.
        scores: (T,) the higher, the likelier the same speaker: those of the back end; where quality measures are
            weighed beside them, the log-likelihood ratios, as then these order the trials.
        llrs: (T,) log-likelihood ratios; None: not calibrated.
        calibration: that gives them to new trials.
        facts: how they were made, for results.json.
    """

    heard: Heard
    backend: Backend
    scores: NDArray
    llrs: NDArray | None
    calibration: Calibration | None
    facts: dict[str, Any]

    @property
    def trials(self) -> TrialSet:
        """The list."""
        return self.heard.trials

    def numbers(self, p_target: Sequence[float], seed: int) -> list[dict[str, Any]]:
        """EER, costs, and of log-likelihood ratios Cllr, with intervals."""
        return verification_numbers(
            self.trials.labels,
            self.scores,
            self.trials.speakers_of_trials(),
            seed,
            p_target=p_target,
            llrs=self.llrs,
        )


def verify(
    model_name: str | Path, trials: str | Path, folder: str | Path, options: VerifyOptions | None = None
) -> Results | None:
    """Scores a list of trials, measures, and writes all that came out into a folder.

    Written are scores.txt, trials.parquet, embeddings.parquet, pictures, and results.json, which comes last. Under
    torchrun or `accelerate launch` the ranks share the embedding.

    Args:
        model_name: a model's folder or Hub name; ours, or any other that gives embeddings.
        trials: the list, in any form of `formats`.
        folder: where to write; it is made if need be.
        options: all else.

    Returns:
        What results.json holds; None on all ranks but the first.

    Raises:
        InputError: something that was given can't be used; no results are written then, and what was embedded is kept.
    """
    from .report import claim, write_report  # draws, which is slow to import

    chosen, place, started = options or VerifyOptions(), Path(folder), time.monotonic()
    for name in chosen.calibration.qualities:
        lookup(MEASURES, name, "quality measure")
    if (place / FILE_NAME).exists() and not chosen.report.overwrite:
        raise InputError(f"{place}: holds results already; give another --output-dir, or --overwrite")
    if (place / "config.json").exists():
        raise InputError(f"{place}: holds a model, whose results.json this would replace; give another --output-dir")
    if chosen.calibration.keep:
        check_folder(model_name)
    tested = read_trial_set(trials, chosen.trials, impostors=chosen.trials.impostors)
    tested.require_both_kinds()
    fitted = _list_to_fit_on(chosen, tested)
    others = _others(chosen)
    model, extractor = load_model(model_name)
    kept = _kept(model_name, chosen)
    claim(place)
    chunk = chosen.embedding.chunk_seconds if kept is None else kept.chunk_seconds
    cache = Path(chosen.embedding.embedding_cache or place / "embeddings")
    ear = Ear(model, extractor, chosen.embedding, chunk, cache)
    try:
        scored = _scored(ear, tested, fitted, others, kept, chosen)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"by Ctrl-C; the same command goes on with the embeddings in {cache}") from None
    facts = {"speakers_of_training": _heard_in_training(model, scored.trials)}
    scored = replace(scored, facts={**scored.facts, **facts})
    if join_ranks()[0] != 0:
        return None
    results = write_report(place, model_name, model, scored, chosen, wall_seconds=time.monotonic() - started)
    if chosen.calibration.keep and scored.calibration is not None:
        backend = None if chosen.plain else scored.backend
        on = scored.facts["calibration"]["fitted_on"]["fingerprint"]
        keep(model_name, backend, scored.calibration, chunk_seconds=chunk, fitted_on=on)
        logger.info("%s keeps the calibration: `hf-speech verify %s A.wav B.wav` decides by it", model_name, model_name)
    return results


def _heard_in_training(model: Any, trials: TrialSet) -> int | None:
    """How many of the tested speakers are labels of the model; None: not known. Either is warned of."""
    tasks = tasks_of(model)
    if trials.speakers is None:
        if any(task.name == "speaker_id" for task in tasks):
            told = "who speaks is not known, nor whether the model was trained on these speakers: --utterances says so"
            logger.warning(told)
        return None
    labels = {label for task in tasks for label in task.labels}
    both = sorted(labels & set(trials.speakers))
    if both:
        told = "%d tested speakers, such as %s, have the names of speakers that the model was trained on: what is "
        told += "measured on them is too good"
        logger.warning(told, len(both), both[0])
    return len(both)


def _list_to_fit_on(options: VerifyOptions, tested: TrialSet) -> TrialSet | None:
    """The list that the calibration is fitted on, if it is another.

    Raises:
        InputError: it can't be read, or there is none and the tested speakers are not known.
    """
    name = options.calibration.calibrate
    if name is None:
        return None
    if name != CROSS:
        fitted = read_trial_set(name, options.trials)
        fitted.require_both_kinds()
        return fitted
    if tested.speakers is None:
        raise InputError(
            f"--calibrate {CROSS} fits what is used for each trial on other speakers, and who speaks is not known of "
            "every side: give --utterances, or another list to fit on"
        )
    return None


def _kept(model_name: str | Path, options: VerifyOptions) -> Kept | None:
    """What the model keeps, where nothing else was asked for."""
    calibration, chunk = options.calibration, options.embedding.chunk_seconds
    if not options.plain or calibration.no_kept or calibration.calibrate is not None or chunk is not None:
        return None
    kept = kept_of(model_name)
    if kept is not None:
        logger.info("scored and calibrated as the model keeps it; --no-kept scores by the plain cosine")
    return kept


def _others(options: VerifyOptions) -> dict[str, OtherRows]:
    """The rows of background and cohort, as far as they are given; looked at before anything is computed.

    Raises:
        InputError: a data set can't be read, or does not say who speaks where that is needed.
    """
    scoring = options.scoring
    columns = scoring.cohort_columns or options.trials.columns
    named = {"background": scoring.background, "cohort": scoring.cohort}
    rows = {role: OtherRows.read(role, name, columns) for role, name in named.items() if name is not None}
    require_speakers(scoring, rows)
    return rows


def _scored(
    ear: Ear,
    tested: TrialSet,
    fitted: TrialSet | None,
    rows: Mapping[str, OtherRows],
    kept: Kept | None,
    options: VerifyOptions,
) -> Scored:
    """Embeds all that is needed, and scores."""
    on_missing, scoring = options.trials.on_missing, options.scoring
    heard = ear.trials(tested, on_missing)
    facts: dict[str, Any] = {"embeddings": heard.embeddings.facts}
    if kept is not None:
        return _scored_as_kept(heard, kept, facts)
    others = {role: ear.others(found, on_missing) for role, found in rows.items()}
    for role, group in others.items():
        facts[role] = counts_of(role, group, heard)
    backend = fitted_backend(scoring, heard.vectors.shape[1], others)
    facts["cohort_size"] = len(backend.cohort)
    scores = heard.scores(backend)
    if options.calibration.calibrate is None:
        return Scored(heard, backend, scores, None, None, facts)
    other = None if fitted is None else ear.trials(fitted, on_missing)
    calibration, llrs = fitted_calibration(options.calibration, backend, heard, other, options.report.seed)
    where = {"fitted_on": (other or heard).trials.counts(), "across_speakers": other is None}
    if other is not None:
        where |= overlap_of(str(options.calibration.calibrate), other, heard)
    facts["calibration"] = {**where, **calibration.to_dict()}
    return Scored(heard, backend, llrs if options.calibration.qualities else scores, llrs, calibration, facts)


def _scored_as_kept(heard: Heard, kept: Kept, facts: dict[str, Any]) -> Scored:
    backend, trials = kept.backend or Backend.cosine(heard.vectors.shape[1]), heard.trials
    judged = judge(heard.vectors, trials.facts_of("duration"), *trials.sides, trials.names, kept)
    same = kept.fitted_on == fingerprint(trials.trials)
    if same:
        logger.warning("the kept calibration was fitted on this very list: actDCF and Cllr come out too good")
    told = {"kept_with_the_model": True, "fitted_on_these_trials": same, **kept.calibration.to_dict()}
    scores = judged.llrs if len(kept.calibration.names) > 1 else judged.scores
    return Scored(heard, backend, scores, judged.llrs, kept.calibration, {**facts, "calibration": told})
