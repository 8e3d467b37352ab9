"""The fields of a run: however they are written, they mean the same; what they can't mean is refused in one line."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from hf_speech.data.augment import Augmentation
from hf_speech.errors import InputError
from hf_speech.fields import parse_flags
from hf_speech.pretraining.fields import WITHOUT_PART
from hf_speech.training.arguments import make_config, read_config
from hf_speech.training.build import augmentation_of
from hf_speech.training.config import GROUPS
from hf_speech.training.describe import describe_fields
from hf_speech.training.hf_arguments import REPLACED, TRAINING_DEFAULTS, training_arguments

SCRATCH = {"backbone_config": {"model_type": "wav2vec2", "hidden_size": 32}}
REPOSITORY = Path(__file__).resolve().parents[2]


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    return write(tmp_path / "run.yaml", yaml.safe_dump(SCRATCH))


@pytest.mark.parametrize("name", ["max_steps", "max-steps"])
def test_dashes_and_underscores_are_alike_in_yaml_and_flags(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / "run.yaml", f"{name}: 3\nbackbone: x\n")
    assert read_config(path).training == {"max_steps": 3}
    assert read_config(None, parse_flags(["--backbone", "x", f"--{name}", "3"])).training == {"max_steps": 3}
    for other in ("max_steps", "max-steps"):
        assert read_config(path, parse_flags([f"--{other}", "5"])).training == {"max_steps": 5}


def test_a_base_is_under_the_file_and_flags_are_above_it(tmp_path: Path) -> None:
    write(tmp_path / "base.yaml", "max_steps: 1\nseed: 1\npooling: max\nbackbone: x\n")
    (tmp_path / "models").mkdir()
    path = write(tmp_path / "models" / "run.yaml", "base: ../base.yaml\nmax-steps: 2\nseed: 2\n")
    config = read_config(path, parse_flags(["--max_steps", "3"]))
    assert (config.training["max_steps"], config.training["seed"], config.model.pooling) == (3, 2, "max")


@pytest.mark.parametrize(
    ("flags", "options"),
    [
        (["--pooling", "mean"], {}),
        (["--pooling", "multi-head"], {"heads": 4}),
        (["--pooling-config.heads", "2"], {"heads": 2}),
        (["--pooling-config.bottleneck", "9", "--pooling", "attentive"], {"bottleneck": 9}),
    ],
)
def test_a_part_that_a_flag_names_anew_loses_its_options(flags: list[str], options: dict, tmp_path: Path) -> None:
    path = write(tmp_path / "run.yaml", "pooling: multi-head\npooling_config: {heads: 4}\nbackbone: x\n")
    assert read_config(path, parse_flags(flags)).model.pooling_config == options


@pytest.mark.parametrize(
    ("base", "above", "name", "options"),
    [
        ("schedule_config: {warmup_steps: 0.3}", "schedule: triangular2", "schedule", {}),
        ("schedule: linear\nschedule_config: {warmup_steps: 1}", "schedule: triangular2", "schedule", {}),
        ("schedule_config: {warmup_steps: 0.3}", "schedule: cosine", "schedule", {"warmup_steps": 0.3}),
        (
            "schedule_config: {warmup_steps: 0.3}",
            "schedule: tri-stage\nschedule_config: {final: 0.01}",
            "schedule",
            {"final": 0.01},
        ),
        ("projection_config: {}\nprojection: linear", "projection: none", "projection", {}),
        ("pooling: multi-head\npooling_config: {heads: 4}", "pooling: mean", "pooling", {}),
        ("backbone: ecapa-256\npooling_config: {bottleneck: 8}", "pooling: attentive", "pooling", {"bottleneck": 8}),
        ("head: mlp\nhead_config: {size: 8}", "head: linear", "head", {}),
    ],
)
def test_a_part_named_above_a_base_or_by_a_flag_loses_the_options_below(
    base: str, above: str, name: str, options: dict[str, Any], tmp_path: Path
) -> None:
    write(tmp_path / "base.yaml", f"backbone: x\n{base}\n" if "backbone" not in base else base)
    by_file = read_config(write(tmp_path / "run.yaml", f"base: base.yaml\n{above}\n"))
    by_flag = read_config(tmp_path / "base.yaml", yaml.safe_load(above))
    assert by_file.to_dict() == by_flag.to_dict()
    assert by_file.to_dict().get(f"{name}_config", {}) == options


def test_a_backbone_named_above_an_encoder_from_scratch_has_its_own_config(scratch: Path) -> None:
    assert read_config(scratch, parse_flags(["--backbone", "x"])).model.backbone_config == {}
    assert read_config(scratch).model.backbone_config == SCRATCH["backbone_config"]


def test_a_small_number_in_a_table_is_a_number(scratch: Path) -> None:
    scratch.write_text(scratch.read_text() + "schedule: linear\nschedule_config: {final: 1e-8}\n", encoding="utf-8")
    assert read_config(scratch).learning.schedule_config == {"final": 1e-8}
    assert (
        read_config(scratch, parse_flags(["--schedule-config.final", "1e-7"])).learning.schedule_config["final"] == 1e-7
    )


def test_none_is_nothing_where_it_means_nothing_else(scratch: Path) -> None:
    words = (
        "crop_seconds batch_seconds balance class_weights early_stopping_patience trials labels augment lora".split()
    )
    given = {"crop_seconds": 2.0, "balance": "emotion", "augment": {"speeds": [0.9, 1.0]}}
    scratch.write_text(yaml.safe_dump({**SCRATCH, **given}), encoding="utf-8")
    flags = parse_flags([word for name in words for word in (f"--{name.replace('_', '-')}", "none")])
    assert read_config(scratch, flags).to_dict() == SCRATCH
    scratch.write_text(yaml.safe_dump({**SCRATCH, **dict.fromkeys(words, "none")}), encoding="utf-8")
    assert read_config(scratch).to_dict() == SCRATCH
    kept = {"neck": "none", "projection": "none", "regularization": "none", "validation": "none", "group_by": "none"}
    assert read_config(scratch, kept).to_dict() == {**SCRATCH, **kept}
    tables = {"augment": {"noise": {"folder": "none"}}, "tasks": {"age": {"loss": "mse", "unit": "none"}, "label": {}}}
    config = read_config(scratch, tables)
    assert config.head.tasks["age"] == {"loss": "mse", "unit": None}
    assert augmentation_of(config) == Augmentation()


def test_base_is_told_of_and_no_flag(scratch: Path, tmp_path: Path) -> None:
    assert "  base   " in describe_fields()
    with pytest.raises(InputError, match="^flags: base is a field of YAML files only"):
        read_config(scratch, parse_flags(["--base", "x.yaml"]))
    with pytest.raises(InputError, match=r"unknown field 'bases' \(did you mean 'base'\?\); `hf-speech train"):
        read_config(write(tmp_path / "wrong.yaml", "bases: x.yaml\n"))


def test_a_flag_reaches_into_a_table(scratch: Path) -> None:
    config = read_config(scratch, parse_flags(["--backbone-config.hidden-size", "16", "--columns.speaker_id=speaker"]))
    assert config.model.backbone_config == {"model_type": "wav2vec2", "hidden_size": 16}
    assert config.data.columns == {"speaker_id": "speaker"}
    assert read_config(scratch).model.backbone_config["hidden_size"] == 32


def test_a_table_of_names_can_be_typed_as_one_flag(scratch: Path) -> None:
    config = read_config(scratch, parse_flags(["--columns", "speaker_id=speaker, emotion=mood"]))
    assert config.data.columns == {"speaker_id": "speaker", "emotion": "mood"}


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("learning_rate: 1e-3", "learning_rate", 1e-3),  # text to YAML 1.1
        ("learning_rate: 1", "learning_rate", 1.0),
        ("validation: 0.1", "validation", "0.1"),
        ("test: none", "test", "none"),
        ("layer: 9", "layer", 9),
        ("layer: last", "layer", "last"),
        ("language: en", "language", ["en"]),
        ("language: en, de", "language", ["en", "de"]),
        ("language: [no]", "language", ["no"]),  # Norwegian, which YAML 1.1 reads as false
        ("labels: [1, 2]", "labels", ["1", "2"]),
        ("class_weights: [1, 2.5]", "class_weights", [1.0, 2.5]),
        ("eval_strategy: no", "eval_strategy", "no"),
        ("save_strategy: no", "save_strategy", "no"),
        ("group_by: null", "group_by", None),
        ("channel: 1", "channel", 1),
        ("crop_seconds: 3", "crop_seconds", 3.0),
        ("resume_from_checkpoint: true", "resume_from_checkpoint", True),
        ("freeze: cnn", "freeze", "cnn"),
        ("bf16: true", "bf16", True),
    ],
)
def test_values_have_the_kind_of_their_field(text: str, field: str, value: Any) -> None:
    config = make_config({**SCRATCH, **yaml.safe_load(text)})
    found = next(
        (getattr(group, field) for group in (getattr(config, name) for name in GROUPS) if hasattr(group, field)),
        config.training.get(field),
    )
    assert found == value and type(found) is type(value)


def test_what_is_written_is_read_back_the_same(tmp_path: Path) -> None:
    values = {
        **SCRATCH, "layer": 1, "pooling": "mean+std", "class_weights": [1, 2], "columns": {"age": "years"},
        "test": "crc32(speaker_id)%3==0", "labels": ["yes", "no"], "crop_seconds": 2, "language": ["no"],
        "output_dir": "010", "max_steps": 5, "learning_rate": "1e-4", "schedule": "linear",
    }  # fmt: skip
    config = make_config(values)
    path = write(tmp_path / "train.yaml", yaml.safe_dump(config.to_dict(), sort_keys=False))
    assert read_config(path) == config
    assert "head" not in config.to_dict()  # a default


def test_the_published_configurations_are_valid() -> None:
    files = sorted(REPOSITORY.glob("model_cards/*/train.yaml")) + [REPOSITORY / "hf_speech/training/quickstart.yaml"]
    assert len(files) >= 3
    for file in files:
        config = read_config(file)
        assert config.model.backbone or config.model.backbone_config["model_type"]


def test_every_field_is_described() -> None:
    described = describe_fields() + describe_fields(WITHOUT_PART)  # of training, and of pretraining
    for kind in GROUPS.values():
        for item in dataclasses.fields(kind):
            assert f"  {item.name} " in described and item.metadata["help"] in described


def of(config: Any, *, validates: bool, metric: str = "uar") -> Any:
    numbers = {"loss", "uar", "accuracy", "macro_f1", "mae", "pearson_r"}
    return training_arguments(config, validates=validates, metric=metric, numbers=numbers)


def test_training_arguments_follow_from_the_run(tmp_path: Path) -> None:
    config = make_config({**SCRATCH, "output_dir": str(tmp_path), "learning_rate": 2e-3})
    validated = of(config, validates=True)
    assert (validated.eval_strategy, validated.load_best_model_at_end) == ("epoch", True)
    assert (validated.metric_for_best_model, validated.greater_is_better) == ("eval_uar", True)
    assert of(config, validates=True, metric="mae").greater_is_better is False
    plain = of(config, validates=False)
    assert (plain.eval_strategy, plain.load_best_model_at_end) == ("no", False)
    assert plain.learning_rate == 2e-3 and plain.accelerator_config.even_batches is False
    assert all(getattr(plain, name) == value for name, value in TRAINING_DEFAULTS.items() if name != "learning_rate")


def test_what_is_given_stands_above_what_follows(tmp_path: Path) -> None:
    values = {**SCRATCH, "output_dir": str(tmp_path)}
    for name, greater in (("loss", False), ("eval_loss", False), ("accuracy", True), ("pearson_r", True)):
        chosen = of(make_config({**values, "metric_for_best_model": name}), validates=True, metric="mae")
        assert chosen.metric_for_best_model == f"eval_{name.removeprefix('eval_')}"
        assert chosen.greater_is_better is greater
    with pytest.raises(InputError, match="unknown metric_for_best_model 'eer'; valid: accuracy, loss"):
        of(make_config({**values, "metric_for_best_model": "eer"}), validates=True)
    quiet = of(make_config({**values, "eval_strategy": False}), validates=True)
    assert (quiet.eval_strategy, quiet.load_best_model_at_end) == ("no", False)
    unsaved = of(make_config({**values, "save_strategy": False}), validates=True)
    assert (unsaved.eval_strategy, unsaved.save_strategy, unsaved.load_best_model_at_end) == ("epoch", "no", False)
    streamed = of(make_config({**values, "streaming": True}), validates=False)
    assert streamed.accelerator_config.dispatch_batches is False


@pytest.mark.parametrize("pins", [True, False])
def test_copies_go_on_beside_the_work_where_memory_is_pinned(tmp_path: Path, pins: bool) -> None:
    given = {**SCRATCH, "output_dir": str(tmp_path), "dataloader_pin_memory": pins}
    arguments = of(make_config(given), validates=False)
    assert arguments.accelerator_config.non_blocking is pins
    plain = of(make_config({**SCRATCH, "output_dir": str(tmp_path)}), validates=False)
    assert plain.accelerator_config.non_blocking is torch.cuda.is_available()


@pytest.mark.parametrize("name", REPLACED)
def test_a_field_of_transformers_in_whose_place_is_another_names_it(name: str) -> None:
    with pytest.raises(InputError, match=f"^arguments: {name} has no part here; give "):
        make_config({**SCRATCH, name: 1})


def test_bases_may_have_bases_but_not_themselves(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", "seed: 1\nmax_steps: 1\nbackbone: x\npooling: mean+std\npooling_config: {}\n")
    write(tmp_path / "b.yaml", "base: a.yaml\nmax_steps: 2\n")
    config = read_config(write(tmp_path / "c.yaml", "base: b.yaml\npooling: max\n"))
    assert (config.training["seed"], config.training["max_steps"], config.model.pooling) == (1, 2, "max")
    write(tmp_path / "a.yaml", "base: b.yaml\n")
    with pytest.raises(InputError, match="is its own base, by way of a.yaml; mend the field base"):
        read_config(tmp_path / "c.yaml")


def test_a_token_is_no_field() -> None:
    with pytest.raises(InputError, match="unknown field 'hub_token'"):
        make_config({**SCRATCH, "hub_token": "secret"})


def test_a_misspelt_field_of_a_task_is_named() -> None:
    with pytest.raises(
        InputError, match=r"^flags: tasks: unknown field of task 'emotion' 'hed' \(did you mean 'head'\?\)"
    ):
        read_config(None, parse_flags(["--tasks", "{emotion: {hed: mlp}}"]))
