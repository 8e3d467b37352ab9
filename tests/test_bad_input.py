"""Whatever is wrong with what is given: exit status 2, one line that says what, where and how to mend it, no model."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from transformers import AutoModel, BertConfig, Wav2Vec2FeatureExtractor

from hf_speech.testing import tiny_backbone_config, write_fake_corpus

from .sounds import voice_like
from .training.runs import Refuse, command, read_table, refusal, refusing, train_tiny, write_table, write_yaml


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The table of a corpus of 2 speakers x 4 clips."""
    folder = tmp_path_factory.mktemp("corpus")
    return write_fake_corpus(folder, speakers=2, per_speaker=4, seconds=(0.2, 0.4))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> Path:
    return train_tiny(tmp_path_factory.mktemp("runs") / "finished", corpus, "--max-steps", 1)


@pytest.fixture
def refuse(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Refuse]:
    """refuse(*flags, **fields) -> the line with which `hf-speech train` refuses them; no model is left."""

    yield refusing(corpus, tmp_path, capsys)
    left = [path.name for path in (tmp_path / "model").glob("*")]
    assert not [name for name in left if not name.startswith("checkpoint-")]


# --- files -----------------------------------------------------------------------------------------------------------


def truncated(path: Path) -> None:
    """The first half of a recording."""
    soundfile.write(path, voice_like(1.0), 16_000, format=path.suffix[1:])
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def with_nan(path: Path) -> None:
    samples = voice_like(0.5)
    samples[4000] = np.nan
    soundfile.write(path, samples, 16_000, subtype="FLOAT")


BAD_FILES: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "missing": ("bad.wav", lambda path: None, "no such file"),
    "empty": ("bad.wav", lambda path: path.write_bytes(b""), "empty"),
    "truncated wav": ("bad.wav", truncated, "truncated"),
    "truncated flac": ("bad.flac", truncated, "truncated"),
    "text": ("bad.wav", lambda path: path.write_text("how are you " * 99), "not audio"),
    "no samples": ("bad.wav", lambda path: soundfile.write(path, np.zeros(0), 16_000), "no samples"),
    "NaN": ("bad.wav", with_nan, "NaN or infinite samples from 0.250 s on"),
    "short": ("bad.wav", lambda path: soundfile.write(path, voice_like(399 / 16_000), 16_000), "at least 0.025 s"),
}


@pytest.fixture(params=BAD_FILES)
def bad_file(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str]:
    """A file that can't be used, and words of the reason."""
    name, damage, said = BAD_FILES[request.param]
    damage(tmp_path / name)
    return tmp_path / name, said


def test_a_bad_file_in_training(refuse: Refuse, corpus: Path, bad_file: tuple[Path, str]) -> None:
    path, said = bad_file
    rows = [{**row, "path": corpus.parent / row["path"]} for row in read_table(corpus)]
    rows[5]["path"] = path
    line = refuse("--dataset", write_table(path.with_name("table.csv"), rows))
    assert f"1 of 8 rows have bad audio (leave such rows out with --on-bad-audio skip): row 5, {path}: " in line
    assert said in line.partition(f"row 5, {path}: ")[2]


def test_a_bad_file_in_evaluation_and_prediction(
    finished: Path, bad_file: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    path, said = bad_file
    assert said in refusal(capsys, "predict", finished, path)
    table = write_table(path.with_name("table.csv"), [{"path": path, "label": "low"}])
    out = path.with_name("out")
    line = refusal(capsys, "evaluate", finished, table, "--output-dir", out)
    assert f"row 0, {path}: " in line and said in line and not out.exists()


def test_all_bad_files_are_named_at_once(refuse: Refuse, corpus: Path, tmp_path: Path) -> None:
    rows = [{**row, "path": corpus.parent / row["path"]} for row in read_table(corpus)]
    for i, (name, damage, _) in enumerate(BAD_FILES.values()):
        path = tmp_path / f"{i}{name}"
        damage(path)
        rows.append({**rows[i % 2], "path": path, "speaker_id": "other" if i % 2 else "speaker00"})
    line = refuse("--dataset", write_table(tmp_path / "table.csv", rows), "--test", "speaker_id=other")
    for i, (name, _, said) in enumerate(BAD_FILES.values()):
        assert f"{tmp_path / f'{i}{name}'}: " in line and said in line
    assert "train: 4 of " in line and "test: 4 of 4" in line  # of both splits


# --- tables ----------------------------------------------------------------------------------------------------------


def test_a_label_that_the_model_does_not_know(
    finished: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = read_table(corpus)
    rows[3]["label"] = "middle"
    table = write_table(corpus.with_name("unknown.csv"), rows)
    line = refusal(capsys, "evaluate", finished, table, "--output-dir", tmp_path / "out")
    assert "row 3 (" in line and "'middle'" in line and "classes: high; low" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--target", "emotion"), ("no column 'emotion'", "columns: audio, speaker_id, label, age")),
        (("--columns", "speaker_id=who"), ("no column 'who'", "columns: path, speaker_id, label, age")),
        (("--test", "mood=sad"), ("test rule 'mood=sad'", "columns: audio, speaker_id, label, age")),
        (("--test", "speaker_id=nobody"), ("no speaker_id is nobody", "speaker00; speaker01")),
        (("--test", "1.5"), ("between 0 and 1",)),
        (("--test", "sometimes"), ("'sometimes'", "0.1", "speaker_id=f01,m03")),
        (("--labels", "low,high,middle"), ("no training row has label middle", "high; low")),
        (("--test", "label=low"), ("'label' has one class (high)", "two or more")),
        (("--loss", "mse"), ("label must be a number, not 'low'", "row 0")),
        (("--loss", "mse", "--target", "age", "--test", "age=20"), ("all 4 training targets are 30",)),
        (("--channel", 2), ("no channel 2, it has 1", "'mean'")),
        (("--channel", "left"), ("no channel 'left'", "'mean'")),
        (("--reader", "zip"), ("unknown reader 'zip'", "csv, dataset, folder")),
    ],
)
def test_rows_that_are_not_what_was_said(refuse: Refuse, flags: tuple[object, ...], said: tuple[str, ...]) -> None:
    line = refuse(*flags)
    assert all(words in line for words in said), line


