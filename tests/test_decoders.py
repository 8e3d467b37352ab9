"""Every format: crops are slices of the whole, lengths are known from headers, and broken files are found."""

import gc
import io
import weakref
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from hf_speech.audio import AudioInfo, audio_info, check_audio, read_audio
from hf_speech.decoders import BLOCK, _gathered
from hf_speech.errors import InputError

from .sounds import AV_CONTAINERS, FORMATS, CountingFile, voice_like, write_av, write_every_format, write_lame
from .sphere import sphere_bytes, stereo


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_every_format(tmp_path_factory.mktemp("formats"))


@pytest.mark.parametrize("suffix", [*FORMATS, *AV_CONTAINERS])
@pytest.mark.parametrize("rate", [16_000, 24_000])
def test_a_crop_is_the_slice_of_the_whole(files, suffix, rate):
    whole = read_audio(files[suffix], sample_rate=rate)
    for start, duration in [(0.0, 1.0), (7.0313, 2.0), (20.0, None), (19.9, 5.0), (0.26, 0.1)]:
        crop = read_audio(files[suffix], sample_rate=rate, start=start, duration=duration)
        first = round(start * rate)
        expected = whole[first:] if duration is None else whole[first : first + round(duration * rate)]
        assert len(crop) == len(expected) > 0
        np.testing.assert_allclose(crop, expected, atol=1e-4 if rate != 16_000 else 1e-6)


@pytest.mark.parametrize("rate", [8_000, 16_000])
def test_mp3_with_a_full_bit_reservoir(tmp_path, rate):
    """Blocks and crops are what one decode of the whole gives, though libmpg123's seek forgets the reservoir."""
    path = write_lame(tmp_path / "a.mp3", voice_like(12.0, rate), rate, {})
    whole = sf.read(path, dtype="float32")[0]
    np.testing.assert_allclose(read_audio(path, sample_rate=rate), whole, atol=1e-6)
    for start in np.random.default_rng(1).uniform(0, 11.9, 40):
        crop = read_audio(path, sample_rate=rate, start=start, duration=0.2)
        expected = whole[round(start * rate) :][: round(0.2 * rate)]
        np.testing.assert_allclose(crop, expected, atol=1e-6)


@pytest.mark.parametrize(("suffix", "rate"), [("mp3", 8_000), ("mp3", 44_100), ("ogg", 22_050), ("m4a", 44_100)])
def test_crops_from_anywhere_at_other_rates(tmp_path, suffix, rate):
    """Where seeking is known to go wrong: MP3's bit reservoir, the last page of Ogg, AAC's overlap."""
    path = tmp_path / f"a.{suffix}"
    if suffix == "m4a":
        write_av(path, voice_like(8.0, rate), rate, "ipod", {}, pns=False)
    else:
        sf.write(path, voice_like(8.0, rate), rate, **FORMATS[suffix])
    whole = read_audio(path, sample_rate=rate)
    for start in np.random.default_rng(0).uniform(0, 7.9, 60):
        crop = read_audio(path, sample_rate=rate, start=start, duration=0.3)
        expected = whole[round(start * rate) :][: round(0.3 * rate)]
        np.testing.assert_allclose(crop, expected, atol=1e-6)


def test_noise_that_aac_makes_up_moves_no_sample(tmp_path):
    path = write_av(tmp_path / "a.m4a", voice_like(8.0, 44_100), 44_100, "ipod", {}, pns=True)
    whole = read_audio(path, sample_rate=44_100)
    crop = read_audio(path, sample_rate=44_100, start=4.0, duration=0.5)
    agreement = [np.corrcoef(crop, whole[at : at + len(crop)])[0, 1] for at in range(176_390, 176_411)]
    assert np.argmax(agreement) == 10 and agreement[10] > 0.99


@pytest.mark.parametrize("suffix", [*FORMATS, *AV_CONTAINERS])
def test_formats_keep_the_sound(files, suffix):
    original = voice_like(20.3)
    decoded = read_audio(files[suffix], start=5.0, duration=10.0)
    # Raw AAC and fragmented MP4 have no edit list that hides the encoder's first frame.
    delay = 1024 if suffix in ("aac", "fragmented.mp4") else 0
    if suffix == "mp3":
        delay = int(np.argmax(np.correlate(decoded[2000:8000], original[80_000:86_000], "full"))) - 5999 + 2000
    first = 80_000 - delay
    assert np.corrcoef(decoded, original[first : first + len(decoded)])[0, 1] > 0.98


