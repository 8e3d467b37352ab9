"""How things travel: one commit, patience, edits, branches, pull requests; and who is refused. With Spaces: the least.

A real client talks to a Hub on loopback throughout.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hf_speech.hub import connection

from ..loopback.server import Hub
from .conftest import Command
from .folders import finished_model, prepared_data, space


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """A Space's folder."""
    return space(tmp_path / "try-it")


def files_of(hub: Hub, repo: str, kind: str = "space", revision: str = "main") -> dict[str, bytes]:
    """Everything in a repository but what the Hub itself puts there."""
    api = hub.api("ada")
    names = api.list_repo_files(repo, repo_type=kind, revision=revision)
    paths = {name: api.hf_hub_download(repo, name, repo_type=kind, revision=revision) for name in names}
    return {name: Path(path).read_bytes() for name, path in paths.items() if name != ".gitattributes"}


def commits_of(hub: Hub, repo: str, kind: str = "space", revision: str = "main") -> list[str]:
    return [commit.title for commit in hub.api("ada").list_repo_commits(repo, repo_type=kind, revision=revision)]


def readme(hub: Hub, repo: str, kind: str = "space") -> str:
    return files_of(hub, repo, kind)["README.md"].decode()


def test_a_space_goes_up_in_one_commit(ada: Command, app: Path) -> None:
    url, told, seen, left = ada("push-space", app, "try-it", "--private", "--message", "First try")
    assert seen == "  private: only who may see it does"
    assert url == f"{ada.hub.endpoint}/spaces/ada/try-it"
    assert "all 3 files are on the Hub as they are here" in told and left == "  left here: .env"
    assert commits_of(ada.hub, "ada/try-it")[0] == "First try" and len(commits_of(ada.hub, "ada/try-it")) == 2
    assert set(files_of(ada.hub, "ada/try-it")) == {"README.md", "app.py", "requirements.txt"}
    info = ada.hub.api("ada").space_info("ada/try-it")
    assert info.private and info.sdk == "gradio"


def test_what_is_there_already_is_not_sent_again(ada: Command, app: Path) -> None:
    (app / "voice.wav").write_bytes(bytes(range(256)) * 100)
    ada("push-space", app, "try-it")
    before = len([asked for asked in ada.hub.requests if asked.method == "PUT"])
    assert "nothing to send: all of it is there already" in "\n".join(ada("push-space", app, "try-it"))
    (app / "app.py").write_text("import gradio as gr\n")
    ada("push-space", app, "try-it")
    assert len([asked for asked in ada.hub.requests if asked.method == "PUT"]) == before == 1
    assert files_of(ada.hub, "ada/try-it")["app.py"] == b"import gradio as gr\n"
    assert len(commits_of(ada.hub, "ada/try-it")) == 3


def test_what_was_edited_on_the_hub_is_kept(ada: Command, app: Path) -> None:
    ada("push-space", app, "try-it")
    edited = readme(ada.hub, "ada/try-it").replace("A Space.", "A Space that I love.")
    ada.hub.api("ada").upload_file(
        path_or_fileobj=edited.encode(), path_in_repo="README.md", repo_id="ada/try-it", repo_type="space"
    )
    (app / "README.md").write_text((app / "README.md").read_text() + "\n## New\n\nMore.\n")
    told = "\n".join(ada("push-space", app, "try-it"))
    assert "README.md was edited on the Hub; kept as it is there: introduction (--overwrite-card" in told
    assert "that I love." in readme(ada.hub, "ada/try-it") and "More." in readme(ada.hub, "ada/try-it")
    ada("push-space", app, "try-it", "--overwrite-card")
    assert "love" not in readme(ada.hub, "ada/try-it")


