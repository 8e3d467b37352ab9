"""Embeddings of files: the same together and alone, kept or computed, killed or not, on one process and on two.

Run as a script it is one rank: it embeds what a folder holds and writes what it got.
"""

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
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import torch
from datasets import Audio, Dataset
from safetensors.torch import load_file
from torch import nn
from transformers import Wav2Vec2FeatureExtractor, Wav2Vec2ForSequenceClassification, Wav2Vec2ForXVector

from hf_speech.audio import read_audio, write_audio
from hf_speech.data.stored import AUDIO_EXTENSIONS
from hf_speech.errors import InputError
from hf_speech.inference import load_model
from hf_speech.models.modeling import HfSpeechForSequenceClassification, HfSpeechForXVector, HfSpeechModel
from hf_speech.ranks import join_ranks, leave_process_group
from hf_speech.store import MANIFEST
from hf_speech.testing import tiny_backbone_config
from hf_speech.testing.tiny import BACKBONES
from hf_speech.verification.embedder import Embedder
from hf_speech.verification.embeddings import Embeddings, embed_files, read_embeddings, write_embeddings
from hf_speech.verification.utterances import NamedRows
from tests.models.tiny import lively, tiny_config
from tests.ranks import ENVIRONMENT, ROOT, finish_ranks, start_ranks

BATCH = 4.0  # seconds: some batches of several utterances, some of one
EXACT = 1e-5  # of vectors of length 1


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Sums come out the same, bit for bit, on one thread only; as in the processes that are started here."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def voices(corpus: Path) -> dict[str, Path]:
    """Name -> file of 24 clips of 0.6 to 1.4 s."""
    return {path.stem: path for path in sorted(corpus.parent.rglob("*.wav"))}


@pytest.fixture(scope="module")
def model() -> HfSpeechForXVector:
    return lively(HfSpeechForXVector(tiny_config("ecapa-tdnn", pooling="mean+std", head="cosine", loss="aam_softmax")))


@pytest.fixture(scope="module")
def extractor(model: HfSpeechForXVector) -> Wav2Vec2FeatureExtractor:
    return model.make_feature_extractor()


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


@torch.no_grad()
def alone(model: nn.Module, extractor: Any, waveform: np.ndarray) -> np.ndarray:
    """One utterance by itself, unpadded, through the whole model: (E,)."""
    values = extractor(waveform, sampling_rate=16_000, return_tensors="pt")["input_values"]
    return model(values).embeddings[0].numpy()


@contextmanager
def counted(model: HfSpeechForXVector) -> Iterator[list[int]]:
    """The rows of every batch that a model is given."""
    rows: list[int] = []
    handle = model.base_model.register_forward_pre_hook(
        lambda module, inputs, named: rows.append(len(inputs[0])), with_kwargs=True
    )
    try:
        yield rows
    finally:
        handle.remove()


@pytest.mark.parametrize("backbone", BACKBONES)
def test_together_is_as_alone(backbone: str, voices: dict[str, Path]) -> None:
    """Every kind of encoder, in the order asked for, in batches of which many hold several."""
    model = lively(HfSpeechModel(tiny_config(backbone, pooling="mean+std")))
    extractor = model.make_feature_extractor()
    files = dict(list(voices.items())[:9])
    found = embed_files(model, extractor, files, batch_seconds=BATCH)
    assert found.ids == list(files) and found.vectors.dtype == np.float32 and found.bad == []
    singles = np.stack([alone(model, extractor, read_audio(path)) for path in files.values()])
    assert np.abs(unit(found.vectors) - unit(singles)).max() <= EXACT
    assert np.ptp(unit(singles), axis=0).max() > 100 * EXACT  # or nothing could be mixed up
    assert found.seconds == pytest.approx([len(read_audio(path)) / 16_000 for path in files.values()], abs=1e-9)


def test_the_heads_and_the_mode_have_no_part(voices: dict[str, Path], model: HfSpeechForXVector) -> None:
    """The base model alone runs; a module that was in training is so afterwards, and has learnt no statistics."""
    before = {name: values.clone() for name, values in model.state_dict().items()}
    model.speech.frame_encoder.train()
    modes = [module.training for module in model.modules()]
    heard: list[int] = []
    handle = model.heads[0].register_forward_hook(lambda *_: heard.append(1))
    with counted(model) as rows:
        found = embed_files(model, model.make_feature_extractor(), voices, batch_seconds=BATCH)
    handle.remove()
    assert heard == [] and sum(rows) == len(voices) > len(rows) > 1
    assert [module.training for module in model.modules()] == modes and any(modes)
    model.eval()
    assert all(torch.equal(before[name], values) for name, values in model.state_dict().items())
    first = next(iter(voices.values()))
    assert found.vectors[0] == pytest.approx(alone(model, model.make_feature_extractor(), read_audio(first)), abs=1e-4)


