"""What visitors have given: where it lies, and that it goes when they do."""

import os
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder

from ..errors import InputError
from ..samples import sample_corpus

GRACE = 30.0  # seconds after a visitor has left


class Uploads:
    """Deletes what was given: soon after those who asked about it have left, and after a while in any case.

    All that lies in the server's folder goes: uploads that were broken off and what came from addresses, too. Gradio's
    own `delete_cache` knows of whole uploads alone, and would take the examples, which lie in the same folder. Where no
    folder is set for this server alone (GRADIO_TEMP_DIR), other apps may keep theirs there, and nothing is deleted.

    Args:
        app: whose visitors they are.
        kept: seconds after which a file goes, whoever is still there.
    """

    def __init__(self, app: gr.Blocks, kept: float) -> None:
        self.kept = kept
        self.folder = _folder() if os.environ.get("GRADIO_TEMP_DIR") else None
        self._app = weakref.ref(app)
        self._holders: dict[str, set[str]] = {}  # path -> sessions
        self._left: dict[str, float] = {}  # path -> when nobody held it any more
        self._gone: dict[str, float] = {}  # session -> when it left
        self._lock = threading.Lock()
        self._examples = _shipped()
        threading.Thread(target=self._watch, daemon=True, name="uploads").start()

    def note(self, session: str | None, paths: Sequence[str]) -> None:
        """Remembers that a visitor asks about these files."""
        if session is None:
            return
        with self._lock:
            for path in paths:
                if session in self._gone:  # who left while the request was waiting
                    self._left.setdefault(path, self._gone[session])
                    continue
                self._holders.setdefault(path, set()).add(session)
                self._left.pop(path, None)

    def forget(self, request: gr.Request) -> None:
        """Takes note that a visitor has left."""
        session, now = str(request.session_hash), time.time()
        with self._lock:
            self._gone[session] = now
            for path, holders in list(self._holders.items()):
                holders.discard(session)
                if not holders:
                    del self._holders[path]
                    self._left[path] = now

    def sweep(self, now: float) -> None:
        """Deletes what is due.

        Args:
            now: seconds since the epoch.
        """
        with self._lock:
            for path in _below(self.folder):
                if path.is_dir():
                    _remove_empty(path, now - self.kept)
                elif (path.name, _size(path)) not in self._examples and self._is_due(str(path), now):
                    path.unlink(missing_ok=True)
                    self._holders.pop(str(path), None)
                    self._left.pop(str(path), None)
            self._gone = {session: when for session, when in self._gone.items() if now - when < self.kept}
            self._left = {path: when for path, when in self._left.items() if now - when < self.kept}

    def _is_due(self, path: str, now: float) -> bool:
        given = _given_at(Path(path))
        left = self._left.get(path)
        if left is not None and given > left:  # somebody else has given the same since
            del self._left[path]
            left = None
        return now - given >= self.kept or (left is not None and now - left >= GRACE)

    def _watch(self) -> None:
        """Sweeps for as long as the app is there."""
        while self._app() is not None and self.folder is not None:
            self.sweep(time.time())
            time.sleep(min(5.0, self.kept / 10))

    @staticmethod
    def path_of(file: Any) -> str:
        """Where a file lies that a program has sent.

        Raises:
            InputError: it is not one that was sent: a path of this machine is nobody's business.
        """
        path = file.get("path") if isinstance(file, Mapping) else getattr(file, "path", None)
        if not isinstance(path, str) or not Path(path).resolve().is_relative_to(_folder()):
            raise InputError("Send a file: gradio_client.handle_file(path).")
        return path


def without_places(message: str) -> str:
    """A message without the folders of this server: of a file, its name alone."""
    folder = str(_folder())
    words = [Path(word).name if word.startswith(folder) else word for word in message.split(" ")]
    return " ".join(words)


def _folder() -> Path:
    return Path(get_upload_folder()).resolve()


def _shipped() -> set[tuple[str, int]]:
    """Names and sizes of the recordings that come with the package: they are examples, and no secret."""
    return {(path.name, path.stat().st_size) for path in (sample_corpus().parent / "audio").iterdir()}


def _below(folder: Path | None) -> list[Path]:
    """What lies in a folder; the deepest first. What goes meanwhile is left out."""
    if folder is None:
        return []
    walked = os.walk(folder, topdown=False)
    return [Path(place, name) for place, folders, files in walked for name in [*files, *folders]]


def _remove_empty(folder: Path, before: float) -> None:
    try:
        if folder.stat().st_mtime < before:
            folder.rmdir()
    except OSError:  # it is not empty, or gone
        pass


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _given_at(path: Path) -> float:
    """When a file came; one that is gone is due at once."""
    try:
        return path.lstat().st_ctime
    except OSError:
        return 0.0
