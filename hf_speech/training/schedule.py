"""What a learning-rate schedule is: a closed form of the optimiser step, with options that are held against the run.

Steps count from 0: `rate(0)` is in force for the first update, `rate(total - 1)` for the last. Options that are lengths
are a share of the run below 1, and optimiser steps from 1 on, as transformers' warmup_steps is; options that are rates
are absolute.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from ..errors import InputError, unknown_name
from ..models.registry import is_number


def steps_of(length: float, total: int) -> float:
    """A length in optimiser steps: below 1 it is a share of the run, from 1 on it is steps already.

    Shares are not rounded to whole steps (transformers rounds its warm-up's up), so that the phases of a run fill it
    whatever its length; only float noise is taken away.

    >>> steps_of(0.07, 100), steps_of(0.1, 25), steps_of(500, 100)
    (7.0, 2.5, 500)

    Args:
        length: 0 or more.
        total: updates of the run.
    """
    return float(f"{length * total:.12g}") if length < 1 else length


def length_option(default: float) -> Any:
    """An option of a schedule that is a length, as `steps_of` takes it."""
    return field(default=default, metadata={"kind": "length"})


def rate_option(default: float) -> Any:
    """An option of a schedule that is a learning rate."""
    return field(default=default, metadata={"kind": "rate"})


@dataclass(frozen=True, kw_only=True)
class Schedule(ABC):
    """How the learning rate goes over a run; subclasses declare their options as fields.

    Attributes:
        name: of the schedule, as in a run.
        needs_validation: whether it follows a validation metric.
    """

    name: ClassVar[str]
    needs_validation: ClassVar[bool] = False

    def __post_init__(self) -> None:
        lengths = self._options("length")
        for option, value in lengths.items():
            if not is_number(value) or value < 0 or (value > 1 and value != int(value)):
                raise self._refusal(f"{option} is {value!r}; give a share of the run, below 1, or whole steps")
        if sum(value for value in lengths.values() if value < 1) > 1 + 1e-9:
            raise self._refusal(f"{_sum(lengths)} is more than the run; give shares that sum up to 1 or less")
        for option, value in self._options("rate").items():
            self._hold(option, is_number(value) and value >= 0, "a learning rate of 0 or more")

    @abstractmethod
    def rate(self, step: float, total: int, peak: float) -> float:
        """The learning rate in force for the update numbered `step`.

        Args:
            step: from 0; the rate after the last update (`total`) is defined as well.
            total: updates of the run, 1 or more.
            peak: the run's learning rate, above 0.
        """

    def check(self, total: int, peak: float) -> None:
        """Holds the options against a run.

        Args:
            total: updates of the run.
            peak: its learning rate.

        Raises:
            InputError: the schedule is longer than the run, or has a rate above the run's learning rate.
        """
        lengths = self._options("length")
        steps = sum(steps_of(value, total) for value in lengths.values())
        if round(steps, 3) > total:
            mend = "give fewer steps, a share of the run below 1, such as 0.1, or a longer run"
            raise self._refusal(f"{_sum(lengths)} is {_number(steps)} steps, but the run has {total}; {mend}")
        for option, value in self._options("rate").items():
            if value > peak:
                above = f"above the run's learning_rate {_number(peak)}"
                raise self._refusal(f"{option} is {_number(value)}, {above}; give less, or a higher learning_rate")

    def _options(self, kind: str) -> dict[str, float]:
        return {item.name: getattr(self, item.name) for item in fields(self) if item.metadata.get("kind") == kind}

    def _refusal(self, text: str) -> InputError:
        return InputError(f"schedule {self.name!r}: {text}")

    def _hold(self, option: str, holds: bool, mend: str) -> None:
        if not holds:
            raise self._refusal(f"{option} is {getattr(self, option)!r}; give {mend}")

    def _hold_one_of(self, option: str, valid: Iterable[str]) -> None:
        value, names = getattr(self, option), list(valid)
        if value not in names:
            raise self._refusal(str(unknown_name(value, names, option)))


def _number(value: float) -> str:
    return f"{value:.10g}"


def _sum(lengths: dict[str, float]) -> str:
    """The options that make up the length of a schedule: "warmup_steps 100 + flat_steps 0.05"."""
    return " + ".join(f"{option} {_number(value)}" for option, value in lengths.items() if value)


@dataclass(frozen=True, kw_only=True)
class WarmedUp(Schedule):
    """Those that begin with a warm-up: peak * step / warmup_steps, and the curve of the subclass after it.

    Args:
        warmup_steps: length of the warm-up.
    """

    warmup_steps: float = length_option(0.0)

    def rate(self, step: float, total: int, peak: float) -> float:
        """See `Schedule.rate`."""
        warmup = steps_of(self.warmup_steps, total)
        return peak * step / warmup if step < warmup else self._after(step, warmup, total, peak)

    @abstractmethod
    def _after(self, step: float, warmup: float, total: int, peak: float) -> float:
        """The rate from step `warmup` on."""
