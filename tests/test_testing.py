import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
from sklearn.linear_model import LogisticRegression
from transformers import AutoModel

import hf_speech.testing
from hf_speech.audio import audio_info, read_audio
from hf_speech.data.readers import load_rows
from hf_speech.errors import InputError
from hf_speech.models.configuration import HfSpeechConfig
from hf_speech.models.frames import conv_frames
from hf_speech.models.modeling import HfSpeechModel
from hf_speech.testing import BACKBONES, tiny_backbone_config, write_fake_corpus, write_fake_iemocap
from hf_speech.testing.iemocap import WORDS

from .models.tiny import RAW_BACKBONES


@pytest.mark.parametrize("model_type", BACKBONES)
def test_tiny_backbones_are_tiny(model_type: str) -> None:
    model = HfSpeechModel(HfSpeechConfig(backbone_config=tiny_backbone_config(model_type)))
    least = -1 if model_type == "spectrum" else 1_000  # that one has no parameters at all
    assert least < model.num_parameters() < 200_000


@pytest.mark.parametrize("model_type", RAW_BACKBONES)
def test_tiny_encoders_run_with_the_frames_of_the_real_ones(model_type: str) -> None:
    config = tiny_backbone_config(model_type, num_hidden_layers=3)
    model = AutoModel.from_config(config).eval()
    with torch.no_grad():
        output = model(torch.randn(2, 8_000), output_hidden_states=True)
    assert output.last_hidden_state.shape == (2, conv_frames(8_000, config.conv_kernel, config.conv_stride), 32)
    assert len(output.hidden_states) == 4
    assert conv_frames(400, config.conv_kernel, config.conv_stride) == 1
    assert (config.layerdrop, config.mask_time_prob, config.hidden_dropout) == (0.0, 0.0, 0.1)
    # A group norm in the first convolution is what makes a backbone change with padding.
    norms = [m for m in model.modules() if isinstance(m, torch.nn.GroupNorm)]
    assert bool(norms) == (BACKBONES[model_type]["feat_extract_norm"] == "group")


def test_unknown_backbones_and_fields_are_named() -> None:
    with pytest.raises(InputError, match="unknown tiny backbone 'whisper'; valid: data2vec-audio, ecapa-tdnn, hubert"):
        tiny_backbone_config("whisper")
    with pytest.raises(InputError, match="unknown field of the wavlm config 'num_layers'.*did you mean"):
        tiny_backbone_config("wavlm", num_layers=3)


def test_the_corpus_is_as_asked_for(tmp_path: Path) -> None:
    table = write_fake_corpus(tmp_path / "new", speakers=3, classes=("a", "b", "c"), per_speaker=4, seconds=(0.5, 0.7))
    rows = load_rows(table)["train"]
    assert table.name == "metadata.csv" and len(rows) == 12
    assert sorted(set(rows["speaker_id"])) == ["speaker00", "speaker01", "speaker02"]
    assert rows["label"] == ["a", "b", "c", "a"] * 3 and rows["age"][::4] == [20.0, 30.0, 40.0]
    for audio in rows["audio"]:
        info = audio_info(audio)
        assert info.sample_rate == 16_000 and info.channels == 1 and 0.5 <= info.duration <= 0.7
        assert np.abs(read_audio(audio)).max() == pytest.approx(0.5, abs=1e-4)


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(tmp_path: Path) -> None:
    options = {"speakers": 1, "per_speaker": 2}
    one, two = (write_fake_corpus(tmp_path / name, seed=5, **options) for name in "ab")
    other = write_fake_corpus(tmp_path / "c", seed=6, **options)
    name = "audio/speaker00_001.wav"
    assert (one.parent / name).read_bytes() == (two.parent / name).read_bytes()
    assert (one.parent / name).read_bytes() != (other.parent / name).read_bytes()


def test_the_folder_layout_holds_the_same_clips(tmp_path: Path) -> None:
    table = write_fake_corpus(tmp_path / "csv", speakers=1, per_speaker=2)
    folder = write_fake_corpus(tmp_path / "folders", speakers=1, per_speaker=2, layout="folder")
    rows = load_rows(folder)["train"]
    assert rows["label"] == ["high", "low"]
    clips = {Path(audio["path"]).name: Path(audio["path"]).read_bytes() for audio in rows["audio"]}
    assert clips == {path.name: path.read_bytes() for path in (table.parent / "audio").iterdir()}


