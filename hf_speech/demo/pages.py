"""The pages: what a visitor gives, one button, what comes out. Each is also a function for programs.

Nothing of a page's inside is known here: `answers` says what is answered, `pictures` how it is shown.
"""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from gradio import FileData

from ..errors import InputError
from ..evidence import has_evidence
from ..samples import sample_files
from . import answers, pictures
from .limits import Limits
from .models import Loaded, Models
from .recordings import FORMATS, in_minutes
from .uploads import Uploads, without_places

logger = logging.getLogger(__name__)

_ADDRESS = "THE ADDRESS OF THIS PAGE"
_FAULT = "Something went wrong here. It is noted; please try again, or try another recording."


@dataclass(frozen=True)
class Desk:
    """What the pages of an app share.

    Attributes:
        models: that can be asked.
        limits: of a visitor.
        uploads: what visitors have given, for as long as it is there.
    """

    models: Models
    limits: Limits
    uploads: Uploads

    def show(self, request: gr.Request | None, paths: Sequence[str], ask: Callable[[], tuple[Any, str]]) -> str:
        """The answer for a page, whatever happens."""
        try:
            return self._ask(request, paths, ask)[1]
        except InputError as error:
            return pictures.notice(without_places(str(error)))
        except Exception:
            logger.exception("a fault while a page was asked")
            return pictures.notice(_FAULT)

    def tell(self, request: gr.Request | None, files: Sequence[Any], ask: Callable[..., tuple[Any, str]]) -> Any:
        """The answer for a program, or an error with the sentence that a page would show."""
        try:
            paths = [self.uploads.path_of(file) for file in files]
            return self._ask(request, paths, lambda: ask(*paths))[0]
        except InputError as error:
            raise gr.Error(without_places(str(error)), print_exception=False) from error
        except Exception as error:
            logger.exception("a fault while a program asked")
            raise gr.Error(_FAULT, print_exception=False) from error

    def _ask(self, request: gr.Request | None, paths: Sequence[str], ask: Callable[[], tuple[Any, str]]) -> Any:
        self.uploads.note(getattr(request, "session_hash", None), paths)
        with self.models.busy():
            return ask()


def _speech_classification(desk: Desk, model: gr.Dropdown | str) -> None:
    with gr.Column():
        audio = _recording("Recording of a voice", "recording")
        button = gr.Button("Listen", variant="primary")
        out = gr.HTML(elem_id="classification", padding=False)

    def show(name: str, path: str | None, request: gr.Request) -> str:
        if path is None:
            return pictures.notice("Please give a recording first: choose a file, record one, or click an example.")
        return desk.show(request, [path], lambda: answers.classify(desk.models.get(name), path, desk.limits))

    def classify(audio: FileData, request: gr.Request, model: str = "") -> dict[str, Any]:
        """What the model names in a recording: `label`, `score` and `scores`, or `value`; in `tasks` that of each task.

        `seconds`: how long it is; `speech_seconds`: how long somebody speaks; `evidence` (of models with attention
        pooling): where the shortest stretch begins and ends, in seconds, that holds half of the attention.
        """
        return desk.tell(request, [audio], lambda path: answers.classify(desk.models.get(model), path, desk.limits))

    _wire(button, show, [model, audio], out)
    gr.api(classify, api_name="classify", concurrency_id="model")
    _examples({_voice(path): [path] for path in sample_files(3)}, [audio])


def _speaker_verification(desk: Desk, model: gr.Dropdown | str) -> None:
    with gr.Row():
        one, other = _recording("First recording", "first"), _recording("Second recording", "second")
    button = gr.Button("Compare", variant="primary")
    out = gr.HTML(elem_id="verification", padding=False)

    def show(name: str, first: str | None, second: str | None, request: gr.Request) -> str:
        if first is None or second is None:
            return pictures.notice("Please give two recordings first.")
        return desk.show(
            request, [first, second], lambda: answers.compare(desk.models.get(name), first, second, desk.limits)
        )

    def verify(one: FileData, other: FileData, request: gr.Request, model: str = "") -> dict[str, Any]:
        """Whether two recordings are of one speaker: `score`, the higher the likelier.

        Of a calibrated model also `llr` (log-likelihood ratio), `probability` (if half of all pairs are of one
        speaker), `decision`, and the `threshold` of the score; of others these are null.
        """
        return desk.tell(request, [one, other], lambda a, b: answers.compare(desk.models.get(model), a, b, desk.limits))

    _wire(button, show, [model, one, other], out)
    gr.api(verify, api_name="verify", concurrency_id="model")
    same, two = sample_files(1, of_each=2), sample_files(2)
    _examples({"One voice": same, "Two voices": two}, [one, other])


