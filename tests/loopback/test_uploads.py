"""Files that are sent: what goes where, what is not sent twice, and commits that are refused whole."""

import base64
import hashlib
from collections import Counter
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

from .asking import ask, commit_lines
from .attributes import GITATTRIBUTES, is_ignored, is_lfs
from .server import Hub

WEIGHTS = bytes(range(256)) * 1000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "model.safetensors").write_bytes(WEIGHTS)
    (tmp_path / "notes.txt").write_text("one\n")
    (tmp_path / "empty.bin").touch()
    return tmp_path


def sent(hub: Hub) -> Counter[str]:
    """How often each kind of request was made."""
    words = ("PUT", "validate-yaml", "preupload", "batch", "lfs-verify", "/commit/")
    lines = [f"{one.method} {one.path}" for one in hub.requests]
    return Counter(word for line in lines for word in words if word in line)


def test_a_folder_goes_up_once(hub: Hub, folder: Path) -> None:
    api = hub.api("ada")
    api.create_repo("ada/model")
    made = api.upload_folder(repo_id="ada/model", folder_path=folder, commit_message="First", commit_description="Why")
    assert sent(hub) == {"preupload": 1, "batch": 1, "PUT": 1, "lfs-verify": 1, "/commit/": 1}
    assert (
        made.oid == api.model_info("ada/model").sha and made.commit_url == f"{hub.endpoint}/ada/model/commit/{made.oid}"
    )
    commits = api.list_repo_commits("ada/model")
    assert [(one.title, one.message, one.authors) for one in commits] == [
        ("First", "Why", ["ada"]),
        ("initial commit", "", ["ada"]),
    ]
    tree = {one.path: one for one in api.list_repo_tree("ada/model", recursive=True)}
    assert tree.keys() == {".gitattributes", "empty.bin", "notes.txt", "sub", "sub/model.safetensors"}
    assert tree["sub/model.safetensors"].lfs.sha256 == hashlib.sha256(WEIGHTS).hexdigest()
    assert tree["notes.txt"].blob_id == "5626abf0f72e58d7a153368ba57db4c673c0e171"  # git hash-object
    hub.requests.clear()
    again = api.upload_folder(repo_id="ada/model", folder_path=folder)
    assert again.oid == made.oid and sent(hub) == {"preupload": 1, "batch": 1}
    hub.requests.clear()
    api.upload_file(path_or_fileobj=WEIGHTS, path_in_repo="copy.safetensors", repo_id="ada/model")
    assert sent(hub) == {"preupload": 1, "batch": 1, "/commit/": 1}  # the content was here already


def test_no_token_goes_to_upload_addresses(hub: Hub, folder: Path) -> None:
    api = hub.api("ada")
    api.create_repo("ada/model")
    api.upload_folder(repo_id="ada/model", folder_path=folder)
    (put,) = [one for one in hub.requests if one.method == "PUT"]
    assert not put.had_authorization and all(one.had_authorization for one in hub.requests if one != put)
    assert hub.token("ada") not in put.path
    assert ask(hub, "PUT", put.path, "ada", WEIGHTS).status == 400
    assert ask(hub, "PUT", put.path.partition("?")[0], None, WEIGHTS).status == 403


