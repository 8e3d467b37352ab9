"""Maps keep together what is alike, give the same for the same seed, and refuse what has no directions."""

import importlib.util
import logging

import numpy as np
import pytest

from hf_speech.errors import InputError
from hf_speech.verification import maps
from hf_speech.verification.maps import METHODS, project


def clusters(speakers: int = 4, each: int = 12, size: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings near the axes of space, of random lengths, and who speaks."""
    rng = np.random.default_rng(0)
    who = np.repeat(np.arange(speakers), each)
    vectors = np.eye(size)[who] + rng.normal(0, 0.05, (len(who), size))
    return vectors * rng.uniform(0.1, 30, (len(who), 1)), who


INSTALLED = [name for name in METHODS if name != "umap" or importlib.util.find_spec("umap")]


@pytest.mark.parametrize("method", INSTALLED)
def test_neighbours_in_the_map_are_of_one_speaker(method: str) -> None:
    vectors, who = clusters(3)  # three directions about their mean fill a plane, which suits PCA too
    found = project(vectors, method=method)
    assert found.points.shape == (len(vectors), 2) and found.points.dtype == np.float32
    assert found.chosen.tolist() == list(range(len(vectors)))
    distances = np.linalg.norm(found.points[:, None] - found.points[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    assert (who[distances.argmin(axis=1)] == who).all()


@pytest.mark.parametrize("method", INSTALLED)
def test_lengths_do_not_matter_and_the_seed_decides(method: str) -> None:
    vectors, _ = clusters()
    first = project(vectors, method=method, seed=1)
    np.testing.assert_array_equal(project(vectors, method=method, seed=1).points, first.points)
    np.testing.assert_array_equal(project(vectors * 4, method=method, seed=1).points, first.points)


def test_pca_is_what_the_covariance_says() -> None:
    vectors, _ = clusters()
    directions = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    points = project(vectors, method="pca").points
    variances = np.linalg.eigvalsh(np.cov(directions.T))[::-1]
    np.testing.assert_allclose(np.cov(points.T), np.diag(variances[:2]), atol=1e-6)


def test_automatic_is_tsne_and_pca_of_the_fewest() -> None:
    vectors, _ = clusters()
    assert project(vectors).method == "t-SNE, perplexity 15.7"  # (48 - 1) / 3
    assert project(vectors[:5]).method == "t-SNE, perplexity 1.33"
    for count in (1, 2, 4):
        found = project(vectors[:count])
        assert found.method == "PCA" and found.points.shape == (count, 2) and np.isfinite(found.points).all()
    assert project(np.arange(1.0, 7.0)[:, None]).points.shape == (6, 2)  # one dimension


def test_of_too_many_whole_speakers_are_drawn(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(maps, "LIMIT", 30)
    vectors, who = clusters(5, 8)
    with caplog.at_level(logging.INFO):
        found = project(vectors, who.tolist(), method="pca", seed=2)
    assert "the map has 24 of 40 recordings, of 3 of 5 speakers, drawn with seed 2" in caplog.text
    assert np.unique(who[found.chosen], return_counts=True)[1].tolist() == [8, 8, 8]
    assert (np.diff(found.chosen) > 0).all() and len(found.points) == 24
    drawn = {tuple(project(vectors, who.tolist(), method="pca", seed=seed).chosen) for seed in range(20)}
    assert len(drawn) > 1
    assert len(project(vectors, method="pca").chosen) == 30
    assert len(project(vectors, ["one"] * 40, method="pca").chosen) == 30  # more than fit, of one speaker


@pytest.mark.parametrize(
    ("given", "method", "message"),
    [
        (np.zeros((0, 4)), "auto", r"embeddings are \(0, 4\)"),
        (np.ones(4), "auto", r"embeddings are \(4,\)"),
        (np.eye(4), "tsne", "needs 5 recordings, there are 4"),
        (np.eye(8), "isomap", "unknown map 'isomap'.*valid: pca, tsne, umap"),
        (np.eye(8) * (np.arange(8)[:, None] != 5), "auto", "embedding 5 is zero or not finite"),
        (np.where(np.eye(8) > 0, np.nan, 1.0), "pca", "embedding 0 is zero or not finite"),
    ],
)
def test_what_can_not_be_laid_out_is_refused(given: np.ndarray, method: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        project(given, method=method)


@pytest.mark.skipif(importlib.util.find_spec("umap") is not None, reason="umap-learn is installed")
def test_umap_that_is_not_installed_is_named() -> None:
    with pytest.raises(InputError, match="pip install umap-learn"):
        project(clusters()[0], method="umap")
