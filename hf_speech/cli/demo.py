"""`hf-speech demo`: a web page to try a model."""

import argparse
from dataclasses import replace

from ..errors import EXIT_OK, InputError
from .parser import Commands, add_command

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
    demo.add_argument("--per-minute", type=int, default=0, help="requests of one visitor in a minute (0: no limit)")
    demo.add_argument("--revision", metavar="REV", help="branch, tag or commit of the models on the Hub")
    demo.add_argument(
        "--trust-remote-code",
        action="store_true",
        help="run the code that a model brings beside its weights: read it first",
    )


def _demo(options: argparse.Namespace, fields: list[str]) -> int:
    from ..demo.limits import Limits
    from ..demo.models import Loaded, Models
    from ..demo.serving import serve

    given = {name: getattr(options, name) for name in ("max_seconds", "max_megabytes", "per_minute")}
    limits = replace(Limits.from_environment(), **{name: value for name, value in given.items() if value is not None})
    models = Models(options.models, trust_remote_code=options.trust_remote_code, revision=options.revision)
    first = models.get()
    for name in models.names[1:]:
        models.get(name)
    if options.pages is None:
        needs = {"classify": Loaded.need_labels, "verify": Loaded.need_embeddings, "map": Loaded.need_embeddings}
        chosen = [page for page, need in needs.items() if _can(need, first)]
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


def _can(need: object, model: object) -> bool:
    try:
        need(model)  # type: ignore[operator]
    except InputError:
        return False
    return True
