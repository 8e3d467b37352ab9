"""Frames of many recordings on the disk: written once, in the order in which they come, and read in batches.

Memory holds a batch, and a line for each recording. The file has no header: float32 numbers, a frame after the other.
"""

import hashlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

BLOCK = 32  # frames that lie side by side and are read as one: of one recording, or of two


def drawn_frames(name: str, frames: int, ratio: float, seed: int) -> NDArray:
    """Which frames of a recording are drawn, ascending; it hangs on no other recording.

    A share of a frame is one with that probability, so that of many short recordings no fewer are drawn.

    >>> drawn_frames("a.wav", 8, 0.5, seed=0).tolist() == drawn_frames("a.wav", 8, 0.5, seed=0).tolist()
    True
    >>> drawn_frames("a.wav", 4, 1.0, seed=0).tolist()
    [0, 1, 2, 3]
    """
    if ratio == 1.0:
        return np.arange(frames)
    digest = hashlib.sha256(f"{seed}\n{name}".encode()).digest()
    generator = np.random.default_rng(int.from_bytes(digest[:8]))
    count = int(frames * ratio + generator.random())
    return np.sort(generator.choice(frames, size=count, replace=False))


class FrameSpool:
    """Frames that lie in a file.

    Args:
        path: of the file, which is made.
        size: numbers in a frame.

    Attributes:
        counts: (place of a recording, frames that it gave), in the order in which they came.
        frames: how many there are.
    """

    def __init__(self, path: Path, size: int) -> None:
        self.path, self.size = path, size
        self.counts: list[tuple[int, int]] = []
        self.frames = 0
        self._file: BinaryIO = path.open("w+b")

    def __enter__(self) -> "FrameSpool":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self.path.unlink(missing_ok=True)

    def add(self, place: int, frames: NDArray) -> None:
        """Writes frames of a recording, (F, D) float32, behind the others."""
        self._file.seek(0, 2)
        self._file.write(np.ascontiguousarray(frames, dtype=np.float32).tobytes())
        self.counts.append((place, len(frames)))
        self.frames += len(frames)

    def of_recordings(self) -> Iterator[tuple[int, NDArray]]:
        """Place and frames of each recording, as they came."""
        first = 0
        for place, count in self.counts:
            yield place, self._read(first, count)
            first += count

    def sample(self, count: int, generator: np.random.Generator) -> NDArray:
        """(count, D) frames, each as likely as any other, none twice."""
        places = np.sort(generator.choice(self.frames, size=count, replace=False))
        found = np.empty((count, self.size), np.float32)
        for row, place in enumerate(places.tolist()):
            found[row] = self._read(place, 1)
        return found

    def batches(self, size: int, generator: np.random.Generator | None = None) -> Iterator[NDArray]:
        """All frames once, in batches of so many, the last one smaller.

        Args:
            size: frames in a batch, which are rounded up to whole blocks.
            generator: that mixes the blocks, so that a batch has frames of many recordings; None: in order. The last
                block, if it is smaller, stays the last.
        """
        starts = np.arange(0, self.frames, BLOCK)
        if generator is not None:
            generator.shuffle(starts[: self.frames // BLOCK])
        some = math.ceil(size / BLOCK)
        for first in range(0, len(starts), some):
            blocks = starts[first : first + some].tolist()
            yield np.concatenate([self._read(start, min(BLOCK, self.frames - start)) for start in blocks])

    def _read(self, first: int, count: int) -> NDArray:
        self._file.seek(4 * self.size * first)
        content = self._file.read(4 * self.size * count)
        return np.frombuffer(content, dtype=np.float32).reshape(count, self.size)
