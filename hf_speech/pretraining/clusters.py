"""K-means on frames: centroids for several numbers of clusters at once, and the nearest one of each frame.

scikit-learn's MiniBatchKMeans goes over frames that lie on the disk, a batch at a time, so memory hangs on the batch
and the centroids alone. It starts from k-means++ (Arthur and Vassilvitskii, 2007) on frames drawn from all. Clusters
that catch few frames stay where they are (`reassignment_ratio=0`, as in the published code of HuBERT): silence has so
many frames that scikit-learn's default would move many of 4096 clusters again and again. Frames are not standardised,
as in P-TAPT (Chen and Rudnicky, 2110.06309).
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from tqdm import tqdm

from ..errors import InputError, list_some
from ..files import sha256_of
from .cluster_options import EPOCHS
from .spool import FrameSpool

CODEBOOK, FACTS = "codebook.safetensors", "clusters.json"
BATCH_FRAMES = 8192  # in a step; as many as there are clusters, where these are more
START_FRAMES = 3  # for each cluster, that k-means++ chooses among; a batch, where that is more


def column_of(count: int) -> str:
    """What the labels of so many clusters are called, in codebooks and tables: `k64`."""
    return f"k{count}"


@dataclass(frozen=True)
class Codebook:
    """Centroids.

    Attributes:
        centroids: number of clusters -> (K, D) float32, ascending.
        facts: how they were made.
    """

    centroids: dict[int, NDArray]
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Numbers in a frame."""
        return next(iter(self.centroids.values())).shape[1]

    def nearest(self, frames: NDArray) -> dict[int, NDArray]:
        """Number of clusters -> the nearest centroid of each frame: (F, D) -> (F,) int16, or int32 where need be."""
        return {count: labels for count, (labels, _) in self.distances(frames).items()}

    def distances(self, frames: NDArray) -> dict[int, tuple[NDArray, NDArray]]:
        """The same, and how far it is: (F,) Euclidean."""
        from sklearn.metrics import pairwise_distances_argmin_min

        found = {}
        for count, centroids in self.centroids.items():
            labels, far = pairwise_distances_argmin_min(frames, centroids)
            found[count] = labels.astype(label_type(count)), far
        return found

    def only(self, counts: Sequence[int]) -> "Codebook":
        """The same with some of the numbers of clusters.

        Raises:
            InputError: one that it does not have.
        """
        absent = sorted(set(counts) - self.centroids.keys())
        if absent:
            there = ", ".join(map(str, self.centroids))
            raise InputError(f"--counts: the codebook has no {list_some(absent)} clusters; it has {there}")
        return Codebook({count: self.centroids[count] for count in sorted(counts)}, self.facts)

    def save(self, path: Path) -> None:
        """Writes the centroids."""
        save_file({column_of(count): centroids for count, centroids in self.centroids.items()}, path)
        path.chmod(0o644)  # safetensors leaves its file to its owner alone


def label_type(count: int) -> type[np.signedinteger[Any]]:
    """The smaller of the types that hold the labels of so many clusters."""
    return np.int16 if count <= np.iinfo(np.int16).max + 1 else np.int32


def load_codebook(folder: str | os.PathLike[str]) -> Codebook:
    """What `hf-speech cluster` has fitted and written into a folder.

    Raises:
        InputError: nothing of the kind lies there, or it is damaged.
    """
    facts_path, path = Path(folder) / FACTS, Path(folder) / CODEBOOK
    if not (facts_path.is_file() and path.is_file()):
        raise InputError(f"{folder}: no codebook in it ({FACTS}, {CODEBOOK}); give a folder that `cluster` fitted")
    try:
        facts = json.loads(facts_path.read_text(encoding="utf-8"))["codebook"]
        if not _are_facts(facts):
            raise ValueError
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{facts_path}: can't be read as the facts of a codebook; fit it anew") from error
    if sha256_of(path) != facts["sha256"]:
        raise InputError(f"{path}: is not the file that {FACTS} beside it tells of; fit it anew")
    try:
        tensors = load_file(path)
    except (ValueError, KeyError, TypeError, SafetensorError) as error:
        raise InputError(f"{path}: can't be read as centroids; fit it anew") from error
    found = {count: tensors.get(column_of(count)) for count in facts["counts"]}
    size = next((values.shape[1] for values in found.values() if values is not None and values.ndim == 2), 0)
    for count, values in found.items():
        if values is None or (values.shape, values.dtype) != ((count, size), np.float32):
            raise InputError(f"{path}: {column_of(count)} is not {count} centroids of one size; fit it anew")
        if not np.isfinite(values).all():
            raise InputError(f"{path}: {column_of(count)} has NaN or infinite numbers; fit it anew")
    return Codebook({count: values for count, values in found.items() if values is not None}, facts)


