"""Requests as the routes see them, and the answers they give."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import Message
from http.client import responses
from typing import IO, Any
from urllib.parse import parse_qs, unquote

from .blobs import Blob
from .errors import HubError, bad_request


@dataclass
class Request:
    """One request whose body has been read.

    Attributes:
        target: As it came: the path, not unquoted, and the query.
        names: What the route found in the path, unquoted.
        user: Who the token belongs to.
    """

    method: str
    target: str
    headers: Message
    body: IO[bytes]
    names: dict[str, str] = field(default_factory=dict)
    user: str | None = None

    @property
    def path(self) -> str:
        """Without the query, not unquoted."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> dict[str, list[str]]:
        """The parameters after the question mark."""
        return parse_qs(self.target.partition("?")[2])

    @property
    def token(self) -> str | None:
        """The token that came with the request."""
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        return token.strip() if scheme.lower() == "bearer" else None

    def flag(self, name: str) -> bool:
        """Whether a parameter is on; clients write 1, true and True."""
        return self.query.get(name, [""])[-1].lower() in {"1", "true"}

    def json(self) -> dict[str, Any]:
        """The body, a JSON object; nothing is an empty one.

        Raises:
            HubError: 400.
        """
        try:
            content = json.loads(self.body.read() or b"{}")
        except ValueError as problem:
            raise bad_request(f"The body is not JSON: {problem}") from None
        if not isinstance(content, dict):
            raise bad_request("The body is not a JSON object")
        return content

    def form(self) -> dict[str, list[str]]:
        """The body, a form or a JSON object; values are lists."""
        if "json" in self.headers.get("Content-Type", ""):
            return {key: value if isinstance(value, list) else [value] for key, value in self.json().items()}
        return parse_qs(self.body.read().decode())


@dataclass
class Response:
    """An answer: `body`, or a part of a `blob` from `first` up to `stop`.

    Attributes:
        flipped: The byte of the blob whose lowest bit is sent wrong, for tests of corruption.
    """

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    blob: Blob | None = None
    first: int = 0
    stop: int = 0
    flipped: int | None = None

    @property
    def length(self) -> int:
        """Bytes that will be sent."""
        return self.stop - self.first if self.blob else len(self.body)

    def pieces(self) -> Iterator[bytes]:
        """The bytes to send."""
        if self.blob is None:
            yield self.body
            return
        at = self.first
        for piece in self.blob.pieces(self.first, self.stop):
            if self.flipped is not None and at <= self.flipped < at + len(piece):
                wrong = bytearray(piece)
                wrong[self.flipped - at] ^= 1
                piece = bytes(wrong)
            at += len(piece)
            yield piece


def as_json(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """An answer in JSON; dates, which YAML brings in, are written as ISO 8601."""
    kind = {"Content-Type": "application/json; charset=utf-8"}
    return Response(status, kind | (headers or {}), json.dumps(content, default=str).encode())


def as_page(html: str, status: int = 200) -> Response:
    """An answer for a browser."""
    return Response(status, {"Content-Type": "text/html; charset=utf-8"}, html.encode())


def as_error(error: HubError) -> Response:
    """The refusal as the Hub words it: in the body and in two headers."""
    headers = error.headers | {"X-Error-Message": " ".join(str(error).encode("ascii", "replace").decode().split())}
    if error.code:
        headers["X-Error-Code"] = error.code
    return as_json({"error": error.message} | error.body, error.status, headers)


def as_failure(status: int, headers: dict[str, str]) -> Response:
    """What a server in trouble answers."""
    return as_json({"error": responses.get(status, "Unknown")}, status, headers)


def unquoted(names: dict[str, str | None]) -> dict[str, str]:
    """The names that a pattern found in a path."""
    return {name: unquote(value) for name, value in names.items() if value is not None}
