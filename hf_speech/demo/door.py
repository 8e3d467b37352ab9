"""Who comes too often, or brings too much, is refused at the door, before anything waits."""

import json
import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.exceptions import HTTPException

from .limits import Gate, Limits

_WORDS = 1_000_000  # bytes of a request that names files which were sent before
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Door:
    """ASGI middleware: counts what each visitor asks and sends, as it comes.

    Gradio itself counts all visitors together, and only what waits. What a page loads by itself (its text, examples)
    is not counted.

    Args:
        app: behind the door.
        limits: of a visitor.
    """

    def __init__(self, app: App, limits: Limits) -> None:
        self.app = app
        self.limits = limits
        self.requests = Gate(limits.per_minute)
        self.uploads = Gate(limits.uploads_per_minute, "uploads")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the class."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        path = scope["path"].rstrip("/")
        brings = path.endswith(("/upload", "/process_recording"))
        most = self.limits.max_bytes if brings else _WORDS
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        size = headers.get("content-length", "")
        if size.isdecimal() and int(size) > most:
            await _answer(send, 413, _too_much(most), {}, plain=brings)
            return
        gate = self.uploads if brings else self.requests
        asks = brings or path.endswith("/queue/join") or "/gradio_api/call/" in path
        wait = gate.enter(_visitor(scope, headers)) if asks else 0
        if wait:
            await _answer(send, 429, gate.refusal(wait), {"retry-after": str(wait)}, plain=brings)
        else:
            await self.app(scope, _counted(receive, most), send)


def _counted(receive: Receive, most: int) -> Receive:
    """The same that stops at so many bytes: who sends piece by piece need not say beforehand how many there are."""
    came = 0

    async def counting() -> MutableMapping[str, Any]:
        nonlocal came
        message = await receive()
        came += len(message.get("body", b""))
        if came > most:
            raise HTTPException(413, _too_much(most))
        return message

    return counting


def _too_much(most: int) -> str:
    return f"That is too much at once. Please send {most / 1e6:.3g} MB at most."


async def _answer(send: Send, status: int, words: str, headers: dict[str, str], plain: bool) -> None:
    """Refuses; what Gradio's page shows of a refused upload is the text as it is, of a request its `detail`."""
    fields = {"content-type": "text/plain" if plain else "application/json", **headers}
    encoded = [(name.encode(), value.encode()) for name, value in fields.items()]
    body = words if plain else json.dumps({"detail": words})
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": body.encode()})


def _visitor(scope: Scope, headers: dict[str, str]) -> str:
    """Who asks.

    Behind the proxy of a Space all come from one address, and the proxy says for whom: the last entry is its own, those
    before it are what the visitor claims.
    """
    forwarded = headers.get("x-forwarded-for", "") if os.environ.get("SPACE_ID") else ""
    return forwarded.rpartition(",")[2].strip() or str((scope.get("client") or [""])[0])
