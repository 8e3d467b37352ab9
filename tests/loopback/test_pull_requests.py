"""Changes that somebody proposes: their own reference, what is said about them, and what becomes of them."""

import pytest
from huggingface_hub.errors import BadRequestError, HfHubHTTPError

from .asking import ask
from .server import Hub

README = b"---\nlicense: mit\n---\n# A model\n"


@pytest.fixture
def model(hub: Hub) -> str:
    hub.api("ada").create_repo("ada/model")
    hub.api("ada").upload_file(path_or_fileobj=README, path_in_repo="README.md", repo_id="ada/model")
    return "ada/model"


def test_a_stranger_proposes_and_the_owner_merges(hub: Hub, model: str) -> None:
    ada, bob = hub.api("ada"), hub.api("bob")
    made = bob.upload_file(
        path_or_fileobj=README + b"More\n",
        path_in_repo="README.md",
        repo_id=model,
        create_pr=True,
        commit_message="Say more",
        commit_description="**Because**",
    )
    assert (made.pr_url, made.pr_num, made.pr_revision) == (f"{hub.endpoint}/{model}/discussions/1", 1, "refs/pr/1")
    assert ask(hub, "GET", f"/{model}/resolve/main/README.md").body == README
    assert ask(hub, "GET", f"/{model}/resolve/refs%2Fpr%2F1/README.md").body == README + b"More\n"
    assert ask(hub, "GET", f"/{model}/resolve/refs/pr/1/README.md").body == README + b"More\n"
    bob.upload_file(path_or_fileobj=b"x" * 99, path_in_repo="w.safetensors", repo_id=model, revision="refs/pr/1")
    found = ada.get_discussion_details(model, 1)
    assert (found.title, found.status, found.author, found.target_branch) == ("Say more", "open", "bob", "main")
    assert [one.type for one in found.events] == ["comment", "commit", "commit"]
    assert found.events[0].content == "**Because**" and found.events[1].oid == made.oid
    assert "\n+More\n" in found.diff and "Binary files a/w.safetensors and b/w.safetensors differ" in found.diff
    assert found.conflicting_files == []
    with pytest.raises(HfHubHTTPError, match="403"):
        bob.merge_pull_request(model, 1)
    ada.upload_file(path_or_fileobj=b"1", path_in_repo="other.txt", repo_id=model)
    ada.merge_pull_request(model, 1, comment="Thanks")
    assert set(ada.list_repo_files(model)) == {".gitattributes", "README.md", "other.txt", "w.safetensors"}
    assert ada.list_repo_commits(model)[0].title == "Say more (#1)"
    done = ada.get_discussion_details(model, 1)
    assert (done.status, done.merge_commit_oid) == ("merged", ada.model_info(model).sha)
    with pytest.raises(BadRequestError, match="this one is merged"):
        ada.merge_pull_request(model, 1)


def test_others_stay_out(hub: Hub, model: str) -> None:
    hub.api("ada").upload_file(path_or_fileobj=b"1", path_in_repo="a.txt", repo_id=model, create_pr=True)
    with pytest.raises(HfHubHTTPError, match="403"):
        hub.api("bob").upload_file(path_or_fileobj=b"2", path_in_repo="a.txt", repo_id=model, revision="refs/pr/1")
    with pytest.raises(HfHubHTTPError, match="403"):
        hub.api("bob").change_discussion_status(model, 1, "closed")
    with pytest.raises(HfHubHTTPError) as error:
        hub.api().upload_file(path_or_fileobj=b"2", path_in_repo="a.txt", repo_id=model, create_pr=True)
    assert error.value.response.status_code == 401


def test_drafts_are_opened_before_they_are_merged(hub: Hub, model: str) -> None:
    ada = hub.api("ada")
    draft = ada.create_pull_request(model, "An idea", description="What for")
    assert (draft.status, draft.git_reference, draft.diff) == ("draft", "refs/pr/1", "")
    ada.upload_file(path_or_fileobj=b"1", path_in_repo="a.txt", repo_id=model, revision=draft.git_reference)
    with pytest.raises(BadRequestError, match="this one is draft"):
        ada.merge_pull_request(model, 1)
    ada.change_discussion_status(model, 1, "open", comment="Ready")
    ada.merge_pull_request(model, 1)
    assert ada.file_exists(model, "a.txt")


def test_what_both_changed_is_a_conflict(hub: Hub, model: str) -> None:
    ada = hub.api("ada")
    for content, proposed in ((b"mine", True), (b"yours", False)):
        ada.upload_file(path_or_fileobj=content, path_in_repo="a.txt", repo_id=model, create_pr=proposed)
    assert ada.get_discussion_details(model, 1).conflicting_files == ["a.txt"]
    with pytest.raises(HfHubHTTPError, match=r"conflicts: a\.txt") as error:
        ada.merge_pull_request(model, 1)
    assert error.value.response.status_code == 409
    assert ask(hub, "GET", f"/{model}/resolve/main/a.txt").body == b"yours"


def test_a_deletion_is_merged(hub: Hub, model: str) -> None:
    ada = hub.api("ada")
    ada.upload_file(path_or_fileobj=b"1", path_in_repo="a.txt", repo_id=model)
    ada.delete_file("a.txt", repo_id=model, create_pr=True)
    assert ada.file_exists(model, "a.txt")
    ada.merge_pull_request(model, 1)
    assert not ada.file_exists(model, "a.txt")


def test_discussions_are_talked_about(hub: Hub, model: str) -> None:
    ada, bob = hub.api("ada"), hub.api("bob")
    opened = bob.create_discussion(model, "A question", description="Which data?")
    assert (opened.num, opened.status, opened.is_pull_request, opened.git_reference) == (1, "open", False, None)
    assert ada.comment_discussion(model, 1, "These").content == "These"
    assert ada.rename_discussion(model, 1, "An answer").new_title == "An answer"
    assert bob.change_discussion_status(model, 1, "closed").new_status == "closed"
    found = bob.get_discussion_details(model, 1)
    assert (found.title, found.status) == ("An answer", "closed")
    assert [one.type for one in found.events] == ["comment", "comment", "title-change", "status-change"]
    for number in range(11):
        ada.create_pull_request(model, f"Idea {number}")
    assert [one.num for one in ada.get_repo_discussions(model)] == list(range(12, 0, -1))
    assert [one.num for one in ada.get_repo_discussions(model, discussion_type="discussion")] == [1]
    assert len(list(ada.get_repo_discussions(model, author="ada", discussion_status="open"))) == 11
    assert len(ada.list_repo_refs(model, include_pull_requests=True).pull_requests) == 11
    with pytest.raises(HfHubHTTPError, match="404"):
        ada.get_discussion_details(model, 99)
    with pytest.raises(BadRequestError, match="3 to 200"):
        ada.create_discussion(model, "no")
