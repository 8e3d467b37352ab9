"""`predict --backend onnx`: the answers of torch, without torch; and the example that needs neither."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
import soundfile

from hf_speech.audio import read_audio, write_audio
from hf_speech.errors import InputError
from hf_speech.samples import sample_files
from hf_speech.serving.facts import KEY, Facts
from hf_speech.serving.predict import predict
from hf_speech.serving.session import load_onnx

from ..sounds import voice_like
from ..training.runs import command, refusal
from .conftest import Exported

EXAMPLE = Path(__file__).parents[2] / "examples" / "onnx_predict.py"


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Speech; in stereo at another rate; and so long that it is cut."""
    folder = tmp_path_factory.mktemp("recordings")
    left, right = voice_like(1.2, seed=1), voice_like(1.2, seed=4)
    soundfile.write(folder / "stereo.wav", np.stack([left, right], axis=1), 22_050)
    write_audio(folder / "long.wav", np.concatenate([voice_like(33.0, seed=2), 0.1 * voice_like(2.0, seed=3)]))
    return [Path(sample_files(1)[0]), folder / "stereo.wav", folder / "long.wav"]


def asked(capsys: pytest.CaptureFixture[str], *words: object) -> list[dict[str, object]]:
    capsys.readouterr()
    assert command("predict", *words, "--json") == 0
    return json.loads(capsys.readouterr().out)


def numbers(row: dict[str, object]) -> list[float]:
    """All numbers of an answer, in order."""
    found: list[float] = []
    for value in row.values():
        found += numbers(value) if isinstance(value, dict) else [value] if isinstance(value, float) else []
    return found


