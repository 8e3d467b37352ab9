"""What encoders learn before fine-tuning, against the originals: stages of FT-w2v2-ser, pretraining of ISCAP."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest

from hf_speech.hub.recipe_card import render_recipe_card
from hf_speech.pretraining.fields import check_pretraining, masking_of, temperature_of
from hf_speech.pretraining.spans import Masking
from hf_speech.pretraining.stages import pretraining_of, stages_of
from hf_speech.shipped import shipped_folder
from hf_speech.training.arguments import read_config
from hf_speech.training.config import RunConfig
from hf_speech.training.hf_arguments import training_arguments
from hf_speech.training.learning import learning_of
from hf_speech.training.recipes import PRETRAINING, recipe_names

from ..training.runs import command, read_results
from .small import recipe

# name of the recipe, stage -> what it is there
ORIGINALS: dict[tuple[str, int], dict[str, Any]] = {
    ("wav2vec2-iemocap-tapt", 1): {
        "objective": "contrastive",
        "backbone": "facebook/wav2vec2-base",
        "steps": 20_000,
        "curve": {0: 0.0, 50: 5e-5, 100: 1e-4, 1_100: 1e-4, 10_550: 5e-5, 20_000: 0.0},  # 100 up, 5 % flat, down
        "masking": Masking(0.05, 10, 2),
        "freeze": "none",
        "batch": 250.0,
        "crop": 10.0,
        "validation": "none",
    },
    ("wav2vec2-iemocap-ptapt", 1): {
        "objective": "labels",
        "backbone": "wav2vec-large",
        "steps": 10_000,
        "curve": {0: 0.0, 500: 1e-4, 1_000: 1e-4, 5_500: 5e-5, 10_000: 0.0},  # 5 % up, 5 % flat, down
        "freeze": "cnn",
        "batch": 64,
        "crop": 10.0,
        "validation": "0.1",
    },
    ("wav2vec2-iemocap-ptapt", 3): {
        "objective": "clusters",
        "backbone": "facebook/wav2vec2-base",
        "steps": 20_000,
        "curve": {0: 0.0, 50: 5e-5, 100: 1e-4, 1_100: 1e-4, 10_550: 5e-5, 20_000: 0.0},
        "masking": Masking(0.06, 15, 2),
        "freeze": "cnn+projection",
        "batch": 250.0,
        "crop": 10.0,
        "validation": "none",
    },
}


@cache
def stage(name: str, number: int) -> RunConfig:
    config = recipe(name)
    made = {"pretrain": "1-pretrain", "cluster": "2-cluster"} if number > 1 else {}
    return pretraining_of(stages_of(config)[number - 1], config, Path("place"), made)


def found(config: RunConfig, key: str, wanted: Any) -> Any:
    arguments = training_arguments(config, validates=False, metric="loss", numbers={"loss"})
    schedule = learning_of(config).schedule
    return {
        "objective": lambda: config.pretraining.objective,
        "backbone": lambda: config.model.backbone,
        "steps": lambda: arguments.max_steps,
        "curve": lambda: {step: schedule.rate(step, arguments.max_steps, arguments.learning_rate) for step in wanted},
        "masking": lambda: masking_of(config),
        "freeze": lambda: config.learning.freeze,
        "batch": lambda: config.batches.batch_seconds or arguments.per_device_train_batch_size,
        "crop": lambda: config.batches.crop_seconds,
        "validation": lambda: config.split.validation,
    }[key]()


@pytest.mark.parametrize(("name", "number", "key"), [(*place, key) for place in ORIGINALS for key in ORIGINALS[place]])
def test_a_stage_is_what_the_original_was(name: str, number: int, key: str) -> None:
    wanted = ORIGINALS[name, number][key]
    here = found(stage(name, number), key, wanted)
    assert here == (pytest.approx(wanted) if key == "curve" else wanted)


@pytest.mark.parametrize("place", list(ORIGINALS))
def test_it_learns_by_adam_without_decay(place: tuple[str, int]) -> None:
    arguments = training_arguments(stage(*place), validates=False, metric="loss", numbers={"loss"})
    assert (arguments.weight_decay, arguments.max_grad_norm) == (0.0, 0.0)
    assert (arguments.adam_beta1, arguments.adam_beta2, arguments.adam_epsilon) == (0.9, 0.999, 1e-8)


def test_the_clusters_are_of_the_published_numbers() -> None:
    _, cluster, _ = stages_of(recipe("wav2vec2-iemocap-ptapt"))
    assert cluster.fields == {"layer": 1, "counts": [64, 512, 4096]}  # all frames, the seed is ours


class TestISCAP:
    """Of its pretrain.py and fairseq's configuration of the base model."""

    @pytest.fixture
    def config(self) -> RunConfig:
        return read_config("wav2vec2-sre-pretraining", check=check_pretraining)

    def test_it_is_what_the_original_was(self, config: RunConfig) -> None:
        arguments = training_arguments(config, validates=True, metric="loss", numbers={"loss"})
        assert (arguments.learning_rate, arguments.num_train_epochs, arguments.weight_decay) == (5e-4, 48, 0.01)
        assert (arguments.adam_beta1, arguments.adam_beta2, arguments.adam_epsilon) == (0.9, 0.98, 1e-6)
        assert config.batches.batch_seconds * 16_000 == 1_200_000 and arguments.gradient_accumulation_steps == 64
        assert config.batches.crop_seconds * 16_000 == 250_000 and config.model.layerdrop == 0.05
        assert masking_of(config) == Masking(0.65, 10)
        temperature = temperature_of(config)
        assert (temperature.start, temperature.factor, temperature.end) == (2.0, 0.999995, 0.5)
        assert learning_of(config).schedule.rate(32_000, 800_000, 5e-4) == 5e-4  # the end of the warm-up
        assert config.model.normalize is False and (config.split.validation, config.split.split_seed) == ("0.05", 42)

    def test_it_makes_two_steps(self, data_home: Path, checkpoints: dict[str, Path], tmp_path: Path) -> None:
        values = {"hidden_dropout": 0.1}
        flags = ["--backbone", checkpoints["facebook/wav2vec2-base"], "--backbone-config", values]
        flags += ["--max-steps", 2, "--gradient-accumulation-steps", 2, "--dataloader-num-workers", 0]
        assert command("pretrain", "wav2vec2-sre-pretraining", *flags, "--output-dir", tmp_path / "run") == 0
        results = read_results(tmp_path / "run")
        assert results["run"]["steps"] == 2 and results["metrics"][0]["name"] == "accuracy"


@pytest.mark.parametrize("name", [name for name in recipe_names(PRETRAINING) if "-small" not in name])
def test_the_card_is_what_its_files_say(name: str) -> None:
    folder = shipped_folder("model_cards") / name
    assert (folder / "README.md").read_text(encoding="utf-8") == render_recipe_card(folder)
