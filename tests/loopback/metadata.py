"""The metadata at the top of a README, and whether the Hub would take it.

The rules are those that people have met on the Hub, in its words. They are tables: what a field has to be, by its name.
"""

import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import yaml

from .vocabulary import COLOURS, LANGUAGES, LICENSES, SDKS, TASKS

FRONT = re.compile(r"\A\ufeff?\s*---[ \t]*\r?\n(.*?)^---[ \t]*(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE)
REPOSITORY = re.compile(r"(?:[\w.-]{1,96}/)?[\w.-]{1,96}", re.ASCII)
EMPTY = "empty or missing yaml metadata in repo card"

# A rule takes where a value stands, and the value, and tells what is wrong with it.
Rule = Callable[[str, Any], Iterator[str]]


class _Loader(yaml.SafeLoader):
    """Refuses a key that is there twice, as the Hub does; PyYAML would take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        if twice := [key for key in keys if keys.count(key) > 1]:
            raise yaml.MarkedYAMLError(problem=f"duplicated mapping key {twice[0]}", problem_mark=node.start_mark)
        return super().construct_mapping(node, deep)


def front_matter(text: str) -> tuple[dict[str, Any] | None, str]:
    """The metadata, None without any, and the text below it.

    Raises:
        ValueError: What is there is no YAML, or no mapping.
    """
    found = FRONT.match(text)
    if not found:
        return None, text
    try:
        content = yaml.load(found[1], _Loader)
    except yaml.YAMLError as problem:
        raise ValueError("Invalid YAML: " + " ".join(str(problem).split())) from None
    if not isinstance(content, dict | None):
        raise ValueError("The YAML metadata must be a mapping")
    return content, text[found.end() :]


def anything(where: str, value: Any) -> Iterator[str]:
    """No rule."""
    yield from ()


def string(where: str, value: Any) -> Iterator[str]:
    """Text."""
    if not isinstance(value, str):
        yield f'"{where}" must be a string'


def boolean(where: str, value: Any) -> Iterator[str]:
    """True or false."""
    if not isinstance(value, bool):
        yield f'"{where}" must be a boolean'


def score(where: str, value: Any) -> Iterator[str]:
    """A number, or text like "20.0 ± 1.2"."""
    finite = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not (finite or isinstance(value, str) or (isinstance(value, list | dict) and value)):
        yield f'"{where}" must be a string or a finite number'


def at_most(letters: int) -> Rule:
    """Text that is not too long."""

    def check(where: str, value: Any) -> Iterator[str]:
        yield from string(where, value)
        if isinstance(value, str) and len(value) > letters:
            yield f'"{where}" length must be less than or equal to {letters} characters long'

    return check


def one_of(names: Collection[str]) -> Rule:
    """One of the names."""

    def check(where: str, value: Any) -> Iterator[str]:
        if not isinstance(value, str) or value not in names:
            yield f'"{where}" must be one of [{", ".join(sorted(names))}]'

    return check


def repository(listing: str) -> Rule:
    """The id of a repository of that kind."""

    def check(where: str, value: Any) -> Iterator[str]:
        if not isinstance(value, str) or not REPOSITORY.fullmatch(value):
            advice = f"If possible, use a {listing.rstrip('s')} id from the Hub's {listing}."
            yield f'"{where}" with value "{value}" is not valid. {advice}'

    return check


def language(where: str, value: Any) -> Iterator[str]:
    """A language's code; `no` without quotes is read as false."""
    if not isinstance(value, str) or not (value in LANGUAGES or re.fullmatch("[a-z]{3}", value)):
        yield (
            f'"{where}" with value "{value}" is not valid. It must be an ISO 639-1, 639-2 or 639-3 code (two/three'
            ' letters), or a special value like "code", "multilingual".'
        )


def array(rule: Rule) -> Rule:
    """A list, each of its items by the rule."""

    def check(where: str, value: Any) -> Iterator[str]:
        if not isinstance(value, list):
            yield f'"{where}" must be an array'
            return
        for number, item in enumerate(value):
            yield from rule(f"{where}[{number}]", item)

    return check


def one_or_more(rule: Rule) -> Rule:
    """What the rule asks for, or a list of such."""

    def check(where: str, value: Any) -> Iterator[str]:
        yield from (array(rule) if isinstance(value, list) else rule)(where, value)

    return check


def mapping(required: Mapping[str, Rule], optional: Mapping[str, Rule] | None = None) -> Rule:
    """Fields by name, those required and those that may be there; others are free."""
    rules = {**required, **(optional or {})}

    def check(where: str, value: Any) -> Iterator[str]:
        if not isinstance(value, dict):
            yield f'"{where}" must be of type object'
            return
        start = f"{where}." if where else ""
        yield from (f'"{start}{name}" is required' for name in required if value.get(name) is None)
        for name, rule in rules.items():
            if value.get(name) is not None:
                yield from rule(start + name, value[name])

    return check


EVALUATION = mapping(
    {
        "task": mapping({"type": string}, {"name": string}),
        "dataset": mapping(
            {"type": string, "name": string}, {"config": string, "split": string, "revision": string, "args": anything}
        ),
        "metrics": array(
            mapping(
                {"type": string, "value": score},
                {"name": string, "config": string, "verified": boolean, "args": anything},
            )
        ),
    },
    {"source": mapping({"url": string}, {"name": string})},
)
SHARED: dict[str, Rule] = {
    "language": one_or_more(language),
    "license": one_or_more(one_of(LICENSES)),
    "license_name": string,
    "license_link": string,
    "tags": array(string),
    "thumbnail": string,
}
MODEL = SHARED | {
    "library_name": string,
    "pipeline_tag": one_of(TASKS),
    "datasets": one_or_more(repository("datasets")),
    "base_model": one_or_more(repository("models")),
    "metrics": one_or_more(string),
    "model_name": string,
    "widget": array(anything),
    "model-index": array(mapping({"name": string, "results": array(EVALUATION)})),
}
DATA_FILES = one_or_more(
    lambda where, value: (
        mapping({"split": string, "path": one_or_more(string)}) if isinstance(value, dict) else string
    )(where, value)
)
DATASET = SHARED | {
    "pretty_name": string,
    "task_categories": array(one_of(TASKS)),
    "task_ids": array(string),
    "size_categories": one_or_more(string),
    "configs": array(mapping({"config_name": string}, {"data_files": DATA_FILES, "data_dir": string})),
    "dataset_info": one_or_more(mapping({}, {"features": array(mapping({"name": string}))})),
}
SPACE = SHARED | {
    "title": string,
    "emoji": string,
    "colorFrom": one_of(COLOURS),
    "colorTo": one_of(COLOURS),
    "sdk": one_of(SDKS),
    "sdk_version": string,
    "python_version": string,
    "app_file": string,
    "pinned": boolean,
    "fullWidth": boolean,
    "short_description": at_most(60),
    "models": array(repository("models")),
    "datasets": array(repository("datasets")),
}
RULES = {
    "model": mapping({}, MODEL),
    "dataset": mapping({}, DATASET),
    "space": mapping({"sdk": SPACE["sdk"]}, SPACE),
}


def check(text: str, kind: str) -> tuple[list[str], list[str]]:
    """Errors, with which the Hub refuses a README, and warnings, with which it takes it.

    Args:
        text: The README.
        kind: Of the repository: "model", "dataset" or "space".
    """
    try:
        content, _ = front_matter(text)
    except ValueError as problem:
        return [str(problem)], []
    if not content:
        return (["Missing configuration in README"], []) if kind == "space" else ([], [EMPTY])
    return list(RULES[kind]("", content)), []