def _speaker_map(desk: Desk, model: gr.Dropdown | str) -> None:
    files = gr.File(
        label="Recordings", file_count="multiple", type="filepath", file_types=["audio", "video"], elem_id="recordings"
    )
    button = gr.Button("Draw the map", variant="primary")
    out = gr.HTML(elem_id="map", padding=False)

    def show(name: str, paths: list[str] | None, request: gr.Request) -> str:
        given = paths or []
        return desk.show(request, given, lambda: answers.lay_out(desk.models.get(name), given, desk.limits))

    def lay_out(recordings: list[FileData], request: gr.Request, model: str = "") -> dict[str, Any]:
        """Which of several recordings sound alike.

        `recordings`: `name`, place on the map (`x`, `y`), and number of the `voice`; `pairs`, the most alike first:
        `one`, `other`, `score`, `probability`, `same_speaker`. Without a calibration `voice`, `probability` and
        `same_speaker` are null.
        """
        return desk.tell(
            request, recordings, lambda *paths: answers.lay_out(desk.models.get(model), paths, desk.limits)
        )

    _wire(button, show, [model, files], out)
    gr.api(lay_out, api_name="lay_out", concurrency_id="model")
    _examples({"Three voices, six recordings": [sample_files(3, of_each=2)]}, [files])


def _of_evidence(loaded: Loaded) -> str:
    return "It also shows which moments it went by." if has_evidence(loaded.model) else ""


def _of_calibration(loaded: Loaded) -> str:
    told = "This model keeps no calibration: it gives similarities alone, no probability and no decision."
    return told if loaded.kept is None else ""


@dataclass(frozen=True)
class Page:
    """One use of a model.

    Attributes:
        title: of the page.
        tab: the title where several stand side by side, short enough for a phone.
        does: in a sentence or two, whichever the model.
        of_model: what is to be known of this model beforehand, if anything.
        call: how a program asks it, for gradio_client.
        build: lays the page out.
    """

    title: str
    tab: str
    does: str
    of_model: Callable[[Loaded], str]
    call: str
    build: Callable[[Desk, Any], None]


PAGES: dict[str, Page] = {
    "speech_classification": Page(
        "What does this voice sound like?",
        "Listen",
        "Give a recording of one voice, and a model says what it hears, and how sure it is.",
        _of_evidence,
        'client.predict(handle_file("speech.wav"), api_name="/classify")',
        _speech_classification,
    ),
    "speaker_verification": Page(
        "Is it the same speaker?",
        "Compare",
        "Give two recordings, and a model says whether one person speaks in both. The words do not matter.",
        _of_calibration,
        'client.predict(handle_file("one.wav"), handle_file("other.wav"), api_name="/verify")',
        _speaker_verification,
    ),
    "speaker_map": Page(
        "Who sounds like whom?",
        "Map",
        "Give several recordings, and a model lays them out so that voices which are alike lie near each other.",
        _of_calibration,
        'client.predict([handle_file("one.wav"), handle_file("other.wav")], api_name="/lay_out")',
        _speaker_map,
    ),
}


