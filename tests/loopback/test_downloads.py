"""Files that are fetched: whole, in part, page by page, from a cache, damaged."""

from pathlib import Path

import pytest
from huggingface_hub import HfFileSystem, snapshot_download
from huggingface_hub.errors import EntryNotFoundError, RevisionNotFoundError

from .asking import ask
from .server import Hub

WEIGHTS = bytes(range(256)) * 1000


@pytest.fixture
def model(hub: Hub) -> str:
    api = hub.api("ada")
    api.create_repo("ada/model")
    api.upload_file(path_or_fileobj=WEIGHTS, path_in_repo="model.safetensors", repo_id="ada/model")
    api.upload_file(path_or_fileobj=b"{}\n", path_in_repo="sub/config.json", repo_id="ada/model")
    return "ada/model"


def test_a_snapshot_comes_once(hub: Hub, model: str, tmp_path: Path) -> None:
    def fetch() -> Path:
        return Path(snapshot_download(model, endpoint=hub.endpoint, cache_dir=tmp_path, token=False))

    assert (fetch() / "model.safetensors").read_bytes() == WEIGHTS
    hub.requests.clear()
    assert (fetch() / "sub" / "config.json").read_bytes() == b"{}\n"
    assert [one.method for one in hub.requests] == ["GET"]  # whether there is something new
    hub.api("ada").upload_file(path_or_fileobj=b"[]\n", path_in_repo="sub/config.json", repo_id=model)
    hub.requests.clear()
    assert (fetch() / "sub" / "config.json").read_bytes() == b"[]\n"
    fetched = [one.path for one in hub.requests if one.method == "GET" and "/resolve/" in one.path]
    assert [path.rpartition("/")[2] for path in fetched] == ["config.json"]


def test_headers_of_a_file(hub: Hub, model: str) -> None:
    sha = hub.api().model_info(model).sha
    large = ask(hub, "HEAD", f"/{model}/resolve/main/model.safetensors")
    assert (large.status, large.body, large.headers["Content-Length"]) == (200, b"", str(len(WEIGHTS)))
    assert large.headers["X-Repo-Commit"] == sha and large.headers["X-Linked-Size"] == str(len(WEIGHTS))
    assert large.headers["ETag"] == large.headers["X-Linked-ETag"] and len(large.headers["ETag"]) == 66
    small = ask(hub, "HEAD", f"/{model}/resolve/main/sub/config.json")
    assert small.headers["ETag"] == '"0967ef424bce6791893e9a57bb952f80fd536e93"'  # git hash-object
    assert "X-Linked-ETag" not in small.headers and small.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    ("asked", "first", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=5-9", 5, 10),
        ("bytes=255990-", 255_990, 256_000),
        ("bytes=-4", 255_996, 256_000),
        ("bytes=0-", 0, 256_000),
        ("bytes=255000-999999", 255_000, 256_000),
    ],
)
def test_parts(hub: Hub, model: str, asked: str, first: int, stop: int) -> None:
    answer = ask(hub, "GET", f"/{model}/resolve/main/model.safetensors", headers={"Range": asked})
    assert (answer.status, answer.body) == (206, WEIGHTS[first:stop])
    assert answer.headers["Content-Range"] == f"bytes {first}-{stop - 1}/256000"


def test_parts_that_are_none(hub: Hub, model: str) -> None:
    path = f"/{model}/resolve/main/model.safetensors"
    for asked in ("bytes=256000-", "bytes=9-5", "bytes=-0"):
        answer = ask(hub, "GET", path, headers={"Range": asked})
        assert (answer.status, answer.headers["Content-Range"]) == (416, "bytes */256000")
    for asked in ("bytes=0-1,5-6", "bytes=-", "lines=1-2"):
        assert ask(hub, "GET", path, headers={"Range": asked}).status == 200


def test_the_file_system_reads_parts(hub: Hub, model: str) -> None:
    files = HfFileSystem(endpoint=hub.endpoint, token=False, skip_instance_cache=True)
    assert files.ls(model, detail=False) == [f"{model}/.gitattributes", f"{model}/model.safetensors", f"{model}/sub"]
    assert files.glob(f"{model}/**/*.json") == [f"{model}/sub/config.json"]
    with files.open(f"{model}/model.safetensors", block_size=1024) as file:
        file.seek(70_000)
        assert file.read(300) == WEIGHTS[70_000:70_300]
    assert {one.status for one in hub.requests if one.path.endswith("model.safetensors") and one.method == "GET"} == {
        206
    }


def test_what_is_missing_is_named(hub: Hub, model: str, tmp_path: Path) -> None:
    api, sha = hub.api(), hub.api().model_info(model).sha
    with pytest.raises(EntryNotFoundError) as error:
        api.hf_hub_download(model, "nothing.txt", cache_dir=tmp_path)
    assert error.value.response.headers["X-Repo-Commit"] == sha
    assert (tmp_path / "models--ada--model" / ".no_exist" / sha / "nothing.txt").exists()
    with pytest.raises(RevisionNotFoundError):
        api.hf_hub_download(model, "model.safetensors", revision="no-such", cache_dir=tmp_path)


def test_long_listings_come_in_pages(no_xet: None) -> None:
    with Hub(page_size=3) as hub:
        api = hub.api("ada")
        api.create_repo("ada/model")
        for number in range(4):
            api.upload_file(path_or_fileobj=b"x", path_in_repo=f"{number}/a b.txt", repo_id="ada/model")
        hub.requests.clear()
        paths = [one.path for one in api.list_repo_tree("ada/model", recursive=True)]
        assert paths == [".gitattributes", *(path for n in range(4) for path in (f"{n}", f"{n}/a b.txt"))]
        assert [one.path.rpartition("cursor=")[2] for one in hub.requests[1:]] == ["3", "6"]
        assert len(api.list_repo_commits("ada/model")) == 5
        assert ask(hub, "GET", "/api/models/ada/model/tree/main?cursor=x").status == 400


def test_who_changed_what_last(hub: Hub, model: str) -> None:
    api = hub.api("ada")
    api.upload_file(path_or_fileobj=b"1", path_in_repo="sub/b.txt", repo_id=model, commit_message="Second")
    last = {one.path: one.last_commit.title for one in api.list_repo_tree(model, recursive=True, expand=True)}
    assert last == {
        ".gitattributes": "initial commit",
        "model.safetensors": "Upload model.safetensors with huggingface_hub",
        "sub": "Second",
        "sub/b.txt": "Second",
        "sub/config.json": "Upload sub/config.json with huggingface_hub",
    }
    info = {one.path: one.last_commit.title for one in api.get_paths_info(model, ["sub", "sub/b.txt"], expand=True)}
    assert info == {"sub": "Second", "sub/b.txt": "Second"}


def test_a_wrong_bit(hub: Hub, model: str, tmp_path: Path) -> None:
    hub.corrupt(model, "model.safetensors")
    path = hub.api().hf_hub_download(model, "model.safetensors", cache_dir=tmp_path)
    got = Path(path).read_bytes()
    assert len(got) == len(WEIGHTS) and sum((a ^ b).bit_count() for a, b in zip(got, WEIGHTS, strict=True)) == 1
    part = ask(hub, "GET", f"/{model}/resolve/main/model.safetensors", headers={"Range": "bytes=0-9"})
    assert part.body == WEIGHTS[:10] and ask(hub, "GET", f"/{model}/resolve/main/sub/config.json").body == b"{}\n"
    found = hub.api().verify_repo_checksums(model, cache_dir=tmp_path)
    assert [one["path"] for one in found.mismatches] == ["model.safetensors"]
