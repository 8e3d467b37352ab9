"""A corpus of made-up voices that a model can learn."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..audio import SAMPLE_RATE, write_audio
from ..errors import InputError, lookup
from ..files import write_table


def write_fake_corpus(
    folder: str | Path,
    *,
    speakers: int = 4,
    classes: Sequence[str] = ("low", "high"),
    per_speaker: int = 6,
    seconds: tuple[float, float] = (0.6, 1.4),
    seed: int = 0,
    layout: str = "csv",
) -> Path:
    """Write a corpus of made-up voices that a model can learn: 16 kHz wav files, in noise at 20 dB below them.

    A clip is a sum of harmonics. Its class sets the pitch (each class 1.5 times the one before it, from 110 Hz on), its
    speaker the resonance and, by 5 % at most, the pitch; `age` rises with the speaker's number. The classes take turns,
    so every speaker has each of them where `per_speaker` allows.

    Args:
        folder: where to write; made if it is not there.
        speakers: how many speakers.
        classes: names of the classes, from the lowest pitch up; at most 8.
        per_speaker: clips of each speaker.
        seconds: shortest and longest clip.
        seed: of everything that is random.
        layout: "csv": audio/*.wav and metadata.csv (path, speaker_id, label, age); "folder": one folder a class.

    Returns:
        The path of metadata.csv, or of the folder of class folders: what `load_rows` takes.

    Raises:
        InputError: another layout, or numbers that make no clip.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     table = write_fake_corpus(folder, speakers=2, per_speaker=2)
        ...     len(table.read_text().splitlines())
        5
    """
    lookup({"csv": True, "folder": True}, layout, "layout of a corpus")
    if speakers < 1 or per_speaker < 1 or not 1 <= len(classes) <= 8 or not 0 < seconds[0] <= seconds[1]:
        raise InputError("a corpus needs a speaker, a clip each, 1 to 8 classes, and 0 < shortest <= longest")
    root = Path(folder).absolute()
    rows = []
    for speaker in range(speakers):
        for clip in range(per_speaker):
            number = clip % len(classes)
            sub = classes[number] if layout == "folder" else "audio"
            path = root / sub / f"speaker{speaker:02d}_{clip:03d}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            # A generator a clip: the same clip whatever else the corpus holds.
            generator = np.random.default_rng([seed, speaker, clip])
            write_audio(path, made_up_voice(generator, speaker, number, generator.uniform(*seconds)))
            row = {"path": path.relative_to(root).as_posix(), "speaker_id": f"speaker{speaker:02d}"}
            rows.append({**row, "label": classes[number], "age": str(20 + 10 * speaker)})
    if layout == "folder":
        return root
    write_table(rows, root / "metadata.csv")
    return root / "metadata.csv"


def made_up_voice(generator: np.random.Generator, speaker: int, number: int, duration: float) -> np.ndarray:
    """One clip of a corpus such as `write_fake_corpus` describes.

    Args:
        generator: of the phases and the noise.
        speaker: number of the speaker, which sets the resonance.
        number: number of the class, which sets the pitch.
        duration: in seconds.

    Returns:
        (samples,) float32 at 16 kHz, peak 0.5.
    """
    time = np.arange(round(duration * SAMPLE_RATE)) / SAMPLE_RATE
    golden = 0.618 * speaker % 1  # spreads any number of speakers evenly over [0, 1)
    pitch = 110 * 1.5**number * (0.95 + 0.1 * golden)
    resonance = 500 + 1500 * golden
    vibrato = 0.05 * np.sin(2 * np.pi * 5 * time + generator.uniform(0, 2 * np.pi))
    harmonics = np.arange(1, int(0.9 * SAMPLE_RATE / 2 / pitch) + 1)
    levels = 1 / harmonics + 0.5 / (1 + ((harmonics * pitch - resonance) / 200) ** 2)
    phases = generator.uniform(0, 2 * np.pi, len(harmonics))
    angles = np.outer(harmonics, 2 * np.pi * pitch * time + vibrato) + phases[:, None]
    voice = levels @ np.sin(angles)
    noisy = voice + 0.1 * voice.std() * generator.standard_normal(len(time))
    return (0.5 * noisy / np.abs(noisy).max()).astype(np.float32)
