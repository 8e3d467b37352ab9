"""Markdown as the Hub shows it: tables, some HTML, comments hidden; what is relative leads into the repository."""

import re

from markdown_it import MarkdownIt

NOT_SHOWN = re.compile(r"<!--.*?-->|<(script|style|iframe)\b.*?</\1\s*>", re.DOTALL | re.IGNORECASE)
HEADING = re.compile(r"<h([1-6])>(.*?)</h\1>", re.DOTALL)
RELATIVE = re.compile(r"""(<[^<>]*\b(src|href)=(["']))(?![a-z][a-z0-9+.-]*:|/|#)(.*?)\3""", re.IGNORECASE)

_MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


def rendered(text: str, address: str, revision: str) -> str:
    """HTML of Markdown.

    Args:
        text: Markdown.
        address: Of the repository, from the root of the site.
        revision: That relative images and links are of.
    """
    html = NOT_SHOWN.sub("", _MARKDOWN.render(text))
    html = HEADING.sub(lambda found: f'<h{found[1]} id="{_anchor(found[2])}">{found[2]}</h{found[1]}>', html)

    def absolute(found: re.Match[str]) -> str:
        view = {"src": "resolve", "href": "blob"}[found[2].lower()]
        return f"{found[1]}{address}/{view}/{revision}/{found[4].removeprefix('./')}{found[3]}"

    return RELATIVE.sub(absolute, html)


def _anchor(heading: str) -> str:
    """What links to a heading call it."""
    plain = re.sub(r"<[^>]*>|&\w+;", "", heading).lower()
    return re.sub(r"[^\w\- ]", "", plain).strip().replace(" ", "-")
