"""Preparing a corpus in a test."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hf_speech.corpora.builder import Corpus
from hf_speech.corpora.options import builder_of, fit_options
from hf_speech.corpora.prepare import prepare
from hf_speech.corpora.scripts import load_builder
from hf_speech.data.problems import Problems
from hf_speech.testing import write_fake_voxceleb

from .prepared import Find, Run


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


@pytest.fixture
def finder(tmp_path: Path) -> Callable[[str], Find]:
    """finder(corpus) -> find(folder, **options): what `find_rows` gives, and the problems, collected and not raised."""

    def of(corpus: str) -> Find:
        def find(
            folder: Path, config_name: str | None = None, on_bad: str = "skip", **options: Any
        ) -> tuple[Corpus, Problems]:
            builder = load_builder(corpus)(
                config_name=config_name, data_dir=str(folder), cache_dir=str(tmp_path / "cache"), **options
            )
            problems = Problems(on_bad)
            return builder.find_rows(problems), problems

        return find

    return of


@pytest.fixture(scope="session")
def fake(tmp_path_factory) -> Path:
    """16 speakers of VoxCeleb2 dev and the other parts, in archives as they are distributed."""
    speakers = {"vox1_dev": 4, "vox1_test": 4, "vox2_dev": 16, "vox2_test": 3}
    return write_fake_voxceleb(tmp_path_factory.mktemp("vox"), speakers=speakers, utterances=(2, 6), seconds=(0.1, 0.3))


@pytest.fixture(scope="session")
def members(fake) -> dict[str, list[str]]:
    """Part -> ids, read by zipfile."""
    found = {}
    for path in sorted(fake.glob("*.zip")):
        with zipfile.ZipFile(path) as archive:
            names = (name.rpartition(".")[0].split("/")[-3:] for name in archive.namelist())
            found[path.stem.rpartition("_")[0]] = sorted("/".join(parts) for parts in names)
    return found
