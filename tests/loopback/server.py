"""The server: reads requests, lets go wrong what is to go wrong, sends answers, keeps a log."""

import contextlib
import os
import re
import socket
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, NamedTuple, Self

from .blobs import CHUNK
from .exchange import Request, Response, as_failure
from .faults import Fault, Faults
from .routes import answer
from .site import Accounts, Site

if TYPE_CHECKING:
    from huggingface_hub import HfApi

LOST = 0  # the status in the log of a request that got no answer
# Set for a process that may reach this Hub alone: what it asks of others comes here and is refused.
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
OURS = re.compile(r"(HF|HUGGING_?FACE|HUGGINGFACE|TRANSFORMERS|DATASETS|GRADIO)_.*|.*_proxy", re.IGNORECASE)


class Asked(NamedTuple):
    """One request in the log: `path` with its query, as it came; status 0 where the connection was lost."""

    method: str
    path: str
    had_authorization: bool
    status: int


class _LostError(Exception):
    """The connection ends here."""


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: "_Server"

    def setup(self) -> None:
        super().setup()
        self.server.connections.add(self.connection)

    def finish(self) -> None:
        self.server.connections.discard(self.connection)
        with contextlib.suppress(OSError):
            super().finish()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on the screen; the log is `Hub.requests`."""

    def _serve(self) -> None:
        try:
            self._exchange()
        except (_LostError, ConnectionError):
            self.close_connection = True
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = do_CONNECT = _serve  # noqa: N815

    def _exchange(self) -> None:
        hub = self.server.hub
        if not self.path.startswith("/"):
            self._refuse_other_hosts()
            return
        time.sleep(hub.faults.delay(self.command, self.path))
        fault = hub.faults.take(self.command, self.path)
        with tempfile.SpooledTemporaryFile(CHUNK) as body:
            self._receive(body, fault)
            if fault and fault.close:
                self._lose()
            body.seek(0)
            response = self._answer(Request(self.command, self.path, self.headers, body), fault)
        if fault and fault.lose_answer:
            self._lose()
        self._note(response.status)
        self._send(response, fault.after_bytes if fault else None)

    def _refuse_other_hosts(self) -> None:
        """For requests that came here as to a proxy; those to services of this Hub's own (xyz.HOST) are not outside."""
        own = f".127.0.0.1:{self.server.server_port}/" in self.path
        if own:
            self._note(404)
        else:
            self.server.hub.outside.append(f"{self.command} {self.path}")
        self.close_connection = True
        self._send(as_failure(404 if own else 502, {}))

    def _answer(self, request: Request, fault: Fault | None) -> Response:
        if fault and fault.content is not None:
            return Response(200, {"Content-Type": "application/json"}, fault.content)
        if fault and not fault.lose_answer and fault.after_bytes is None:
            retry = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
            return as_failure(fault.status, retry)
        try:
            return answer(self.server.hub.site, request)
        except Exception:
            self.server.hub.crashes.append(traceback.format_exc())
            return as_failure(501, {})  # which the client does not try again

    def _note(self, status: int) -> None:
        had_authorization = "Authorization" in self.headers
        self.server.hub.requests.append(Asked(self.command, self.path, had_authorization, status))

    def _lose(self) -> None:
        self._note(LOST)
        raise _LostError

    def _receive(self, body: IO[bytes], fault: Fault | None) -> None:
        """Reads what the client sends, up to where a fault cuts it off."""
        stop = fault.after_bytes if fault else None
        read = 0
        for piece in self._pieces():
            body.write(piece)
            read += len(piece)
            if stop is not None and read >= stop:
                self._lose()

    def _pieces(self) -> Iterator[bytes]:
        """The body of the request, whole or in chunks, as it comes."""
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            yield from self._exactly(int(self.headers.get("Content-Length") or 0))
            return
        while size := int(self.rfile.readline().split(b";")[0] or b"0", 16):
            yield from self._exactly(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass

    def _exactly(self, size: int) -> Iterator[bytes]:
        while size:
            piece = self.rfile.read1(min(size, 1 << 16))
            if not piece:
                raise ConnectionError("the client went away")
            size -= len(piece)
            yield piece

    def _send(self, response: Response, stop: int | None = None) -> None:
        """Sends the answer, or only so many bytes of its content."""
        self.send_response(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(response.length))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command == "HEAD":
            return
        for piece in response.pieces():
            self.wfile.write(piece[:stop])
            if stop is not None and (stop := stop - len(piece)) <= 0:
                raise _LostError


class _Server(ThreadingHTTPServer):
    """Holds the connections, to end them when the Hub does: a client must not talk on to one that is gone."""

    request_queue_size = 64

    def __init__(self, hub: "Hub", port: int):
        self.hub = hub
        self.connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """Says nothing of clients that went away."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class Hub:
    """A Hub on this machine, for the real client to talk to.

    Args:
        users: Names with tokens; ada and bob when not given.
        organizations: Names with their members; lab, with ada, when neither is given.
        port: 0 for any that is free.
        folder: Where large files go; a temporary folder when not given.
        page_size: Entries of a listing that are given at once.

    Attributes:
        requests: What was asked, in order of the answers.
        outside: What a process with `environment` asked of other hosts; refused.
        faults: What is to go wrong.
        crashes: Tracebacks of errors in the Hub itself; leaving the `with` block raises on any.

    Example:
        with Hub() as hub:
            hub.api("ada").create_repo("ada/model")
            subprocess.run([...], env=hub.environment(home, token=hub.token("ada")))
    """

    def __init__(
        self,
        users: dict[str, str] | None = None,
        organizations: dict[str, list[str]] | None = None,
        port: int = 0,
        folder: Path | None = None,
        page_size: int = 1000,
    ):
        if organizations is None:
            organizations = {"lab": ["ada"]} if users is None else {}
        self.users = {"ada": "hf_adatoken", "bob": "hf_bobtoken"} if users is None else users
        self.requests: list[Asked] = []
        self.outside: list[str] = []
        self.crashes: list[str] = []
        self.faults = Faults()
        self._folder = (
            None if folder else tempfile.TemporaryDirectory(prefix="loopback-hub-", ignore_cleanup_errors=True)
        )
        self._server = _Server(self, port)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        where = folder or Path(self._folder.name if self._folder else ".")
        self.site = Site(Accounts(self.users, organizations), self.endpoint, where, page_size)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        for connection in list(self._server.connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        if self._folder:
            self._folder.cleanup()
        if self.crashes and kind is None:
            raise RuntimeError("the loopback Hub itself failed:\n" + "\n".join(self.crashes))

    def token(self, user: str) -> str:
        """The token of a user."""
        return self.users[user]

    def api(self, user: str | None = None) -> "HfApi":
        """The real client of a user, or of nobody, in this process; without Xet (`fixtures.no_xet`)."""
        from huggingface_hub import HfApi

        return HfApi(endpoint=self.endpoint, token=self.users[user] if user else False)

    def environment(self, home: Path, token: str | None = None, **more: str) -> dict[str, str]:
        """The environment of a process that knows this Hub alone.

        Args:
            home: HF_HOME, its cache; a fresh folder, or one that an earlier process used.
            token: HF_TOKEN; without it the process is nobody.
            more: Further variables, such as HF_HUB_OFFLINE="1".
        """
        kept = {name: value for name, value in os.environ.items() if not OURS.fullmatch(name)}
        ours = {
            "HF_ENDPOINT": self.endpoint,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_UPDATE_DOWNLOAD_COUNTS": "0",
            "GRADIO_ANALYTICS_ENABLED": "False",
            "no_proxy": "127.0.0.1,localhost",
            "NO_PROXY": "127.0.0.1,localhost",
        }
        return kept | ours | dict.fromkeys(PROXIES, self.endpoint) | ({"HF_TOKEN": token} if token else {}) | more

    def fail(
        self,
        pattern: str,
        status: int = 503,
        times: int = 2,
        *,
        method: str | None = None,
        retry_after: int | None = None,
        close: bool = False,
        after_bytes: int | None = None,
        lose_answer: bool = False,
        content: bytes | None = None,
    ) -> Fault:
        """Lets the next requests go wrong whose "METHOD path" the pattern is found in.

        Args:
            pattern: A regular expression; the path is not unquoted, and has its query.
            status: What is answered, if anything.
            times: How many requests.
            method: Only requests of this method.
            retry_after: Seconds for the `Retry-After` header.
            close: No answer; the connection is closed.
            after_bytes: The connection is closed after so many bytes of the request's body, or, when it has none (or
                fewer), of the answer's.
            lose_answer: The request is carried out, and the connection closed without an answer.
            content: What is answered, with status 200.

        Returns:
            The fault; `hits` tells how often it was met.
        """
        return self.faults.add(
            Fault(re.compile(pattern), method, status, times, retry_after, close, after_bytes, lose_answer, content)
        )

    def slow(self, pattern: str, seconds: float) -> None:
        """Has every request whose "METHOD path" the pattern is found in wait."""
        self.faults.slow(pattern, seconds)

    def corrupt(self, repo_id: str, path: str) -> None:
        """Has a file sent with one bit wrong; what is said about it (size, hash) stays right."""
        self.site.corrupted.add((repo_id, path))
