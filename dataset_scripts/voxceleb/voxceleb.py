"""VoxCeleb1 and VoxCeleb2: training on VoxCeleb2 dev, testing on VoxCeleb1, and the small subsets of both rules.

Names are looked at, never audio: an utterance is what ends in `idNNNNN/<video>/<utterance>.<extension>`, in a folder or
in a zip archive, whatever stands before it. A million utterances are columns; only speakers and sessions are objects.
"""

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Value

from hf_speech.corpora import subsets
from hf_speech.corpora.builder import Corpus, CorpusBuilder, CorpusConfig, option
from hf_speech.corpora.listing import list_audio
from hf_speech.corpora.places import PLACE
from hf_speech.data.problems import Problems, read_lines
from hf_speech.data.schema import GENDERS
from hf_speech.errors import InputError, list_some, lookup
from hf_speech.verification import make_trials, speakers_of
from hf_speech.verification.lists import TrialList, read_list
from hf_speech.verification.trials import most_trials

logger = logging.getLogger(__name__)

UTTERANCE = (
    r"^(?:(?P<before>.*)/)?(?P<id>(?P<session_id>(?P<speaker_id>id\d{5})/(?P<recording_id>[^/]+))/[^/]+)\.[^/.]+$"
)
FIRST1, LAST1 = "id10001", "id11251"  # VoxCeleb1's speakers; VoxCeleb2's have lower numbers
METADATA = ("vox1_meta.csv", "vox2_meta.csv")
SPLITS = {"1": "train", "2": "validation", "3": "test", "train": "train", "val": "validation", "test": "test"}
LIST_HEADER = "utterance_key;shard_dix;set_name"
# What the lists are called: cleaned (since 2019), and as first distributed.
TEST_LISTS = {
    "original": ("veri_test2.txt", "veri_test.txt"),
    "extended": ("list_test_all2.txt", "list_test_all.txt"),
    "hard": ("list_test_hard2.txt", "list_test_hard.txt"),
}
TRIALS = {"full": 30_000, "tiny_few": 2_000, "tiny_many_low": 30_000, "tiny_many_high": 30_000, "identification": 0}


@dataclass
class VoxCelebConfig(CorpusConfig):
    """Options of VoxCeleb; each field says what it is for."""

    validation: Literal["equal", "different", "none"] = option(
        "equal", "equal: sessions of every training speaker; different: the last speakers by id; none"
    )
    validation_share: float = option(0.01, "equal: the share of a speaker's utterances that is held out")
    validation_speakers: int = option(40, "different: how many speakers are held out")
    seed: int = option(1337, "of everything that is drawn")
    speakers_per_gender: int = option(50, "tiny_few: how many speakers of each gender")
    utterances_per_speaker: int = option(8, "tiny_many_low and tiny_many_high: how many utterances of a speaker")
    utterance_list: str | None = option(None, "take exactly the rows of this list (utterance_key;shard_dix;set_name)")
    test_lists: list[str] | None = option(None, "such as original,hard; none: those whose speakers all have audio")
    validation_trials: str | None = option(None, "a list of trials, or how many to make; by default 30000 (few: 2000)")
    different_session: bool = option(False, "whether both sides of a target trial must come from different videos")
    metadata_dir: str | None = option(None, "where metadata and trial lists lie, if not in the data folder or meta/")


@dataclass(frozen=True)
class Person:
    """What the metadata say of a speaker; None where they say nothing."""

    gender: str | None = None
    nationality: str | None = None
    set: str | None = None


