import math
import re

import numpy as np
import pytest

from hf_speech.data.bins import RULES, bin_names, to_bins
from hf_speech.errors import InputError


def test_decades_are_the_nine_and_the_six_classes() -> None:
    nine = ["teens", "twenties", "thirties", "forties", "fifties", "sixties", "seventies", "eighties", "nineties"]
    assert bin_names("decades") == nine
    assert bin_names("six-decades") == nine[1:7]
    ages = list(range(130))
    assert to_bins(ages, "decades") == [nine[age // 10 - 1] if 10 <= age < 100 else None for age in ages]
    assert to_bins(ages, "six-decades") == [nine[age // 10 - 1] if 20 <= age < 80 else None for age in ages]


def test_a_bin_holds_its_lower_edge_and_not_its_upper_one() -> None:
    assert bin_names("20,30,40,50") == ["20-29", "30-39", "40-49"]
    values = [19.99, 20, 29.99, 30, 49, 50]
    assert to_bins(values, "20,30,40,50") == [None, "20-29", "20-29", "30-39", "40-49", None]
    assert to_bins([-5, 19, 20, 1e9], "-inf,20,60,inf") == ["under 20", "under 20", "20-59", "60 and over"]
    assert bin_names("-1, 0, 1.5, 3, 4") == ["-1 to under 0", "0 to under 1.5", "1.5 to under 3", "3"]


@pytest.mark.parametrize("rule", [*RULES, "-inf,20,inf", "0.5,1,2,8", "18,25,35,50,65,120"])
def test_agrees_with_numpy_and_no_name_stands_twice(rule: str) -> None:
    names = bin_names(rule)
    edges = RULES[rule][0] if rule in RULES else [float(edge) for edge in rule.split(",")]
    values = np.random.default_rng(0).uniform(-10, 130, 500).round(1)
    places = np.digitize(values, edges) - 1
    assert to_bins(values.tolist(), rule) == [names[i] if 0 <= i < len(names) else None for i in places]
    assert len(set(names)) == len(names) == len(edges) - 1
    assert not any("," in name or ";" in name for name in names)  # lists of names are split at these


def test_empty_cells_are_in_no_bin_and_texts_are_read() -> None:
    assert to_bins([None, math.nan, "", " 31 ", "31.0", 31], "decades") == [None, None, None, *["thirties"] * 3]
    with pytest.raises(InputError, match="^row 1: 'old' is not a number"):
        to_bins([31, "old"], "decades")


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("decade", "unknown rule of bins 'decade' (did you mean 'decades'?); valid: decades, six-decades, or edges"),
        ("20,x,40", "bins '20,x,40': edges must be numbers that rise"),
        ("20,nan,40", "edges must be numbers that rise"),
        ("20,40,40", "edges must be numbers that rise"),
        ("20,", "edges must be numbers that rise"),
        ("20,30", "give three edges or more"),
        ("20", "give three edges or more"),
    ],
)
def test_rules_that_make_no_bins_are_refused(rule: str, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        bin_names(rule)
