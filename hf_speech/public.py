"""What others may see of what was given here: no place on this machine."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_TABLE = re.compile(r"\.(csv|tsv|json|jsonl|txt|ya?ml|parquet|scp|wav|flac|mp3)$", re.IGNORECASE)


def without_places(value: Any) -> Any:
    """A value, or values within it, with every path of this machine by its last name.

    A text is taken for a path if it is absolute, begins at home, has two slashes or more, or one and the ending of a
    file, or leads to something that is there. OWNER/NAME is none, and neither is an address on the web or a rule
    (`fold=1/2`).

    >>> without_places({"dataset": "/data/mine/metadata.csv", "backbone": "facebook/wav2vec2-base", "seed": 1})
    {'dataset': 'metadata.csv', 'backbone': 'facebook/wav2vec2-base', 'seed': 1}
    >>> without_places(["clients/acme/calls", "file:///home/ada/x", "--root=/home/ada/y", "https://a.org/b/c"])
    ['calls', 'x', '--root=y', 'https://a.org/b/c']
    """
    if isinstance(value, Mapping):
        return {name: without_places(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_places(item) for item in value]
    if not isinstance(value, str):
        return value
    flag, sign, text = value.partition("=") if value.startswith("--") else ("", "", value)
    return f"{flag}{sign}{Path(text).name}" if _is_place(text) else value


def _is_place(text: str) -> bool:
    if os.sep not in text or "\n" in text:
        return False
    if text.startswith(("file:", "~", "./", "../")) or os.path.isabs(text):
        return True
    if "://" in text or "=" in text:
        return False
    if text.count(os.sep) > 1 or _TABLE.search(text):
        return True
    try:
        return Path(text).exists()
    except (OSError, ValueError):  # too long, or not a name
        return False
