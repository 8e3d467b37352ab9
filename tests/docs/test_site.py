"""`make docs` builds the site without a warning, offline; the reference has every public name."""

import ast
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from filelock import FileLock

import hf_speech
from hf_speech import metrics, testing, verification

from .pages import DOCS, PAGE, PAGES, ROOT

DOCUMENTED = {name for page in PAGES for name in page.documented}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The built site; of several workers one builds it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "site"
    with FileLock(f"{folder}.lock"):
        if not (folder / "built").exists():
            build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
            environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
            run = subprocess.run(
                build, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False
            )
            assert run.returncode == 0, run.stdout + run.stderr
            assert "WARNING" not in run.stdout + run.stderr
            (folder / "built").touch()
    return folder


def test_every_page_is_built(site: Path) -> None:
    for path in DOCS.rglob("*.md"):
        assert (site / path.relative_to(DOCS)).with_suffix(".html").is_file()
    for path in DOCS.rglob("*.ipynb"):
        assert (site / path.relative_to(DOCS)).is_file()
        assert (site / path.relative_to(DOCS)).with_suffix(".html").is_file()


def test_what_lies_outside_docs_is_linked_within_the_site(site: Path) -> None:
    page = (site / "systems" / "ft-ser.html").read_text(encoding="utf-8")
    assert 'href="../model_cards/wav2vec2-iemocap-vft/index.html"' in page
    assert (site / "model_cards" / "wav2vec2-iemocap-vft" / "index.html").is_file()
    assert 'src="benchmarks/results/verification_speech.png"' in (site / "results.html").read_text(encoding="utf-8")
    assert (site / "benchmarks" / "results" / "verification_speech.png").is_file()


def test_links_within_the_site_lead_somewhere(site: Path) -> None:
    """Those that mkdocs does not look at too: files that are copied, or left out."""
    looked_at = 0
    for path in site.rglob("*.html"):
        for place in re.findall(r'\b(?:src|href)="([^"]+)"', path.read_text(encoding="utf-8")):
            parts = urlsplit(place)
            if parts.scheme or not parts.path or path.name == "404.html":  # which is for an address of its own
                continue
            looked_at += 1
            assert (path.parent / unquote(parts.path)).is_file(), f"{path.relative_to(site)}: {place}"
    assert looked_at > 1_000


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    for path in site.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        for place in re.findall(r'<(?:script|img|link|iframe)\b[^>]*\b(?:src|href)="([^"]+)"', text):
            assert not place.startswith(("http:", "https:", "//")), f"{path.relative_to(site)}: {place}"


def test_docstrings_are_on_the_built_pages(site: Path) -> None:
    page = (site / "api" / "index.html").read_text(encoding="utf-8")
    for name, home in hf_speech._HOMES.items():
        assert f'id="hf_speech.{home}.{name}"' in page
    assert "The waveform of a source, or of a crop of it." in page


def where_metrics_are() -> dict[str, str]:
    """Public name of `hf_speech.metrics` -> where it is defined, as its imports say."""
    tree = ast.parse(Path(str(metrics.__file__)).read_text(encoding="utf-8"))
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    return {name.asname or name.name: f"{node.module}.{name.name}" for node in imports for name in node.names}


def test_every_public_name_is_in_the_reference() -> None:
    wanted = {f"hf_speech.metrics.{where_metrics_are()[name]}" for name in metrics.__all__}
    for package in (hf_speech, verification, testing):
        assert set(package.__all__) - {"__version__"} == set(package._HOMES)
        wanted |= {f"{package.__name__}.{home}.{name}" for name, home in package._HOMES.items()}
    assert wanted <= DOCUMENTED
    assert len(wanted) > 60


def test_the_public_names_come_first() -> None:
    public = {f"hf_speech.{home}.{name}" for name, home in hf_speech._HOMES.items()}
    assert set(PAGE["docs/api/index.md"].documented) - public == {"hf_speech.models.pretrained.HfSpeechPreTrainedModel"}
    assert public <= set(PAGE["docs/api/index.md"].documented)


def test_what_the_reference_names_is_there_and_has_a_docstring() -> None:
    for name in sorted(DOCUMENTED):
        try:
            value = importlib.import_module(name)
        except ModuleNotFoundError:
            module, _, attribute = name.rpartition(".")
            value = getattr(importlib.import_module(module), attribute)
        assert isinstance(value, dict | tuple) or (value.__doc__ or "").strip(), name
