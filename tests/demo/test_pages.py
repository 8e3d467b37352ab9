"""The pages in a real browser: upload, microphone, bad files, phone and desktop, axe-core."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import soundfile as sf

from hf_speech.audio import read_audio, write_audio
from hf_speech.demo import Models
from hf_speech.demo.serving import KINDS
from hf_speech.samples import sample_files

from .conftest import served
from .voices import is_held_out, speakers_of, trials_of

RATE = 16_000
ANSWER = ".hs-answer:visible"
NOTICE = ".hs-notice:visible"


@pytest.fixture(scope="module")
def address(voices: Path) -> Iterator[str]:
    with served(list(KINDS), Models([str(voices)])) as url:
        yield url


@pytest.fixture(scope="module")
def alone(voices: Path) -> Iterator[str]:
    """The page of one Space."""
    with served(["speech_classification"], Models([str(voices)])) as url:
        yield url


def ask(page: Any, button: str) -> str:
    """Presses a button and waits for what comes -> its words."""
    page.get_by_role("button", name=button, exact=True).click()
    page.wait_for_selector(f"{ANSWER}, {NOTICE}")
    return page.locator(f"{ANSWER}, {NOTICE}").first.inner_text()


def is_upload(response: Any) -> bool:
    """Whether something has been sent; a visitor's eyes see the waveform appear."""
    return response.request.method == "POST" and "/upload" in response.url


def give(page: Any, place: str, path: str | Path) -> None:
    """Chooses a file in a place for recordings, in place of one that is there."""
    here = page.locator(place)
    clear = here.get_by_role("button", name="Clear")
    if clear.count():
        clear.first.click()
    with page.expect_response(is_upload):
        here.locator("input[type=file]").set_input_files(str(path))
    clear.first.wait_for()


def tab(page: Any, title: str) -> None:
    page.get_by_role("tab", name=title).click()


