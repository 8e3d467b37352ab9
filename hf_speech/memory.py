"""Memory that is free: glibc keeps it for itself, the more of it the more sizes were asked for."""

import ctypes
import functools
from typing import Any


@functools.cache
def _library() -> Any:
    try:
        return ctypes.CDLL("libc.so.6")
    except OSError:  # another system, or another library
        return None


def give_back() -> bool:
    """Gives what the process has freed back to the system, where glibc holds it; a few milliseconds.

    A pass over recordings asks for other sizes with each batch. By itself glibc keeps what is left of each, so that a
    process grows for as long as it meets new lengths.

    Returns:
        Whether there was something.
    """
    trim = getattr(_library(), "malloc_trim", None)
    return bool(trim(0)) if trim is not None else False
