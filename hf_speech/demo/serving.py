"""The server of the pages: `hf-speech demo`, and the Spaces."""

import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import EXIT_INPUT, InputError, lookup, one_line
from ..telemetry import keep_quiet
from .door import Door
from .limits import Limits
from .models import VARIABLE, Models

logger = logging.getLogger(__name__)

KINDS = ("speech_classification", "speaker_verification", "speaker_map")
_PATIENCE = 30.0  # seconds that the last answers may take
_PREFIX = "hf-speech-demo-"
_EXTRA = "pip install 'hf_speech[demo]'"


def app_of(kinds: Sequence[str], models: Models, limits: Limits) -> Any:
    """The app of some pages, with its queue; `serve` starts it.

    Args:
        kinds: names in `PAGES`.
        models: that it asks.
        limits: of a visitor.

    Raises:
        InputError: no such page, or Gradio is not installed.
    """
    for kind in kinds:
        lookup(dict.fromkeys(KINDS), kind, "page")
    keep_quiet()  # a page speaks to nobody but its visitors
    try:
        import silero_vad  # noqa: F401

        from .pages import build
    except ImportError as error:
        raise InputError(f"the pages need {error.name or 'gradio'}, which is not installed: {_EXTRA}") from error
    app = build(kinds, models, limits)
    return app.queue(max_size=limits.waiting, default_concurrency_limit=limits.at_once, api_open=False)


def serve(
    kinds: Sequence[str],
    models: Models,
    limits: Limits,
    *,
    host: str | None = None,
    port: int | None = None,
    share: bool = False,
    open_browser: bool = False,
) -> None:
    """Serves pages until the process is told to end (Ctrl-C, SIGTERM).

    Args:
        kinds: names in `PAGES`; of several, each stands under a tab.
        models: that are asked; of several the visitor chooses.
        limits: of a visitor.
        host: the address it listens at; None: 127.0.0.1, or what GRADIO_SERVER_NAME says.
        port: None: the first free one from 7860 on, or what GRADIO_SERVER_PORT says.
        share: also give it a public address for a while, through Gradio's relay.
        open_browser: open the page in this machine's browser.

    Raises:
        InputError: no such page, no Gradio, or the address is not free.
    """
    _check_address(host, port)
    with folder_for_uploads():
        app = app_of(kinds, models, limits)
        _warm_up(models)
        try:
            _, url, public = launch(
                app, limits, server_name=host, server_port=port, share=share, inbrowser=open_browser
            )
        except OSError as error:
            raise InputError(f"can't listen at {host or '127.0.0.1'}, port {port or 'any'}: {error}") from error
        logger.info("the page is at %s%s; Ctrl-C ends it", url, f" and {public}" if public else "")
        try:
            _until_told()
        finally:
            app.close(verbose=False)
            models.wait_until_idle(_PATIENCE)  # Python must not end under threads that compute


def _check_address(host: str | None, port: int | None) -> None:
    """Refuses an address that can't be listened at; Gradio tries one port after another.

    Raises:
        InputError: what is wrong with it.
    """
    if port is not None and not 0 < port < 65_536:
        raise InputError(f"--port {port}: there is no such port; give one from 1 to 65535")
    name = host or "127.0.0.1"
    try:
        family = socket.AF_INET6 if ":" in name else socket.AF_INET
        socket.create_server((name, port or 0), family=family).close()
    except OSError as error:
        mend = "another --host" if port is None else "another --port, or --host"
        reason = str(error.strerror).partition(" (while")[0]
        raise InputError(f"can't listen at {name}, port {port or 'any'} ({reason}); give {mend}") from error


def launch(app: Any, limits: Limits, **settings: Any) -> Any:
    """Starts an app in the background as all pages are started.

    Args:
        app: of `app_of`.
        limits: of a visitor.
        settings: of gradio's `launch`.

    Returns:
        What gradio's `launch` does: app, address, public address.
    """
    from starlette.middleware import Middleware

    from .look import CSS, theme

    return app.launch(
        app_kwargs={"middleware": [Middleware(Door, limits=limits)]},
        theme=theme(),
        css=CSS,
        footer_links=["api"],
        max_file_size=int(limits.max_megabytes * 1e6),
        run_history=False,  # what was asked stays in nobody's browser
        enable_monitoring=False,
        ssr_mode=False,
        quiet=True,
        prevent_thread_lock=True,
        **settings,
    )


def space(kind: str) -> None:
    """Serves a page as a Space does.

    The variable HF_SPEECH_MODEL names the model (several: separated by commas); without it, `models` in the header of
    the README.md beside the running script. HF_SPEECH_DEMO_MAX_SECONDS and its siblings are the limits (`Limits`).

    Args:
        kind: a name in `PAGES`.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    names = [name.strip() for name in os.environ.get(VARIABLE, "").split(",") if name.strip()]
    try:
        names = names or _models_of_header(Path(sys.argv[0]).with_name("README.md"))
        serve([kind], Models(names), Limits.from_environment())
    except InputError as error:
        print(f"{kind}: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(EXIT_INPUT)


def _models_of_header(card: Path) -> list[str]:
    """The first model that the header of a Space's README.md names, if any."""
    import yaml
    from huggingface_hub import metadata_load

    try:
        header = metadata_load(card) if card.is_file() else None
    except (ValueError, yaml.YAMLError) as error:
        raise InputError(f"{card}: its header can't be read ({one_line(error)}); mend it") from error
    return [str(model) for model in (header or {}).get("models") or []][:1]


def _warm_up(models: Models) -> None:
    """Loads the first model before the first visitor comes; what is wrong with it, the page says."""
    try:
        models.get()
    except InputError as error:
        logger.warning("%s", error)


@contextmanager
def folder_for_uploads() -> Iterator[Path]:
    """A folder of the server's own for what visitors give, which goes when it ends."""
    before = os.environ.get("GRADIO_TEMP_DIR")
    for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        if not Path(f"/proc/{left.name.removeprefix(_PREFIX).partition('-')[0]}").exists() and Path("/proc").is_dir():
            shutil.rmtree(left, ignore_errors=True)  # of a server that was killed
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if before is None:
            del os.environ["GRADIO_TEMP_DIR"]
        else:
            os.environ["GRADIO_TEMP_DIR"] = before


def _until_told() -> None:
    """Waits for Ctrl-C or SIGTERM."""
    told = threading.Event()
    before = signal.signal(signal.SIGTERM, lambda *_: told.set())
    try:
        while not told.wait(3600.0):
            pass
    finally:
        signal.signal(signal.SIGTERM, before)
