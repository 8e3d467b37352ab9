"""Users, rights, repositories and their references, as the real client meets them."""

import pytest
from huggingface_hub.errors import (
    BadRequestError,
    EntryNotFoundError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from .asking import ask
from .server import Hub


def status_of(error: pytest.ExceptionInfo[HfHubHTTPError]) -> int:
    return error.value.response.status_code


def test_who_one_is(hub: Hub) -> None:
    assert hub.api("ada").whoami()["name"] == "ada"
    assert [one["name"] for one in hub.api("ada").whoami()["orgs"]] == ["lab"]
    assert hub.api("bob").whoami()["orgs"] == []
    assert ask(hub, "GET", "/api/whoami-v2").status == 401
    with pytest.raises(HfHubHTTPError, match=r"Invalid user token"):
        hub.api("ada").whoami(token="hf_of_nobody")
    wrong = ask(hub, "GET", "/api/whoami-v2", headers={"Authorization": "Bearer hf_of_nobody"})
    assert (wrong.status, wrong.headers["X-Error-Message"]) == (401, "Invalid credentials in Authorization header")


@pytest.mark.parametrize(("kind", "prefix"), [("model", ""), ("dataset", "datasets/"), ("space", "spaces/")])
def test_repositories_are_made_and_deleted(hub: Hub, kind: str, prefix: str) -> None:
    api, sdk = hub.api("ada"), "gradio" if kind == "space" else None
    url = api.create_repo("thing", repo_type=kind, space_sdk=sdk)
    assert (url, url.repo_id, url.repo_type) == (f"{hub.endpoint}/{prefix}ada/thing", "ada/thing", kind)
    first = {".gitattributes", "README.md"} if kind == "space" else {".gitattributes"}
    assert set(api.list_repo_files("ada/thing", repo_type=kind)) == first
    assert api.repo_info("ada/thing", repo_type=kind).id == "ada/thing"
    with pytest.raises(HfHubHTTPError, match="already created this") as error:
        api.create_repo("ada/thing", repo_type=kind, space_sdk=sdk)
    assert status_of(error) == 409
    assert api.create_repo("ada/thing", repo_type=kind, space_sdk=sdk, exist_ok=True) == url
    other = "dataset" if kind == "model" else "model"
    assert not api.repo_exists("ada/thing", repo_type=other)
    api.delete_repo("ada/thing", repo_type=kind)
    assert not api.repo_exists("ada/thing", repo_type=kind)
    with pytest.raises(RepositoryNotFoundError):
        api.delete_repo("ada/thing", repo_type=kind)


def test_private_is_not_there_for_others(hub: Hub) -> None:
    ada = hub.api("ada")
    ada.create_repo("ada/secret", private=True)
    assert ada.model_info("ada/secret").private is True
    for api, status in ((hub.api("bob"), 404), (hub.api(), 401)):
        for ask_for in (api.model_info, api.list_repo_files, api.list_repo_refs, api.auth_check):
            with pytest.raises(RepositoryNotFoundError) as error:
                ask_for("ada/secret")
            assert status_of(error) == status
        assert ask(hub, "HEAD", "/ada/secret/resolve/main/README.md", None if status == 401 else "bob").status == status
        with pytest.raises(RepositoryNotFoundError) as error:  # as if it had never been
            api.model_info("ada/nothing")
        assert status_of(error) == status
    ada.update_repo_settings("ada/secret", visibility="public")
    assert hub.api().model_info("ada/secret").private is False


def test_writing_needs_the_right(hub: Hub) -> None:
    hub.api("ada").create_repo("ada/model")
    data = {"path_or_fileobj": b"x", "path_in_repo": "x.txt", "repo_id": "ada/model"}
    with pytest.raises(HfHubHTTPError, match=r"403 Forbidden: .*bob may not write to ada/model") as error:
        hub.api("bob").upload_file(**data)
    assert status_of(error) == 403
    with pytest.raises(RepositoryNotFoundError) as error:  # what the client makes of any 401 there
        hub.api().upload_file(**data)
    assert status_of(error) == 401
    with pytest.raises(HfHubHTTPError, match='rights to create .* under the namespace "ada"') as error:
        hub.api("bob").create_repo("ada/other")
    assert status_of(error) == 403
    with pytest.raises(HfHubHTTPError) as error:
        hub.api().create_repo("ada/other")
    assert status_of(error) == 401
    with pytest.raises(HfHubHTTPError, match="403"):
        hub.api("bob").delete_repo("ada/model")
    with pytest.raises(HfHubHTTPError, match="403"):
        hub.api("bob").create_branch("ada/model", branch="mine")
    assert hub.api("ada").list_repo_files("ada/model") == [".gitattributes"]


def test_organizations_belong_to_their_members(hub: Hub) -> None:
    hub.api("ada").create_repo("lab/model")
    assert hub.api().model_info("lab/model").author == "lab"
    with pytest.raises(HfHubHTTPError, match="403"):
        hub.api("bob").create_repo("lab/more")


@pytest.mark.parametrize("name", ["a--b", "-a", "a.", "ä", "a b", ""])
def test_names_have_a_form(hub: Hub, name: str) -> None:
    answer = ask(hub, "POST", "/api/repos/create", "ada", {"name": name})
    assert answer.status == 400 and "Invalid repository name" in answer.json()["error"]


def test_spaces_need_an_sdk(hub: Hub) -> None:
    answer = ask(hub, "POST", "/api/repos/create", "ada", {"name": "page", "type": "space", "sdk": "php"})
    assert answer.status == 400 and "gradio" in answer.json()["error"]


def test_branches_and_tags(hub: Hub) -> None:
    api = hub.api("ada")
    api.create_repo("ada/model")
    start = api.model_info("ada/model").sha
    api.upload_file(path_or_fileobj=b"1", path_in_repo="a.txt", repo_id="ada/model")
    api.create_branch("ada/model", branch="before", revision=start)
    api.create_tag("ada/model", tag="v1.0", revision="main")
    refs = api.list_repo_refs("ada/model")
    assert {one.name: one.target_commit for one in refs.branches} == {
        "main": api.model_info("ada/model").sha,
        "before": start,
    }
    assert [(one.name, one.ref) for one in refs.tags] == [("v1.0", "refs/tags/v1.0")]
    api.upload_file(path_or_fileobj=b"2", path_in_repo="a.txt", repo_id="ada/model", revision="before")
    read = {
        revision: ask(hub, "GET", f"/ada/model/resolve/{revision}/a.txt").body
        for revision in ("main", "before", "v1.0", refs.branches[0].target_commit, refs.branches[0].target_commit[:7])
    }
    assert set(read.values()) == {b"1", b"2"} and [name for name in read if read[name] == b"2"] == ["before"]
    for make in (api.create_branch, api.create_tag):
        names = {"branch": "before"} if make == api.create_branch else {"tag": "v1.0"}
        with pytest.raises(HfHubHTTPError, match="already exists"):
            make("ada/model", **names)
        make("ada/model", **names, exist_ok=True)
    api.delete_branch("ada/model", branch="before")
    api.delete_tag("ada/model", tag="v1.0")
    for revision in ("before", "v1.0", "no-such", "0" * 40):
        with pytest.raises(RevisionNotFoundError):
            api.model_info("ada/model", revision=revision)
    with pytest.raises(HfHubHTTPError, match="Cannot delete branch"):
        api.delete_branch("ada/model", branch="main")
    with pytest.raises(RevisionNotFoundError):
        api.create_branch("ada/model", branch="new", revision="no-such")


def test_what_is_known_about_a_model(hub: Hub) -> None:
    api = hub.api("ada")
    api.create_repo("ada/model")
    card = "---\nlanguage: [de]\nlicense: mit\nbase_model: a/b\ntags: [speech]\n---\n"
    files = {
        "README.md": card.encode(),
        "config.json": b'{"architectures": ["Wav2Vec2ForSequenceClassification"], "model_type": "wav2vec2"}',
        "model.safetensors": b"weights",
        ".eval_results/a.yaml": b"- dataset: {id: ada/data, task_id: test}\n  value: 0.5\n",
        ".eval_results/b.yaml": b"- value: 0.5\n",
    }
    for path, content in files.items():
        api.upload_file(path_or_fileobj=content, path_in_repo=path, repo_id="ada/model")
    info = api.model_info("ada/model", files_metadata=True)
    assert (info.pipeline_tag, info.library_name, info.card_data.license) == (
        "audio-classification",
        "transformers",
        "mit",
    )
    assert {"safetensors", "license:mit", "base_model:a/b", "de", "speech"} <= set(info.tags)
    sizes = {one.rfilename: (one.size, one.lfs is not None) for one in info.siblings}
    assert sizes["model.safetensors"] == (7, True) and sizes["README.md"] == (len(card), False)
    assert info.last_modified > info.created_at and info.eval_results is None
    expanded = api.model_info("ada/model", expand=["evalResults", "sha"])
    assert [(one.dataset_id, one.value) for one in expanded.eval_results] == [("ada/data", 0.5)]  # b.yaml is left out
    assert (expanded.sha, expanded.tags) == (info.sha, None)
    with pytest.raises(BadRequestError, match="likers"):
        api.model_info("ada/model", expand=["likers"])
    with pytest.raises(EntryNotFoundError):
        list(api.list_repo_tree("ada/model", "no-such-folder"))


def test_what_is_not_there_is_said(hub: Hub) -> None:
    answer = ask(hub, "GET", "/api/agent-harnesses")
    assert answer.status == 404 and "X-Error-Code" not in answer.headers
    assert ask(hub, "POST", "/api/repos/create", "ada", b"{").status == 400
    assert ask(hub, "POST", "/api/repos/create", "ada", b"[]").status == 400
    assert hub.crashes == []
