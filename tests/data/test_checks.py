from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
from datasets import Dataset

from hf_speech.audio import AudioInfo, read_audio
from hf_speech.data.checks import MIN_SAMPLES, check_rows, span_of
from hf_speech.data.problems import Problem
from hf_speech.data.readers import load_rows
from hf_speech.errors import InputError

Writer = Callable[..., Path]


def rows_of(*files: Path | str, **more: Any) -> Dataset:
    return Dataset.from_dict({"audio": [{"bytes": None, "path": str(file)} for file in files], **more})


def truncated(path: Path) -> Path:
    """The same file, cut in the middle."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


@pytest.mark.parametrize("how", ["full", "headers"])
def test_lengths_are_at_16_khz_whatever_the_file_s_rate(write_tone: Writer, how: str) -> None:
    files = [write_tone("a.wav", 16_000), write_tone("b.flac", 44_100, 44_100, 2), write_tone("c.wav", 4_000, 8_000)]
    rows, bad = check_rows(rows_of(*files), how=how)
    assert rows["length"] == [16_000, 16_000, 8_000] and rows["duration"] == [1.0, 1.0, 0.5]
    assert bad == []


def test_lengths_of_real_speech_are_those_of_the_decoded_waveforms(speech: Path) -> None:
    source = load_rows(speech / "emotion")["train"].select(range(0, 351, 30))
    rows, _ = check_rows(source, how="headers")
    assert rows["length"] == [len(read_audio(audio)) for audio in source["audio"]]
    np.testing.assert_allclose(rows["duration"], [float(d) for d in source["duration"]], atol=0.001)


def test_embedded_bytes_are_checked(embedded: Dataset, tmp_path: Path) -> None:
    embedded.to_parquet(str(tmp_path / "train.parquet"))
    source = load_rows(tmp_path)["train"]
    rows, bad = check_rows(source)
    assert rows["length"] == [len(read_audio(audio)) for audio in source["audio"]] and not bad
    broken = Dataset.from_list([{"audio": {"bytes": b"RIFF", "path": "x.wav"}}, *source.select_columns(["audio"])])
    with pytest.raises(InputError, match="row 0, <bytes of x.wav>: "):
        check_rows(broken)


def test_all_bad_files_are_listed_at_once_with_the_mend(write_tone: Writer, tmp_path: Path) -> None:
    good = write_tone("good.wav")
    cut, cut_flac = truncated(write_tone("cut.wav")), truncated(write_tone("cut.flac"))
    (tmp_path / "empty.wav").touch()
    nan = tmp_path / "nan.wav"
    sf.write(nan, np.array([0.0] * 8000 + [np.nan] * 2 + [0.0] * 100_000, dtype=np.float32), 16_000, subtype="FLOAT")
    files = [good, cut, tmp_path / "gone.wav", cut_flac, tmp_path / "empty.wav", nan]
    with pytest.raises(InputError) as caught:
        check_rows(rows_of(*files))
    message = str(caught.value)
    assert message.startswith("5 of 6 rows have bad audio (leave such rows out with --on-bad-audio skip): row 1, ")
    assert all(str(file) in message for file in files[1:]) and "good.wav" not in message and "\n" not in message
    rows, bad = check_rows(rows_of(*files), on_bad="skip")
    assert [audio["path"] for audio in rows["audio"]] == [str(good)] and rows["length"] == [16_000]
    assert [(b.row, b.file) for b in bad] == [(i, str(files[i])) for i in range(1, 6)]
    assert "NaN" in bad[4].reason and "no such file" in bad[1].reason
    assert not any(b.file in b.reason for b in bad)


def test_headers_find_what_the_header_shows_and_not_a_nan_early_on(write_tone: Writer, tmp_path: Path) -> None:
    nan = tmp_path / "nan.wav"
    sf.write(nan, np.array([np.nan] + [0.0] * 200_000, dtype=np.float32), 16_000, subtype="FLOAT")
    files = [nan, truncated(write_tone("cut.wav"))]
    assert [b.row for b in check_rows(rows_of(*files), how="headers", on_bad="skip")[1]] == [1]


def test_all_bad_is_an_error_even_when_skipping() -> None:
    with pytest.raises(InputError, match=r"2 of 2 rows have bad audio \(there is no good row\)"):
        check_rows(rows_of("/no/a.wav", "/no/b.wav"), on_bad="skip")


def test_one_sample_under_the_receptive_field_is_refused(write_tone: Writer) -> None:
    files = [write_tone("fits.wav", MIN_SAMPLES), write_tone("short.wav", MIN_SAMPLES - 1)]
    assert MIN_SAMPLES == 400
    _, bad = check_rows(rows_of(*files), on_bad="skip")
    assert [b.file for b in bad] == [str(files[1])]
    assert bad[0].reason == "0.0249 s long, at least 0.025 s are wanted; leave it out"


def test_segments_have_lengths_of_their_own_and_share_one_look_at_the_file(write_tone: Writer) -> None:
    file = write_tone("a.wav", 48_000)  # 3 s
    spans = [(None, None), (0.5, 1.25), (1.0, None), (2.0, 3.015), (2.0, 3.03), (1.0, 1.0), (-1.0, 1.0), (2.99, 3.0)]
    source = rows_of(*[file] * len(spans), start=[s for s, _ in spans], end=[e for _, e in spans])
    rows, bad = check_rows(source, on_bad="skip")
    assert rows["length"] == [48_000, 12_000, 32_000, 16_000]
    assert rows["duration"] == pytest.approx([3.0, 0.75, 2.0, 1.0])
    assert [b.row for b in bad] == [4, 5, 6, 7]
    assert "end 3.03 s is beyond the file's 3.000 s" in bad[0].reason
    assert "start 1 s is not before end 1 s" in bad[1].reason


def test_a_channel_that_is_not_there(write_tone: Writer) -> None:
    files = [write_tone("mono.wav"), write_tone("stereo.wav", channels=2)]
    rows, bad = check_rows(rows_of(*files), channel=1, on_bad="skip")
    assert len(rows) == 1 and bad[0].reason.startswith("no channel 1, it has 1")


def test_wrong_words_and_streams_are_refused(corpus: Path) -> None:
    with pytest.raises(InputError, match="unknown way to check audio 'fast'; valid: full, headers"):
        check_rows(rows_of("a.wav"), how="fast")
    with pytest.raises(InputError, match="unknown answer to bad audio 'drop'; valid: raise, skip"):
        check_rows(rows_of("a.wav"), on_bad="drop")
    with pytest.raises(InputError, match="streamed rows"):
        check_rows(load_rows(corpus, streaming=True)["train"])


def test_a_row_s_own_channel_is_the_one_that_must_be_there(write_tone: Writer) -> None:
    two, one = write_tone("two.wav", channels=2), write_tone("one.wav")
    rows, bad = check_rows(rows_of(two, two, one, channel=[1, 0, None]), channel=0)
    assert len(rows) == 3 and not bad
    # The same file twice: looked at once, judged by each row's channel.
    with pytest.raises(InputError, match=r"2 of 4 rows .*row 1, .*two.wav: no channel 2, .*row 3, .*one.wav: no chan"):
        check_rows(rows_of(two, two, one, one, channel=[1, 2, None, 1]))
    with pytest.raises(InputError, match="row 2, .*one.wav: no channel 1, it has 1"):
        check_rows(rows_of(two, two, one, channel=[0, 1, None]), channel=1)


def test_a_segment_of_just_one_receptive_field_is_long_enough() -> None:
    info = AudioInfo(samples=48_000, sample_rate=16_000, channels=1)
    assert 2.0 - 1.975 < 0.025  # as floats
    assert span_of({"start": 1.975, "end": 2.0}, info) == (400, 2.0 - 1.975)
    short = span_of({"start": 1.97506, "end": 2.0}, info)
    assert isinstance(short, Problem) and short.kind == "too short"
