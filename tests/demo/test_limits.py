"""How much a visitor may ask."""

import pytest

from hf_speech.demo.limits import Gate, Limits
from hf_speech.errors import InputError


def test_limits_come_from_the_environment_in_their_own_kinds() -> None:
    limits = Limits.from_environment(
        {"HF_SPEECH_DEMO_MAX_SECONDS": "7.5", "HF_SPEECH_DEMO_PER_MINUTE": "3", "PATH": "x"}
    )
    assert limits == Limits(max_seconds=7.5, per_minute=3)
    assert Limits.from_environment({}) == Limits()


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("HF_SPEECH_DEMO_MAX_SECONDS", "long", "HF_SPEECH_DEMO_MAX_SECONDS is 'long'; give a number"),
        ("HF_SPEECH_DEMO_MAX_SECONDS", "0", "max_seconds is 0.0; give a number above 0"),
        ("HF_SPEECH_DEMO_MAX_SECONDS", "inf", "max_seconds is inf; give a number above 0"),
        ("HF_SPEECH_DEMO_MAX_FILES", "1", "max_files is 1; give 2 or more"),
        ("HF_SPEECH_DEMO_MAX_SECONDS", "nan", "max_seconds is nan; give a number above 0"),
        ("HF_SPEECH_DEMO_PER_MINUTE", "-1", "per_minute is -1; give 0 or more"),
        ("HF_SPEECH_DEMO_SECONDS", "3", "HF_SPEECH_DEMO_SECONDS: there is no such limit; valid: HF_SPEECH_DEMO_MAX"),
    ],
)
def test_a_limit_that_is_none_is_named(variable: str, value: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        Limits.from_environment({variable: value})
    assert str(caught.value).startswith(words)


def test_a_visitor_comes_so_often_a_minute_and_others_are_not_hindered() -> None:
    gate = Gate(2)
    assert gate.enter("ann", now=0.0) == gate.enter("ann", now=10.0) == 0
    assert gate.enter("ann", now=20.0) == 40
    assert "more than 2 requests in a minute. Please wait 40 s" in gate.refusal(40)
    assert gate.enter("ben", now=20.0) == 0
    assert gate.enter("ann", now=60.0) == 0  # what was refused does not count, and the first is a minute ago
    assert gate.enter("ann", now=61.0) == 9


def test_no_limit_remembers_nobody_and_those_who_left_are_forgotten() -> None:
    gate = Gate(0)
    assert not any(gate.enter("ann") for _ in range(1_000)) and not gate._came
    gate = Gate(1)
    for visitor in range(10_050):
        gate.enter(str(visitor), now=visitor / 1_000)
    assert len(gate._came) == 10_000 and "49" not in gate._came  # who came longest ago
    assert gate.enter("10049", now=11.0) > 0
    gate.enter("late", now=100.0)
    assert set(gate._came) == {"late"}


def test_files_follow_requests() -> None:
    assert Limits().uploads_per_minute == 120 and Limits(per_minute=2).uploads_per_minute == 12
    assert Limits(per_minute=0).uploads_per_minute == 0
