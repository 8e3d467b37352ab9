"""Two runs on the same items: by how much their numbers differ, and whether that may be chance; `hf-speech compare`.

The runs are resampled together: every draw of speakers counts the same items for both, and what is drawn is the
difference of their numbers. What makes an item hard for both falls out, so its interval is narrower than the two
intervals side by side let expect. Efron & Tibshirani, "An Introduction to the Bootstrap", 1993, section 8.2 (any data
structure is resampled as it was drawn: here pairs of predictions of one item); Bisani & Ney, "Bootstrap estimates for
confidence intervals in ASR performance evaluation", ICASSP 2004, section 4, on comparing systems by the same resamples.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..files import replacing
from ..metrics.bootstrap import Interval, bootstrap, bootstrap_trials
from ..metrics.numbers import (
    P_TARGETS,
    Measure,
    check_trial_speakers,
    number_rows,
    verification_measure,
    voices,
    voices_of_trials,
)
from ..predictions import FILE_NAME as PREDICTIONS
from ..predictions import Predictions, read_predictions
from ..results import Results, plain, run_facts
from .written import SCORES, check_same, different, holds_trials, read_scores

FILE_NAME = "comparison.json"

Row = dict[str, Any]


def compare_trials(
    labels: Sequence[int] | NDArray,
    scores_a: Sequence[float] | NDArray,
    scores_b: Sequence[float] | NDArray,
    speakers: tuple[Sequence[str], Sequence[str]] | None = None,
    *,
    seed: int = 0,
    llrs: tuple[NDArray | None, NDArray | None] = (None, None),
    p_target: Sequence[float] = P_TARGETS,
) -> list[Row]:
    """EER, detection costs, and Cllr of two systems, with the interval of their difference.

    Args:
        labels: (T,) 1 for a target trial, 0 for a non-target.
        scores_a: (T,) of the one system; the higher, the likelier the same speaker.
        scores_b: (T,) of the other one.
        speakers: (T,) who speaks on the left and (T,) on the right; None: not known.
        seed: of the resamples.
        llrs: log-likelihood ratios (T,) of each system, if it has any; what they cost is compared where both have.
        p_target: prior probabilities of a target.

    Returns:
        A row a number: name, a, b, difference (b - a), low, high, unit, interval_unit.

    Raises:
        ValueError: as for `verification_numbers`.
    """
    if speakers is not None:
        check_trial_speakers(labels, *speakers)
    both = llrs[0] is not None and llrs[1] is not None
    one, other = (
        verification_measure(labels, scores, llrs=ratios if both else None, p_target=p_target)
        for scores, ratios in zip((scores_a, scores_b), llrs, strict=True)
    )

    def resample(statistic: Callable[[NDArray], Any]) -> Interval:
        return bootstrap_trials(statistic, voices_of_trials(np.asarray(labels), speakers) or len(labels), seed=seed)

    return _differences(one, other, resample)


def compare_items(one: Measure, other: Measure, speakers: Sequence[str] | None = None, *, seed: int = 0) -> list[Row]:
    """The numbers that two models have in common, with the interval of their difference.

    Args:
        one: of N items.
        other: of the same items in the same order.
        speakers: (N,) who speaks; None: not known.
        seed: of the resamples.

    Returns:
        Rows as of `compare_trials`.
    """

    def resample(statistic: Callable[[NDArray], Any]) -> Interval:
        return bootstrap(statistic, one.count if speakers is None else speakers, seed=seed)

    return _differences(one, other, resample)


def _differences(one: Measure, other: Measure, resample: Callable[[Callable[[NDArray], Any]], Interval]) -> list[Row]:
    units = {name: unit for name, unit in one.units.items() if name in other.units}
    places = [[list(measure.units).index(name) for name in units] for measure in (one, other)]

    def statistic(weights: NDArray) -> NDArray:
        a, b = (np.array(measure.of(weights))[place] for measure, place in zip((one, other), places, strict=True))
        return b - a

    a, b = one.values(), other.values()
    rows = number_rows(units, [b[name] - a[name] for name in units], resample(statistic))
    ends = ("low", "high", "unit", "interval_unit")
    return [
        {"name": row["name"], "a": a[row["name"]], "b": b[row["name"]], "difference": row["value"]}
        | {end: row[end] for end in ends}
        for row in rows
    ]


def compare(folder_a: Path, folder_b: Path, *, seed: int = 0) -> dict[str, Any]:
    """Compares what `hf-speech verify` has written into two folders, or what `evaluate` or `train` has.

    Args:
        folder_a: of the one run.
        folder_b: of the other one.
        seed: of the resamples.

    Returns:
        what ("trials" or "utterances"), a, b (the folders), counts, seed, and differences: the rows of
        `compare_trials`, each with n, the items. Of several tasks, a name is <task>/<name>.

    Raises:
        InputError: a folder holds no scores and no predictions, the two are of two kinds, or not of the same items with
            the same labels.
    """
    trials = [_is_of_trials(folder) for folder in (folder_a, folder_b)]
    if trials[0] != trials[1]:
        one, other = (folder_a, folder_b) if trials[0] else (folder_b, folder_a)
        raise InputError(f"{one} holds scores of trials and {other} predictions; compare two runs of a kind")
    found = _of_trials(folder_a, folder_b, seed) if trials[0] else _of_items(folder_a, folder_b, seed)
    return {
        "what": "trials" if trials[0] else "utterances",
        "a": str(folder_a),
        "b": str(folder_b),
        "seed": seed,
    } | found


def _is_of_trials(folder: Path) -> bool:
    if holds_trials(folder):
        return True
    if (folder / PREDICTIONS).is_file():
        return False
    raise InputError(
        f"{folder}: holds neither {SCORES} nor {PREDICTIONS}; give a folder that `hf-speech verify`, `evaluate` or "
        "`train` has written"
    )


def _of_trials(folder_a: Path, folder_b: Path, seed: int) -> dict[str, Any]:
    one, other = (read_scores(folder).ordered() for folder in (folder_a, folder_b))
    check_same(one, other)
    targets = int(one.labels.sum())
    if not 0 < targets < len(one.labels):
        raise InputError(f"{one.source}: all trials are of one kind; the EER is not defined without the other")
    who = one.speakers if one.speakers is not None else other.speakers
    try:
        rows = compare_trials(
            one.labels,
            one.scores,
            other.scores,
            None if who is None else (who[:, 0], who[:, 1]),  # type: ignore[arg-type]
            seed=seed,
            llrs=(one.llrs, other.llrs),
            p_target=_priors(folder_a, folder_b),
        )
    except ValueError as error:
        raise InputError(f"{one.source}: {error}") from error
    speakers = None if who is None else len(set(who.ravel().tolist()))
    counts = {"trials": len(one.labels), "targets": targets, "speakers": speakers}
    rows = [row | {"n": len(one.labels)} for row in rows]
    return {"counts": counts, "calibrated": [one.llrs is not None, other.llrs is not None], "differences": rows}


def _priors(*folders: Path) -> Sequence[float]:
    """The priors that both runs were measured at; the usual ones where they are not known or differ."""
    found = []
    for folder in folders:
        try:
            found.append(Results.read(folder).run["arguments"].get("p_target"))
        except InputError:  # scores of another program
            found.append(None)
    return tuple(found[0]) if found[0] and found[0] == found[1] else P_TARGETS


def _of_items(folder_a: Path, folder_b: Path, seed: int) -> dict[str, Any]:
    one, other = (read_predictions(folder, Results.read(folder)) for folder in (folder_a, folder_b))
    several = len(one) > 1 or len(other) > 1
    pairs = [(name, one[name], other[name]) for name in one if name in other]
    if not several:  # whatever the two call it
        pairs = [(name, one[name], only) for name, only in zip(one, other.values(), strict=True)]
    if not pairs:
        raise InputError(f"{folder_a} predicts {', '.join(one)}, {folder_b} {', '.join(other)}; compare runs of a task")
    rows: list[Row] = []
    for name, a, b in pairs:
        orders = _same_items(a, b, folder_a, folder_b)
        first, second = (_in_order(found.measure, order) for found, order in zip((a, b), orders, strict=True))
        if not first.units.keys() & second.units.keys():
            raise InputError(f"{folder_a} and {folder_b} predict {name} in two ways, and have no number in common")
        found = compare_items(first, second, _speakers(a, b, orders), seed=seed)
        rows += [row | {"name": f"{name}/{row['name']}" if several else row["name"], "n": first.count} for row in found]
    return {"counts": {"utterances": rows[0]["n"]}, "differences": rows}


def _speakers(a: Predictions, b: Predictions, orders: tuple[list[int], list[int]]) -> Sequence[str] | None:
    """Whom to resample, in the common order of the items; None: they are not known, or they are the classes."""
    for found, order in zip((a, b), orders, strict=True):
        if "" not in found.speakers:
            speakers = [found.speakers[i] for i in order]
            is_classes = "uar" in found.measure.units
            return voices([found.labels[i] for i in order], speakers) if is_classes else speakers
    return None


def _same_items(a: Predictions, b: Predictions, folder_a: Path, folder_b: Path) -> tuple[list[int], list[int]]:
    """Places of the items of either run in one order, by their names."""
    orders = [sorted(range(len(found.ids)), key=lambda i, ids=found.ids: ids[i]) for found in (a, b)]  # type: ignore[misc]
    names = [[found.ids[i] for i in order] for found, order in zip((a, b), orders, strict=True)]
    if names[0] != names[1]:
        raise different("utterances", (folder_a, names[0]), (folder_b, names[1]))
    labels = [[found.labels[i] for i in order] for found, order in zip((a, b), orders, strict=True)]
    wrong = [i for i, (one, other) in enumerate(zip(*labels, strict=True)) if one != other]
    if wrong:
        i = wrong[0]
        raise InputError(
            f"{folder_a} and {folder_b} have other labels for {len(wrong):,} utterances: {names[0][i]} is "
            f"{labels[0][i]} and {labels[1][i]}; measure both on the same labels"
        )
    return orders[0], orders[1]


def _in_order(measure: Measure, order: list[int]) -> Measure:
    """The measure of the same items, whose weights come in another order."""
    back = np.argsort(order)
    return Measure(measure.units, measure.count, lambda weights: measure.of(weights[back]))


def told(found: dict[str, Any]) -> str:
    """The comparison as a table for the terminal."""
    how_many = f"{found['counts'][found['what']]:,} {found['what']}"
    rows = [("", "A", "B", "B - A", "95 % interval", ""), *map(_cells, found["differences"])]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [f"A: {found['a']}", f"B: {found['b']}", f"the same {how_many}, resampled together by {_unit(found)}"]
    for name, *cells in rows:
        shown = [cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True)]
        shown[-1] = cells[-1]
        lines.append("  ".join([f"  {name:{widths[0]}}", *shown]).rstrip())
    return "\n".join(lines)


def _unit(found: dict[str, Any]) -> str:
    unit = found["differences"][0]["interval_unit"]
    alone = "; their speakers are not known, or too few, so the intervals are too narrow" if unit == "trial" else ""
    return unit + alone


def _cells(row: Row) -> tuple[str, ...]:
    """Name, A, B, difference, interval, and what it says."""
    scale, digits, unit = (100, 2, " %") if row["unit"] == "fraction" else (1, 3, "")
    a, b, difference, low, high = (scale * row[key] for key in ("a", "b", "difference", "low", "high"))
    if not np.isfinite([a, b, low, high]).all():
        return row["name"], f"{a:.{digits}f}{unit}", f"{b:.{digits}f}{unit}", "", "", "not defined"
    says = "B is higher" if low > 0 else "B is lower" if high < 0 else "equal" if low == high else "may be chance"
    numbers = (f"{a:.{digits}f}{unit}", f"{b:.{digits}f}{unit}", f"{difference:+.{digits}f}{unit}")
    return row["name"], *numbers, f"{low:+.{digits}f} to {high:+.{digits}f}{unit}", says


def write(found: dict[str, Any], folder: Path) -> Path:
    """Writes comparison.json into a folder, which is made if need be, and gives its path.

    It is what `compare` gives, and `run` as in results.json; what is not defined is null.

    Raises:
        InputError: the folder can't be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: can't be made ({error.strerror}); give another --output-dir") from error
    names = {side: Path(found[side]).absolute().name for side in ("a", "b")}
    content = plain(found) | names | {"run": run_facts(found["seed"], device="cpu")}
    with replacing(folder / FILE_NAME) as temporary:
        temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n", "utf-8")
    return folder / FILE_NAME
