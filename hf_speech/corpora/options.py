"""The options of a corpus: the fields of its builder's config, as flags."""

import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

from datasets import BuilderConfig

from ..errors import unknown_name
from ..fields import fit
from .builder import CorpusBuilder, CorpusConfig
from .own import OWN, own_builder
from .scripts import card_of, corpus_names, load_builder

_FOREIGN = frozenset(field.name for field in fields(BuilderConfig))


def corpora() -> list[str]:
    """Everything that `prepare` takes: the corpora with a script, then the readers."""
    return [*corpus_names(), *OWN]


def builder_of(name: str) -> tuple[type[CorpusBuilder], str | None]:
    """The builder class of a corpus, and its card if it has one.

    Raises:
        InputError: there is no such corpus.
    """
    if name in OWN:
        return own_builder(name), None
    if name not in corpus_names():
        raise unknown_name(name, corpora(), "corpus")
    card = card_of(name)
    return load_builder(name), card.read_text(encoding="utf-8") if card.is_file() else None


def fit_options(kind: type[CorpusBuilder], given: Mapping[str, Any]) -> dict[str, Any]:
    """Flags as the config's fields want them.

    Raises:
        InputError: no such field, or a value that it does not take.
    """
    hints = typing.get_type_hints(kind.BUILDER_CONFIG_CLASS)
    ours = {field.name: hints[field.name] for field in _fields(kind)}
    for name in given:
        if name not in ours:
            raise unknown_name(name, ours, "option")
    return {name: fit(value, ours[name], f"--{name.replace('_', '-')}") for name, value in given.items()}


def describe_options(name: str) -> str:
    """The configurations and options of a corpus, a line each."""
    kind, _ = builder_of(name)
    lines = []
    if kind.BUILDER_CONFIGS:
        lines.append("configurations (--config-name):")
        for config in kind.BUILDER_CONFIGS:
            default = " (default)" if config.name == kind.DEFAULT_CONFIG_NAME else ""
            lines.append(f"  {config.name:28}{config.description}{default}")
    lines.append("options:")
    for field in _fields(kind):
        value = None if field.default is MISSING else field.default
        shown = "" if value in (None, "", [], {}) else f" ({_shown(value)})"
        lines.append(f"  --{field.name.replace('_', '-'):26}{field.metadata.get('help', '')}{shown}")
    return "\n".join(lines)


def _shown(value: Any) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _fields(kind: type[CorpusBuilder]) -> list[Any]:
    """The fields of the config that are not of `datasets`: first the corpus's own, then those of every corpus."""
    common = {field.name for field in fields(CorpusConfig)}
    ours = [field for field in fields(kind.BUILDER_CONFIG_CLASS) if field.name not in _FOREIGN]
    return sorted(ours, key=lambda field: field.name in common)