def build(kinds: Sequence[str], models: Models, limits: Limits) -> gr.Blocks:
    """An app: one page, or several under tabs.

    Args:
        kinds: names in `PAGES`.
        models: that it asks; of several the visitor chooses.
        limits: of a visitor.
    """
    title = PAGES[kinds[0]].title if len(kinds) == 1 else "Listen to voices"
    with gr.Blocks(title=title, analytics_enabled=False) as app:
        desk = Desk(models, limits, Uploads(app, 60 * limits.kept_minutes))
        gr.Markdown(f"# {title}")
        state = gr.HTML(elem_id="state", visible=False, padding=False)
        if len(models.names) > 1:
            model: Any = gr.Dropdown(
                [(models.shown(name), name) for name in models.names], value=models.names[0], label="Model"
            )
        else:
            model = gr.State("")
        if len(kinds) == 1:
            told = [_page(PAGES[kinds[0]], desk, model)]
        else:
            told = []
            for kind in kinds:
                with gr.Tab(PAGES[kind].tab):
                    told.append(_page(PAGES[kind], desk, model))
        gr.Markdown(_about(limits))
        with gr.Accordion("Ask from a program", open=False):
            text = _program([PAGES[kind].call for kind in kinds])
            code = gr.Code(text, language="python", label="Python")
        quietly: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
        look = _look(models, kinds)
        app.load(look, model, [state, *told], queue=False, **quietly)
        if len(models.names) > 1:
            model.change(look, model, [state, *told], queue=False, **quietly)
        here = f"() => {json.dumps(text)}.replace({json.dumps(_ADDRESS)}, location.origin + location.pathname)"
        app.load(None, None, code, js=here, **quietly)  # a proxy's address is known to the browser alone
        app.unload(desk.uploads.forget)
    return app


def _page(page: Page, desk: Desk, model: Any) -> gr.Markdown:
    """Lays a page out -> what it says it does."""
    told = gr.Markdown(page.does)
    page.build(desk, model)
    return told


def _recording(label: str, name: str) -> gr.Audio:
    """A file or the microphone. There is no button to share it: that would put a voice on a public server."""
    return gr.Audio(label=label, sources=["upload", "microphone"], type="filepath", elem_id=name, buttons=["download"])


def _wire(button: gr.Button, show: Callable[..., str], inputs: Sequence[Any], out: gr.HTML) -> None:
    """One click, one answer; while it is made the button waits, and the place of the answer says so."""
    button.click(
        show,
        list(inputs),
        out,
        api_visibility="private",
        concurrency_id="model",
        trigger_mode="once",
        scroll_to_output=True,
    )
    for given in inputs:  # an answer does not stay beside what it is not about
        if not isinstance(given, gr.State):
            given.change(None, None, out, js="() => ''", api_visibility="private", show_progress="hidden")


def _examples(examples: Mapping[str, Sequence[Any]], inputs: Sequence[Any]) -> None:
    """Examples to click: what they are called -> a value for each input."""
    gr.Examples(
        [list(values) for values in examples.values()],
        list(inputs),
        example_labels=list(examples),
        label="Or click an example (synthetic voices)",
        cache_examples=False,
    )


def _voice(path: str) -> str:
    """Whose voice a shipped recording is: /samples/ada-test-1.flac -> Ada."""
    return Path(path).stem.partition("-")[0].capitalize()


def _look(models: Models, kinds: Sequence[str]) -> Callable[[str], list[Any]]:
    """What is told of a model whenever the page is opened, or another is chosen: what is wrong with it, what it does.

    A model that comes up later is found then. Of one that is just being loaded nothing is told, as this does not wait
    in the queue, and nobody else has to wait for it.
    """

    def look(name: str) -> list[Any]:
        pages = [PAGES[kind] for kind in kinds]
        try:
            loaded = models.ready(name)
        except InputError as error:
            return [gr.HTML(pictures.notice(str(error)), visible=True), *(page.does for page in pages)]
        more = [page.of_model(loaded) if loaded else "" for page in pages]
        return [gr.HTML(visible=False), *(f"{page.does} {said}" for page, said in zip(pages, more, strict=True))]

    return look


def _program(calls: Sequence[str]) -> str:
    lines = ["from gradio_client import Client, handle_file", "", f'client = Client("{_ADDRESS}")']
    return "\n".join([*lines, *(f"print({call})" for call in calls)])


def _about(limits: Limits) -> str:
    return (
        f"Recordings may be {in_minutes(limits.max_seconds)} long and have {limits.max_megabytes:g} MB "
        f"({FORMATS}). They are used for the answer alone and then deleted: soon after you leave, "
        f"or after {in_minutes(60 * limits.kept_minutes)} at the latest."
    )
