"""Weights from elsewhere into parts of ours: all of them, or an error that says which are missing."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor, nn

from .registry import InputError

_COUNTER = "num_batches_tracked"  # of batch norms; no output depends on it, and old files lack it


def fill(part: nn.Module, weights: Mapping[str, Tensor], what: str) -> None:
    """Gives a part all its weights.

    Args:
        part: whose weights are replaced.
        weights: under the names of the part.
        what: the part by name, for the message ("pooling").

    Raises:
        InputError: one is missing, has another shape, or is none of the part's.
    """
    own = part.state_dict()
    missing = [name for name in own if name not in weights and not name.endswith(_COUNTER)]
    strange = [name for name in weights if name not in own]
    if missing or strange:
        kind = "lack" if missing else "have, one too many,"
        raise InputError(f"the weights of the {what} ({type(part).__name__}) {kind} {(missing or strange)[0]}")
    for name, weight in weights.items():
        if weight.shape != own[name].shape:
            raise InputError(
                f"the weights of the {what}: {name} has the shape {tuple(weight.shape)}, not {tuple(own[name].shape)}"
            )
    part.load_state_dict(weights, strict=False)


@contextmanager
def naming_file(path: object) -> Iterator[None]:
    """Puts a file's path before what is said of its content; what is no path stays out of it.

    Raises:
        InputError: in the place of the error.
    """
    try:
        yield
    except InputError as error:
        if not isinstance(path, str | os.PathLike):
            raise
        raise InputError(f"{os.fspath(path)}: {error}") from error
