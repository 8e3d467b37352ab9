"""Claims of speed: how ratios are made and told, and that the README shows what the figures say."""

import json
import re
from pathlib import Path

import pytest

from benchmarks.__main__ import FROM, SUITES, TO
from benchmarks.rows import Row, grouped, read_rows, section, table, write_facts, write_rows
from benchmarks.turns import Ratio, by_turns, ratio

from .docs.pages import ROOT


def row(name: str, median: float, at_least: float = 2.0, **settings: object) -> Row:
    return Row(name, f"work of {name}", "another", Ratio(median, median / 2, median * 2, 3), at_least, **settings)


def test_the_readme_shows_the_figures_that_were_measured() -> None:
    shown = (ROOT / "README.md").read_text(encoding="utf-8").split(FROM)[1].split(TO)[0]
    path = ROOT / re.search(r"\]\((benchmarks/results/[\w-]+\.json)\)", shown)[1]
    assert shown.strip() == section(path)
    parts = {name.split(",")[0] for name in (row.name for row in read_rows(path))}
    assert parts >= {"import", "ECAPA-TDNN", "embedding", "fine-tuning", "probe", "layer sweep", "convolutions"}


def test_ways_take_turns_and_the_second_round_goes_back() -> None:
    calls: list[str] = []
    ways = {name: lambda name=name: calls.append(name) for name in "ABC"}
    times = by_turns(ways, 2)
    assert calls == [*"ABC", *"ABC", *"CBA"]  # the first to warm up
    assert all(len(seconds) == 2 and min(seconds) >= 0 for seconds in times.values())


def test_ratios_are_of_the_rounds_and_of_the_whole_work() -> None:
    assert ratio([1.0, 2.0, 4.0], [2.0, 2.0, 2.0]) == Ratio(1.0, 0.5, 2.0, 3)
    assert ratio([1.0], [3.0], times=20) == Ratio(60.0, 60.0, 60.0, 1)
    with pytest.raises(ValueError, match="zip"):
        ratio([1.0], [1.0, 2.0])


def test_what_falls_short_is_said() -> None:
    short = row("slow", 1.5, facts={"seconds": 30.0}, most={"seconds": 20.0})
    assert short.broken == ["1.5 of 2 times", "seconds 30, limit 20"]
    assert row("fast", 2.0).broken == []
    lines = table([short, row("fast", 2.0, computed=True)]).splitlines()
    assert lines[2] == (
        "| work of slow | another | 1.50 (0.75 to 3.00) | 2; falls short: 1.5 of 2 times; seconds 30, limit 20 |"
    )
    assert lines[3] == "| work of fast | another | 2.00* (1.00 to 4.00) | 2 |"


def test_rows_of_one_benchmark_stand_side_by_side() -> None:
    rows = [row(name, 2.0) for name in ("b, 1", "a", "b, 2", "c", "a, again")]
    assert [one.name for one in grouped(rows)] == ["b, 1", "b, 2", "a", "a, again", "c"]


def test_a_row_that_is_measured_again_takes_its_own_place(tmp_path: Path) -> None:
    path = tmp_path / "machine.json"
    write_rows(path, [row("a", 3.0), row("b", 4.0)], {"machine": {"gemm": 2}}, "cpu", 0.0)
    write_facts(path, {"growth": [1, 2]}, "cpu", 0.0)
    write_rows(path, [row("a", 5.0)], {"machine": {"gemm": 1}}, "cpu", 0.0)
    assert read_rows(path) == [row("a", 5.0), row("b", 4.0)]
    found = json.loads(path.read_text(encoding="utf-8"))["rows"]
    assert [found[name]["run"]["machine"]["gemm"] for name in "ab"] == [1, 2]
    assert '"growth"' in path.read_text(encoding="utf-8") and [*tmp_path.iterdir()] == [path]


def test_every_benchmark_of_a_suite_is_there() -> None:
    for names in SUITES.values():
        for name in names:
            assert (ROOT / "benchmarks" / f"{name}.py").is_file(), name