def _are_facts(facts: Mapping[str, Any]) -> bool:
    """Whether that which is told of a codebook is there, and of the kind that it should be.

    Raises:
        KeyError: something is not there.
        TypeError: something is of another kind.
    """
    counts, named = facts["counts"], [facts["model"], facts["sha256"]]
    told = [facts["use"][str(count)][name] for count in counts for name in ("used", "perplexity", "inertia")]
    return (
        bool(counts)
        and all(type(number) is int and number > 0 for number in [facts["layer"], *counts])
        and all(isinstance(number, int | float) for number in told)
        and all(isinstance(name, str) for name in named)
        and isinstance(facts["encoder"], dict)
    )


def fit_codebook(spool: FrameSpool, counts: Sequence[int], *, seed: int = 0, epochs: int = EPOCHS) -> Codebook:
    """Fits centroids for several numbers of clusters to the frames of a spool, all in the same passes.

    The same frames in the same order and the same seed give the same centroids to the bit, on the same machine and with
    as many threads; whatever the other numbers of clusters, but for one that makes batches larger.

    Args:
        spool: the frames.
        counts: numbers of clusters.
        seed: of the start, and of the order of the batches.
        epochs: times that all frames are gone over.

    Returns:
        The codebook; its facts tell `inertia` (mean squared distance of a frame), `used` clusters, and the
        `perplexity` of their use, by number of clusters.

    Raises:
        InputError: fewer frames than clusters.
    """
    ascending = sorted(set(counts))
    require_frames(spool.frames, ascending)
    models = {count: _started(spool, count, np.random.default_rng([seed, count])) for count in ascending}
    order = np.random.default_rng([seed, 0])
    batch = max(BATCH_FRAMES, *ascending)
    with tqdm(total=epochs * spool.frames, desc="clustering", unit="frame", disable=None, leave=False) as bar:
        for _ in range(epochs):
            for frames in spool.batches(batch, order):
                for model in models.values():
                    model.partial_fit(frames)
                bar.update(len(frames))
    codebook = Codebook({count: model.cluster_centers_ for count, model in models.items()})
    said = {"counts": ascending, "seed": seed, "epochs": epochs, "batch_frames": batch, "frames": spool.frames}
    codebook.facts.update(said, use=_use(codebook, spool))
    return codebook


def require_frames(frames: int, counts: Sequence[int]) -> None:
    """Refuses more clusters than there are frames.

    Raises:
        InputError: there are.
    """
    if frames < max(counts):
        raise InputError(
            f"--counts: {max(counts)} clusters of {frames} frames; give fewer clusters, or more recordings, or leave "
            "--sample-ratio out"
        )


def _started(spool: FrameSpool, count: int, generator: np.random.Generator) -> Any:
    """A MiniBatchKMeans that has its first centroids."""
    from sklearn.cluster import MiniBatchKMeans, kmeans_plusplus

    sample = spool.sample(min(spool.frames, max(START_FRAMES * count, BATCH_FRAMES)), generator)
    state = int(generator.integers(2**31))
    centroids, _ = kmeans_plusplus(sample, count, random_state=state)
    return MiniBatchKMeans(
        count, init=centroids, n_init=1, compute_labels=False, reassignment_ratio=0.0, random_state=state
    )


def _use(codebook: Codebook, spool: FrameSpool) -> dict[str, dict[str, float]]:
    """How the frames that a codebook was fitted on fall on its clusters, by their number."""
    falls = {count: np.zeros(count, np.int64) for count in codebook.centroids}
    squares = dict.fromkeys(codebook.centroids, 0.0)
    for frames in spool.batches(BATCH_FRAMES):
        for count, (labels, far) in codebook.distances(frames).items():
            falls[count] += np.bincount(labels, minlength=count)
            squares[count] += float(np.square(far, dtype=np.float64).sum())
    return {
        str(count): {
            "inertia": squares[count] / spool.frames,
            "used": int(np.count_nonzero(falls[count])),
            "perplexity": perplexity(falls[count]),
        }
        for count in codebook.centroids
    }


def perplexity(falls: NDArray) -> float:
    """Exponential of the entropy of a use: as many clusters used alike would have it.

    >>> round(perplexity(np.array([5, 5, 0, 0])), 6)
    2.0
    """
    shares = np.asarray(falls, np.float64) / np.sum(falls)
    shares = shares[shares > 0]
    return float(np.exp(-(shares * np.log(shares)).sum()))
