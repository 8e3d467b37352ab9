"""Memory that libraries keep for themselves, the more of it the more lengths they have met."""

import ctypes
import functools
import os
from typing import Any

_PLANS = 64


@functools.cache
def _library() -> Any:
    try:
        return ctypes.CDLL("libc.so.6")
    except OSError:  # another system, or another library
        return None


def keep_few_plans() -> None:
    """Bounds what oneDNN keeps, unless the user has: plans, with code, of the last products and convolutions.

    By itself it keeps 1,024, one for each shape; recordings give other shapes with each batch, and few come again. It
    has to be said before the first product.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(_PLANS))


def give_back() -> bool:
    """Gives what the process has freed back to the system, where glibc holds it; a few milliseconds.

    A pass over recordings asks for other sizes with each batch. By itself glibc keeps what is left of each, so that a
    process grows for as long as it meets new lengths.

    Returns:
        Whether there was something.
    """
    trim = getattr(_library(), "malloc_trim", None)
    return bool(trim(0)) if trim is not None else False
