"""The command itself: help, exit statuses, and the quickstart, as somebody types them."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from hf_speech import __version__
from hf_speech.data.drawing import EFFECTS
from hf_speech.models.configuration import BACKBONES
from hf_speech.models.presets import PRESETS
from hf_speech.models.registry import options_of
from hf_speech.results import group_of
from hf_speech.testing import write_fake_corpus
from hf_speech.training.parts import PARTS

from .training.runs import command, read_results, read_table, refusal, write_table, write_yaml

COMMANDS = (
    "quickstart",
    "train",
    "pretrain",
    "cluster",
    "layer-sweep",
    "evaluate",
    "predict",
    "embed",
    "card",
    "doctor",
)
HF_SPEECH = Path(sys.executable).with_name("hf-speech")


def real(*words: object, folder: Path | None = None) -> "subprocess.CompletedProcess[str]":
    """The installed command in a process of its own, without the Hub."""
    if not HF_SPEECH.exists():
        pytest.skip("the command is not installed beside this Python")
    line = [str(HF_SPEECH), *map(str, words)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    return subprocess.run(line, capture_output=True, text=True, cwd=folder, env=environment, timeout=300)


def test_what_libraries_keep_for_themselves_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", raising=False)
    asked = "import os, hf_speech.cli as cli\ntry: cli.main(['--help'])\nfinally: print(dict(os.environ))"
    for given in (None, "7"):
        if given:
            monkeypatch.setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", given)
        said = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True).stdout
        assert f"'ONEDNN_PRIMITIVE_CACHE_CAPACITY': '{given or 64}'" in said


def test_help_is_quick_and_lists_the_commands() -> None:
    said = real("--help")
    assert said.returncode == 0 and said.stderr == ""
    assert all(re.search(rf"\n    {name}\s", said.stdout) for name in COMMANDS)
    asked = "import sys, hf_speech.cli as c\ntry: c.main(sys.argv[1:])\nexcept SystemExit: pass\n"
    asked += "print(sorted({'torch', 'transformers', 'datasets', 'matplotlib', 'numpy'} & set(sys.modules)))"
    for words in (["--help"], ["train", "--help"], ["--version"], ["predict"]):
        done = subprocess.run([sys.executable, "-c", asked, *words], capture_output=True, text=True, timeout=60)
        assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_help_with_examples(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(name, "--help") == 0
    said = capsys.readouterr()
    assert f"examples:\n  hf-speech {name}" in said.out and said.err == ""
    assert ("hf-speech train --fields" in said.out) == (name in ("quickstart", "train", "layer-sweep", "evaluate"))
    assert ("hf-speech pretrain --fields" in said.out) == (name == "pretrain")


def test_version_and_fields(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("--version") == 0
    assert capsys.readouterr().out == f"hf_speech {__version__}\n"
    assert command("train", "--fields") == 0
    fields = capsys.readouterr().out
    assert "  pooling " in fields and "mean+std" in fields and "  learning_rate " in fields
    assert command("pretrain", "--fields") == 0
    fields = capsys.readouterr().out
    assert "  masking " in fields and "  learning_rate " in fields
    assert not any(f"  {name} " in fields for name in ("pooling", "head", "adaptation", "frozen_cache"))


def test_every_part_is_listed_with_its_words_and_options(capsys: pytest.CaptureFixture[str]) -> None:
    """From the registries: what is registered tomorrow is listed tomorrow."""
    assert command("train", "--fields") == 0
    said = capsys.readouterr().out
    for what, registry in PARTS.items():
        section = "\n" + said[said.index("\nnecks (") :].partition(f"({_given(what)}")[2].partition(":\n")[2]
        for name, part in registry.items():
            line = section[section.index(f"\n  {name:22}") + 1 :]
            words, _, rest = line.partition("\n")
            assert words == f"  {name:22}{str(part.__doc__).strip().splitlines()[0]}"
            options = rest.partition("\n")[0].strip() if options_of(part) else "{}"
            assert options.startswith("{") and yaml.safe_load(options).keys() == options_of(part).keys(), name
            for option, default in options_of(part).items():
                assert _listed(yaml.safe_load(options)[option]) == _listed(default), (name, option)
    assert all(f"\n  {name:22}" in said[said.index("presets (--backbone") :] for name in PRESETS)
    assert all(name in said for name in BACKBONES)
    assert "speed_classes: false" in said
    effects = said[said.index("\naugment (--augment") :]
    for name, effect in EFFECTS.items():
        words, options, *_ = effects[effects.index(f"\n  {name:22}") + 1 :].splitlines()
        assert words == f"  {name:22}{str(effect.__doc__).strip().splitlines()[0]}"
        assert yaml.safe_load(options).keys() == options_of(effect).keys() and "probability: 0" in options


def _given(what: str) -> str:
    places = {"front end": "of our own networks", "network": "from scratch"}
    return places.get(what, f"--{what}, with --{what}-config")


def _listed(value: object) -> object:
    """YAML reads 1e-07 as text, and has lists for tuples."""
    if isinstance(value, list | tuple):
        return [_listed(item) for item in value]
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return value


def test_help_of_train_shows_a_preset_and_several_tasks(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("train", "--help") == 0
    said = capsys.readouterr().out
    assert "--backbone ecapa-512" in said and "--tasks '{emotion: {head: mlp}, age: {loss: ccc, weight: 0.5}}'" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "the following arguments are required: COMMAND"),
        (("fly",), "invalid choice: 'fly'"),
        (("predict", "model"), "the following arguments are required: FILE"),
        (("predict", "model", "a.wav", "--jsn"), "arguments: --jsn (did you mean --json?); see hf-speech predict --h"),
        (("push", "model", "name", "--x=y"), "hf-speech push: unrecognized arguments: --x=y; see hf-speech push -"),
        (("train", "a.yaml", "b"), "unrecognized arguments: b"),
        (("evaluate", "model"), "the following arguments are required: DATASET"),
    ],
)
def test_words_that_make_no_command(words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    line = refusal(capsys, *words)
    assert said in line and "--help" in line


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The table of a corpus of 4 speakers x 6 clips."""
    return write_fake_corpus(tmp_path_factory.mktemp("corpus"))


