"""Options of parts: every option of every part is of its default's kind, and what is of another is refused by name."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from hf_speech.errors import InputError
from hf_speech.models.frontends import FRONTENDS
from hf_speech.models.losses import check_options
from hf_speech.models.necks import NECKS
from hf_speech.models.network_encoder import NETWORKS
from hf_speech.models.projections import PROJECTIONS
from hf_speech.models.registry import build, options_of, with_options
from hf_speech.training.parts import PARTS as REGISTRIES

PARTS = [(what, name) for what, registry in REGISTRIES.items() for name in registry]
OPTIONS = [(what, name, option) for what, name in PARTS for option in options_of(REGISTRIES[what][name])]
NAN, INFINITE = float("nan"), float("inf")
# Values of another kind than an option's, by the kind of its default.
WRONG: dict[type, tuple[object, ...]] = {
    bool: ("no", 1, 0.0, None, [True]),
    int: ("8", 8.0, True, None, [8], NAN),
    float: ("0.5", False, None, [0.5], NAN, INFINITE, -INFINITE),
    str: (3, True, None, ["relu"]),
    tuple: (8, "8", None, {"8": 8}, ["8"], [True], [[8]], [None], [NAN]),
}


def part_of(
    number: int = 3, *, share: float = 0.5, sizes: Any = (1, 2), rows: Any = ((1, 2),), free: Any = None
) -> Any:
    """A part with an option of each kind."""
    return number, share, sizes, rows, free


@pytest.mark.parametrize(("what", "name"), PARTS)
def test_defaults_can_be_given_and_go_through_json(what: str, name: str) -> None:
    part = REGISTRIES[what][name]
    with_options(part, options_of(part), what)
    with_options(part, json.loads(json.dumps(options_of(part))), what)


@pytest.mark.parametrize(("what", "name", "option"), OPTIONS)
def test_every_option_refuses_what_is_of_another_kind(what: str, name: str, option: str) -> None:
    part = REGISTRIES[what][name]
    for value in WRONG[type(options_of(part)[option])]:
        if value == [[8]] and option == "conv_layers":
            continue  # of the right kind, though too short a row: the network says so
        with pytest.raises(InputError) as refusal:
            with_options(part, {option: value}, f"{what} {name!r}")
        message = str(refusal.value)
        assert message.startswith(f"{what} {name!r}: {option} is {value!r}; give ") and "\n" not in message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"share": "a"}, "part 'x': share is 'a'; give a number, such as 0.5"),
        ({"share": 10**400}, f"part 'x': share is {10**400}; give a number, such as 0.5"),
        ({"sizes": [10**400]}, f"part 'x': sizes is {[10**400]}; give a list, such as [1, 2]"),
        ("abc", "part 'x': its options are 'abc'; give a table, option -> value"),
        ({"share": 2}, None),
        ({"sizes": 8}, "part 'x': sizes is 8; give a list, such as [1, 2]"),
        ({"sizes": [1, 2.0]}, "part 'x': sizes is [1, 2.0]; give a list, such as [1, 2]"),
        ({"sizes": [5]}, None),
        ({"sizes": []}, None),
        ({"rows": [[1, 2], [3, 4]]}, None),
        ({"rows": [[1, 2], 3]}, "part 'x': rows is [[1, 2], 3]; give a list, such as [[1, 2]]"),
        ({"rows": [[1, True]]}, "part 'x': rows is [[1, True]]; give a list, such as [[1, 2]]"),
        ({"free": [1, "a"]}, None),
        ({"free": True}, None),
        ({"number": 1}, "unknown option of part 'x' 'number'; valid: free, rows, share, sizes"),
    ],
)
def test_values_are_held_against_the_defaults(options: Any, message: str | None) -> None:
    if message is None:
        assert with_options(part_of, options, "part 'x'")(1)
        return
    with pytest.raises(InputError) as refusal:
        with_options(part_of, options, "part 'x'")
    assert str(refusal.value) == message


@pytest.mark.parametrize(
    ("registry", "name", "options", "given", "message"),
    [
        (NECKS, "transformer", {"size": "8"}, 16, "size is '8'; give a whole number, such as 256"),
        (NETWORKS, "vgg", {"size": "8"}, 80, "size is '8'; give a whole number, such as 1024"),
        (PROJECTIONS, "dmha", {"dropout": "a"}, 16, "dropout is 'a'; give a number, such as 0.0"),
        (NETWORKS, "ecapa-tdnn", {"aggregate": "no"}, 80, "aggregate is 'no'; give true or false"),
        (FRONTENDS, "log-mel", {"scale": 0}, 16_000, "scale is 0; give a number above 0"),
        (NETWORKS, "x-vector", {"activation": 3}, 80, 'activation is 3; give text, such as "leaky-relu"'),
    ],
)
def test_a_part_is_not_built_with_them(
    registry: Mapping[str, Any], name: str, options: dict[str, Any], given: int, message: str
) -> None:
    with pytest.raises(InputError) as refusal:
        build(registry, name, "part", options, given)
    assert message in str(refusal.value)


def test_losses_are_checked_in_the_same_place() -> None:
    with pytest.raises(InputError, match="^loss 'focal': gamma is 'much'; give a number, such as 2.0$"):
        check_options("focal", {"gamma": "much"})
