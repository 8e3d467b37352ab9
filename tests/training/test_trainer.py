"""What can be asked of a training run, each seen in what it leaves."""

import json
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Audio, ClassLabel, Dataset, Features, Value
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModel, AutoModelForAudioClassification, Wav2Vec2FeatureExtractor

from hf_speech.data.several import TargetRule
from hf_speech.testing import tiny_backbone_config, write_fake_corpus
from hf_speech.training.arguments import make_config
from hf_speech.training.build import backbone_config, build_model
from hf_speech.training.rows import RunRows, read_rows
from hf_speech.training.setup import make_trainer

from .runs import TINY, read_results, read_table, train_tiny, values_of, weights_of, write_table

HELD_OUT = {"validation": "speaker_id=speaker03", "test": "none"}


def test_it_learns(corpus: Path, tmp_path: Path) -> None:
    calm = {**TINY["backbone_config"], "hidden_dropout": 0.0, "attention_dropout": 0.0, "feat_proj_dropout": 0.0}
    folder = train_tiny(tmp_path / "model", corpus, "--num-train-epochs", 20, backbone_config=calm, **HELD_OUT)
    assert values_of(folder, "validation")["uar"] == 1.0  # of a speaker who was not trained on; chance is 0.5


def test_the_best_checkpoint_is_what_is_kept(corpus: Path, tmp_path: Path) -> None:
    folder = train_tiny(tmp_path / "model", corpus, "--num-train-epochs", 6, save_total_limit=6, **HELD_OUT)
    checkpoints = {int(path.name.partition("-")[2]): path for path in folder.glob("checkpoint-*")}
    state = json.loads((checkpoints[max(checkpoints)] / "trainer_state.json").read_text())
    scores = {entry["step"]: entry["eval_uar"] for entry in state["log_history"] if "eval_uar" in entry}
    assert set(scores) == set(checkpoints) and len(scores) == 6
    best = max(sorted(scores), key=scores.__getitem__)  # the first of equals
    kept = load_file(checkpoints[best] / "model.safetensors")
    assert all(torch.equal(tensor, kept[name]) for name, tensor in weights_of(folder).items())
    assert best < max(scores)  # or the last one would do as well
    assert values_of(folder, "validation")["uar"] == scores[best]


def test_it_stops_early_when_nothing_is_gained(corpus: Path, tmp_path: Path) -> None:
    folder = train_tiny(
        tmp_path / "model", corpus, "--early-stopping-patience", 2, learning_rate=1e-12, num_train_epochs=9, **HELD_OUT
    )
    assert read_results(folder)["run"]["epochs"] == 3  # one to compare with, two without gain


