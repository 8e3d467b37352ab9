"""The card's sections of use: what a model is for, and what it is not for."""

from collections.abc import Iterator

from .markdown import bullets
from .words import Facts, compares_voices, tasks_of

# Task -> what it may be used for.
_FOR = {
    "emotion": "Studying how emotions are spoken, and comparing methods on corpora like the one below.",
    "speaker_id": "Sorting recordings by voice where everybody who speaks has agreed to it, and studying how voices "
    "differ.",
    "age": "Studying how voices age, and describing a corpus as a whole: the ages in it, not the age of one person.",
    "gender": "Describing a corpus as a whole: whether it is balanced, not who one person is.",
    "language": "Sorting recordings by language before people or other programs go on with them.",
}
# Task -> what it must not be used for.
_NOT_FOR = {
    "emotion": (
        "Finding out what employees, pupils or students feel: in the European Union inferring emotions at work and in "
        "education is prohibited but for medical and safety reasons (Regulation (EU) 2024/1689, article 5(1)(f)), and "
        "other systems that recognise emotions are of high risk (annex III).",
    ),
    "speaker_id": (
        "Recognising people who have not agreed: a voice that identifies a person is biometric data, and processing it "
        "needs a ground such as explicit consent (Regulation (EU) 2016/679, GDPR, article 9).",
        "Access control, and proof of who spoke: recorded, imitated and made voices were not tested.",
    ),
    "age": ("Proof of age, and protecting minors by it: single answers are far off.",),
    "gender": ("Telling anybody what their gender is.",),
}
_JUDGED = {"emotion", "age", "gender", "speaker_id"}  # tasks that say something about a person


def uses(results: Facts) -> list[str]:
    """The two sections."""
    return [
        f"## Intended use\n\n{bullets(list(_intended(results)))}",
        f"## Not for\n\n{bullets(list(_misuses(results)))}",
    ]


def _names(results: Facts) -> list[str]:
    names = [task["name"] for task in tasks_of(results)]
    return [*names, *(["speaker_id"] if compares_voices(results) and "speaker_id" not in names else [])]


def _intended(results: Facts) -> Iterator[str]:
    if results["data"]["synthetic"]:
        yield "Trying out how the software works. It was not made for real speech."
    else:
        yield "Research and teaching, and trying out on speech like that of the training data."
        yield from (_FOR[name] for name in _names(results) if name in _FOR)
    if results["model"]["architecture"].startswith("HfSpeech"):
        yield "A start for training on speech of your own."


def _misuses(results: Facts) -> Iterator[str]:
    names = _names(results)
    for name in names:
        yield from _NOT_FOR.get(name, ())
    if _JUDGED.intersection(names):
        yield "Decisions about people: work, school, police, borders, health, credit, insurance."
    yield (
        "Speech that differs from what it was measured on, in language, age, microphone, room or noise, before you "
        "have measured it there yourself."
    )
    if results["data"]["synthetic"]:
        yield "Real speech: it has never heard any."
