"""Lists of verification trials: is it the same speaker in these two utterances?

A list is a table with the columns of `TRIALS`, so the 580,000 trials of VoxCeleb1-E are 8 MB of numbers and 145,000
names. An utterance is named by its id: its path without the extension (`id10270/5r0dWxy17C8/00001`).
"""

import hashlib
import os
import re
from array import array
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..data.problems import Problems
from ..data.stored import AUDIO_EXTENSIONS
from ..errors import InputError
from ..files import replacing
from .formats import trials_in

TRIALS = pa.schema(
    {
        "label": pa.int8(),  # 1: the same speaker (a target); 0: two speakers
        "left": pa.dictionary(pa.int32(), pa.string()),
        "right": pa.dictionary(pa.int32(), pa.string()),
        "line": pa.int32(),  # where it stands in its file, from 1
    }
)
VOXCELEB_ID = re.compile(r"(id\d{5})/.+/.+")
ROWS_OF_TEXT = 5_000  # trials that are made into text at a time


def read_trials(path: str | Path, problems: Problems | None = None, *, impostors: str | Path | None = None) -> pa.Table:
    """A list of trials in any of the forms of `formats`, plain or gzipped; the form is known by the first lines.

    Args:
        path: the file; with `impostors`, that of the clients (pairs of one speaker).
        problems: takes the lines that are not of the list's form; they are left out. None: they are refused.
        impostors: the file of pairs of two speakers, for lists that have two paths a line.

    Returns:
        A table with the columns of `TRIALS`; the extensions of audio files are cut off the names. Clients stand before
        impostors, each with the line of its own file.

    Raises:
        InputError: a file can't be read, holds no trial, or is both; without `problems`, a line that is none.
    """
    if impostors is not None and Path(path) == Path(impostors):
        raise InputError(f"{path}: is given both as clients and as impostors; give the file of each")
    found = Problems() if problems is None else problems
    files: dict[str | Path, int | None] = {path: None} if impostors is None else {path: 1, impostors: 0}
    labels, left, right, numbers = array("b"), array("i"), array("i"), array("i")
    names: dict[str, int] = {}
    codes: dict[str, int] = {}  # of the paths as they are written

    def code(written: str) -> int:
        if written not in codes:
            codes[written] = names.setdefault(without_extension(written), len(names))
        return codes[written]

    for file, said in files.items():
        for label, one, other, number in trials_in(file, found, said):
            labels.append(label)
            left.append(code(one))
            right.append(code(other))
            numbers.append(number)
    if problems is None:
        found.settle(str(path), option=None)
    return _table(np.array(labels), np.array(left), np.array(right), np.array(numbers), list(names))


def without_extension(path: str) -> str:
    """A path as lists of trials name it: without the extension of an audio file."""
    stem, extension = os.path.splitext(path)
    return stem if extension.lower() in AUDIO_EXTENSIONS else path


def _table(labels: np.ndarray, left: np.ndarray, right: np.ndarray, lines: np.ndarray, names: list[str]) -> pa.Table:
    dictionary = pa.array(names, pa.string())
    sides = [pa.DictionaryArray.from_arrays(side.astype(np.int32), dictionary) for side in (left, right)]
    return pa.table([pa.array(labels, pa.int8()), *sides, pa.array(lines, pa.int32())], schema=TRIALS)


def trial_lines(trials: pa.Table, extension: str = "") -> Iterator[str]:
    """The list as text, some thousand lines at a time: `1 left right`, each line ended by a line feed.

    Args:
        trials: the list.
        extension: is put behind every id, as ".wav".
    """
    for batch in trials.to_batches(max_chunksize=ROWS_OF_TEXT):
        label, *sides = (batch[name].cast(pa.string()) for name in ("label", "left", "right"))
        named = [pc.binary_join_element_wise(side, extension, "") for side in sides]
        yield "\n".join(pc.binary_join_element_wise(label, *named, " ").to_pylist()) + "\n"


def write_trials(trials: pa.Table, path: str | Path, extension: str = ".wav") -> None:
    """Write the list as VoxCeleb has it: `1 id/video/utterance.wav id/video/utterance.wav`.

    Raises:
        InputError: a name has a blank in it, by which this form parts names.
    """
    for name in utterances_of(trials):
        if len(name.split()) != 1:
            raise InputError(
                f"{path}: the name {name!r} has a blank in it, which a list of trials can't hold; rename it"
            )
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(trial_lines(trials, extension))


