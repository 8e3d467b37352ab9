"""The README is a front page: short, two commands first, a way to every page, and no figure that no page has.

That its links lead somewhere, its commands parse and its code runs is held with all other pages in tests/docs.
"""

import re

from .docs.pages import DOCS, PAGE, ROOT, lines

README = PAGE["README.md"]


def test_it_is_a_front_page() -> None:
    assert len(README.text.splitlines()) <= 250
    assert list(lines(README))[0].startswith("make quickstart") and list(lines(README))[1].startswith("make test")
    shown = {line.split()[1] for line in lines(README) if line.startswith("hf-speech ")}
    assert {"quickstart", "train", "predict", "evaluate", "verify", "push", "demo", "export"} <= shown


def test_it_leads_to_every_page() -> None:
    linked = {link.partition("#")[0] for link in README.links}
    for folder in ("ways", "data"):
        assert {str(path.relative_to(ROOT)) for path in (DOCS / folder).glob("*.md")} <= linked
    pages = {f"docs/{path.name}" for path in DOCS.glob("*.md")} - {"docs/index.md"}
    assert pages <= linked
    assert {f"docs/notebooks/{path.name}" for path in (DOCS / "notebooks").glob("*.ipynb")} <= linked


def test_its_figures_stand_on_the_pages_that_say_how_they_were_measured() -> None:
    measured = PAGE["docs/results.md"].text + PAGE["docs/design.md"].text + PAGE["docs/cost.md"].text
    measured += PAGE["docs/ways/adapt.md"].text
    section = README.text[README.text.index("## What was measured") : README.text.index("## What else there is")]
    cells = [cell.strip() for row in re.findall(r"^\|(.*)\|$", section, flags=re.MULTILINE) for cell in row.split("|")]
    figures = [cell for cell in cells if re.match(r"[\d.]+(e-\d+)?( \(|$)", cell)]
    assert len(figures) > 15
    for figure in figures:
        assert re.search(rf"(?<![\d.]){re.escape(figure)}", measured), figure
