"""What mkdocs does here besides: pages that lie outside docs/ (cards, the changes), and notebooks as pages.

A link in docs/ leads to the file in the repository, so that it works where the repository is browsed; here the same
link leads to the page that is made of the file.
"""

import json
import os
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)\s#]+)(?=[)#\s])")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds what pages link to outside docs/, and a page for each notebook."""
    waiting = [Path(file.abs_src_path or "") for file in files.documentation_pages()] + [ROOT / "CHANGELOG.md"]
    seen = set(waiting[:-1])
    while waiting:
        path = waiting.pop()
        if path not in seen:
            seen.add(path)
            files.append(File.generated(config, str(path.relative_to(ROOT)), abs_src_path=str(path)))
        if path.suffix == ".md":
            linked = (target(path, link) for link in LINK.findall(path.read_text(encoding="utf-8")))
            waiting += [one for one in linked if one.is_file() and DOCS not in one.parents and one not in seen]
    for file in list(files):
        if file.src_uri.endswith(".ipynb"):
            cells = json.loads(Path(file.abs_src_path or "").read_text(encoding="utf-8"))["cells"]
            name = Path(file.src_uri).name
            first, *others = map(cell_text, cells)
            page = "\n\n".join([first, f"[This page as a notebook]({name})", *others])
            files.append(File.generated(config, file.src_uri.removesuffix(".ipynb") + ".md", content=page))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turns links that leave docs/, and those to notebooks, into links between pages."""
    source = Path(page.file.abs_src_path) if page.file.abs_src_path else None
    if source is None:  # a notebook
        return markdown

    def moved(link: re.Match[str]) -> str:
        path = target(source, link[1])
        base = DOCS if DOCS in path.parents else ROOT
        if not path.is_file() or ROOT not in path.parents:
            return link[1]
        uri = str(path.relative_to(base))
        uri = uri.removesuffix(".ipynb") + ".md" if uri.endswith(".ipynb") else uri
        return os.path.relpath(uri, Path(page.file.src_uri).parent)

    return LINK.sub(moved, markdown)


def target(page: Path, link: str) -> Path:
    """The file that a link on a page leads to."""
    return Path(os.path.normpath(page.parent / link))


def cell_text(cell: dict[str, Any]) -> str:
    """A cell of a notebook as Markdown: text, or code with what it printed and drew."""
    text = "".join(cell["source"])
    if cell["cell_type"] != "code":
        return text
    parts = [f"```python\n{text}\n```"]
    for output in cell["outputs"]:
        data = output.get("data", {})
        if "image/png" in data:
            image = "".join(data["image/png"]).replace("\n", "")
            parts.append(f'<img alt="{alternative(text)}" src="data:image/png;base64,{image}">')
        elif "text" in output or "text/plain" in data:
            parts.append("```text\n" + "".join(output.get("text") or data["text/plain"]).rstrip() + "\n```")
    return "\n\n".join(parts)


def alternative(code: str) -> str:
    """What a picture shows, as the comment above the code that draws it says."""
    first = code.splitlines()[0]
    return first.removeprefix("# ").replace('"', "'") if first.startswith("#") else "What the code above draws"
