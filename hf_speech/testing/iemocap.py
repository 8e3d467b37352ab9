"""IEMOCAP in small: the folders, names and metadata of the real corpus, with all in it that trips readers up."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..audio import SAMPLE_RATE, read_audio, write_audio
from ..errors import InputError, lookup
from .voices import made_up_voice

# Code of the majority -> the word that an evaluator chose; of xxx there is no majority.
WORDS = {
    "ang": "Anger",
    "hap": "Happiness",
    "sad": "Sadness",
    "neu": "Neutral",
    "exc": "Excited",
    "fru": "Frustration",
    "xxx": "",
    "sur": "Surprise",
    "fea": "Fear",
    "dis": "Disgust",
    "oth": "Other",
}
SESSIONS = 5
_HEADER = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"
_APPLE_DOUBLE = b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        [0.0 - 1.0]\tjunk\tzzz\t[0, 0, 0]\n\xff\xfe"


@dataclass(frozen=True)
class _Utterance:
    """One line of an evaluation file, its clip, and what is said."""

    name: str
    code: str
    start: float
    wave: np.ndarray
    ratings: tuple[float, float, float]

    @property
    def end(self) -> float:
        return self.start + len(self.wave) / SAMPLE_RATE


def write_fake_iemocap(
    folder: str | Path,
    *,
    dialogs: int = 2,
    utterances: int = 4,
    seconds: tuple[float, float] = (0.5, 1.0),
    seed: int = 0,
    recordings: Sequence[str | Path] | None = None,
    labels: Mapping[str, int] | None = None,
) -> Path:
    """Write a corpus in the layout and with the names of IEMOCAP: five sessions of a woman and a man.

        <folder>/Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav
        <folder>/Session1/dialog/EmoEvaluation/Ses01F_impro01.txt, Attribute/, Categorical/, Self-evaluation/
        <folder>/Session1/dialog/transcriptions/Ses01F_impro01.txt

    The two take turns in every dialogue, whichever of them wears the markers (the letter in the dialogue's name). The
    emotion sets a clip's pitch, its talker the resonance. As in the real corpus there are `._` files, self-evaluations,
    sub-folders of the evaluations, and transcribed lines without a recording; here they contradict what is true.

    Args:
        folder: where to write; made if it is not there.
        dialogs: of each session and each wearer of the markers, improvised and scripted in turn.
        utterances: of each dialogue.
        seconds: shortest and longest clip.
        seed: of everything that is random.
        recordings: audio files, taken in turn instead of made-up voices.
        labels: code of `WORDS` -> utterances with it in the whole corpus, dealt out to the dialogues one by one; None:
            the codes take turns.

    Returns:
        The folder.

    Raises:
        InputError: an unknown code, numbers that make no clip, or a recording that can't be read.
    """
    if dialogs < 1 or utterances < 1 or not 0 < seconds[0] <= seconds[1]:
        raise InputError("a corpus needs a dialogue, an utterance each, and 0 < shortest <= longest")
    for code in labels or ():
        lookup(WORDS, code, "emotion of IEMOCAP")
    root = Path(folder).absolute()
    names = [name for session in range(1, SESSIONS + 1) for name in _dialogs(session, dialogs)]
    if labels is None:
        codes = [list(WORDS)[i % len(WORDS)] for i in range(len(names) * utterances)]
    else:
        codes = [code for code, count in labels.items() for _ in range(count)]
    given = [read_audio(str(path)).clip(-1, 1) for path in recordings or ()]
    for i, name in enumerate(names):
        generator = np.random.default_rng([seed, i])
        first = i % max(1, len(given))
        turns = given[first:] + given[:first]
        _write_dialog(root, name, list(_talk(name, codes[i :: len(names)], generator, seconds, turns)))
    return root


def _dialogs(session: int, count: int) -> Iterator[str]:
    for marked in "FM":
        for i in range(count):
            number = i // 2 + 1
            yield f"Ses{session:02d}{marked}_" + (f"script{number:02d}_1" if i % 2 else f"impro{number:02d}")


def _talk(
    dialog: str, codes: list[str], generator: np.random.Generator, seconds: tuple[float, float], given: list[np.ndarray]
) -> Iterator[_Utterance]:
    start = 1.0
    for i, code in enumerate(codes):
        woman = i % 2 == 0
        speaker = 2 * int(dialog[3:5]) - woman
        duration = generator.uniform(*seconds)
        # 8 pitches lie below the Nyquist frequency; the first four codes have one of their own.
        number = list(WORDS).index(code) if code in list(WORDS)[:4] else 4 + list(WORDS).index(code) % 4
        wave = given[i % len(given)] if given else made_up_voice(generator, speaker, number, duration)
        valence, activation, dominance = (float(value) for value in generator.integers(2, 11, 3) / 2)
        ratings = (valence, activation, dominance)
        utterance = _Utterance(f"{dialog}_{'F' if woman else 'M'}{i // 2:03d}", code, start, wave, ratings)
        yield utterance
        start = utterance.end + 0.25


def _write_dialog(root: Path, dialog: str, talk: list[_Utterance]) -> None:
    session = root / f"Session{int(dialog[3:5])}"
    clips, evaluations, texts = (
        session / "sentences" / "wav" / dialog,
        session / "dialog" / "EmoEvaluation",
        session / "dialog" / "transcriptions",
    )
    for place in (clips, evaluations, texts):
        place.mkdir(parents=True, exist_ok=True)
    for utterance in talk:
        write_audio(clips / f"{utterance.name}.wav", utterance.wave)
        (clips / f"._{utterance.name}.wav").write_bytes(_APPLE_DOUBLE)
    blocks = [_HEADER, *(_evaluation(utterance) for utterance in talk)]
    (evaluations / f"{dialog}.txt").write_bytes("\n".join(blocks).encode("latin-1"))
    (texts / f"{dialog}.txt").write_bytes(_transcription(dialog, talk).encode("latin-1"))
    for place in (evaluations, texts):
        (place / f"._{dialog}.txt").write_bytes(_APPLE_DOUBLE)
    wrong = "".join(f"[0.0000 - 1.0000]\t{utterance.name}\tzzz\t[9, 9, 9]\n" for utterance in talk)
    for sub, suffix in (("Attribute", "e2_atr"), ("Categorical", "e2_cat"), ("Self-evaluation", "f1_cat")):
        (evaluations / sub).mkdir(exist_ok=True)
        (evaluations / sub / f"{dialog}_{suffix}.txt").write_text(wrong, encoding="latin-1")


def _evaluation(utterance: _Utterance) -> str:
    """Three evaluators, of whom two agree except on xxx; each of the two talkers judges otherwise."""
    head = f"[{utterance.start:.4f} - {utterance.end:.4f}]\t{utterance.name}\t{utterance.code}"
    ratings = ", ".join(f"{value:.4f}" for value in utterance.ratings)
    word = WORDS[utterance.code]
    third = f"{word}; {'Sadness' if word == 'Anger' else 'Anger'}"
    votes = [word, word, third] if word else ["Neutral state", "Anger", "Sadness"]
    val, act, dom = utterance.ratings
    lines = [f"{head}\t[{ratings}]"]
    lines += [f"C-E{number}:\t{vote};\t()" for number, vote in zip((1, 2, 4), votes, strict=True)]
    lines += ["C-F1:\tFear;\t()", "C-M1:\tFear; Surprise;\t(not what I was after)"]
    # The accent is one byte in latin-1 and no UTF-8.
    lines += [f"A-E3:\tval {val:g}; act {act:g}; dom  {dom:g};\t(the fianc\xe9)", "A-F1:\tval 1; act ; dom  1;\t()"]
    return "\n".join(lines) + "\n"


def _transcription(dialog: str, talk: list[_Utterance]) -> str:
    lines = [f"{u.name} [{u.start:08.4f}-{u.end:08.4f}]: {text_of(u.name)}\n" for u in talk]
    # Breaths and the like: a line, but no recording.
    return "".join([*lines, f"{dialog}_FXX0 [000.1000-000.9000]: [BREATHING]\n", "M: Yeah.\n"])


def text_of(name: str) -> str:
    """What is said in an utterance."""
    talker, number = name.rpartition("_")[2][0], int(name[-3:])
    return f"This is {'she' if talker == 'F' else 'he'}, for the {number + 1}. time, in the caf\xe9."