@pytest.mark.parametrize(
    ("dataset", "said"),
    [
        (None, "no data: give --dataset"),
        ("/nowhere/corpus", "/nowhere/corpus: there is no such file or folder"),
        ("table.csv", "table.csv: there is no such file or folder"),
    ],
)
def test_no_data(refuse: Refuse, dataset: str | None, said: str) -> None:
    assert said in refuse(dataset=dataset)


def test_one_class_only(refuse: Refuse, corpus: Path) -> None:
    rows = [row for row in read_table(corpus) if row["label"] == "low"]
    line = refuse("--dataset", write_table(corpus.with_name("one_class.csv"), rows))
    assert "'label' has one class (low) in the training rows" in line


def test_a_split_that_is_not_there(
    finished: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refusal(capsys, "evaluate", finished, corpus, "--split", "dev", "--output-dir", tmp_path / "out")
    assert "'dev'" in line and "valid: train" in line and not (tmp_path / "out").exists()


def test_evaluations_are_not_replaced_unasked(
    finished: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("evaluate", finished, corpus, "--output-dir", tmp_path)
    assert command(*words) == 0
    assert "holds results already" in refusal(capsys, *words)
    assert command(*words, "--overwrite") == 0


# --- fields ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (
            ("--pooling", "menu"),
            ("unknown pooling 'menu'", "'mean'", "double-multi-head, first, ", "last, max, mean, mean+std"),
        ),
        (("--head", "deep"), ("unknown head 'deep'", "batchnorm, cosine, distribution, linear")),
        (("--layer", "top"), ("unknown layer 'top'", "last, weighted_sum, or a number from 1")),
        (("--layer", 13), ("layer 13 does not exist", "1 to 2")),
        (("--layer", "weighted_sum", "--layerdrop", 0.1), ("layerdrop must be 0",)),
        (("--loss", "hinge"), ("unknown loss 'hinge'", "cross_entropy, focal, ", "l1, ", "mse")),
        (("--freeze", "all"), ("freeze: unknown value 'all'", "backbone, cnn, cnn+projection, none")),
        (("--freeze-layers", 3), ("can't freeze 3 layers", "has 2")),
        (("--class-weights", "even"), ("unknown class_weights 'even'", "balanced", "a factor a class")),
        (("--class-weights", "[1, 2, 3]"), ("3 values for 2 labels",)),
        (("--class-weights", "[1, two]"), ("class_weights: 'two' is not a number",)),
        (("--polling", "mean"), ("unknown field 'polling'", "did you mean 'pooling'", "train --fields` lists")),
        (("--plot-schedul",), ("unknown field 'plot_schedul' (did you mean --plot-schedule?)",)),
        (("--xyzzy", 1), ("unknown field 'xyzzy'; valid: ", "TrainingArguments")),
        (("--learning-rate", "fast"), ("learning_rate: 'fast' is not a number",)),
        (("--learning-rate", -1), ("learning_rate is -1", "above 0")),
        (("--num-train-epochs", 0), ("num_train_epochs is 0", "above 0")),
        (("--per-device-train-batch-size", 0), ("per_device_train_batch_size is 0", "above 0")),
        (("--max-steps", 1.5), ("max_steps: 1.5 is not of the kind int",)),
        (("--lr-scheduler-type", "linear"), ("lr_scheduler_type has no part here; give schedule",)),
        (("--schedule", "steep"), ("unknown schedule 'steep'", "cosine, exponential")),
        (("--schedule", "linear", "--schedule-config.warmup_steps", 5), ("warmup_steps 5 is 5 steps", "the run has 1")),
        (("--schedule", "plateau"), ("schedule 'plateau' needs validation rows", "--validation")),
        (("--freeze-steps", 8), ("freeze_steps", "8")),
        (("--regularization", "all"), ("unknown regularization 'all'", "default, dropout")),
        (("--batch-seconds", 0.3), ("s: over batch_seconds 0.3", "crop_seconds")),
        (("--balance", "age"), ("balance: age has numbers or lists", "choose a column of classes")),
        (
            ("--streaming", "true", "--labels", "a,b", "--balance", "label"),
            ("balance has no part where rows are streamed",),
        ),
        (("--balance", "mood"), ("unknown column to balance 'mood'", "speaker_id")),
        (("--augment.noise.folder", "/nowhere", "--augment.noise.probability", 1), ("/nowhere",)),
        (("--dataset", "voxceleb/tiny_few"), ("neither --data-dir nor $HF_SPEECH_DATA", "prepare voxceleb")),
        (("--report-to", "nobody"), ("training arguments: ", "nobody")),
        (("--crop-seconds", 0.01), ("crop_seconds 0.01 is under 400 samples",)),
        (("--name",), ("name: True is no text", "give a value")),
        (("--name", "[x"), ("--name: '[x' can't be read as YAML",)),
        (("--backbone_config", 3), ("backbone_config: 3 is not of the kind dict",)),
        (("--columns", "speaker"), ("columns: 'speaker' is no table", "name=value")),
        (("--pooling.size", 3), ("pooling is 'mean+std', which has no fields",)),
        (("--backbone_config.model_type", "bert"), ("model_type 'bert'", "hubert", "wav2vec2", "wavlm")),
        (("--backbone_config.hiden_size", 8), ("'hiden_size'", "did you mean 'hidden_size'", "num_hidden_layers")),
        (("--backbone_config.hidden_size", "big"), ("hidden_size", "expected int")),
        (("--backbone_config.num_attention_heads", 3), ("can't be built", "divisible")),
        (("--early-stopping-patience", 1), ("early_stopping_patience needs validation rows", "--validation")),
        (("--streaming", "true", "--labels", "a,b", "--max-steps", -1), ("no end", "--max-steps")),
        (("--streaming", "true"), ("which classes of 'label'", "--labels")),
        (
            ("--head", "batchnorm", "--per-device-train-batch-size", 1),
            ("batch_size 1 is under 2, which a batch norm needs",),
        ),
        (("--resume-from-checkpoint", "true"), ("there is no checkpoint in", "leave it out")),
        (("--resume-from-checkpoint", "/nowhere"), ("/nowhere is no whole checkpoint: there is no such folder",)),
    ],
)
def test_fields(refuse: Refuse, flags: tuple[object, ...], said: tuple[str, ...]) -> None:
    line = refuse(*flags)
    assert all(words in line for words in said), line


