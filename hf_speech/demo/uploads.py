"""What visitors have given: where it lies, and that it goes when they do."""

import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder

from ..errors import InputError

GRACE = 30.0  # seconds after a visitor has left; somebody else who has given the same file has asked about it by then


class Uploads:
    """Deletes what was given: when those who gave it have left, and after a while in any case.

    Gradio's own `delete_cache` would take the examples too, which lie in the same folder.

    Args:
        app: whose visitors they are.
        kept: seconds after which a file goes, whoever is still there.
    """

    def __init__(self, app: gr.Blocks, kept: float) -> None:
        self.kept = kept
        self._app = weakref.ref(app)
        self._holders: dict[str, set[str]] = {}  # path -> sessions
        self._left: dict[str, float] = {}  # path -> when nobody held it any more
        self._lock = threading.Lock()
        threading.Thread(target=self._watch, daemon=True, name="uploads").start()

    def note(self, session: str | None, paths: Sequence[str]) -> None:
        """Remembers that a visitor asks about these files."""
        app = self._app()
        if session is None or app is None:
            return
        with self._lock:
            for path in app.upload_file_set.intersection(paths):  # examples are not among them
                self._holders.setdefault(path, set()).add(session)
                self._left.pop(path, None)

    def forget(self, request: gr.Request) -> None:
        """Takes note that a visitor has left."""
        session = str(request.session_hash)
        with self._lock:
            for path, holders in list(self._holders.items()):
                holders.discard(session)
                if not holders:
                    del self._holders[path]
                    self._left[path] = time.time()

    def sweep(self, now: float) -> None:
        """Deletes what is due.

        Args:
            now: seconds since the epoch.
        """
        app = self._app()
        if app is None:
            return
        with self._lock:
            for path in list(app.upload_file_set):
                if now - self._left.get(path, now) >= GRACE or now - _given_at(path) >= self.kept:
                    Path(path).unlink(missing_ok=True)
                    app.upload_file_set.discard(path)
                    self._holders.pop(path, None)
                    self._left.pop(path, None)

    def _watch(self) -> None:
        """Sweeps for as long as the app is there."""
        while self._app() is not None:
            self.sweep(time.time())
            time.sleep(min(5.0, self.kept / 10))

    @staticmethod
    def path_of(file: Any) -> str:
        """Where a file lies that a program has sent.

        Raises:
            InputError: it is not one that was sent: a path of this machine is nobody's business.
        """
        path = file.get("path") if isinstance(file, Mapping) else getattr(file, "path", None)
        folder = Path(get_upload_folder()).resolve()
        if not isinstance(path, str) or not Path(path).resolve().is_relative_to(folder):
            raise InputError("Send a file: gradio_client.handle_file(path).")
        return path


def _given_at(path: str) -> float:
    """When a file came; one that is gone is due at once."""
    try:
        return Path(path).lstat().st_ctime
    except OSError:
        return 0.0
