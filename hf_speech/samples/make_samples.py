"""Makes the corpus of synthetic voices: `python -m hf_speech.samples.make_samples OUT`.

Needs espeak-ng (Debian: `apt-get install espeak-ng`), which gives the same samples for a text and a voice every time.
Every voice speaks the same sentences, and no sentence is in two splits: what tells the voices apart is the voice alone.
"""

import argparse
import io
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hf_speech.audio import SAMPLE_RATE, read_audio, write_audio
from hf_speech.errors import EXIT_INPUT, EXIT_OK, InputError
from hf_speech.files import write_table

ESPEAK_VERSION = "1.51"  # of the shipped files; another version speaks a little differently
COLUMNS = ("path", "speaker_id", "gender", "split", "text", "duration")

PEAK = 0.2  # every file is scaled to it, so that loudness does not give a voice away
SILENCE = 0.01  # of the peak: what is softer at either end is cut off
PADDING = 0.05  # seconds that are kept around the speech

SENTENCES = {
    "train": (
        "The kettle is on the stove.",
        "We walked home along the river.",
        "Please close the window tonight.",
        "My brother paints small boats.",
        "Breakfast is ready at seven.",
        "The garden needs more water.",
        "She found a key under the mat.",
        "Our bus was late again today.",
    ),
    "validation": (
        "The blue coat is too warm.",
        "He keeps his bread in a box.",
    ),
    "test": (
        "A cat sleeps on the roof.",
        "Could you bring some apples?",
        "The old clock has stopped.",
        "I wrote her a long letter.",
    ),
}


@dataclass(frozen=True)
class Voice:
    """A speaker: a voice of espeak-ng ("language+variant"), its pitch (0 to 99) and speed (words per minute)."""

    speaker_id: str
    gender: str
    voice: str
    pitch: int
    speed: int


VOICES = (
    Voice("ada", "female", "en-us+f2", 62, 165),
    Voice("bea", "female", "en-gb-x-rp+f4", 40, 175),
    Voice("cleo", "female", "en-us+Annie", 70, 170),
    Voice("dora", "female", "en-gb-scotland+belinda", 50, 165),
    Voice("evan", "male", "en-us", 35, 175),
    Voice("finn", "male", "en-gb-x-gbcwmd+m3", 55, 165),
    Voice("gus", "male", "en-us+m7", 20, 180),
    Voice("hal", "male", "en-029+klatt2", 45, 175),
)


def espeak_version() -> str | None:
    """The version of the espeak-ng that is installed, or None."""
    if shutil.which("espeak-ng") is None:
        return None
    said = subprocess.run(["espeak-ng", "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"(\d+\.\d+\S*)", said)
    return found.group(1) if found else None


def speak(voice: Voice, text: str) -> np.ndarray:
    """A sentence in a voice: (samples,) float32 at 16 kHz, silence trimmed, scaled to a common peak."""
    command = ["espeak-ng", "-v", voice.voice, "-p", str(voice.pitch), "-s", str(voice.speed), "--stdout", text]
    spoken = subprocess.run(command, capture_output=True, check=True).stdout
    waveform = read_audio(io.BytesIO(spoken))
    waveform = waveform / np.abs(waveform).max()
    loud = np.flatnonzero(np.abs(waveform) > SILENCE)
    keep = round(PADDING * SAMPLE_RATE)
    return PEAK * waveform[max(0, loud[0] - keep) : loud[-1] + keep]


def make_samples(folder: Path) -> Path:
    """Write the corpus into a folder; returns its metadata.csv.

    Raises:
        InputError: espeak-ng is not installed.
    """
    if espeak_version() is None:
        raise InputError("espeak-ng is not installed; install it (Debian: apt-get install espeak-ng)")
    (folder / "audio").mkdir(parents=True, exist_ok=True)
    rows = []
    for voice in VOICES:
        for split, texts in SENTENCES.items():
            for number, text in enumerate(texts, start=1):
                waveform = speak(voice, text)
                path = f"audio/{voice.speaker_id}-{split}-{number}.flac"
                write_audio(folder / path, waveform)
                seconds = f"{len(waveform) / SAMPLE_RATE:.6f}"
                cells = (path, voice.speaker_id, voice.gender, split, text, seconds)
                rows.append(dict(zip(COLUMNS, cells, strict=True)))
    write_table(rows, folder / "metadata.csv")
    return folder / "metadata.csv"


def main(argv: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="make_samples", description="Make the corpus of synthetic voices.")
    parser.add_argument("folder", type=Path, metavar="OUT", help="where the corpus goes")
    try:
        print(make_samples(parser.parse_args(argv).folder))
    except InputError as error:
        print(error, file=sys.stderr)
        return EXIT_INPUT
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
