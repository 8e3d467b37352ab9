"""Schedules: their formulas written down a second time, and torch's and transformers' own over whole runs."""

import io
import math
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import (
    ConstantLR,
    CyclicLR,
    ExponentialLR,
    LinearLR,
    LRScheduler,
    OneCycleLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)
from transformers import get_scheduler

from hf_speech.errors import InputError
from hf_speech.training.schedules import SCHEDULES, Schedule, make_schedule, make_scheduler, steps_of

PEAK = 1e-3
Options = dict[str, Any]


def optimizer_at(*rates: float) -> Optimizer:
    return SGD([{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates])


def stepped(scheduler: LRScheduler, steps: int) -> list[float]:
    """The rates in force for so many updates of the first group."""
    rates = []
    for _ in range(steps):
        rates.append(float(scheduler.optimizer.param_groups[0]["lr"]))
        scheduler.optimizer.step()
        scheduler.step()
    return rates


def rates_of(schedule: Schedule, total: int, peak: float = PEAK) -> list[float]:
    return [schedule.rate(step, total, peak) for step in range(total)]


# --- the formulas, a second time ---------------------------------------------------------------------------------


def warm(step: float, warmup: float, rest: Callable[[], float]) -> float:
    return PEAK * (step / warmup) if step < warmup else rest()


def one_cycle(step: float, total: int) -> float:
    top = 0.3 * total - 1
    start, end, share = PEAK / 25, PEAK, step / top
    if step > top:
        start, end, share = PEAK, PEAK / 25 / 1e4, (step - top) / (total - 1 - top)
    return end + (start - end) * (math.cos(math.pi * share) + 1) / 2


def tri_stage(step: float, total: int) -> float:
    up, hold, down = 0.1 * total, 0.4 * total, 0.5 * total
    if step < up:
        return 5e-6 + (PEAK - 5e-6) / up * step
    if step < up + hold:
        return PEAK
    return PEAK * math.exp(math.log(5e-6 / PEAK) / down * (step - up - hold))


def triangle(step: float, total: int, cycles: int, factor: float) -> float:
    half = total / (2 * cycles)
    cycle = math.floor(1 + step / (2 * half))
    x = abs(step / half - 2 * cycle + 1)
    return 1e-8 + (PEAK - 1e-8) * max(0.0, 1 - x) * factor ** (cycle - 1)


# Schedule -> its options, and the rate at a step of a run.
FORMULAS: dict[str, tuple[Options, Callable[[float, int], float]]] = {
    "constant": ({"warmup_steps": 7}, lambda t, n: warm(t, 7, lambda: PEAK)),
    "linear": (
        {"warmup_steps": 0.25, "final": 1e-4},
        lambda t, n: warm(t, 0.25 * n, lambda: 1e-4 + (PEAK - 1e-4) * (n - t) / (n - 0.25 * n)),
    ),
    "cosine": (
        {"warmup_steps": 5, "final": 1e-4},
        lambda t, n: warm(t, 5, lambda: 1e-4 + (PEAK - 1e-4) * math.cos(math.pi / 2 * (t - 5) / (n - 5)) ** 2),
    ),
    "exponential": (
        {"warmup_steps": 4},
        lambda t, n: warm(t, 4, lambda: PEAK * math.exp(math.log(5e-6 / PEAK) / (n - 4)) ** (t - 4)),
    ),
    "triangular": ({"cycles": 3}, lambda t, n: triangle(t, n, 3, 1.0)),
    "triangular2": ({}, lambda t, n: triangle(t, n, 4, 0.5)),
    "one-cycle": ({}, one_cycle),
    "tri-stage": ({}, tri_stage),
    "warmup-flat-linear": (
        {"warmup_steps": 6, "flat_steps": 0.5},
        lambda t, n: warm(t, 6, lambda: PEAK * min(1.0, (n - t) / (n - (6 + 0.5 * n)))),
    ),
    "inverse-sqrt": (
        {"warmup_steps": 9},  # Noam: the smaller of the two, over its value where they are equal
        lambda t, n: PEAK * 3 * min(t**-0.5 if t else math.inf, t * 9**-1.5),
    ),
    "plateau": ({}, lambda t, n: PEAK),
}


@pytest.mark.parametrize("total", [20, 100, 997])
@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_is_its_formula(name: str, total: int) -> None:
    options, formula = FORMULAS[name]
    schedule = make_schedule(name, options)
    schedule.check(total, PEAK)
    assert rates_of(schedule, total) == pytest.approx([formula(t, total) for t in range(total)], rel=1e-9, abs=1e-18)


# --- the schedules of other libraries, stepped over a whole run ---------------------------------------------------


def of_transformers(name: str, warmup: int, total: int, **more: Any) -> Callable[[Optimizer], LRScheduler]:
    return lambda optimizer: get_scheduler(name, optimizer, warmup, total, scheduler_specific_kwargs=more)


def staged(*stages: tuple[int, Callable[[Optimizer], LRScheduler]]) -> Callable[[Optimizer], LRScheduler]:
    """torch's SequentialLR; a stage is its first step and what makes it."""
    firsts = [first for first, _ in stages[1:]]
    return lambda optimizer: SequentialLR(optimizer, [make(optimizer) for _, make in stages], firsts)


def cyclic(half: float, mode: str) -> Callable[[Optimizer], LRScheduler]:
    kind: Any = CyclicLR  # its step size may be a fraction, whatever the annotation says
    return lambda optimizer: kind(optimizer, 1e-8, PEAK, half, mode=mode, cycle_momentum=False)


def one_cycle_lr(total: int, **options: Any) -> Callable[[Optimizer], LRScheduler]:
    return lambda optimizer: OneCycleLR(optimizer, PEAK, total, cycle_momentum=False, **options)


# Schedule, options, updates, the other library's.
EQUALS: dict[str, tuple[str, Options, int, Callable[[Optimizer], LRScheduler]]] = {
    "constant": ("constant", {}, 997, of_transformers("constant", 0, 997)),
    "constant-warm": ("constant", {"warmup_steps": 0.1}, 500, of_transformers("constant_with_warmup", 50, 500)),
    "linear": ("linear", {"warmup_steps": 97}, 997, of_transformers("linear", 97, 997)),
    "linear-cold": ("linear", {"warmup_steps": 0}, 10, lambda optimizer: LinearLR(optimizer, 1.0, 0.0, 10)),
    "linear-final": (
        "linear",
        {"warmup_steps": 0.1, "final": 1e-5},
        1000,
        of_transformers("polynomial", 100, 1000, lr_end=1e-5, power=1.0),
    ),
    "cosine": ("cosine", {"warmup_steps": 0.2}, 500, of_transformers("cosine", 100, 500)),
    "cosine-final": (
        "cosine",
        {"warmup_steps": 0, "final": 1e-5},
        997,
        of_transformers("cosine_with_min_lr", 0, 997, min_lr=1e-5),
    ),
    "exponential": ("exponential", {}, 997, lambda optimizer: ExponentialLR(optimizer, (5e-6 / PEAK) ** (1 / 997))),
    "staircase": (
        "exponential",
        {"gamma": 0.95, "every": 30},
        997,
        lambda optimizer: StepLR(optimizer, 30, 0.95),
    ),
    "staircase-share": (
        "exponential",
        {"gamma": 0.5, "every": 0.07},  # 0.07 * 100 is a little more than 7 in floats
        100,
        lambda optimizer: StepLR(optimizer, 7, 0.5),
    ),
    "triangular": ("triangular", {"cycles": 3}, 997, cyclic(997 / 6, "triangular")),
    "triangular2": ("triangular2", {"cycles": 5}, 997, cyclic(997 / 10, "triangular2")),
    "one-cycle": ("one-cycle", {}, 997, one_cycle_lr(997)),
    "one-cycle-half": ("one-cycle", {"pct_start": 0.5}, 50, one_cycle_lr(50, pct_start=0.5)),
    "one-cycle-line": (
        "one-cycle",
        {"pct_start": 0.1, "div_factor": 10, "final_div_factor": 100, "anneal": "linear"},
        333,
        one_cycle_lr(333, pct_start=0.1, div_factor=10, final_div_factor=100, anneal_strategy="linear"),
    ),
    "one-cycle-short": ("one-cycle", {}, 3, one_cycle_lr(3)),
    "one-cycle-all-down": ("one-cycle", {"pct_start": 0}, 9, one_cycle_lr(9, pct_start=0.0)),
    "tri-stage": (
        "tri-stage",
        {},
        1000,
        staged(
            (0, lambda optimizer: LinearLR(optimizer, 5e-6 / PEAK, 1.0, 100)),
            (100, lambda optimizer: ConstantLR(optimizer, 1.0)),
            (500, lambda optimizer: ExponentialLR(optimizer, (5e-6 / PEAK) ** (1 / 500))),
        ),
    ),
    "warmup-flat-linear": (
        "warmup-flat-linear",
        {"warmup_steps": 100},
        2000,
        staged(
            (0, of_transformers("constant_with_warmup", 100, 2000)),
            (200, lambda optimizer: LinearLR(optimizer, 1.0, 0.0, 1800)),
        ),
    ),
    "inverse-sqrt": ("inverse-sqrt", {"warmup_steps": 50}, 997, of_transformers("inverse_sqrt", 50, 997)),
}


@pytest.mark.parametrize("case", EQUALS)
def test_equal_to_the_schedule_of_the_library(case: str) -> None:
    name, options, total, make = EQUALS[case]
    theirs = stepped(make(optimizer_at(PEAK)), total)
    assert rates_of(make_schedule(name, options), total) == pytest.approx(theirs, rel=1e-9, abs=1e-16)


def test_every_closed_form_has_been_held_against_a_library() -> None:
    assert {name for name, *_ in EQUALS.values()} == SCHEDULES.keys() - {"plateau"}


# --- triangular2 with 4 cycles, 50,000 steps ----------------------------------------------------------------------


def test_triangular2_at_hand_computed_steps() -> None:
    schedule = make_schedule("triangular2", {"cycles": 4, "base": 1e-8})
    expected = {
        0: 1e-8,
        3_125: 8.9005e-5,  # half way up
        6_250: 1.78e-4,  # 50,000 // 8 steps up
        9_375: 8.9005e-5,
        12_500: 1e-8,
        18_750: 8.9005e-5,  # base + (peak - base) / 2
        25_000: 1e-8,
        31_250: 4.45075e-5,  # a quarter
        37_500: 1e-8,
        43_750: 2.225875e-5,  # an eighth
        49_999: 1.355984e-8,  # an eighth of the 6,250th part, above the base
    }
    assert {step: schedule.rate(step, 50_000, 1.78e-4) for step in expected} == pytest.approx(expected, rel=1e-12)


def test_triangular2_is_cyclic_lr_of_an_eighth_of_the_run() -> None:
    theirs = stepped(cyclic(50_000 // 8, "triangular2")(optimizer_at(PEAK)), 50_000)
    assert rates_of(make_schedule("triangular2"), 50_000) == pytest.approx(theirs, rel=1e-9)


# --- what holds for all of them -----------------------------------------------------------------------------------


@pytest.mark.parametrize("total", [1, 2, 3, 10, 997])
@pytest.mark.parametrize("name", SCHEDULES)
def test_rates_are_finite_and_between_zero_and_the_peak(name: str, total: int) -> None:
    schedule = make_schedule(name)
    schedule.check(total, PEAK)
    rates = [*rates_of(schedule, total), schedule.rate(total, total, PEAK)]  # a scheduler asks once more after the last
    assert all(0 <= rate <= PEAK for rate in rates), rates


@pytest.mark.parametrize("pct_start", [0, 0.1, 0.5, 0.999, 1])
@pytest.mark.parametrize("total", [1, 2, 3, 10, 997])
def test_one_cycle_goes_up_for_any_share_of_any_run(pct_start: float, total: int) -> None:
    rates = rates_of(make_schedule("one-cycle", {"pct_start": pct_start}), total)
    assert all(0 < rate <= PEAK for rate in rates), rates


def test_tri_stage_without_a_descent_holds_to_the_end() -> None:
    rates = rates_of(make_schedule("tri-stage", {"shares": [0.2, 0.8, 0]}), 10)
    assert rates == pytest.approx([5e-6, (5e-6 + PEAK) / 2] + [PEAK] * 8)


@pytest.mark.parametrize("name", sorted(SCHEDULES.keys() - {"one-cycle"}))  # that one counts from the last update
def test_shares_give_runs_of_any_length_the_same_course(name: str) -> None:
    schedule = make_schedule(name)
    short, long = rates_of(schedule, 100), rates_of(schedule, 700)
    assert long[::7] == pytest.approx(short, rel=1e-9, abs=1e-18)


@pytest.mark.parametrize(
    ("length", "total", "steps"), [(0, 50, 0), (0.1, 50, 5), (0.07, 100, 7), (0.1, 25, 2.5), (1, 50, 1), (500, 50, 500)]
)
def test_lengths_are_shares_below_one_and_steps_above(length: float, total: int, steps: float) -> None:
    assert steps_of(length, total) == steps


# --- what sets the rates of an optimiser ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(SCHEDULES.keys() - {"plateau"}))
def test_scheduler_sets_the_rates_and_groups_keep_their_proportions(name: str) -> None:
    schedule, total = make_schedule(name, FORMULAS[name][0]), 60
    optimizer = optimizer_at(PEAK, PEAK / 10)
    scheduler = make_scheduler(optimizer, schedule, total, PEAK)
    for step in range(total):
        rate = schedule.rate(step, total, PEAK)
        assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([rate, rate / 10], rel=1e-12)
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize("name", SCHEDULES)
def test_state_is_plain_and_goes_on_where_it_was(name: str) -> None:
    schedule, total = make_schedule(name, FORMULAS[name][0]), 40
    metrics = [1.0 / min(step + 1, 5) for step in range(total)]

    def run(first: int, last: int, state: Mapping[str, Any] | None) -> tuple[list[float], Any]:
        optimizer = optimizer_at(PEAK, PEAK / 10)
        scheduler = make_scheduler(optimizer, schedule, total, PEAK, greater_is_better=False)
        if state is not None:
            optimizer.load_state_dict(state["optimizer"])
            scheduler.load_state_dict(state["scheduler"])
        rates = []
        for step in range(first, last):
            rates += [group["lr"] for group in optimizer.param_groups]
            optimizer.step()
            scheduler.step(metrics[step]) if isinstance(scheduler, ReduceLROnPlateau) else scheduler.step()
        return rates, {"optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}

    whole, _ = run(0, total, None)
    before, state = run(0, 17, None)
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    after, _ = run(17, total, torch.load(file, weights_only=True))
    assert before + after == whole
    assert len(set(whole)) > 2 or name == "constant"


def validated(metrics: list[float], greater_is_better: bool, rates: tuple[float, ...] = (PEAK,), **options: Any) -> Any:
    """The rates of each group after each validation."""
    optimizer = optimizer_at(*rates)
    scheduler: Any = make_scheduler(optimizer, make_schedule("plateau", options), 100, PEAK, greater_is_better)
    assert isinstance(scheduler, ReduceLROnPlateau)  # by which the Trainer knows that it follows a metric
    course = []
    for metric in metrics:
        scheduler.step(metric)
        course.append([group["lr"] for group in optimizer.param_groups])
    return course


def test_plateau_falls_after_four_validations_without_a_gain_of_one_percent() -> None:
    errors = [0.2, 0.1, 0.0995, 0.0992, 0.0991, 0.0991, 0.05, 0.05]  # below 0.099 would have been a gain
    falls = [PEAK] * 5 + [PEAK / 10] * 3
    assert validated(errors, False) == [[pytest.approx(rate)] for rate in falls]
    # Two bad ones are enough with a patience of 1: a fall at 0.0992, at 0.0991, and none before the gain to 0.05.
    falls = [PEAK] * 3 + [PEAK / 2] * 2 + [PEAK / 4] * 3
    assert validated(errors, False, patience=1, factor=0.5) == [[pytest.approx(rate)] for rate in falls]


def test_plateau_of_a_metric_that_should_rise() -> None:
    recalls = [0.5, 0.6, 0.601, 0.59, 0.7, 0.701]  # above 0.606 would have been a gain, and 0.7 is one
    assert validated(recalls, True, patience=1) == [[pytest.approx(PEAK)]] * 3 + [[pytest.approx(PEAK / 10)]] * 3


def test_plateau_threshold_can_be_absolute() -> None:
    # A concordance may be below 0, where a share of the best value would take -0.504 for a gain over -0.5.
    ccc = [-0.5, -0.504, -0.504]
    relative = validated(ccc, True, patience=0)
    absolute = validated(ccc, True, patience=0, threshold_mode="abs")
    assert relative[1] == [PEAK] and absolute[1] == [pytest.approx(PEAK / 10)]


def test_plateau_does_not_count_what_comes_in_the_cooldown() -> None:
    course = validated([1.0] * 7, False, patience=0, cooldown=2)
    # A fall, two that are not counted, a fall, and so on; the first value is a gain over none.
    assert course == [[pytest.approx(rate)] for rate in (1e-3, 1e-4, 1e-4, 1e-4, 1e-5, 1e-5, 1e-5)]


def test_plateau_keeps_the_proportions_of_groups_down_to_its_floor() -> None:
    course = validated([1.0] * 6, False, (PEAK, 1e-8), patience=0, min_lr=1e-5)
    assert course == [[pytest.approx(rate, rel=1e-9) for rate in (r, r * 1e-5)] for r in (1e-3, 1e-4, *[1e-5] * 4)]


def test_plateau_needs_a_metric_and_the_others_do_not() -> None:
    with pytest.raises(InputError, match="^schedule 'plateau' needs validation rows and a metric"):
        make_scheduler(optimizer_at(PEAK), make_schedule("plateau"), 10, PEAK)
    assert [name for name, kind in SCHEDULES.items() if kind.needs_validation] == ["plateau"]


def test_a_scheduler_is_not_made_for_a_run_that_it_does_not_fit() -> None:
    with pytest.raises(InputError, match="^schedule 'linear': warmup_steps 100 is 100 steps, but the run has 10; "):
        make_scheduler(optimizer_at(PEAK), make_schedule("linear", {"warmup_steps": 100}), 10, PEAK)
