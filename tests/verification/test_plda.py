"""PLDA: the ratio of Gaussian densities, moments by hand, and a model that is found again."""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from hf_speech.errors import InputError
from hf_speech.metrics import eer
from hf_speech.verification import Backend
from hf_speech.verification.plda import Plda, speaker_means


def covariance(rng: np.random.Generator, size: int) -> np.ndarray:
    root = rng.normal(size=(size, size))
    return root @ root.T + 0.1 * np.eye(size)


def drawn(rng, speakers: int, each: int, mean, between, within) -> tuple[np.ndarray, list[str]]:
    centres = rng.multivariate_normal(mean, between, size=speakers).repeat(each, axis=0)
    rows = centres + rng.multivariate_normal(np.zeros(len(mean)), within, size=speakers * each)
    return rows, [f"s{i // each}" for i in range(speakers * each)]


def covariances(plda: Plda) -> tuple[np.ndarray, np.ndarray]:
    """B and W in the coordinates of the embeddings; the transform must be square."""
    back = np.linalg.inv(plda.transform)
    return back.T @ np.diag(plda.between) @ back, back.T @ back


@pytest.mark.parametrize("size", [1, 2, 5])
def test_scores_are_the_ratio_of_the_densities(size: int) -> None:
    rng = np.random.default_rng(size)
    mean, wide, narrow = rng.normal(size=size), covariance(rng, size) * 9, covariance(rng, size)
    plda = Plda.fit(*drawn(rng, 40, 5, mean, wide, narrow))
    assert len(plda.between) == size
    between, within = covariances(plda)
    total = between + within
    rows = rng.normal(size=(6, size)) * 3
    factors, terms = plda.sides(rows)
    for i in range(6):
        for j in range(6):
            joint = np.block([[total, between], [between, total]])
            same = multivariate_normal(np.tile(plda.mean, 2), joint).logpdf(np.concatenate([rows[i], rows[j]]))
            apart = sum(multivariate_normal(plda.mean, total).logpdf(rows[k]) for k in (i, j))
            assert factors[i] @ factors[j] + terms[i] + terms[j] == pytest.approx(same - apart, abs=1e-9)


def test_the_moments_are_those_of_the_analysis_of_variance() -> None:
    """Unequal numbers of recordings, one dimension, by hand.

    a: 1, 3; b: 9, 10, 11; c: 30. Means 2, 10, 30; W = (2 + 2 + 0) / 3 = 4/3; mean of all 64/6;
    n0 = (6 - 14/6) / 2 = 11/6; B = ((2 (2-m)^2 + 3 (10-m)^2 + (30-m)^2) / 2 - 4/3) / n0.
    """
    plda = Plda.fit(np.array([[1.0], [9], [3], [10], [30], [11]]), ["a", "b", "a", "b", "c", "b"])
    m = 64 / 6
    between = ((2 * (2 - m) ** 2 + 3 * (10 - m) ** 2 + (30 - m) ** 2) / 2 - 4 / 3) / (11 / 6)
    assert plda.mean == pytest.approx([m])
    assert [matrix.item() for matrix in covariances(plda)] == pytest.approx([between, 4 / 3])


def test_the_model_that_the_recordings_were_drawn_from_is_found() -> None:
    rng = np.random.default_rng(0)
    mean, between, within = np.array([1.0, -2, 3]), covariance(rng, 3), covariance(rng, 3)
    plda = Plda.fit(*drawn(rng, 4_000, 5, mean, between, within))
    found = covariances(plda)
    # Four deviations of an estimated covariance: those of 4,000 speakers' means, and of 16,000 recordings.
    for estimate, truth, spread, degrees in (
        (found[0], between, between + within / 5, 3_999),
        (found[1], within, within, 16_000),
    ):
        scale = np.diag(spread)
        assert (np.abs(estimate - truth) < 4 * np.sqrt((np.outer(scale, scale) + spread**2) / degrees)).all()


def test_directions_without_speakers_are_left_out() -> None:
    """Two speakers who differ in the first direction only, whose recordings differ in both."""
    corners = np.array([[-1.0, -1], [-1, 1], [1, -1], [1, 1]])
    rows = np.concatenate([corners + [9, 0], corners - [9, 0]])
    plda = Plda.fit(rows, ["a"] * 4 + ["b"] * 4)
    assert plda.transform.shape == (2, 1) and plda.transform[1, 0] == pytest.approx(0)
    with pytest.raises(InputError, match="the speakers differ no more than their recordings do"):
        Plda.fit(np.concatenate([corners, corners]), ["a"] * 4 + ["b"] * 4)


def test_what_can_not_be_fitted_is_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match="PLDA needs two speakers or more, and has 1"):
        Plda.fit(rng.normal(size=(9, 2)), ["a"] * 9)
    with pytest.raises(InputError, match="PLDA of 8 dimensions: 9 recordings of 3 speakers don't measure"):
        Plda.fit(rng.normal(size=(9, 8)), ["a", "b", "c"] * 3)


def test_a_speakers_mean_is_that_of_its_rows() -> None:
    means, place, counts = speaker_means(np.array([[4.0], [1], [2], [6]]), ["b", "a", "b", "b"])
    assert (means.tolist(), place.tolist(), counts.tolist()) == ([[1.0], [4.0]], [1, 0, 1, 1], [1, 3])


@pytest.mark.parametrize("options", [{"plda": True}, {"plda": True, "lda": 6, "shrinkage": None}, {"lda": 6}])
def test_the_back_end_with_it_tells_speakers_apart_better(tmp_path: Path, options: dict) -> None:
    """Recordings differ by 4 in three directions of twelve, and by 0.3 in the others."""
    rng = np.random.default_rng(1)
    within, mean = np.diag([16.0] * 3 + [0.3] * 9), np.full(12, 3.0)
    train, names = drawn(rng, 150, 5, mean, np.eye(12), within)
    heard, who = drawn(rng, 40, 4, mean, np.eye(12), within)
    left, right = np.triu_indices(len(who), 1)
    labels = np.array([who[i] == who[j] for i, j in zip(left, right, strict=True)]).astype(int)
    plain = eer(labels, Backend.cosine(12).score(heard, left, right))
    backend = Backend.fit(train, names, top=None, **options)
    scores = backend.score(heard, left, right)
    assert eer(labels, scores) < 0.6 * plain
    backend.normalised(train, names, top=40).save(tmp_path / "backend")
    read = Backend.load(tmp_path / "backend")
    wanted = backend.normalised(train, names, top=40).score(heard, left, right)
    np.testing.assert_array_equal(read.score(heard, left, right), wanted)
    assert eer(labels, wanted) < 0.6 * plain and not np.allclose(scores, wanted)
