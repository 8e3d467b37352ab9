"""Programs and crowds: gradio_client, fifty at once, hundreds in a row, large files, tabs, and visitors who leave."""

import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile as sf
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from hf_speech.demo import Limits, Models, answers
from hf_speech.demo.serving import KINDS
from hf_speech.samples import sample_files

from .conftest import served
from .processes import space_of


@pytest.fixture(scope="module")
def address(voices: Path) -> Iterator[str]:
    with served(list(KINDS), Models([str(voices)])) as url:
        yield url


@pytest.fixture(scope="module")
def client(address: str) -> Client:
    return Client(address, verbose=False)


def test_every_page_answers_programs(client: Client) -> None:
    one, other = (handle_file(path) for path in sample_files(2))
    said = client.predict(one, api_name="/classify")
    assert set(said) == {"label", "score", "scores", "tasks", "seconds", "speech_seconds", "evidence"}
    assert said["scores"][said["label"]] == said["score"] == max(said["scores"].values())
    said = client.predict(one, other, api_name="/verify")
    assert set(said) == {"score", "llr", "probability", "decision", "threshold"}
    said = client.predict([one, other], api_name="/lay_out")
    assert [place["name"] for place in said["recordings"]] == ["ada-test-1.flac", "bea-test-1.flac"]
    named = client.view_api(return_format="dict")["named_endpoints"]
    assert set(named) == {"/classify", "/verify", "/lay_out"}  # what the buttons do is the pages' own


def test_programs_are_told_what_visitors_are(client: Client, tmp_path: Path) -> None:
    text = tmp_path / "notes.wav"
    text.write_text("no sound")
    with pytest.raises(AppError, match=r"notes\.wav can't be read as a recording"):
        client.predict(handle_file(text), api_name="/classify")
    (path,) = sample_files(1)
    with pytest.raises(AppError, match="This page has no model other"):
        client.predict(handle_file(path), "other", api_name="/classify")


@pytest.mark.parametrize("way", ["text", "table", "file data"])
def test_files_of_the_server_are_nobody_s_business(address: str, client: Client, way: str) -> None:
    (path,) = sample_files(1)
    data = {"text": path, "table": {"path": path}, "file data": {"path": path, "meta": {"_type": "gradio.FileData"}}}[
        way
    ]
    begun = httpx.post(f"{address}gradio_api/call/classify", json={"data": [data, ""]}, timeout=60)
    assert begun.status_code in (200, 400, 422, 500)
    if begun.status_code == 200:
        said = httpx.get(f"{address}gradio_api/call/classify/{begun.json()['event_id']}", timeout=60).text
        assert "event: error" in said and "label" not in said
    assert "label" in client.predict(handle_file(path), api_name="/classify")


@pytest.mark.slow
def test_fifty_at_once_are_all_answered(address: str, client: Client) -> None:
    paths = sample_files(8)
    wanted = {path: client.predict(handle_file(path), api_name="/classify") for path in paths}
    clients = [Client(address, verbose=False) for _ in range(5)]
    jobs = [
        (path, clients[i % 5].submit(handle_file(path), api_name="/classify"))
        for i, path in enumerate((paths * 7)[:50])
    ]
    assert [job.result(timeout=120) for _, job in jobs] == [wanted[path] for path, _ in jobs]


