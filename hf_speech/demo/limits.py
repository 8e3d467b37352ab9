"""How much a visitor may ask of a page: the one place where it is set."""

import math
import os
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, fields

from ..errors import InputError

PREFIX = "HF_SPEECH_DEMO_"  # of the environment variables; HF_SPEECH_DEMO_MAX_SECONDS=60
_MINUTE = 60.0  # seconds
_MANY = 10_000  # visitors that are remembered; of more, those who came longest ago are forgotten


@dataclass(frozen=True)
class Limits:
    """What a page takes.

    Attributes:
        max_seconds: of one recording.
        max_megabytes: of one file (1,000,000 bytes each).
        max_files: recordings on a map.
        per_minute: requests of one visitor, counted when they come, so that those which wait count too; 0: as many as
            there are.
        at_once: requests that are computed side by side.
        waiting: requests that may wait; a further one is refused.
        kept_minutes: after so long what was uploaded is deleted; it goes earlier when the visitor leaves.

    Raises:
        InputError: a value that is not above 0, or infinite (`per_minute`: below 0, `max_files`: below 2).
    """

    max_seconds: float = 120.0
    max_megabytes: float = 20.0
    max_files: int = 12
    per_minute: int = 60
    at_once: int = 2
    waiting: int = 200
    kept_minutes: float = 10.0

    @property
    def uploads_per_minute(self) -> int:
        """Uploads of one visitor in a minute: two a request, and at least the files of a map; 0: no limit."""
        return max(2 * self.per_minute, self.max_files) if self.per_minute else 0

    @property
    def max_bytes(self) -> int:
        """Of what is sent at once: the files of a map, and what wraps them."""
        return int(self.max_files * (self.max_megabytes * 1e6 + 1e4))

    def __post_init__(self) -> None:
        least = {"per_minute": 0, "max_files": 2}
        for field in fields(self):
            value = getattr(self, field.name)
            if not math.isfinite(value) or value < least.get(field.name, 0) or (value == 0 and field.name not in least):
                wanted = f"{least[field.name]} or more" if field.name in least else "a number above 0"
                raise InputError(f"{field.name} is {value}; give {wanted}")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> "Limits":
        """The limits, with those that an environment variable names.

        >>> Limits.from_environment({"HF_SPEECH_DEMO_MAX_SECONDS": "30"}).max_seconds
        30.0

        Raises:
            InputError: a variable that is no number, or one of a limit that does not exist.
        """
        given = os.environ if environment is None else environment
        kinds: dict[str, type] = {field.name: type(getattr(cls, field.name)) for field in fields(cls)}
        values = {}
        for variable, text in given.items():
            if not variable.startswith(PREFIX):
                continue
            name = variable.removeprefix(PREFIX).lower()
            if name not in kinds:
                valid = ", ".join(PREFIX + known.upper() for known in kinds)
                raise InputError(f"{variable}: there is no such limit; valid: {valid}")
            try:
                values[name] = kinds[name](text)
            except ValueError:
                raise InputError(f"{variable} is {text!r}; give a number") from None
        return cls(**values)


class Gate:
    """Lets each visitor through so many times a minute (a sliding window).

    Args:
        per_minute: 0: always.
        what: is counted, in a word.
    """

    def __init__(self, per_minute: int, what: str = "requests") -> None:
        self.per_minute = per_minute
        self.what = what
        self._came: dict[str, deque[float]] = {}  # who came last stands last
        self._lock = threading.Lock()

    def enter(self, visitor: str, now: float | None = None) -> int:
        """Counts one.

        Args:
            visitor: who asks.
            now: seconds of a clock that never goes back; None: this machine's.

        Returns:
            0, or where it is one too many, the seconds until one may come again; it is not counted then.
        """
        if not self.per_minute:
            return 0
        moment = time.monotonic() if now is None else now
        with self._lock:
            came = self._came.pop(visitor, None) or deque()
            while came and came[0] <= moment - _MINUTE:
                came.popleft()
            wait = max(1, round(came[0] + _MINUTE - moment)) if len(came) >= self.per_minute else 0
            if not wait:
                came.append(moment)
            self._came[visitor] = came
            self._forget(moment)
        return wait

    def _forget(self, moment: float) -> None:
        """Drops who has not come for a minute, and of too many the first."""
        while self._came:
            first = next(iter(self._came))
            if len(self._came) <= _MANY and self._came[first][-1] > moment - _MINUTE:
                return
            del self._came[first]

    def refusal(self, wait: int) -> str:
        """What a visitor is told who came too often."""
        return f"That was more than {self.per_minute} {self.what} in a minute. Please wait {wait} s and try again."
