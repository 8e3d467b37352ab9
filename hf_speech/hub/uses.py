"""The card's sections of use: what a model is for, and what it is not for."""

import re
from collections.abc import Iterator

from .markdown import bullets
from .words import Facts, compares_voices, is_pretrained, is_trained, tasks_of

# Word in a task's name -> the kind of task that it is; a task without any of them is of a kind that nobody knows.
_KINDS = {
    **dict.fromkeys(("emotion", "emotions", "emotional", "affect", "feeling", "feelings"), "emotion"),
    **dict.fromkeys(("arousal", "activation", "valence", "dominance", "mood", "moods"), "emotion"),
    **dict.fromkeys(("sentiment", "stress"), "emotion"),
    **dict.fromkeys(("speaker", "speakers"), "speaker"),
    **dict.fromkeys(("age", "ages"), "age"),
    **dict.fromkeys(("gender", "sex"), "gender"),
    **dict.fromkeys(("language", "languages"), "language"),
    **dict.fromkeys(("accent", "accents", "dialect", "dialects", "nationality", "ethnicity", "race"), "origin"),
    **dict.fromkeys(("origin", "country", "religion"), "origin"),
}
# Kind of task -> what it may be used for.
_FOR = {
    "emotion": "Studying how emotions are spoken, and comparing methods on corpora like the one below.",
    "speaker": "Sorting recordings by voice where everybody who speaks has agreed to it, and studying how voices "
    "differ.",
    "age": "Studying how voices age, and describing a corpus as a whole: the ages in it, not the age of one person.",
    "gender": "Describing a corpus as a whole: whether it is balanced, not who one person is.",
    "language": "Sorting recordings by language before people or other programs go on with them.",
    "origin": "Describing a corpus as a whole: how people speak in it, not where one person is from.",
}
_ACT = "Regulation (EU) 2024/1689"
_SORTED_PEOPLE = (
    f"Sorting people by it: in the European Union a system that sorts people by protected attributes of theirs, found "
    f"in biometric data such as a voice, may be of high risk ({_ACT}, annex III, point 1(b)), and whoever uses it may "
    "have to inform them (article 50(3))."
)
_ORIGIN = (
    "Finding out where somebody comes from, or their ethnic origin: in the European Union inferring somebody's race or "
    f"religion from biometric data may be prohibited ({_ACT}, article 5(1)(g))."
)
# Kind of task -> what it must not be used for.
_NOT_FOR = {
    "emotion": (
        "Finding out what employees, pupils or students feel: in the European Union inferring emotions at work and in "
        f"education is prohibited but for medical and safety reasons ({_ACT}, article 5(1)(f)). Other systems that "
        "recognise emotions may be of high risk (annex III, point 1(c)), and whoever uses one may have to inform those "
        "who are exposed to it (article 50(3)).",
    ),
    "speaker": (
        "Recognising people who have not agreed: a voice that identifies a person is biometric data, and processing it "
        "needs a ground such as explicit consent (Regulation (EU) 2016/679, GDPR, article 9); systems that identify "
        f"people at a distance may be prohibited or of high risk ({_ACT}, article 5(1)(h) and annex III, point 1(a)).",
        "Access control, and proof of who spoke: recorded, imitated and made voices were not tested.",
    ),
    "age": ("Proof of age, and protecting minors by it: single answers are far off.", _SORTED_PEOPLE),
    "gender": ("Telling anybody what their gender is.", _SORTED_PEOPLE),
    "language": (_ORIGIN,),
    "origin": (_ORIGIN, _SORTED_PEOPLE),
}
_DECISIONS = "Decisions about people: work, school, police, borders, health, credit, insurance."
_UNKNOWN = (
    "What its answers say of a person is not known to this card: measure for whom it does worse, and see which laws "
    "apply, before anybody is treated by them."
)


def uses(results: Facts) -> list[str]:
    """The two sections."""
    return [
        f"## Intended use\n\n{bullets(list(_intended(results)))}",
        f"## Not for\n\n{bullets(list(_misuses(results)))}",
    ]


def _kinds(results: Facts) -> list[str]:
    """The kinds of its tasks, each once; "" is one that nobody knows."""
    kinds = []
    for task in tasks_of(results):
        words = re.split(r"[^a-z]+", task["name"].lower())
        found = [_KINDS[word] for word in words if word in _KINDS]
        kinds += found or [""]
    return list(dict.fromkeys([*kinds, *(["speaker"] if compares_voices(results) else [])]))


def _intended(results: Facts) -> Iterator[str]:
    synthetic = results["data"]["synthetic"]
    if synthetic and is_trained(results):
        yield "Trying out how the software works. It was not made for real speech."
    else:
        like = (
            "that of the training data" if is_trained(results) else "what it was made for, which is not recorded here"
        )
        yield f"Research and teaching, and trying out on speech like {like}."
        yield from (_FOR[kind] for kind in _kinds(results) if kind in _FOR)
    if results["model"]["architecture"].startswith("HfSpeech"):
        yield "A start for training on speech of your own."


def _misuses(results: Facts) -> Iterator[str]:
    kinds = _kinds(results)
    yield from dict.fromkeys(text for kind in kinds for text in _NOT_FOR.get(kind, ()))
    yield _DECISIONS
    if "" in kinds:
        yield _UNKNOWN
    yield (
        "Speech that differs from what it was measured on, in language, age, microphone, room or noise, before you "
        "have measured it there yourself."
    )
    if results["data"]["synthetic"]:
        yield _of_real_speech(results)


def _of_real_speech(results: Facts) -> str:
    if not is_trained(results):
        return "Real speech, before you have measured it there: the numbers are of synthetic speech."
    if is_pretrained(results):
        return "Real speech: it was fine-tuned on synthetic speech and has not been measured on any other."
    return "Real speech: it has never heard any."