def test_a_card_of_somebody_else_s_making_is_kept_whole(ada: Command, app: Path) -> None:
    api = ada.hub.api("ada")
    api.create_repo("ada/try-it", repo_type="space", space_sdk="gradio")
    theirs = b"---\nsdk: gradio\napp_file: app.py\ntitle: Theirs\n---\n\nWords.\n"
    api.upload_file(path_or_fileobj=theirs, path_in_repo="README.md", repo_id="ada/try-it", repo_type="space")
    told = "\n".join(ada("push-space", app, "try-it"))
    assert "all of it, as it was not made by hf_speech" in told
    assert files_of(ada.hub, "ada/try-it")["README.md"] == theirs


def test_a_branch_is_made_and_main_stays(ada: Command, app: Path) -> None:
    ada("push-space", app, "try-it")
    edited = readme(ada.hub, "ada/try-it").replace("A Space.", "A Space that I love.")
    ada.hub.api("ada").upload_file(
        path_or_fileobj=edited.encode(), path_in_repo="README.md", repo_id="ada/try-it", repo_type="space"
    )
    (app / "app.py").write_text("second\n")
    url, *_ = ada("push-space", app, "try-it", "--revision", "v2")
    assert b"that I love." in files_of(ada.hub, "ada/try-it", revision="v2")["README.md"]
    assert url.endswith("/spaces/ada/try-it/tree/v2")
    assert files_of(ada.hub, "ada/try-it", revision="v2")["app.py"] == b"second\n"
    assert files_of(ada.hub, "ada/try-it")["app.py"] == b"import gradio\n"


def test_a_pull_request_is_offered_to_somebody_else(ada: Command, app: Path) -> None:
    bob = ada.hub.api("bob")
    bob.create_repo("bob/try-it", repo_type="space", space_sdk="gradio")
    url, *_ = ada("push-space", app, "bob/try-it", "--create-pr", "--message", "Try mine")
    assert url.endswith("/spaces/bob/try-it/discussions/1")
    assert "A Space." in ada.hub.api("bob").get_discussion_details("bob/try-it", 1, repo_type="space").events[0].content
    assert "app.py" not in files_of(ada.hub, "bob/try-it")
    assert "app.py" in files_of(ada.hub, "bob/try-it", revision="refs/pr/1")
    bob.merge_pull_request("bob/try-it", 1, repo_type="space")
    assert files_of(ada.hub, "bob/try-it")["app.py"] == b"import gradio\n"


@pytest.mark.parametrize(
    ("pattern", "fault"),
    [
        ("GET /api/whoami", {"status": 429, "retry_after": 1}),
        ("GET /api/spaces/ada/try-it", {"status": 503}),
        ("POST /api/validate-yaml", {"status": 500}),
        ("POST /api/repos/create", {"status": 502}),
        ("POST .*/preupload/", {"status": 429}),
        ("POST .*/info/lfs/objects/batch", {"status": 503}),
        ("PUT /lfs/", {"after_bytes": 10_000}),
        ("POST .*/commit/", {"status": 500, "times": 2}),
        ("POST .*/commit/", {"close": True}),
        ("POST .*/commit/", {"lose_answer": True}),
        ("GET .*/tree/", {"status": 504}),
    ],
)
def test_what_passes_is_waited_out(ada: Command, app: Path, pattern: str, fault: dict) -> None:
    (app / "voice.wav").write_bytes(os.urandom(50_000))
    met = ada.hub.fail(pattern, **{"times": 1, **fault})
    ada("push-space", app, "try-it")
    assert met.hits == fault.get("times", 1)
    assert files_of(ada.hub, "ada/try-it")["voice.wav"] == (app / "voice.wav").read_bytes()
    assert len(commits_of(ada.hub, "ada/try-it")) == 2


