"""Preparing a corpus in a test."""

from pathlib import Path
from typing import Any

import pytest

from hf_speech.corpora.options import builder_of, fit_options
from hf_speech.corpora.prepare import prepare

from .prepared import Run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """run(corpus, data_dir, output="out", **options): prepares and gives the audit."""

    def go(corpus: str, data_dir: Path, output: str = "out", **options: Any) -> dict[str, Any]:
        kind, card = builder_of(corpus)
        how = {name: options.pop(name) for name in ("overwrite", "shard_size", "config_name") if name in options}
        return prepare(
            kind, corpus, data_dir, tmp_path / output, fit_options(kind, options), card=card, workers=1, **how
        )

    return go