@pytest.mark.parametrize(("suffix", "share"), [("wav", 0.02), ("flac", 0.05), ("faststart.m4a", 0.12), ("m4a", 0.12)])
def test_a_crop_reads_only_what_it_needs(tmp_path, suffix, share):
    sound = voice_like(120.0)
    path = tmp_path / f"long.{suffix}"
    if suffix in FORMATS:
        sf.write(path, sound, 16_000, **FORMATS[suffix])
    else:
        write_av(path, sound, 16_000, *AV_CONTAINERS[suffix])
    data = path.read_bytes()
    file = CountingFile(data)
    crop = read_audio(file, start=100.0, duration=1.0)
    assert len(crop) == 16_000
    assert file.count < share * len(data)
    np.testing.assert_allclose(crop, read_audio(path)[1_600_000:1_616_000], atol=1e-6)


@pytest.mark.parametrize("suffix", [*FORMATS, *AV_CONTAINERS])
def test_header_lengths(files, suffix):
    decoded = len(read_audio(files[suffix]))
    slack = 32 if suffix in ("mka", "aac") else 0  # time stamps of whole milliseconds; one packet's rounding
    assert abs(audio_info(files[suffix]).samples - decoded) <= slack
    assert check_audio(files[suffix]).samples == decoded


def test_info_reads_the_header_only(files):
    for suffix in ("wav", "flac", "mp3"):
        file = CountingFile(files[suffix].read_bytes())
        assert audio_info(file).duration == pytest.approx(20.3, abs=0.1)
        assert file.count < 20_000


def test_mp3_without_a_length_is_counted_not_guessed(tmp_path):
    path = write_lame(tmp_path / "bare.mp3", voice_like(3.0), 16_000, {"write_xing": "0"})
    assert b"Xing" not in path.read_bytes() and b"Info" not in path.read_bytes()
    assert audio_info(path).samples == len(read_audio(path)) == check_audio(path).samples
    whole = read_audio(path)
    np.testing.assert_allclose(read_audio(path, start=1.0, duration=0.5), whole[16_000:24_000], atol=1e-6)


def test_flac_from_a_pipe_has_no_length_and_is_read_all_the_same(tmp_path):
    sound = voice_like(2.0)
    sf.write(tmp_path / "a.flac", sound, 16_000)
    data = bytearray((tmp_path / "a.flac").read_bytes())
    # STREAMINFO: 36 bits of sample count end 8 bytes into the rate word (FLAC format, METADATA_BLOCK_STREAMINFO).
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    np.testing.assert_allclose(read_audio(bytes(data)), read_audio(tmp_path / "a.flac"), atol=1e-7)
    assert audio_info(bytes(data)).samples == 32_000


def test_wav_from_a_pipe_has_no_length_and_is_read_all_the_same():
    buffer = io.BytesIO()
    sf.write(buffer, voice_like(1.0), 16_000, format="WAV")
    data = bytearray(buffer.getvalue())
    at = data.index(b"data") + 4
    data[at : at + 4] = b"\xff" * 4
    assert len(read_audio(bytes(data))) == 16_000


@pytest.mark.parametrize("suffix", ["wav", "float.wav", "flac", "ogg", "mp3", "m4a", "faststart.m4a"])
@pytest.mark.parametrize("keep", [0.3, 0.9])
def test_truncated_files_are_found(files, suffix, keep, tmp_path):
    data = files[suffix].read_bytes()
    path = tmp_path / f"cut.{suffix}"
    path.write_bytes(data[: int(len(data) * keep)])
    for fault in (lambda: check_audio(path), lambda: check_audio(path, whole=False), lambda: read_audio(path)):
        with pytest.raises(InputError, match=r"cut\..*truncated") as caught:
            fault()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3", "m4a", "aac", "mka"])