def test_too_many_in_a_minute_are_refused_before_they_wait(
    voices: Path, open_page: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    ask = answers.classify
    monkeypatch.setattr(answers, "classify", lambda *given: [go_on.wait(60), ask(*given)][-1])
    (path,) = sample_files(1)
    with served(["speech_classification"], Models([str(voices)]), Limits(per_minute=2, max_files=2)) as url:
        client = Client(url, verbose=False)
        jobs = [client.submit(handle_file(path), api_name="/classify") for _ in range(2)]
        wait_for(lambda: all(job.status().code.value in ("PROCESSING", "IN_QUEUE") for job in jobs))
        refused = httpx.post(f"{url}gradio_api/call/classify", json={"data": [None, ""]}, timeout=60)
        assert refused.status_code == 429 and 0 < int(refused.headers["retry-after"]) <= 60
        assert "more than 2 requests in a minute. Please wait" in refused.json()["detail"]
        page = open_page(url)
        page.get_by_role("button", name="Ada").click()
        page.locator("#recording").get_by_role("button", name="Clear").first.wait_for()
        page.get_by_role("button", name="Listen", exact=True).click()
        page.get_by_text("more than 2 requests in a minute").first.wait_for()
        page.context.close()
        go_on.set()
        assert all("label" in job.result(timeout=60) for job in jobs)
        direct = httpx.post(f"{url}gradio_api/run/classify", json={"data": [None, ""]}, timeout=60)
        assert direct.status_code == 404  # nobody goes past the queue


def test_files_are_counted_and_too_large_a_load_is_not_taken(voices: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (path,) = sample_files(1)
    with served(["speech_classification"], Models([str(voices)]), Limits(per_minute=1, max_files=3)) as url:
        address = f"{url}gradio_api/upload"
        sent = [httpx.post(address, files={"files": Path(path).read_bytes()}).status_code for _ in range(4)]
        assert sent == [200, 200, 200, 429]
        monkeypatch.setenv("SPACE_ID", "ada/voices")  # behind the proxy, whose own entry is the last
        behind = [{"x-forwarded-for": f"{claimed}, {visitor}"} for claimed, visitor in ("ab", "ab", "cb", "db", "bd")]
        sent = [httpx.post(address, files={"files": b"RIFF"}, headers=said).status_code for said in behind]
        assert sent == [200, 200, 200, 429, 200]
        head = b'--x\r\nContent-Disposition: form-data; name="files"; filename="%d.wav"\r\n\r\n'
        parts = [head % i + b"0" * 19_000_000 + b"\r\n" for i in range(4)]  # each of a size that is taken
        kind = {"content-type": "multipart/form-data; boundary=x", "x-forwarded-for": "e"}
        for content in (b"".join(parts), iter(parts)):  # who says how much it is, and who does not
            many = httpx.post(address, content=content, headers=kind, timeout=60)
            assert many.status_code == 413 and "too much at once. Please send 60 MB at most." in many.text
        words = httpx.post(f"{url}gradio_api/call/classify", content=b"0" * 1_100_000)
        assert words.status_code == 413 and "Please send 1 MB at most." in words.json()["detail"]


def test_two_hundred_megabytes_are_refused_and_the_app_lives_on(
    address: str, client: Client, tmp_path: Path, open_page: Callable[..., Any]
) -> None:
    large = tmp_path / "large.wav"
    with large.open("wb") as file:
        file.truncate(200_000_000)
    begun = httpx.post(f"{address}gradio_api/upload", files={"files": large.open("rb")}, timeout=120)
    assert begun.status_code == 413
    page = open_page(address)
    page.locator("#recording input[type=file]").set_input_files(str(large))
    page.get_by_text(re.compile("maximum allowed size|too large|exceeds", re.I)).first.wait_for()
    page.context.close()
    assert "label" in client.predict(handle_file(sample_files(1)[0]), api_name="/classify")


@pytest.mark.slow
def test_twenty_tabs_at_once(address: str, open_page: Callable[..., Any]) -> None:
    pages = [open_page(address) for _ in range(20)]
    for page in pages:
        page.locator("#recording input[type=file]").set_input_files(sample_files(1)[0])
    for page in pages:
        page.locator("#recording").get_by_role("button", name="Clear").first.wait_for()
        page.get_by_role("button", name="Listen", exact=True).click()
    for page in pages:
        page.locator(".hs-headline").wait_for()
        page.context.close()


def test_who_leaves_while_it_computes_takes_the_recording_along(
    voices: Path, uploads: Path, open_page: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hf_speech.demo.uploads.GRACE", 1.0)
    noted: list[Any] = []
    ask = answers.classify
    monkeypatch.setattr(answers, "classify", lambda *given: [noted.append(given), time.sleep(2), ask(*given)][-1])
    voice, rate = sf.read(sample_files(1)[0])
    path = tmp_path / "leaving.wav"
    sf.write(path, np.tile(voice, 30), rate)
    with served(["speech_classification"], Models([str(voices)])) as url:
        page = open_page(url)
        page.locator("#recording input[type=file]").set_input_files(str(path))
        wait_for(lambda: list(uploads.rglob("leaving.wav")))
        page.locator("#recording").get_by_role("button", name="Clear").first.wait_for()
        page.get_by_role("button", name="Listen", exact=True).click()
        wait_for(lambda: len(noted))
        page.context.close()
        wait_for(lambda: not list(uploads.rglob("leaving.wav")))
        client = Client(url, verbose=False)
        assert "label" in client.predict(handle_file(sample_files(1)[0]), api_name="/classify")


def wait_for(happens: Callable[[], Any]) -> None:
    """Until something is so; half a minute at most."""
    deadline = time.monotonic() + 30
    while not happens():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.slow
def test_what_was_given_goes_after_a_while_and_examples_stay(voices: Path, uploads: Path, tmp_path: Path) -> None:
    with served(["speech_classification"], Models([str(voices)]), Limits(kept_minutes=0.05, per_minute=0)) as url:
        path = Path(shutil.copy(sample_files(1)[0], tmp_path / "mine.flac"))
        client = Client(url, verbose=False)
        client.predict(handle_file(path), api_name="/classify")
        assert list(uploads.rglob("mine.flac"))
        wait_for(lambda: not list(uploads.rglob("mine.flac")))
        time.sleep(4)  # longer than anything is kept
        assert len({path.name for path in uploads.rglob("*-test-1.flac")} & {"ada-test-1.flac", "bea-test-1.flac"}) == 2


def test_a_file_that_two_have_given_stays_until_both_have_left(folder: Path) -> None:
    import gradio as gr

    from hf_speech.demo.uploads import GRACE, Uploads

    app = gr.Blocks(analytics_enabled=False)
    uploads = Uploads(app, kept=1e9)
    path = folder / "shared" / "voice.wav"
    path.parent.mkdir()
    path.touch()
    uploads.note("ann", [str(path)])
    uploads.note("ben", [str(path)])
    ann, ben = (gr.Request(session_hash=name) for name in ("ann", "ben"))
    uploads.forget(ann)
    uploads.sweep(time.time() + 2 * GRACE)
    assert path.is_file()
    uploads.forget(ben)
    uploads.note("cleo", [str(path)])  # who has given the same just before
    uploads.sweep(time.time() + 2 * GRACE)
    assert path.is_file()
    uploads.forget(gr.Request(session_hash="cleo"))
    uploads.sweep(time.time())
    assert path.is_file()
    uploads.sweep(time.time() + GRACE)
    assert not path.exists()
    path.touch()
    uploads.note("ann", [str(path)])  # whose request was waiting when she left
    path.touch()  # and dan gives the same, and has not asked yet
    uploads.sweep(time.time() + 2 * GRACE)
    assert path.is_file()


def test_what_was_broken_off_goes_and_examples_stay(folder: Path) -> None:
    import gradio as gr

    from hf_speech.demo.uploads import Uploads

    app = gr.Blocks(analytics_enabled=False)
    uploads = Uploads(app, kept=600.0)
    half = folder / "tmp3idjzfj5"
    half.write_bytes(b"half a voice")
    example = Path(shutil.copy(sample_files(1)[0], folder))
    uploads.sweep(time.time() + 599)
    assert half.is_file()
    uploads.sweep(time.time() + 601)
    assert not half.exists() and example.is_file()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of uploads of the test's own."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    return tmp_path


@pytest.mark.slow
def test_memory_is_flat_over_five_hundred_requests(voices: Path) -> None:
    """Of a server in a process of its own; the figures are printed."""
    (path,) = sample_files(1)
    variables = {"HF_SPEECH_MODEL": str(voices), "HF_SPEECH_DEMO_PER_MINUTE": "0"}
    with space_of("speech_classification", **variables) as server:
        client = Client(server.url, verbose=False)
        sizes = []
        for number in range(601):
            client.predict(handle_file(path), api_name="/classify")
            if number % 100 == 0:
                sizes.append(resident(server.process.pid))
    print("MB resident after 1, 101, ... 601 requests:", [round(size / 1e6) for size in sizes])
    assert sizes[-1] - sizes[1] < 30e6  # after the first hundred


def resident(pid: int) -> int:
    """Bytes of a process in memory."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.slow
def test_a_space_with_a_model_that_does_not_exist_says_so_and_stays_up(
    hub: Any, no_xet: None, tmp_path: Path, open_page: Callable[..., Any]
) -> None:
    variables = {**hub.environment(tmp_path / "home"), "HF_SPEECH_MODEL": "nobody/nothing", "TMPDIR": str(tmp_path)}
    with space_of("speaker_verification", **variables) as server:
        page = open_page(server.url)
        page.locator(".hs-notice", has_text="The model nobody/nothing can't be loaded").wait_for()
        page.context.close()
        client = Client(server.url, verbose=False)
        one, other = (handle_file(path) for path in sample_files(2))
        with ThreadPoolExecutor(2) as pool:
            asked = [pool.submit(client.predict, one, other, api_name="/verify") for _ in range(2)]
        assert all("can't be loaded" in str(job.exception()) for job in asked)
        assert server.process.poll() is None and len(list(tmp_path.glob("hf-speech-demo-*"))) == 1
    assert not list(tmp_path.glob("hf-speech-demo-*"))
