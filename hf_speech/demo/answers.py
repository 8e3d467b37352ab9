"""What a page says of recordings: the numbers, for programs, and the same in plain words, for people."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..evidence import Evidence, evidence
from ..inference import infer, predictions, tasks_of
from ..verification.kept import Kept
from ..verification.maps import project
from ..verification.pairs import PairAnswer, judge
from ..verification.pairs import compare as compare_embeddings
from ..verification.recordings import embeddings_of_rows
from . import pictures
from .limits import Limits
from .models import Loaded
from .recordings import Recording, listen_to, rows_of

LEAST_SCORE = 0.1  # of a label that is named in a headline
LITTLE_SPEECH = 1.0  # seconds; with less an answer is little more than a guess
_NO_CALIBRATION = (
    "This model keeps no calibration, so there is neither a probability nor a threshold. The similarity is 1 at most "
    "and has no fixed meaning: with some models the voices of two people are above 0.9, too. Compare it with that of "
    "recordings whose speakers you know."
)
_NO_PROOF = (
    "A model can be wrong, most of all on recordings unlike those that it was trained and calibrated on: this is no "
    "proof of who speaks."
)


def classify(loaded: Loaded, path: str, limits: Limits) -> tuple[dict[str, Any], str]:
    """What a model names in a recording.

    Args:
        loaded: the model.
        path: of the recording.
        limits: of the page.

    Returns:
        The fields of `hf_speech.inference.describe`, with `seconds`, `speech_seconds` and, where the model weighs
        moments, `evidence` (the stretch with half of it, seconds); and the page's answer.

    Raises:
        InputError: the model has no labels, or the recording can't be used.
    """
    loaded.need_labels()
    heard = _listened(path, loaded, limits)
    rows = rows_of([heard])
    (said,) = predictions(loaded.model, rows, infer(loaded.model, loaded.extractor, rows))
    del said["file"]
    looked = evidence(loaded.model, loaded.extractor, heard.waveform)
    fields = {**said, "seconds": heard.seconds, "speech_seconds": heard.spoken}
    if looked is not None:
        fields["evidence"] = list(looked.densest())
    alone = tasks_of(loaded.model)[0].name if "value" in said else ""  # a number says nothing without its name
    return fields, _classified(said, alone, heard, looked)


def _classified(said: Mapping[str, Any], alone: str, heard: Recording, looked: Evidence | None) -> str:
    """The page's answer; `alone` is what the only task of a model is called, where that has to be said."""
    tasks = {name.replace("_", " "): one for name, one in (said.get("tasks") or {alone: said}).items()}
    parts = []
    for name, one in tasks.items():
        parts += [pictures.heading(name)] if name else []
        parts += [pictures.bars(one["scores"])] if "scores" in one else []
    parts += [pictures.heading("The recording"), pictures.waveform(heard.waveform, looked)]
    if looked is not None:
        words = pictures.went_by(looked)
        parts.append(pictures.sentence(f"The stronger the colour, the more the model went by that moment. {words}"))
    parts.append(_about_speech([heard]))
    return pictures.answer("; ".join(_headline(name, one) for name, one in tasks.items()), *parts)


def _headline(name: str, said: Mapping[str, Any]) -> str:
    """One task's answer in a few words.

    >>> _headline("", {"label": "calm", "score": 0.83}), _headline("age", {"value": 34.21})
    ('calm, 83 %', 'age: 34.2')
    >>> _headline("", {"label": "calm", "score": 0.31}), _headline("", {"labels": [], "scores": {}})
    ('not sure: perhaps calm, 31 %', 'none of the labels')
    >>> _headline("", {"label": "ann", "score": 0.004})
    'not sure: no label stands out'
    """
    if "value" in said:
        words = f"{said['value']:.1f}"
    elif "labels" in said:
        words = ", ".join(said["labels"]) or "none of the labels"
    elif said["score"] < LEAST_SCORE:
        words = "not sure: no label stands out"
    else:
        words = (
            f"{'' if said['score'] >= 0.5 else 'not sure: perhaps '}{said['label']}, {pictures.percent(said['score'])}"
        )
    return f"{name}: {words}" if name else words


