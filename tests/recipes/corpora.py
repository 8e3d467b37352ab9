"""Small corpora of made-up voices, each in the layout in which the real one lies on a disk before it is prepared."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import soundfile

from hf_speech.testing import write_fake_aishell4, write_fake_iemocap, write_fake_voxceleb
from hf_speech.testing.voices import made_up_voice

from ..training.runs import write_table

MEETING = "20200601_L_R001S01C01"  # the first that `write_fake_aishell4` writes


def _write_voxceleb(folder: Path) -> None:
    write_fake_voxceleb(
        folder,
        speakers={"vox1_test": 2, "vox2_dev": 8},
        sessions=(5, 5),
        utterances=(2, 2),
        seconds=(0.5, 0.7),
        format="wav",
    )


def _write_iemocap(folder: Path) -> None:
    write_fake_iemocap(folder, utterances=8)


def _write_aishell4(folder: Path) -> None:
    write_fake_aishell4(folder, meetings={"train_L": 2, "test": 1}, speakers=3, turns=40, channels=2)


def _write_sre(folder: Path) -> None:
    """A Kaldi folder as the original's `prepare` made it: a line a recording in wav.scp, cut by segments."""
    folder.mkdir(parents=True)
    lines: dict[str, list[str]] = {name: [] for name in ("wav.scp", "segments", "utt2spk", "utt2age", "spk2gender")}
    for speaker in range(16):
        name = f"1{speaker:04d}"
        recording = f"{name}_SRE08_fabcd_{'AB'[speaker % 2]}"
        soundfile.write(folder / f"{recording}.wav", _voice(speaker, 0, 2.4), 16_000)
        lines["wav.scp"].append(f"{recording} {folder / recording}.wav")
        lines["spk2gender"].append(f"{name} {'mf'[speaker % 2]}")
        for start in range(0, 240, 80):
            segment = f"{recording}_{start:05d}_{start + 80:05d}"
            lines["segments"].append(f"{segment} {recording} {start / 100:.2f} {(start + 80) / 100:.2f}")
            lines["utt2spk"].append(f"{segment} {name}")
            lines["utt2age"].append(f"{segment} {20 + 3 * speaker}")
    for file, content in lines.items():
        (folder / file).write_text("".join(f"{line}\n" for line in content), encoding="utf-8")


def _write_common_voice(folder: Path) -> None:
    """Clips as mp3, and one table for all languages, with Common Voice's own columns; some do not say their age."""
    ages = ["twenties", "thirties", "fourties", "fifties", "sixties", "seventies", ""]
    (folder / "clips").mkdir(parents=True)
    rows = []
    for speaker in range(35):
        locale = ("ca", "en", "es")[speaker % 3]
        for clip in range(2):
            path = f"clips/common_voice_{locale}_{100 * speaker + clip}.mp3"
            soundfile.write(folder / path, _voice(speaker, clip, 0.6), 16_000, format="MP3")
            row = {"client_id": f"{speaker:040x}", "path": path, "sentence": "a sentence", "up_votes": 2}
            rows.append({**row, "age": ages[speaker % 7], "gender": "", "accents": "", "locale": locale})
    write_table(folder / "common_voice.csv", rows)


def _write_emodb(folder: Path) -> None:
    """Files named by speaker, text, emotion and version, and a table that says what the names mean."""
    emotions = {"W": "anger", "F": "happiness", "N": "neutral", "T": "sadness"}
    (folder / "wav").mkdir(parents=True)
    rows = []
    for place, speaker in enumerate(("03", "08", "09", "10", "11", "12", "13", "14", "15", "16")):
        for number, (letter, emotion) in enumerate(emotions.items()):
            path = f"wav/{speaker}a01{letter}a.wav"
            soundfile.write(folder / path, _voice(place, number, 0.6), 16_000)
            about = {"gender": ("male", "female")[place % 2], "age": 21 + place, "emotion": emotion}
            rows.append({"path": path, "speaker": f"emodb_{speaker}", **about})
    write_table(folder / "metadata.csv", rows)


def _voice(speaker: int, number: int, seconds: float) -> np.ndarray:
    return made_up_voice(np.random.default_rng([speaker, number]), speaker, number, seconds)


# Where `hf_speech.data.home` says that a corpus lies -> what writes it there.
WRITERS: dict[str, Callable[[Path], None]] = {
    "VoxCeleb": _write_voxceleb,
    "IEMOCAP_full_release": _write_iemocap,
    "AISHELL-4": _write_aishell4,
    "data/sre": _write_sre,
    "CommonVoice": _write_common_voice,
    "EMO-DB": _write_emodb,
}


def write_corpora(folder: Path, wanted: Sequence[str] = tuple(WRITERS)) -> None:
    """Writes them side by side."""
    for name in wanted:
        WRITERS[name](folder / name)
