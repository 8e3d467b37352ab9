"""IEMOCAP: twelve hours of five pairs of actors, an emotion an utterance, from the corpus tree as USC ships it.

Busso et al., "IEMOCAP: interactive emotional dyadic motion capture database", LRE 42, 2008. The four classes and the
folds, each of which leaves a session out, are those of Chen and Rudnicky (arXiv 2110.06309) and of most others.
"""

import logging
import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
from datasets import Dataset, Features, Value

from hf_speech.corpora.builder import Corpus, CorpusBuilder, CorpusConfig, option
from hf_speech.corpora.listing import list_audio
from hf_speech.data.label_files import render_labels_json
from hf_speech.data.problems import Problems, read_lines
from hf_speech.data.schema import GENDERS
from hf_speech.data.splits import RULES, split_rows
from hf_speech.data.stored import is_hidden
from hf_speech.errors import InputError, lookup, unknown_name

logger = logging.getLogger(__name__)

# Code of the evaluation files -> emotion. It also begins the word that evaluators vote with ("Neutral state" at times).
EMOTIONS = {
    "ang": "anger",
    "dis": "disgust",
    "exc": "excited",
    "fea": "fear",
    "fru": "frustration",
    "hap": "happy",
    "neu": "neutral",
    "oth": "other",
    "sad": "sad",
    "sur": "surprise",
}
NO_MAJORITY = "xxx"
# Configuration -> code -> class; utterances with other codes are left out.
CLASSES: dict[str, dict[str, str | None]] = {
    "4class": {"ang": "anger", "exc": "happy", "hap": "happy", "neu": "neutral", "sad": "sad"},
    "all": {**EMOTIONS, NO_MAJORITY: None},
}
PARTS = {"improvised": ("improvised",), "scripted": ("scripted",), "both": ("improvised", "scripted")}
VALIDATIONS = ("none", "speaker", "session", "0.1")
SESSIONS = 5

# Ses05M_script01_1b_F003: session, who wears the markers, dialogue; then who talks (F or M) and the number.
NAME = re.compile(r"(?P<dialog>(?P<session>Ses0[1-5])[FM]_(?P<part>impro|script)\w+)_(?P<talker>[FM])\w+")
# [6.2901 - 8.2357]	Ses01F_impro01_F000	neu	[2.5000, 2.5000, 2.5000]
EVALUATION = re.compile(r"\[\s*[\d.]+\s*-\s*[\d.]+\s*\]\s+(?P<name>\S+)\s+(?P<code>\S+)\s+\[(?P<ratings>[^\]]*)\]")
REMARKED = ("C-", "A-")  # how lines begin that may end in a remark
MARKS = ("[", "%", *REMARKED)  # how all lines begin, but for the rest of a remark
# C-E2:	Neutral; Sadness;	(a remark); C-F1 and C-M1 are the talkers on themselves.
VOTE = re.compile(r"C-(?P<evaluator>\w+):(?P<words>[^(]*)(\(.*)?")
# Ses01F_impro01_F000 [006.2901-008.2357]: Excuse me.
TRANSCRIPTION = re.compile(r"(?P<name>Ses\w+) \[[\d.]+-[\d.]+\]:\s*(?P<text>.*)")

COLUMNS = {
    "emotion": Value("string"),  # none: no majority
    "valence": Value("float64"),  # means over the evaluators, 1 to 5
    "activation": Value("float64"),
    "dominance": Value("float64"),
    "votes": {emotion: Value("int32") for emotion in EMOTIONS.values()},  # how many evaluators said so
    "speaker_id": Value("string"),  # who talks: Ses01F
    "gender": Value("string"),
    "session_id": Value("string"),
    "fold": Value("string"),  # 1 to 5: the session that the fold leaves out
    "recording_id": Value("string"),  # the dialogue
    "part": Value("string"),  # improvised or scripted
    "text": Value("string"),
}
ROW = pa.schema([("id", pa.string()), ("path", pa.string()), *Features(COLUMNS).arrow_schema])


@dataclass
class IemocapConfig(CorpusConfig):
    """Which utterances are rows, and how they are split."""

    part: Literal["improvised", "scripted", "both"] = option("both", "improvised or scripted dialogues, or both")
    fold: Literal[1, 2, 3, 4, 5] | None = option(
        None, "session whose utterances are the test split; none: one split, train"
    )
    validation: str = option(
        "none", "of a fold: none, speaker (of the left-out session), session (the next), or a share as 0.1"
    )
    validation_speaker: Literal["female", "male"] = option(
        "female", "which of the left-out session's two validates; the other tests"
    )
    seed: int = option(0, "of the draw of a share of the training speakers")
    labels_json: bool = option(False, "write labels.json as ft-ser reads it")
    soft_labels: bool = option(False, "votes instead of labels in labels.json")


