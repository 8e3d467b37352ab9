"""What goes wrong when it is to, and what the real client makes of it."""

import json
import time
from http.client import HTTPConnection
from pathlib import Path

import httpx2
import pytest
from huggingface_hub.errors import HfHubHTTPError

from .asking import ask
from .server import LOST, Hub

WEIGHTS = bytes(range(256)) * 2000


@pytest.fixture
def model(hub: Hub) -> str:
    hub.api("ada").create_repo("ada/model")
    return "ada/model"


def test_a_refusal_is_tried_again(hub: Hub, model: str) -> None:
    fault = hub.fail("/preupload/", status=429, times=1, retry_after=0)
    hub.api("ada").upload_file(path_or_fileobj=b"1", path_in_repo="a.txt", repo_id=model)
    assert fault.hits == 1
    assert [one.status for one in hub.requests if "/preupload/" in one.path] == [429, 200]


def test_how_a_refusal_looks(hub: Hub, model: str) -> None:
    hub.fail(r"^GET /api/models/ada/model$", retry_after=7)
    for _ in range(2):
        answer = ask(hub, "GET", "/api/models/ada/model")
        assert (answer.status, answer.headers["Retry-After"]) == (503, "7")
        assert answer.json() == {"error": "Service Unavailable"}
    assert ask(hub, "GET", "/api/models/ada/model").status == 200
    hub.fail("ada/model", status=500, method="HEAD", times=9)
    assert ask(hub, "GET", "/api/models/ada/model").status == 200
    assert ask(hub, "HEAD", "/api/models/ada/model").status == 500
    hub.faults.clear()
    assert ask(hub, "HEAD", "/api/models/ada/model").status == 200


def test_an_upload_that_breaks_off_is_sent_again(hub: Hub, model: str) -> None:
    fault = hub.fail("^PUT /lfs/", times=1, after_bytes=100_000)
    hub.api("ada").upload_file(path_or_fileobj=WEIGHTS, path_in_repo="w.bin", repo_id=model)
    assert fault.hits == 1 and [one.status for one in hub.requests if one.method == "PUT"] == [LOST, 200]
    assert ask(hub, "GET", "/ada/model/resolve/main/w.bin").body == WEIGHTS


def test_a_download_that_breaks_off_goes_on_from_there(
    hub: Hub, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1 << 16)  # what it keeps is whole chunks
    hub.api("ada").upload_file(path_or_fileobj=WEIGHTS, path_in_repo="w.bin", repo_id=model)
    hub.fail("^GET .*/resolve/", times=1, after_bytes=300_000)
    path = hub.api().hf_hub_download(model, "w.bin", cache_dir=tmp_path)
    assert Path(path).read_bytes() == WEIGHTS
    assert [one.status for one in hub.requests if one.method == "GET" and "/resolve/" in one.path] == [200, 206]


def test_a_commit_whose_answer_is_lost_was_made(hub: Hub, model: str) -> None:
    api = hub.api("ada")
    hub.fail("/commit/main", times=1, lose_answer=True)
    with pytest.raises((httpx2.NetworkError, httpx2.RemoteProtocolError)):
        api.upload_file(path_or_fileobj=b"1", path_in_repo="a.txt", repo_id=model)
    assert api.file_exists(model, "a.txt") and len(api.list_repo_commits(model)) == 2


def test_a_commit_that_is_not_heard_was_not_made(hub: Hub, model: str) -> None:
    api = hub.api("ada")
    hub.fail("/commit/main", times=1, close=True)
    with pytest.raises((httpx2.NetworkError, httpx2.RemoteProtocolError)):
        api.upload_file(path_or_fileobj=b"1", path_in_repo="a.txt", repo_id=model)
    assert not api.file_exists(model, "a.txt")
    hub.fail("/commit/main", times=1, status=500)
    with pytest.raises(HfHubHTTPError, match="500"):
        api.upload_file(path_or_fileobj=b"1", path_in_repo="a.txt", repo_id=model)
    assert len(api.list_repo_commits(model)) == 1


def test_slow_answers(hub: Hub, model: str) -> None:
    hub.slow("/refs", 0.2)
    assert hub.faults.delay("GET", "/api/models/ada/model") == 0
    start = time.monotonic()
    assert ask(hub, "GET", "/api/models/ada/model/refs").status == 200
    assert time.monotonic() - start >= 0.2


def test_an_error_in_the_hub_itself_comes_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.loopback.routes.repositories.facts", None)
    with pytest.raises(RuntimeError, match="'NoneType' object is not callable"), Hub() as hub:
        hub.api("ada").create_repo("ada/model")
        assert ask(hub, "GET", "/api/models/ada/model").status == 501


def test_nothing_is_left_behind(no_xet: None) -> None:
    with Hub() as hub:
        api = hub.api("ada")
        api.create_repo("ada/model")
        api.upload_file(path_or_fileobj=WEIGHTS, path_in_repo="w.bin", repo_id="ada/model")
        folder = hub.site.folder
        assert len(list(folder.rglob("*"))) == 2
        api.delete_repo("ada/model")
        assert list(folder.rglob("*")) == []
    assert not folder.exists()
    with pytest.raises(ConnectionRefusedError):
        ask(hub, "GET", "/api/whoami-v2")


def test_bodies_in_chunks(hub: Hub) -> None:
    """As clients send what they do not know the length of; the connection is good for the next request."""
    connection = HTTPConnection(hub.endpoint.removeprefix("http://"), timeout=20)
    headers = {"Authorization": f"Bearer {hub.token('ada')}", "Transfer-Encoding": "chunked"}
    for name in ("one", "two"):
        pieces = (piece for piece in (b'{"name": "', name.encode(), b'"}'))
        connection.request("POST", "/api/repos/create", pieces, headers, encode_chunked=True)
        assert json.loads(connection.getresponse().read())["id"] == f"ada/{name}"
    connection.close()
