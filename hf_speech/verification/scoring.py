"""Sums over embeddings in blocks: products of many pairs, and how like each is to a cohort.

A matrix product may add in another order when it has other rows, other threads or another processor. So that what is
found of an utterance is the same, alone or among others, products with a cohort are made such that no sum is rounded,
and other products have blocks of one size, filled up. Memory does not grow with the number of trials.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import ArrayLike, NDArray

PAIRS = 512  # whose vectors fit into the cache of a core
_ROWS = (
    768  # of the blocks of `times`; kernels of matrix products take 2 to 24 rows at once, and treat a rest otherwise
)
_CELLS = 2**23  # of a block of products with a cohort, 64 MB in float64
_BITS = 26  # of a number in such a product: of two, added up, 52, and float64 has 53
_THREADS = 4  # at most: the matrix products have threads of their own


def pair_products(vectors: NDArray, left: ArrayLike, right: ArrayLike) -> NDArray:
    """The inner product of each pair of rows.

    Shape:
        vectors (N, E) float, left and right (T,) places from 0 -> (T,)

    Raises:
        IndexError: a place that is not there.
    """
    first, second = np.asarray(left), np.asarray(right)
    for side in (first, second):
        if side.size and not 0 <= side.min() <= side.max() < len(vectors):
            raise IndexError(f"places from {side.min()} to {side.max()} of {len(vectors)} rows")
    products = np.empty(len(first), vectors.dtype)

    def work(starts: Sequence[int]) -> None:
        # Buffers of their own: memory that is got and given back for each block costs more than the products.
        buffers = np.empty((2, PAIRS, vectors.shape[1]), vectors.dtype)
        for start in starts:
            block = slice(start, start + PAIRS)
            one, other = (buffer[: len(first[block])] for buffer in buffers)
            for places, rows in ((first, one), (second, other)):
                np.take(vectors, places[block], axis=0, out=rows, mode="clip")  # the mode that needs no copy
            np.einsum("te,te->t", one, other, out=products[block])

    _share(work, range(0, len(first), PAIRS))
    return products


def times(vectors: NDArray, matrix: NDArray) -> NDArray:
    """The matrix product (N, E) x (E, D) -> (N, D), of the matrix's type, the rows independent of each other."""
    product = np.empty((len(vectors), matrix.shape[1]), matrix.dtype)
    for start in range(0, len(vectors), _ROWS):
        product[start : start + _ROWS] = (_filled(vectors, start, _ROWS, matrix.dtype) @ matrix)[: len(vectors) - start]
    return product


def likeness(vectors: NDArray, cohort: NDArray, offsets: NDArray, top: int) -> tuple[NDArray, NDArray]:
    """Mean and population deviation of each vector's highest products with a cohort.

    Vectors are rounded to 26 bits of their length, which changes a cosine by some 1e-8; products are sorted as float32.

    Args:
        vectors: (N, E).
        cohort: (S, E).
        offsets: (S,), added to the products.
        top: how many count; of a smaller cohort all.

    Returns:
        (N,) and (N,).
    """
    others = _coarse(cohort).T
    left_out, shifted = max(len(cohort) - top, 0), bool(offsets.any())
    means, deviations = np.empty(len(vectors)), np.empty(len(vectors))
    size = min(max(_CELLS // len(cohort), 1), len(vectors))

    def work(starts: Sequence[int]) -> None:
        exact, rounded = np.empty((size, len(cohort))), np.empty((size, len(cohort)), np.float32)
        for start in starts:
            rows = _coarse(vectors[start : start + size])
            products, found = exact[: len(rows)], rounded[: len(rows)]
            np.matmul(rows, others, out=products)
            if shifted:
                products += offsets
            found[:] = products
            if left_out:
                found.partition(left_out, axis=1)
            highest = found[:, left_out:].astype(np.float64)
            means[start : start + size] = mean = highest.mean(axis=1)
            highest -= mean[:, None]
            np.square(highest, out=highest)
            deviations[start : start + size] = np.sqrt(highest.mean(axis=1))

    _share(work, range(0, len(vectors), size or 1))
    return means, deviations


def _coarse(vectors: NDArray) -> NDArray:
    """Rows rounded to multiples of 2**-26 of a power of two above their length.

    By Cauchy and Schwarz, a sum of products of two such rows, and each part of it, is a whole number below 2**53 of
    units: float64 holds it, in whatever order it is added.
    """
    lengths = np.sqrt(np.einsum("ne,ne->n", vectors, vectors))
    scale = np.ldexp(1.0, _BITS - np.frexp(lengths)[1])[:, None]
    return np.rint(vectors * scale) / scale


def _filled(vectors: NDArray, start: int, size: int, dtype: type | np.dtype) -> NDArray:
    """So many rows from a start on; after the last come zeros."""
    piece = vectors[start : start + size]
    rows = np.zeros((size, vectors.shape[1]), dtype)
    rows[: len(piece)] = piece
    return rows


def _share(work: Callable[[Sequence[int]], None], starts: Sequence[int]) -> None:
    """Has blocks worked off by threads, each with its share; numpy lets them run at the same time."""
    threads = min(_THREADS, os.cpu_count() or 1, len(starts))
    if threads < 2:
        work(starts)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, [starts[k::threads] for k in range(threads)]))
