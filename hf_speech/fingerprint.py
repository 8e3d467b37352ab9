"""Which items were measured: a short digest of their names."""

import hashlib
from collections.abc import Iterable


def fingerprint(ids: Iterable[str]) -> str:
    """Sixteen hexadecimal digits that two runs share exactly if they measured the same items, in whatever order.

    The start of the SHA-256 of the sorted ids, a line each: what `LC_ALL=C sort ids.txt | sha256sum` prints.

    >>> fingerprint(["b.wav", "a.wav"]) == fingerprint(["a.wav", "b.wav"])
    True
    """
    digest = hashlib.sha256()
    for item in sorted(ids):
        digest.update(f"{item}\n".encode())
    return digest.hexdigest()[:16]
