"""The back end: by hand, by invariances, and on speakers whose recordings differ in directions of their own."""

from pathlib import Path

import numpy as np
import pytest

from hf_speech.errors import InputError
from hf_speech.metrics import eer
from hf_speech.verification.backend import Backend


def voices(speakers: int, each: int, seed: int, size: int = 12) -> tuple[np.ndarray, list[str]]:
    """Speakers apart in all directions; one speaker's recordings far apart in the first three."""
    rng = np.random.default_rng(seed)
    session = np.array([4.0] * 3 + [0.3] * (size - 3))
    names = [f"speaker{i}" for i in range(speakers) for _ in range(each)]
    means = np.repeat(rng.normal(size=(speakers, size)), each, axis=0)
    return 3.0 + means + rng.normal(size=means.shape) * session, names


def trials(names: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    left, right = np.triu_indices(len(names), 1)
    return np.array([names[i] == names[j] for i, j in zip(left, right, strict=True)]).astype(int), left, right


def test_without_anything_it_is_the_cosine() -> None:
    vectors = np.array([[3.0, 4.0], [4.0, 3.0], [-3.0, -4.0], [0.0, 0.0]])
    scores = Backend.cosine(2).score(vectors, [0, 0, 0], [1, 2, 3])
    np.testing.assert_allclose(scores, [24 / 25, -1.0, 0.0], atol=1e-12)


def test_what_differs_within_speakers_counts_less() -> None:
    train, names = voices(60, 4, seed=1)
    heard, who = voices(30, 4, seed=2)
    labels, left, right = trials(who)
    plain = eer(labels, Backend.cosine(12).score(heard, left, right))
    fitted = eer(labels, Backend.fit(train, names).score(heard, left, right))
    assert fitted < 0.7 * plain


def test_the_within_class_covariance_becomes_the_identity() -> None:
    train, names = voices(60, 4, seed=1)
    backend = Backend.fit(train, names, shrinkage=1e-9)
    whitened = (train - backend.mean) @ backend.transform
    by_speaker = whitened.reshape(60, 4, 12)
    within = (by_speaker - by_speaker.mean(axis=1, keepdims=True)).reshape(-1, 12)
    np.testing.assert_allclose(within.T @ within / len(within), np.eye(12), atol=1e-6)


def test_normalisation_is_the_definition() -> None:
    rng = np.random.default_rng(0)
    vectors, cohort = rng.normal(size=(5, 3)), rng.normal(size=(7, 3))
    cohort /= np.linalg.norm(cohort, axis=1, keepdims=True)
    backend = Backend(np.zeros(3), np.eye(3), cohort, top=4)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    expected = 0.0
    for side in (1, 3):
        top = sorted((unit[side] @ other for other in cohort), reverse=True)[:4]
        expected += (unit[1] @ unit[3] - np.mean(top)) / np.std(top) / 2
    assert backend.score(vectors, [1], [3])[0] == pytest.approx(expected)


@pytest.mark.parametrize("top", [10, 1_000])
def test_scores_are_symmetric_and_know_nothing_of_other_trials(top: int) -> None:
    train, names = voices(20, 3, seed=1)
    heard, _ = voices(6, 2, seed=2)
    backend = Backend.fit(train, names, top=top)
    _, left, right = trials([str(i) for i in range(12)])
    scores = backend.score(heard, left, right)
    np.testing.assert_allclose(backend.score(heard, right, left), scores)
    np.testing.assert_allclose(
        [backend.score(heard[[i, j]], [0], [1])[0] for i, j in zip(left, right, strict=True)], scores
    )
    louder = Backend.fit(5 * train, names, top=top)
    np.testing.assert_allclose(louder.score(5 * heard, left, right), scores)


def test_it_is_saved_and_read_back(tmp_path: Path) -> None:
    train, names = voices(20, 3, seed=1)
    backend = Backend.fit(train, names, top=5)
    backend.save(tmp_path / "backend.safetensors")
    found = Backend.load(tmp_path / "backend.safetensors")
    np.testing.assert_array_equal(found.score(train, [0, 5], [1, 9]), backend.score(train, [0, 5], [1, 9]))
    (tmp_path / "broken").write_bytes(b"no tensors")
    for name in ("broken", "absent"):
        with pytest.raises(InputError, match=f"{name}: is no back end of speaker verification"):
            Backend.load(tmp_path / name)


def test_each_half_can_be_fitted_alone() -> None:
    rng = np.random.default_rng(3)
    speakers = [f"s{i // 4}" for i in range(40)]
    embeddings = rng.normal(size=(10, 6)).repeat(4, axis=0) + rng.normal(size=(40, 6)) * np.arange(1, 7)
    left, right = np.arange(20), np.arange(20, 40)
    whole = Backend.fit(embeddings, speakers, top=4)
    whitened = Backend.fit(embeddings, speakers, top=None)
    np.testing.assert_array_equal(whitened.transform, whole.transform)
    vectors = whole.vectors(embeddings)
    np.testing.assert_allclose(whitened.score(embeddings, left, right), (vectors[left] * vectors[right]).sum(1))
    normalised = Backend.fit(embeddings, speakers, shrinkage=None, top=4)
    centred = Backend(embeddings.mean(0), np.eye(6), np.zeros((0, 6))).vectors(embeddings)
    np.testing.assert_allclose(normalised.vectors(embeddings), centred)
    assert len(normalised.cohort) == 10 and not len(whitened.cohort)
    assert not np.allclose(normalised.score(embeddings, left, right), whole.score(embeddings, left, right))


@pytest.mark.parametrize(
    ("embeddings", "speakers", "settings", "message"),
    [
        (np.ones((3, 2)), ["a", "b"], {}, r"shape \(3, 2\) for 2 speakers"),
        (np.ones((2, 2)), ["a", "a"], {}, "two speakers or more"),
        (np.ones((2, 2)), ["a", "b"], {}, "two recordings of one of them"),
        (np.ones((3, 2)), ["a", "a", "b"], {"shrinkage": 0.0}, "shrinkage is 0.0"),
        (np.eye(3), ["a", "a", "b"], {"shrinkage": np.inf}, "shrinkage is inf"),
        (np.eye(3), ["a", "a", "b"], {"top": 2.5}, "top is 2.5; give 2 or more of the cohort's scores, a whole"),
        (np.ones((3, 2)), ["a", "a", "b"], {}, "each speaker's recordings have the same embedding"),
        (np.diag([1.0, np.nan, 1.0]), ["a", "a", "b"], {}, "embedding 1, of speaker 'a', is not finite; leave it out"),
    ],
)
def test_what_can_not_be_fitted_is_refused(embeddings, speakers, settings, message) -> None:
    with pytest.raises(InputError, match=message):
        Backend.fit(embeddings, speakers, **settings)