@dataclass
class Utterance:
    """What the evaluation files say of one utterance, and where.

    Attributes:
        name: as in the corpus.
        code: of the emotion, a key of `EMOTIONS` or `NO_MAJORITY`.
        ratings: valence, activation, dominance.
        votes: code -> evaluators.
        file: the evaluation file.
        line: in it.
    """

    name: str
    code: str
    ratings: tuple[float, float, float]
    votes: Counter[str]
    file: Path
    line: int


class Iemocap(CorpusBuilder):
    """Utterances with the majority's emotion, the mean ratings and the evaluators' votes."""

    BUILDER_CONFIG_CLASS = IemocapConfig
    BUILDER_CONFIGS = [
        IemocapConfig(name="4class", description="anger, happy (with excited), neutral, sad: 5,531 utterances"),
        IemocapConfig(
            name="all", description="all ten emotions, and none where evaluators disagree: 10,039 utterances"
        ),
    ]
    DEFAULT_CONFIG_NAME = "4class"
    COLUMNS = COLUMNS

    def find_rows(self, problems: Problems) -> Corpus:
        """See `CorpusBuilder`.

        Raises:
            InputError: no session in the folder, options that make no sense, or no utterance left.
        """
        config = self.config
        classes = lookup(CLASSES, config.name, "configuration of IEMOCAP")
        parts = lookup(PARTS, config.part, "part of IEMOCAP")
        test, validation = split_rules(config)
        rows: list[dict[str, Any]] = []
        codes, strays = Counter[str](), []
        sessions = find_sessions(self.data_dir.absolute())
        for session in sessions:
            clips = list_audio(session / "sentences" / "wav", problems, {".wav"}, archives=False)
            paths = dict(zip(clips["name"].to_pylist(), clips["path"].to_pylist(), strict=True))
            utterances = read_evaluations(session / "dialog" / "EmoEvaluation", problems)
            texts = read_transcriptions(session / "dialog" / "transcriptions", problems)
            codes.update(utterance.code for utterance in utterances.values())
            strays += sorted(name for name in paths if Path(name).stem not in utterances)
            found = (
                row_of(utterance, classes, texts) for utterance in utterances.values() if utterance.code in classes
            )
            wanted = [row for row in found if row["part"] in parts]
            rows += with_paths(wanted, paths, utterances, problems)
        table = pa.Table.from_pylist(sorted(rows, key=lambda row: row["id"]), schema=ROW)
        refused = problems.refuse and len(problems) > 0  # then what is wrong with the corpus says more than a split
        if not len(table) and not refused:
            raise InputError(f"{self.data_dir}: no utterance is left; take other parts, or get the corpus again")
        splits = {"train": table} if refused else split_table(table, test, validation, config.seed)
        facts = {
            "sessions": [session.name for session in sessions],
            "utterances by code, before any is left out": dict(sorted(codes.items())),
            "wav files without an evaluation": {"count": len(strays), "first": strays[:20]},
        }
        return Corpus(splits, files=label_files(splits, config), facts=facts)


# --- the corpus tree -------------------------------------------------------------------------------------------------


def find_sessions(folder: Path) -> list[Path]:
    """The session folders that are there, in order.

    Raises:
        InputError: there is none.
    """
    sessions = [path for n in range(1, SESSIONS + 1) if (path := folder / f"Session{n}").is_dir()]
    if not sessions:
        below = sorted(path.parent.name for path in folder.glob("*/Session1"))
        hint = f"give {folder / below[0]}" if below else "give the folder that holds them, IEMOCAP_full_release"
        raise InputError(f"{folder}: no Session1 to Session5 in it; {hint}")
    if len(sessions) < SESSIONS:
        logger.warning("%s: only %s of 5 sessions: %s", folder, len(sessions), ", ".join(p.name for p in sessions))
    return sessions


def text_files(folder: Path) -> list[Path]:
    """The text files of a folder itself, sorted, without the `._` twins."""
    return sorted(path for path in folder.glob("*.txt") if path.is_file() and not is_hidden(path.name))