def compare(loaded: Loaded, one: str, other: str, limits: Limits) -> tuple[dict[str, Any], str]:
    """Whether two recordings are of one speaker.

    Args:
        loaded: the model.
        one: path of a recording.
        other: of the other.
        limits: of the page.

    Returns:
        The fields of `PairAnswer`; and the page's answer.

    Raises:
        InputError: the model gives no embeddings, or a recording can't be used.
    """
    loaded.need_embeddings()
    heard = _heard([one, other], loaded, limits)
    said = compare_embeddings(*_embedded(heard, loaded), [one.name for one in heard], loaded.kept)
    return asdict(said), _compared(said, heard, loaded.kept)


def _compared(said: PairAnswer, heard: Sequence[Recording], kept: Kept | None) -> str:
    if kept is None or said.probability is None or said.threshold is None or said.llr is None:
        headline = f"Similarity {said.score:.2f}"
        parts = [pictures.sentence(_NO_CALIBRATION)]
    else:
        verdict = "the same speaker" if said.decision else "two different speakers"
        # The threshold need not lie where both are as likely: between the two nothing is probable.
        sure = (said.probability >= 0.5) == said.decision
        headline = f"Probably {verdict}" if sure else f"Not sure; by the model's threshold {verdict}"
        side = "above" if said.decision else "below"
        share = pictures.percent(said.probability).removesuffix(" %")
        parts = [
            pictures.bars({"same speaker": said.probability, "different speakers": 1 - said.probability}),
            pictures.sentence(
                f"If half of all pairs of recordings were of one speaker, {share} in 100 pairs that are as alike as "
                "these would be."
            ),
            pictures.scale(said.score, said.threshold, float(kept.margin(said.llr))),
            pictures.sentence(
                f"The score of these two is {said.score:.2f}, {side} the threshold of {said.threshold:.2f}, from which "
                "on the model takes two voices for one."
            ),
        ]
    waves = [pictures.sentence(one.name, "file") + pictures.waveform(one.waveform) for one in heard]
    return pictures.answer(headline, *parts, _about_speech(heard), pictures.sentence(_NO_PROOF), *waves)


def lay_out(loaded: Loaded, paths: Sequence[str], limits: Limits) -> tuple[dict[str, Any], str]:
    """Which of several recordings sound alike.

    Args:
        loaded: the model.
        paths: of the recordings, two at least.
        limits: of the page.

    Returns:
        `recordings` {name, x, y, voice}, `pairs` {one, other, score, probability, same_speaker} (the latter two None
        without a calibration), the most alike first; and the page's answer.

    Raises:
        InputError: too few or too many recordings, the model gives no embeddings, or a recording can't be used.
    """
    if not 2 <= len(paths) <= limits.max_files:
        raise InputError(
            f"A map needs 2 to {limits.max_files} recordings, and {len(paths)} were given."
            if paths
            else f"Please give 2 to {limits.max_files} recordings first."
        )
    loaded.need_embeddings()
    heard = _heard(paths, loaded, limits)
    names = [one.name for one in heard]
    vectors, seconds = _embedded(heard, loaded)
    left, right = np.array(list(combinations(range(len(heard)), 2))).T
    judged = judge(vectors, seconds, left, right, names, loaded.kept)
    accepted = np.zeros(len(left), dtype=bool) if loaded.kept is None else loaded.kept.accepts(judged.llrs)
    voices = _voices(len(heard), left[accepted], right[accepted])
    points = project(vectors, method="pca").points  # of a dozen points nothing but PCA is stable
    order = np.argsort(-judged.scores, kind="stable")
    pairs: list[dict[str, Any]] = [
        {
            "one": names[left[i]],
            "other": names[right[i]],
            "score": float(judged.scores[i]),
            "probability": float(judged.probabilities[i]) if len(judged.probabilities) else None,
            "same_speaker": bool(accepted[i]) if loaded.kept is not None else None,
        }
        for i in order
    ]
    places = [
        {"name": name, "x": float(x), "y": float(y), "voice": voice + 1 if loaded.kept is not None else None}
        for name, (x, y), voice in zip(names, points, voices, strict=True)
    ]
    picture = pictures.voice_map(points, names, voices if loaded.kept is not None else [0] * len(names))
    return {"recordings": places, "pairs": pairs}, _laid_out(names, voices, pairs, picture, heard, loaded)


