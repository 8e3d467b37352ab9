"""The pages of the project, and what is on them: headings, links, code, commands."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
CARDS = sorted([*ROOT.glob("model_cards/*/README.md"), *ROOT.glob("dataset_scripts/*/README.md")])
FILES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    *sorted(DOCS.rglob("*.md")),
    *CARDS,
    *sorted(ROOT.glob("spaces/*/README.md")),
    ROOT / "hf_speech/samples/README.md",
]
FRONT_MATTER = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)


@dataclass(frozen=True)
class Page:
    """A Markdown file.

    Attributes:
        path: where it is.
    """

    path: Path
    name: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", str(self.path.relative_to(ROOT)))

    @cached_property
    def text(self) -> str:
        return FRONT_MATTER.sub("", self.path.read_text(encoding="utf-8"))

    @cached_property
    def tokens(self) -> list[Token]:
        found = []
        for token in MarkdownIt("commonmark").enable("table").parse(self.text):
            found += [token, *(token.children or [])]
        return found

    @property
    def links(self) -> list[str]:
        """Where its links and pictures lead to."""
        found = [token.attrGet("href") or token.attrGet("src") for token in self.tokens]
        return [str(place) for place in found if place]

    @cached_property
    def anchors(self) -> set[str]:
        """Places on the page that a link can lead to, both where the repository is browsed and on the built site."""
        titles = [
            "".join(part.content for part in after.children or [] if part.type in ("text", "code_inline"))
            for token, after in zip(self.tokens, self.tokens[1:], strict=False)
            if token.type == "heading_open"
        ]
        return {slug(title) for title in titles} & {site_slug(title) for title in titles} | set(self.documented)

    @property
    def documented(self) -> list[str]:
        """Names whose docstrings stand on it, on the built site."""
        return re.findall(r"^::: (\S+)$", self.text, flags=re.MULTILINE)

    def blocks(self, *languages: str) -> list[str]:
        """Its blocks of code in a language; "" is code that is set in by four blanks."""
        return [
            token.content
            for token in self.tokens
            if (token.type == "fence" and token.info in languages) or (token.type == "code_block" and "" in languages)
        ]

    @property
    def code_words(self) -> list[str]:
        """Code within its sentences."""
        return [token.content for token in self.tokens if token.type == "code_inline"]


def slug(title: str) -> str:
    """The anchor of a heading where repositories are browsed."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def site_slug(title: str) -> str:
    """The anchor of a heading on the site (Python-Markdown's table of contents)."""
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", title).strip().lower())


PAGES = [Page(path) for path in FILES]
PAGE = {page.name: page for page in PAGES}


def lines(page: Page) -> Iterator[str]:
    """Every line that somebody would type into a shell; one that goes on is one.

    Code that is set in by four blanks may be a list of files: of that only our own commands count.
    """
    for block in page.blocks("bash"):
        yield from (line.strip() for line in joined(block) if line.strip())
    for block in page.blocks(""):
        yield from (line.strip() for line in joined(block) if line.strip().startswith("hf-speech "))


def joined(block: str) -> list[str]:
    return block.replace("\\\n", " ").splitlines()
