"""The made-up meetings: their tree, their RTTM against their sound, and turns taken from given recordings."""

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from hf_speech.data.problems import Problems
from hf_speech.data.rttm import overlap_seconds, read_rttm
from hf_speech.errors import InputError
from hf_speech.testing import write_fake_aishell4


def test_tree_and_names(tmp_path: Path):
    folder = write_fake_aishell4(tmp_path, meetings={"train_M": 1, "test": 2}, turns=5, channels=2)
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*")) == [
        "test/TextGrid/L_R002S01C01.TextGrid",
        "test/TextGrid/L_R002S01C01.rttm",
        "test/TextGrid/M_R002S02C01.TextGrid",
        "test/TextGrid/M_R002S02C01.rttm",
        "test/wav/L_R002S01C01.flac",
        "test/wav/M_R002S02C01.flac",
        "train_M/TextGrid/20200601_M_R001S01C01.TextGrid",
        "train_M/TextGrid/20200601_M_R001S01C01.rttm",
        "train_M/wav/20200601_M_R001S01C01.flac",
    ]
    info = sf.info(folder / "test" / "wav" / "L_R002S01C01.flac")
    assert (info.channels, info.samplerate, info.subtype) == (2, 16_000, "PCM_16")


def test_turns_overlap_now_and_then_but_never_with_the_speaker_s_own(tmp_path: Path):
    write_fake_aishell4(tmp_path, turns=60, channels=1)
    for path in tmp_path.rglob("*.rttm"):
        turns = read_rttm(path, Problems())
        assert len(turns) == 60 and 5 < sum(turn.duration < 1.5 for turn in turns) < 40
        assert 5 < sum(seconds > 0 for seconds in overlap_seconds(turns)) < 60
        for speaker in {turn.speaker for turn in turns}:
            mine = sorted((turn.start, turn.end) for turn in turns if turn.speaker == speaker)
            assert all(end <= start for (_, end), (start, _) in zip(mine[:-1], mine[1:], strict=True))
        # The TextGrid says the same: as many spoken intervals, and tiers that cover the meeting without a hole.
        text = path.with_suffix(".TextGrid").read_text()
        assert text.count('text = "<sil>"') == 60
        spans = re.findall(r"            xmin = ([\d.]+)\n            xmax = ([\d.]+)", text)
        assert all(a == b or float(b) == 0 for (_, a), (b, _) in zip(spans[:-1], spans[1:], strict=True))


def test_the_same_seed_gives_the_same_meetings(tmp_path: Path):
    trees = [write_fake_aishell4(tmp_path / str(i), turns=4, channels=2, seed=seed) for i, seed in enumerate((1, 1, 2))]
    sounds = [sorted(tree.rglob("*.flac")) for tree in trees]
    assert [p.read_bytes() for p in sounds[0]] == [p.read_bytes() for p in sounds[1]]
    assert [p.read_bytes() for p in sounds[0]] != [p.read_bytes() for p in sounds[2]]


def test_turns_from_recordings(tmp_path: Path):
    voices = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 8_000))
    for number, voice in enumerate(voices):
        sf.write(tmp_path / f"{number}.wav", voice, 16_000)
    given = [tmp_path / "0.wav", tmp_path / "1.wav"]
    options = {"meetings": {"train_S": 1}, "speakers": 2, "turns": 6, "channels": 1, "gap": (0.1, 0.2)}
    folder = write_fake_aishell4(tmp_path / "tree", recordings=given, **options)
    sound = sf.read(next(folder.rglob("*.flac")))[0]
    for turn in read_rttm(next(folder.rglob("*.rttm")), Problems()):
        heard = sound[round(turn.start * 16_000) : round(turn.end * 16_000)]
        expected = 0.5 * np.resize(voices[int(turn.speaker[:3]) - 1], len(heard))  # over and over
        assert np.abs(heard - expected).max() < 0.01  # ten times the noise


def test_numbers_that_make_no_meeting_are_refused(tmp_path: Path):
    for wrong in ({"turns": 0}, {"seconds": (2.0, 1.0)}, {"gap": (-1.0, 0.5)}, {"channels": 0}):
        with pytest.raises(InputError, match="a meeting needs"):
            write_fake_aishell4(tmp_path, **wrong)
