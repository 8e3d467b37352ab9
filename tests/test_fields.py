"""Values as annotations want them, flags as tables: what can't be meant is refused with its field."""

import typing
from typing import Any, Literal

import pytest

from hf_speech.errors import InputError
from hf_speech.fields import fit, kinds, parse_flags, read_yaml, unknown_field


@pytest.mark.parametrize(
    ("value", "hint", "fitted"),
    [
        ("1e-3", float, 1e-3),  # text to YAML 1.1
        (3, float, 3.0),
        (3, int | float, 3),
        (3, float | None, 3.0),
        (None, float | None, None),
        (0.1, str, "0.1"),
        (7, str | None, "7"),
        (7, int | str, 7),
        (True, bool, True),
        (False, str, "no"),  # the word no, which YAML reads as false
        (False, Literal["no", "yes"], "no"),
        ("cnn", Literal["none", "cnn"], "cnn"),
        ("a, b", list[str], ["a", "b"]),
        ([1, "2"], list[str], ["1", "2"]),
        ([1, 2.5], list[float], [1.0, 2.5]),
        ("a=b, c=d", dict[str, str], {"a": "b", "c": "d"}),
        ({"a": 1}, dict[str, Any], {"a": 1}),
        ("balanced", str | list[float] | None, "balanced"),
        ("none", float | None, None),
        ("none", Literal["eager"] | None, None),
        ("none", Literal["none", "cnn"], "none"),
        ("none", str | None, "none"),
        ("none", dict[str, Any], {}),
        (None, dict[str, Any], {}),
    ],
)
def test_a_value_becomes_what_its_annotation_says(value: Any, hint: Any, fitted: Any) -> None:
    found = fit(value, hint, "x")
    assert found == fitted and type(found) is type(fitted)


@pytest.mark.parametrize(
    ("value", "hint", "said"),
    [
        ("none", float, "run.yaml: x: 'none' is not a number"),
        ("none", int, "run.yaml: x: 'none' is not of the kind int"),
        ("much", float, "run.yaml: x: 'much' is not a number"),
        (True, int, "run.yaml: x: True is not of the kind int"),
        (True, str, "run.yaml: x: True is no text"),
        (2.5, int, "run.yaml: x: 2.5 is not of the kind int"),
        (None, int, "run.yaml: x: None is not of the kind int"),
        ("cn", Literal["none", "cnn"], "run.yaml: x: unknown value 'cn' (did you mean 'cnn'?); valid: cnn, none"),
        ("a=", dict[str, str], "run.yaml: x: 'a=' is no table"),
        (["a", "b"], list[float], "run.yaml: x: 'a' is not a number"),
        ({"a": 1}, list[dict[str, Any]], "run.yaml: x: {'a': 1} is not of the kind list; begin each of its lines with"),
    ],
)
def test_what_does_not_fit_is_refused_by_its_field(value: Any, hint: Any, said: str) -> None:
    with pytest.raises(InputError) as caught:
        fit(value, hint, "run.yaml: x")
    assert str(caught.value).startswith(said)


def test_the_kinds_of_a_union_are_laid_flat() -> None:
    assert kinds(int) == (int,)
    assert kinds(typing.Union[int, str | None]) == (int, str, type(None))  # noqa: UP007
    assert kinds(list[float] | None) == (list[float], type(None))


def test_flags_are_names_with_values_or_bare() -> None:
    words = ["--learning-rate", "1e-3", "--overwrite", "--name=a b", "--seed=3", "--test", "speaker_id=a,b"]
    assert parse_flags(words) == {
        "learning_rate": 1e-3, "overwrite": True, "name": "a b", "seed": 3, "test": "speaker_id=a,b",
    }  # fmt: skip
    # YAML 1.1 would read these as 8, 10 and 90.
    assert parse_flags(["--name", "010", "--output-dir", "1_0", "--data-name", "1:30"]) == {
        "name": "010", "output_dir": "1_0", "data_name": "1:30",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["3"], "unexpected word '3'"),
        (["--seed", "3", "4"], "unexpected word '4'"),
        (["--seed=3", "4"], "unexpected word '4'"),
        (["--name", "[x"], "--name: '[x' can't be read as YAML"),
    ],
)
def test_words_that_are_no_flags_are_refused(words: list[str], said: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_flags(words)
    assert str(caught.value).startswith(said)


def test_a_field_that_does_not_exist() -> None:
    """The nearest name where one is near, be it a flag of the command; else all of ours."""
    fields, foreign, flags = {"pooling", "runes", "layer"}, ["max_steps"], {"--folds", "--output-dir"}
    for name, meant in {
        "polling": "'pooling'",
        "max_step": "'max_steps'",
        "fold": "--folds",
        "output_di": "--output-dir",
    }.items():
        said = f"unknown field {name!r} (did you mean {meant}?); `hf-speech train --fields` lists all"
        assert str(unknown_field(name, fields, foreign, flags)) == said
    further = "layer, pooling, runes, and the fields of transformers' TrainingArguments"
    assert str(unknown_field("xyz", fields, foreign, flags)) == f"unknown field 'xyz'; valid: {further}"


@pytest.mark.parametrize("text", ["1e-8", "-1E-8", "1.e-8", "+.1e+3", "1e5", "0.00001", "5.0e-6"])
def test_a_number_is_a_number_wherever_it_stands(text: str) -> None:
    number = float(text)
    assert read_yaml(f"{{final: {text}, list: [{text}]}}") == {"final": number, "list": [number]}
    assert parse_flags(["--schedule-config", f"{{final: {text}}}"]) == {"schedule_config": {"final": number}}
    assert type(read_yaml(text)) is float


@pytest.mark.parametrize("text", ["e-8", "1e", "1e-", "-e5", ".e1", "1e-8s", "'1e-8'", "id1e5", "1_e5"])
def test_what_is_no_number_stays_text(text: str) -> None:
    assert read_yaml(text) == text.strip("'")