class VoxCeleb(CorpusBuilder):
    """VoxCeleb as rows: utterances of speakers, from videos, and the lists of trials."""

    BUILDER_CONFIG_CLASS = VoxCelebConfig
    BUILDER_CONFIGS: ClassVar[list[VoxCelebConfig]] = [
        VoxCelebConfig(name="full", description="all of VoxCeleb2 dev to learn from, VoxCeleb1 to test on"),
        VoxCelebConfig(name="tiny_few", description="the 50 speakers of each gender with the most utterances"),
        VoxCelebConfig(name="tiny_many_low", description="8 utterances of every speaker, from few videos"),
        VoxCelebConfig(name="tiny_many_high", description="8 utterances of every speaker, from many videos"),
        VoxCelebConfig(name="identification", description="VoxCeleb1 divided by iden_split.txt: who of 1,251 speaks"),
    ]
    DEFAULT_CONFIG_NAME = "full"
    COLUMNS: ClassVar[Mapping[str, Any]] = {
        name: Value("string")
        for name in ("speaker_id", "session_id", "recording_id", "gender", "nationality", "source")
    }

    def find_rows(self, problems: Problems) -> Corpus:
        """The rows of the configuration, and the lists of trials."""
        return self.select_rows(list_audio(self.data_dir, problems), problems)

    def select_rows(self, listing: pa.Table, problems: Problems) -> Corpus:
        """The same, from a table of names and places as `list_audio` makes it.

        Raises:
            InputError: no utterances, or what the configuration needs is missing.
        """
        self._check_options()
        rows, passed_over = recognise(listing, problems)
        if not len(rows):
            form = "idNNNNN/<video>/<utterance>.wav or .m4a"
            raise InputError(f"{self.config.data_dir}: no VoxCeleb utterance ({form}) in this folder or its archives")
        people = self._people(problems)
        is_first = pc.equal(rows["source"], "voxceleb1")
        first = rows.filter(is_first)
        second, told_by = development(rows.filter(pc.invert(is_first)), people)
        passed_over["VoxCeleb2 test"] = len(rows) - len(first) - len(second)
        lists: list[TrialList] = []
        if self.config.utterance_list:
            splits = subsets.take_listed(rows, Path(self.config.utterance_list), list_line, problems, LIST_HEADER)
        elif self.config.name == "identification":
            splits = subsets.take_listed(first, self._needed("iden_split.txt"), identification_line, problems)
        else:
            splits = self._by_rule(second, people, problems)
        del rows, second  # a million rows take 200 MB
        if "test" not in splits and self.config.name != "identification":
            splits["test"], lists = self._tested(first, problems)
            passed_over["VoxCeleb1 in no trial list"] = len(first) - len(splits["test"])
            refuse_common_speakers(splits)
        splits = {name: with_people(rows.drop_columns("hint"), people) for name, rows in splits.items()}
        if len(splits["validation"]) or self.config.validation_trials:
            lists += self._validation_trials(splits["validation"], problems)
        facts = {"passed_over": passed_over, "voxceleb2_sets": told_by} | {
            "speakers_without_gender": len(genderless(splits)),
            "trials": [found.facts() for found in lists],
        }
        files = {f"trials/{found.title}.txt": found.text for found in lists}
        return Corpus({name: rows for name, rows in splits.items() if len(rows)}, files, facts)

    def _check_options(self) -> None:
        config = self.config
        if not 0 < config.validation_share < 1:
            raise InputError(f"validation_share {config.validation_share}: give a share between 0 and 1, as 0.01")
        for name in ("validation_speakers", "speakers_per_gender", "utterances_per_speaker"):
            if getattr(config, name) < 1:
                raise InputError(f"{name} {getattr(config, name)}: give 1 or more")

    def _by_rule(self, rows: pa.Table, people: Mapping[str, Person], problems: Problems) -> dict[str, pa.Table]:
        """Training and validation rows by the rules of the configuration."""
        config = self.config
        train, validation = rows, rows.slice(0, 0)
        if not len(rows):
            if config.name != "full":
                raise InputError(f"{config.data_dir}: {config.name} is made of VoxCeleb2 dev, and there is none of it")
            logger.warning("%s: no VoxCeleb2 dev, so there are no rows to learn from", config.data_dir)
        elif config.validation == "equal":
            train, validation = subsets.hold_out_sessions(rows, config.validation_share, config.seed, problems)
        elif config.validation == "different":
            train, validation = subsets.hold_out_speakers(rows, config.validation_speakers)
        if config.name == "tiny_few":
            self._needed("vox2_meta.csv")
            genders = {name: person.gender for name, person in people.items()}
            train = subsets.most_recorded(train, config.speakers_per_gender, genders, problems)
            if config.validation == "equal":
                validation = subsets.of_speakers(validation, train["speaker_id"].unique().to_pylist())
        elif config.name in ("tiny_many_low", "tiny_many_high"):
            count = config.utterances_per_speaker
            per_session = count if config.name == "tiny_many_low" else 1
            train = subsets.few_of_each(train, count, per_session, config.seed, problems)
        return {"train": train, "validation": validation}

    def _tested(self, rows: pa.Table, problems: Problems) -> tuple[pa.Table, list[TrialList]]:
        """The rows that the trial lists name (all where there is no list), and those lists."""
        if not len(rows):
            logger.warning("%s: no VoxCeleb1, so there is nothing to test on", self.config.data_dir)
            return rows, []
        lists = self._test_lists(rows, problems)
        if not lists:
            logger.warning("%s: no trial list; all of VoxCeleb1 is taken", self.config.data_dir)
            return rows, lists
        trials = pa.concat_tables([found.trials for found in lists])
        named = [trials[side].cast(pa.string()).unique() for side in ("left", "right")]
        return rows.filter(pc.is_in(rows["id"], value_set=pa.concat_arrays(named))), lists

    def _test_lists(self, rows: pa.Table, problems: Problems) -> list[TrialList]:
        """The lists that --test-lists names; without it those that are there and whose speakers all have audio."""
        wanted = self.config.test_lists
        if wanted is None:
            paths = {name: path for name, files in TEST_LISTS.items() if (path := self._metadata_file(*files))}
        else:
            paths = {name: self._needed(*lookup(TEST_LISTS, name, "list to test on")) for name in wanted}
        heard = set(rows["speaker_id"].unique().to_pylist())
        lists, not_taken = [], []
        for name, path in paths.items():
            faults = Problems(problems.on_bad)  # those of a list that is not taken harm nobody
            found = read_list(name, path, faults)
            speakers = speakers_of(found.trials)
            silent = len(set(speakers) - heard)
            if silent and wanted is None:
                not_taken.append(f"{path.name} ({silent} of its {len(speakers)} speakers have no audio)")
            else:
                problems.take(faults)
                lists.append(found.checked(rows["id"], problems))
        if not_taken:
            mend = f"add the audio, or take them without it: --test-lists {','.join(paths)}"
            logger.warning("%s: lists not taken: %s; %s", self.config.data_dir, list_some(not_taken), mend)
        return lists

    def _validation_trials(self, rows: pa.Table, problems: Problems) -> list[TrialList]:
        """The list of the validation rows: the given one, or so many trials made of them."""
        wanted, apart = self.config.validation_trials, self.config.different_session
        if wanted and not wanted.isdecimal():
            return [read_list("validation", Path(wanted), problems).checked(rows["id"], problems)]
        count = int(wanted) if wanted else min(TRIALS[self.config.name], most_trials(rows, apart))
        if not count:
            if TRIALS[self.config.name] and not wanted:
                logger.warning("%s: too few validation rows for a list of trials", self.config.data_dir)
            return []
        trials = make_trials(rows, count, seed=self.config.seed, different_session=apart)
        return [TrialList("validation", f"made with seed {self.config.seed}", trials)]

    def _people(self, problems: Problems) -> dict[str, Person]:
        people: dict[str, Person] = {}
        for name in METADATA:
            path = self._metadata_file(name)
            if path is None:
                logger.warning("%s: no %s, so its speakers' gender is not known", self.config.data_dir, name)
            else:
                people |= read_people(path, problems)
        return people

    def _metadata_file(self, *names: str) -> Path | None:
        """The first of the names that is there, in --metadata-dir, the data folder or its meta/."""
        given = [Path(self.config.metadata_dir)] if self.config.metadata_dir else []
        if given and not given[0].is_dir():
            raise InputError(f"{given[0]}: there is no such folder; give the folder of the metadata as --metadata-dir")
        paths = (f / name for name in names for f in [*given, self.data_dir, self.data_dir / "meta"])
        return next((path for path in paths if path.is_file()), None)

    def _needed(self, *names: str) -> Path:
        path = self._metadata_file(*names)
        if path is None:
            raise InputError(f"{self.config.data_dir}: {self.config.name} needs {names[0]}; put it there or in meta/")
        return path


