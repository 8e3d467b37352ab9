"""What others may see of what was given here: no place on this machine."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def without_places(value: Any) -> Any:
    """A value, or values within it, with every path of this machine by its last name.

    A text is taken for a path if it is absolute, begins at home, or leads to something that is there.

    >>> without_places({"dataset": "/data/mine/metadata.csv", "backbone": "facebook/wav2vec2-base", "seed": 1})
    {'dataset': 'metadata.csv', 'backbone': 'facebook/wav2vec2-base', 'seed': 1}
    """
    if isinstance(value, Mapping):
        return {name: without_places(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_places(item) for item in value]
    if isinstance(value, str) and _is_place(value):
        return Path(value).name
    return value


def _is_place(text: str) -> bool:
    if os.sep not in text or "\n" in text or "://" in text:
        return False
    if os.path.isabs(text) or text.startswith("~"):
        return True
    try:
        return Path(text).exists()
    except (OSError, ValueError):  # too long, or not a name
        return False
