"""Names of things: one way to look them up, one error that lists the valid ones.

Part of the folder that travels with a model to the Hub, so it imports nothing but the standard library.
"""

import difflib
import inspect
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")


class InputError(ValueError):
    """What was given can't be used: the message names what is wrong, where, and the mend, in one line.

    The command line prints it without a traceback and ends with exit status 2.
    """


def unknown_name(name: object, valid: Iterable[str], what: str, more: Mapping[str, str] | None = None) -> InputError:
    """The error for a name that does not exist; it lists the valid names and the nearest one.

    Args:
        name: what was given.
        valid: the names that exist.
        what: what they name, in the singular.
        more: further valid names, too many to list -> the words that stand for them.
    """
    names, further = sorted(valid), more or {}
    near = difflib.get_close_matches(str(name), [*names, *further], n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    listed = ", ".join([*names, *dict.fromkeys(further.values())])
    return InputError(f"unknown {what} {name!r}{hint}; valid: {listed}")


def one_line(error: object) -> str:
    """An error's words without line breaks."""
    return " ".join(str(error).split())


def lookup(registry: Mapping[str, T], name: object, what: str) -> T:
    """The entry called `name` in a registry.

    Args:
        registry: names to entries.
        name: the name that was asked for.
        what: what the entries are, in the singular ("pooling"), for the message.

    Raises:
        InputError: no such name; the valid ones are listed.
    """
    if not isinstance(name, str) or name not in registry:
        raise unknown_name(name, registry, what)
    return registry[name]


def options_of(part: Callable[..., object]) -> dict[str, object]:
    """The options of a part: its keyword-only parameters, with their defaults."""
    parameters = inspect.signature(part).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def with_options(part: Callable[..., T], options: Mapping[str, Any], what: str) -> Callable[..., T]:
    """A part with its options set, to be called with what remains.

    Args:
        part: a class or function whose options are keyword-only parameters.
        options: option -> value of the kind that its default is of; those left out keep their defaults, as do those
            whose default is None and whose value is the word none.
        what: the part by name, for the message ("pooling 'attentive'").

    Raises:
        InputError: an option that the part does not have, where those it has are listed; or a value of another kind.
    """
    known = options_of(part)
    if not isinstance(options, Mapping):
        raise InputError(f"{what}: its options are {options!r}; give a table, option -> value")
    for name, value in options.items():
        if name not in known:
            if not known:
                raise InputError(f"{what} has no options, but {name!r} was given; leave it out")
            raise unknown_name(name, known, f"option of {what}")
        if not _is_like(value, known[name]):
            raise InputError(f"{what}: {name} is {value!r}; give {_kind_of(known[name])}")
    nothing = {name for name, value in options.items() if known[name] is None and value == "none"}
    return partial(part, **{name: value for name, value in options.items() if name not in nothing})


def _is_like(value: object, default: object) -> bool:
    """Whether a value is of the default's kind; of lists, whether all that they hold is like the default's first.

    A whole number is a number, a truth value is none; numbers are finite. A default of None is of any kind.
    """
    if isinstance(default, list | tuple):
        return isinstance(value, list | tuple) and all(_is_like(each, next(iter(default), None)) for each in value)
    if isinstance(default, bool) or isinstance(value, bool):
        return default is None or isinstance(value, bool) and isinstance(default, bool)
    if isinstance(default, int | float):
        return is_number(value) and (isinstance(default, float) or isinstance(value, int))
    return default is None or isinstance(value, type(default))


def is_number(value: object) -> bool:
    """Whether a value is a finite number that a float can hold; a truth value is none."""
    # no isfinite: it fails where a whole number is too large
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _kind_of(default: object) -> str:
    """What to give for an option with this default: "a whole number, such as 8"."""
    if isinstance(default, bool):
        return "true or false"
    kinds = {int: "a whole number", float: "a number", str: "text", list: "a list", tuple: "a list"}
    return f"{kinds.get(type(default), 'a value')}, such as {json.dumps(default)}"


def build(
    registry: Mapping[str, Callable[..., T]], name: object, what: str, options: Mapping[str, Any] | None, *given: Any
) -> T:
    """The part called `name`, made with its options: `build(POOLINGS, "mean", "pooling", {}, 768)`.

    Raises:
        InputError: no such name, no such option, or a value that the part can't be built with.
    """
    part = lookup(registry, name, what)
    return with_options(part, options or {}, f"{what} {name!r}")(*given)
