"""What `hf-speech verify` writes: scores, embeddings, numbers of all trials and of groups, pictures."""

import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ..errors import InputError
from ..files import replacing
from ..metrics.verification import mistakes, roc
from ..model_facts import model_facts
from ..results import FILE_NAME, Results, metric_rows, run_facts
from ..trial_plots import plot_calibration, plot_det, plot_groups, plot_map, plot_scores
from .breakdown import as_metrics, breakdown, groups_of
from .embeddings import write_embeddings
from .maps import project
from .trial_sets import TrialSet
from .trials import ROWS_OF_TEXT
from .written import SCORES, TRIALS

if TYPE_CHECKING:
    from .verify import Scored, VerifyOptions

logger = logging.getLogger(__name__)

EMBEDDINGS = "embeddings.parquet"
DET, HISTOGRAM, GROUPS, MAP, CALIBRATION = "det.png", "scores.png", "groups.png", "map.png", "calibration.png"
PICTURES = (DET, HISTOGRAM, GROUPS, MAP, CALIBRATION)
SPLIT = "trials"


def claim(folder: Path) -> None:
    """Makes the folder, and takes away the results of an earlier run: from now on they are not of what lies there.

    Raises:
        InputError: it can't be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: can't be made ({error.strerror}); give another --output-dir") from error
    for name in (FILE_NAME, SCORES, TRIALS, EMBEDDINGS, *PICTURES):
        (folder / name).unlink(missing_ok=True)


def write_report(
    folder: Path, model_name: str | Path, model: Any, scored: "Scored", options: "VerifyOptions", wall_seconds: float
) -> Results:
    """Writes all files, results.json last, and gives what it holds.

    Args:
        folder: where.
        model_name: as it was given.
        model: that made the embeddings.
        scored: what was scored.
        options: how.
        wall_seconds: how long it took up to here.
    """
    trials, report = scored.trials, options.report
    logger.info("measuring %s trials", f"{len(trials.labels):,}")
    numbers = scored.numbers(report.p_target, report.seed)
    groups = breakdown(
        trials.labels,
        scored.scores,
        groups_of(trials.trials, trials.facts),
        trials.speakers_of_trials(),
        seed=report.seed,
        p_target=report.p_target,
        llrs=scored.llrs,
    )
    write_scores(folder / SCORES, trials, scored.scores)
    write_trial_table(folder / TRIALS, trials, scored.scores, scored.llrs)
    write_embeddings(folder / EMBEDDINGS, scored.heard.embeddings)
    if not report.no_plots:
        _draw(folder, scored, options, numbers, groups)
    name = trials.file.name
    ids = [text.partition(" ")[2] for batch in _lines(trials, None) for text in batch.splitlines()]
    results = Results(
        model=model_facts(model, name=Path(model_name).absolute().name, backbone=None, licence=None),
        data=_data(trials, scored),
        metrics=metric_rows(numbers, dataset=name, split=SPLIT, ids=ids)
        + as_metrics(groups, dataset=name, split=SPLIT),
        confusion=None,
        run=run_facts(None, wall_seconds=round(wall_seconds, 1), arguments=_arguments(options))
        | {"seed": report.seed, "scoring": {**scored.facts, "operating_points": _operating_points(scored)}},
    )
    results.write(folder)
    return results


def told(results: Results, folder: Path) -> str:
    """A few lines for the terminal: the numbers of all trials, and the EER of each group."""
    whole = [number for number in results.metrics if number["split"] == SPLIT]
    counts = results.data["trials"]
    lines = [f"{folder}: {counts['targets']:,} targets, {counts['nontargets']:,} non-targets of {counts['file']}"]
    lines += [f"  {number['name']:14}{_shown(number)} (by {number['interval_unit']})" for number in whole]
    groups = [number for number in results.metrics if number["split"] != SPLIT and number["name"] == "eer"]
    if groups:
        lines.append("  EER by group:")
        width = max(len(number["split"]) for number in groups) - len(SPLIT)
        lines += [
            f"    {number['split'].removeprefix(f'{SPLIT}, '):{width}}{_shown(number)} ({number['n']:,} trials, "
            f"by {number['interval_unit']})"
            for number in groups
        ]
    return "\n".join(lines)


def _shown(number: dict[str, Any]) -> str:
    if number["value"] is None:
        return "not defined"
    value, low, high = (number[end] for end in ("value", "low", "high"))
    if number["unit"] == "fraction":
        return f"{100 * value:6.2f} %  95 % interval {100 * low:.2f} to {100 * high:.2f} %"
    return f"{value:6.3f}    95 % interval {low:.3f} to {high:.3f}"


def write_scores(path: Path, trials: TrialSet, scores: NDArray) -> None:
    """Lines `label path1 path2 score`, in the order of the list; a score has all of its digits."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(_lines(trials, scores))