def recognise(listing: pa.Table, problems: Problems) -> tuple[pa.Table, dict[str, int]]:
    """The utterances in a listing, sorted by id, and how many names were none.

    Of two files of one utterance (as wav and as m4a) the second, by path, is a problem and left out.

    Returns:
        A table with `id`, `speaker_id`, `session_id` (`speaker/video`), `recording_id` (the video, which two speakers
        may share), `source`, `hint` ("test", "dev" or "": what folder and archive are called) and a place's columns.
    """
    parts = pc.extract_regex(listing["name"], UTTERANCE)
    columns = {name: pc.struct_field(parts, name) for name in ("id", "speaker_id", "session_id", "recording_id")}
    columns["source"] = by_value(columns["speaker_id"], source_of)
    archive = by_value(listing["archive"].cast(pa.string()), lambda path: Path(path).stem)
    place = pc.binary_join_element_wise(pc.fill_null(archive, ""), pc.struct_field(parts, "before"), "/")
    columns["hint"] = by_value(place, hint_of)
    table = pa.table({**columns, **{name: listing[name] for name in PLACE.names}})
    table = table.filter(pc.is_valid(table["source"]))
    passed_over = {"other names": len(listing) - len(table)}
    del parts, columns, place
    table = table.sort_by([("id", "ascending"), ("path", "ascending")]).combine_chunks()
    ids = table["id"]
    twin = np.concatenate([[False], pc.equal(ids[1:], ids[:-1]).to_numpy()]) if len(ids) else np.zeros(0, bool)
    for row in np.flatnonzero(twin):
        name, path, other = (table[c][int(i)].as_py() for c, i in (("id", row), ("path", row), ("path", row - 1)))
        problems.add("duplicate id", path, f"{name} is there twice, also as {other}; remove one of the two")
    return (table.filter(pa.array(~twin)) if twin.any() else table), passed_over


