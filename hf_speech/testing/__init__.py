"""For tests, yours as well: tiny backbones of every kind, and corpora that are made up but can be learned.

config = tiny_backbone_config("wavlm")                    # random weights, a few thousand parameters, no download
table = write_fake_corpus("corpus", classes=("a", "b"))   # wav files and metadata.csv
tree = write_fake_iemocap("IEMOCAP_full_release")         # folders, names and metadata as the real corpus has them
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "BACKBONES": "tiny",
    "tiny_backbone_config": "tiny",
    "write_fake_corpus": "voices",
    "write_fake_voxceleb": "voxceleb",
    "write_fake_iemocap": "iemocap",
    "write_fake_aishell4": "aishell4",
}

__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    """Public names, loaded when first asked for (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