def test_what_is_sent_is_what_its_name_says(hub: Hub) -> None:
    hub.api("ada").create_repo("ada/model")
    oid = hashlib.sha256(WEIGHTS).hexdigest()
    wanted = {"operation": "upload", "objects": [{"oid": oid, "size": len(WEIGHTS)}, {"oid": "x", "size": 1}]}
    good, bad = ask(hub, "POST", "/ada/model.git/info/lfs/objects/batch", "ada", wanted).json()["objects"]
    assert bad["error"]["code"] == 422
    path = good["actions"]["upload"]["href"].removeprefix(hub.endpoint)
    verify = good["actions"]["verify"]["href"].removeprefix(hub.endpoint)
    assert ask(hub, "PUT", path, None, WEIGHTS[:-1]).status == 400
    assert ask(hub, "POST", verify, "ada", {"oid": oid, "size": len(WEIGHTS)}).status == 404
    line = ("lfsFile", {"path": "w.bin", "algo": "sha256", "oid": oid, "size": len(WEIGHTS)})
    missing = ask(hub, "POST", "/api/models/ada/model/commit/main", "ada", commit_lines(line))
    assert missing.status == 400 and "LFS object" in missing.json()["error"]
    assert ask(hub, "PUT", path, None, WEIGHTS).status == 200
    assert ask(hub, "POST", verify, "ada", {"oid": oid, "size": len(WEIGHTS)}).status == 200
    assert ask(hub, "POST", verify, "ada", {"oid": oid, "size": 1}).status == 404
    assert ask(hub, "POST", "/api/models/ada/model/commit/main", "ada", commit_lines(line)).status == 200
    assert ask(hub, "GET", "/ada/model/resolve/main/w.bin").body == WEIGHTS


def test_a_commit_on_what_is_no_longer_the_head(hub: Hub) -> None:
    api = hub.api("ada")
    api.create_repo("ada/model")
    start = api.model_info("ada/model").sha
    data = {"path_in_repo": "a.txt", "repo_id": "ada/model", "parent_commit": start}
    api.upload_file(path_or_fileobj=b"1", **data)
    with pytest.raises(HfHubHTTPError, match="A commit has happened since") as error:
        api.upload_file(path_or_fileobj=b"2", **data)
    assert error.value.response.status_code == 412
    assert ask(hub, "GET", "/ada/model/resolve/main/a.txt").body == b"1"


def test_deleted_copied_moved(hub: Hub, folder: Path) -> None:
    api = hub.api("ada")
    api.create_repo("ada/model")
    api.upload_folder(repo_id="ada/model", folder_path=folder)
    operations = [
        CommitOperationCopy("sub/model.safetensors", "model.safetensors"),
        CommitOperationCopy("notes.txt", "more/notes.txt"),
        CommitOperationDelete("sub/", is_folder=True),
        CommitOperationDelete("notes.txt"),
        CommitOperationAdd("b.txt", b"b"),
    ]
    api.create_commit("ada/model", operations, commit_message="Move")
    files = {".gitattributes", "b.txt", "empty.bin", "model.safetensors", "more/notes.txt"}
    assert set(api.list_repo_files("ada/model")) == files
    assert ask(hub, "GET", "/ada/model/resolve/main/model.safetensors").body == WEIGHTS
    head = api.model_info("ada/model").sha
    for gone in (CommitOperationDelete("nothing.txt"), CommitOperationDelete("nothing/")):
        with pytest.raises(EntryNotFoundError, match="with this name doesn't exist"):
            api.create_commit("ada/model", [CommitOperationAdd("c.txt", b"c"), gone], commit_message="Bad")
    assert api.model_info("ada/model").sha == head and set(api.list_repo_files("ada/model")) == files
    api.upload_folder(repo_id="ada/model", folder_path=folder, delete_patterns="*")
    assert set(api.list_repo_files("ada/model")) == {
        ".gitattributes",
        "notes.txt",
        "empty.bin",
        "sub/model.safetensors",
    }


BAD_COMMITS = {
    "no header": (b"", "does not start with a header"),
    "no json": (b"{\n", "Line 1 of the commit"),
    "no title": (commit_lines(title=" "), '"summary" is not allowed to be empty'),
    "no such change": (commit_lines(("rename", {"path": "a"})), '"key" must be one of'),
    "no path": (commit_lines(("file", {"content": ""})), '"file.path" must be a string'),
    "no base64": (commit_lines(("file", {"path": "a", "content": "?"})), "a: "),
    "above the root": (commit_lines(("file", {"path": "../a", "content": ""})), "Invalid path"),
    "git's own": (commit_lines(("file", {"path": ".git/config", "content": ""})), "Invalid path"),
    "file and folder": (commit_lines(("file", {"path": ".gitattributes/a", "content": ""})), "is a file and a folder"),
    "no source": (commit_lines(("copyFile", {"path": "a", "srcPath": "b"})), "b is not in"),
    "card": (
        commit_lines(("file", {"path": "README.md", "content": "LS0tCmxpY2Vuc2U6IG5vbmUKLS0tCg=="})),
        'YAML metadata verification: "license" must be one of',
    ),
}


