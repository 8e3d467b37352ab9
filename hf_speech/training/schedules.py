"""The learning-rate schedules by name; see `schedule` for what they have in common.

A run names one and its options: `schedule: triangular2`, `schedule_config: {cycles: 4, base: 1.0e-8}`; the highest rate
is the run's `learning_rate`. Every warm-up (`warmup_steps`) is linear, from 0 at step 0.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import InputError
from ..models.registry import build, is_number
from .schedule import Schedule, WarmedUp, length_option, rate_option, steps_of

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

__all__ = ["SCHEDULES", "Schedule", "make_schedule", "make_scheduler", "steps_of"]


def _between(start: float, end: float, share: float) -> float:
    """The value at a share of the way; the ends come out exactly."""
    return start * (1 - share) + end * share


def _cosine(share: float) -> float:
    """A share of a way that starts and ends slowly: half a wave of the cosine."""
    return (1 - math.cos(math.pi * share)) / 2


def _share(step: float, first: float, last: float) -> float:
    """How much of the way from one step to another is behind, 0 to 1; all of a way of no length."""
    return min(max((step - first) / (last - first), 0.0), 1.0) if last > first else 1.0


@dataclass(frozen=True, kw_only=True)
class Constant(WarmedUp):
    """The peak all along; transformers' "constant" and "constant_with_warmup".

    Args:
        warmup_steps: length of the warm-up.
    """

    name = "constant"

    def _after(self, step: float, warmup: float, total: int, peak: float) -> float:
        return peak


@dataclass(frozen=True, kw_only=True)
class Linear(WarmedUp):
    """A straight line from the peak to `final` at the run's end; transformers' "linear", or "polynomial" of power 1.

    Args:
        warmup_steps: length of the warm-up.
        final: rate at the end.
    """

    name = "linear"
    warmup_steps: float = length_option(0.1)
    final: float = rate_option(0.0)

    def _after(self, step: float, warmup: float, total: int, peak: float) -> float:
        return _between(peak, self.final, _share(step, warmup, total))


@dataclass(frozen=True, kw_only=True)
class Cosine(WarmedUp):
    """Half a wave of the cosine from the peak to `final`; transformers' "cosine" and "cosine_with_min_lr".

    Loshchilov & Hutter, "SGDR: stochastic gradient descent with warm restarts", ICLR 2017, equation 5, without
    restarts.

    Args:
        warmup_steps: length of the warm-up.
        final: rate at the end.
    """

    name = "cosine"
    warmup_steps: float = length_option(0.1)
    final: float = rate_option(0.0)

    def _after(self, step: float, warmup: float, total: int, peak: float) -> float:
        return _between(peak, self.final, _cosine(_share(step, warmup, total)))


@dataclass(frozen=True, kw_only=True)
class Exponential(WarmedUp):
    """The same factor for every step, so that `final` is reached at the run's end; or a staircase.

    Smooth: peak * (final / peak) ** share, as torch's ExponentialLR with the factor that leads to `final`. It is the
    "exp_decay" of Vaessen & van Leeuwen, "Training speaker recognition systems with limited data", Interspeech 2022
    (their code spreads it over one step more than the run has). With `gamma` and `every` it is torch's StepLR instead.

    Args:
        warmup_steps: length of the warm-up.
        final: rate at the end, of the smooth one.
        gamma: factor of a stair, above 0 and up to 1; 0: no staircase.
        every: length of a stair; 0: no staircase.
    """

    name = "exponential"
    final: float = rate_option(5e-6)
    gamma: float = 0.0
    every: float = length_option(0.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._hold("final", self.final > 0, "a learning rate above 0")
        self._hold("gamma", is_number(self.gamma) and 0 <= self.gamma <= 1, "a factor above 0 and up to 1")
        if bool(self.gamma) != bool(self.every):
            raise self._refusal("a staircase needs both gamma and every, such as {gamma: 0.95, every: 0.1}")
        if self.gamma and self.final != type(self).final:
            raise self._refusal("final has no part in a staircase; leave it out, or gamma and every")

    def check(self, total: int, peak: float) -> None:
        """See `Schedule.check`; of a staircase the rate at the end is not asked."""
        if self.gamma:
            peak = max(peak, self.final)
        super().check(total, peak)

    def _after(self, step: float, warmup: float, total: int, peak: float) -> float:
        if self.gamma:
            return float(peak * self.gamma ** ((step - warmup) // steps_of(self.every, total)))
        return float(peak * (self.final / peak) ** _share(step, warmup, total))


@dataclass(frozen=True, kw_only=True)
class Triangular(Schedule):
    """Straight up from `base` to the peak and down again, in cycles that fill the run.

    Smith, "Cyclical learning rates for training neural networks", WACV 2017, section 3.1; torch's CyclicLR with
    step_size_up = step_size_down = total / (2 * cycles), which need not be whole.

    Args:
        cycles: how many.
        base: lowest rate, at the start of each cycle and the end of the last one.
    """

    name = "triangular"
    decay: ClassVar[float] = 1.0  # factor of the amplitude from cycle to cycle
    cycles: int = 4
    base: float = rate_option(1e-8)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._hold("cycles", isinstance(self.cycles, int) and self.cycles >= 1, "a whole number of 1 or more")

    def rate(self, step: float, total: int, peak: float) -> float:
        """See `Schedule.rate`."""
        cycle, share = divmod(step * self.cycles / total, 1)
        return _between(self.base, peak, (1 - abs(2 * share - 1)) * self.decay**cycle)


@dataclass(frozen=True, kw_only=True)
class Triangular2(Triangular):
    """As triangular, with half the amplitude in each further cycle: peak, half of it, a quarter, ... above `base`.

    Smith, 2017, section 3.1. With 4 cycles and base 1e-8 it is the schedule of Vaessen & van Leeuwen, "Training speaker
    recognition systems with limited data", Interspeech 2022, whose half cycle is total // 8 steps.

    Args:
        cycles: how many.
        base: lowest rate, at the start of each cycle and the end of the last one.
    """

    name = "triangular2"
    decay = 0.5


# How the rate goes from one end of a phase to the other: share of its steps -> share of the way.
ANNEALS: dict[str, Callable[[float], float]] = {"cosine": _cosine, "linear": float}


@dataclass(frozen=True, kw_only=True)
class OneCycle(Schedule):
    """Up from peak / div_factor to the peak, and down to that start / final_div_factor; the momentum stays as it is.

    Smith & Topin, "Super-convergence", 2019 (arXiv 1708.07120), in the two phases of torch's OneCycleLR: the peak is at
    step pct_start * total - 1, the end at the last update.

    Args:
        pct_start: share of the run that goes up, 0 to 1.
        div_factor: peak / first rate, 1 or more.
        final_div_factor: first rate / last rate, 1 or more.
        anneal: cosine or linear.
    """

    name = "one-cycle"
    pct_start: float = 0.3
    div_factor: float = 25.0
    final_div_factor: float = 1e4
    anneal: str = "cosine"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._hold("pct_start", is_number(self.pct_start) and 0 <= self.pct_start <= 1, "a share of the run, 0 to 1")
        for option in ("div_factor", "final_div_factor"):
            value = getattr(self, option)
            self._hold(option, is_number(value) and value >= 1, "a number of 1 or more")
        self._hold_one_of("anneal", ANNEALS)

    def rate(self, step: float, total: int, peak: float) -> float:
        """See `Schedule.rate`."""
        first, top = peak / self.div_factor, self.pct_start * total - 1
        anneal = ANNEALS[self.anneal]
        if step <= top:
            return _between(first, peak, anneal(_share(step, 0, top)))
        # In short runs top is below 0: the peak was before the first update, as in torch.
        return _between(peak, first / self.final_div_factor, anneal(_share(step, top, total - 1)))


@dataclass(frozen=True, kw_only=True)
class TriStage(Schedule):
    """Straight up from `start` to the peak, hold, and exponentially down to `final` at the run's end.

    Park et al., "SpecAugment", Interspeech 2019, section 3.2; fairseq's tri_stage, whose init_lr_scale and
    final_lr_scale are shares of the peak. Defaults: the "tri_stage" of Vaessen & van Leeuwen, "Fine-tuning wav2vec2 for
    speaker recognition", ICASSP 2022; their code reaches the peak one step earlier than fairseq and this.

    Args:
        shares: of the run, for the three stages; they sum up to 1.
        start: first rate.
        final: rate at the end, above 0.
    """

    name = "tri-stage"
    shares: Sequence[float] = (0.1, 0.4, 0.5)
    start: float = rate_option(5e-6)
    final: float = rate_option(5e-6)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._hold("final", self.final > 0, "a learning rate above 0")
        shares = list(self.shares)
        good = len(shares) == 3 and all(is_number(share) and share >= 0 for share in shares)
        self._hold("shares", good and abs(sum(shares) - 1) < 1e-6, "three that sum up to 1, such as [0.1, 0.4, 0.5]")

    def rate(self, step: float, total: int, peak: float) -> float:
        """See `Schedule.rate`."""
        up, hold, _ = (round(share * total, 6) for share in self.shares)
        if step < up:
            return _between(self.start, peak, step / up)
        share = _share(step, up + hold, total) if step > up + hold else 0.0
        return float(peak * (self.final / peak) ** share)


@dataclass(frozen=True, kw_only=True)
class WarmupFlatLinear(WarmedUp):
    """Warm-up, the peak for a while, and a straight line to 0 at the run's end.

    Chen & Rudnicky, "Exploring wav2vec 2.0 fine-tuning for improved speech emotion recognition", ICASSP 2023: the
    schedule of their published code's continued pre-training, with 100 steps of warm-up and 5 % flat.

    Args:
        warmup_steps: length of the warm-up.
        flat_steps: length of what follows at the peak.
    """

    name = "warmup-flat-linear"
    warmup_steps: float = length_option(0.05)
    flat_steps: float = length_option(0.05)

    def _after(self, step: float, warmup: float, total: int, peak: float) -> float:
        end = warmup + steps_of(self.flat_steps, total)
        return peak if step < end else _between(peak, 0.0, _share(step, end, total))


@dataclass(frozen=True, kw_only=True)
class InverseSqrt(WarmedUp):
    """The peak at the end of the warm-up, then peak * sqrt(warmup / step) (Noam); transformers' "inverse_sqrt".

    Vaswani et al., "Attention is all you need", NeurIPS 2017, section 5.3, whose factor d_model ** -0.5 *
    warmup_steps ** -0.5 is the peak here, and who count steps from 1.

    Args:
        warmup_steps: length of the warm-up, above 0: it sets the scale of what follows.
    """

    name = "inverse-sqrt"
    warmup_steps: float = length_option(0.1)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._hold("warmup_steps", self.warmup_steps > 0, "a share of the run, below 1, or whole steps, above 0")

    def _after(self, step: float, warmup: float, total: int, peak: float) -> float:
        return peak * math.sqrt(warmup / step) if step > warmup else peak


@dataclass(frozen=True, kw_only=True)
class Plateau(Schedule):
    """A fall by `factor` where the validation metric gains no more: torch's ReduceLROnPlateau.

    No function of the step: `rate` is what it starts with; `make_scheduler` makes what follows the metric. Defaults:
    "reduce_on_plateau" of Vaessen & van Leeuwen, "Fine-tuning wav2vec2 for speaker recognition", ICASSP 2022.

    Args:
        factor: of a fall, above 0 and below 1.
        patience: validations without gain that are borne; the next one makes the rate fall.
        threshold: how much better is a gain.
        threshold_mode: rel, a share of the best value (which must be above 0 to make sense), or abs.
        cooldown: validations after a fall that are not counted.
        min_lr: the rate falls no further.
    """

    name = "plateau"
    needs_validation = True
    factor: float = 0.1
    patience: int = 3
    threshold: float = 1e-2
    threshold_mode: str = "rel"
    cooldown: int = 0
    min_lr: float = rate_option(0.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._hold("factor", is_number(self.factor) and 0 < self.factor < 1, "a number above 0 and below 1")
        self._hold("threshold", is_number(self.threshold) and self.threshold >= 0, "a number of 0 or more")
        for option in ("patience", "cooldown"):
            value = getattr(self, option)
            self._hold(option, isinstance(value, int) and value >= 0, "a whole number of 0 or more")
        self._hold_one_of("threshold_mode", ("rel", "abs"))

    def rate(self, step: float, total: int, peak: float) -> float:
        """The rate as long as nothing is on a plateau."""
        return peak


def make_schedule(name: str, options: Mapping[str, Any] | None = None) -> Schedule:
    """The schedule of that name, with its options.

    >>> make_schedule("triangular2", {"cycles": 2, "base": 0}).rate(75, total=100, peak=0.1)
    0.05

    Raises:
        InputError: no such schedule, no such option, or an impossible value.
    """
    return build(SCHEDULES, name, "schedule", options)


def make_scheduler(
    optimizer: "Optimizer", schedule: Schedule, total: int, peak: float, greater_is_better: bool | None = None
) -> "LRScheduler":
    """What sets the optimiser's rates: to be stepped after every update; a plateau's after every validation.

    Groups of parameters whose rates differ from the peak keep their proportion to it. The state is plain values.

    Args:
        optimizer: as made for the run, before its first update.
        schedule: the schedule.
        total: updates of the run.
        peak: its learning rate.
        greater_is_better: whether a higher metric is better, for a plateau; None: there is no metric.

    Raises:
        InputError: the schedule does not fit the run.
    """
    from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

    schedule.check(total, peak)
    if isinstance(schedule, Plateau):
        if greater_is_better is None:
            raise InputError(f"schedule {schedule.name!r} needs validation rows and a metric; name another schedule")
        return ReduceLROnPlateau(
            optimizer,
            mode="max" if greater_is_better else "min",
            factor=schedule.factor,
            patience=schedule.patience,
            threshold=schedule.threshold,
            threshold_mode=schedule.threshold_mode,
            cooldown=schedule.cooldown,
            min_lr=[schedule.min_lr * float(group["lr"]) / peak for group in optimizer.param_groups],
            eps=0.0,  # torch's own skips falls by less than 1e-8, which groups with small rates would miss
        )

    def factor(step: int) -> float:  # a function, not an object: LambdaLR puts an object's attributes into its state
        return schedule.rate(step, total, peak) / peak

    return LambdaLR(optimizer, factor)


_KINDS: tuple[type[Schedule], ...] = (Constant, Linear, Cosine, Exponential, Triangular, Triangular2, OneCycle)
_KINDS += (TriStage, WarmupFlatLinear, InverseSqrt, Plateau)
SCHEDULES: dict[str, type[Schedule]] = {kind.name: kind for kind in _KINDS}
