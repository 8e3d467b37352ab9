"""A repository on the Hub, as it was found: whether it is there, who sees it, what is in it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..errors import InputError, list_some
from .connection import in_our_words, patiently
from .parcel import Parcel

if TYPE_CHECKING:
    from huggingface_hub import HfApi

MAIN = "main"


@dataclass(frozen=True)
class Remote:
    """A repository as it was found.

    Attributes:
        private: whether it is, or is to be.
        commit: the last one of the branch, or of main, from which a branch is made; None: there is no repository yet.
        files: what is there at that commit, by path.
        branch: whether the branch is there.
    """

    private: bool
    commit: str | None = None
    files: Mapping[str, Any] = field(default_factory=dict)
    branch: bool = False


def files_at(api: "HfApi", repo: str, kind: str, commit: str) -> dict[str, Any]:
    """Path -> what the Hub tells of the file, of all that is there at a commit."""
    from huggingface_hub.hf_api import RepoFile

    def listed() -> list[Any]:
        return list(api.list_repo_tree(repo, repo_type=kind, revision=commit, recursive=True))

    return {item.path: item for item in patiently(listed, repo) if isinstance(item, RepoFile)}


def fetch(api: "HfApi", repo: str, kind: str, name: str, commit: str) -> str:
    """Downloads a file -> where it lies."""
    return patiently(lambda: api.hf_hub_download(repo, name, repo_type=kind, revision=commit), repo)


def head_of(api: "HfApi", repo: str, kind: str, revision: str | None) -> str:
    """The last commit of a branch; None: of main."""
    return str(api.repo_info(repo, repo_type=kind, revision=revision or MAIN).sha)


def check_tree(api: "HfApi", repo: str, parcel: Parcel, commit: str) -> None:
    """Holds size and digest of every file on the Hub against those here.

    Raises:
        InputError: one is not there, or another one.
    """
    with in_our_words(repo):
        there = files_at(api, repo, parcel.kind, commit)
    wrong = [name for name in parcel.seals if name not in there or not parcel.is_same(name, there[name])]
    if wrong:
        raise InputError(f"{repo}: at commit {commit} {list_some(wrong, 3)} is not what was sent; push again")
