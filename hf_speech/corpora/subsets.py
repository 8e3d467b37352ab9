"""Which utterances of a corpus of speakers and sessions are taken: validation splits, small training sets, lists.

The rules of "Training speaker recognition systems with limited data" (Vaessen & van Leeuwen, 2022) and of its code, but
repeatable: speakers and sessions are taken in the order of their names, and each speaker has a random generator of its
own, so that nothing depends on the order of folders or on who else is there.

All functions take a table of utterances sorted by `id`, with `id`, `speaker_id`, `session_id` (unlike any session of
another speaker) and `path`, and return tables that are sorted as well.
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..data.problems import Problems, read_lines
from ..errors import InputError

_CANDIDATES = 3  # sessions that are drawn to hold out the smallest of them


@dataclass(frozen=True)
class Speaker:
    """Where the utterances of a speaker stand in a table.

    Attributes:
        name: the speaker's id.
        bounds: sessions + 1 row numbers; session k of the speaker is the rows bounds[k] to bounds[k + 1] (without).
    """

    name: str
    bounds: np.ndarray

    @property
    def sizes(self) -> np.ndarray:
        """Utterances in each session."""
        return np.diff(self.bounds)

    def rows(self, session: int) -> np.ndarray:
        """The rows of a session."""
        return np.arange(self.bounds[session], self.bounds[session + 1])

    def generator(self, seed: int, purpose: str) -> np.random.Generator:
        """This speaker's own random numbers, others for each purpose."""
        number = int.from_bytes(hashlib.sha256(f"{purpose} {self.name}".encode()).digest()[:8])
        return np.random.default_rng([seed, number])


def speakers_of(rows: pa.Table) -> Iterator[Speaker]:
    """The speakers of a table and their sessions, in order; no Python object is made of an utterance."""
    names, ends = _runs(rows["speaker_id"])
    _, session_ends = _runs(rows["session_id"])
    bounds = np.concatenate([[0], session_ends])
    last = np.searchsorted(bounds, ends)
    first = 0
    for name, end in zip(names, last, strict=True):
        yield Speaker(name, bounds[first : end + 1])
        first = end


def _runs(column: pa.ChunkedArray) -> tuple[list[str], np.ndarray]:
    """The values that follow each other, and where each ends."""
    if not len(column):
        return [], np.zeros(0, np.int64)
    encoded = pc.run_end_encode(pa.concat_arrays(column.chunks))
    return encoded.values.to_pylist(), encoded.run_ends.to_numpy().astype(np.int64)


def hold_out_sessions(rows: pa.Table, share: float, seed: int, problems: Problems) -> tuple[pa.Table, pa.Table]:
    """Training and validation rows with the same speakers: whole sessions of each are held out.

    For each speaker, as long as at most `share` of the utterances are held out: three sessions are drawn, and the one
    with the fewest utterances is held out. One session always stays.

    Args:
        rows: the table.
        share: of a speaker's utterances; 0.01 in the original.
        seed: of the draws.
        problems: takes speakers with one session only; they are left out of both parts.
    """
    part = np.zeros(len(rows), np.int8)
    for speaker in speakers_of(rows):
        if len(speaker.sizes) < 2:
            part[speaker.bounds[0] : speaker.bounds[-1]] = -1
            reason = f"{speaker.name} has one session, which can't be both learned from and held out; remove it"
            problems.add("too few sessions", _folder(rows, speaker), reason)
            continue
        for session in _smallest_of_draws(speaker.sizes, share, speaker.generator(seed, "held out")):
            part[speaker.rows(session)] = 1
    return rows.filter(pa.array(part == 0)), rows.filter(pa.array(part == 1))


def _smallest_of_draws(sizes: np.ndarray, share: float, generator: np.random.Generator) -> list[int]:
    left, held, count = list(range(len(sizes))), [], 0
    while count / sizes.sum() <= share and len(left) > 1:
        drawn = generator.choice(left, min(_CANDIDATES, len(left)), replace=False)
        smallest = int(min(drawn, key=lambda session: sizes[session]))
        left.remove(smallest)
        held.append(smallest)
        count += sizes[smallest]
    return held


def _folder(rows: pa.Table, speaker: Speaker) -> str:
    """The folder of a speaker, of which each session is a sub-folder."""
    return os.path.dirname(os.path.dirname(rows["path"][int(speaker.bounds[0])].as_py()))


def hold_out_speakers(rows: pa.Table, count: int) -> tuple[pa.Table, pa.Table]:
    """Training and validation rows without a common speaker: the last `count` speakers by id are held out.

    Raises:
        InputError: none would be left to learn from.
    """
    speakers = list(speakers_of(rows))
    if not 0 < count < len(speakers):
        raise InputError(f"{count} speakers can't be held out of {len(speakers)}; lower --validation-speakers")
    first = int(speakers[-count].bounds[0])
    return rows.slice(0, first), rows.slice(first)


