"""Embeddings laid out in the plane, for the eye: near points are recordings that sound alike to the model.

Such a map keeps neighbours together; distances between groups, and the sizes of groups, mean nothing in it.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError, lookup

logger = logging.getLogger(__name__)

LIMIT = 3_000  # recordings of a map: half a minute of t-SNE on one core, and more would cover each other
PERPLEXITY = 30.0  # van der Maaten & Hinton: results hardly change between 5 and 50
NEIGHBOURS = 15  # of UMAP, as its authors have it
_FEWEST = 5  # with fewer there are no neighbourhoods to keep


@dataclass(frozen=True)
class Map:
    """Recordings in the plane.

    Attributes:
        points: (M, 2) float32.
        chosen: (M,) which of the embeddings they are, rising.
        method: how they were laid out, in words.
    """

    points: NDArray
    chosen: NDArray
    method: str


def project(
    embeddings: ArrayLike, speakers: Sequence[Any] | None = None, *, method: str = "auto", seed: int = 0
) -> Map:
    """Lays out embeddings by their directions, as cosine scoring sees them. The same input and seed give the same map.

    Of more than 3,000 recordings some are drawn: whole speakers, where they are known.

    Args:
        embeddings: (N, E), finite.
        speakers: (N,) who speaks; for the draw alone.
        method: "tsne": van der Maaten & Hinton, "Visualizing data using t-SNE", JMLR 2008; "umap": McInnes, Healy &
            Melville, "UMAP: uniform manifold approximation and projection", 2018 (needs the package umap-learn);
            "pca": the two directions of most variance. "auto": t-SNE, and PCA of fewer than 5 recordings.
        seed: of the draw and of the method.

    Raises:
        InputError: no recordings, too few for the method, an embedding that is zero or not finite, or an unknown
            method or one that is not installed.
    """
    vectors = np.asarray(embeddings, dtype=np.float32)
    if vectors.ndim != 2 or not len(vectors):
        raise InputError(f"embeddings are {vectors.shape}; give (N, E), N at least 1")
    if method == "auto":
        method = "tsne" if len(vectors) >= _FEWEST else "pca"
    layout = lookup(METHODS, method, "map")
    if len(vectors) < _FEWEST and layout is not _pca:
        raise InputError(f"a map by {method!r} needs {_FEWEST} recordings, there are {len(vectors)}; take 'pca'")
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
    wrong = np.flatnonzero(~(np.isfinite(lengths) & (lengths > 0)))
    if len(wrong):
        raise InputError(f"embedding {wrong[0]} is zero or not finite, so it has no direction; leave it out")
    chosen = _drawn(len(vectors), speakers, seed)
    directions = vectors[chosen] / lengths[chosen, None].astype(np.float32)
    points, words = layout(directions, seed)
    return Map(points.astype(np.float32), chosen, words)


def _drawn(count: int, speakers: Sequence[Any] | None, seed: int) -> NDArray:
    """At most LIMIT places, rising: speakers are drawn until the next would not fit; a first one too large is cut."""
    if count <= LIMIT:
        return np.arange(count)
    rng = np.random.default_rng(seed)
    if speakers is None:
        logger.info("the map has %d of %d recordings, drawn with seed %d", LIMIT, count, seed)
        return np.sort(rng.choice(count, LIMIT, replace=False))
    _, voices = np.unique(np.asarray([str(speaker) for speaker in speakers]), return_inverse=True)
    rank = rng.permutation(voices.max() + 1)[voices]  # of each recording's speaker in the draw
    order = np.lexsort((rng.random(count), rank))
    last = rank[order[LIMIT]]  # this one does not fit whole
    kept = order[:LIMIT][rank[order[:LIMIT]] < last] if last else order[:LIMIT]
    found = "%d of %d recordings, of %d of %d speakers"
    logger.info(f"the map has {found}, drawn with seed %d", len(kept), count, max(last, 1), voices.max() + 1, seed)
    return np.sort(kept)


def _tsne(directions: NDArray, seed: int) -> tuple[NDArray, str]:
    from sklearn.manifold import TSNE  # slow to import

    # Between unit vectors the squared distance, which t-SNE takes, is twice the cosine distance.
    perplexity = min(PERPLEXITY, (len(directions) - 1) / 3)
    layout = TSNE(perplexity=perplexity, init="random" if directions.shape[1] < 2 else "pca", random_state=seed)
    return layout.fit_transform(directions), f"t-SNE, perplexity {perplexity:.3g}"


def _umap(directions: NDArray, seed: int) -> tuple[NDArray, str]:
    try:
        from umap import UMAP
    except ImportError:
        raise InputError("UMAP is not installed; `pip install umap-learn`, or take 'tsne'") from None
    neighbours = min(NEIGHBOURS, len(directions) - 1)
    # With a seed it runs in one thread, and says so in a warning unless that is asked for.
    layout = UMAP(n_neighbors=neighbours, metric="cosine", random_state=seed, n_jobs=1)
    return layout.fit_transform(directions), f"UMAP, {neighbours} neighbours"


def _pca(directions: NDArray, seed: int) -> tuple[NDArray, str]:
    """The scores on the first two principal components; signs so that each has its largest share above 0."""
    centred = directions - directions.mean(axis=0)
    left, values, right = np.linalg.svd(centred.astype(np.float64), full_matrices=False)
    signs = np.sign(right[np.arange(len(right)), np.abs(right).argmax(axis=1)])
    points = np.zeros((len(directions), 2))
    kept = min(2, len(values))
    points[:, :kept] = (left * values * signs)[:, :kept]
    return points, "PCA"


METHODS: dict[str, Callable[[NDArray, int], tuple[NDArray, str]]] = {"tsne": _tsne, "umap": _umap, "pca": _pca}