def last_screen(out: str, folder: Path) -> str:
    """The quickstart's last words, which name the next things to type."""
    screen = out[out.index("Next:") :]
    assert f"{folder}/README.md" in screen and f"hf-speech predict {folder} YOUR.wav" in screen
    assert "hf-speech quickstart --output-dir mine --data-dir YOUR-FOLDER" in screen
    assert "hf-speech train --dataset YOUR-FOLDER" in screen
    return screen


def test_quickstart_then_predict_in_processes_of_their_own(tmp_path: Path) -> None:
    folder = Path("quickstart-model")
    done = real("quickstart", "--max_steps", 2, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr and "it hears in" in done.stdout
    assert "averaged over the classes; guessing gives 0.125" in done.stdout
    assert "step 2 of 2, epoch 0.5: loss " in done.stderr and "step 2 of 2, epoch 0.5, validation: loss " in done.stderr
    last_screen(done.stdout, folder)
    results = read_results(tmp_path / folder)
    assert results["data"]["synthetic"] and results["data"]["target"] == "speaker_id"
    assert {group_of(metric)[0] for metric in results["metrics"]} == {"validation", "test"}
    assert not list((tmp_path / folder).glob("checkpoint-*"))  # small, and done
    example = read_table(tmp_path / folder / "predictions.csv")[0]

    import hf_speech.samples

    voice = Path(hf_speech.samples.__file__).parent / example["id"]
    said = real("predict", folder, voice, "--json", folder=tmp_path)
    assert said.returncode == 0 and said.stderr == ""
    (row,) = json.loads(said.stdout)
    assert row["label"] == example["predicted"]
    assert row["scores"] == pytest.approx({name: float(example[name]) for name in row["scores"]}, abs=1e-5)


@pytest.mark.slow
def test_what_is_not_at_hand_without_the_hub(corpus: Path, tmp_path: Path) -> None:
    """In one process, since whether there is a Hub is asked for at its beginning."""
    expected = {
        "backbone": "hf-speech train: backbone nobody/nothing: can't be loaded",
        "dataset": "hf-speech train: nobody/nothing: can't be loaded as a data set",
    }
    words = [
        write_yaml(tmp_path / f"{field}.yaml", **{"dataset": str(corpus), field: "nobody/nothing"})
        for field in expected
    ]
    asked = "import sys\nfrom hf_speech.cli import main\n"
    asked += f"print([main(['train', config, '--output-dir', {str(tmp_path / 'model')!r}]) for config in sys.argv[1:]])"
    done = subprocess.run([sys.executable, "-c", asked, *map(str, words)], capture_output=True, text=True, timeout=120,
                          env={**os.environ, "HF_HUB_OFFLINE": "1"})  # fmt: skip
    assert done.stdout == "[2, 2]\n"
    for line, said in zip(done.stderr.splitlines(), expected.values(), strict=True):
        assert line.startswith(said)


def test_quickstart_on_class_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = write_fake_corpus(tmp_path / "corpus", layout="folder", speakers=3, per_speaker=4)
    folder = tmp_path / "model"
    # The spelling of a flag is free here too.
    assert command("quickstart", "--output_dir", folder, f"--data_dir={folders}", "--max-steps", 2) == 0
    last_screen(capsys.readouterr().out, folder)
    splits = read_results(folder)["data"]["splits"]
    assert splits["test"]["utterances"] == 2 and set(splits["test"]["labels"]) == {"low", "high"}
    assert not read_results(folder)["data"]["synthetic"]


@pytest.mark.parametrize(
    ("target", "flags"),
    [("label", ()), ("speaker_id", ()), ("age", ("--loss", "mse", "--unit", "years"))],
)
def test_quickstart_on_a_table(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], target: str, flags: tuple[str, ...]
) -> None:
    folder = tmp_path / "model"
    words = ("quickstart", "--output-dir", folder, "--data-dir", corpus, "--max_steps", 2)
    assert command(*words, "--target", target, *flags) == 0
    last_screen(capsys.readouterr().out, folder)
    results = read_results(folder)
    assert results["data"]["target"] == target and results["metrics"][0]["split"] == "test"
    # Whole speakers are held out, but where they are the classes.
    assert results["data"]["splits"]["test"]["speakers"] == (4 if target == "speaker_id" else 1)
    assert "holds a finished model" in refusal(capsys, *words)
    assert command(*words, "--overwrite") == 0


def test_quickstart_takes_a_tables_own_test_split_and_its_cuts(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = read_table(corpus)
    for i, row in enumerate(rows):
        row |= {"split": "test" if i % 6 == 5 else "train", "start": "0.1", "end": "0.5"}
    table = write_table(corpus.with_name("cuts.csv"), rows)
    folder = tmp_path / "model"
    assert command("quickstart", "--output-dir", folder, "--data-dir", table, "--max-steps", 2) == 0
    assert "it hears in speaker00_005.wav" in capsys.readouterr().out
    assert [row["id"] for row in read_table(folder / "predictions.csv")] == [
        f"audio/speaker0{i}_005.wav#t=0.1,0.5" for i in range(4)
    ]
    assert read_results(folder)["data"]["split_rule"] == {"test": "the data set's own"}


def test_flags_of_evaluate_that_have_no_part_in_it_are_refused(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for flag, value in (("--test", "0.2"), ("--pooling", "max")):
        line = refusal(capsys, "evaluate", tmp_path, corpus, flag, value)
        assert f"unknown field of an evaluation {flag[2:]!r}" in line and "columns" in line
    assert "'splt' (did you mean 'split'?)" in refusal(capsys, "evaluate", tmp_path, corpus, "--splt", "test")
