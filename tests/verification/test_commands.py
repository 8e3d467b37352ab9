"""`hf-speech enroll`, `identify`, `compare` and `verify` of two files, as they are typed."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from transformers import Wav2Vec2FeatureExtractor, Wav2Vec2ForXVector

from hf_speech.audio import read_audio
from hf_speech.testing import tiny_backbone_config

from ..training.runs import command, refusal
from .speakers import cosine, write_model, write_voices


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model and three speakers."""
    folder = tmp_path_factory.mktemp("place")
    write_model(folder / "model")
    write_voices(folder / "voices")
    return folder


def recording(place: Path, number: int) -> Path:
    """The first three are of one speaker, the next three of another."""
    return sorted((place / "voices" / "audio").glob("*.wav"))[number]


def test_voices_are_learnt_and_recognised(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Files may stand before and after the flags."""
    gallery = tmp_path / "voices.safetensors"
    one, two = (str(recording(place, i)) for i in (0, 1))
    assert command("enroll", place / "model", "--name", "anna", one, two, "--gallery", gallery) == 0
    assert command("enroll", place / "model", recording(place, 3), "--gallery", gallery, "--name", "bert") == 0
    capsys.readouterr()
    assert command("identify", place / "model", one, "--gallery", gallery, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["file"] == one and {match["name"] for match in said["matches"]} == {"anna", "bert"}
    assert command("identify", place / "model", one, "--gallery", gallery, "--threshold", "1.5") == 0
    assert "unknown" in capsys.readouterr().out
    assert command("enroll", place / "model", "--name", "anna", "--remove", "--gallery", gallery) == 0
    capsys.readouterr()
    assert command("identify", place / "model", one, "--gallery", gallery) == 0
    assert "anna" not in capsys.readouterr().out


def test_two_files_without_a_calibration(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A score, and no decision."""
    assert command("verify", place / "model", recording(place, 0), recording(place, 1), "--json") == 0
    answer = json.loads(capsys.readouterr().out)["same_speaker"]
    assert -1 <= answer.pop("score") <= 1 and set(answer.values()) == {None}
    assert command("predict", place / "model", recording(place, 0), recording(place, 1)) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_a_stock_x_vector_is_loaded_by_its_own_class(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Scored by command as its embeddings say in Python."""
    config = tiny_backbone_config("wav2vec2", tdnn_dim=(16, 16), tdnn_kernel=(3, 1), tdnn_dilation=(1, 1))
    config.xvector_output_dim = 8
    torch.manual_seed(0)
    stock = Wav2Vec2ForXVector(config).eval()
    stock.save_pretrained(tmp_path / "stock")
    Wav2Vec2FeatureExtractor().save_pretrained(tmp_path / "stock")
    files = [recording(place, i) for i in (0, 4)]
    heard = [read_audio(str(path)) for path in files]
    with torch.no_grad():
        normal = [torch.from_numpy((one - one.mean()) / np.sqrt(one.var() + 1e-7))[None] for one in heard]
        wanted = cosine(*(stock(one).embeddings[0] for one in normal))
    capsys.readouterr()
    assert command("verify", tmp_path / "stock", *files, "--json") == 0
    assert json.loads(capsys.readouterr().out)["same_speaker"]["score"] == pytest.approx(wanted, abs=1e-5)


def test_silence_is_nobody(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In two files, and in a list with its line."""
    for name in ("silence", "more"):
        soundfile.write(tmp_path / f"{name}.wav", np.zeros(16_000), 16_000)
    said = refusal(capsys, "verify", place / "model", tmp_path / "silence.wav", recording(place, 0))
    assert "silence.wav: is silent from end to end" in said
    for i in range(3):
        (tmp_path / f"{i}.wav").symlink_to(recording(place, 2 * i))
    lines = ["1 0.wav 1.wav", "0 0.wav silence.wav", "0 1.wav 2.wav"]
    (tmp_path / "list.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    words = ("verify", place / "model", tmp_path / "list.txt", "--output-dir", tmp_path / "out", "--no-plots")
    said = refusal(capsys, *words)
    assert "line 2" in said and "silence: is silent from end to end" in said


def test_a_run_against_itself(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    audio = sorted((place / "voices" / "audio").glob("*.wav"))
    lines = [f"{int(i // 3 == j // 3)} {audio[i].name} {audio[j].name}" for i in range(9) for j in range(i)]
    (place / "voices" / "audio" / "list.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for name in ("a", "b"):
        words = ("verify", place / "model", place / "voices" / "audio" / "list.txt", "--no-plots")
        assert command(*words, "--output-dir", tmp_path / name) == 0
    capsys.readouterr()
    assert command("compare", tmp_path / "a", tmp_path / "b", "--output-dir", tmp_path / "c") == 0
    assert "equal" in capsys.readouterr().out
    found = json.loads((tmp_path / "c" / "comparison.json").read_text(encoding="utf-8"))
    assert all(row["difference"] == row["low"] == row["high"] == 0 for row in found["differences"])
    assert "holds neither scores.txt" in refusal(capsys, "compare", tmp_path / "a", tmp_path)


MISUSE: dict[str, list[object]] = {
    "give recordings of anna, or --remove": ["enroll", "model", "--name", "anna", "--gallery", "x.safetensors"],
    "unrecognized arguments: --galery": ["identify", "model", "a.wav", "--gallery", "x", "--galery", "y"],
    "--center belongs to a list of trials": ["verify", "model", "a.wav", "b.wav", "--center"],
    "give one list of trials, or two audio files, not 3 names": ["verify", "model", "a.wav", "b.wav", "c.wav"],
}


@pytest.mark.parametrize("message", MISUSE)
def test_what_is_typed_wrong(message: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert message in refusal(capsys, *MISUSE[message])
