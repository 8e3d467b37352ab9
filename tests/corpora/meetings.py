"""RTTM files read by other means than ours."""

from pathlib import Path

import numpy as np


def rttm_lines(path: Path) -> list[tuple[int, float, float, str]]:
    """Line from 0, start, end in seconds, speaker: read here, as a check on the reader."""
    fields = [line.split() for line in path.read_text().splitlines()]
    return [(i, float(f[3]), round(float(f[3]) + float(f[4]), 6), f[7]) for i, f in enumerate(fields)]


def shared_milliseconds(lines: list[tuple[int, float, float, str]]) -> dict[int, int]:
    """Line -> milliseconds during which another speaker talks, on a grid."""
    size = round(1000 * max(end for _, _, end, _ in lines))
    talks = {who: np.zeros(size, bool) for _, _, _, who in lines}
    for _, start, end, who in lines:
        talks[who][round(1000 * start) : round(1000 * end)] = True
    two = np.sum(list(talks.values()), axis=0) >= 2
    return {i: int(two[round(1000 * start) : round(1000 * end)].sum()) for i, start, end, _ in lines}
