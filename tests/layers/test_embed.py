"""`hf-speech embed`, as it is typed: files that others read, a kill that costs one part, and what it refuses."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import kaldiio
import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile as sf
import torch
from datasets import load_dataset
from transformers import Wav2Vec2Model

from hf_speech.audio import read_audio
from hf_speech.data.readers import load_rows
from hf_speech.data.schema import item_ids
from hf_speech.models.modeling import HfSpeechForXVector, HfSpeechModel
from hf_speech.verification.embeddings import read_embeddings

from ..models.tiny import TOLERANCE, lively, tiny_config
from ..ranks import ENVIRONMENT, ROOT, finish_ranks
from ..sounds import voice_like
from ..training.runs import command, refusal
from .encoders import write_encoder

PARTS = ("--part-minutes", "0.1")  # 26 s of audio are five parts then


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of an encoder with three layers."""
    return write_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def frames(encoder: Path, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frames of two layers of the corpus, as Parquet, in one go."""
    folder = tmp_path_factory.mktemp("features") / "frames"
    assert command("embed", encoder, corpus, "--layer", "1,3", *PARTS, "--output-dir", folder) == 0
    return folder


def expected(encoder: Path, corpus: Path, layer: int) -> dict[str, np.ndarray]:
    """Frames of each recording alone, by a model with so many layers."""
    model = HfSpeechModel.from_backbone(str(encoder), layer=layer, do_normalize=True).eval()
    (rows,) = load_rows(corpus).values()
    found = {}
    for name, row in zip(item_ids(rows, str(corpus)), rows, strict=True):
        inputs = model.make_feature_extractor()(read_audio(row["audio"]), sampling_rate=16_000, return_tensors="pt")
        with torch.no_grad():
            found[name] = model(**inputs).last_hidden_state[0].numpy()
    return found


def test_datasets_reads_the_frames(encoder: Path, corpus: Path, frames: Path) -> None:
    for layer in (1, 3):
        wanted = expected(encoder, corpus, layer)
        read = load_dataset("parquet", data_files=str(frames / f"layer{layer}" / "*.parquet"), split="train")
        assert len(read) == len(wanted) == 24 and set(read["id"]) == set(wanted)
        for row in read.with_format("numpy"):
            np.testing.assert_allclose(row["frames"], wanted[row["id"]], atol=TOLERANCE)
            assert len(row["frames"]) == 1 + (round(row["seconds"] * 16_000) - 400) // 320
    facts = json.loads((frames / "features.json").read_text())
    assert facts["layers"] == [1, 3] and facts["hop_seconds"] == 0.02 and facts["size"] == 32 and facts["rows"] == 24
    assert facts["frames"] == sum(map(len, wanted.values()))


def test_kaldiio_reads_the_ark(encoder: Path, corpus: Path, tmp_path: Path) -> None:
    words = ("embed", encoder, corpus, "--layer", "2", "--format", "kaldi", "--output-dir", tmp_path)
    assert command(*words, *PARTS) == 0
    wanted = expected(encoder, corpus, 2)
    scp = tmp_path / "layer2" / "feats.scp"
    names = [line.split()[0] for line in scp.read_text().splitlines()]
    assert names == sorted(wanted, key=str.encode) and len(list(scp.parent.glob("feats.*.ark"))) == 5
    for name, matrix in kaldiio.load_scp(str(scp)).items():
        np.testing.assert_allclose(matrix, wanted[name], atol=TOLERANCE)
        assert matrix.dtype == np.float32
    ark = dict(kaldiio.load_ark(str(scp.with_name("feats.00000.ark"))))
    assert set(ark) < set(wanted)
    # What is there is not computed again; an ark that was damaged is.
    times = {path.name: path.stat().st_mtime_ns for path in scp.parent.glob("*.ark")}
    whole = (scp.parent / "feats.00001.ark").read_bytes()
    (scp.parent / "feats.00001.ark").write_bytes(whole[:-1] + b"x")
    assert command(*words, *PARTS) == 0
    changed = [path.name for path in scp.parent.glob("*.ark") if path.stat().st_mtime_ns != times[path.name]]
    assert changed == ["feats.00001.ark"] and (scp.parent / changed[0]).read_bytes() == whole


@pytest.mark.parametrize("pooling", ["mean", "mean+std"])
def test_statistics_are_read_as_embeddings_are(pooling: str, encoder: Path, corpus: Path, tmp_path: Path) -> None:
    words = ("--layer", "all", "--pooling", pooling, *PARTS)
    assert command("embed", encoder, corpus, *words, "--output-dir", tmp_path) == 0
    wanted = expected(encoder, corpus, 3)
    read = read_embeddings(tmp_path / "layer3")
    assert set(read.ids) == set(wanted) and sorted(path.name for path in tmp_path.glob("layer*")) == [
        "layer1",
        "layer2",
        "layer3",
    ]
    for name, vector in zip(read.ids, read.vectors, strict=True):
        frames = wanted[name]
        parts = [frames.mean(0), np.sqrt(frames.var(0) + 1e-7)][: 1 if pooling == "mean" else 2]
        np.testing.assert_allclose(vector, np.concatenate(parts), atol=TOLERANCE)


@pytest.mark.parametrize("kind", ["parquet", "kaldi"])
def test_without_a_layer_there_are_the_embeddings(kind: str, corpus: Path, tmp_path: Path) -> None:
    model = lively(HfSpeechForXVector(tiny_config()))
    model.save_pretrained(tmp_path / "model")
    files = sorted((corpus.parent).rglob("*.wav"))[:3]
    assert command("embed", tmp_path / "model", *files, "--format", kind, "--output-dir", tmp_path / "out") == 0
    if kind == "parquet":
        read = read_embeddings(tmp_path / "out" / "embeddings.parquet")
        found = dict(zip(read.ids, read.vectors, strict=True))
    else:
        found = dict(kaldiio.load_scp(str(tmp_path / "out" / "embeddings.scp")))
    wanted = model.embed([read_audio(str(file)) for file in files]).numpy()
    np.testing.assert_allclose(np.stack([found[str(file)] for file in files]), wanted, atol=TOLERANCE)
    assert json.loads((tmp_path / "out" / "features.json").read_text())["rows"] == 3


@pytest.mark.parametrize("words", [("--layer", "2", "--pooling", "mean"), ()])
def test_a_channel_is_chosen(words: tuple[str, ...], tmp_path: Path) -> None:
    lively(HfSpeechForXVector(tiny_config())).save_pretrained(tmp_path / "model")
    sides = [voice_like(0.6, seed=i) for i in range(2)]
    sf.write(tmp_path / "both.wav", np.stack(sides, 1), 16_000)
    sf.write(tmp_path / "one.wav", sides[1], 16_000)
    found = []
    for name, channel in (("both", ("--channel", "1")), ("one", ())):
        given = ("embed", tmp_path / "model", tmp_path / f"{name}.wav", *words, *channel)
        assert command(*given, "--output-dir", tmp_path / name) == 0
        found.append(read_embeddings(tmp_path / name / ("layer2" if words else "embeddings.parquet")).vectors)
    np.testing.assert_allclose(*found, atol=1e-6)


KILLED = """
import os, signal, sys
from hf_speech.layers import formats
write, count = formats.ParquetFrames.write, 0
def write_and_die(self, *row):
    global count
    count += 1
    if count == 30:
        self._write_group()
        os.kill(os.getpid(), signal.SIGKILL)
    return write(self, *row)
formats.ParquetFrames.write = write_and_die
from hf_speech.cli import main
main(sys.argv[1:])
"""


@pytest.mark.slow
def test_a_killed_run_is_gone_on_with_by_two_ranks(encoder: Path, corpus: Path, frames: Path, tmp_path: Path) -> None:
    """SIGKILL in the third of five parts: two are not touched again, and all is what one go gave, to the byte."""
    words = ["embed", *map(str, (encoder, corpus)), "--layer", "1,3", *PARTS, "--output-dir", str(tmp_path)]
    killed = subprocess.run([sys.executable, "-c", KILLED, *words], cwd=ROOT, env=os.environ | ENVIRONMENT)
    assert killed.returncode == -signal.SIGKILL
    first = {path: path.stat().st_mtime_ns for path in tmp_path.glob("layer*/part-*.parquet")}
    assert len(first) == 4 and len(list(tmp_path.glob("layer*/.part-*"))) == 2
    assert not (tmp_path / "features.json").exists()
    said = finish_ranks("-m", "hf_speech.cli", *words)
    assert any("2 of 5 parts were there before" in line for line in said)
    assert {path: path.stat().st_mtime_ns for path in first} == first
    here, there = ({path.relative_to(f): path for path in f.rglob("*") if path.is_file()} for f in (tmp_path, frames))
    assert here.keys() == there.keys() and len(here) == 10 + 5 + 2
    for name in here:
        assert here[name].read_bytes() == there[name].read_bytes(), name


def test_a_folder_of_something_else_is_left_alone(
    encoder: Path, corpus: Path, frames: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(frames, tmp_path / "frames"))
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    other = write_encoder(tmp_path / "other", num_hidden_layers=4)
    words = ("embed", encoder, corpus, "--output-dir", folder)
    for given, said in {
        ("--layer", "2", *PARTS): "holds features that differ by layer, layers, weights",
        ("--layer", "1,3"): "differ by part_minutes",
        ("--layer", "1,3", *PARTS, "--pooling", "mean"): "differ by pooling",
    }.items():
        assert said in refusal(capsys, *words, *given)
    said = refusal(capsys, "embed", other, corpus, "--layer", "1,3", *PARTS, "--output-dir", folder)
    assert "differ by backbone" in said
    files = sorted(corpus.parent.rglob("*.wav"))
    assert "by recordings" in refusal(capsys, "embed", encoder, *files, *words[3:], "--layer", "1,3", *PARTS)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()} == before
    assert command(*words, "--layer", "2", "--pooling", "mean", "--overwrite") == 0
    assert sorted(path.name for path in folder.glob("layer*")) == ["layer2"]
    assert "holds a model" in refusal(capsys, "embed", encoder, corpus, "--layer", "1", "--output-dir", other)


@pytest.mark.parametrize("name", ["features.json", "layer2/part-00000.parquet", "embeddings.scp", "parts/00000.json"])
def test_files_that_no_embed_wrote_stay(
    name: str, encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sf.write(tmp_path / "a.wav", voice_like(0.5), 16_000)
    folder = tmp_path / "out"
    others = [
        folder / other for other in ("layer2/feats.mine", "layer_x/part-1.parquet", ".embeddings.txt", "parts/a.json")
    ]
    for path in (folder / name, *others):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
    words = ("embed", encoder, tmp_path / "a.wav", "--layer", "1", "--output-dir", folder)
    assert f"{folder / name}: would be lost, and no manifest.json says" in refusal(capsys, *words)
    there = {path for path in folder.rglob("*") if path.is_file()}
    assert there == {folder / name, *others} and all(path.read_text() == "mine" for path in there)
    assert command(*words, "--overwrite") == 0
    assert all(path.read_text() == "mine" for path in others) and (folder / "layer1").is_dir()
    assert not (folder / name).exists() or (folder / name).read_text() != "mine"
    (folder / "manifest.json").write_text("[]")
    assert "manifest.json: can't be read; delete it" in refusal(capsys, *words)


def test_the_help_says_how_layers_are_numbered(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("embed", "--help") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "Layers are numbered from 1: layer 7 is the output of the seventh transformer layer" in said
    assert "hidden_states[7] of transformers, as iscap-age's README counts" in said


def test_segments_of_a_kaldi_folder_keep_their_names(encoder: Path, tmp_path: Path) -> None:
    sf.write(tmp_path / "call.wav", voice_like(3.0, 8_000), 8_000)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "wav.scp").write_text(f"call {tmp_path / 'call.wav'}\n")
    (tmp_path / "data" / "segments").write_text("call-2 call 1.5 2.75\ncall-1 call 0.25 1.0\n")
    words = ("--layer", "3", "--format", "kaldi", "--output-dir", tmp_path / "out")
    assert command("embed", encoder, tmp_path / "data" / "wav.scp", *words) == 0
    found = dict(kaldiio.load_scp(str(tmp_path / "out" / "layer3" / "feats.scp")))
    samples = {"call-1": 12_000, "call-2": 20_000}  # at 16 kHz
    assert {name: matrix.shape for name, matrix in found.items()} == {
        name: (1 + (count - 400) // 320, 32) for name, count in samples.items()
    }


REFUSED: dict[str, tuple[object, ...]] = {
    "there is no layer 4; it has layers 1 to 3": ("--layer", "4"),
    "there is no layer 0": ("--layer", "0,1"),
    "'seven' names no layers; give all, or numbers such as 3,6,9": ("--layer", "seven"),
    "or give --layer, for the frames of its layers": (),
    "--pooling mean is of a layer's frames": ("--pooling", "mean"),
    "--part-minutes is 0.0": ("--layer", "1", "--part-minutes", "0"),
    "--embedding-cache is of the model's embeddings": ("--layer", "1", "--embedding-cache", "x"),
    "needs --check-audio full": ("--layer", "1", "--check-audio", "headers", "--on-bad-audio", "skip"),
    "too short for a frame": ("--layer", "1", "--chunk-seconds", "0.01"),
    "unknown split of": ("--layer", "1", "--split", "holdout"),
}


@pytest.mark.parametrize("said", REFUSED)
def test_what_is_typed_wrong(
    said: str, encoder: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in refusal(capsys, "embed", encoder, corpus, *REFUSED[said], "--output-dir", tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*layer*"))


@pytest.mark.parametrize("pooling", ["none", "mean+std"])
def test_numbers_that_are_none_are_not_written(
    pooling: str, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = Wav2Vec2Model.from_pretrained(write_encoder(tmp_path / "model"))
    torch.nn.init.constant_(model.encoder.layers[2].final_layer_norm.bias, float("nan"))
    model.save_pretrained(tmp_path / "model")
    words = ("embed", tmp_path / "model", corpus, "--pooling", pooling, "--output-dir", tmp_path / "out")
    assert "layer 3 has NaN or infinite numbers; check the model's weights" in refusal(capsys, *words, "--layer", "all")
    assert not list((tmp_path / "out").glob("layer*/*")) and not (tmp_path / "out" / "features.json").exists()


def test_networks_without_layers_say_so(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lively(HfSpeechForXVector(tiny_config("ecapa-tdnn"))).save_pretrained(tmp_path / "model")
    said = refusal(capsys, "embed", tmp_path / "model", corpus, "--layer", "1", "--output-dir", tmp_path / "out")
    assert "a ecapa-tdnn has no layers to choose from; leave the layer out for its embeddings" in said


def test_recordings_that_cannot_be_used(encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "voices").mkdir()
    for i in range(2):
        sf.write(tmp_path / "voices" / f"{i} good.wav", voice_like(0.5, seed=i), 16_000)
    (tmp_path / "voices" / "bad.wav").write_text("no audio " * 99)
    sf.write(tmp_path / "voices" / "short.wav", voice_like(399 / 16_000), 16_000)
    words = ("embed", encoder, tmp_path / "voices", "--layer", "1", "--output-dir", tmp_path / "out")
    said = refusal(capsys, *words)
    assert "2 of 4 rows have bad audio" in said and "bad.wav: not audio" in said and "short.wav" in said
    assert "Kaldi's names have no spaces: '0 good.wav'" in refusal(capsys, *words, "--format", "kaldi")
    assert not list((tmp_path / "out").glob("layer*"))
    assert command(*words, "--on-bad-audio", "skip") == 0
    assert pq.read_table(tmp_path / "out" / "layer1")["id"].to_pylist() == ["0 good.wav", "1 good.wav"]
    (tmp_path / "none").mkdir()
    assert "none" in refusal(capsys, "embed", encoder, tmp_path / "none", *words[3:])
    assert "no such file" in refusal(capsys, "embed", encoder, "a.wav", "b.wav", *words[3:])
    twice = ("embed", encoder, *[tmp_path / "voices" / "0 good.wav"] * 2, *words[3:])
    assert "several utterances are called" in refusal(capsys, *twice)
