"""Which frames are hidden, and against which others a hidden one is held."""

import numpy as np
import pytest

from hf_speech.errors import InputError
from hf_speech.pretraining.spans import Masking, draw_negatives


@pytest.mark.parametrize("masking", [Masking(), Masking(0.06, 15, 2), Masking(0.3, 2, 1), Masking(1.0, 4, 9)])
def test_spans_lie_within_the_utterance_and_something_is_heard(masking: Masking) -> None:
    for seed in range(300):
        rng = np.random.default_rng(seed)
        frames = int(rng.integers(masking.min_frames, 120))
        hidden = masking.draw(frames, rng)
        assert hidden.shape == (frames,) and masking.length <= hidden.sum() < frames
        edges = np.flatnonzero(np.diff(np.concatenate([[0], hidden.astype(int), [0]])))
        assert np.diff(edges)[::2].min() >= masking.length  # what overlaps is longer, nothing is cut


def test_the_share_is_that_of_the_paper() -> None:
    # 1 - (1 - .065)^10 of all frames where starts are independent, "approximately 49%" (section 4.2).
    hidden = [Masking().draw(1_000, np.random.default_rng(seed)).mean() for seed in range(50)]
    assert np.mean(hidden) == pytest.approx(0.49, abs=0.01)


def test_the_fewest_spans_are_there_where_they_fit() -> None:
    masking = Masking(0.06, 15, 2)
    rng = np.random.default_rng(0)
    assert all(15 < masking.draw(90, rng).sum() <= 30 for _ in range(50))
    assert {int(masking.draw(20, rng).sum()) for _ in range(50)} == {15}


def test_rounding_is_right_on_average() -> None:
    rng = np.random.default_rng(0)
    counts = [Masking(0.5, 2, 1).draw(7, rng).sum() for _ in range(4_000)]  # 1.75 spans
    assert {2, 3, 4} >= set(counts) and np.mean(np.asarray(counts) > 2) == pytest.approx(0.75, abs=0.03)


def test_distractors_are_others_and_all_alike_likely() -> None:
    hidden = np.array([0, 1, 1, 0, 1, 1, 0, 1], dtype=bool)
    drawn = draw_negatives(hidden, 3_000, np.random.default_rng(0))
    assert drawn.shape == (5, 3_000)
    for own, others in enumerate(drawn):
        counts = np.bincount(others, minlength=5) / 3_000
        assert counts[own] == 0 and np.delete(counts, own) == pytest.approx(np.full(4, 0.25), abs=0.04)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"prob": 0}, "prob of masks is 0; give a share above 0"),
        ({"prob": 1.2}, "prob of masks is 1.2"),
        ({"length": 1}, "length of masks is 1; give 2 frames or more"),
        ({"min_masks": 0}, "min_masks is 0; give 1 or more"),
    ],
)
def test_what_hides_nothing_is_refused(fields: dict[str, float], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Masking(**fields)  # type: ignore[arg-type]


def test_what_is_too_short_is_refused() -> None:
    with pytest.raises(InputError, match="10 frames are too few to hide 10 of them; leave the utterance out"):
        Masking().draw(10, np.random.default_rng(0))
    with pytest.raises(InputError, match="1 hidden frames are too few"):
        draw_negatives(np.array([False, True]), 3, np.random.default_rng(0))