def pitch_of(wave: np.ndarray) -> float:
    """Fundamental in Hz: the strongest lag of the autocorrelation from 100 to 190 Hz (less than an octave)."""
    spectrum = np.abs(np.fft.rfft(wave, 2 * len(wave))) ** 2
    correlation = np.fft.irfft(spectrum)[: len(wave)] / np.arange(len(wave), 0, -1)
    lags = np.arange(16_000 // 190, 16_000 // 100)
    return 16_000 / lags[correlation[lags].argmax()]


def test_the_pitch_is_the_class_s_and_the_spectrum_the_speaker_s(tmp_path: Path) -> None:
    rows = load_rows(write_fake_corpus(tmp_path, per_speaker=8))["train"]
    waves = [read_audio(audio) for audio in rows["audio"]]
    for wave, label in zip(waves, rows["label"], strict=True):
        assert pitch_of(wave) == pytest.approx({"low": 110, "high": 165}[label], rel=0.06)  # 5 %, and whole lags
    spectra = [np.abs(np.fft.rfft(wave[: len(wave) // 512 * 512].reshape(-1, 512))).mean(0) for wave in waves]
    features = np.log(np.array(spectra))
    names = LogisticRegression(max_iter=1000).fit(features[:-1:3], rows["speaker_id"][:-1:3])
    held_out = np.arange(len(waves)) % 3 != 0
    assert names.score(features[held_out], np.array(rows["speaker_id"])[held_out]) > 0.8


def test_a_corpus_that_makes_no_sense_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown layout of a corpus 'kaldi'; valid: csv, folder"):
        write_fake_corpus(tmp_path, layout="kaldi")
    with pytest.raises(InputError, match="0 < shortest <= longest"):
        write_fake_corpus(tmp_path, seconds=(2, 1))


# --- the fake IEMOCAP


def test_other_names_of_the_package_are_refused() -> None:
    assert {"BACKBONES", "write_fake_iemocap"} <= set(dir(hf_speech.testing))
    with pytest.raises(AttributeError, match="'hf_speech.testing' has no attribute 'write_fake_timit'"):
        hf_speech.testing.write_fake_timit  # noqa: B018


def test_a_fake_iemocap_has_the_layout_and_the_traps_of_the_real_one(tmp_path: Path) -> None:
    root = write_fake_iemocap(tmp_path / "new", dialogs=3, utterances=2, seconds=(0.1, 0.2))
    wavs = sorted(path for path in root.rglob("*.wav") if not path.name.startswith("."))
    assert len(wavs) == 5 * 6 * 2 and {len(path.relative_to(root).parts) for path in wavs} == {5}
    first = root / "Session1" / "sentences" / "wav"
    dialogs = ("impro01", "impro02", "script01_1")
    assert sorted(path.name for path in first.iterdir()) == [f"Ses01{m}_{d}" for m in "FM" for d in dialogs]
    assert {path.name for path in (first / "Ses01F_impro02").iterdir()} == {
        f"{twin}Ses01F_impro02_{talker}000.wav" for twin in ("", "._") for talker in "FM"
    }
    assert all(0.1 <= audio_info(path).duration <= 0.2 for path in wavs)
    with pytest.raises(InputError):
        audio_info(first / "Ses01F_impro02" / "._Ses01F_impro02_F000.wav")
    evaluations = root / "Session1" / "dialog" / "EmoEvaluation"
    folders = {path.name for path in evaluations.iterdir() if path.is_dir()}
    assert folders == {"Attribute", "Categorical", "Self-evaluation"} and len(list(evaluations.glob("*/*.txt"))) == 18
    text = (evaluations / "Ses01M_script01_1.txt").read_bytes()
    with pytest.raises(UnicodeDecodeError):
        text.decode("utf-8")
    # A clip is as long as its times say, and begins after the one before it.
    spans = [tuple(map(float, found)) for found in re.findall(r"\[([\d.]+) - ([\d.]+)\]", text.decode("latin-1"))]
    clips = sorted((first / "Ses01M_script01_1").glob("Ses*.wav"))
    assert [end - start for start, end in spans] == pytest.approx([sf.info(p).duration for p in clips], abs=2e-4)
    assert spans[0][1] < spans[1][0]


def test_a_fake_iemocap_has_the_labels_and_recordings_that_it_is_given(tmp_path: Path) -> None:
    given = {"ang": 31, "xxx": 7, "oth": 1}
    voices = []
    for number, value in enumerate((0.125, 0.25, 0.5)):
        voices.append(tmp_path / f"{number}.wav")
        sf.write(voices[-1], np.full(1_600, value), 16_000)
    root = write_fake_iemocap(tmp_path / "tree", labels=given, recordings=voices)
    texts = [path.read_text("latin-1") for path in root.glob("Session?/dialog/EmoEvaluation/Ses*.txt")]
    assert Counter(code for text in texts for code in re.findall(r"\tSes\w+\t(\w{3})\t", text)) == given
    clips = [sf.read(path)[0] for path in sorted(root.rglob("Ses*.wav"))]
    assert {(len(clip), clip.min(), clip.max()) for clip in clips} == {(1_600, v, v) for v in (0.125, 0.25, 0.5)}


def test_a_fake_iemocap_has_every_code_and_the_same_bytes_for_a_seed(tmp_path: Path) -> None:
    trees = []
    for name, seed in {"a": 0, "b": 0, "c": 1}.items():
        root = write_fake_iemocap(tmp_path / name, seconds=(0.05, 0.1), seed=seed)
        trees.append({path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()})
    same, again, other = trees
    assert same == again and same.keys() == other.keys() and same != other
    texts = [text for path, text in same.items() if path.parent.name == "EmoEvaluation" and path.name[0] == "S"]
    assert {code.decode() for text in texts for code in re.findall(rb"\t(\w{3})\t\[", text)} == set(WORDS)


def test_a_fake_iemocap_that_makes_no_sense_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown emotion of IEMOCAP 'joy'"):
        write_fake_iemocap(tmp_path, labels={"joy": 3})
    with pytest.raises(InputError, match="0 < shortest <= longest"):
        write_fake_iemocap(tmp_path, seconds=(0, 1))
