"""Folders of sounds, in the layouts of MUSAN and RIRS_NOISES and in none: what is found, read and refused."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from hf_speech.data.drawing import Babble, Noise, Reverb
from hf_speech.data.sound_folders import Sound, one_sound, read_piece, read_response, sounds_in
from hf_speech.errors import InputError

from .signals import RATE, rng

MUSAN = (
    "noise/free-sound/noise-free-sound-0001.wav",
    "noise/sound-bible/noise-sound-bible-0000.wav",
    "music/fma/music-fma-0002.wav",
    "speech/librivox/speech-librivox-0000.wav",
    "speech/us-gov/speech-us-gov-0010.wav",
)
RIRS = (
    "simulated_rirs/smallroom/Room001/Room001-00002.wav",
    "simulated_rirs/largeroom/Room001/Room001-00001.wav",
    "real_rirs_isotropic_noises/air_type1_air_booth_0_0_1.wav",
    "real_rirs_isotropic_noises/RVB2014_type1_noise_largeroom1_1.wav",
    "pointsource_noises/noise-free-sound-0000.wav",
)
Layout = Callable[[Sequence[str]], Path]


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """layout(paths) -> a folder with a wav of 0.1 s at each of them, and files that are no audio beside them."""

    def write(paths: Sequence[str]) -> Path:
        for path in paths:
            file = tmp_path / "root" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            sf.write(file, np.full(1600, 0.25), RATE)
            (file.parent / "ANNOTATIONS").write_text("no audio")
        return tmp_path / "root"

    return write


def names(folder: Path, kind: str) -> list[str]:
    return [Path(sound.path).relative_to(folder).as_posix() for sound in sounds_in(str(folder), kind)]


def test_of_musan_s_root_noise_and_music_are_noise_and_speech_is_babble(layout: Layout) -> None:
    root = layout(MUSAN)
    assert names(root, "noise") == [MUSAN[2], MUSAN[0], MUSAN[1]]
    assert names(root, "babble") == [MUSAN[3], MUSAN[4]]
    assert names(root / "noise", "noise") == [path.removeprefix("noise/") for path in MUSAN[:2]]


def test_of_rirs_noises_the_responses_are_taken_without_the_noises(layout: Layout) -> None:
    root = layout(RIRS)
    assert names(root, "reverb") == [RIRS[2], RIRS[1], RIRS[0]]
    real = root / "real_rirs_isotropic_noises"
    assert names(real, "reverb") == [Path(RIRS[2]).name]
    with pytest.raises(InputError, match=r"^reverb.folder .*pointsource_noises: nothing but noises in it"):
        Reverb(folder=str(root / "pointsource_noises"))


def test_any_other_folder_is_taken_whole_in_the_order_of_its_paths(layout: Layout) -> None:
    root = layout(["b/1.wav", "a/2.wav", "c.wav", "a/10.wav", ".hidden/0.wav", "speech/3.wav"])
    for kind in ("noise", "babble", "reverb"):
        assert names(root, kind) == ["a/10.wav", "a/2.wav", "b/1.wav", "c.wav", "speech/3.wav"]
    assert sounds_in(str(root), "noise") is sounds_in(str(root), "noise")  # it is listed once


@pytest.mark.parametrize("kind", [Noise, Babble, Reverb])
def test_a_folder_that_can_t_be_used_is_refused_by_field_and_name(tmp_path: Path, kind: type) -> None:
    field = f"{kind.name}.folder"
    with pytest.raises(InputError, match=f"^{field} {tmp_path}/gone: there is no such folder"):
        kind(folder=f"{tmp_path}/gone")
    with pytest.raises(InputError, match=f"^{field} 3: give the path of a folder"):
        kind(folder=3)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match=f"^{field} {empty}: no audio files in this folder"):
        kind(folder=str(empty))
    (empty / "list.txt").write_text("nothing to hear")
    with pytest.raises(InputError, match=f"^{field} {empty}: no audio files in this folder"):
        kind(folder=str(empty))
    for name, content in (("text.wav", b"this is text"), ("none.wav", b"")):
        (empty / name).write_bytes(content)
    sf.write(empty / "short.wav", np.zeros(0), RATE)
    sf.write(empty / "whole.wav", np.zeros(10), RATE)
    with pytest.raises(
        InputError, match=f"^{field} {empty}: 3 files can't be used.*none.wav.*short.wav.*text.wav"
    ) as said:
        kind(folder=str(empty))
    assert "whole.wav" not in str(said.value) and "\n" not in str(said.value)


def test_a_file_that_is_broken_further_in_is_named_when_it_is_read(tmp_path: Path) -> None:
    sf.write(tmp_path / "a.wav", np.full(RATE, 0.5), RATE)
    (sound,) = sounds_in(str(tmp_path), "noise")
    (tmp_path / "a.wav").unlink()
    with pytest.raises(InputError, match=f"^{tmp_path}/a.wav"):
        read_piece(sound, 100, RATE, rng())


@pytest.mark.parametrize("rate", [RATE, 8_000])
def test_a_piece_is_read_from_anywhere_and_begun_anew_where_the_file_is_short(tmp_path: Path, rate: int) -> None:
    """A ramp, so that each sample tells its place; at half the rate, in steps of two."""
    sf.write(tmp_path / "ramp.wav", np.arange(1600, dtype=np.int16), RATE)
    (sound,) = sounds_in(str(tmp_path), "noise")
    step, there = RATE // rate, 1600 * rate // RATE
    starts = set()
    for seed in range(40):
        cut = read_piece(sound, 50, rate, rng(seed)) * 32_768 / step
        starts.add(round(cut[25]) - 25)
        assert cut.shape == (50,) and np.diff(cut[5:-5]) == pytest.approx(np.ones(39), abs=0.3)
    assert len(starts) > 25 and 0 <= min(starts) and max(starts) <= there - 50
    long = read_piece(sound, 5000, rate, rng(1))
    assert long.shape == (5000,) and np.array_equal(long[:there], long[there : 2 * there])
    assert read_piece(sound, there, rate, rng(2)).shape == (there,)


def test_one_channel_of_a_response_is_drawn(tmp_path: Path) -> None:
    sf.write(tmp_path / "array.wav", np.eye(8)[:, :4] * 0.5, RATE)
    (sound,) = sounds_in(str(tmp_path), "reverb")
    drawn = {}
    for seed in range(40):
        response, channel = read_response(sound, RATE, rng(seed))
        drawn[channel] = int(response.argmax())
        assert response.shape == (8,)
    assert drawn == {0: 0, 1: 1, 2: 2, 3: 3}
    sf.write(tmp_path / "silent.wav", np.zeros(10), RATE)
    with pytest.raises(InputError, match="silent.wav: channel 0 is silent"):
        read_response(Sound(str(tmp_path / "silent.wav"), sound.info.__class__(10, RATE, 1)), RATE, rng())


def test_all_sounds_are_drawn(layout: Layout) -> None:
    sounds = sounds_in(str(layout(RIRS)), "reverb")
    assert {one_sound(sounds, rng(seed)).name for seed in range(30)} == {sound.name for sound in sounds}
