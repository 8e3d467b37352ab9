"""The corpus scripts as they are found and loaded."""

import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from datasets import Features

from hf_speech.corpora.builder import CorpusBuilder, CorpusConfig
from hf_speech.corpora.examples import PRIVATE, features_of
from hf_speech.corpora.scripts import card_of, corpus_names, load_builder, scripts_folder
from hf_speech.errors import InputError


def test_every_folder_with_a_script_is_a_corpus() -> None:
    folder = scripts_folder()
    assert corpus_names() == sorted(path.parent.name for path in folder.glob("*/*.py") if path.stem == path.parent.name)
    assert {"aishell4", "iemocap", "voxceleb"} <= set(corpus_names())
    assert all(card_of(name).is_file() for name in corpus_names())


@pytest.mark.parametrize("name", corpus_names())
def test_a_script_defines_one_builder(name: str) -> None:
    kind = load_builder(name)
    assert issubclass(kind, CorpusBuilder) and "find_rows" in vars(kind)
    assert load_builder(name) is kind
    module = sys.modules[kind.__module__]
    assert Path(module.__file__ or "").parent.name == name
    own = [k for k in vars(module).values() if isinstance(k, type) and issubclass(k, CorpusBuilder)]
    assert [k for k in own if k.__module__ == kind.__module__] == [kind]
    assert "sys.path" not in Path(module.__file__ or "").read_text()


@pytest.mark.parametrize("name", corpus_names())
def test_configurations_and_columns_are_usable(name: str) -> None:
    kind = load_builder(name)
    configs = {config.name: config for config in kind.BUILDER_CONFIGS}
    assert len(configs) == len(kind.BUILDER_CONFIGS) and kind.DEFAULT_CONFIG_NAME in configs
    assert all(config.description for config in configs.values())
    assert issubclass(kind.BUILDER_CONFIG_CLASS, CorpusConfig)
    assert not set(kind.COLUMNS) & (PRIVATE | {"id", "audio", "length", "duration"})
    for embed_audio in (True, False):
        features = features_of(kind.COLUMNS, embed_audio)
        assert list(features)[:4] == ["id", "audio", "length", "duration"]
        assert Features.from_dict(features.to_dict()) == features
        assert ("start" in features) == ("start" in kind.COLUMNS and not embed_audio)
        assert ("segment_start" in features) == ("start" in kind.COLUMNS and embed_audio)
    common = {field.name for field in fields(CorpusConfig)}
    for field in fields(kind.BUILDER_CONFIG_CLASS):
        assert field.name in common or field.metadata["help"], field.name


@pytest.mark.parametrize("name", ["", "vox", "../corpora", "VoxCeleb", "voxceleb/", "__pycache__"])
def test_another_name_is_refused_with_those_that_there_are(name: str) -> None:
    with pytest.raises(InputError, match="unknown corpus .*aishell4.*iemocap.*voxceleb"):
        load_builder(name)


def test_a_builder_can_be_pickled_where_its_script_is_loaded() -> None:
    """As `datasets` does when several processes build; in a process that the other tests have not touched."""
    code = """
import pickle
from hf_speech.corpora.scripts import corpus_names, load_builder
for name in corpus_names():
    kind = load_builder(name)
    assert pickle.loads(pickle.dumps(kind)) is kind
    assert pickle.loads(pickle.dumps(kind.BUILDER_CONFIGS[0])) == kind.BUILDER_CONFIGS[0]
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
