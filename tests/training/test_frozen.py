"""Frozen encoders that are run once: the same model as without, from whatever is kept, shared, killed or damaged."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import AutoModelForAudioClassification, Wav2Vec2FeatureExtractor

from hf_speech.audio import read_audio, write_audio
from hf_speech.data.chunks import Chunk
from hf_speech.data.collator import SpeechCollator
from hf_speech.data.frozen import FROZEN, entry_names, frames_batch
from hf_speech.data.recordings import rows_of_files
from hf_speech.errors import InputError
from hf_speech.inference import infer, load_model
from hf_speech.models.encoder import Encoder
from hf_speech.models.modeling import HfSpeechModel
from hf_speech.models.necks import NECKS
from hf_speech.models.pooling import POOLINGS
from hf_speech.store import MANIFEST, Store
from hf_speech.testing.tiny import BACKBONES, tiny_backbone_config
from hf_speech.training.arguments import make_config
from hf_speech.training.costs import UTTERANCE_SECONDS
from hf_speech.training.frozen import _Pass, run_once
from hf_speech.training.frozen_model import FrozenEncoder, boundary_of, identity, key_of, put_back
from hf_speech.training.setup import read_and_build
from tests.ranks import ENVIRONMENT, ROOT, finish_ranks

from .runs import (
    TINY,
    Refuse,
    command,
    interrupted,
    read_json,
    read_results,
    read_table,
    refusal,
    refusing,
    same_weights,
    train_tiny,
    weights_of,
    write_yaml,
)

FIELDS: dict[str, Any] = {
    "crop_seconds": None,
    "freeze": "backbone",
    "validation": "speaker_id=speaker03",
    "test": "speaker_id=speaker04,speaker05",
    "num_train_epochs": 3,
    "logging_steps": 1,
}
ECAPA = {"model_type": "ecapa-tdnn", "network_config": {"channels": [16, 16, 16, 16, 24], "scale": 4, "se_channels": 8}}
# What is trained on, and how far nothing in it is trained or random.
CASES: dict[str, tuple[dict[str, Any], str]] = {
    "mean": ({"pooling": "mean"}, "pooled"),
    # Not by Adam: of the bias before a batch norm, whose gradient is rounding alone, it makes whole steps.
    "batch norm": ({"head": "batchnorm", "optim": "sgd", "learning_rate": 0.1}, "pooled"),
    "dropout behind": ({"head": "mlp", "head_config": {"dropout": 0.5}}, "pooled"),
    "relu, in pieces": ({"neck": "relu", "pooling": "max", "max_seconds": 0.5}, "pooled"),
    "attentive, in pieces": ({"pooling": "attentive", "max_seconds": 0.7}, "frames"),
    "random frames": ({"pooling": "random"}, "frames"),
    "a transformer": ({"neck": "transformer", "neck_config": {"layers": 1, "size": 16, "feedforward": 16}}, "frames"),
    "weighted sum": ({"layer": "weighted_sum"}, "layers"),
    "an inner layer, a token": ({"layer": 1, "pooling": "first+cls"}, "pooled"),
    "no network": ({"backbone_config": {"model_type": "spectrum"}, "head": "mlp"}, "pooled"),
    "ecapa": ({"backbone_config": ECAPA, "pooling": "attentive", "projection": "batchnorm+linear"}, "frames"),
}


SLOW = (
    "relu, in pieces",
    "a transformer",
    "an inner layer, a token",
    "random frames",
    "dropout behind",
    "ecapa",
    "no network",
)


@contextmanager
def counted() -> Iterator[list[int]]:
    """Rows of each batch of data that any encoder, not a stand-in, is run over meanwhile."""
    rows: list[int] = []

    def count(module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
        if isinstance(module, Encoder) and not isinstance(module, FrozenEncoder):
            waveforms = [*inputs, *named.values()][0]
            is_timed = waveforms.shape[1] == UTTERANCE_SECONDS * 16_000  # how fast it answers: on noise, not on data
            rows.extend([] if is_timed else [len(output.frames)])

    handle = nn.modules.module.register_module_forward_hook(count, with_kwargs=True)
    try:
        yield rows
    finally:
        handle.remove()


def validated(folder: Path) -> list[float]:
    """The validation losses of a run, one an epoch."""
    last = max(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    return [
        entry["eval_loss"] for entry in read_json(last / "trainer_state.json")["log_history"] if "eval_loss" in entry
    ]


def logits_of(folder: Path, corpus: Path) -> np.ndarray:
    """What a finished model says of all audio of the corpus."""
    model, extractor = load_model(folder)
    rows = rows_of_files([corpus.parent])
    rows = rows.add_column("length", [len(read_audio(path)) for path in rows["path"]])
    return infer(model, extractor, rows).logits


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in CASES]
)
def test_it_is_the_same_run_as_without(name: str, corpus: Path, tmp_path: Path) -> None:
    fields, kind = CASES[name]
    values = {**FIELDS, **fields}
    without = train_tiny(tmp_path / "without", corpus, **values)
    with counted() as rows:
        cached = train_tiny(tmp_path / "cached", corpus, **values, frozen_cache=str(tmp_path / "cache"))
    (manifest,) = (read_json(path) for path in (tmp_path / "cache").glob(f"*/{MANIFEST}"))
    assert manifest["identity"]["boundary"] == kind
    assert sum(rows) == sum(shard["entries"] for shard in manifest["shards"]) >= 24  # once each, and never again
    first, second = validated(without), validated(cached)
    assert len(first) == 3 and first[0] != first[-1]
    assert np.abs(np.subtract(first, second)).max() <= 1e-4
    assert np.abs(logits_of(without, corpus) - logits_of(cached, corpus)).max() <= 1e-4
    for one, two in zip(read_table(without / "predictions.csv"), read_table(cached / "predictions.csv"), strict=True):
        assert [one[key] for key in ("id", "label", "predicted")] == [two[key] for key in ("id", "label", "predicted")]
    assert weights_of(without).keys() == weights_of(cached).keys()
    facts = [read_results(folder) for folder in (without, cached)]
    first_shares, second_shares = (one["model"].pop("layer_weights", []) for one in facts)
    assert first_shares == pytest.approx(second_shares, abs=1e-5) and bool(first_shares) == (name == "weighted sum")
    assert facts[0]["model"] | {"name": ""} == facts[1]["model"] | {"name": ""}
    assert facts[0]["run"]["recipe"] == {k: v for k, v in facts[1]["run"]["recipe"].items() if k != "encoder_run_once"}
    assert facts[1]["run"]["recipe"]["encoder_run_once"] is True


@pytest.fixture(scope="module")
def cached(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> Path:
    """A finished run in run/, and what it has kept in cache/."""
    folder = tmp_path_factory.mktemp("frozen")
    train_tiny(folder / "run", corpus, **FIELDS, save_total_limit=9, frozen_cache=str(folder / "cache"))
    return folder


@pytest.fixture
def cache(cached: Path, tmp_path: Path) -> Path:
    """A copy of what it has kept."""
    return Path(shutil.copytree(cached / "cache", tmp_path / "cache"))


def store_in(cache: Path) -> Path:
    """The one encoder's folder."""
    (folder,) = cache.iterdir()
    return folder


