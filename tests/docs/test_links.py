"""Every link within the project leads somewhere; of the others only the form is looked at."""

import re
from urllib.parse import urlsplit

import pytest

from .pages import DOCS, PAGE, PAGES, ROOT, Page

FILE = re.compile(r"(tests|hf_speech|model_cards|dataset_scripts|benchmarks|spaces|examples|docs)/[\w./-]*")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_anchors_resolve(page: Page) -> None:
    for link in page.links:
        if urlsplit(link).scheme:
            continue
        place, _, anchor = link.partition("#")
        target = (page.path.parent / place).resolve() if place else page.path
        assert target.is_file(), f"{page.name}: {link}"
        assert target.is_relative_to(ROOT), f"{page.name}: {link} leads out of the repository"
        if anchor:
            there = PAGE[str(target.relative_to(ROOT))]
            assert anchor in there.anchors, f"{page.name}: {link}; {there.name} has {sorted(there.anchors)}"


def test_there_are_links_and_anchors_to_look_at() -> None:
    internal = [link for page in PAGES for link in page.links if not urlsplit(link).scheme]
    assert len(internal) > 100
    assert sum("#" in link for link in internal) > 20


def test_external_links_are_whole_and_encrypted() -> None:
    external = [(page, link) for page in PAGES for link in page.links if urlsplit(link).scheme]
    assert len(external) > 10
    for page, link in external:
        parts = urlsplit(link)
        assert parts.scheme == "https", f"{page.name}: {link}"
        assert re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+", parts.netloc), f"{page.name}: {link}"
        assert not re.search(r"[\s<>\"]", link), f"{page.name}: {link}"


def test_every_page_of_the_documentation_can_be_reached_from_the_front_page() -> None:
    reached, waiting = set(), [PAGE["README.md"], PAGE["docs/index.md"]]
    while waiting:
        page = waiting.pop()
        if page.name in reached:
            continue
        reached.add(page.name)
        targets = [(page.path.parent / link.partition("#")[0]).resolve() for link in page.links if "://" not in link]
        waiting += [PAGE[str(path.relative_to(ROOT))] for path in targets if str(path.relative_to(ROOT)) in PAGE]
    pages = {str(path.relative_to(ROOT)) for path in DOCS.rglob("*.md")} - {
        page.name for page in PAGES if page.path.parent == DOCS / "api"
    }
    assert pages <= reached


def test_pictures_say_what_they_show() -> None:
    for page in PAGES:
        for token in page.tokens:
            assert token.type != "image" or token.content.strip(), f"{page.name}: {token.attrGet('src')}"


def test_files_that_sentences_name_are_there() -> None:
    named = 0
    for page in PAGES:
        for word in page.code_words:
            if FILE.fullmatch(word):
                named += 1
                assert (ROOT / word).exists(), f"{page.name}: {word}"
    assert named > 50
