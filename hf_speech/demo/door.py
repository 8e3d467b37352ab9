"""Who comes too often, or brings too much, is refused at the door, before anything is read or waits."""

import json
import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from .limits import Gate, Limits

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
        self.files = Gate(limits.files_per_minute, "files")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the class."""
        refused = self._refused(scope) if scope["type"] == "http" and scope["method"] == "POST" else None
        if refused is None:
            await self.app(scope, receive, send)
            return
        status, headers, words = refused
        fields = {"content-type": "application/json", **headers}
        encoded = [(name.encode(), value.encode()) for name, value in fields.items()]
        await send({"type": "http.response.start", "status": status, "headers": encoded})
        await send({"type": "http.response.body", "body": json.dumps({"detail": words}).encode()})

    def _refused(self, scope: Scope) -> tuple[int, dict[str, str], str] | None:
        """Status, headers and words for what is not let in."""
        path = scope["path"].rstrip("/")
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if path.endswith("/queue/join") or "/gradio_api/call/" in path:
            gate = self.requests
        elif path.endswith(("/upload", "/process_recording")):
            size = headers.get("content-length", "")  # of one that does not say, Gradio counts each file as it comes
            if size.isdecimal() and int(size) > self.limits.max_bytes:
                return 413, {}, f"That is too much at once. Please send {self.limits.max_bytes / 1e6:.0f} MB at most."
            gate = self.files
        else:
            return None
        wait = gate.enter(_visitor(scope, headers))
        return (429, {"retry-after": str(wait)}, gate.refusal(wait)) if wait else None


def _visitor(scope: Scope, headers: dict[str, str]) -> str:
    """Who asks.

    Behind the proxy of a Space all come from one address, and the proxy says for whom: the last entry is its own, those
    before it are what the visitor claims.
    """
    forwarded = headers.get("x-forwarded-for", "") if os.environ.get("SPACE_ID") else ""
    return forwarded.rpartition(",")[2].strip() or str((scope.get("client") or [""])[0])