def fingerprint(trials: pa.Table) -> str:
    """SHA-256 of the list in its normal form, hexadecimal.

    The normal form is one line a trial, in order: the label, a blank, the left id, a blank, the right id, a line feed;
    ids without the extension of an audio file, UTF-8. Two files that ask the same questions in the same order have the
    same fingerprint, whether they say .wav, .m4a or nothing.
    """
    digest = hashlib.sha256()
    for text in trial_lines(trials):
        digest.update(text.encode())
    return digest.hexdigest()


def count_trials(trials: pa.Table) -> dict[str, int]:
    """How many trials, targets (same speaker), non-targets, and targets of one session, which are easier.

    The session is what stands before the last "/" of an id: `id10270/5r0dWxy17C8`.
    """
    targets = pc.equal(trials["label"], 1)
    count, positive, alike = len(trials), pc.sum(targets).as_py() or 0, 0
    for batch in trials.to_batches(max_chunksize=ROWS_OF_TEXT):
        sessions = [parents_of(batch[side].cast(pa.string())) for side in ("left", "right")]
        alike += pc.sum(pc.and_(pc.equal(batch["label"], 1), pc.equal(*sessions))).as_py() or 0
    return {"trials": count, "targets": positive, "nontargets": count - positive, "same_session_targets": alike}


