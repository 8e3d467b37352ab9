"""The files that show what an augmentation does: one of each kind, or draws; whole, unclipped, and as they are told."""

from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from hf_speech.cli import main
from hf_speech.data.augment import Augmentation
from hf_speech.data.drawing import Babble, Gain, Noise, Reverb
from hf_speech.data.listening import not_shown, write_examples
from hf_speech.errors import InputError
from tests.sounds import voice_like

from .signals import RATE, decibels, tone


@pytest.fixture
def voice(tmp_path: Path) -> Path:
    path = tmp_path / "voice.wav"
    sf.write(path, voice_like(1.0), RATE)
    return path


def test_every_kind_is_written_once(voice: Path, tmp_path: Path) -> None:
    written = write_examples(voice, tmp_path / "out" / "deep")
    kinds = "speed-0.9 speed-1.1 reverb noise-white noise-pink noise-brown telephone lowpass mu_law gain".split()
    assert [example.path.name for example in written] == [f"voice-{kind}.wav" for kind in kinds]
    clean, _ = sf.read(voice)
    for example, kind in zip(written, kinds, strict=True):
        info = sf.info(example.path)
        assert (info.subtype, info.samplerate, info.channels) == ("PCM_16", RATE, 1)
        made, _ = sf.read(example.path)
        speed = float(kind.removeprefix("speed-")) if kind.startswith("speed") else 1.0
        assert len(made) == int(np.ceil(len(clean) / speed))
        assert speed != 1 or np.abs(made - clean).max() > 1e-3


def test_what_is_told_of_a_mixture_is_what_lies_in_the_file(voice: Path, tmp_path: Path) -> None:
    plan = Augmentation(noise=Noise(probability=1, snr=[4, 9]))
    clean, _ = sf.read(voice)
    for example in write_examples(voice, tmp_path / "out", plan, count=3):
        made, _ = sf.read(example.path)
        measured = decibels(clean, made - clean)
        assert 4 <= measured <= 9
        assert example.told.split(" noise at ")[1] == f"{measured:.1f} dB (measured {measured:.1f} dB)"


def test_draws_follow_the_seed_and_their_names_say_what_they_hold(voice: Path, tmp_path: Path) -> None:
    plan = Augmentation(speeds=[0.9], reverb=Reverb(probability=0.5), gain=Gain(probability=0.5))
    first = write_examples(voice, tmp_path / "a", plan, count=8, seed=3)
    again = write_examples(voice, tmp_path / "b", plan, count=8, seed=3)
    other = write_examples(voice, tmp_path / "c", plan, count=8, seed=4)
    assert [e.path.read_bytes() for e in first] == [e.path.read_bytes() for e in again]
    assert [e.told for e in first] == [e.told for e in again] != [e.told for e in other]
    assert len({e.path.name.split("-0")[1] for e in first}) > 1
    for number, example in enumerate(first, 1):
        assert example.path.name.startswith("voice-speed-0.9") and example.path.stem.endswith(f"-{number:02d}")
        assert ("reverb" in example.path.name) == ("room" in example.told)
        assert ("gain" in example.path.name) == ("gain" in example.told)


def test_babble_is_shown_where_it_has_a_folder(voice: Path, tmp_path: Path) -> None:
    (tmp_path / "voices").mkdir()
    for i in range(3):
        sf.write(tmp_path / "voices" / f"{i}.wav", tone(300 + 100 * i), RATE)
    written = write_examples(voice, tmp_path / "out", Augmentation(babble=Babble(folder=str(tmp_path / "voices"))))
    (example,) = [e for e in written if "babble" in e.path.name]
    assert len(written) == 11 and "babble of" in example.told and "(measured" in example.told


def test_nothing_is_clipped_and_what_is_made_softer_is_told(tmp_path: Path) -> None:
    loud = tmp_path / "loud.wav"
    sf.write(loud, 1.9 * tone(400), RATE)
    plan = Augmentation(gain=Gain(probability=1, db=[6, 6]))
    (example,) = write_examples(loud, tmp_path, plan)
    made, _ = sf.read(example.path)
    assert example.told == "gain +0.4 dB (+6.0 dB drawn, which would pass full scale)"
    np.testing.assert_allclose(made, tone(400) / 0.5, atol=1e-4)  # a tone yet, at full scale
    given, _ = sf.read(loud)
    assert decibels(made, given) == pytest.approx(0.4, abs=0.05)  # what is told is what is heard


def test_a_peak_that_is_as_good_as_full_scale_is_not_told_of(tmp_path: Path) -> None:
    loud = tmp_path / "loud.wav"
    peak = float(np.abs(tone(400)).max())
    sf.write(loud, tone(400) / peak, RATE, subtype="FLOAT")
    for db, told in ((0.04, "gain +0.0 dB"), (0.2, "gain +0.0 dB (+0.2 dB drawn, which would pass full scale)")):
        (example,) = write_examples(loud, tmp_path / "out", Augmentation(gain=Gain(probability=1, db=[db, db])))
        assert example.told == told
    noise = Augmentation(noise=Noise(probability=1, snr=[10, 10]))
    (example,) = write_examples(loud, tmp_path / "out", noise)
    assert " dB softer, to stay within full scale" in example.told and " 0.0 dB softer" not in example.told


def test_babble_that_one_recording_can_not_show_is_told_of() -> None:
    assert not_shown(None) == not_shown(Augmentation(babble=Babble(probability=0.2)))
    assert not_shown(None).startswith("babble is not shown") and "--babble.folder" in not_shown(None)
    assert not_shown(Augmentation(noise=Noise(probability=0.5))) == ""


def test_the_command_tells_of_babble_and_of_a_recipe_that_augments_nothing(
    voice: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["augment", str(voice), "--output-dir", str(tmp_path / "out")]
    assert main([*words, "--recipe", "wavlm-lora-voxceleb"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == not_shown(None)
    assert main([*words, "--recipe", "wav2vec2-iemocap-vft"]) == 2
    said = "hf-speech augment: --recipe wav2vec2-iemocap-vft: it has no augment; leave --recipe out, or give another\n"
    assert capsys.readouterr().err == said


def test_bad_input_is_named(voice: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="gone.wav"):
        write_examples(tmp_path / "gone.wav", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="count 0"):
        write_examples(voice, tmp_path / "out", count=0)
    with pytest.raises(InputError, match="voice.wav: this folder can't be made"):
        write_examples(voice, voice)
