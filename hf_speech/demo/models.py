"""The models of a page: loaded once, tried again when they could not be, asked by everybody."""

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..foreign import check_labels
from ..inference import load_model, shortest_seconds
from ..verification.embedder import Embedder
from ..verification.kept import Kept, kept_of

logger = logging.getLogger(__name__)

AGAIN_AFTER = 30.0  # seconds until a model that could not be loaded is tried again
VARIABLE = "HF_SPEECH_MODEL"
_WHY = "Whoever runs this page finds why in its log."
NO_MODEL = (
    f"No model is set for this page yet. Whoever runs it: set the variable {VARIABLE} to a model's name on the Hub, or "
    "its folder."
)


@dataclass(frozen=True, eq=False)
class Loaded:
    """A model that can be asked.

    Attributes:
        name: what visitors read.
        model: in evaluation mode.
        extractor: its feature extractor.
        kept: what it keeps of verification, if anything.
        shortest: the shortest recording it takes, seconds.
    """

    name: str
    model: Any
    extractor: Any
    kept: Kept | None
    shortest: float

    def need_labels(self) -> None:
        """Sees to it that the model names what it hears.

        Raises:
            InputError: it does not.
        """
        try:
            check_labels(self.model)
        except InputError as error:
            raise InputError(
                f"The model {self.name} has no labels: it compares voices, and can't name what it hears. "
                "Another model is needed for this page."
            ) from error

    def need_embeddings(self) -> None:
        """Sees to it that the model tells voices apart.

        Raises:
            InputError: it gives no embeddings.
        """
        try:
            Embedder(self.model, self.extractor)
        except InputError as error:
            raise InputError(
                f"The model {self.name} gives labels only, and can't compare voices. Another model is needed for this "
                "page."
            ) from error


class Models:
    """The models of a page by their names.

    Args:
        names: folders, or names on the Hub.
        trust_remote_code: whether code that lies beside the weights may be run.
        revision: branch, tag or commit on the Hub.

    Attributes:
        names: the same.
    """

    def __init__(self, names: Sequence[str], *, trust_remote_code: bool = False, revision: str | None = None) -> None:
        self.names = list(dict.fromkeys(names))
        self.trust_remote_code = trust_remote_code
        self.revision = revision
        self._loaded: dict[str, Loaded] = {}
        self._refused: dict[str, tuple[float, InputError]] = {}  # when, and what is said
        self._locks = {name: threading.Lock() for name in self.names}
        self._running = 0
        self._idle = threading.Condition()

    def shown(self, name: str) -> str:
        """What a visitor reads: the Hub's name, or that of a folder without where it lies."""
        return Path(name).name if Path(name).exists() else name

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Within, somebody is being answered."""
        with self._idle:
            self._running += 1
        try:
            yield
        finally:
            with self._idle:
                self._running -= 1
                self._idle.notify_all()

    def wait_until_idle(self, seconds: float) -> bool:
        """Waits until nobody is being answered; whether it came to that in time."""
        with self._idle:
            return self._idle.wait_for(lambda: not self._running, seconds)

    def get(self, name: str | None = None) -> Loaded:
        """A model, loaded if it is not yet.

        Args:
            name: one of `names`; None: the first.

        Raises:
            InputError: there is none of that name, or it can't be loaded; in a sentence for a visitor.
        """
        if not self.names:
            raise InputError(NO_MODEL)
        wanted = name or self.names[0]
        if wanted not in self.names:
            raise InputError(f"This page has no model {wanted}. It has: {', '.join(map(self.shown, self.names))}.")
        if wanted in self._loaded:
            return self._loaded[wanted]
        with self._locks[wanted]:  # one visitor loads it, the others wait
            if wanted not in self._loaded:
                self._loaded[wanted] = self._tried(wanted)
            return self._loaded[wanted]

    def ready(self, name: str | None = None) -> Loaded | None:
        """The same, where nobody has to be waited for; None while another visitor loads it.

        Raises:
            InputError: as `get` does.
        """
        lock = self._locks.get(name or "".join(self.names[:1]))
        if lock is not None and lock.locked():
            return None
        return self.get(name)

    def _tried(self, name: str) -> Loaded:
        refused = self._refused.get(name)
        if refused is not None and time.monotonic() - refused[0] < AGAIN_AFTER:
            raise refused[1]
        try:
            return self._load(name)
        except Exception as error:  # whatever is wrong with a model, the page stays up
            if isinstance(error, InputError):
                logger.warning("%s", error)
            else:
                logger.exception("%s: can't be loaded", name)
            refusal = InputError(f"The model {self.shown(name)} can't be loaded. {_WHY}")
            refusal.__cause__ = error
            self._refused[name] = (time.monotonic(), refusal)
            raise refusal from error

    def _load(self, name: str) -> Loaded:
        model, extractor = load_model(name, self.revision, trust_remote_code=self.trust_remote_code)
        try:
            kept = kept_of(name, self.revision)
        except InputError as error:  # the scores themselves need no calibration
            logger.warning("%s", error)
            kept = None
        return Loaded(self.shown(name), model, extractor, kept, shortest_seconds(model, extractor))