def test_class_weights(corpus: Path, tmp_path: Path) -> None:
    rows = read_table(corpus)
    uneven = [row for i, row in enumerate(rows) if row["label"] == "low" or i % 4 == 1]  # 12 low, 6 high
    table = write_table(corpus.with_name("uneven.csv"), uneven)
    assert Counter(row["label"] for row in uneven) == {"low": 12, "high": 6}
    once = {"max_steps": 1, "test": "none"}
    balanced = train_tiny(tmp_path / "balanced", table, "--class-weights", "balanced", **once)
    assert AutoConfig.from_pretrained(balanced).class_weights == [18 / (2 * 6), 18 / (2 * 12)]  # high, low
    given = train_tiny(tmp_path / "given", table, "--class-weights", "[1, 3]", **once)
    model = AutoModelForAudioClassification.from_pretrained(given)
    logits, labels = torch.tensor([[0.0, 0.0], [2.0, 0.0]]), torch.tensor([0, 1])
    by_hand = (1 * np.log(2) + 3 * np.log(1 + np.exp(2))) / (1 + 3)
    assert model.loss([logits], labels).item() == pytest.approx(by_hand)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a tiny encoder with its feature extractor."""
    folder = tmp_path_factory.mktemp("backbone")
    torch.manual_seed(0)
    AutoModel.from_config(tiny_backbone_config()).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=False).save_pretrained(folder)
    return folder


CNN = ("feature_extractor.",)
BELOW_LAYER_1 = (*CNN, "feature_projection.", "encoder.pos_conv_embed.", "encoder.layer_norm.", "encoder.layers.0.")


@pytest.mark.parametrize(
    ("flags", "frozen"),
    [
        ((), ()),
        (("--freeze", "cnn"), CNN),
        (("--freeze", "backbone"), ("",)),
        (("--freeze-layers", 1), BELOW_LAYER_1),
    ],
)
def test_frozen_weights_stay_bit_for_bit(
    corpus: Path, backbone: Path, tmp_path: Path, flags: tuple[object, ...], frozen: tuple[str, ...]
) -> None:
    started = AutoModel.from_pretrained(backbone).state_dict()
    folder = train_tiny(
        tmp_path / "model", corpus, *flags, backbone=str(backbone), backbone_config=None, weight_decay=0.1,
        max_steps=3, schedule="constant", test="none",
    )  # fmt: skip
    model = AutoModelForAudioClassification.from_pretrained(folder)
    trained = model.speech.frame_encoder.backbone.state_dict()
    # A mask embedding learns nothing while no time is masked.
    shared = [name for name in started if name in trained and name != "masked_spec_embed"]
    assert len(shared) > 40
    for name in shared:
        assert torch.equal(trained[name], started[name]) == name.startswith(frozen), name
    extractor = json.loads((folder / "preprocessor_config.json").read_text())
    assert extractor["do_normalize"] is False and extractor["return_attention_mask"] is True


def loader_of(rows: Dataset, folder: Path, **fields: Any) -> Any:
    """The training batches of a run on these rows."""
    config = make_config({**TINY, "output_dir": str(folder), **fields})
    run = RunRows({"train": rows}, {"label": ["high", "low"]}, 0, {})
    extractor = Wav2Vec2FeatureExtractor()
    model = build_model(config, run, extractor, backbone_config(config))
    return make_trainer(config, run, model, extractor).get_train_dataloader()


@pytest.fixture(scope="module")
def uneven_rows(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """64 labelled clips of 0.3 to 3 s."""
    table = write_fake_corpus(tmp_path_factory.mktemp("uneven"), speakers=8, per_speaker=8, seconds=(0.3, 3.0))
    config = make_config({**TINY, "dataset": str(table)})
    return read_rows(config.data, config.split, {config.data.target: TargetRule()}, min_seconds=0.025).splits["train"]


def test_batches_of_like_length_waste_less(uneven_rows: Dataset, tmp_path: Path) -> None:
    def waste(**fields: Any) -> float:
        loader = loader_of(uneven_rows, tmp_path, crop_seconds=None, per_device_train_batch_size=2, **fields)
        masks = [batch["attention_mask"] for batch in loader]
        real, padded = sum(int(mask.sum()) for mask in masks), sum(mask.numel() for mask in masks)
        assert real == sum(uneven_rows["length"])  # every clip once, and whole
        return 1 - real / padded

    assert waste() < 0.5 * waste(buckets=1)


def test_crops_are_random_and_no_longer_than_asked(uneven_rows: Dataset, tmp_path: Path) -> None:
    loader = loader_of(uneven_rows, tmp_path, crop_seconds=0.4)
    lengths = sorted(int(length) for batch in loader for length in batch["attention_mask"].sum(-1))
    assert lengths == sorted(min(length, 6400) for length in uneven_rows["length"])
    sampler = loader.batch_sampler
    cut: list[dict[str, torch.Tensor]] = []
    for epoch in (0, 1):
        sampler.set_epoch(epoch)
        cut.append({})
        for batch in loader:
            real = [
                values[mask == 1] for values, mask in zip(batch["input_values"], batch["attention_mask"], strict=True)
            ]
            cut[-1] |= dict(zip(batch["origin"].files, real, strict=True))
    exact = {row["audio"]["path"] for row in uneven_rows if row["length"] == 6400}
    longer = [name for name in cut[0] if len(cut[0][name]) == len(cut[1][name]) == 6400 and name not in exact]
    assert len(longer) > 20 and not any(torch.equal(cut[0][name], cut[1][name]) for name in longer)


@pytest.fixture(scope="module")
def parquet(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the Hub has it: audio inside Parquet, its own column names, class order and splits."""
    folder = tmp_path_factory.mktemp("parquet")
    rows = read_table(corpus)
    features = Features({"clip": Audio(), "mood": ClassLabel(names=["low", "high"]), "who": Value("string")})
    for split, speakers in (("train", "0123"), ("test", "45")):
        chosen = [row for row in rows if row["speaker_id"][-1] in speakers]
        cells = {
            "clip": [{"bytes": (corpus.parent / row["path"]).read_bytes(), "path": row["path"]} for row in chosen],
            "mood": [["low", "high"].index(row["label"]) for row in chosen],
            "who": [row["speaker_id"] for row in chosen],
        }
        Dataset.from_dict(cells).cast(features).to_parquet(folder / f"{split}-00000-of-00001.parquet")
    return folder