def test_a_learning_rate_that_blows_the_model_up(refuse: Refuse) -> None:
    line = refuse(learning_rate=1e36, max_steps=4, schedule="constant")
    assert "training diverged: " in line and "smaller learning_rate" in line


def test_no_encoder(refuse: Refuse) -> None:
    line = refuse(backbone_config=None)
    assert "no encoder: give --backbone" in line and "model_type" in line


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("pooling: [mean", "can't be read as YAML"),
        ("- pooling\n- mean\n", "expected lines of `field: value`"),
        ("mean", "expected lines of `field: value`"),
        ("\xff\xfe", "can't be read as YAML"),
        ("poling: mean", "unknown field 'poling' (did you mean 'pooling'?)"),
        ("language: [yes]", "language: True is no text"),
        ("base: none.yaml", "none.yaml: no such file"),
    ],
)
def test_a_yaml_file(text: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "run.yaml"
    path.write_bytes(text.encode("latin-1"))
    line = refusal(capsys, "train", path)
    assert line.startswith(f"hf-speech train: {tmp_path}") and said in line


def test_no_such_yaml_file_and_no_field_at_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert "/nowhere/run.yaml: no such file" in refusal(capsys, "train", "/nowhere/run.yaml")
    assert "no encoder" in refusal(capsys, "train")
    assert "unexpected" not in refusal(capsys, "train", "--backbone", "x")  # no place for the model


# --- folders ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def backbones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders that look like a checkpoint: text, unweighted, broken, good."""
    folder = tmp_path_factory.mktemp("backbones")
    BertConfig(hidden_size=8).save_pretrained(folder / "text")
    config = tiny_backbone_config()
    config.save_pretrained(folder / "unweighted")
    torch.manual_seed(0)
    for name in ("good", "broken"):
        AutoModel.from_config(config).save_pretrained(folder / name)
        Wav2Vec2FeatureExtractor().save_pretrained(folder / name)
    (folder / "broken" / "model.safetensors").write_bytes(b"no weights")
    return folder


@pytest.mark.parametrize(
    ("name", "fields", "said"),
    [
        ("absent", {}, "there is no such folder"),
        ("text", {}, "'bert'"),
        ("unweighted", {}, "can't be "),
        ("broken", {}, "can't be "),
        ("good", {"layer": 3}, "layer 3 does not exist: the encoder has layers 1 to 2"),
        ("good", {"backbone_config": {"hidden_size": 16}}, "can't be loaded ("),
        ("good", {"backbone_config": {"speed": 16}}, "'speed'"),
    ],
)
def test_a_backbone(refuse: Refuse, backbones: Path, name: str, fields: dict[str, Any], said: str) -> None:
    line = refuse(**{"backbone": str(backbones / name), "backbone_config": None, **fields})
    assert said in line and (str(backbones / name) in line or name == "good")


def test_an_output_folder_that_is_none(
    finished: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_yaml(tmp_path / "run.yaml", dataset=str(corpus))
    assert "no place for the model: give --output-dir" in refusal(capsys, "train", config)
    (tmp_path / "file").touch()
    assert f"{tmp_path}/file: is a file" in refusal(capsys, "train", config, "--output-dir", tmp_path / "file")
    assert "can't be made" in refusal(capsys, "train", config, "--output-dir", tmp_path / "file" / "model")
    line = refusal(capsys, "train", config, "--output-dir", finished)
    assert f"{finished}: holds a finished model" in line and "--overwrite" in line
    for kind in ("cross-validation", "sweep", "number of runs"):
        written = "{" if kind == "number of runs" else f"kind: {kind}"
        (tmp_path / "experiment.yaml").write_text(written, encoding="utf-8")
        for flags in ((), ("--overwrite",)):
            line = refusal(capsys, "train", config, "--output-dir", tmp_path, *flags)
            assert f"{tmp_path}: holds a {kind}" in line and line.endswith("; give another --output-dir")


@pytest.mark.parametrize("name", ["predict", "evaluate"])
def test_a_model_that_is_none(
    name: str, backbones: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = () if name == "predict" else ("--output-dir", tmp_path / "out")
    for folder, said in (
        (tmp_path / "absent", "there is no such folder here; give a finished model's folder, or a name on the Hub"),
        (tmp_path, "can't be loaded as an audio classifier"),
        (backbones / "broken", "can't be loaded as an audio classifier"),
        (backbones / "good", "is no finished classifier"),
    ):
        line = refusal(capsys, name, folder, corpus, *out)
        assert line.startswith(f"hf-speech {name}: {folder}: ") and said in line
    assert not (tmp_path / "out").exists()


def test_other_commands(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"{tmp_path}/none.wav: no such file" in refusal(capsys, "predict", finished, tmp_path / "none.wav")
    assert "no audio files in this folder" in refusal(capsys, "predict", finished, tmp_path)
    assert f"no results.json in {tmp_path}" in refusal(capsys, "card", tmp_path)
    (tmp_path / "experiment.yaml").write_text("kind: sweep", encoding="utf-8")
    assert f"{tmp_path}: holds a sweep, which writes its page itself" in refusal(capsys, "card", tmp_path)
    assert not (tmp_path / "README.md").exists()
    line = refusal(capsys, "quickstart", "--data-dir", tmp_path, "--output-dir", tmp_path / "model")
    assert f"{tmp_path}: has neither class folders nor is it a csv; make a sub-folder for each class" in line


@pytest.mark.parametrize("name", ["runs/mien", "./runs/mien", "runs/mien/", "some/where/else"])
def test_a_missing_folder_is_not_asked_for_on_the_hub(
    name: str, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "runs").mkdir()
    monkeypatch.chdir(tmp_path)
    for words in (("predict", name, "a.wav"), ("evaluate", finished, name)):
        line = refusal(capsys, *words)
        # In the place of data there may be a table, too.
        assert f"{name}: there is no such fo" in line or f"{name}: there is no such file or folder; give" in line


def test_recordings_without_labels(
    corpus: Path, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "flat").mkdir()
    for path in sorted((corpus.parent / "audio").iterdir())[:2]:
        shutil.copy(path, tmp_path / "flat" / f"test-{path.name}")  # which `datasets` takes for the name of a split
    for words in (("train", "--backbone", "ecapa-256", "--dataset"), ("evaluate", finished)):
        assert command(*words, tmp_path / "flat", "--output-dir", tmp_path / "out") == 2
        line = capsys.readouterr().err.splitlines()[-1]  # below the bars of `datasets`
        assert "flat: has recordings without labels; make a sub-folder for each class" in line
    assert not (tmp_path / "model").exists()
