"""The back end: by hand, by invariances, and on speakers whose recordings differ in directions of their own."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from hf_speech.errors import InputError
from hf_speech.metrics import eer
from hf_speech.verification.backend import NORMS, Backend, cohort_overlap


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


def by_definition(vectors: np.ndarray, cohort: np.ndarray, top: int, left: int, right: int) -> float:
    """One trial in float64: cosines about the cohort's mean, and the highest of each side's."""
    centred = cohort - cohort.mean(axis=0)
    others = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    sides = [vectors[i].astype(float) - cohort.mean(axis=0) for i in (left, right)]
    one, other = (side / np.linalg.norm(side) for side in sides)
    found = 0.0
    for side in (one, other):
        highest = sorted(float(side @ row) for row in others)[-top:]
        found += (one @ other - np.mean(highest)) / np.std(highest) / 2
    return found


@pytest.mark.parametrize("norm", NORMS)
def test_scores_of_embeddings_in_float32_are_those_of_float64(norm: str) -> None:
    rng = np.random.default_rng(5)
    vectors, cohort = (rng.normal(size=(n, 192)).astype(np.float32) for n in (3_000, 700))
    vectors[:30] += 2 * rng.normal(size=192)  # like each other, so that scores are high too
    left, right = rng.integers(0, 3_000, (2, 6_000))
    left[:40], right[:40] = rng.integers(0, 30, (2, 40))
    backend = Backend.centred(cohort).normalised(cohort, norm=norm, top=100)
    scores = backend.score(vectors, left, right)
    for i in [*range(40), *rng.integers(0, 6_000, 20)]:
        if norm == "none":
            one, other = (vectors[side[i]] - cohort.mean(axis=0, dtype=float) for side in (left, right))
            wanted = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
        else:
            wanted = by_definition(vectors, cohort.astype(float), {"as-norm": 100}.get(norm, 700), left[i], right[i])
        assert scores[i] == pytest.approx(wanted, rel=1e-5, abs=1e-5)


BACKENDS = {
    "cosine": lambda train, names: Backend.cosine(12),
    "centred": lambda train, names: Backend.centred(train),
    "whole": lambda train, names: Backend.fit(train, names),
    "s-norm": lambda train, names: Backend.fit(train, names, top=None).normalised(train, norm="s-norm"),
    "as-norm": lambda train, names: Backend.centred(train).normalised(train, top=30),
    "lda": lambda train, names: Backend.fit(train, names, lda=5),
    "plda": lambda train, names: Backend.fit(train, names, plda=True, top=None),
    "plda, as-norm": lambda train, names: Backend.fit(train, names, lda=8, shrinkage=None, plda=True),
}


@pytest.mark.parametrize("kind", BACKENDS)
def test_a_score_is_the_same_to_the_last_bit_turned_round_alone_or_among_others(kind: str) -> None:
    backend = BACKENDS[kind](*voices(40, 3, seed=1))
    heard, _ = voices(1_700, 3, seed=2)
    left, right = np.random.default_rng(0).integers(0, len(heard), (2, 10_000))
    scores = backend.score(heard, left, right)
    np.testing.assert_array_equal(backend.score(heard, right, left), scores)
    np.testing.assert_array_equal(backend.score(heard, left[::-1], right[::-1])[::-1], scores)
    order = np.random.default_rng(1).permutation(len(heard))
    place = np.argsort(order)
    np.testing.assert_array_equal(backend.score(heard[order], place[left], place[right]), scores)
    for i in range(0, 10_000, 199):
        assert backend.score(heard[[left[i], right[i]]], [0], [1])[0] == scores[i]


@pytest.mark.parametrize("top", [10, 1_000])
def test_scores_do_not_depend_on_the_size_of_embeddings(top: int) -> None:
    train, names = voices(20, 3, seed=1)
    heard, _ = voices(6, 2, seed=2)
    _, left, right = trials([str(i) for i in range(12)])
    scores = Backend.fit(train, names, top=top).score(heard, left, right)
    louder = Backend.fit(5 * train, names, top=top)
    np.testing.assert_allclose(louder.score(5 * heard, left, right), scores, rtol=1e-5, atol=1e-5)


def test_a_cohort_is_of_speakers_or_of_recordings_and_whole_or_not() -> None:
    train, names = voices(20, 3, seed=1)
    heard, _ = voices(6, 2, seed=2)
    _, left, right = trials([str(i) for i in range(12)])
    fitted = Backend.fit(train, names, top=4)
    again = Backend.fit(train, names, top=None).normalised(train, names, top=4)
    np.testing.assert_array_equal(again.score(heard, left, right), fitted.score(heard, left, right))
    whole = fitted.normalised(train, norm="s-norm")
    assert (len(fitted.cohort), len(whole.cohort), whole.top) == (20, 60, 60)
    np.testing.assert_array_equal(
        whole.score(heard, left, right), fitted.normalised(train, top=60).score(heard, left, right)
    )
    plain = fitted.normalised(train, norm="none")
    np.testing.assert_array_equal(
        plain.score(heard, left, right), Backend.fit(train, names, top=None).score(heard, left, right)
    )
    means, deviations = whole.likeness(heard)
    scores = plain.vectors(heard) @ plain.vectors(train).T
    np.testing.assert_allclose(means, scores.mean(axis=1), atol=1e-6)
    np.testing.assert_allclose(deviations, scores.std(axis=1), atol=1e-6)
    with pytest.raises(InputError, match="no cohort"):
        plain.likeness(heard)


def test_centring_is_about_the_mean() -> None:
    train = np.array([[1.0, 1.0], [3.0, 1.0]])
    scores = Backend.centred(train).score([[2.0, 2.0], [3.0, 1.0], [3.0, 2.0]], [0, 0], [1, 2])
    np.testing.assert_allclose(scores, [0.0, 0.5**0.5], atol=1e-12)


def test_scores_are_not_clipped() -> None:
    """One recording twice is far above any cohort, one and its opposite as far below."""
    rng = np.random.default_rng(0)
    cohort = rng.normal(size=(500, 64))
    backend = Backend.cosine(64).normalised(cohort, norm="s-norm")
    vector = rng.normal(size=64)
    high, low = backend.score(np.stack([vector, vector, -vector]), [0, 0], [1, 2])
    assert high > 6 and low < -6


def test_an_embedding_that_is_not_finite_is_named() -> None:
    vectors = np.ones((4, 2), np.float32)
    vectors[[1, 3], 0] = np.nan, np.inf
    with pytest.raises(InputError, match=r"^the embedding of b is not finite \(2 in all\); leave it out$"):
        Backend.cosine(2).score(vectors, [0, 2], [1, 3], ids=["a", "b", "c", "d"])
    with pytest.raises(InputError, match="^the embedding of d is not finite; leave it out$"):
        Backend.cosine(2).score(vectors, [0], [3], ids=["a", "b", "c", "d"])
    with pytest.raises(InputError, match="^embedding 1 is not finite"):
        Backend.centred(vectors)
    assert Backend.cosine(2).score(vectors, [0], [2])[0] == pytest.approx(1)  # the others are in no trial
    large = np.full((1_000, 2), 3e38, np.float32)  # finite, though their sum is not
    assert Backend.cosine(2).score(large, [0], [1])[0] == pytest.approx(1)


def test_test_speakers_in_a_cohort_are_counted() -> None:
    assert cohort_overlap(["a", "a", "b", "c"], ["c", "a", "x", "a"]) == (["a", "c"], 3)
    assert cohort_overlap(["a"], ["b"]) == ([], 0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"norm": "z-norm"}, "z-norm.*none, s-norm, as-norm|as-norm, none, s-norm"),
        ({"top": 1}, "top is 1; give 2 or more"),
        ({"speakers": ["a"] * 6}, "the cohort has 1 speaker; a deviation needs two"),
        ({"speakers": ["a"] * 5}, r"shape \(6, 2\) for 5 speakers"),
        ({"embeddings": np.ones((6, 3))}, r"shape \(6, 3\); this back end is for \(N, 2\)"),
        ({"embeddings": np.ones((0, 2))}, "one row a recording"),
        ({"embeddings": np.ones((1, 2))}, "the cohort has 1 recording"),
        ({"embeddings": np.diag([1.0, np.nan]), "ids": ["x", "y"]}, "the embedding of y is not finite"),
    ],
)
def test_what_is_no_cohort_is_refused(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Backend.cosine(2).normalised(**{"embeddings": np.ones((6, 2)), **settings})


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


def tensors(**changed: np.ndarray) -> dict[str, np.ndarray]:
    """Those of a file, of 4 dimensions reduced to 3, with PLDA and five in the cohort."""
    rng = np.random.default_rng(0)
    cohort = rng.normal(size=(5, 3))
    parts = {
        "mean": rng.normal(size=4),
        "transform": rng.normal(size=(4, 3)),
        "cohort": cohort / np.linalg.norm(cohort, axis=1, keepdims=True),
        "top": np.array([4]),
        "plda.mean": np.zeros(3),
        "plda.transform": rng.normal(size=(3, 2)),
        "plda.between": np.array([2.0, 1.0]),
    }
    return parts | changed


HOSTILE: dict[str, tuple[dict[str, np.ndarray], str]] = {
    "a mean of another size": ({"mean": np.zeros(5)}, r"transform has shape \(4, 3\); give \(5, D\)"),
    "a mean of two axes": ({"mean": np.zeros((4, 1))}, r"mean has shape \(4, 1\); give one with 1 axes"),
    "a transform of another size": ({"transform": np.eye(3)}, r"transform has shape \(3, 3\); give \(4, D\)"),
    "a transform to nothing": ({"transform": np.zeros((4, 0)), "cohort": np.zeros((0, 0))}, r"shape \(4, 0\)"),
    "a transform that is not finite": ({"transform": np.full((4, 3), np.inf)}, "transform holds something that is no"),
    "a mean that is no number": ({"mean": np.full(4, np.nan)}, "mean holds something that is no finite number"),
    "a mean of truth values": ({"mean": np.ones(4, bool)}, "mean holds something that is no finite number"),
    "a cohort of another size": ({"cohort": np.eye(4)}, r"cohort has shape \(4, 4\); give \(S, 3\)"),
    "a cohort of one": ({"cohort": np.eye(3)[:1]}, "the cohort has 1 vector, and a deviation needs two"),
    "a cohort of zeros": ({"cohort": np.zeros((5, 3))}, "row 0 of the cohort has length 0; give unit vectors"),
    "a cohort with a long row": ({"cohort": np.diag([1.0, 1.0, 1.01])}, "row 2 of the cohort has length 1.01"),
    "a cohort that is no number": ({"cohort": np.full((5, 3), np.nan)}, "cohort holds something that is no finite"),
    "a top of 0": ({"top": np.array([0])}, "top is 0; give 2 or more"),
    "a top below 0": ({"top": np.array([-5])}, "top is -5"),
    "a top that is no whole number": ({"top": np.array([np.nan])}, "top is nan"),
    "two tops": ({"top": np.array([4, 4])}, "is no back end"),
    "no top": ({"top": np.zeros(0, int)}, "is no back end"),
    "PLDA of another size": ({"plda.mean": np.zeros(4), "plda.transform": np.ones((4, 2))}, "PLDA is of 4 dimensions"),
    "PLDA that does not fit itself": (
        {"plda.transform": np.eye(3)},
        r"PLDA: the transform has shape \(3, 3\); give \(3, 2",
    ),
    "PLDA of other axes": ({"plda.between": np.eye(2)}, r"give \(E,\), \(E, D\) and \(D,\)"),
    "PLDA of nothing": ({"plda.transform": np.zeros((3, 0)), "plda.between": np.zeros(0)}, "PLDA: mean, transform and"),
    "PLDA below 0": ({"plda.between": np.array([1.0, -1.0])}, "PLDA: a variance between speakers is -1"),
    "PLDA that is not finite": ({"plda.mean": np.full(3, np.nan)}, "PLDA: mean holds something"),
    "PLDA with more": ({"plda.within": np.eye(3)}, "is no back end"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_file_that_would_break_scores_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "b.safetensors"
    save_file(tensors(), path)
    score = Backend.load(path).score(np.random.default_rng(1).normal(size=(2, 4)), [0], [1])
    assert np.isfinite(score).all()
    changed, message = HOSTILE[kind]
    save_file(tensors(**changed), path)
    with pytest.raises(InputError, match=message) as refused:
        Backend.load(path)
    assert str(refused.value).startswith(f"{path}: is no back end of speaker verification (")
    assert "\n" not in str(refused.value)


def test_a_cohort_that_was_kept_in_half_precision_is_read(tmp_path: Path) -> None:
    parts = tensors()
    save_file(parts | {"cohort": parts["cohort"].astype(np.float16)}, tmp_path / "b.safetensors")
    np.testing.assert_allclose(Backend.load(tmp_path / "b.safetensors").cohort, parts["cohort"], atol=5e-4)


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
        (np.eye(3), ["a", "a", "b"], {"lda": 2}, "lda is 2; give 1 to 1 dimensions"),
        (np.eye(3), ["a", "a", "b"], {"lda": 0}, "lda is 0; give 1 to 1"),
        (np.eye(3), ["a", "a", "b"], {"plda": True}, "PLDA of 3 dimensions: 3 recordings of 2 speakers"),
        (np.diag([1.0, np.nan, 1.0]), ["a", "a", "b"], {}, "embedding 1, of speaker 'a', is not finite; leave it out"),
    ],
)
def test_what_can_not_be_fitted_is_refused(embeddings, speakers, settings, message) -> None:
    with pytest.raises(InputError, match=message):
        Backend.fit(embeddings, speakers, **settings)