COLUMNS = ("--columns", "audio=clip,speaker_id=who", "--target", "mood")


def test_parquet_with_its_own_names(parquet: Path, tmp_path: Path) -> None:
    folder = train_tiny(tmp_path / "model", parquet, *COLUMNS, "--validation", "speaker_id=speaker03", "--max-steps", 1)
    splits = read_results(folder)["data"]["splits"]
    assert {name: (part["utterances"], part["speakers"]) for name, part in splits.items()} == {
        "train": (12, 3), "validation": (4, 1), "test": (8, 2),
    }  # fmt: skip
    assert read_results(folder)["model"]["labels"] == ["low", "high"]  # the data set's order, not the sorted one
    assert read_results(folder)["data"]["split_rule"]["test"] == "the data set's own"


@pytest.mark.parametrize("flags", [pytest.param((), marks=pytest.mark.slow), ("--labels", "high,low")])
def test_streamed_rows(parquet: Path, tmp_path: Path, flags: tuple[object, ...]) -> None:
    stream = ("--streaming", "true", "--max-steps", 3)
    folder = train_tiny(tmp_path / "model", parquet, *COLUMNS, *stream, *flags)
    results = read_results(folder)
    assert results["run"]["steps"] == 3
    assert results["model"]["labels"] == (["high", "low"] if flags else ["low", "high"])
    assert {metric["split"]: metric["n"] for metric in results["metrics"]} == {"test": 8}


def test_a_streamed_regression_and_streamed_class_weights(parquet: Path, corpus: Path, tmp_path: Path) -> None:
    stream = ("--streaming", "true", "--max-steps", 1)
    ages = train_tiny(tmp_path / "ages", corpus, *stream, "--target", "age", "--loss", "mse", "--unit", "years")
    assert AutoConfig.from_pretrained(ages).target_mean == 45.0
    weighted = train_tiny(tmp_path / "weighted", parquet, *COLUMNS, *stream, "--class-weights", "balanced")
    assert AutoConfig.from_pretrained(weighted).class_weights == [1.0, 1.0]


@pytest.mark.parametrize("loss", ["mse", "l1"])
def test_regression_speaks_in_the_targets_unit(corpus: Path, tmp_path: Path, loss: str) -> None:
    rules = ("--validation", "speaker_id=speaker03", "--test", "speaker_id=speaker02")
    folder = train_tiny(tmp_path / "model", corpus, *rules, "--loss", loss, "--target", "age", "--unit", "years")
    config = AutoConfig.from_pretrained(folder)
    ages = [20.0, 30.0, 60.0, 70.0]  # of the four speakers who are left, four clips each
    assert (config.target_mean, config.target_std) == pytest.approx((np.mean(ages), np.std(ages)))
    assert (config.unit, config.target, config.problem_type) == ("years", "age", "regression")
    rows = read_table(folder / "predictions.csv")
    labels, said = (np.array([float(row[name]) for row in rows]) for name in ("label", "predicted"))
    assert (labels == 40).all() and (abs(said - 45) < 3 * config.target_std).all()
    mae = next(m for m in read_results(folder)["metrics"] if m["split"] == "test" and m["name"] == "mae")
    assert mae["value"] == pytest.approx(abs(said - labels).mean(), rel=1e-6) and mae["unit"] == "years"
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert f"{mae['value']:.2f} years" in card and "as a number in years" in card
    assert (folder / "regression.png").exists()
    # The trainer keeps the checkpoint of the lowest error.
    state = json.loads(next(folder.glob("checkpoint-*/trainer_state.json")).read_text())
    assert state["best_metric"] == min(entry["eval_mae"] for entry in state["log_history"] if "eval_mae" in entry)


