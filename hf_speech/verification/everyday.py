"""What the commands do for everyday use: a model by its name, files, and an answer as fields and as lines."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..inference import load_model
from . import identification, pairs
from .calibration import check_prior
from .gallery import Gallery
from .identification import check_threshold, enroll, identify, remove
from .kept import kept_of
from .pairs import Files, same_speaker

Answer = tuple[dict[str, Any], list[str]]  # as JSON has it, and as lines to print


def verify_files(
    model: str | Path,
    one: Files,
    other: Files,
    *,
    prior: float = 0.5,
    threshold: str | None = None,
    revision: str | None = None,
) -> Answer:
    """`hf-speech verify MODEL A.wav B.wav`: is it the same speaker?

    Args:
        model: its folder, or its name on the Hub.
        one: an audio file, several of one speaker, or a folder of them.
        other: the same.
        prior: see `pairs.same_speaker`.
        threshold: see `pairs.same_speaker`.
        revision: branch, tag or commit on the Hub.

    Raises:
        InputError: as `load_model`, `kept_of` and `same_speaker`.
    """
    check_prior(prior)
    loaded, extractor = load_model(model, revision)
    kept = kept_of(model, revision)
    answer = same_speaker(loaded, extractor, one, other, kept=kept, prior=prior, threshold=threshold)
    return {"files": [_named(one), _named(other)], "same_speaker": asdict(answer)}, [pairs.in_words(answer)]


def enroll_files(
    model: str | Path,
    name: str,
    files: Sequence[str | Path],
    gallery: str | Path,
    *,
    replace: bool = False,
    revision: str | None = None,
) -> Answer:
    """`hf-speech enroll MODEL --name X FILES --gallery G`: learn a voice.

    Args:
        model: its folder, or its name on the Hub.
        name: of the speaker.
        files: their recordings, and folders of them.
        gallery: the gallery's file; made if it is not there.
        replace: forget the speaker's earlier recordings.
        revision: branch, tag or commit on the Hub.

    Raises:
        InputError: as `load_model`, `kept_of` and `enroll`.
    """
    loaded, extractor = load_model(model, revision)
    kept = kept_of(model, revision)
    return _enrolled(enroll(loaded, extractor, name, files, gallery, kept=kept, replace=replace), name, gallery)


def remove_speaker(name: str, gallery: str | Path, files: Sequence[str | Path] = ()) -> Answer:
    """`hf-speech enroll --remove --name X --gallery G`: forget a voice, or some recordings of it; needs no model.

    Args:
        name: of the speaker.
        gallery: the gallery's file.
        files: the recordings to forget; none: all.

    Raises:
        InputError: as `remove`.
    """
    return _enrolled(remove(name, gallery, files), name, gallery)


def identify_file(
    model: str | Path,
    file: str | Path,
    gallery: str | Path,
    *,
    threshold: str | float | None = None,
    top: int = 5,
    prior: float = 0.5,
    revision: str | None = None,
) -> Answer:
    """`hf-speech identify MODEL FILE --gallery G`: who is it, or nobody who is known?

    Args:
        model: the one that enrolled: its folder, or its name on the Hub.
        file: an audio file.
        gallery: the gallery's file.
        threshold: a score, also as text, or the name of a kept threshold.
        top: how many speakers are listed.
        prior: see `identify`.
        revision: branch, tag or commit on the Hub.

    Raises:
        InputError: as `load_model`, `kept_of` and `identify`.
    """
    wanted = as_threshold(threshold)
    check_prior(prior)
    loaded, extractor = load_model(model, revision)
    kept = kept_of(model, revision)
    found = identify(loaded, extractor, file, gallery, kept=kept, threshold=wanted, top=top, prior=prior)
    return {"file": str(file), **asdict(found)}, identification.in_words(found)


def as_threshold(given: str | float | None) -> str | float | None:
    """A score where the word is a number, else the name of a threshold.

    >>> as_threshold("0.25"), as_threshold("fmr_0.01"), as_threshold(None)
    (0.25, 'fmr_0.01', None)

    Raises:
        InputError: a number that is not finite.
    """
    try:
        found = float(given) if isinstance(given, str) else given
    except ValueError:
        return given
    check_threshold(found)
    return found


def _named(side: Files) -> str | list[str]:
    return str(side) if isinstance(side, str | Path) else [str(file) for file in side]


def _enrolled(gallery: Gallery, name: str, path: str | Path) -> Answer:
    recordings, seconds = gallery.of(name)
    speakers = len(set(gallery.names))
    facts = {"gallery": str(path), "speaker": name, "recordings": recordings, "seconds": seconds, "speakers": speakers}
    count = f"{recordings} {'recording' if recordings == 1 else 'recordings'}, {seconds:.1f} s"
    return facts, [f"{name}: {count}; {speakers} {'speaker' if speakers == 1 else 'speakers'} in {path}"]
