"""Names of models and data sets, which are folders here or repositories of the Hub."""

from pathlib import Path

from .errors import InputError


def refuse_missing_folder(name: str, mend: str) -> None:
    """Refuses what reads like a folder on this machine and is not there, before the Hub is asked for it in vain.

    So reads what starts with a dot, a slash or ~, has more than one slash or one at its end, or starts with the name of
    a folder that is here.

    Args:
        name: that is neither a file nor a folder here.
        mend: what to give in its place.

    Raises:
        InputError: there is no such folder.

    >>> refuse_missing_folder("facebook/wav2vec2-base", "give another")
    >>> refuse_missing_folder("runs/emotion/fold-1", "give another")
    Traceback (most recent call last):
        ...
    hf_speech.models.registry.InputError: runs/emotion/fold-1: there is no such folder here; give another
    """
    first, *others = name.split("/")
    if name.startswith((".", "/", "~")) or len(others) > 1 or "" in others:
        raise InputError(f"{name}: there is no such folder here; {mend}")
    if others and Path(first).is_dir():
        raise InputError(
            f"{name}: there is no such folder here; {mend}; if it is one, start where there is no folder {first}/"
        )