def _laid_out(
    names: Sequence[str],
    voices: Sequence[int],
    pairs: Sequence[Mapping[str, Any]],
    picture: str,
    heard: Sequence[Recording],
    loaded: Loaded,
) -> str:
    first, numbered = pairs[0], {name: f"{i} {name}" for i, name in enumerate(names, start=1)}

    def sides(pair: Mapping[str, Any]) -> list[str]:
        return [numbered[pair["one"]], numbered[pair["other"]]]

    parts = [picture, pictures.sentence("Near points sound alike; the axes and the scale mean nothing.")]
    if loaded.kept is not None:
        count = max(voices) + 1
        headline = f"{count} voice{'s' if count != 1 else ''} in {len(names)} recordings"
        for voice in range(count):
            mine = ", ".join(
                f"{i} {name}" for i, (name, v) in enumerate(zip(names, voices, strict=True), 1) if v == voice
            )
            parts.append(
                pictures.sentence(f"Voice {voice + 1}: {mine}", f"voice-of hs-group-{voice % pictures.GROUPS}")
            )
        joined = "Recordings have one voice here if a chain of pairs above the model's threshold joins them."
        parts.append(pictures.sentence(joined))
        columns = ["recording", "other recording", "same speaker", "score"]
        rows = [[*sides(p), pictures.percent(p["probability"]), f"{p['score']:.2f}"] for p in pairs]
    else:
        headline = f"Most alike: {first['one']} and {first['other']}"
        parts.append(pictures.sentence(_NO_CALIBRATION))
        columns = ["recording", "other recording", "similarity"]
        parts.append(pictures.sentence(f"The recordings: {', '.join(numbered.values())}."))
        rows = [[*sides(p), f"{p['score']:.2f}"] for p in pairs]
    parts += [_about_speech(heard), pictures.table(columns, rows, "Every pair, the most alike first")]
    return pictures.answer(headline, *parts, pictures.sentence(_NO_PROOF))


def _listened(path: str, loaded: Loaded, limits: Limits) -> Recording:
    return listen_to(path, limits, loaded.shortest, int(loaded.extractor.sampling_rate))


def _embedded(heard: Sequence[Recording], loaded: Loaded) -> tuple[NDArray, NDArray]:
    """Embeddings of N recordings, each made alone, and how long they are: (N, E) float32 and (N,) seconds."""
    seconds = np.array([one.seconds for one in heard])
    chunk_seconds = None if loaded.kept is None else loaded.kept.chunk_seconds
    return embeddings_of_rows(loaded.model, loaded.extractor, rows_of(heard), seconds, chunk_seconds), seconds


def _heard(paths: Sequence[str], loaded: Loaded, limits: Limits) -> list[Recording]:
    """Several recordings, whose names differ: two clips from the microphone come under one name.

    Raises:
        InputError: one of them can't be used; which one, by its place among them.
    """
    heard = []
    for number, path in enumerate(paths, start=1):
        try:
            heard.append(_listened(path, loaded, limits))
        except InputError as error:
            raise InputError(f"Recording {number}: {error}") from error
    names = _distinct([one.name for one in heard])
    return [replace(one, name=name) for one, name in zip(heard, names, strict=True)]


def _about_speech(heard: Sequence[Recording]) -> str:
    """A word of caution where somebody hardly speaks."""
    little = [f"{one.name} ({one.spoken:.1f} s)" for one in heard if one.spoken < LITTLE_SPEECH]
    return (
        pictures.sentence(f"There is little speech in {', '.join(little)}: take the answer with care.")
        if little
        else ""
    )


def _voices(count: int, left: NDArray, right: NDArray) -> list[int]:
    """Numbers of voices: recordings that are joined by accepted pairs share one, by first appearance.

    >>> _voices(4, np.array([0, 2]), np.array([3, 3])), _voices(2, np.array([], int), np.array([], int))
    ([0, 1, 0, 0], [0, 1])
    """
    voices = list(range(count))
    for one, other in zip(left.tolist(), right.tolist(), strict=True):
        joined, gone = voices[one], voices[other]
        voices = [joined if voice == gone else voice for voice in voices]
    first = list(dict.fromkeys(voices))
    return [first.index(voice) for voice in voices]


def _distinct(names: Sequence[str]) -> list[str]:
    """Names that differ, as one can give the same file twice.

    >>> _distinct(["a.wav", "b.wav", "a.wav"])
    ['a.wav', 'b.wav', 'a.wav (2)']
    """
    seen: dict[str, int] = {}
    found = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        found.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return found