def test_order_and_utterances_that_are_the_same(
    voices: dict[str, Path], model: Any, extractor: Any, tmp_path: Path
) -> None:
    """Names come out as they went in; a file of two names, and a copy of it, are run once."""
    paths = list(voices.values())[:4]
    copy = Path(shutil.copy(paths[0], tmp_path / "copy.wav"))
    files = {"z": paths[0], "b": paths[1], "again": paths[0], "copy": copy, "a": paths[2], "c": paths[3]}
    with counted(model) as rows:
        found = embed_files(model, extractor, files)
    assert found.ids == list(files) and sum(rows) == found.facts["computed"] == found.facts["sounds"] == 4
    place = {name: found.vectors[i] for i, name in enumerate(found.ids)}
    assert np.array_equal(place["z"], place["again"]) and np.array_equal(place["z"], place["copy"])
    turned = embed_files(model, extractor, dict(reversed(files.items())))
    for i, name in enumerate(turned.ids):
        assert unit(turned.vectors[i]) == pytest.approx(unit(place[name]), abs=EXACT)


def test_chunks_are_averaged_by_their_length(voices: dict[str, Path], extractor: Any, model: Any) -> None:
    """1.2 s in pieces of at most 0.5 s are three of a third each, up to a sample."""
    path = max(voices.values(), key=lambda one: len(read_audio(one)))
    waveform = read_audio(path)
    count = -(-len(waveform) // 8_000)
    assert count == 3
    bounds = [round(k * len(waveform) / count) for k in range(count + 1)]
    pieces = [waveform[a:b] for a, b in zip(bounds[:-1], bounds[1:], strict=True)]
    vectors = np.stack([alone(model, extractor, piece) for piece in pieces])
    by_hand = sum(len(p) * v for p, v in zip(pieces, vectors, strict=True)) / len(waveform)
    found = embed_files(model, extractor, {"x": path}, chunk_seconds=0.5)
    assert np.abs(unit(found.vectors[0]) - unit(by_hand)).max() <= EXACT
    assert found.facts["cut"] == 1 and found.facts["computed"] == 3 and found.facts["chunk_seconds"] == 0.5
    whole = embed_files(model, extractor, {"x": path}, chunk_seconds=float("inf"))
    assert np.abs(unit(whole.vectors[0]) - unit(alone(model, extractor, waveform))).max() <= EXACT
    assert whole.facts["cut"] == 0 and whole.facts["chunk_seconds"] is None
    assert np.abs(unit(whole.vectors[0]) - unit(by_hand)).max() > 100 * EXACT


def test_what_is_kept_is_not_computed_again(
    voices: dict[str, Path], model: Any, extractor: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """To the bit the same, with and without; of more utterances only the new ones run, whole ones serve any limit."""
    some = dict(list(voices.items())[:10])
    plain = embed_files(model, extractor, some, batch_seconds=BATCH)
    first = embed_files(model, extractor, some, batch_seconds=BATCH, cache=tmp_path)
    with counted(model) as rows, caplog.at_level("INFO"):
        second = embed_files(model, extractor, some, batch_seconds=BATCH, cache=tmp_path, chunk_seconds=60.0)
    assert rows == [] and second.facts["computed"] == 0 and second.facts["from_cache"] == 10
    assert "the embeddings of 10 utterances were kept from an earlier run" in caplog.text
    assert np.array_equal(plain.vectors, first.vectors) and np.array_equal(plain.vectors, second.vectors)
    more = embed_files(model, extractor, voices, batch_seconds=BATCH, cache=tmp_path)
    assert more.facts["computed"] == len(voices) - 10 and np.array_equal(more.vectors[:10], plain.vectors)
    assert len(list(tmp_path.iterdir())) == 1  # one model's folder


def test_other_numbers_are_kept_apart(voices: dict[str, Path], tmp_path: Path) -> None:
    """Another weight, setting, precision, cut, channel or sound is computed; another head or name of a label is not."""

    def made(**settings: Any) -> HfSpeechForXVector:
        return lively(HfSpeechForXVector(tiny_config("x-vector", **settings)))

    files = dict(list(voices.items())[:3])

    def computed(one: Any, wanted: dict[str, Path] = files, **options: Any) -> int:
        found = embed_files(one, one.make_feature_extractor(), wanted, cache=tmp_path / "cache", **options)
        return found.facts["computed"]

    model = made()
    assert computed(model) == 3 and computed(model) == 0
    other_head = made(num_labels=7, head="mlp")
    other_head.speech.load_state_dict(model.speech.state_dict())
    assert computed(other_head) == 0
    assert computed(model.speech) == 0  # what AutoModel loads
    assert computed(model, dtype="bfloat16") == computed(made(pooling="max")) == 3
    assert computed(model, channel=0) == 3 and computed(model, chunk_seconds=0.3) > 6
    with torch.no_grad():
        next(model.speech.parameters()).reshape(-1)[0] += 1e-3
    assert computed(model) == 3
    changed = Path(shutil.copy(files["speaker00_000"], tmp_path / "changed.wav"))
    assert computed(model, {**files, "speaker00_000": changed}) == 0  # the same sound elsewhere
    write_audio(changed, read_audio(changed)[::-1])
    assert computed(model, {**files, "speaker00_000": changed}) == 1


KILLED = """
import os, signal, sys
from pathlib import Path
from hf_speech import store
from tests.verification.test_embeddings import embed_folder
store.SHARD_BYTES = 1  # a shard a batch
save, count = store.save_file, 0
def save_and_die(entries, path):
    global count
    save(entries, path)
    count += 1
    if count == 4:
        os.truncate(path, path.stat().st_size // 2)
        os.kill(os.getpid(), signal.SIGKILL)
store.save_file = save_and_die
embed_folder(*map(Path, sys.argv[1:]))
"""


def embed_folder(folder: Path, cache: Path | None, **options: Any) -> Embeddings:
    """The voices in a folder, by the model there."""
    files = {path.stem: path for path in sorted((folder / "voices").iterdir()) if path.suffix in AUDIO_EXTENSIONS}
    return embed_files(*load_model(folder / "model"), files, cache=cache, batch_seconds=BATCH, **options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, voices: dict[str, Path], model: HfSpeechForXVector) -> Path:
    """A folder with a model and voices, one of them broken in the middle and one too short."""
    folder = tmp_path_factory.mktemp("both")
    model.save_pretrained(folder / "model")
    (folder / "voices").mkdir()
    for path in voices.values():
        shutil.copy(path, folder / "voices")
    return folder


def test_a_run_that_was_killed_goes_on(folder: Path, tmp_path: Path) -> None:
    """SIGKILL in the middle of the fourth shard: the three before it are not computed again, and no bit differs."""
    words = [sys.executable, "-c", KILLED, str(folder), str(tmp_path / "cache")]
    assert subprocess.run(words, cwd=ROOT, env=os.environ | ENVIRONMENT).returncode == -signal.SIGKILL
    (there,) = (tmp_path / "cache").iterdir()
    kept = sum(len(load_file(path)) for path in there.glob("[0-9a-f]*.safetensors"))
    assert kept >= 3 and list(there.glob(".shard*"))
    rest = embed_folder(folder, tmp_path / "cache")
    whole = embed_folder(folder, tmp_path / "another")
    assert rest.facts["from_cache"] == kept and rest.facts["computed"] == len(rest.ids) - kept > 0
    assert rest.ids == whole.ids and np.array_equal(rest.vectors, whole.vectors)
    assert not list(there.glob(".*"))


def test_two_ranks_write_what_one_writes(folder: Path, tmp_path: Path) -> None:
    """Byte for byte, on both of them, kept and not; each runs a share, and hears of the file that can't be used."""
    here = tmp_path / "here"
    shutil.copytree(folder, here)
    (here / "voices" / "broken.wav").write_bytes(next((here / "voices").iterdir()).read_bytes()[:9_000])
    one = embed_folder(here, tmp_path / "one", on_bad="skip")
    write_embeddings(tmp_path / "one.parquet", one)
    said = finish_ranks(__file__, "skip", here, tmp_path, tmp_path / "two", "")
    expected = (tmp_path / "one.parquet").read_bytes()
    for turn in (0, 1):
        found = [(tmp_path / f"rank{rank}-{turn}.parquet").read_bytes() == expected for rank in (0, 1)]
        assert found == [True, True]
        shares = [int((tmp_path / f"rank{rank}-{turn}.rows").read_text()) for rank in (0, 1)]
        assert sum(shares) == 24 and min(shares) >= 8
    # Once each time.
    assert len([line for line in said if "1 of 25 utterances can't be embedded and were left out" in line]) == 2
    (kept,) = (tmp_path / "two").iterdir()
    assert {path.name for path in kept.glob("manifest*")} == {MANIFEST, "manifest.1.json"}
    again = embed_folder(here, tmp_path / "two", on_bad="skip")
    assert again.facts["computed"] == 0 and np.array_equal(again.vectors, one.vectors)


def test_what_all_ranks_refuse_is_said_once(folder: Path, tmp_path: Path) -> None:
    here = tmp_path / "here"
    shutil.copytree(folder, here)
    (here / "voices" / "broken.wav").write_bytes(next((here / "voices").iterdir()).read_bytes()[:9_000])
    process = start_ranks(__file__, "raise", here, tmp_path, "")
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 1 and said.count("InputError: 1 of 25 utterances can't be embedded (leave them") == 1


def test_bf16_is_near_and_not_the_same(voices: dict[str, Path], model: Any, extractor: Any) -> None:
    exact, half = (embed_files(model, extractor, voices, dtype=dtype) for dtype in ("float32", "bfloat16"))
    cosines = (unit(exact.vectors) * unit(half.vectors)).sum(1)
    assert half.vectors.dtype == np.float32 and cosines.min() > 0.999
    assert not np.array_equal(exact.vectors, half.vectors)
    assert next(model.parameters()).dtype == torch.float32


def test_rows_of_a_data_set(voices: dict[str, Path], model: Any, extractor: Any, tmp_path: Path) -> None:
    """Audio in the row, pieces of a file, channels: each as the same samples in a file of their own."""
    paths = list(voices.values())[:3]
    waveforms = [read_audio(path) for path in paths]
    write_audio(tmp_path / "half.wav", waveforms[1][4_000:12_000])
    stereo = np.stack([waveforms[2], -waveforms[2] / 2], axis=1)
    soundfile.write(tmp_path / "stereo.wav", stereo, 16_000)
    rows = [
        {"audio": {"bytes": paths[0].read_bytes(), "path": "in a table"}, "start": None, "end": None, "channel": None},
        {"audio": {"bytes": None, "path": str(paths[1])}, "start": 0.25, "end": 0.75, "channel": None},
        {"audio": {"bytes": None, "path": str(tmp_path / "stereo.wav")}, "start": None, "end": None, "channel": 0},
        {"audio": {"bytes": None, "path": str(paths[1])}, "start": None, "end": None, "channel": None},
        {"audio": {"bytes": None, "path": str(paths[1])}, "start": 0.5, "end": 9.0, "channel": None},
    ]
    names = ["bytes", "piece", "left", "whole", "beyond"]
    wanted = NamedRows(names, Dataset.from_list(rows).cast_column("audio", Audio(decode=False)))
    found = embed_files(model, extractor, wanted, cache=tmp_path / "cache", on_bad="skip", chunk_seconds=0.4)
    files = [paths[0], tmp_path / "half.wav", paths[2], paths[1]]
    plain = embed_files(model, extractor, dict(zip(names, files, strict=False)), chunk_seconds=0.4)
    assert found.ids == plain.ids == names[:4]
    assert np.abs(unit(found.vectors) - unit(plain.vectors)).max() <= 1e-3  # 16-bit samples, rounded once more
    assert found.vectors[0] == pytest.approx(plain.vectors[0], abs=1e-5) and found.seconds[1] == 0.5
    assert [(one.id, one.file) for one in found.bad] == [("beyond", str(paths[1]))] and "beyond the file" in str(
        found.bad
    )
    again = embed_files(model, extractor, wanted, cache=tmp_path / "cache", on_bad="skip", chunk_seconds=0.4)
    assert again.facts["computed"] == 0 and np.array_equal(again.vectors, found.vectors)
    from_file = embed_files(model, extractor, {"x": paths[0]}, cache=tmp_path / "cache", chunk_seconds=0.4)
    assert from_file.facts["computed"] == 0  # the same bytes, whether in a table or in a file


class LevelOut(HfSpeechModel):
    """Divides its embedding by the loudest sample: of silence it makes NaN."""

    def forward(self, input_values: torch.Tensor, **others: Any) -> Any:
        outputs = super().forward(input_values, **others)
        outputs.embeddings = outputs.embeddings / input_values.abs().amax(1, keepdim=True) * (input_values[:, :1] * 0)
        return outputs


@pytest.fixture
def silent(tmp_path: Path, voices: dict[str, Path]) -> dict[str, Path]:
    """Four voices, and silence."""
    write_audio(tmp_path / "silence.wav", np.zeros(12_000, np.float32))
    return {**dict(list(voices.items())[:4]), "nothing": tmp_path / "silence.wav"}


def test_an_embedding_that_is_not_finite_is_named(
    silent: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = lively(LevelOut(tiny_config("spectrum", do_normalize=False)))
    extractor = model.make_feature_extractor()
    words = rf"1 of 5 utterances can't be embedded \(leave them out .*\): nothing \({silent['nothing']}\): "
    with pytest.raises(InputError, match=words + "is silent from end to end, or its embedding has NaN"):
        embed_files(model, extractor, silent, cache=tmp_path / "cache")
    for _ in range(2):  # computed, and as it was kept
        found = embed_files(model, extractor, silent, cache=tmp_path / "cache", on_bad="skip")
        assert found.ids == [name for name in silent if name != "nothing"] and np.isfinite(found.vectors).all()
        assert [one.id for one in found.bad] == ["nothing"] and found.facts["left_out"] == 1
    assert found.facts["computed"] == 0
    assert caplog.text.count("1 of 5 utterances can't be embedded and were left out: nothing (") == 2
    with pytest.raises(InputError, match="has NaN"):
        embed_files(model, extractor, silent, cache=tmp_path / "cache")
    with pytest.raises(InputError, match=r"1 of 1 utterances can't be embedded \(there is no other\)"):
        embed_files(model, extractor, {"nothing": silent["nothing"]}, on_bad="skip")


def test_files_that_cant_be_used_are_named(
    voices: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = lively(HfSpeechForXVector(tiny_config("wav2vec2")))
    extractor = model.make_feature_extractor()
    good = next(iter(voices.values()))
    (tmp_path / "cut.wav").write_bytes(good.read_bytes()[:5_000])
    (tmp_path / "text.wav").write_text("no sound")
    write_audio(tmp_path / "short.wav", np.full(399, 0.1, np.float32))
    names = ("cut", "text", "short", "absent")
    files = {"good": good, **{name: tmp_path / f"{name}.wav" for name in names}}
    with counted(model) as rows, pytest.raises(InputError) as refusal:
        embed_files(model, extractor, files)
    line = str(refusal.value)
    assert rows == [] and "\n" not in line
    assert line.startswith("4 of 5 utterances can't be embedded (leave them out with --on-bad-audio skip): cut (")
    assert all(line.count(f"{name} ({tmp_path}/{name}.wav): ") == 1 for name in names) and "long, at least" in line
    found = embed_files(model, extractor, files, on_bad="skip")
    assert found.ids == ["good"] and [one.id for one in found.bad] == list(names)
    assert found.facts["utterances"] == 1 and found.facts["left_out"] == 4
    assert "4 of 5 utterances can't be embedded and were left out: cut (" in caplog.text
    with pytest.raises(InputError, match="there is no other"):
        embed_files(model, extractor, {"cut": tmp_path / "cut.wav"}, on_bad="skip")
    with pytest.raises(InputError, match="no channel 1, it has 1"):
        embed_files(model, extractor, {"good": good}, channel=1)


def test_what_makes_no_sense_is_refused(voices: dict[str, Path], model: Any, extractor: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is nothing to embed; give a file"):
        embed_files(model, extractor, {})
    with pytest.raises(InputError, match="batch_seconds is -1; give seconds"):
        embed_files(model, extractor, voices, batch_seconds=-1)
    with pytest.raises(InputError, match="dtype 'fp16'.*bfloat16"):
        embed_files(model, extractor, voices, dtype="fp16")
    with pytest.raises(InputError, match="chunks of 0.01 s are too short"):
        embed_files(model, extractor, voices, chunk_seconds=0.01)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=f"cache: {tmp_path}/file can't be made"):
        embed_files(model, extractor, voices, cache=tmp_path / "file")


STOCK: dict[str, Any] = {"tdnn_dim": (16, 16, 16, 16, 24), "xvector_output_dim": 12}


def test_a_stock_model_is_run_one_at_a_time(voices: dict[str, Path], tmp_path: Path) -> None:
    """Its numbers depend on padding, so nothing is padded."""
    model = lively(Wav2Vec2ForXVector(tiny_backbone_config("wav2vec2", **STOCK)))
    extractor = Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True)
    files = dict(list(voices.items())[:5])
    found = embed_files(model, extractor, files, cache=tmp_path)
    singles = np.stack([alone(model, extractor, read_audio(path)) for path in files.values()])
    assert found.vectors.shape == (5, 12) and np.abs(unit(found.vectors) - unit(singles)).max() <= EXACT
    assert embed_files(model, extractor, files, cache=tmp_path).facts["computed"] == 0
    with pytest.raises(InputError, match="Wav2Vec2ForSequenceClassification gives no embeddings; give a model of"):
        embed_files(Wav2Vec2ForSequenceClassification(tiny_backbone_config("wav2vec2")).eval(), extractor, files)


def test_a_classifier_of_ours_has_embeddings(voices: dict[str, Path]) -> None:
    model = lively(HfSpeechForSequenceClassification(tiny_config("wav2vec2", projection="linear")))
    found = embed_files(model, model.make_feature_extractor(), voices)
    assert found.vectors.shape == (24, model.base_model.output_size)


def test_parquet_gives_back_what_was_written(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    written = Embeddings(["b/ü", "a"], rng.standard_normal((2, 5), dtype=np.float32), np.array([1.25, 0.5]))
    for name in ("one", "two"):
        write_embeddings(tmp_path / name, written)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    there = read_embeddings(tmp_path / "one")
    assert there.ids == written.ids and there.seconds.tolist() == [1.25, 0.5]
    assert np.array_equal(there.vectors, written.vectors) and there.vectors.dtype == np.float32
    assert str(pq.read_schema(tmp_path / "one").field("embedding").type) == "fixed_size_list<element: float>[5]"
    write_embeddings(tmp_path / "two", Embeddings(["b/ü", "a"], written.vectors + 1, written.seconds))
    assert (tmp_path / "one").read_bytes() != (tmp_path / "two").read_bytes()


def test_other_files_hold_no_embeddings(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("id,seconds\n")
    with pytest.raises(InputError, match="text: holds no embeddings; give a Parquet file"):
        read_embeddings(tmp_path / "text")
    with pytest.raises(InputError, match="absent: there is no such file"):
        read_embeddings(tmp_path / "absent")
    pq.write_table(pa.table({"id": ["a"], "seconds": [1.0], "embedding": [[1.0]]}), tmp_path / "other")
    with pytest.raises(InputError, match="other: holds no embeddings"):
        read_embeddings(tmp_path / "other")


def main() -> None:
    on_bad, (folder, output) = sys.argv[1], map(Path, sys.argv[2:4])
    rank, ranks = join_ranks()
    assert ranks == 2
    rows: list[int] = []
    HfSpeechModel.forward = noting(HfSpeechModel.forward, rows)  # type: ignore[method-assign]
    for turn, cache in enumerate(sys.argv[4:]):
        rows.clear()
        found = embed_folder(folder, Path(cache) if cache else None, on_bad=on_bad)
        assert found.facts["computed"] == 24 and [one.id for one in found.bad] == ["broken"]
        write_embeddings(output / f"rank{rank}-{turn}.parquet", found)
        (output / f"rank{rank}-{turn}.rows").write_text(str(sum(rows)))
    leave_process_group()


def noting(forward: Any, rows: list[int]) -> Any:
    def noted(self: Any, input_values: torch.Tensor, **others: Any) -> Any:
        rows.append(len(input_values))
        return forward(self, input_values, **others)

    return noted


if __name__ == "__main__":
    main()


@pytest.mark.parametrize("backbone", ["wav2vec2", "ecapa-tdnn"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_longer_batches_pay_for_transformers_in_half_precision(backbone: str, dtype: str) -> None:
    model = HfSpeechForSequenceClassification(tiny_config(backbone))
    assert Embedder(model, Wav2Vec2FeatureExtractor(), dtype).gains == ((backbone, dtype) == ("wav2vec2", "bfloat16"))


def test_in_half_precision_any_rate_is_heard(tmp_path: Path) -> None:
    rng, rates = np.random.default_rng(0), (16_000, 22_050)
    files = {str(rate): tmp_path / f"{rate}.wav" for rate in rates}
    for rate, path in zip(rates, files.values(), strict=True):
        write_audio(path, 0.1 * rng.standard_normal(rate).astype(np.float32), rate)
    model, extractor = lively(HfSpeechModel(tiny_config("wav2vec2"))), Wav2Vec2FeatureExtractor()
    whole, half = (embed_files(model, extractor, files, dtype=dtype).vectors for dtype in ("float32", "bfloat16"))
    assert np.isfinite(half).all() and np.abs(half - whole).max() < 0.1 * np.abs(whole).max()
