"""The words of `hf-speech crossval` and `hf-speech sweep`: examples that hold, misspelt flags, no cluster."""

import shlex
from pathlib import Path

import pytest

from hf_speech.cli.entry import parser
from hf_speech.experiments.command import CROSSVAL, SWEEP, own_flags
from hf_speech.experiments.grid import read_sweep
from hf_speech.fields import parse_flags
from hf_speech.flags import take_fields
from hf_speech.training.arguments import read_config

from ..training.runs import refusal, write_yaml


@pytest.fixture
def train_yaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of the name that examples have, where they are typed."""
    monkeypatch.chdir(tmp_path)
    return write_yaml(tmp_path / "train.yaml", dataset="voices/", backbone="ecapa-512", backbone_config=None)


@pytest.mark.parametrize("example", [*CROSSVAL.splitlines(), *SWEEP.splitlines()])
def test_examples_of_help_hold(example: str, train_yaml: Path) -> None:
    """Their words, their recipes with their fields, and validation rows wherever something is chosen by them."""
    words, fields = take_fields(shlex.split(example)[1:])
    options = parser().parse_args(words)
    if options.command == "crossval":
        configs = [read_config(config, parse_flags(fields)) for config in [options.config, *options.others]]
        assert (options.folds is None) != (options.within is None)
    else:
        plan = read_sweep(options.config, options.grid, options.seeds, options.metric, parse_flags(fields))
        configs = [read_config(one, {**plan.fields, **point}) for one in plan.configs for _, point in plan.points()]
        assert all(config.split.validation or config.split.trials for config in configs)
    assert all(config.data.dataset != "iemocap/fold1" or ".json" in options.folds for config in configs)


MISSPELT = {
    ("crossval", "--fold", "speaker_id"): "unknown field 'fold' (did you mean --folds?)",
    ("crossval", "--run", "2"): "unknown field 'run' (did you mean --runs?)",
    ("crossval", "--paralel", "2"): "unknown field 'paralel' (did you mean --parallel?)",
    ("sweep", "--seed-s", "1,2"): "unknown field 'seed_s' (did you mean --seeds?)",
    ("sweep", "--partitions", "gpu"): "unknown field 'partitions' (did you mean --partition?)",
    ("sweep", "--learning-rates", "0.1"): "unknown field 'learning_rates' (did you mean 'learning_rate'?)",
}


@pytest.mark.parametrize("words", MISSPELT)
def test_flags_that_are_misspelt(
    words: tuple[str, ...], train_yaml: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, *flags = words
    line = refusal(capsys, name, train_yaml, *flags, "--output-dir", tmp_path / "new")
    assert line == f"hf-speech {name}: flags: {MISSPELT[words]}; `hf-speech train --fields` lists all"
    assert not (tmp_path / "new").exists()


def test_flags_of_a_command_are_those_of_its_parser() -> None:
    assert {"--folds", "--within", "--runs", "--setup", "--launcher"} <= own_flags("crossval")
    assert own_flags("sweep") - own_flags("crossval") == {"--grid", "--seeds", "--metric"}
    assert take_fields(["sweep", "x", "--grid", "layer=1,2", "--layer", "3"])[1] == ["--layer", "3"]


@pytest.mark.parametrize("name", ["crossval", "sweep"])
def test_a_cluster_that_is_not_there_is_refused_before_anything_is_written(
    name: str, train_yaml: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    how = ["--folds", "speaker_id"] if name == "crossval" else ["--grid", "layer=1,2"]
    line = refusal(capsys, name, train_yaml, *how, "--launcher", "slurm", "--output-dir", tmp_path / "new")
    assert "there is no Slurm here" in line and not (tmp_path / "new").exists()