def most_recorded(rows: pa.Table, per_gender: int, genders: Mapping[str, str | None], problems: Problems) -> pa.Table:
    """All rows of the speakers with the most rows, so many of each gender; the lower id where they tie.

    Args:
        rows: the table.
        per_gender: how many speakers of each gender.
        genders: speaker -> "female", "male" or None.
        problems: takes speakers whose gender is not known; they are passed over.

    Raises:
        InputError: there are not so many.
    """
    ranked: dict[str, list[tuple[int, str]]] = {"female": [], "male": []}
    for speaker in speakers_of(rows):
        gender = genders.get(speaker.name)
        if gender is None:
            reason = f"the gender of {speaker.name} is not known; add the speaker to the metadata"
            problems.add("missing metadata", _folder(rows, speaker), reason)
            continue
        ranked[gender].append((-int(speaker.sizes.sum()), speaker.name))
    for gender, found in ranked.items():
        if len(found) < per_gender:
            raise InputError(
                f"{per_gender} {gender} speakers are wanted, there are {len(found)}; lower --speakers-per-gender"
            )
    chosen = [name for found in ranked.values() for _, name in sorted(found)[:per_gender]]
    return of_speakers(rows, chosen)


def of_speakers(rows: pa.Table, names: list[str]) -> pa.Table:
    """The rows of these speakers."""
    return rows.filter(pc.is_in(rows["speaker_id"], value_set=pa.array(names, pa.string())))


def few_of_each(rows: pa.Table, count: int, per_session: int, seed: int, problems: Problems) -> pa.Table:
    """`count` rows of every speaker, at most `per_session` of a session, the sessions with the most rows first.

    Where all sessions have given theirs and rows are still wanted, it goes round again. Which rows of a session are
    taken is drawn; sessions with as many rows as each other are taken in the order of their names.

    Args:
        rows: the table.
        count: rows of each speaker; 8 in the original.
        per_session: 8 for few sessions ("tiny_many_low"), 1 for many ("tiny_many_high").
        seed: of the draws.
        problems: takes speakers with fewer rows; they are left out.
    """
    chosen: list[int] = []
    for speaker in speakers_of(rows):
        sizes = speaker.sizes
        if sizes.sum() < count:
            have = f"{speaker.name} has {sizes.sum()} utterances to learn from, {count} are wanted"
            reason = f"{have}; lower --utterances-per-speaker"
            problems.add("too few utterances", _folder(rows, speaker), reason)
            continue
        generator = speaker.generator(seed, "taken")
        order = np.argsort(-sizes, kind="stable")
        waiting = [generator.permutation(speaker.rows(session)).tolist() for session in order]
        taken: list[int] = []
        while len(taken) < count:
            for session in waiting:
                taken += session[:per_session]
                del session[:per_session]
        chosen += taken[:count]
    return rows.take(pa.array(sorted(chosen), pa.int64()))


def take_listed(
    rows: pa.Table,
    path: Path,
    parse: Callable[[str], tuple[str, str] | None],
    problems: Problems,
    header: str | None = None,
) -> dict[str, pa.Table]:
    """Exactly the rows that a list names, by split; without rows, test is absent.

    Args:
        rows: the table.
        path: the list, plain or gzipped.
        parse: (line) -> the id and "train", "validation" or "test"; None where a line has not the list's form.
        problems: takes lines of another form, ids that are not there, and ids that are listed twice.
        header: the line of column names, where the list has one.
    """
    lines: dict[str, tuple[int, str]] = {}
    for number, line in read_lines(path, problems):
        if line == header:
            continue
        found = parse(line)
        if found is None:
            problems.add("malformed line", path, f"{line[:60]!r} does not have the form of this list; mend it", number)
        elif found[0] in lines:
            problems.add("duplicate id", path, f"{found[0]} was listed before; remove one of the two lines", number)
        else:
            lines[found[0]] = (number, found[1])
    places = pc.index_in(pa.array(lines, pa.string()), value_set=rows["id"]).to_pylist()
    chosen: dict[str, list[int]] = {"train": [], "validation": [], "test": []}
    for (name, (number, split)), place in zip(lines.items(), places, strict=True):
        if place is None:
            problems.add("missing file", path, f"there is no audio {name}; add it or remove the line", number)
        else:
            chosen[split].append(place)
    found_rows = {split: rows.take(pa.array(sorted(places), pa.int64())) for split, places in chosen.items()}
    return {split: found for split, found in found_rows.items() if len(found) or split != "test"}