def by_value(column: pa.ChunkedArray, function: Callable[[str], str | None]) -> pa.ChunkedArray:
    """A function of text for each cell, called once for each distinct text; null stays null."""
    encoded = pc.dictionary_encode(column).unify_dictionaries()
    values = encoded.chunk(0).dictionary.to_pylist() if encoded.num_chunks else []
    results = pa.array([function(value) for value in values], pa.string())
    return pa.chunked_array([results.take(chunk.indices) for chunk in encoded.chunks], pa.string())


def source_of(speaker: str) -> str | None:
    """Which corpus a speaker is of; None for neither.

    >>> source_of("id10270"), source_of("id00012"), source_of("id11252")
    ('voxceleb1', 'voxceleb2', None)
    """
    if FIRST1 <= speaker <= LAST1:
        return "voxceleb1"
    return "voxceleb2" if speaker < "id10000" else None


def hint_of(place: str) -> str:
    """What the names of folders and archives say of the part.

    >>> hint_of("vox2_test_aac/aac"), hint_of("voxceleb2/train/wav"), hint_of("/latest/wav")
    ('test', 'dev', '')
    """
    words = set(re.split(r"[/_.\s-]+", place.lower()))
    return "test" if "test" in words else "dev" if words & {"dev", "train"} else ""


