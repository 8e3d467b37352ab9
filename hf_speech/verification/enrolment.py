"""Enrolment with several utterances: a side of a trial that is a model, and the average that stands for it."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..data.problems import Problems, read_lines
from ..errors import InputError
from .trials import without_extension

Enrolment = dict[str, tuple[str, ...]]


def read_enrolment(path: str | Path, problems: Problems | None = None) -> Enrolment:
    """Models and their utterances from lines `name utterance utterance ...` (Kaldi's spk2utt), plain or gzipped.

    Args:
        path: the file.
        problems: takes lines without an utterance, with one twice, or of a name that was there before; they are left
            out. None: they are refused.

    Returns:
        Name -> its utterances, in order; extensions of audio files are cut off, as in lists of trials.

    Raises:
        InputError: the file can't be read, or holds no model; without `problems`, a line that is none.
    """
    found = Problems() if problems is None else problems
    models: Enrolment = {}
    for number, line in read_lines(path, found):
        name, *utterances = map(without_extension, line.split())
        if not utterances:
            found.add("malformed line", path, f"{name!r} has no utterance; write 'name utterance ...'", number)
        elif len(set(utterances)) < len(utterances):
            found.add("malformed line", path, f"{name!r} has an utterance twice; write each once", number)
        elif name in models:
            found.add("malformed line", path, f"{name!r} stands on an earlier line; write all of it there", number)
        else:
            models[name] = tuple(utterances)
    if problems is None:
        found.settle(str(path), option=None)
    if not models:
        raise InputError(f"{path}: holds no model; its lines have the form 'name utterance utterance ...'")
    return models


def spoken(names: Iterable[str], models: Mapping[str, Sequence[str]]) -> list[str]:
    """The utterances that names of a list stand for, each once: a model's, or the utterance of that name.

    >>> spoken(["anna", "b/1", "a/1"], {"anna": ["a/1", "a/2"]})
    ['a/1', 'a/2', 'b/1']
    """
    return list(dict.fromkeys(utterance for name in names for utterance in models.get(name, (name,))))


def complete(names: Iterable[str], models: Mapping[str, Sequence[str]], known: Iterable[str]) -> list[str]:
    """The names that can be scored: all utterances of theirs are known.

    A model that lacks one is left out whole: an average of fewer would be another model under the same name.
    """
    there = set(known)
    return [name for name in names if there.issuperset(models.get(name, (name,)))]


def averaged(
    embeddings: ArrayLike, ids: Sequence[str], names: Sequence[str], models: Mapping[str, Sequence[str]]
) -> NDArray:
    """What stands for each name: the mean of its model's embeddings, or the embedding of the utterance itself.

    The mean is taken of the embeddings as they come, before a back end centres and scales them.

    Args:
        embeddings: (N, E).
        ids: (N,) utterances.
        names: (M,) as lists of trials have them.
        models: name -> utterances; names that are not in it are utterances.

    Returns:
        (M, E), of the embeddings' own type.

    Raises:
        InputError: a name or one of its utterances has no embedding.
    """
    vectors = np.asarray(embeddings)
    place = {name: i for i, name in enumerate(ids)}
    absent = [name for name in spoken(names, models) if name not in place]
    if absent:
        raise InputError(f"there is no embedding of {absent[0]} ({len(absent)} in all); embed it, or leave it out")
    chosen = vectors[[place[models.get(name, (name,))[0]] for name in names]]
    for i, name in enumerate(names):
        if len(models.get(name, ())) > 1:
            chosen[i] = vectors[[place[one] for one in models[name]]].mean(axis=0, dtype=np.float64)
    return chosen