@pytest.mark.parametrize("name", BAD_COMMITS)
def test_bad_commits_are_refused(hub: Hub, name: str) -> None:
    body, message = BAD_COMMITS[name]
    api = hub.api("ada")
    api.create_repo("ada/model")
    answer = ask(hub, "POST", "/api/models/ada/model/commit/main", "ada", body)
    assert answer.status == 400 and message in answer.json()["error"]
    assert len(api.list_repo_commits("ada/model")) == 1


def test_commits_go_to_branches_alone(hub: Hub) -> None:
    api = hub.api("ada")
    api.create_repo("ada/model")
    api.create_tag("ada/model", tag="v1")
    for revision in ("v1", api.model_info("ada/model").sha, "no-such"):
        with pytest.raises(HfHubHTTPError, match="Revision Not Found"):
            api.upload_file(path_or_fileobj=b"1", path_in_repo="a", repo_id="ada/model", revision=revision)


def test_large_text_goes_through_lfs(hub: Hub) -> None:
    text = b"a" * (10 * 1024 * 1024 + 1)
    api = hub.api("ada")
    api.create_repo("ada/model")
    api.upload_file(path_or_fileobj=text, path_in_repo="a.txt", repo_id="ada/model")
    (info,) = api.get_paths_info("ada/model", ["a.txt", "nothing"])
    assert info.lfs.size == len(text)
    line = ("file", {"path": "b.txt", "content": base64.b64encode(text).decode()})
    answer = ask(hub, "POST", "/api/models/ada/model/commit/main", "ada", commit_lines(line))
    assert answer.status == 400 and "larger than 10 MiB" in answer.json()["error"]


@pytest.mark.parametrize(
    ("path", "size", "sample", "expected"),
    [
        ("model.safetensors", 10, b"text", True),
        ("data/train-0.parquet", 10, b"PAR1", True),
        ("figures/confusion.png", 10, b"text", True),
        ("runs/events.out.tfevents.1", 10, b"", True),
        ("saved_model/a/b.txt", 10, b"", True),
        ("README.md", 10, "Größe".encode()[:4], False),  # cut within a letter
        ("config.json", 10 * 1024 * 1024, b"{}", False),
        ("config.json", 10 * 1024 * 1024 + 1, b"{}", True),
        ("program", 10, b"\x7fELF\0", True),
        ("latin.txt", 10, b"Gr\xf6\xdfe und mehr", True),
    ],
)
def test_which_files_are_large(path: str, size: int, sample: bytes, expected: bool) -> None:
    assert is_lfs(path, size, sample, GITATTRIBUTES) is expected


def test_ignored_files_are_not_committed(hub: Hub, folder: Path) -> None:
    (folder / ".gitignore").write_text("# folders\nsub/\n*.log\n")
    (folder / "a.log").touch()
    api = hub.api("ada")
    api.create_repo("ada/model")
    api.upload_folder(repo_id="ada/model", folder_path=folder)
    assert set(api.list_repo_files("ada/model")) == {".gitattributes", ".gitignore", "empty.bin", "notes.txt"}
    api.upload_file(path_or_fileobj=b"", path_in_repo="deep/b.log", repo_id="ada/model")
    assert not api.file_exists("ada/model", "deep/b.log")  # the repository's own .gitignore
    assert is_ignored("a/b/c.txt", "a/b") and not is_ignored("b/c.txt", "a/b") and not is_ignored("x.txt", "x.txt/")
