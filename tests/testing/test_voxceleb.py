"""The made-up VoxCeleb: names as the real ones have, audio that sounds the same whatever the container."""

import re
import zipfile

import numpy as np
import pytest

from hf_speech.audio import audio_info, read_audio
from hf_speech.errors import InputError
from hf_speech.testing import write_fake_voxceleb

ID = re.compile(r"id\d{5}/[\w-]{11}/\d{5}")
LITTLE = {"sessions": (2, 3), "utterances": (2, 3), "seconds": (0.2, 0.4)}


def files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("format", "inner"),
    [
        ("m4a", {"vox2_dev_aac": "dev/aac", "vox2_test_aac": "aac"}),
        ("wav", {"vox2_dev_wav": "wav", "vox2_test_wav": "wav"}),
    ],
)
def test_archives_are_named_and_laid_out_like_the_real_ones(tmp_path, format, inner):
    write_fake_voxceleb(tmp_path, format=format, **LITTLE)
    inner = {"vox1_dev_wav": "wav", "vox1_test_wav": "wav"} | inner
    assert {path.stem for path in tmp_path.glob("*.zip")} == set(inner)
    for stem, folder in inner.items():
        with zipfile.ZipFile(tmp_path / f"{stem}.zip") as archive:
            assert archive.testzip() is None
            members = archive.infolist()
        suffix = "m4a" if stem.endswith("aac") else "wav"
        for member in members:
            assert ID.fullmatch(member.filename.removeprefix(f"{folder}/").removesuffix(f".{suffix}"))
            assert member.compress_type == zipfile.ZIP_DEFLATED
        assert len({member.CRC for member in members}) == len(members)
        numbers = {int(re.search(r"id(\d+)", member.filename)[1]) for member in members}
        assert all((number > 10_000) == stem.startswith("vox1") for number in numbers)


def test_it_is_the_same_twice_and_another_with_another_seed(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        write_fake_voxceleb(tmp_path / name, seed=seed, layout="tree", format="wav", **LITTLE)
    first, second, other = (files(tmp_path / name) for name in "abc")
    assert first == second
    assert not {name for name in first if name.endswith(".wav")} & set(other)


def test_more_speakers_leave_the_first_ones_as_they_are(tmp_path):
    small = write_fake_voxceleb(tmp_path / "a", speakers={"vox2_dev": 2}, layout="tree", **LITTLE)
    large = write_fake_voxceleb(tmp_path / "b", speakers={"vox2_dev": 3}, layout="tree", **LITTLE)
    assert set(files(small / "voxceleb2")) < set(files(large / "voxceleb2"))


def test_wav_and_m4a_of_an_utterance_are_the_same_sound_and_the_right_length(tmp_path):
    for format in ("wav", "m4a"):
        write_fake_voxceleb(tmp_path / format, speakers={"vox2_dev": 2}, layout="tree", format=format, **LITTLE)
    wavs = sorted((tmp_path / "wav").rglob("*.wav"))
    m4as = sorted((tmp_path / "m4a").rglob("*.m4a"))
    assert len(wavs) == len(m4as) >= 8
    for wav, m4a in zip(wavs, m4as, strict=True):
        one, two = read_audio(wav), read_audio(m4a)
        assert audio_info(wav).samples == len(one) and 0.2 <= len(one) / 16_000 <= 0.4
        # AAC pads to whole frames of 1,024 samples and loses little at 64 kbit/s.
        assert 0 <= len(two) - len(one) < 2_048
        assert np.corrcoef(one, two[: len(one)])[0, 1] > 0.95


def test_a_speaker_speaks_a_recording_as_it_was(tmp_path, speech):
    recordings = sorted(speech.rglob("*.flac"))[:2]
    write_fake_voxceleb(
        tmp_path, speakers={"vox2_dev": 3}, layout="tree", format="wav", recordings=recordings, **LITTLE
    )
    for number, speaker in enumerate(sorted((tmp_path / "voxceleb2/train/wav").iterdir())):
        expected = read_audio(recordings[number % 2])
        for path in speaker.rglob("*.wav"):
            np.testing.assert_allclose(read_audio(path), expected, atol=1 / 32_768)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layout": "rar"}, "rar"),
        ({"format": "mp3"}, "mp3"),
        ({"speakers": {"vox3": 1}}, "vox3"),
        ({"speakers": {"vox1_test": 41}}, "41 speakers in vox1_test: it has 1 to 40"),
        ({"sessions": (3, 2)}, "0 < least <= most"),
    ],
)
def test_what_makes_no_corpus_is_refused(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        write_fake_voxceleb(tmp_path, **options)
