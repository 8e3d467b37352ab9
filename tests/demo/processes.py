"""Pages in processes of their own, as users and the Hub run them."""

import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 120.0  # seconds until a page has to be there


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Server:
    """A process that serves pages; it is ended when it says nothing of its address for too long.

    Args:
        words: what follows `python`.
        environment: of the process.

    Attributes:
        process: the same.
        url: where the page is.
    """

    def __init__(self, words: Sequence[str], environment: dict[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        self.url, self._said = "", []  # type: ignore[var-annotated]
        self._there = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if not self._there.wait(PATIENCE) or not self.url:
            self.process.kill()
            raise AssertionError(self.said[-2_000:])

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._said.append(line)
            found = re.search(r"the page is at (http://\S+?);? ", line)
            if found:
                self.url = found[1]
                self._there.set()
        self._there.set()  # it has ended

    @property
    def said(self) -> str:
        """What it has written to stderr so far."""
        return "".join(self._said)

    def end(self, signal: int) -> tuple[int, str, str]:
        """Tells it to end -> exit status, stdout, stderr."""
        self.process.send_signal(signal)
        try:
            status = self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        self._reader.join(10)
        assert self.process.stdout is not None
        return status, self.process.stdout.read(), self.said


@contextmanager
def space_of(kind: str, **variables: str) -> Iterator[Server]:
    """A Space as the Hub runs it: its app.py in a process of its own, all it knows from the environment."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GRADIO_SERVER_PORT": str(free_port()), **variables}
    environment.pop("GRADIO_TEMP_DIR", None)
    server = Server([str(ROOT / "spaces" / kind / "app.py")], environment)
    try:
        yield server
    finally:
        status, _, said = server.end(15)
    assert status == 0, said
