"""A model, pages that serve it, and a browser that looks at them."""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from hf_speech.demo import Limits, Models

from .voices import voices_model

CHROMIUM = shutil.which("chromium")
LOCAL = r"(blob:)?http://127\.0\.0\.1[:/]|data:"  # what a page may ask for


@pytest.fixture(scope="session")
def voices(speech: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model that knows gender and speakers, and keeps a calibration."""
    room = tmp_path_factory.getbasetemp()
    return voices_model(speech, room.parent if os.environ.get("PYTEST_XDIST_WORKER") else room)


@contextmanager
def served(kinds: list[str], models: Models, limits: Limits | None = None) -> Iterator[str]:
    """Pages behind a port of this machine -> their address."""
    from hf_speech.demo.serving import app_of, launch

    limits = limits or Limits(per_minute=0)
    app = app_of(kinds, models, limits)
    try:
        yield launch(app, limits)[1]
    finally:
        app.close(verbose=False)


@pytest.fixture(scope="session", autouse=True)
def uploads() -> Iterator[Path]:
    """Where all the pages of this process keep what they are given; Gradio looks it up anew each time."""
    from hf_speech.demo.serving import folder_for_uploads

    with folder_for_uploads() as folder:
        yield folder


@pytest.fixture(scope="session")
def open_page() -> Iterator[Callable[..., Any]]:
    """Opens an address in Chromium: `open_page(url, width=1100, height=900, microphone=None)`.

    What a page asks of other hosts than this machine is in `page.strangers`, what its console says of errors in
    `page.faults`.
    """
    if CHROMIUM is None:
        pytest.skip("needs Debian's chromium")
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--disable-background-networking"]
    with sync_playwright() as playwright:
        browsers: dict[str | None, Any] = {}

        def open_page(url: str, *, width: int = 1100, height: int = 900, microphone: Path | None = None) -> Any:
            key = None if microphone is None else str(microphone)
            if key not in browsers:
                fake = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
                fake += [f"--use-file-for-fake-audio-capture={key}"]
                browsers[key] = playwright.chromium.launch(
                    executable_path=CHROMIUM, args=[*flags, *(fake if key else [])]
                )
            context = browsers[key].new_context(
                viewport={"width": width, "height": height},
                is_mobile=width < 600,
                has_touch=width < 600,
                permissions=["microphone"] if key else [],
            )
            page = context.new_page()
            page.set_default_timeout(30_000)
            page.strangers, page.faults = [], []
            page.on("request", lambda r: page.strangers.append(r.url) if not re.match(LOCAL, r.url) else None)
            page.on("pageerror", lambda error: page.faults.append(str(error)))
            page.goto(url)
            return page

        yield open_page
        for browser in browsers.values():
            browser.close()
