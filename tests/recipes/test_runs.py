"""Every recipe runs: by its name, by the real command, on a corpus that the real command has prepared."""

import shlex
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from hf_speech.data.home import PREPARED, preparation
from hf_speech.errors import InputError
from hf_speech.fields import parse_flags
from hf_speech.hub.recipe_card import read_recipe_facts
from hf_speech.shipped import shipped_folder
from hf_speech.training.arguments import read_config

from ..training.runs import command, read_json, read_results, refusal
from .small import NAMES, flags_of, recipe

CARDS = shipped_folder("model_cards")


FIRST = "wavlm-lora-voxceleb"  # where its large-margin fine-tuning starts from


# Each network, and each part of VoxCeleb, is in a run of another pair.
SLOW = {
    "ecapa-voxceleb-tiny-few",
    "ecapa-voxceleb-tiny-many-high",
    "wav2vec2-age-sre-layer7",
    "wav2vec2-age-sre-layer9",
    "wav2vec2-aishell4-frozen",
    "wav2vec2-iemocap-ptapt",
    "wav2vec2-iemocap-tapt",
    "wav2vec2-voxceleb-full",
    "wav2vec2-voxceleb-tiny-few",
    "wav2vec2-voxceleb-tiny-many-high",
    "wav2vec2-voxceleb-tiny-many-low",
    "x-vector-voxceleb-full",
    "x-vector-voxceleb-tiny-many-low",
    "x-vector-voxceleb-tiny-many-high",
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else [])
        for name in NAMES
        if not name.startswith(FIRST)  # those two: below
    ],
)
def test_it_trains_two_steps(name: str, data_home: Path, checkpoints: dict[str, Path], tmp_path: Path) -> None:
    _train(name, tmp_path / name, checkpoints)