SPEAKERS = [f"speaker{i:02d}" for i in range(6)]


@pytest.mark.parametrize(
    ("rule", "held_out"),
    [
        ("speaker_id=speaker01,speaker04", {"speaker01", "speaker04"}),
        ("crc32(speaker_id)%2==0", {name for name in SPEAKERS if zlib.crc32(name.encode()) % 2 == 0}),
        ("label=high", None),
    ],
)
def test_split_rules_as_flags(corpus: Path, tmp_path: Path, rule: str, held_out: set[str] | None) -> None:
    if held_out is None:  # all rows of a class: nothing to learn it from
        with pytest.raises(AssertionError):
            train_tiny(tmp_path / "model", corpus, "--test", rule, "--max-steps", 1)
        return
    folder = train_tiny(tmp_path / "model", corpus, "--test", rule, "--max-steps", 1)
    assert {row["speaker_id"] for row in read_table(folder / "predictions.csv")} == held_out
    assert read_results(folder)["data"]["split_rule"] == {"test": rule}
    assert read_results(folder)["data"]["splits"]["train"]["speakers"] == 6 - len(held_out)


def test_a_share_of_rows_where_the_speakers_are_the_classes(corpus: Path, tmp_path: Path) -> None:
    folder = train_tiny(tmp_path / "model", corpus, "--target", "speaker_id", "--test", "0.25", "--max-steps", 1)
    counts = read_results(folder)["data"]["splits"]["test"]["labels"]
    assert counts == dict.fromkeys(SPEAKERS, 1)  # of four clips each


def test_without_a_test_split_nothing_is_claimed(corpus: Path, tmp_path: Path) -> None:
    folder = train_tiny(tmp_path / "model", corpus, "--test", "none", "--max-steps", 1)
    results = read_results(folder)
    assert results["metrics"] == [] and results["confusion"] is None
    assert not (folder / "predictions.csv").exists() and not (folder / "confusion.png").exists()
    assert "**Not measured.**" in (folder / "README.md").read_text(encoding="utf-8")


def test_what_is_left_out_is_counted_and_named(corpus: Path, tmp_path: Path) -> None:
    rows = read_table(corpus)
    rows[0]["label"] = rows[5]["label"] = ""
    for row in rows:
        row["path"] = str(corpus.parent / row["path"])
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    table = write_table(tmp_path / "flawed.csv", [*rows, {**rows[1], "path": "broken.wav"}])
    folder = train_tiny(tmp_path / "model", table, "--on-bad-audio", "skip", "--max-steps", 1)
    data = read_results(folder)["data"]
    assert data["unlabelled"] == 2 and data["splits"]["train"]["utterances"] == 24 - 2
    assert [(row["file"], row["split"]) for row in data["left_out"]] == [("broken.wav", "train")]
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "not used: 2" in card and "Left out: 1" in card and "broken.wav" not in card


def test_a_last_batch_is_never_one_row_for_a_batch_norm(corpus: Path, tmp_path: Path) -> None:
    table = write_table(corpus.with_name("nine.csv"), read_table(corpus)[:9])
    folder = train_tiny(tmp_path / "model", table, "--head", "batchnorm", "--num-train-epochs", 1)
    assert read_results(folder)["run"]["steps"] == 2  # 7 rows and 2


def test_accumulated_and_logged_numbers_are_finite(corpus: Path, tmp_path: Path) -> None:
    flags = ("--gradient-accumulation-steps", 2, "--per-device-train-batch-size", 4, "--logging-steps", 1)
    folder = train_tiny(tmp_path / "model", corpus, *flags, "--num-train-epochs", 1, **HELD_OUT)
    results = read_results(folder)
    assert results["run"]["steps"] == 3 and results["run"]["recipe"]["batch"] == 8  # 20 rows
    state = json.loads(next(folder.glob("checkpoint-*/trainer_state.json")).read_text())
    losses = [entry["loss"] for entry in state["log_history"] if "loss" in entry]
    # Near ln 2, what guessing costs: a loss that was summed over the steps would be twice that.
    assert len(losses) == 3 and losses[0] == pytest.approx(np.log(2), rel=0.3)
