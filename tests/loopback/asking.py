"""Requests for the tests of the Hub itself, which the real client would not make."""

import json
from http.client import HTTPConnection, HTTPMessage
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from .server import Hub


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: HTTPMessage
    body: bytes

    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)


def ask(
    hub: Hub,
    method: str,
    path: str,
    user: str | None = None,
    content: Any = None,
    headers: dict[str, str] | None = None,
) -> Answer:
    """One request, with the token of a user; `content` is bytes, or is sent as JSON."""
    address = urlsplit(hub.endpoint)
    connection = HTTPConnection(str(address.hostname), address.port or 80, timeout=20)
    signed = {"Authorization": f"Bearer {hub.token(user)}"} if user else {}
    body = content if isinstance(content, bytes | None) else json.dumps(content).encode()
    try:
        connection.request(method, path, body, signed | (headers or {}))
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read())
    finally:
        connection.close()


def commit_lines(*changes: tuple[str, dict], title: str = "a commit", **header: str) -> bytes:
    """The body of a commit: the header and its changes."""
    rows = [("header", {"summary": title, **header}), *changes]
    return b"".join(json.dumps({"key": key, "value": value}).encode() + b"\n" for key, value in rows)