def voice_of(speech: Path, gender: str) -> Path:
    import csv

    with (speech / "speaker" / "metadata.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["corpus"] == "librispeech"]
    return speech / "speaker" / next(r["path"] for r in rows if is_held_out(r["speaker"]) and r["gender"] == gender)


def test_a_file_gets_its_label_and_bad_ones_a_sentence(
    speech: Path, alone: str, open_page: Callable[..., Any], tmp_path: Path
) -> None:
    page = open_page(alone)
    assert "Please give a recording first" in ask(page, "Listen")
    for gender in ("male", "female"):
        give(page, "#recording", voice_of(speech, gender))
        page.get_by_role("button", name="Listen", exact=True).click()
        page.wait_for_function(
            "g => document.querySelector('.hs-headline')?.innerText.startsWith('gender: ' + g)", arg=gender
        )
        assert "%" in page.locator(".hs-bar").first.inner_text()
        assert page.locator("svg[role=img] rect").count() == 120
        assert page.locator(".hs-answer [role=status]").all_inner_texts() == [page.locator(".hs-headline").inner_text()]
    text = tmp_path / "notes.wav"
    text.write_text("no sound, but words " * 99)
    sf.write(tmp_path / "long.wav", np.zeros(600 * 8_000), 8_000)
    sf.write(tmp_path / "silent.wav", np.zeros(2 * RATE), RATE)
    sf.write(tmp_path / "noise.wav", 0.1 * np.random.default_rng(0).standard_normal(3 * RATE), RATE)
    for name, words in (
        ("notes", "can't be read as a recording"),
        ("long", "is too long: 10 minutes"),
        ("silent", "is silent. Is the microphone on"),
        ("noise", "No speech is heard in noise.wav"),
    ):
        give(page, "#recording", tmp_path / f"{name}.wav")
        page.get_by_role("button", name="Listen", exact=True).click()
        page.locator(NOTICE, has_text=words).wait_for()
    give(page, "#recording", voice_of(speech, "male"))  # and the page lives on
    page.get_by_role("button", name="Listen", exact=True).click()
    page.wait_for_selector(ANSWER)
    assert page.strangers == []
    assert page.faults == []
    page.context.close()


def test_two_recordings_of_one_speaker_and_of_two(speech: Path, address: str, open_page: Callable[..., Any]) -> None:
    page = open_page(address)
    tab(page, "Compare")
    speakers = speakers_of(speech)
    for wanted, words in ((True, "Probably the same speaker"), (False, "Probably two different speakers")):
        one, other = next((a, b) for same, a, b in trials_of(speech) if same == wanted and speakers[a][:5] == "libri")
        assert (speakers[one] == speakers[other]) == wanted
        give(page, "#first", speech / "speaker" / one)
        give(page, "#second", speech / "speaker" / other)
        page.get_by_role("button", name="Compare", exact=True).click()
        page.locator(".hs-headline:visible", has_text=words).wait_for()
        assert "in 100 pairs that are as alike as these would be" in page.locator("#verification").inner_text()
    page.context.close()


def test_an_example_fills_the_map_and_voices_are_found(address: str, open_page: Callable[..., Any]) -> None:
    page = open_page(address)
    tab(page, "Map")
    page.get_by_role("button", name="Three voices, six recordings").click()
    page.locator("#recordings").get_by_text("ada-test-1").first.wait_for()
    words = ask(page, "Draw the map")
    assert "in 6 recordings" in words and page.locator(".hs-voice").count() == 6
    assert page.locator(".hs-table tbody tr").count() == 15
    page.context.close()


def test_a_clip_from_the_microphone(speech: Path, alone: str, open_page: Callable[..., Any], tmp_path: Path) -> None:
    clip = tmp_path / "microphone.wav"
    write_audio(clip, read_audio(voice_of(speech, "male")))  # as a wav file of 16 bits, which Chromium plays
    page = open_page(alone, microphone=clip)
    page.get_by_label("Record audio").click()
    page.get_by_role("button", name="Record", exact=True).click()
    page.locator("button.stop-button").wait_for()
    page.wait_for_timeout(3_000)
    with page.expect_response(is_upload):
        page.locator("button.stop-button").click()
    assert ask(page, "Listen").startswith("gender: male")
    page.context.close()


def test_what_a_page_says_beforehand_follows_the_model(
    voices: Path, open_page: Callable[..., Any], tmp_path: Path
) -> None:
    bare = Path(shutil.copytree(voices, tmp_path / "bare"))
    config = json.loads((bare / "config.json").read_text())
    del config["verification"]
    config["pooling"] = "mean+std"  # as large as that of the attention
    (bare / "config.json").write_text(json.dumps(config))
    with served(list(KINDS), Models([str(voices), str(bare)])) as url:
        page = open_page(url)
        page.get_by_text("how sure it is. It also shows which moments it went by.").wait_for()
        tab(page, "Compare")
        assert not page.get_by_text("keeps no calibration").count()
        page.get_by_label("Model").click()
        page.get_by_role("option", name="bare").click()
        page.get_by_text("similarities alone, no probability and no decision").locator("visible=true").wait_for()
        tab(page, "Listen")
        assert page.get_by_text("how sure it is.").count() and not page.get_by_text("which moments").count()
        page.get_by_role("button", name="Ask from a program").click()
        page.get_by_text(f'Client("{url}")').wait_for()
        page.context.close()


@pytest.mark.parametrize("width", [390, pytest.param(1100, marks=pytest.mark.slow)], ids=["phone", "desktop"])
def test_no_fault_of_access_and_nothing_wider_than_the_screen(
    address: str, open_page: Callable[..., Any], width: int
) -> None:
    """But for what a plain page of Gradio with the same parts has, which is scanned by the same scanner."""
    page = open_page(address, width=width, height=844)
    one, other = sample_files(1, of_each=2)
    found = faults(page, "light")
    for title, places, button in (
        ("Listen", {"#recording": one}, "Listen"),
        ("Compare", {"#first": one, "#second": other}, "Compare"),
        ("Map", {"#recordings": [one, other]}, "Draw the map"),
    ):
        tab(page, title)
        found |= faults(page, "light")
        for place, files in places.items():
            page.locator(f"{place} input[type=file]").set_input_files(files)
            page.locator(place).get_by_role("button", name="Clear").first.wait_for()
        ask(page, button)
        found |= faults(page, "dark", "light")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.context.close()
    stock = stock_faults(open_page, width, one)
    assert found <= {"nested-interactive"} & stock  # Gradio's list of files
    assert {"color-contrast", "aria-prohibited-attr"} <= stock  # the scanner finds what is there


def faults(page: Any, *schemes: Literal["dark", "light"]) -> set[str]:
    """Names of the serious and critical faults that axe-core finds in each of these schemes of colours."""
    from axe_playwright_python.sync_playwright import Axe

    found = set()
    page.wait_for_function("document.title")  # Gradio sets it once the page has come up
    for scheme in schemes:
        page.emulate_media(color_scheme=scheme)
        page.wait_for_function("dark => document.body.classList.contains('dark') === dark", arg=scheme == "dark")
        page.wait_for_timeout(300)  # until what fades in is there
        faults = Axe().run(page).response["violations"]
        found |= {fault["id"] for fault in faults if fault["impact"] in ("serious", "critical")}
    return found


def stock_faults(open_page: Callable[..., Any], width: int, file: str) -> set[str]:
    """Those of a plain page with the same parts."""
    import gradio as gr

    with gr.Blocks(analytics_enabled=False) as app:
        audio = gr.Audio(sources=["upload", "microphone"], type="filepath", elem_id="recording")
        files = gr.File(file_count="multiple", elem_id="recordings")
        button, out = gr.Button("Go", variant="primary"), gr.Label()
        gr.Examples([[file]], [audio])
        button.click(lambda one, several: {"a": 0.7, "b": 0.3}, [audio, files], out)
    try:
        _, url, _ = app.launch(prevent_thread_lock=True, quiet=True, ssr_mode=False)
        page = open_page(url, width=width, height=844)
        page.get_by_role("button", name="Go", exact=True).wait_for()
        found = faults(page, "light")
        for place in ("#recording", "#recordings"):
            page.locator(f"{place} input[type=file]").set_input_files(file)
            page.locator(place).get_by_role("button", name="Clear").first.wait_for()
        page.get_by_role("button", name="Go", exact=True).click()
        page.get_by_test_id("label-output-value").wait_for()
        found |= faults(page, "light")
        page.context.close()
        return found
    finally:
        app.close(verbose=False)