def _lines(trials: TrialSet, scores: NDArray | None) -> Iterator[str]:
    """`label path1 path2`, and the score where there is one; some thousand lines at a time."""
    paths = {name: str(path) for name, path in trials.audio.found.items()}
    root = str(trials.audio.root)
    shown = pa.array(
        [paths[name].removeprefix(f"{root}/") if name in paths else name for name in trials.names], pa.string()
    )
    for start in range(0, len(trials.labels), ROWS_OF_TEXT):
        part = slice(start, start + ROWS_OF_TEXT)
        columns = [pa.array(trials.labels[part]).cast(pa.string())]
        columns += [shown.take(pa.array(side[part])) for side in trials.sides]
        if scores is not None:
            columns.append(pa.array(scores[part], pa.float64()).cast(pa.string()))
        yield "\n".join(pc.binary_join_element_wise(*columns, " ").to_pylist()) + "\n"


def write_trial_table(path: Path, trials: TrialSet, scores: NDArray, llrs: NDArray | None) -> None:
    """Parquet, a row a trial: label, left, right, left_speaker, right_speaker, score, llr (null: not calibrated)."""
    names = pa.array(trials.names, pa.string())
    who = pa.nulls(len(names), pa.string()) if trials.speakers is None else pa.array(trials.speakers, pa.string())
    sides = [pa.array(side, pa.int32()) for side in trials.sides]
    speakers = [who.take(side).dictionary_encode() for side in sides]
    table = pa.table(
        {
            "label": trials.trials["label"],
            "left": pa.DictionaryArray.from_arrays(sides[0], names),
            "right": pa.DictionaryArray.from_arrays(sides[1], names),
            "left_speaker": speakers[0],
            "right_speaker": speakers[1],
            "score": pa.array(scores, pa.float64()),
            "llr": pa.nulls(len(scores), pa.float64()) if llrs is None else pa.array(llrs, pa.float64()),
        }
    )
    with replacing(path) as temporary:
        pq.write_table(table, temporary)


def _draw(
    folder: Path,
    scored: "Scored",
    options: "VerifyOptions",
    numbers: Sequence[dict[str, Any]],
    groups: Sequence[dict[str, Any]],
) -> None:
    """All pictures."""
    labels, trials = scored.trials.labels, scored.trials
    curve = roc(labels, scored.scores)
    plot_det({trials.file.name: curve}, folder / DET, options.report.p_target)
    plot_scores(labels, scored.scores, folder / HISTOGRAM, {"at the EER": curve.eer_threshold})
    if scored.llrs is not None:
        share = float(labels.mean())
        odds = scored.llrs + np.log(share) - np.log1p(-share)
        plot_calibration(labels, np.exp(-np.logaddexp(0.0, -odds)), folder / CALIBRATION)
    if groups:
        plot_groups(groups, folder / GROUPS, numbers)
    if trials.speakers is not None:
        how: dict[str, Any] = {"method": options.report.map_method, "seed": options.report.seed}
        found = project(scored.backend.vectors(scored.heard.vectors), trials.speakers, **how)
        chosen = found.chosen.tolist()
        genders = trials.facts_of("gender") if "gender" in trials.facts.column_names else None
        plot_map(
            found.points,
            [trials.speakers[i] for i in chosen],
            folder / MAP,
            found.method,
            None if genders is None else [genders[i] for i in chosen],
        )


def _operating_points(scored: "Scored") -> list[dict[str, Any]]:
    """Thresholds, and the error rates there: that of the EER of these trials, and those of the calibration."""
    labels = scored.trials.labels == 1
    threshold = roc(labels, scored.scores).eer_threshold
    points = [{"name": "eer of these trials", **_point(labels, scored.scores, threshold)}]
    if scored.calibration is not None and scored.llrs is not None:
        where = ", found on these trials" if scored.facts["calibration"].get("across_speakers") else ""
        for name, value in scored.calibration.thresholds.items():
            point = _point(labels, scored.llrs, value)
            points.append({"name": f"{name} of the calibration{where}", "llr": point.pop("score"), **point})
    return points


def _point(is_target: NDArray, values: NDArray, threshold: float) -> dict[str, Any]:
    wrong = mistakes(is_target, values, threshold)
    return {"score": threshold, "fnmr": float(wrong[is_target].mean()), "fmr": float(wrong[~is_target].mean())}


def _data(trials: TrialSet, scored: "Scored") -> dict[str, Any]:
    """The `data` section."""
    counts = trials.counts()
    split = {
        "utterances": len(scored.heard.embeddings.ids),
        "speakers": counts["speakers"],
        "seconds": round(float(scored.heard.embeddings.seconds.sum()), 1),
        "labels": {"target": counts["targets"], "non-target": counts["nontargets"]},
    }
    return {
        "name": trials.file.name,
        "target": "same speaker",
        "unit": "",
        "synthetic": False,
        "language": [],
        "license": None,
        "splits": {SPLIT: split},
        "split_rule": {},
        "left_out": [{"file": bad.id, "reason": bad.reason} for bad in scored.heard.embeddings.bad],
        "unlabelled": 0,
        "trials": counts,
    }


_PLACES = {"audio_root", "impostors", "enrolment", "utterances", "embedding_cache", "background", "cohort", "calibrate"}


def _is_local(value: str) -> bool:
    return os.path.isabs(value) or os.path.exists(value)


def _arguments(options: "VerifyOptions") -> dict[str, Any]:
    """All options in one table: local paths by their last name only."""
    table: dict[str, Any] = {}
    for part in vars(options).values():
        for name, value in vars(part).items():
            table[name] = Path(value).name if name in _PLACES and value and _is_local(value) else value
    return table