def read_evaluations(folder: Path, problems: Problems) -> dict[str, Utterance]:
    """Every utterance of a session by its name.

    Raises:
        InputError: there are no evaluation files.
    """
    utterances: dict[str, Utterance] = {}
    files = text_files(folder)
    if not files:
        raise InputError(f"{folder}: no evaluation files in it; unpack the whole corpus")
    for file in files:
        for utterance in read_evaluation(file, problems):
            first = utterances.setdefault(utterance.name, utterance)
            if first is not utterance:
                reason = f"{utterance.name} is in {first.file.name}, line {first.line}, already; remove one"
                problems.add("duplicate id", file, reason, utterance.line)
    return utterances


def read_evaluation(file: Path, problems: Problems) -> Iterator[Utterance]:
    """The utterances of one evaluation file.

    Args:
        file: latin-1; a block an utterance, the line of `EVALUATION` first.
        problems: takes unknown emotions and lines of no known form. A line that is no good leaves out its utterance, if
            it begins one, else only itself. A remark in parentheses may go on over several lines.
    """
    current: Utterance | None = None
    last, is_open = 0, False
    for line, text in read_lines(file, problems, encoding="latin-1"):
        begins, last = line > last + 1, line  # after an empty line
        is_rest = is_open and not begins and not text.startswith(MARKS)
        is_open = ")" not in text if is_rest else text.startswith(REMARKED) and text.count("(") > text.count(")")
        if text.startswith("["):
            if current is not None:
                yield current
            current = read_head(text, file, line, problems)
        elif text.startswith("C-"):
            votes = read_votes(text, file, line, problems)
            if current is not None:
                current.votes.update(votes)
        elif not is_rest and not text.startswith(MARKS):
            reason = "is no line of an evaluation; compare with the corpus as shipped"
            problems.add("malformed line", file, reason, line)
            if begins and current is not None:  # of another utterance: the votes that follow are not for this one
                yield current
                current = None
    if current is not None:
        yield current


def read_head(text: str, file: Path, line: int, problems: Problems) -> Utterance | None:
    """The utterance that a line of the form `EVALUATION` begins."""
    match = EVALUATION.fullmatch(text)
    ratings = read_ratings(match["ratings"]) if match else None
    if match is None or ratings is None or not NAME.fullmatch(match["name"]):
        wanted = "[start - end] name code [valence, activation, dominance]"
        problems.add("malformed line", file, f"is not of the form {wanted}; compare with the corpus as shipped", line)
        return None
    if match["code"] != NO_MAJORITY and match["code"] not in EMOTIONS:
        valid = ", ".join([*EMOTIONS, NO_MAJORITY])
        problems.add("unknown label", file, f"{match['name']} is {match['code']!r}; write one of {valid}", line)
        return None
    return Utterance(match["name"], match["code"], ratings, Counter(), file, line)


def read_ratings(text: str) -> tuple[float, float, float] | None:
    """Valence, activation, dominance; None where they are not three numbers."""
    try:
        valence, activation, dominance = (float(value) for value in text.split(","))
    except ValueError:
        return None
    ratings = (valence, activation, dominance)
    return ratings if all(map(math.isfinite, ratings)) else None


def read_votes(text: str, file: Path, line: int, problems: Problems) -> list[str]:
    """The codes that a line `C-E2: Anger; Frustration; (remark)` votes for; none for a talker's own (C-F1, C-M1)."""
    match = VOTE.fullmatch(text)
    if match is None:
        problems.add("malformed line", file, "is not of the form C-E2: emotion; (remark); write it so", line)
        return []
    if not match["evaluator"].startswith("E"):
        return []
    words = [word.strip() for word in match["words"].split(";") if word.strip()]
    unknown = [word for word in words if word[:3].lower() not in EMOTIONS]
    if unknown:
        valid = ", ".join(EMOTIONS.values())
        problems.add("unknown label", file, f"the vote {unknown[0]!r} is no emotion; they are {valid}", line)
    return [word[:3].lower() for word in words if word not in unknown]


def read_transcriptions(folder: Path, problems: Problems) -> dict[str, str]:
    """Utterance -> what is said; nothing where the folder is not there. Lines without an utterance are passed over."""
    lines = (text for file in text_files(folder) for _, text in read_lines(file, problems, encoding="latin-1"))
    return {match["name"]: match["text"] for text in lines if (match := TRANSCRIPTION.fullmatch(text))}