def test_the_finished_folder_is_a_whole_model(cached: Path, corpus: Path) -> None:
    folder = cached / "run"
    model = AutoModelForAudioClassification.from_pretrained(folder)
    said = {row["id"]: row for row in read_table(folder / "predictions.csv")}
    for name, row in said.items():
        waveform = torch.from_numpy(read_audio(corpus.parent / name))
        waveform = (waveform - waveform.mean()) / waveform.std(correction=0)
        with torch.no_grad():
            scores = model(waveform[None]).logits[0].softmax(-1)
        assert scores.numpy() == pytest.approx([float(row["high"]), float(row["low"])], abs=1e-5)
    trained = load_file(folder / "checkpoint-6" / "model.safetensors")
    assert trained and not any("frame_encoder" in key for key in trained)  # a checkpoint holds what is trained
    assert "frozen_cache" not in (folder / "train.yaml").read_text()
    assert read_results(folder)["run"]["arguments"]["frozen_cache"] == "cache"  # no path of this machine


@pytest.mark.slow
def test_another_run_computes_nothing(
    cache: Path, corpus: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Other folds, another head, other seeds for what is new: the encoder, a checkpoint here, stays the same."""
    encoder = train_tiny(tmp_path / "encoder", corpus, max_steps=1, validation="none", test="none")
    fields = {**FIELDS, "backbone": str(encoder), "backbone_config": None, "frozen_cache": str(cache)}
    fields["dataloader_num_workers"] = 1
    train_tiny(tmp_path / "first", corpus, **fields, seed=1)
    changes = {"validation": "speaker_id=speaker01", "head": "batchnorm", "learning_rate": 1e-2, "seed": 2}
    with counted() as rows, caplog.at_level("INFO"):
        train_tiny(tmp_path / "second", corpus, **{**fields, **changes})
    assert rows == [] and "has what the encoder says of all utterances" in caplog.text


def test_other_audio_under_the_same_name_is_heard(cache: Path, corpus: Path, tmp_path: Path) -> None:
    data = tmp_path / "corpus"
    shutil.copytree(corpus.parent, data)
    path = sorted(data.rglob("*.wav"))[0]
    with counted() as rows:
        train_tiny(tmp_path / "moved", data / corpus.name, **FIELDS, frozen_cache=str(cache))
        assert rows == []  # the same audio elsewhere
        write_audio(path, read_audio(path)[::-1])
        train_tiny(tmp_path / "changed", data / corpus.name, **FIELDS, frozen_cache=str(cache))
    assert rows == [1]


def test_names_are_of_bytes_and_cuts(corpus: Path) -> None:
    rows = rows_of_files(sorted(corpus.parent.rglob("*.wav"))[:2])
    with_bytes = [{"bytes": Path(path).read_bytes(), "path": None} for path in rows["path"]]
    embedded = rows.remove_columns("audio").add_column("audio", with_bytes)
    pieces = [Chunk(0, None, None, 9), Chunk(1, None, None, 9), Chunk(0, 0.0, None, 9), Chunk(0, 0.1, None, 9)]
    pieces += [Chunk(0, None, 0.5, 9)]
    names = entry_names(rows, pieces, "mean")
    assert names == entry_names(embedded, pieces, "mean")
    assert names[0] == names[2] and len(set(names)) == 4
    assert not set(names) & set(entry_names(rows, pieces, 0))
    of_row = rows.add_column("channel", [0, 0])
    assert entry_names(of_row, pieces, "mean") == entry_names(rows, pieces, 0)


def test_the_key_is_of_all_that_decides_and_of_nothing_else() -> None:
    torch.manual_seed(0)
    weights = HfSpeechModel.from_backbone(tiny_backbone_config()).state_dict()

    def key(kind: str = "pooled", normalize: bool = True, scale: float = 1.0, **settings: Any) -> str:
        of_backbone = {name: settings.pop(name) for name in ("hidden_dropout", "layer_norm_eps") if name in settings}
        model = HfSpeechModel.from_backbone(tiny_backbone_config(**of_backbone), **settings)
        model.load_state_dict(weights, strict=False)
        next(model.frame_encoder.backbone.parameters()).data.mul_(scale)
        text = json.dumps(identity(model, Wav2Vec2FeatureExtractor(do_normalize=normalize), kind), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    changes: list[dict[str, Any]] = [{"kind": "frames"}, {"normalize": False}, {"scale": 2.0}, {"layer": 1}]
    changes += [{"layer_norm_eps": 1e-3}, {"pooling": "max"}, {"pooling": "first+cls"}, {"neck": "relu"}]
    assert len({key(), *(key(**change) for change in changes)}) == 1 + len(changes)
    assert key(hidden_dropout=0.3) == key(projection="linear") == key(layerdrop=0.5) == key()
    assert key(kind="frames", pooling="max") == key(kind="frames", pooling="mean+std") == key(kind="frames")
    sums = [key(kind="layers", layer="weighted_sum") for _ in range(2)]
    assert sums[0] == sums[1]


KILLED = """
import os, signal, sys
from hf_speech.cli import main
from hf_speech import store
from hf_speech.training import frozen
store.SHARD_BYTES, frozen.padded_seconds = 1, lambda *_: 0.1  # a shard an utterance
save, count = store.save_file, 0
def save_and_die(entries, path):
    global count
    save(entries, path)
    count += 1
    if count == 4:
        os.truncate(path, path.stat().st_size // 2)
        os.kill(os.getpid(), signal.SIGKILL)
store.save_file = save_and_die
main(sys.argv[1:])
"""


def test_a_pass_that_was_killed_goes_on(cached: Path, corpus: Path, tmp_path: Path) -> None:
    """SIGKILL in the middle of the fourth of 24 shards: the three before it are there, the half of one is not used."""
    cache = tmp_path / "cache"
    config = write_yaml(tmp_path / "run.yaml", dataset=str(corpus), **FIELDS, frozen_cache=str(cache))
    words = [sys.executable, "-c", KILLED, "train", str(config), "--output-dir", str(tmp_path / "run")]
    assert subprocess.run(words, cwd=ROOT, env=os.environ | ENVIRONMENT).returncode == -signal.SIGKILL
    folder = store_in(cache)
    assert len(read_json(folder / MANIFEST)["shards"]) == 3 and list(folder.glob(".shard*"))
    with counted() as rows:
        assert command("train", config, "--output-dir", tmp_path / "run") == 0
    assert sum(rows) == 21 and not list(folder.glob(".*"))
    assert np.abs(np.subtract(validated(tmp_path / "run"), validated(cached / "run"))).max() <= 1e-5


def test_training_that_was_killed_goes_on_as_if_nothing_had_been(cached: Path, corpus: Path, tmp_path: Path) -> None:
    for last in (2, 4):
        folder = interrupted(cached / "run", tmp_path / f"cut-{last}", last)
        train_tiny(folder, corpus, **FIELDS, save_total_limit=9, frozen_cache=str(cached / "cache"))
        assert same_weights(folder, cached / "run") and validated(folder) == validated(cached / "run")


def test_going_on_with_or_without_is_refused(
    cached: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = interrupted(cached / "run", tmp_path / "cut", 4)
    config = write_yaml(tmp_path / "run.yaml", dataset=str(corpus), **FIELDS, save_total_limit=9)
    words = ["train", config, "--output-dir"]
    line = refusal(capsys, *words, folder)
    assert f"{folder}/checkpoint-4: lacks the frozen encoder, which was run once; give frozen_cache as then" in line
    manifest = read_json(folder / "checkpoint-4" / "checkpoint.json")
    (folder / "checkpoint-4" / "checkpoint.json").write_text(json.dumps({**manifest, "frozen": "another"}))
    line = refusal(capsys, *words, folder, "--frozen-cache", cached / "cache")
    assert "was trained on what another frozen encoder had said" in line
    without = train_tiny(tmp_path / "without", corpus, **FIELDS, save_total_limit=9)
    line = refusal(capsys, *words, interrupted(without, tmp_path / "whole", 4), "--frozen-cache", cached / "cache")
    assert "holds the encoder; leave frozen_cache out, or --overwrite" in line


@pytest.fixture
def refuse(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Refuse:
    return refusing(corpus, tmp_path, capsys)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"freeze": "none"}, "freeze is none, so the encoder is trained; give freeze backbone"),
        ({"freeze": "cnn"}, "freeze is cnn, so"),
        ({"freeze": "cnn+projection"}, "freeze is cnn+projection, so"),
        ({"freeze": "none", "freeze_layers": 1}, "freeze_layers lets the layers above train; give freeze backbone"),
        ({"freeze": "none", "freeze_steps": 0.5}, "freeze_steps lets the encoder train after a while; give freeze"),
        ({"freeze": "none", "unfreeze_every": 0.1}, "unfreeze_every lets the encoder train after a while"),
        ({"lora": {"r": 2}}, "lora trains within the encoder; leave it out"),
        (
            {"pooling": "first+cls-learned"},
            "pooling first+cls-learned trains a token that enters the encoder",
        ),
        ({"gradient_checkpointing": True}, "activation_checkpointing is for an encoder that is trained"),
        ({"activation_checkpointing": True}, "activation_checkpointing is for an encoder that is trained"),
        ({"crop_seconds": 0.5}, "crop_seconds draws another piece of an utterance each time; leave it out"),
        ({"augment": {"speeds": [0.9, 1.0]}}, "augment changes the audio each time; leave it out"),
        ({"augment": {"noise": {"probability": 0.5}}}, "augment changes the audio each time"),
        ({"streaming": True, "labels": ["low", "high"]}, "streaming leaves open which rows there are; leave it out"),
    ],
)
def test_what_learns_or_varies_is_refused(refuse: Refuse, fields: dict[str, Any], words: str, tmp_path: Path) -> None:
    line = refuse(**{"crop_seconds": None, "freeze": "backbone", "frozen_cache": str(tmp_path / "cache"), **fields})
    assert f"frozen_cache: {words}" in line and line.endswith(", or leave frozen_cache out")
    assert not (tmp_path / "cache").exists()


def test_masks_and_dropouts_of_a_frozen_encoder_do_not_act(corpus: Path, tmp_path: Path) -> None:
    """They end where all is frozen; so what was said without them is what is said with them."""
    noisy = {**TINY["backbone_config"], "mask_time_prob": 0.5, "hidden_dropout": 0.5, "attention_dropout": 0.5}
    fields = {**FIELDS, "backbone_config": noisy, "layerdrop": 0.5}
    without = train_tiny(tmp_path / "without", corpus, **fields)
    once = train_tiny(tmp_path / "once", corpus, **fields, frozen_cache=str(tmp_path / "cache"))
    assert np.abs(np.subtract(validated(without), validated(once))).max() <= 1e-5


@pytest.mark.parametrize("model_type", BACKBONES)
def test_a_frozen_encoder_says_the_same_in_training(model_type: str) -> None:
    """And is known, with parameters or without."""
    torch.manual_seed(0)
    model = HfSpeechModel.from_backbone(tiny_backbone_config(model_type), pooling="mean+std")
    model.freeze("backbone")
    waveforms = torch.randn(2, 8_000)
    with torch.no_grad():
        said = [model.train(mode).frame_encoder(waveforms).frames for mode in (True, True, False)]
    assert torch.equal(said[0], said[1]) and torch.equal(said[0], said[2])
    known = identity(model, model.make_feature_extractor(), boundary_of(model))
    assert known["dtype"] == "torch.float32"
    assert model.embed([waveforms[0]]).shape == (1, model.output_size)


@pytest.mark.parametrize("neck", NECKS)
@pytest.mark.parametrize("pooling", POOLINGS)
def test_the_boundary_is_where_nothing_is_trained_or_random(neck: str, pooling: str) -> None:
    """Over all necks and poolings: what is pooled beforehand has no weights, and says the same twice in training."""
    torch.manual_seed(0)
    try:
        options = {"sizes": [32] * 5} if neck == "tdnn" else {}  # frames that eight heads can share
        model = HfSpeechModel.from_backbone(tiny_backbone_config(), neck=neck, neck_config=options, pooling=pooling)
    except InputError:
        assert hasattr(POOLINGS[pooling], "token")  # a token that a neck would mix with others
        return
    model.freeze("backbone")
    frames, mask = torch.randn(3, 20, 32), torch.arange(20) < torch.tensor([[20], [9], [4]])
    trained = any(p.requires_grad for part in (model.neck, model.pooling) for p in part.parameters())
    model.train()
    with torch.no_grad():
        said = [model.pooling(*model.neck(frames, mask)) for _ in range(5)]
    random = any(not torch.equal(said[0], other) for other in said)
    assert boundary_of(model) == ("frames" if trained or random else "pooled")


def spoil_manifest(folder: Path, **facts: Any) -> None:
    content = read_json(folder / MANIFEST)
    (folder / MANIFEST).write_text(json.dumps({**content, "identity": {**content["identity"], **facts}}))


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))


def shard_in(folder: Path) -> Path:
    (path,) = folder.glob("*.safetensors")
    return path


SPOILT: dict[str, tuple[Any, str]] = {
    "another model": (
        lambda folder: spoil_manifest(folder, weights="0"),
        "manifest.json: is of another model, by weights",
    ),
    "no list": (lambda folder: (folder / MANIFEST).write_text("{"), f"{MANIFEST}: can't be read"),
    "another list": (lambda folder: (folder / MANIFEST).write_text("[]"), f"{MANIFEST}: can't be read"),
    "a bit": (lambda folder: flip(shard_in(folder)), ".safetensors: is damaged"),
    "cut": (lambda folder: os.truncate(shard_in(folder), 100), ".safetensors: has 100 bytes, not "),
    "gone": (lambda folder: shard_in(folder).unlink(), ".safetensors: is missing"),
}


@pytest.mark.parametrize("name", SPOILT)
def test_what_is_damaged_or_foreign_is_refused(
    name: str, cache: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil, words = SPOILT[name]
    folder = store_in(cache)
    spoil(folder)
    config = write_yaml(tmp_path / "run.yaml", dataset=str(corpus), **FIELDS, frozen_cache=str(cache))
    line = refusal(capsys, "train", config, "--output-dir", tmp_path / "run")
    assert words in line and line.endswith(f"; delete the folder {folder}, and it is computed anew")
    if name == "another model":
        shutil.rmtree(folder)
        assert command("train", config, "--output-dir", tmp_path / "run") == 0  # the mend mends


@pytest.mark.slow
def test_one_process_computes_and_the_others_wait(cached: Path, corpus: Path, tmp_path: Path) -> None:
    """A run that needs one utterance more waits as long as another process is at it."""
    data, cache = tmp_path / "corpus", Path(shutil.copytree(cached / "cache", tmp_path / "cache"))
    shutil.copytree(corpus.parent, data)
    path = sorted(data.rglob("*.wav"))[0]
    write_audio(path, read_audio(path)[::-1])
    config = write_yaml(tmp_path / "run.yaml", dataset=str(data / corpus.name), **FIELDS, frozen_cache=str(cache))
    words = [sys.executable, "-m", "hf_speech.cli", "train", str(config), "--output-dir", str(tmp_path / "run")]
    store = Store(cache, read_json(store_in(cache) / MANIFEST)["identity"])
    with store.alone():
        process = subprocess.Popen(
            words, cwd=ROOT, env=os.environ | ENVIRONMENT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
        )
        assert process.stderr is not None
        said = next(line for line in process.stderr if "another process" in line or "Error" in line)
        assert said.strip() == f"{store.folder}: another process computes there; waiting for it"
        assert len(read_json(store.folder / MANIFEST)["shards"]) == 1
    rest = process.communicate(timeout=120)[0]
    assert process.returncode == 0, rest
    assert [shard["entries"] for shard in read_json(store.folder / MANIFEST)["shards"]] == [24, 1]


def test_shards_that_another_process_left_out_of_the_list_are_used(tmp_path: Path) -> None:
    """Where a file system has no locks, two may write the list at once: what is ours is found all the same."""
    identity = {"format": 1}
    one, two = Store(tmp_path, identity), Store(tmp_path, identity)
    one.write({"a": torch.ones(2, 3)})
    (one.folder / MANIFEST).unlink()
    two.write({"b": torch.zeros(1, 3)})
    assert one.places(["a", "b"]).keys() == {"a", "b"} and two.places(["a", "b"]).keys() == {"b"}
    one.write({"c": torch.zeros(1, 3)})
    assert Store(tmp_path, identity).places(["a", "b", "c", "d"]).keys() == {"a", "b", "c"}
    batch = frames_batch([one.places(["a", "b"])[name] for name in "ab"])
    assert batch["input_values"].tolist() == [[[1] * 3] * 2, [[0] * 3] * 2]
    assert batch["attention_mask"].tolist() == [[1, 1], [1, 0]]


@pytest.mark.slow
def test_two_ranks_read_what_one_computed(corpus: Path, tmp_path: Path) -> None:
    fields = {**FIELDS, **CASES["batch norm"][0], "per_device_train_batch_size": 4, "num_train_epochs": 2}
    config = write_yaml(tmp_path / "run.yaml", dataset=str(corpus), **fields, frozen_cache=str(tmp_path / "cache"))
    finish_ranks("-m", "hf_speech.cli", "train", config, "--output-dir", tmp_path / "ranks")
    assert sum(shard["entries"] for shard in read_json(store_in(tmp_path / "cache") / MANIFEST)["shards"]) == 24
    config = write_yaml(tmp_path / "run.yaml", dataset=str(corpus), **fields)
    finish_ranks("-m", "hf_speech.cli", "train", config, "--output-dir", tmp_path / "without")
    assert np.abs(np.subtract(validated(tmp_path / "ranks"), validated(tmp_path / "without"))).max() <= 1e-4


@pytest.mark.parametrize("small_disk", ["128k"], indirect=True)
def test_no_room_is_said_before_anything_is_computed(
    small_disk: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fields = {**FIELDS, "layer": "weighted_sum", "frozen_cache": str(small_disk)}
    config = write_yaml(tmp_path / "run.yaml", dataset=str(corpus), **fields)
    with counted() as rows:
        line = refusal(capsys, "train", config, "--output-dir", tmp_path / "run")
    assert rows == [] and f"frozen_cache: {small_disk} has room for 0.1" in line
    assert "takes about 0.4" in line and "; make room, or give another folder" in line


@pytest.mark.parametrize("small_disk", ["128k"], indirect=True)
def test_a_disk_that_fills_up_keeps_what_was_there(small_disk: Path) -> None:
    store = Store(small_disk, {"format": 1})
    store.write({"a": torch.ones(4)})
    with pytest.raises(InputError, match=f"{store.folder}: the disk is full; what was written before is kept"):
        store.write({"b": torch.ones(100_000)})
    assert store.places(["a", "b"]).keys() == {"a"} and not list(store.folder.glob(".*"))


@pytest.mark.parametrize("name", CASES)
def test_the_size_is_known_beforehand(name: str, corpus: Path, tmp_path: Path) -> None:
    fields, kind = CASES[name]
    values = {**TINY, **FIELDS, **fields, "dataset": str(corpus), "frozen_cache": str(tmp_path / "cache")}
    config = make_config({key: value for key, value in values.items() if value is not None})
    rows, model, extractor = read_and_build(config)
    model.freeze("backbone")
    lengths = rows.splits["train"]["length"]
    expected = _Pass(config, model.speech, extractor, kind).bytes_of(lengths)
    encoder = model.encoder
    there = run_once(config, rows, model, extractor)
    assert key_of(model) is not None and FROZEN in there.splits["train"].column_names
    places = [place for row in there.splits["train"][FROZEN] for place in row]
    written = sum(values.nbytes for values in (load_file(place["file"])[place["entry"]] for place in places))
    assert written <= expected <= 1.25 * written + 250 * len(places)
    put_back(model)
    assert model.encoder is encoder and key_of(model) is None
    batch = SpeechCollator(extractor)(list(rows.splits["train"].select(range(2))))
    assert model(batch["input_values"], batch["attention_mask"]).logits.shape == (2, 2)
