"""Quality measures of recordings: what says, beside the score, how far to trust it."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError, lookup
from .backend import Backend
from .calibration import Calibration, pair_qualities

Measure = Callable[[NDArray, NDArray, Backend | None], NDArray]


def qualities_of(
    seconds: ArrayLike, embeddings: ArrayLike, backend: Backend | None, names: Sequence[str]
) -> dict[str, NDArray]:
    """Measures of U sides of trials, for `pair_qualities`; of a side with several recordings, of their means.

    Args:
        seconds: (U,) duration, averaged over the recordings of a side: a sum would lie where nothing was fitted.
        embeddings: (U, E) as the model gives them, averaged likewise.
        backend: what gives the scores; None: the plain cosine.
        names: of `MEASURES`.

    Returns:
        name -> (U,).

    Raises:
        InputError: an unknown name, a duration that is not above 0, or "cohort_mean" where the back end has no cohort.
    """
    durations, vectors = np.asarray(seconds, dtype=np.float64), np.asarray(embeddings)
    return {name: lookup(MEASURES, name, "quality measure")(durations, vectors, backend) for name in names}


def measures_in(calibration: Calibration) -> tuple[str, ...]:
    """The measures that a calibration weighs.

    >>> measures_in(Calibration(("score", "magnitude_min", "magnitude_max"), (9.0, 0.1, 0.0), -4.0, 0.5, {}))
    ('magnitude',)

    Raises:
        InputError: it weighs something else.
    """
    weighed = calibration.names[1:]
    measures = tuple(name.removesuffix("_min") for name in weighed[::2])
    for name in measures:
        lookup(MEASURES, name, "quality measure")
    wanted = pair_qualities({name: [0.0] for name in measures}, [0], [0])[1] if measures else ()
    if weighed != wanted:
        listed = ", ".join(weighed)
        raise InputError(f"the calibration weighs {listed}; names and order must be those of `pair_qualities`")
    return measures


def _log_durations(seconds: NDArray, embeddings: NDArray, backend: Backend | None) -> NDArray:
    if not (seconds > 0).all():
        raise InputError(f"a recording is {seconds.min():g} s long; a duration must be above 0")
    return np.log(seconds)


def _magnitudes(seconds: NDArray, embeddings: NDArray, backend: Backend | None) -> NDArray:
    return np.linalg.norm(embeddings.astype(np.float64), axis=1)


def _cohort_means(seconds: NDArray, embeddings: NDArray, backend: Backend | None) -> NDArray:
    if backend is None:
        raise InputError("cohort_mean needs a back end with a cohort; leave it out, or normalise scores by as-norm")
    return backend.likeness(embeddings)[0]


MEASURES: Mapping[str, Measure] = {
    "log_duration": _log_durations,  # natural logarithm of seconds
    "magnitude": _magnitudes,  # length of the embedding before the back end
    "cohort_mean": _cohort_means,  # mean of its highest scores against the cohort
}