@pytest.mark.parametrize(
    ("pattern", "fault", "said"),
    [
        ("GET /api/whoami", {"status": 401}, "the Hub does not know this token; log in with `hf auth login`"),
        ("GET /api/whoami", {"status": 500, "times": 99}, "the Hub still answers 500"),
        ("POST /api/repos/create", {"close": True, "times": 99}, "the Hub can't be reached, or broke off"),
        ("POST .*/commit/", {"status": 503, "times": 99}, "the Hub still answers 503 .*what is sent stays sent"),
        ("POST .*/commit/", {"status": 403}, "this token may not write there .*--create-pr"),
        ("POST .*/commit/", {"status": 412}, "it was changed on the Hub meanwhile .*give the same command again"),
    ],
)
def test_what_does_not_pass_leaves_main_as_it_was(
    ada: Command, app: Path, pattern: str, fault: dict, said: str
) -> None:
    ada("push-space", app, "try-it")
    before = files_of(ada.hub, "ada/try-it")
    (app / "app.py").write_text("second\n")
    fresh = "try-it" if "create" not in pattern else "another"
    ada.hub.fail(pattern, **{"times": 1, **fault})
    assert_says(ada.refused("push-space", app, fresh), said)
    ada.hub.faults.clear()
    assert files_of(ada.hub, "ada/try-it") == before
    ada("push-space", app, fresh)
    assert files_of(ada.hub, f"ada/{fresh}")["app.py"] == b"second\n"


def assert_says(line: str, pattern: str) -> None:
    import re

    assert re.search(pattern, line), line


def test_a_pull_request_whose_answer_is_lost_is_not_made_twice(ada: Command, app: Path) -> None:
    ada.hub.api("bob").create_repo("bob/try-it", repo_type="space", space_sdk="gradio")
    ada.hub.fail("POST .*/commit/", times=1, lose_answer=True)
    assert "broke off" in ada.refused("push-space", app, "bob/try-it", "--create-pr")
    assert len(list(ada.hub.api("bob").get_repo_discussions("bob/try-it", repo_type="space"))) == 1