@pytest.mark.parametrize("name", ["xvector", "two_tasks"])
@pytest.mark.parametrize("channel", ["mean", "1"])
def test_the_answers_are_those_of_torch(
    name: str, channel: str, recordings: list[Path], request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    exported: Exported = request.getfixturevalue(name)
    files = recordings if channel == "mean" else recordings[1:2]
    wanted = asked(capsys, exported.model, *files, "--channel", channel)
    found = asked(capsys, "--backend", "onnx", exported.folder, *files, "--channel", channel)
    assert json.dumps(_blank(found)) == json.dumps(_blank(wanted))  # the same form and labels
    for one, other in zip(found, wanted, strict=True):
        assert numbers(one) == pytest.approx(numbers(other), abs=1e-4)
    if len(files) > 1:
        assert abs(numbers(wanted[0])[0] - numbers(wanted[2])[0]) > 1e-4


def _blank(value: object) -> object:
    """An answer with its numbers left out."""
    if isinstance(value, dict):
        return {name: _blank(inner) for name, inner in value.items()}
    return [_blank(inner) for inner in value] if isinstance(value, list) else 0 if isinstance(value, float) else value


def test_lines_are_those_of_torch(
    xvector: Exported, recordings: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("predict", xvector.model, *recordings) == 0
    wanted = capsys.readouterr().out
    assert command("predict", "--backend", "onnx", xvector.folder / "model.onnx", *recordings) == 0
    assert capsys.readouterr().out == wanted and len(wanted.splitlines()) == 3


def test_8_bits_hear_every_recording_alone(xvector: Exported, recordings: list[Path]) -> None:
    small = load_onnx(xvector.folder / "model.int8.onnx", threads=1)
    together = predict(small, [recordings[0], recordings[2]])
    assert numbers(together[0]) == numbers(predict(small, [recordings[0]])[0])
    # It would not be so in a batch, of which the activations' range is taken.
    waves = [read_audio(path)[: 16_000 * k] for path, k in ((recordings[0], 1), (recordings[2], 20))]
    alone, padded = small(waves[:1])["embeddings"][0], small([waves[0], 20 * waves[1]])["embeddings"][0]
    assert np.abs(alone - padded).max() > 1e-6


def run_without(modules: Sequence[str], script: str, *words: object) -> subprocess.CompletedProcess[str]:
    """Python in a process where some modules can't be imported."""
    barred = "import sys\n" + "".join(f"sys.modules[{name!r}] = None\n" for name in modules)
    line = [sys.executable, "-c", barred + script, *map(str, words)]
    return subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)


def test_torch_is_not_loaded(xvector: Exported, recordings: list[Path]) -> None:
    script = "from hf_speech.cli import main\nassert main(sys.argv[1:]) == 0\n"
    script += "assert not {'torch', 'torchaudio', 'transformers'} & set(sys.modules)"
    words = ("predict", "--backend", "onnx", xvector.folder, recordings[0])
    run = run_without([], script, *words)
    assert run.returncode == 0, run.stderr[-2_000:]
    (said,) = predict(load_onnx(xvector.folder), recordings[:1])
    assert run.stdout.split() == [str(recordings[0]), said["label"], f"{said['score']:.3f}"]


def test_the_example_needs_onnxruntime_and_numpy_alone(xvector: Exported, two_tasks: Exported, tmp_path: Path) -> None:
    assert len(EXAMPLE.read_text(encoding="utf-8").splitlines()) <= 30
    barred = ["torch", "torchaudio", "transformers", "hf_speech", "soundfile", "datasets", "onnx"]
    script = f"import runpy\nsys.argv = [{str(EXAMPLE)!r}, *sys.argv[1:]]\nrunpy.run_path({str(EXAMPLE)!r})"
    file = tmp_path / "speech.wav"
    write_audio(file, read_audio(sample_files(1)[0]))
    for exported in (xvector, two_tasks):
        run = run_without(barred, script, exported.folder / "model.onnx", file)
        assert run.returncode == 0, run.stderr[-2_000:]
        (said,) = predict(load_onnx(exported.folder), [file])
        lines = run.stdout.splitlines()
        scores = [f"{label} {value:.3f}" for label, value in said["scores"].items()]
        assert lines[0] == " ".join([str(file), *scores])
        if exported is two_tasks:
            assert lines[1] == f"{file} age {said['tasks']['age']['value']:.3f}"
        assert len(lines) == len(said.get("tasks", [1]))


def test_the_example_says_in_a_line_what_it_can_not_use(xvector: Exported, tmp_path: Path) -> None:
    waveform, good = read_audio(sample_files(1)[0]), tmp_path / "good.wav"
    write_audio(good, waveform)
    soundfile.write(tmp_path / "float.wav", waveform, 16_000, subtype="FLOAT")
    soundfile.write(tmp_path / "telephone.wav", waveform, 8_000)
    for name, size in (("cut", 3_044), ("odd", 3_045), ("bare", 44)):
        (tmp_path / f"{name}.wav").write_bytes(good.read_bytes()[:size])
    model, needs = xvector.folder / "model.onnx", "give 16-bit wav, 16000 Hz, 1+ samples ("
    count = len(waveform)
    cases: list[tuple[list[object], str]] = [
        ([], "Labels of 16-bit wav files, with onnxruntime and numpy alone: python onnx_predict.py model.onnx"),
        ([xvector.folder, good], f"{xvector.folder}: is no file of `hf-speech export` ("),
        ([good, good], f"{good}: is no file of `hf-speech export` ("),
        ([model, sample_files(1)[0]], f"{sample_files(1)[0]}: {needs}file does not start with RIFF id)"),
        ([model, tmp_path / "float.wav"], f"float.wav: {needs}unknown format: 3)"),
        ([model, tmp_path / "telephone.wav"], f"telephone.wav: {needs}16 bits, 8000 Hz, {count} of {count} samples)"),
        ([model, tmp_path / "cut.wav"], f"cut.wav: {needs}16 bits, 16000 Hz, 1500 of {count} samples)"),
        ([model, tmp_path / "odd.wav"], f"odd.wav: {needs}16 bits, 16000 Hz, 1500 of {count} samples)"),
        ([model, tmp_path / "bare.wav"], f"bare.wav: {needs}16 bits, 16000 Hz, 0 of {count} samples)"),
        ([model, tmp_path], f"{tmp_path}: {needs}"),
    ]
    for words, line in cases:
        run = run_without([], f"import runpy\nrunpy.run_path({str(EXAMPLE)!r})", *words)
        assert run.returncode == 1 and run.stdout == "" and len(run.stderr.splitlines()) == 1, run.stderr
        assert line in run.stderr


def test_what_is_no_file_of_ours_is_refused(
    xvector: Exported, recordings: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(*words: object) -> str:
        return refusal(capsys, "predict", "--backend", "onnx", *words, recordings[0])

    assert f"{tmp_path}/model.onnx: there is no such file; make one with `hf-speech export" in said(tmp_path)
    whole = xvector.folder / "model.onnx"
    (tmp_path / "cut.onnx").write_bytes(whole.read_bytes()[:5_000])
    assert "cut.onnx: can't be loaded (" in said(tmp_path / "cut.onnx")
    model = onnx.load(str(whole))
    del model.metadata_props[:]
    onnx.save(model, str(tmp_path / "bare.onnx"))
    assert "bare.onnx: is no ONNX file of `hf-speech export`" in said(tmp_path / "bare.onnx")
    onnx.helper.set_model_props(model, {KEY: '{"format": 99}'})
    onnx.save(model, str(tmp_path / "other.onnx"))
    assert "other.onnx: was exported by another version" in said(tmp_path / "other.onnx")
    assert "--dtype belongs to --backend torch" in said(xvector.folder, "--dtype", "bfloat16")
    assert "--revision belongs to --backend torch" in said(xvector.folder, "--revision", "v2")
    assert "has no CUDAExecutionProvider; pip uninstall onnxruntime, then pip install onnxruntime-gpu" in said(
        xvector.folder, "--device", "cuda"
    )
    assert "valid: cpu, cuda" in said(xvector.folder, "--device", "tpu")
    assert "holds an ONNX model; give --backend onnx" in refusal(capsys, "predict", xvector.folder, recordings[0])
    for words in (("evaluate", xvector.folder, tmp_path), ("verify", whole, recordings[0], recordings[1])):
        told = f"{words[1]}: holds an ONNX model, which `hf-speech predict --backend onnx` alone takes; give the model"
        assert told in refusal(capsys, *words)


def test_recordings_that_are_bad_are_named_or_left_out(
    two_tasks: Exported, recordings: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.wav").write_bytes(b"no sound")
    write_audio(tmp_path / "short.wav", np.full(300, 0.1))
    words = ("--backend", "onnx", two_tasks.folder, tmp_path, recordings[0])
    line = refusal(capsys, "predict", *words)
    assert "bad.wav" in line and "short.wav: 0.0187 s long, at least 0.025 s are wanted" in line
    (row,) = asked(capsys, *words, "--on-bad-audio", "skip")
    assert row["file"] == str(recordings[0])


@pytest.mark.parametrize("text", ["no json", "[]", '{"format": 1}', '{"format": 1, "outputs": [], "tasks": [{}]}'])
def test_metadata_that_can_not_be_read(text: str) -> None:
    with pytest.raises(InputError, match="x.onnx: its metadata can't be read .*; export it again"):
        Facts.from_json(text, "x.onnx")
