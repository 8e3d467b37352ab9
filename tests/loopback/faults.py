"""What goes wrong when a test wants it to: refusals, lost connections, slow answers."""

import re
import threading
from dataclasses import dataclass


@dataclass
class Fault:
    """What happens to the next requests whose "METHOD path" matches; see `Hub.fail`.

    Attributes:
        left: How many more requests it will hit.
        hits: How many it has hit.
    """

    pattern: re.Pattern[str]
    method: str | None
    status: int
    left: int
    retry_after: int | None
    close: bool
    after_bytes: int | None
    lose_answer: bool
    content: bytes | None = None
    hits: int = 0

    def matches(self, method: str, target: str) -> bool:
        """Whether it is for this request."""
        return self.left > 0 and self.method in (None, method) and bool(self.pattern.search(f"{method} {target}"))


class Faults:
    """All that is to go wrong, in the order in which it was asked for."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._slow: list[tuple[re.Pattern[str], float]] = []
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> Fault:
        """One more."""
        self._faults.append(fault)
        return fault

    def slow(self, pattern: str, seconds: float) -> None:
        """Has every request that matches wait before it is looked at."""
        self._slow.append((re.compile(pattern), seconds))

    def take(self, method: str, target: str) -> Fault | None:
        """What happens to this request; counts it."""
        with self._lock:
            fault = next((one for one in self._faults if one.matches(method, target)), None)
            if fault:
                fault.left -= 1
                fault.hits += 1
            return fault

    def delay(self, method: str, target: str) -> float:
        """How long this request waits, in seconds."""
        return sum(seconds for pattern, seconds in self._slow if pattern.search(f"{method} {target}"))

    def clear(self) -> None:
        """Nothing goes wrong any more."""
        self._faults.clear()
        self._slow.clear()