def test_somebody_who_pushed_meanwhile_is_not_overwritten(ada: Command, app: Path) -> None:
    ada("push-space", app, "try-it")
    (app / "app.py").write_text("second\n")
    (app / "voice.wav").write_bytes(os.urandom(20_000))
    ada.hub.slow("PUT /lfs/", 3)
    process = subprocess.Popen(
        [sys.executable, "-m", "hf_speech.cli", "push-space", str(app), "try-it"],
        env=ada.environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(lambda: any(asked.method == "POST" and "objects/batch" in asked.path for asked in ada.hub.requests))
    ada.hub.api("ada").upload_file(
        path_or_fileobj=b"theirs\n", path_in_repo="app.py", repo_id="ada/try-it", repo_type="space"
    )
    error = process.communicate(timeout=60)[1]
    assert process.returncode == 2 and "it was changed on the Hub meanwhile" in error
    assert files_of(ada.hub, "ada/try-it")["app.py"] == b"theirs\n"


def wait_for(true: object) -> None:
    until = time.monotonic() + 60
    while not true():  # type: ignore[operator]
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_push_that_is_killed_halfway_changes_nothing_and_goes_on_when_repeated(ada: Command, tmp_path: Path) -> None:
    folder = finished_model(tmp_path / "emotion-tiny")
    (folder / "map.png").write_bytes(os.urandom(40_000))  # a second large file
    ada.hub.api("ada").create_repo("ada/emotion-tiny")
    before = files_of(ada.hub, "ada/emotion-tiny", "model")
    first = (folder / "model.safetensors").stat().st_size
    ada.hub.slow(r"POST .*/commit/", 30)
    process = subprocess.Popen(
        [sys.executable, "-m", "hf_speech.cli", "push", str(folder), "emotion-tiny"],
        env=ada.environment(),
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_for(lambda: len([asked for asked in ada.hub.requests if asked.method == "PUT"]) >= 2)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert first > 0 and files_of(ada.hub, "ada/emotion-tiny", "model") == before
    ada.hub.faults.clear()
    sent = len([asked for asked in ada.hub.requests if asked.method == "PUT"])
    told = ada("push", folder, "emotion-tiny")
    assert "loaded back in a fresh process" in "\n".join(told)
    assert len([asked for asked in ada.hub.requests if asked.method == "PUT"]) <= sent + 1
    there = files_of(ada.hub, "ada/emotion-tiny", "model")
    assert there["model.safetensors"] == (folder / "model.safetensors").read_bytes()
    assert there["map.png"] == (folder / "map.png").read_bytes() and "modeling.py" in there


def test_who_may_not_push_is_told_before_anything_is_sent(ada: Command, model: Path, app: Path) -> None:
    ada.log_in(None)
    assert ada.refused("push", model, "emotion").endswith(
        "no token for the Hub: log in with `hf auth login`, or set HF_TOKEN to one that may write"
    )
    ada.log_in("hf_" + "x" * 34)
    assert "the Hub does not know this token" in ada.refused("push", model, "emotion")
    ada.log_in(ada.hub.token("ada"))
    assert "ada may not write to bob's repositories; give one of ada, lab" in ada.refused("push", model, "bob/emotion")
    assert "is not on the Hub, so there is nothing to offer a change to" in ada.refused(
        "push-space", app, "bob/try-it", "--create-pr"
    )
    assert not [asked for asked in ada.hub.requests if asked.method in ("PUT", "POST")]


@pytest.mark.parametrize("name", ["a/b/c", "ada/", "/x", "ada/a--b", "ada/a..b", "ada/" + "x" * 120, "ada/-x", "ä/b"])
def test_names_that_are_none_are_refused(ada: Command, app: Path, name: str) -> None:
    assert "is no name of a repository" in ada.refused("push-space", app, name)


def test_what_others_see_stays_what_it_was(ada: Command, app: Path, model: Path) -> None:
    ada("push-space", app, "try-it")
    line = ada.refused("push-space", app, "try-it", "--private")
    assert "everybody can see this repository already; --private does not hide what is there" in line
    assert "--private and --public: give one of them" in ada.refused("push", model, "x", "--private", "--public")


def test_offline_is_said(ada: Command, app: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "hf_speech.cli", "push-space", str(app), "try-it"],
        env=ada.environment(HF_HUB_OFFLINE="1"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 2 and "HF_HUB_OFFLINE is set, so the Hub is not asked; unset it" in run.stderr


def test_a_card_that_the_hub_refuses_stops_the_push(ada: Command, app: Path) -> None:
    (app / "README.md").write_text("---\nsdk: gradio\napp_file: app.py\nlicense: nobody-knows-it\n---\n")
    line = ada.refused("push-space", app, "try-it")
    assert "the metadata of README.md are refused" in line and "license" in line
    (app / "README.md").write_text("---\nsdk: [\n---\n")
    assert "README.md: its metadata can't be read" in ada.refused("push-space", app, "try-it")
    assert not [asked for asked in ada.hub.requests if "create" in asked.path]


def test_a_data_set_is_private_and_comes_back_as_it_was(ada: Command, corpus: Path, tmp_path: Path) -> None:
    folder = prepared_data(tmp_path / "data", corpus)
    url, told, *_ = ada("push", folder, "mine")
    assert url == f"{ada.hub.endpoint}/datasets/ada/mine"
    assert "all 4 files are there, and load_dataset streams train, test from them" in told
    assert ada.hub.api("ada").dataset_info("ada/mine").private
    audit = json.loads((folder / "audit.json").read_text())
    there = files_of(ada.hub, "ada/mine", "dataset")
    assert set(there) == set(audit["files"])
    assert all(there[name] == (folder / name).read_bytes() for name in audit["files"] if name != "README.md")


@pytest.mark.slow
def test_a_licence_on_the_page_of_a_data_set_loses_no_rows(ada: Command, corpus: Path, tmp_path: Path) -> None:
    ada("push", prepared_data(tmp_path / "data", corpus), "mine")
    card = readme(ada.hub, "ada/mine", "dataset").replace("---\n", "---\nlicense: cc0-1.0\n", 1)
    ada.hub.api("ada").upload_file(
        path_or_fileobj=card.encode(), path_in_repo="README.md", repo_id="ada/mine", repo_type="dataset"
    )
    words = ["prepare", "csv", "--data-dir", corpus.parent, "--output-dir", tmp_path / "more", "--test", "0.25"]
    told = ada(*words, "--validation", "0.25", "--push-to-hub", "mine")
    assert "load_dataset streams train, validation, test from them" in "\n".join(told)
    assert "license: cc0-1.0" in readme(ada.hub, "ada/mine", "dataset")


def test_a_licensed_corpus_is_published_by_who_may_only(ada: Command, corpus: Path, tmp_path: Path) -> None:
    folder = prepared_data(tmp_path / "data", corpus)
    audit = json.loads((folder / "audit.json").read_text())
    (folder / "audit.json").write_text(json.dumps(audit | {"corpus": "iemocap"}))
    line = ada.refused("push", folder, "mine", "--public")
    assert "iemocap comes under terms that say who may get it" in line and "--i-may-redistribute" in line
    ada.hub.api("ada").create_repo("ada/open", repo_type="dataset")
    assert "everybody can see this repository, and data are pushed to private ones" in ada.refused(
        "push", folder, "open"
    )
    assert not [asked for asked in ada.hub.requests if asked.method == "PUT"]


def test_prepare_finds_out_first_whether_it_may_push(ada: Command, tmp_path: Path) -> None:
    words = ["prepare", "voxceleb", "--data-dir", tmp_path, "--output-dir", tmp_path / "out"]
    assert "voxceleb comes under terms" in ada.refused(*words, "--push-to-hub", "vox", "--public")
    assert "ada may not write to bob's" in ada.refused(*words, "--push-to-hub", "bob/vox")
    assert "are about --push-to-hub; give it too" in ada.refused(*words, "--public")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("answer", [b"<html>moved</html>", b"[]", b"null", b"{"])
@pytest.mark.parametrize(
    "path", ["GET /api/whoami-v2", "GET /api/spaces/ada/try-it", "GET .*/tree/", "POST .*/commit/"]
)
def test_a_hub_that_makes_no_sense_is_named(ada: Command, app: Path, path: str, answer: bytes) -> None:
    ada("push-space", app, "try-it")
    (app / "app.py").write_text("second\n")
    before = files_of(ada.hub, "ada/try-it")
    ada.hub.fail(path, times=99, content=answer)
    line = ada.refused("push-space", app, "try-it")
    assert "the Hub answers what makes no sense" in line or "is not what was sent" in line, line
    assert "<html" not in line
    ada.hub.faults.clear()
    assert files_of(ada.hub, "ada/try-it") == before


def test_a_long_pause_is_not_waited_for(ada: Command, app: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "LONGEST_WAIT", 1.0)
    ada("push-space", app, "try-it")
    (app / "app.py").write_text("second\n")
    met = ada.hub.fail("GET .*/tree/", status=429, times=1, retry_after=100_000)
    begun = time.monotonic()
    ada("push-space", app, "try-it")
    assert met.hits == 1 and time.monotonic() - begun < 30


def test_words_that_do_not_go_together(ada: Command, app: Path) -> None:
    assert "--create-pr and --revision: a pull request is to main" in ada.refused(
        "push-space", app, "try-it", "--create-pr", "--revision", "v2"
    )
    token = ada.hub.token("ada")
    assert "--message: there is a token" in ada.refused("push-space", app, "try-it", "--message", f"with {token}")
    ada.log_in("hf_ümlaut")
    assert "HF_TOKEN is no token" in ada.refused("push-space", app, "try-it")
    ada.log_in(token)
    (app / "README.md").write_bytes(b"---\nsdk: gradio\n---\n\xff\n")
    assert "README.md: is not UTF-8" in ada.refused("push-space", app, "try-it")