# --- rows ------------------------------------------------------------------------------------------------------------


def row_of(utterance: Utterance, classes: dict[str, str | None], texts: dict[str, str]) -> dict[str, Any]:
    """The row without its path."""
    match = NAME.fullmatch(utterance.name)
    assert match is not None  # read_head has seen to it
    valence, activation, dominance = utterance.ratings
    return {
        "id": utterance.name,
        "emotion": classes[utterance.code],
        "valence": valence,
        "activation": activation,
        "dominance": dominance,
        "votes": {emotion: utterance.votes[code] for code, emotion in EMOTIONS.items()},
        "speaker_id": match["session"] + match["talker"],
        "gender": GENDERS[match["talker"].lower()],
        "session_id": match["session"],
        "fold": match["session"][-1],
        "recording_id": match["dialog"],
        "part": {"impro": "improvised", "script": "scripted"}[match["part"]],
        "text": texts.get(utterance.name) or None,
    }


def with_paths(
    rows: list[dict[str, Any]], paths: dict[str, str], utterances: dict[str, Utterance], problems: Problems
) -> Iterator[dict[str, Any]]:
    """Those rows whose wav file is there."""
    for row in rows:
        name = f"{row['recording_id']}/{row['id']}.wav"
        if name in paths:
            yield {**row, "path": paths[name]}
        else:
            utterance = utterances[row["id"]]
            reason = f"there is no sentences/wav/{name}; get the file, or remove the utterance"
            problems.add("missing file", utterance.file, reason, utterance.line)


# --- splits ----------------------------------------------------------------------------------------------------------


def split_rules(config: IemocapConfig) -> tuple[str, str]:
    """The rules of the test and the validation split, in the grammar of `hf_speech.data.splits`.

    Raises:
        InputError: an unknown rule, or validation rows without test rows.
    """
    fold, validation = config.fold, str(config.validation)
    if validation not in VALIDATIONS and not RULES["share of the groups"].pattern.fullmatch(validation):
        raise unknown_name(validation, VALIDATIONS, "validation of IEMOCAP")
    if fold is None:
        if validation != "none":
            raise InputError(f"validation {validation}: there is no test session to go with it; give --fold 1 to 5")
        return "none", "none"
    if fold not in range(1, SESSIONS + 1):
        raise unknown_name(fold, map(str, range(1, SESSIONS + 1)), "fold of IEMOCAP")
    if validation == "speaker":
        female, male = f"speaker_id=Ses{fold:02d}F", f"speaker_id=Ses{fold:02d}M"
        genders = {"female": (male, female), "male": (female, male)}
        return lookup(genders, config.validation_speaker, "validation speaker of IEMOCAP")
    return f"fold={fold}", f"fold={fold % SESSIONS + 1}" if validation == "session" else validation


def split_table(table: pa.Table, test: str, validation: str, seed: int) -> dict[str, pa.Table]:
    """Train, validation and test rows, those of them that are asked for.

    Raises:
        InputError: a rule takes nothing, or everything.
    """
    columns = {name: table[name].to_pylist() for name in ("speaker_id", "fold")}
    rows = Dataset.from_dict({"row": list(range(len(table))), **columns})
    splits = split_rows({"train": rows}, test=test, validation=validation, seed=seed)
    return {name: table.take(pa.array(part["row"])) for name, part in splits.items()}


def label_files(splits: dict[str, pa.Table], config: IemocapConfig) -> dict[str, str]:
    """`labels.json`, if asked for: of every wav file the emotion, or the votes for the configuration's classes."""
    if not (config.labels_json or config.soft_labels):
        return {}
    classes = CLASSES[config.name]
    labels: dict[str, dict[str, Any]] = {}
    for split, table in splits.items():
        labels[split] = {}
        for row in table.select(["id", "emotion", "votes"]).to_pylist():
            label = votes_by_class(row["votes"], classes) if config.soft_labels else row["emotion"]
            if label:
                labels[split][f"{row['id']}.wav"] = label
    return {"labels.json": render_labels_json(labels)}


def votes_by_class(votes: dict[str, int], classes: dict[str, str | None]) -> dict[str, int]:
    """Class -> votes; those for what is no class are left out."""
    sums = Counter[str]()
    for code, name in classes.items():
        if name is not None and votes[EMOTIONS[code]]:
            sums[name] += votes[EMOTIONS[code]]
    return dict(sorted(sums.items()))
