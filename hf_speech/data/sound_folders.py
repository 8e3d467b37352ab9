"""Folders of noises, voices and impulse responses to train with: listed once, and only the piece that is drawn is read.

Of the root of MUSAN (Snyder et al., "MUSAN: a music, speech, and noise corpus", 2015) or RIRS_NOISES (Ko et al., "A
study on data augmentation of reverberant speech for robust speech recognition", 2017) what fits is taken; of another
folder, all audio at any depth.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from ..audio import AudioInfo, audio_info, read_audio, samples_at
from ..errors import InputError, list_some, one_line
from .readers import audio_files
from .synthetic import piece

# Kind of sound -> sub-folders of a published corpus that hold it, and those beside them that hold something else.
LAYOUTS = {
    "noise": (("noise", "music"), ("speech",)),
    "babble": (("speech",), ("noise", "music")),
    "reverb": (("simulated_rirs", "real_rirs_isotropic_noises"), ("pointsource_noises",)),
}
_NOISE_IN_NAME = "noise"  # real_rirs_isotropic_noises/RVB2014_type1_noise_largeroom1_1.wav is no response
_RESPONSE_SECONDS = 10.0  # of a response, no more is read: the longest halls fall by 60 dB in that time


@dataclass(frozen=True)
class Sound:
    """A file of a folder, and what its header says."""

    path: str
    info: AudioInfo

    @property
    def name(self) -> str:
        """The file's name without its folder."""
        return Path(self.path).name


@lru_cache(maxsize=32)
def sounds_in(folder: str, kind: str) -> tuple[Sound, ...]:
    """The sounds of a kind in a folder, in the order of their paths within it; listed once in a process.

    Args:
        folder: with audio at any depth, or the root of MUSAN or RIRS_NOISES.
        kind: a name in `LAYOUTS`.

    Raises:
        InputError: no such folder, no audio in it, or files whose headers can't be read, by name.
    """
    field, root = f"{kind}.folder", Path(folder)
    if not root.is_dir():
        raise InputError(f"{field} {folder}: there is no such folder; give one with audio files")
    wanted, others = LAYOUTS[kind]
    places = [root / name for name in wanted if (root / name).is_dir()]
    is_root = places and any((root / name).is_dir() for name in others)
    try:
        paths = [path for place in (places if is_root else [root]) for path in audio_files(place)]
    except InputError as error:
        raise InputError(f"{field} {error}") from None
    if kind == "reverb":
        paths = [path for path in paths if _NOISE_IN_NAME not in path.name.lower()]
        if not paths:
            raise InputError(f"{field} {folder}: nothing but noises in it; give a folder of impulse responses")
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(_sound, sorted(paths, key=lambda path: path.relative_to(root).as_posix())))
    bad = [sound for sound in found if isinstance(sound, str)]
    if bad:
        raise InputError(f"{field} {folder}: {len(bad)} files can't be used, leave them out: {list_some(bad, 5)}")
    return tuple(sound for sound in found if isinstance(sound, Sound))


def one_sound(sounds: Sequence[Sound], rng: np.random.Generator) -> Sound:
    """One of them, all equally likely, however long they are."""
    return sounds[int(rng.integers(len(sounds)))]


def read_piece(sound: Sound, samples: int, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """(samples,) of a sound from a random place on, channels averaged; a shorter one begins anew at its end.

    Args:
        sound: of which no more is read than is wanted.
        samples: how many, at `sample_rate`.
        sample_rate: wanted samples per second.
        rng: of the place.

    Raises:
        InputError: a file that can't be read, by name.
    """
    there = samples_at(sound.info, sample_rate)
    if there <= samples:
        return piece(read_audio(sound.path, sample_rate=sample_rate), samples, rng)
    start = int(rng.integers(there - samples + 1))
    read = read_audio(sound.path, sample_rate=sample_rate, start=start / sample_rate, duration=samples / sample_rate)
    return np.resize(read, samples)  # a compressed file may end a packet sooner than its header says


def read_response(sound: Sound, sample_rate: int, rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """An impulse response, as it is, and which of its channels was drawn.

    Raises:
        InputError: a file that can't be read or is silent, by name.
    """
    channel = int(rng.integers(sound.info.channels))
    seconds = min(sound.info.duration, _RESPONSE_SECONDS)
    response = read_audio(sound.path, sample_rate=sample_rate, duration=seconds, channel=channel)
    if not response.any():
        raise InputError(f"{sound.path}: channel {channel} is silent, no impulse response; leave it out")
    return response, channel


def _sound(path: Path) -> Sound | str:
    """The file with its header, or what is wrong with it."""
    try:
        info = audio_info(str(path))
    except InputError as error:
        return str(error)
    except (OSError, ValueError) as error:  # what the libraries say of a file that ends too soon
        return f"{path}: not audio ({one_line(error)})"
    return Sound(str(path), info) if info.samples else f"{path}: no samples (0 s long)"
