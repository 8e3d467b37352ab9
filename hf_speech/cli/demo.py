"""`hf-speech demo`: a web page to try a model."""

import argparse
import os
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from ..errors import EXIT_OK, InputError
from .models import add_source
from .parser import Commands, add_command

if TYPE_CHECKING:
    from ..demo.models import Loaded, Models

_PAGES = {"classify": "speech_classification", "verify": "speaker_verification", "map": "speaker_map"}


def add_demo(commands: Commands) -> None:
    """Puts `demo` into the parser."""
    demo = add_command(commands, "demo", _demo, "try a model in a web page",
                    "hf-speech demo quickstart-model\n"
                    "hf-speech demo runs/emotion user/other-model --pages classify\n"
                    "hf-speech demo user/model --host 0.0.0.0 --port 8080 --per-minute 60")  # fmt: skip
    demo.add_argument("models", metavar="MODEL", nargs="+", help="a model's folder, or its name on the Hub")
    demo.add_argument(
        "--pages",
        metavar="P,...",
        help="classify, verify, map: what is shown, each under a tab (what the first can do)",
    )
    demo.add_argument("--host", help="address to listen at; 0.0.0.0: any machine can reach it (127.0.0.1)")
    demo.add_argument("--port", type=int, help="port to listen at (the first free one from 7860 on)")
    demo.add_argument("--share", action="store_true", help="a public address too, through Gradio's relay, for a week")
    demo.add_argument("--open", action="store_true", help="open it in the browser")
    demo.add_argument("--max-seconds", type=float, help="longest recording (120)")
    demo.add_argument("--max-megabytes", type=float, help="largest file (20)")
    demo.add_argument(
        "--per-minute", type=int, help="requests of one visitor in a minute (60 where others can reach it; 0: no limit)"
    )
    add_source(demo)


def _demo(options: argparse.Namespace, fields: list[str]) -> int:
    from ..demo.limits import PREFIX, Limits
    from ..demo.models import Loaded, Models
    from ..demo.serving import serve

    given = {name: getattr(options, name) for name in ("max_seconds", "max_megabytes", "per_minute")}
    set_there = Limits.from_environment()
    if options.per_minute is None and f"{PREFIX}PER_MINUTE" not in os.environ and not options.share:
        given["per_minute"] = 0 if options.host in (None, "127.0.0.1", "localhost", "::1") else None
    limits = replace(set_there, **{name: value for name, value in given.items() if value is not None})
    models = Models(options.models, trust_remote_code=options.trust_remote_code, revision=options.revision)
    first = _loaded(models)
    if options.pages is None:
        needs = {"classify": Loaded.need_labels, "verify": Loaded.need_embeddings, "map": Loaded.need_embeddings}
        chosen = [page for page, need in needs.items() if _can(need, first)]
        if not chosen:
            raise InputError(f"{options.models[0]}: gives neither labels nor embeddings; give another model")
    else:
        chosen = [page.strip() for page in options.pages.split(",") if page.strip()]
    unknown = [page for page in chosen if page not in _PAGES]
    if unknown or not chosen:
        raise InputError(f"--pages {options.pages}: there is no page {', '.join(unknown)}; valid: {', '.join(_PAGES)}")
    serve(
        [_PAGES[page] for page in dict.fromkeys(chosen)],
        models,
        limits,
        host=options.host,
        port=options.port,
        share=options.share,
        open_browser=options.open,
    )
    return EXIT_OK


def _loaded(models: "Models") -> "Loaded":
    """Loads all of them -> the first.

    Raises:
        InputError: one can't be loaded, and why.
    """
    try:
        return [models.get(name) for name in models.names][0]
    except InputError as refusal:
        if isinstance(refusal.__cause__, InputError):
            raise refusal.__cause__ from None
        raise


def _can(need: "Callable[[Loaded], None]", model: "Loaded") -> bool:
    try:
        need(model)
    except InputError:
        return False
    return True
