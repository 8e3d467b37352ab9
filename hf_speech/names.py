"""Names of models and data sets, which are folders here or repositories of the Hub."""

from pathlib import Path

from .errors import InputError


def refuse_missing_folder(name: str, mend: str, what: str = "") -> None:
    """Refuses what can only be a folder on this machine and is not there, before the Hub is asked for it in vain.

    That is what starts with a dot, a slash, ~ or runs/, and what has more than one slash, or one at its end.

    Args:
        name: of a folder, or on the Hub.
        mend: what to give in its place.
        what: it is the name of, for the message.

    Raises:
        InputError: there is no such folder.

    >>> refuse_missing_folder("facebook/wav2vec2-base", "give another")
    >>> refuse_missing_folder("runs/emotion/fold-1", "give another")
    Traceback (most recent call last):
        ...
    hf_speech.models.registry.InputError: runs/emotion/fold-1: there is no such folder here; give another
    """
    outside = name.startswith((".", "/", "~", "runs/")) or name.count("/") > 1 or name.endswith("/")
    if outside and not Path(name).exists():
        raise InputError(f"{what} {name}: there is no such folder here; {mend}".lstrip())
