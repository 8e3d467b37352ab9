"""A model for the pages: gender, and who speaks, learnt from real speech in seconds, with a calibration it keeps."""

import csv
import zlib
from pathlib import Path

import numpy as np
from filelock import FileLock

from hf_speech.cli import main
from hf_speech.inference import load_model
from hf_speech.verification import Backend, Calibration
from hf_speech.verification.kept import keep
from hf_speech.verification.recordings import embeddings_of

FIELDS = """\
columns: {speaker_id: speaker}
tasks: {gender: {}, speaker_id: {}}
backbone_config: {model_type: spectrum}
pooling: attentive
projection: linear
projection_config: {size: 64}
crop_seconds: 2.0
per_device_train_batch_size: 32
max_steps: 90
learning_rate: 1.0e-2
test: none
validation: none
save_strategy: "no"
group_by: none
seed: 1
"""


def is_held_out(speaker: str) -> bool:
    """A third of the speakers, whom the model never hears while it learns."""
    return zlib.crc32(speaker.encode()) % 3 == 0


def speakers_of(speech: Path) -> dict[str, str]:
    """File -> speaker."""
    with (speech / "speaker" / "metadata.csv").open(encoding="utf-8") as file:
        return {row["path"]: row["speaker"] for row in csv.DictReader(file)}


def trials_of(speech: Path) -> list[tuple[bool, str, str]]:
    """Trials between speakers that are held out."""
    speakers = speakers_of(speech)
    lines = (speech / "speaker" / "trials.txt").read_text().splitlines()
    trials = [(line.split()[0] == "1", *line.split()[1:3]) for line in lines]
    return [(same, a, b) for same, a, b in trials if is_held_out(speakers[a]) and is_held_out(speakers[b])]


def voices_model(speech: Path, room: Path) -> Path:
    """The model's folder; all the processes of a test run share one.

    Args:
        speech: the folder of real speech.
        room: a folder that the processes share.
    """
    folder = room / "voices-model"
    with FileLock(room / "voices-model.lock"):
        if not (room / "voices-model.done").is_file():
            _make(speech, room, folder)
            (room / "voices-model.done").touch()
    return folder


def _make(speech: Path, room: Path, folder: Path) -> None:
    table = speech / "speaker" / "metadata.csv"
    with table.open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if not is_held_out(row["speaker"])]
    for row in rows:
        row["path"] = str(table.parent / row["path"])
    with (room / "voices.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    (room / "voices.yaml").write_text(f"dataset: {room / 'voices.csv'}\n{FIELDS}")
    assert main(["train", str(room / "voices.yaml"), "--output-dir", str(folder)]) == 0
    _calibrate(speech, folder)


def _calibrate(speech: Path, folder: Path) -> None:
    """Gives the model a calibration of the cosine, fitted on the trials of held-out speakers."""
    model, extractor = load_model(folder)
    trials = trials_of(speech)
    files = sorted({file for _, *sides in trials for file in sides})
    vectors, _ = embeddings_of(model, extractor, [speech / "speaker" / file for file in files])
    place = {file: i for i, file in enumerate(files)}
    left, right = ([place[trial[side]] for trial in trials] for side in (1, 2))
    scores = Backend.cosine(vectors.shape[1]).score(vectors, left, right, files)
    keep(folder, None, Calibration.fit(scores, np.array([same for same, _, _ in trials])))
