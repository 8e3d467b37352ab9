"""The README's code runs, and its commands exist."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from hf_speech.cli.entry import parse
from hf_speech.corpora.options import builder_of, fit_options
from hf_speech.fields import parse_flags
from hf_speech.flags import take_fields
from hf_speech.training.arguments import read_config

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    lines = "\n".join(blocks("bash")).replace("\\\n", " ").splitlines()
    return [line.split("  #")[0].strip() for line in lines if line.startswith("hf-speech ")]


def test_the_python_run_trains(speech, tmp_path, monkeypatch):
    code = next(block for block in blocks("python") if "Trainer(" in block)
    assert code.count("num_train_epochs=25") == 1
    code = code.replace("num_train_epochs=25", "max_steps=3").replace("runs/python", str(tmp_path))
    monkeypatch.chdir(ROOT)
    names: dict = {}
    exec(compile(code, "README.md", "exec"), names)
    assert names["train"].num_rows == 259
    assert names["model"].config.num_labels == 7
    assert (tmp_path / "checkpoint-3" / "model.safetensors").exists()


@pytest.mark.parametrize("command", commands())
def test_commands_parse(command):
    words, fields = take_fields(shlex.split(command)[1:])
    options = parse(words)
    if words[0] == "prepare":
        kind, _ = builder_of(options.corpus)
        assert options.config_name in [None, *(config.name for config in kind.BUILDER_CONFIGS)]
        fit_options(kind, parse_flags(fields))
    elif fields:
        read_config(None, {"backbone": "x", **parse_flags(fields)})


def test_the_configurations_are_those_in_the_repository():
    files = [block for block in blocks("yaml") if block.startswith("# model_cards/")]
    shown = {block.splitlines()[0].removeprefix("# "): block for block in files}
    assert len(shown) == 2
    for path, block in shown.items():
        assert yaml.safe_load(block) == yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))