def development(rows: pa.Table, people: Mapping[str, Person]) -> tuple[pa.Table, dict[str, int]]:
    """The rows of VoxCeleb2's dev part, and of how many speakers what said in which part they are."""
    told_by = {"metadata": 0, "folder or archive": 0, "nothing (taken for dev)": 0}
    hints: dict[str, set[str]] = {}
    for entry in rows.group_by(["speaker_id", "hint"]).aggregate([]).to_pylist():
        hints.setdefault(entry["speaker_id"], set()).add(entry["hint"])
    names = []
    for speaker, hint in hints.items():
        part = people.get(speaker, Person()).set
        told_by["metadata" if part else "folder or archive" if hint - {""} else "nothing (taken for dev)"] += 1
        if part != "test" and (part or "test" not in hint):
            names.append(speaker)
    return subsets.of_speakers(rows, names), told_by


def with_people(rows: pa.Table, people: Mapping[str, Person]) -> pa.Table:
    """The rows with `gender` and `nationality`."""
    for name in ("gender", "nationality"):
        known = {speaker: getattr(person, name) for speaker, person in people.items()}
        rows = rows.append_column(name, by_value(rows["speaker_id"], known.get))
    return rows


def read_people(path: Path, problems: Problems) -> dict[str, Person]:
    """vox1_meta.csv (tabs) or vox2_meta.csv (commas, a blank behind every cell), by the names in their headers."""
    people: dict[str, Person] = {}
    header: list[str] = []
    separator = ","
    for number, line in read_lines(path, problems):
        if not header:
            separator = "\t" if "\t" in line else ","
            header = [cell.strip().lower().replace("_", " ") for cell in line.split(separator)]
            if not re.fullmatch(r"voxceleb\d? id", header[0]) or "gender" not in header:
                raise InputError(f"{path}: its first line names no 'VoxCeleb ID' and 'Gender'; get the file again")
            continue
        cells = dict(zip(header, (cell.strip() for cell in line.split(separator)), strict=False))
        speaker, gender, part = cells[header[0]], cells.get("gender", ""), cells.get("set", "")
        if len(cells) < len(header) or source_of(speaker) is None or not re.fullmatch(r"id\d{5}", speaker):
            problems.add("malformed line", path, f"{line[:60]!r} has not the {len(header)} cells of its header", number)
        elif gender.lower() not in GENDERS or part not in ("", "dev", "test"):
            reason = f"gender {gender!r}, set {part!r}: the gender is f or m, the set dev or test; mend the line"
            problems.add("unknown label", path, reason, number)
        elif speaker in people:
            problems.add("duplicate id", path, f"{speaker} was there before; remove one of the two lines", number)
        else:
            people[speaker] = Person(GENDERS[gender.lower()], cells.get("nationality") or None, part or None)
    return people


def list_line(line: str) -> tuple[str, str] | None:
    """Id and split of a line `utterance_key;shard_dix;set_name`; None if it is none."""
    cells = line.split(";")
    return (cells[0], SPLITS[cells[2]]) if len(cells) == 3 and cells[2] in ("train", "val", "test") else None


def identification_line(line: str) -> tuple[str, str] | None:
    """Id and split of a line `1|2|3 path`; None if it is none."""
    cells = line.split()
    if len(cells) != 2 or cells[0] not in ("1", "2", "3"):
        return None
    return cells[1].rpartition(".")[0] or cells[1], SPLITS[cells[0]]


def refuse_common_speakers(splits: Mapping[str, pa.Table]) -> None:
    """Speakers to test on must not be known.

    Raises:
        InputError: one is in another split.
    """
    tested = splits["test"]["speaker_id"].unique()
    for name in ("train", "validation"):
        speakers = splits[name]["speaker_id"].unique()
        common = sorted(speakers.filter(pc.is_in(speakers, value_set=tested)).to_pylist())
        if common:
            raise InputError(
                f"{len(common)} speakers are in {name} and in test: {list_some(common)}; take them out of one"
            )


def genderless(splits: Mapping[str, pa.Table]) -> set[str]:
    """The speakers whose gender is not known."""
    unknown = (rows.filter(pc.is_null(rows["gender"]))["speaker_id"] for rows in splits.values())
    return {name for speakers in unknown for name in speakers.unique().to_pylist()}
