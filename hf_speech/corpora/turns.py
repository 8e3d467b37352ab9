"""The turns of one meeting -> train, test, or why a turn is in neither."""

import math
from collections import Counter
from collections.abc import Callable, Sequence

from sklearn.model_selection import train_test_split

from ..data.rttm import Turn

TRAIN, TEST = "train", "test"


def no_split(turns: Sequence[Turn], share: float, seed: int) -> list[str]:
    """All of them train."""
    return [TRAIN] * len(turns)


def random_split(turns: Sequence[Turn], share: float, seed: int) -> list[str]:
    """A share of every speaker's turns, drawn as scikit-learn's `train_test_split` does.

    Neighbours in time, and turns that overlap, fall on both sides. A speaker with one turn trains; where the share is
    fewer turns than there are speakers, as scikit-learn does not allow, all turns do.
    """
    count = Counter(turn.speaker for turn in turns)
    several = [i for i, turn in enumerate(turns) if count[turn.speaker] > 1]
    speakers = [turns[i].speaker for i in several]
    drawn = math.ceil(share * len(several))  # as scikit-learn rounds
    if not several or min(drawn, len(several) - drawn) < len(set(speakers)):
        return [TRAIN] * len(turns)
    test = set(train_test_split(several, test_size=share, stratify=speakers, random_state=seed)[1])
    return [TEST if i in test else TRAIN for i in range(len(turns))]


def contiguous_split(turns: Sequence[Turn], share: float, seed: int) -> list[str]:
    """The last turns in time, from the beginning of the one at which so large a share of the turns begins.

    Turns that are not over by then are left out, so that no audio is on both sides; so are those of speakers who have
    not spoken before: a classifier knows nothing of them.
    """
    if len(turns) < 2:
        return [TRAIN] * len(turns)
    starts = sorted(turn.start for turn in turns)
    boundary = starts[-min(max(1, round(share * len(turns))), len(turns) - 1)]
    known = {turn.speaker for turn in turns if turn.end <= boundary}
    parts = []
    for turn in turns:
        if turn.end <= boundary:
            parts.append(TRAIN)
        elif turn.start < boundary:
            parts.append("across the boundary")
        else:
            parts.append(TEST if turn.speaker in known else "speaker not heard before the boundary")
    return parts


SPLITS: dict[str, Callable[[Sequence[Turn], float, int], list[str]]] = {
    "random": random_split,
    "contiguous": contiguous_split,
    "none": no_split,
}