def test_whole_files_pass_the_cheap_check(files, suffix):
    expected = audio_info(files[suffix])
    assert check_audio(files[suffix], whole=False) == expected


def test_damage_inside_a_flac_is_found(files):
    data = bytearray(files["flac"].read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3000] = bytes(3000)
    with pytest.raises(InputError, match="truncated or damaged"):
        check_audio(bytes(data))


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3", "m4a", "fragmented.mp4", "aac", "mka"])
def test_spoilt_bytes_never_show_a_library_error(files, suffix):
    """Headers with wrong bytes: unknown codecs, rates of 0 Hz, impossible sizes; either it is read or it is named."""
    rng = np.random.default_rng(3)
    whole = files[suffix].read_bytes()
    named = 0
    for _ in range(25):
        data = bytearray(whole)
        head = 3000 if suffix == "fragmented.mp4" else 200
        places = rng.integers(0, head, 6) if suffix != "m4a" else len(data) - rng.integers(1, 900, 6)
        for place in places:
            data[place] = rng.integers(256)
        for look in (audio_info, lambda data: read_audio(data, start=0.1, duration=0.05), check_audio):
            try:
                look(bytes(data))
            except InputError as error:
                assert "\n" not in str(error)
                named += 1
    assert named > 0


@pytest.mark.parametrize(("coding", "order", "atol"), [("pcm", "01", 0), ("pcm", "10", 0), ("ulaw", "1", 0.02)])
def test_sphere_of_two_channels(tmp_path, coding, order, atol):
    """Two-channel telephone speech as NIST ships it; mu-law is right to within its step."""
    path, written = tmp_path / "a.sph", stereo(2.0)
    path.write_bytes(sphere_bytes(written, coding, order))
    assert audio_info(path) == AudioInfo(samples=16_000, sample_rate=8_000, channels=2)
    for channel in (0, 1):
        whole = read_audio(path, sample_rate=8_000, channel=channel)
        np.testing.assert_allclose(whole, written[:, channel], atol=atol)
        crop = read_audio(path, sample_rate=8_000, start=0.5, duration=1.0, channel=channel)
        np.testing.assert_array_equal(crop, whole[4_000:12_000])


def test_sphere_that_was_cut_or_compressed_is_refused(tmp_path):
    path = tmp_path / "a.sph"
    content = sphere_bytes(stereo(2.0))
    path.write_bytes(content[:-100])
    with pytest.raises(InputError, match="its header says 64000 bytes of sound, 63900 are there"):
        audio_info(path)
    path.write_bytes(content + b"what stands behind is no sound")
    assert audio_info(path).channels == 2
    path.write_bytes(sphere_bytes(stereo(2.0), "ulaw,embedded-shorten-v2.00"))
    with pytest.raises(InputError, match=r"compressed SPHERE \(shorten\); unpack it first with sph2pipe"):
        audio_info(path)
    path.write_bytes(content[:500])
    with pytest.raises(InputError):
        audio_info(path)


def test_frames_are_put_together_where_the_channels_stay():
    mono, stereo = np.arange(1000, dtype=np.float32)[None], np.ones((2, 700), np.float32)
    blocks = list(_gathered([mono[:, :0], mono, mono[:, :300], stereo[:, :0], stereo, stereo]))
    assert [block.shape for block in blocks] == [(1, 1300), (2, 1400)]
    assert np.array_equal(blocks[0][0], np.concatenate([mono[0], mono[0, :300]]))


def test_frames_are_put_together_up_to_a_block():
    frame = np.zeros((1, 1024), np.float32)
    sizes = [block.shape[1] for block in _gathered(frame for _ in range(3 * BLOCK // 1024 + 1))]
    assert sizes == [BLOCK, BLOCK, BLOCK, 1024]


def test_frames_before_a_crop_are_not_kept():
    seen = []

    def frames():
        for _ in range(50):  # before the crop: nothing of them is wanted
            frame = np.zeros((1, 1024), np.float32)
            seen.append(weakref.ref(frame))
            yield frame[:, :0]
            del frame
        gc.collect()
        assert sum(one() is not None for one in seen) <= 1  # the last may still be the caller's
        yield np.zeros((1, 1024), np.float32)

    assert len(list(_gathered(frames()))) == 1
