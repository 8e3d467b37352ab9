"""Options of schedules: what can't be, or does not fit the run, is refused by name with its mend."""

from typing import Any

import pytest

from hf_speech.errors import InputError
from hf_speech.training.schedules import SCHEDULES, make_schedule

Options = dict[str, Any]
MEND_LENGTH = "give fewer steps, a share of the run below 1, such as 0.1, or a longer run"


@pytest.mark.parametrize(
    ("name", "options", "total", "peak", "message"),
    [
        (
            "linear",
            {"warmup_steps": 1001},
            1000,
            1e-3,
            f"warmup_steps 1001 is 1001 steps, but the run has 1000; {MEND_LENGTH}",
        ),
        (
            "warmup-flat-linear",
            {"warmup_steps": 900, "flat_steps": 0.5},
            1000,
            1e-3,
            f"warmup_steps 900 + flat_steps 0.5 is 1400 steps, but the run has 1000; {MEND_LENGTH}",
        ),
        (
            "exponential",
            {"gamma": 0.5, "every": 3000},
            2000,
            1e-3,
            f"every 3000 is 3000 steps, but the run has 2000; {MEND_LENGTH}",
        ),
        (
            "triangular",
            {"base": 1e-3},
            100,
            1e-4,
            "base is 0.001, above the run's learning_rate 0.0001; give less, or a higher learning_rate",
        ),
        (
            "exponential",
            {},
            100,
            1e-6,
            "final is 5e-06, above the run's learning_rate 1e-06; give less, or a higher learning_rate",
        ),
        (
            "cosine",
            {"final": 1.1e-4},
            100,
            1e-4,
            "final is 0.00011, above the run's learning_rate 0.0001; give less, or a higher learning_rate",
        ),
        ("constant", {"warmup_steps": 1000}, 1000, 1e-3, None),
        ("warmup-flat-linear", {"warmup_steps": 1 / 7, "flat_steps": 6 / 7}, 3, 1e-3, None),  # float noise is no step
        ("warmup-flat-linear", {"warmup_steps": 0.1, "flat_steps": 0.9}, 997, 1e-3, None),
        ("exponential", {"gamma": 0.5, "every": 0.1}, 100, 1e-6, None),
        ("triangular", {"base": 1e-4}, 100, 1e-4, None),
    ],
)
def test_what_does_not_fit_the_run_is_refused(
    name: str, options: Options, total: int, peak: float, message: str | None
) -> None:
    schedule = make_schedule(name, options)
    if message is None:
        schedule.check(total, peak)
        return
    with pytest.raises(InputError) as refusal:
        schedule.check(total, peak)
    assert str(refusal.value) == f"schedule {name!r}: {message}"


LENGTH = "give a share of the run, below 1, or whole steps"
THREE = "give three that sum up to 1, such as [0.1, 0.4, 0.5]"


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("linear", {"warmup_steps": -1}, f"schedule 'linear': warmup_steps is -1; {LENGTH}"),
        ("linear", {"warmup_steps": 2.5}, f"schedule 'linear': warmup_steps is 2.5; {LENGTH}"),
        ("linear", {"final": -1e-6}, "schedule 'linear': final is -1e-06; give a learning rate of 0 or more"),
        (
            "warmup-flat-linear",
            {"warmup_steps": 0.6, "flat_steps": 0.6},
            "schedule 'warmup-flat-linear': warmup_steps 0.6 + flat_steps 0.6 is more than the run; "
            "give shares that sum up to 1 or less",
        ),
        ("exponential", {"final": 0}, "schedule 'exponential': final is 0; give a learning rate above 0"),
        (
            "exponential",
            {"gamma": 0.9},
            "schedule 'exponential': a staircase needs both gamma and every, such as {gamma: 0.95, every: 0.1}",
        ),
        (
            "exponential",
            {"every": 10},
            "schedule 'exponential': a staircase needs both gamma and every, such as {gamma: 0.95, every: 0.1}",
        ),
        (
            "exponential",
            {"gamma": 1.1, "every": 10},
            "schedule 'exponential': gamma is 1.1; give a factor above 0 and up to 1",
        ),
        (
            "exponential",
            {"gamma": 0.9, "every": 10, "final": 1e-7},
            "schedule 'exponential': final has no part in a staircase; leave it out, or gamma and every",
        ),
        ("triangular2", {"cycles": 0}, "schedule 'triangular2': cycles is 0; give a whole number of 1 or more"),
        ("one-cycle", {"pct_start": 1.1}, "schedule 'one-cycle': pct_start is 1.1; give a share of the run, 0 to 1"),
        ("one-cycle", {"div_factor": 0.5}, "schedule 'one-cycle': div_factor is 0.5; give a number of 1 or more"),
        (
            "one-cycle",
            {"anneal": "cos"},
            "schedule 'one-cycle': unknown anneal 'cos' (did you mean 'cosine'?); valid: cosine, linear",
        ),
        ("tri-stage", {"shares": [0.1, 0.4]}, f"schedule 'tri-stage': shares is [0.1, 0.4]; {THREE}"),
        ("tri-stage", {"shares": [0.1, 0.4, 0.6]}, f"schedule 'tri-stage': shares is [0.1, 0.4, 0.6]; {THREE}"),
        ("tri-stage", {"shares": [-0.1, 0.5, 0.6]}, f"schedule 'tri-stage': shares is [-0.1, 0.5, 0.6]; {THREE}"),
        ("inverse-sqrt", {"warmup_steps": 0}, f"schedule 'inverse-sqrt': warmup_steps is 0; {LENGTH}, above 0"),
        ("plateau", {"factor": 1.0}, "schedule 'plateau': factor is 1.0; give a number above 0 and below 1"),
        ("plateau", {"patience": -1}, "schedule 'plateau': patience is -1; give a whole number of 0 or more"),
        (
            "plateau",
            {"threshold_mode": "absolute"},
            "schedule 'plateau': unknown threshold_mode 'absolute'; valid: abs, rel",
        ),
        (
            "linear",
            {"warmup": 0.1},
            "unknown option of schedule 'linear' 'warmup' (did you mean 'warmup_steps'?); valid: final, warmup_steps",
        ),
        ("linear", {"warmup_steps": "0.1"}, "schedule 'linear': warmup_steps is '0.1'; give a number, such as 0.1"),
        ("triangular2", {"cycles": 4.0}, "schedule 'triangular2': cycles is 4.0; give a whole number, such as 4"),
    ],
)
def test_options_that_make_no_sense_are_refused_at_once(name: str, options: Options, message: str) -> None:
    with pytest.raises(InputError) as refusal:
        make_schedule(name, options)
    assert str(refusal.value) == message


def test_an_unknown_schedule_is_refused_with_the_valid_ones() -> None:
    with pytest.raises(InputError) as refusal:
        make_schedule("one_cycle")
    assert str(refusal.value).startswith("unknown schedule 'one_cycle' (did you mean 'one-cycle'?); valid: ")
    assert all(name in str(refusal.value) for name in SCHEDULES)