@pytest.mark.slow
def test_the_second_of_two_goes_on_from_the_first(
    data_home: Path, checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    first = _train(FIRST, tmp_path / "runs" / FIRST, checkpoints)
    second = _train(f"{FIRST}-large-margin", tmp_path / "second", {f"runs/{FIRST}": first})
    before, after = (load_file(folder / "model.safetensors") for folder in (first, second))
    assert before.keys() == after.keys()
    # Two steps with a small rate: what was learnt is still there, up to the centres of the speakers at their own speed,
    # who come first. Statistics of batch norms go with the longer crops.
    for name in before:
        if "running_" not in name and "num_batches" not in name:
            rows = slice(0, len(after[name]) if name.startswith("heads.") else None)
            torch.testing.assert_close(after[name], before[name][rows], atol=1e-3, rtol=0)
    assert len(after["heads.0.weight"]) == len(before["heads.0.weight"]) / 3


def _train(name: str, folder: Path, checkpoints: Mapping[str, Path]) -> Path:
    """Two steps of a recipe; its results are of the splits that it has, and of its target."""
    flags = ["--max-steps", 2, "--output-dir", folder, "--dataloader-num-workers", 0, *flags_of(name, checkpoints)]
    assert command("train", name, *flags) == 0
    results = read_results(folder)
    assert results["run"]["steps"] == 2 and (folder / "model.safetensors").is_file()
    _check_what_moved(name, folder, checkpoints)
    data, asked = results["data"], recipe(name).split
    held_out = {part for part in ("validation", "test") if getattr(asked, part) != "none"}
    assert set(data["splits"]) == {"train", *held_out}
    assert data["target"] == ", ".join(recipe(name).head.tasks or [recipe(name).data.target])
    if recipe(name).head.class_weights == "balanced":
        # N / (C n): what a class weighs in the loss is the same for all.
        counts = data["splits"]["train"]["labels"].values()
        weights = read_json(folder / "config.json")["class_weights"]
        assert weights == pytest.approx([sum(counts) / (len(counts) * count) for count in counts])
    return folder


# Frozen for good -> how the names of its parameters begin in a wav2vec 2.0.
FROZEN = {
    "none": (), "cnn": ("feature_extractor",), "cnn+projection": ("feature_extractor", "feature_projection"),
    "backbone": ("",),
}  # fmt: skip


def _check_what_moved(name: str, folder: Path, checkpoints: Mapping[str, Path]) -> None:
    """Of a pretrained encoder, what is frozen for good is the checkpoint's bit for bit, and all else has moved."""
    config = recipe(name)
    if config.model.backbone not in checkpoints or config.model.lora:
        return
    learning = config.learning
    start = checkpoints[str(config.model.backbone)]
    if learning.adaptation:
        start = folder / "adaptation" / f"{len(learning.adaptation)}-pretrain"
    before = load_file(start / "model.safetensors")
    if learning.adaptation:  # a whole model of pretraining has its encoder under its name
        before = {name.removeprefix("wav2vec2."): values for name, values in before.items()}
    after = load_file(folder / "model.safetensors")
    for key, value in before.items():
        now = after.get(f"speech.frame_encoder.backbone.{key}")
        if now is None:  # above the layer that is pooled
            continue
        layer = key.partition("encoder.layers.")[2].partition(".")[0]
        below = int(layer) < learning.freeze_layers if layer else learning.freeze_layers and "layer_norm" not in key
        if key.startswith(FROZEN[learning.freeze]) or below:
            assert torch.equal(now, value), key
        elif config.split.validation == "none":  # else the best step is kept, which may be one without a rate
            assert not torch.equal(now, value), key


@pytest.mark.parametrize("name", NAMES)
def test_an_absent_corpus_is_asked_for_by_its_command(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    checkpoints: dict[str, Path],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    flags = flags_of(name, {**checkpoints, f"runs/{FIRST}": checkpoints["microsoft/wavlm-large"]})
    said = refusal(capsys, "train", name, "--data-dir", "nowhere", "--output-dir", "out", *flags)
    dataset = str(recipe(name).data.dataset)
    assert f"dataset {dataset}: nothing at nowhere/{dataset}" in said
    assert f"`{preparation(dataset, 'nowhere')}`" in said


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("voxceleb", "hf-speech prepare voxceleb --data-dir VoxCeleb --config-name full --output-dir D/voxceleb"),
        (
            "iemocap/fold4",
            "hf-speech prepare iemocap --data-dir IEMOCAP_full_release --fold 4 --output-dir D/iemocap/fold4",
        ),
        ("iemocap", "hf-speech prepare iemocap --data-dir IEMOCAP_full_release --output-dir D/iemocap"),
        (
            "aishell4/20200706_L_R001S01C01",
            "hf-speech prepare aishell4 --data-dir AISHELL-4 --sets train_L --channel 0 --split contiguous "
            "--meeting 20200706_L_R001S01C01 --output-dir D/aishell4/20200706_L_R001S01C01",
        ),
        ("emodb", "hf-speech prepare csv --data-dir EMO-DB --columns speaker_id=speaker --output-dir D/emodb"),
        ("mozilla/common_voice", None),
    ],
)  # fmt: skip
def test_the_second_half_of_a_name_chooses_a_part(name: str, wanted: str | None) -> None:
    assert preparation(name, "D") == wanted


def test_every_corpus_that_can_be_named_is_one_of_a_recipe() -> None:
    assert {str(recipe(name).data.dataset).partition("/")[0] for name in NAMES} == set(PREPARED)


@pytest.mark.parametrize("name", NAMES)
def test_its_variants_can_be_read(name: str) -> None:
    """Each set of flags on a card is one that the command takes, and changes the run."""
    for variant in read_recipe_facts(CARDS / name)["variants"]:
        for flags in variant["flags"]:
            assert read_config(name, parse_flags(shlex.split(flags))) != recipe(name), flags


@pytest.mark.parametrize("name", NAMES)
def test_it_holds_only_what_differs(name: str, tmp_path: Path) -> None:
    """No field says what the files below it, or the defaults, say already."""
    path = CARDS / name / "train.yaml"
    own = yaml.safe_load(path.read_text(encoding="utf-8"))
    if "base" in own:
        own["base"] = str((path.parent / own["base"]).resolve())
    shorter = tmp_path / "train.yaml"
    for field in own.keys() - {"base"}:
        shorter.write_text(yaml.safe_dump({key: value for key, value in own.items() if key != field}))
        try:
            assert read_config(shorter) != recipe(name), field
        except InputError:
            continue  # it can't do without
