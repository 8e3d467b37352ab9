"""Who may see a data set that goes to the Hub: its owner alone, as long as nobody says that it may be given on."""

import json
from pathlib import Path

from ..errors import InputError, one_line
from .parcel import AUDIT, metadata_of


def check_rights(corpus: str, *, public: bool, may_redistribute: bool) -> None:
    """Refuses to publish a corpus that comes under somebody else's terms.

    Args:
        corpus: what it was made from, as `hf-speech prepare` calls it.
        public: whether everybody is to see it.
        may_redistribute: whether whoever pushes says that the terms allow it.

    Raises:
        InputError: it is to be public, is one of the corpora with a script, and nobody says that they may.
    """
    from ..corpora.scripts import card_of, corpus_names

    if public and not may_redistribute and corpus in corpus_names():
        license = metadata_of(card_of(corpus)).get("license", "its own")
        raise InputError(
            f"{corpus} comes under terms that say who may get it (licence: {license}); if they allow you to publish "
            "this, give --i-may-redistribute, else leave --public out"
        )


def corpus_of(folder: Path) -> str:
    """What a prepared data set was made from.

    Raises:
        InputError: its audit.json can't be read.
    """
    try:
        return str(json.loads((folder / AUDIT).read_text(encoding="utf-8"))["corpus"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder / AUDIT}: is not what prepare wrote ({one_line(error)}); prepare again") from error
