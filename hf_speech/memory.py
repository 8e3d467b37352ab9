"""Memory: what libraries keep for themselves, the more lengths they have met, and what costs time to ask for anew."""

import ctypes
import functools
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_PLANS = 64
# Of malloc.h: how much room at the end of the heap is given back, and asked for beside what is needed; from what size
# on memory is asked of the system, and how often it may be.
_TRIM, _TOP_PAD, _MMAP_FROM, _MMAP_MOST = -1, -2, -3, -4
_WITHIN = {_MMAP_MOST: 0, _TRIM: -1, _TOP_PAD: 64 << 20}  # -1: never
# What glibc comes to by itself where large tensors come and go; before anything is set it follows what is freed.
_AFTERWARDS = {_MMAP_MOST: 65_536, _MMAP_FROM: 32 << 20, _TRIM: 64 << 20, _TOP_PAD: 128 << 10}
_ROOM, _PAGE, _ADVISE_LARGE = 2 << 30, 2 << 20, 14


class _Holders:
    """Who wants freed memory to be kept, now."""

    def __init__(self) -> None:
        self.lock, self.count = threading.Lock(), 0

    def enter(self) -> None:
        with self.lock:
            self.count += 1
            if self.count == 1:
                _set(_WITHIN)
                _take_large_pages()

    def leave(self) -> None:
        with self.lock:
            self.count -= 1
            if not self.count:
                _set(_AFTERWARDS)
                give_back()

    def begin_anew(self) -> None:
        """In a process that was forked meanwhile, such as one that reads ahead, nobody does."""
        if self.count:
            self.lock, self.count = threading.Lock(), 0
            _set(_AFTERWARDS)


_holders = _Holders()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_holders.begin_anew)


@functools.cache
def _library() -> Any:
    try:
        library = ctypes.CDLL("libc.so.6")
        library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
        library.free.argtypes = [ctypes.c_void_p]
        library.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        return library if hasattr(library, "gnu_get_libc_version") else None
    except (OSError, AttributeError):  # another system, or another library
        return None


def keep_few_plans() -> None:
    """Bounds what oneDNN keeps, unless the user has: plans, with code, of the last products and convolutions.

    By itself it keeps 1,024, one for each shape; recordings give other shapes with each batch, and few come again. It
    has to be said before the first product.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(_PLANS))


def give_back() -> bool:
    """Gives what the process has freed back to the system, where glibc holds it; a few milliseconds.

    Returns:
        Whether there was something.
    """
    return bool(_library().malloc_trim(0)) if _library() is not None else False


@contextmanager
def kept_memory(device: Any) -> Iterator[None]:
    """Within, on a CPU, tensors get the memory of those that are gone, in large pages; afterwards it is given back.

    By itself glibc asks the system for the memory of each large tensor and gives it back at once. The system clears it,
    in pages of 4 kB: of an ECAPA-TDNN's pass in bfloat16 that was a third of the time. Afterwards glibc no longer
    learns from which size on to ask the system, but stays at 32 MB, where it would come to. Nothing is done where there
    is another library, and where the user has told glibc what to do, or bounded the memory.

    Args:
        device: of torch, on which is computed.
    """
    if device.type != "cpu" or _library() is None or _is_users_choice():
        yield
        return
    _holders.enter()
    try:
        yield
    finally:
        _holders.leave()


def _set(values: dict[int, int]) -> None:
    for what, value in values.items():
        _library().mallopt(what, value)


def _is_users_choice() -> bool:
    import resource

    bounded = any(
        resource.getrlimit(which)[0] != resource.RLIM_INFINITY for which in (resource.RLIMIT_AS, resource.RLIMIT_DATA)
    )
    told = any(name.startswith("MALLOC_") or name in ("GLIBC_TUNABLES", "LD_PRELOAD") for name in os.environ)
    return bounded or told


def _take_large_pages() -> None:
    """Makes room at the end of the heap, which takes no memory until it is written to, and asks for large pages there.

    Where the system does not have them for who asks, it stays as it is.
    """
    room = _library().malloc(_ROOM)
    if room:
        first = -(-room // _PAGE) * _PAGE
        _library().madvise(first, _ROOM - 2 * _PAGE, _ADVISE_LARGE)
        _library().free(room)