def parents_of(names: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Ids without what follows their last "/"."""
    return pc.replace_substring_regex(names, r"/[^/]*$", "")


def check_trials(
    trials: pa.Table,
    known: pa.Array | pa.ChunkedArray,
    file: str | Path,
    problems: Problems,
    impostors: str | Path | None = None,
    *,
    speakers: Mapping[str, str | None] | None = None,
    broken: Mapping[str, str] | None = None,
) -> pa.Table:
    """The trials that can be scored and whose label is true.

    Args:
        trials: the list.
        known: ids of the utterances that are there and can be used.
        file: where the list stands, for messages.
        problems: takes a trial with an utterance that is not there ("missing file") or can't be used ("bad audio"),
            with a false label ("wrong label"), or of one utterance with itself ("same utterance").
        impostors: where its non-targets stand, if in a file of their own.
        speakers: id -> who speaks, that labels are compared with; None: as the ids say that are VoxCeleb's,
            `idNNNNN/video/utterance`.
        broken: id -> why an utterance that is there can't be used.
    """
    trials, broken = trials.combine_chunks(), broken or {}
    there = [for_each(trials[side], lambda names: pc.is_in(names, value_set=known)) for side in ("left", "right")]
    true_label = _agree(trials, voxceleb_speakers if speakers is None else _speakers_by(speakers))
    different = pc.not_equal(*(trials[side].cast(pa.string()) for side in ("left", "right"))).combine_chunks()
    good = pc.and_(pc.and_(pc.and_(*there), true_label), different)
    checked = trials.append_column("left_there", there[0]).append_column("right_there", there[1])
    bad = checked.append_column("true_label", true_label).append_column("different", different).filter(pc.invert(good))
    unusable, wrong = sum(len(side) - side.true_count for side in there), len(good) - true_label.true_count
    of_broken = pa.array(list(broken), pa.string())
    heard = [for_each(trials[side], lambda names: pc.is_in(names, value_set=of_broken)) for side in ("left", "right")]
    faulty = sum(side.true_count for side in heard)
    counts = {"missing file": unusable - faulty, "bad audio": faulty, "wrong label": wrong}
    counts["same utterance"] = len(good) - different.true_count
    described = _faults(bad, {1: file, 0: impostors or file}, broken)
    problems.add_many({kind: count for kind, count in counts.items() if count}, described)
    return trials.filter(good)


def _faults(
    bad: pa.Table, files: Mapping[int, str | Path], broken: Mapping[str, str]
) -> Iterator[tuple[str, str | Path, str, int | None]]:
    """What is wrong with each trial, as `Problems.add` takes it; files: by label."""
    for batch in bad.to_batches(max_chunksize=1_000):
        for row in batch.to_pylist():
            file = files[row["label"]]
            for side in ("left", "right"):
                name = row[side]
                if not row[f"{side}_there"] and name in broken:
                    yield "bad audio", file, f"{name}: {broken[name]}", row["line"]
                elif not row[f"{side}_there"]:
                    yield "missing file", file, f"there is no audio {name}; add it or remove the line", row["line"]
            if not row["different"]:
                reason = f"both sides are {row['left']}, which says nothing of voices; remove the line"
                yield "same utterance", file, reason, row["line"]
            if not row["true_label"]:
                truth = "two speakers" if row["label"] else "one speaker"
                reason = (
                    f"the label is {row['label']}, but {row['left']} and {row['right']} are {truth}; mend the label"
                )
                yield "wrong label", file, reason, row["line"]


def utterances_of(trials: pa.Table) -> list[str]:
    """The names in a list, each once: those of left sides, then the rest."""
    sides = [side.cast(pa.string()).unique() for side in (trials["left"], trials["right"])]
    return pa.concat_arrays(sides).unique().to_pylist()


def speakers_of(trials: pa.Table) -> list[str]:
    """The speakers that a list asks about, sorted; ids that are not VoxCeleb's have none in them."""
    found = [voxceleb_speakers(side.cast(pa.string()).unique()) for side in (trials["left"], trials["right"])]
    return sorted(pa.concat_arrays(found).unique().drop_null().to_pylist())


def for_each(side: pa.ChunkedArray | pa.DictionaryArray, function: Callable[[pa.Array], pa.Array]) -> pa.Array:
    """What a function of the distinct ids gives, for every trial."""
    encoded = side.combine_chunks() if isinstance(side, pa.ChunkedArray) else side
    return function(encoded.dictionary).take(encoded.indices)


def voxceleb_speakers(names: pa.Array) -> pa.Array:
    """Who speaks, as ids say that are VoxCeleb's; null for others."""
    found = (VOXCELEB_ID.fullmatch(name) for name in names.to_pylist())
    return pa.array([match[1] if match else None for match in found], pa.string())


def _speakers_by(speakers: Mapping[str, str | None]) -> Callable[[pa.Array], pa.Array]:
    return lambda names: pa.array([speakers.get(name) for name in names.to_pylist()], pa.string())


def _agree(trials: pa.Table, speakers_of_names: Callable[[pa.Array], pa.Array]) -> pa.Array:
    """For each trial, False where the speakers of its sides are known and contradict the label."""
    speakers = [for_each(trials[side], speakers_of_names) for side in ("left", "right")]
    agrees = pc.equal(pc.equal(*speakers), pc.equal(trials["label"].combine_chunks(), 1))
    return pc.fill_null(agrees, True)


def most_trials(rows: pa.Table, different_session: bool = False) -> int:
    """How many trials `make_trials` can make of these rows at most, half of them targets."""
    voices = _voices(rows)
    positives = sum(_possible(sessions, different_session) for _, sessions, _ in voices.values())
    return 2 * min(positives, _possible_negatives(_by_gender(voices), voices))


def make_trials(rows: pa.Table, count: int, *, seed: int, different_session: bool = False) -> pa.Table:
    """Trials for validation: non-targets and targets in turn, no pair twice.

    After "Training speaker recognition systems with limited data" (Vaessen & van Leeuwen, 2022, and its code). Targets:
    the speakers take turns, each with a random pair of its own; one who has no further pair is passed over.
    Non-targets: two speakers are drawn, of one gender where genders are known, with the weights 1 + 2m - n, where m is
    the number of non-targets so far and n the number of those in which the speaker is; then an utterance of each. Here
    the second speaker is drawn among those of the first one's gender, where the original draws both again until their
    genders agree; and the draw depends on the seed and the ids alone, not on the order of the rows.

    Args:
        rows: utterances with `id`, `speaker_id`, `session_id` and perhaps `gender`.
        count: number of trials; half of them are targets (the smaller half).
        seed: of all draws.
        different_session: whether both utterances of a target must come from different sessions; a speaker with one
            session then has no targets.

    Returns:
        A table with the columns of `TRIALS`; `count_trials` says how many targets are of one session.

    Raises:
        InputError: the rows have fewer such pairs.
    """
    voices = _voices(rows)
    genders = _by_gender(voices)
    positives, negatives = count // 2, count - count // 2
    possible = {name: _possible(sessions, different_session) for name, (_, sessions, _) in voices.items()}
    for wanted, there, what in (
        (positives, sum(possible.values()), "targets"),
        (negatives, _possible_negatives(genders, voices), "non-targets"),
    ):
        if wanted > there:
            raise InputError(f"{wanted} {what} were asked for, the rows allow {there}; ask for fewer trials")
    generator = np.random.default_rng([seed, count])
    pairs = {1: _positives(voices, possible, positives, different_session, generator)}
    pairs[0] = _negatives(voices, genders, negatives, generator)
    labels = np.arange(count) % 2
    codes: dict[str, int] = {}
    sides = np.empty((count, 2), np.int32)
    for label, found in pairs.items():
        numbers = [codes.setdefault(name, len(codes)) for pair in found for name in pair]
        sides[labels == label] = np.array(numbers, np.int32).reshape(-1, 2)
    return _table(labels, sides[:, 0], sides[:, 1], np.arange(1, count + 1), list(codes))


_Voice = tuple[list[str], np.ndarray, str]


def _voices(rows: pa.Table) -> dict[str, _Voice]:
    """Speaker -> ids, sessions (as numbers) and gender ("" where unknown); speakers and ids sorted."""
    has_gender = "gender" in rows.column_names
    ids, speakers, sessions = (rows[name].to_pylist() for name in ("id", "speaker_id", "session_id"))
    found: dict[str, list[tuple[str, str]]] = {}
    for name, speaker, session in zip(ids, speakers, sessions, strict=True):
        found.setdefault(speaker, []).append((name, session))
    genders = dict(zip(speakers, rows["gender"].to_pylist(), strict=True)) if has_gender else {}
    voices = {}
    for speaker in sorted(found):
        pairs = sorted(found[speaker])
        _, numbers = np.unique([session for _, session in pairs], return_inverse=True)
        voices[speaker] = ([name for name, _ in pairs], numbers, genders.get(speaker) or "")
    return voices


def _by_gender(voices: Mapping[str, _Voice]) -> dict[str, list[str]]:
    genders: dict[str, list[str]] = {}
    for speaker, (_, _, gender) in voices.items():
        genders.setdefault(gender, []).append(speaker)
    return genders


def _possible(sessions: np.ndarray, different_session: bool) -> int:
    """How many pairs the utterances of one speaker make."""
    pairs = len(sessions) * (len(sessions) - 1) // 2
    within = np.bincount(sessions)
    return pairs - int((within * (within - 1) // 2).sum()) if different_session else pairs


def _possible_negatives(genders: Mapping[str, list[str]], voices: Mapping[str, _Voice]) -> int:
    counts = [[len(voices[speaker][0]) for speaker in speakers] for speakers in genders.values()]
    return sum((sum(group) ** 2 - sum(n * n for n in group)) // 2 for group in counts)


def _positives(
    voices: Mapping[str, _Voice],
    possible: Mapping[str, int],
    count: int,
    different_session: bool,
    generator: np.random.Generator,
) -> list[tuple[str, str]]:
    """Pairs of one speaker, in turns; as many as asked for are known to be there."""
    order = [str(name) for name in generator.permutation(list(voices))]
    turns: list[str] = []
    taken = dict.fromkeys(order, 0)
    while len(turns) < count:
        active = [name for name in order if taken[name] < possible[name]][: count - len(turns)]
        turns += active
        for name in active:
            taken[name] += 1
    drawn = {}
    for name in order:
        ids, sessions, _ = voices[name]
        first, second = np.triu_indices(len(ids), 1)
        if different_session:
            differ = sessions[first] != sessions[second]
            first, second = first[differ], second[differ]
        chosen = generator.choice(len(first), taken[name], replace=False).tolist() if taken[name] else []
        drawn[name] = iter([(ids[first[i]], ids[second[i]]) for i in chosen])
    return [next(drawn[name]) for name in turns]


def _negatives(
    voices: Mapping[str, _Voice], genders: Mapping[str, list[str]], count: int, generator: np.random.Generator
) -> list[tuple[str, str]]:
    """Pairs of two speakers of one gender; as many as asked for are known to be there."""
    able = [speaker for speakers in genders.values() if len(speakers) > 1 for speaker in speakers]
    uses = dict.fromkeys(able, 0)
    seen: set[frozenset[str]] = set()
    pairs: list[tuple[str, str]] = []

    def draw(speakers: list[str]) -> str:
        # By rejection: no speaker is in more than half of the 2m places, so a draw is kept at least every other time.
        while True:
            speaker = speakers[generator.integers(len(speakers))]
            if generator.random() * (2 * len(pairs) + 1) < 2 * len(pairs) + 1 - uses[speaker]:
                return speaker

    while len(pairs) < count:
        speaker = draw(able)
        other = speaker
        while other == speaker:
            other = draw(genders[voices[speaker][2]])
        left, right = (_any(voices[name][0], generator) for name in (speaker, other))
        if frozenset((left, right)) in seen:
            continue
        seen.add(frozenset((left, right)))
        pairs.append((left, right))
        uses[speaker] += 1
        uses[other] += 1
    return pairs


def _any(names: list[str], generator: np.random.Generator) -> str:
    return names[generator.integers(len(names))]
