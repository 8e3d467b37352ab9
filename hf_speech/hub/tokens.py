"""Tokens of the Hub: found in files and texts, and never shown."""

import re
from pathlib import Path

# As the Hub makes them: hf_ and 34 letters and digits, of organisations api_org_.
_TOKEN = re.compile(r"(?<![A-Za-z0-9])(?:hf_|api_org_)[A-Za-z0-9]{30,}")
_IN_BYTES = re.compile(_TOKEN.pattern.encode())
_BLOCK, _OVERLAP = 1 << 22, 1 << 9  # bytes; a token is shorter than what two blocks share


def without_tokens(text: str) -> str:
    """The text without this process's token, and without what looks like one.

    >>> without_tokens("Bearer hf_abcdefghijklmnopqrstuvwxyz0123456789 refused")
    'Bearer *** refused'
    """
    own = _own()
    return _TOKEN.sub("***", text.replace(own, "***") if own else text)


def token_in(text: str) -> bool:
    """Whether there is a token in a text: this process's, or any other that looks like one."""
    own = _own()
    return _TOKEN.search(text) is not None or bool(own and own in text)


def holds_token(path: Path) -> bool:
    """Whether there is a token in a file, of whatever kind and size, as plain text or in UTF-16."""
    own = (_own() or "").encode()
    with path.open("rb") as file:
        before = b""
        while block := file.read(_BLOCK):
            piece = before + block
            # UTF-16 of such letters is every second byte.
            if any(_IN_BYTES.search(part) or own and own in part for part in _readings(piece)):
                return True
            before = piece[-_OVERLAP:]
    return False


def _readings(piece: bytes) -> tuple[bytes, ...]:
    return (piece, piece[::2], piece[1::2]) if b"h\0f\0_\0" in piece or b"\0i\0_\0" in piece else (piece,)


def _own() -> str | None:
    from huggingface_hub import get_token

    return get_token()
