"""Numbers by group of trials: for whom, and on what speech, a system does worse.

A group takes trials by what is known of both sides: gender, session, duration, language, corpus. Each has its own EER
and minDCF, found with a threshold of its own; FNMR and FMR are those of one threshold for all, that of the EER of the
whole list, so they say whom the system that is put to use refuses, or takes for another, more often than others.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import ArrayLike, NDArray
from tqdm import tqdm

from ..errors import InputError
from ..metrics.bootstrap import bootstrap_trials
from ..metrics.numbers import P_TARGETS, Measure, number_rows, verification_measure, voices_of_trials
from ..metrics.ranking import Ranking
from ..metrics.verification import ranked_roc
from .trials import for_each, parents_of

logger = logging.getLogger(__name__)

# Seconds of the shorter side, where one bucket ends and the next begins: fixed, so that results on different data
# compare. The shortest utterances of VoxCeleb1 have 4 s.
SECONDS = (2.0, 4.0, 8.0)
REPETITIONS = 1_000
FEWEST_REPETITIONS = 200
MOST_DRAWN = 100_000_000  # trials drawn for the intervals of a group; some 5 s
# Column -> what a group with one value on both sides is called, with any same one, with two.
_TEXTS = {
    "gender": ("both {}", "same gender", "different genders"),
    "language": ("both in {}", "same language", "different languages"),
    "corpus": ("both of {}", "same corpus", "different corpora"),
}
_MOST_VALUES = 12  # a column with more has no groups of its single values
_RATES = {"fnmr": "fraction", "fmr": "fraction"}

Groups = dict[str, NDArray]
_Sides = tuple[pa.Array, pa.Array]
_Voices = tuple[NDArray, NDArray]


def groups_of(trials: pa.Table, utterances: pa.Table | None = None) -> Groups:
    """The groups that the trials fall into, as far as facts are known; a trial may be in several, or in none.

    By `gender`, `language` and `corpus`: both sides alike (of each value, and of any), and unlike. By session, `same
    session` and `cross session`: the targets of one, or of two sessions, each against all non-targets, as these are of
    two sessions always. By `duration`: the seconds of the shorter side. A group that would be the whole list is left
    out, and so is one that is another of the same fact.

    Args:
        trials: the list, with the columns of `TRIALS`.
        utterances: facts: `id` and any of `gender`, `language`, `corpus`, `session_id` (that tells the sessions
            of one speaker apart) and `duration` (seconds). Values may be null. Without `session_id` the
            session is what stands before the last "/" of an id.

    Returns:
        Name of a group -> (T,) bool, True at its trials.

    Raises:
        InputError: the facts have no ids, one twice, or none of an utterance in the list.
    """
    left, right = (trials[side].combine_chunks() for side in ("left", "right"))
    facts = {} if utterances is None else _aligned(utterances, left, right)
    found: Groups = {}
    for column, words in _TEXTS.items():
        if column in facts:
            found |= _distinct(_by_text(facts[column], words))
    sessions = facts.get("session_id") or (for_each(left, _folders), for_each(right, _folders))
    found |= _distinct(_by_session(sessions, np.asarray(trials["label"]) == 1))
    if "duration" in facts:
        found |= _distinct(_by_duration(facts["duration"]))
    return found


def breakdown(
    labels: ArrayLike,
    scores: ArrayLike,
    groups: Mapping[str, NDArray],
    speakers: tuple[Sequence[Any], Sequence[Any]] | None = None,
    *,
    seed: int = 0,
    p_target: float | Sequence[float] = P_TARGETS,
    c_miss: float = 1.0,
    c_fa: float = 1.0,
    llrs: ArrayLike | None = None,
    threshold: float | None = None,
) -> list[dict[str, Any]]:
    """The numbers of `verification_numbers` of each group, and `fnmr` and `fmr` at one threshold for all.

    Intervals are as everywhere by speaker, of 1,000 resamples; of fewer where a group has more than 100,000 trials, at
    least 200. Where fewer than 10 speakers have targets, trials are resampled: the few would be drawn whole or not at
    all. In a resample the threshold of `fnmr` and `fmr` stays.

    Args:
        labels: (T,) 1 for a target, 0 for a non-target.
        scores: (T,) finite.
        groups: name -> (T,) bool, as from `groups_of`; one without trials is left out.
        speakers: (T,) who speaks on the left and (T,) on the right; None: not known.
        seed: of the resamples.
        p_target: see `verification_numbers`.
        c_miss: see there.
        c_fa: see there.
        llrs: (T,) log-likelihood ratios, see there; None: there are none.
        threshold: score from which on a trial is accepted; None: that of the EER of all trials.

    Returns:
        For each group {group, trials, targets, nontargets, speakers (how many; None: not known), metrics: [number
        rows]}. What a group with one kind of trials does not define (EER, costs) is None.

    Raises:
        InputError: the list has only one kind of trials and there is no threshold, or a group is of other length.
        ValueError: no trials, other shapes, other labels, a score that is not finite.
    """
    ranking = Ranking.of(labels, scores)
    order = ranking.order  # sorted once: resamples of a group are then read from memory in order
    if threshold is None:
        threshold = ranked_roc(ranking).eer_threshold
        if np.isnan(threshold):
            raise InputError("the list has only one kind of trials, so it has no EER; give targets and non-targets")
    for name, mask in groups.items():
        if np.shape(mask) != order.shape:
            raise InputError(f"group {name!r} is {np.shape(mask)} for {len(order)} trials; give True or False for each")
    sides = None if speakers is None else [np.asarray(side, dtype=object)[order] for side in speakers]
    options: dict[str, Any] = {"p_target": p_target, "c_miss": c_miss, "c_fa": c_fa}
    rows = []
    for name, mask in tqdm(groups.items(), desc="groups", disable=None, leave=False):
        chosen = np.flatnonzero(np.asarray(mask)[order])
        if not len(chosen):
            continue
        kinds, values = np.asarray(labels)[order[chosen]], np.asarray(scores)[order[chosen]]
        voices = None if sides is None else (sides[0][chosen], sides[1][chosen])
        ratios = None if llrs is None else np.asarray(llrs)[order[chosen]]
        measure = verification_measure(kinds, values, llrs=ratios, **options)
        measure = _with_rates(measure, kinds == 1, values, threshold)
        rows.append({"group": name, **_counts(kinds, voices), "metrics": _numbers(measure, kinds, voices, seed)})
    return rows


def as_metrics(rows: Sequence[Mapping[str, Any]], *, dataset: str, split: str) -> list[dict[str, Any]]:
    """The numbers of a breakdown as results.json has them: the group stands behind the name of the split.

    They have no fingerprint of their own: which trials a group has follows from the list, whose fingerprint stands
    beside its own numbers.
    """
    return [
        {**number, "dataset": dataset, "split": f"{split}, {row['group']}", "n": row["trials"], "fingerprint": None}
        for row in rows
        for number in row["metrics"]
    ]


def with_models(utterances: pa.Table, models: Mapping[str, Sequence[str]]) -> pa.Table:
    """The facts of utterances, and of models that are enrolled with several of them, which a list may name as a side.

    A model has what all its utterances agree on, else null; its duration is their mean.

    Args:
        utterances: as for `groups_of`.
        models: name -> ids of its utterances; a name that is an utterance's own is passed over.
    """
    rows = {row["id"]: row for row in utterances.to_pylist()}
    for name, members in models.items():
        parts = [rows.get(member, {}) for member in members]
        row: dict[str, Any] = {"id": name}
        for column in set(utterances.column_names) - {"id"}:
            values = [part.get(column) for part in parts]
            if column == "duration":
                row[column] = None if None in values else sum(values) / len(values)
            else:
                row[column] = values[0] if len(set(values)) == 1 else None
        rows.setdefault(name, row)
    return pa.Table.from_pylist(list(rows.values()), schema=utterances.schema)


def _aligned(utterances: pa.Table, left: pa.DictionaryArray, right: pa.DictionaryArray) -> dict[str, _Sides]:
    """Column -> its values on the left and on the right, (T,) each; null where a fact or an utterance is not known."""
    if "id" not in utterances.column_names:
        raise InputError(f"the facts of utterances have no column 'id', only {', '.join(utterances.column_names)}")
    ids = utterances["id"].combine_chunks().cast(pa.string())
    if len(pc.unique(ids)) < len(ids):
        twice = next(entry["values"] for entry in pc.value_counts(ids).to_pylist() if entry["counts"] > 1)
        raise InputError(f"the facts of utterances have {twice!r} more than once; keep one row of each id")
    first, second = (for_each(side, lambda names: pc.index_in(names, value_set=ids)) for side in (left, right))
    lost = [side.filter(pc.is_null(place)).cast(pa.string()) for side, place in ((left, first), (right, second))]
    unknown = pc.unique(pa.chunked_array(lost))
    if len(unknown) and first.null_count + second.null_count == 2 * len(first):
        what = f"there are facts of none of the utterances of the list, such as {unknown[0]}"
        raise InputError(f"{what}; name both alike, without the extension of an audio file")
    if len(unknown):
        logger.warning("there are no facts of %d utterances of the list, such as %s", len(unknown), unknown[0])
    columns = [column for column in (*_TEXTS, "session_id", "duration") if column in utterances.column_names]
    values = {column: utterances[column].combine_chunks() for column in columns}
    return {column: (found.take(first), found.take(second)) for column, found in values.items()}


def _folders(names: pa.Array) -> pa.Array:
    """Ids without what follows their last "/"; null where they have none."""
    parents = parents_of(names)
    return pc.if_else(pc.equal(parents, names), None, parents)


def _codes(sides: _Sides) -> tuple[list[NDArray], list[str]]:
    """Both sides as numbers, -1 where the value is null or empty, and the values that the numbers stand for."""
    texts = [side.cast(pa.string()) for side in sides]
    values = sorted(value for value in pc.unique(pa.chunked_array(texts)).to_pylist() if value)
    known = pa.array(values, pa.string())
    return [np.asarray(pc.fill_null(pc.index_in(text, value_set=known), -1)) for text in texts], values


def _by_text(sides: _Sides, words: tuple[str, str, str]) -> Iterator[tuple[str, NDArray]]:
    (one, other), values = _codes(sides)
    known = (one >= 0) & (other >= 0)
    same = known & (one == other)
    for i, value in enumerate(values if len(values) <= _MOST_VALUES else []):
        yield words[0].format(value), same & (one == i)
    yield words[1], same
    yield words[2], known & ~same


def _by_session(sides: _Sides, targets: NDArray) -> Iterator[tuple[str, NDArray]]:
    left, right = _codes(sides)[0]
    known = targets & (left >= 0) & (right >= 0)
    for name, chosen in (("same session", known & (left == right)), ("cross session", known & (left != right))):
        if chosen.any():
            yield name, chosen | ~targets


def _by_duration(sides: _Sides) -> Iterator[tuple[str, NDArray]]:
    left, right = (np.asarray(pc.fill_null(side.cast(pa.float64()), np.nan)) for side in sides)
    shorter = np.minimum(left, right)
    ends = (0.0, *SECONDS, np.inf)
    for low, high in zip(ends[:-1], ends[1:], strict=True):
        name = f"under {high:g} s" if not low else f"{low:g} to {high:g} s" if high < np.inf else f"{low:g} s and more"
        yield name, (shorter >= low) & (shorter < high)


def _distinct(groups: Iterator[tuple[str, NDArray]]) -> Groups:
    """Those with trials, that are neither the whole list nor another one."""
    kept: Groups = {}
    for name, mask in groups:
        if mask.any() and not mask.all() and not any(np.array_equal(mask, other) for other in kept.values()):
            kept[name] = mask
    return kept


def _with_rates(measure: Measure, is_target: NDArray, scores: NDArray, threshold: float) -> Measure:
    """The measure of trials that are sorted by score, and the error rates at a threshold."""
    refused = int(np.searchsorted(scores, threshold))  # the first of them
    kinds = is_target.astype(np.int64)

    def of(weights: NDArray) -> list[float]:
        below, missed = weights[:refused].sum(), weights[:refused] @ kinds[:refused]
        targets = weights @ kinds
        others = weights.sum() - targets
        with np.errstate(invalid="ignore"):  # a kind that was not drawn has no rate
            return [*measure.of(weights), missed / targets, (others - (below - missed)) / others]

    return Measure(measure.units | _RATES, measure.count, of)


def _numbers(measure: Measure, labels: NDArray, voices: _Voices | None, seed: int) -> list[dict[str, Any]]:
    drawn = max(FEWEST_REPETITIONS, min(REPETITIONS, MOST_DRAWN // measure.count))
    sides = voices_of_trials(labels, voices) or measure.count
    interval = bootstrap_trials(measure.of, sides, seed=seed, repetitions=drawn)
    rows = number_rows(measure.units, list(measure.values().values()), interval)
    for row in rows:
        row |= {name: row[name] if np.isfinite(row[name]) else None for name in ("value", "low", "high")}
    return rows


def _counts(labels: NDArray, voices: _Voices | None) -> dict[str, int | None]:
    targets = int((labels == 1).sum())
    names = None if voices is None else {*voices[0], *voices[1]} - {None}
    counts = {"trials": len(labels), "targets": targets, "nontargets": len(labels) - targets}
    return counts | {"speakers": None if names is None else len(names)}
