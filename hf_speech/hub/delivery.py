"""The way of a parcel to the Hub: sent, proven on a branch of its own, and only then where people look.

Large files go into the Hub's store first, where those that are there already are not sent again; then one commit names
them all, and is loaded back. A push that is cut short, or whose proof fails, has changed nothing that anybody sees.
"""

import contextlib
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError, list_some, one_line
from .connection import in_our_words, patiently
from .edits import introduction
from .parcel import AUDIT, CARD, Parcel, metadata_of
from .remote import MAIN, Remote, check_tree, fetch, files_at, head_of

if TYPE_CHECKING:
    from huggingface_hub import CommitInfo, HfApi

logger = logging.getLogger(__name__)

PROOF = "hf-speech-proof"  # a branch, for the time of a push


@dataclass(frozen=True)
class PushOptions:
    """How to push.

    Attributes:
        private: whether only its owner may see it; None: as it is, and of a new one public, but private if it is a
            data set.
        revision: the branch, made if need be; None: main.
        create_pr: whether to offer it as a pull request.
        overwrite_card: whether what was edited in the card on the Hub may be lost.
        message: of the commit; None: one that says what it is.
    """

    private: bool | None = None
    revision: str | None = None
    create_pr: bool = False
    overwrite_card: bool = False
    message: str | None = None


def deliver(
    api: "HfApi",
    repo: str,
    parcel: Parcel,
    remote: Remote,
    options: PushOptions,
    prove: Callable[[str], None],
) -> tuple[str, str]:
    """Brings the parcel to the Hub, proves it, and only then moves the branch -> the address, and the commit.

    It is first committed to a branch of its own, which goes again; that of a pull request is one already.
    """
    mend = f"push to a repository of your own, or offer it with --create-pr ({repo.partition('/')[0]} is not yours)"
    with in_our_words(repo, mend=mend):
        parent = str(remote.commit) if remote.branch else _made(api, repo, parcel, remote, options)
        message = options.message or f"{'Update' if remote.files else 'Add'} {parcel.kind} with hf_speech"
        if remote.branch and _is_there(parcel, remote, api, repo):
            prove(parent)
            return _address(api, repo, parcel, options), parent
        if options.create_pr:
            offer = _send(api, repo, parcel, parent, message, revision=None, create_pr=True, told=_told_of(parcel))
            prove(offer.oid)
            return offer.pr_url or str(offer.repo_url), offer.oid
        with _branch_of_the_proof(api, repo, parcel.kind, parent) as branch:
            prove(_send(api, repo, parcel, parent, message, revision=branch).oid)
        changed = parcel.changed()
        if changed:
            raise InputError(
                f"{repo}: {list_some(changed, 3)} changed while it was pushed; give the same command again"
            )
        commit = _send(api, repo, parcel, parent, message, revision=options.revision)
        check_tree(api, repo, parcel, commit.oid)
        return _address(api, repo, parcel, options), commit.oid


def _is_there(parcel: Parcel, remote: Remote, api: "HfApi", repo: str) -> bool:
    """Whether the branch holds the parcel already, and nothing that is to go."""
    same = all(name in remote.files and parcel.is_same(name, remote.files[name]) for name in parcel.seals)
    return same and not _operations(api, repo, parcel, str(remote.commit))[1]


def _address(api: "HfApi", repo: str, parcel: Parcel, options: PushOptions) -> str:
    """Where people look at what was pushed."""
    place = {"model": "", "dataset": "datasets/", "space": "spaces/"}[parcel.kind]
    at = f"/tree/{options.revision}" if options.revision not in (None, MAIN) else ""
    return f"{api.endpoint}/{place}{repo}{at}"


@contextlib.contextmanager
def _branch_of_the_proof(api: "HfApi", repo: str, kind: str, parent: str) -> Iterator[str]:
    """A branch for the time of the proof; what a push that was killed has left of one goes first."""
    from huggingface_hub.utils import HfHubHTTPError

    def remove() -> None:
        api.delete_branch(repo, branch=PROOF, repo_type=kind)

    with contextlib.suppress(HfHubHTTPError):
        remove()
    patiently(lambda: api.create_branch(repo, branch=PROOF, revision=parent, repo_type=kind, exist_ok=True), repo)
    try:
        yield PROOF
    finally:
        try:
            patiently(remove, repo)
        except HfHubHTTPError as error:
            logger.warning("%s: the branch %s is left there (%s)", repo, PROOF, one_line(error))


def _send(
    api: "HfApi",
    repo: str,
    parcel: Parcel,
    parent: str,
    message: str,
    *,
    revision: str | None,
    create_pr: bool = False,
    told: str = "",
) -> "CommitInfo":
    """Sends large files, then makes the one commit."""
    where: dict[str, Any] = {"repo_type": parcel.kind, "revision": revision, "create_pr": create_pr}
    additions, deletions = _operations(api, repo, parcel, parent)
    size = sum(seal.size for seal in parcel.seals.values())
    logger.info("%s: sending %d files, %.1f MB", repo, len(additions), size / 1e6)
    api.preupload_lfs_files(repo, additions, free_memory=False, **where)
    prepared = [[*additions, *deletions]]

    def commit() -> "CommitInfo":
        if prepared:
            operations = prepared.pop()
        else:  # asked again, since an answer was lost: perhaps all of it is there, which is looked at anew
            head = head_of(api, repo, parcel.kind, revision)
            operations = list(chain(*_operations(api, repo, parcel, head)))
        return api.create_commit(
            repo, operations, commit_message=message, commit_description=told, parent_commit=parent, **where
        )

    return patiently(commit, repo, may_have_happened=not create_pr)


def _told_of(parcel: Parcel) -> str:
    """What is said of a pull request to whom it is made: what it is, and how good."""
    return f"{introduction(parcel.card)}\n\nMade with hf_speech. All files of the {parcel.kind} are in this request."


def _operations(api: "HfApi", repo: str, parcel: Parcel, commit: str) -> tuple[list[Any], list[Any]]:
    """What makes the parcel of what is at a commit: files to be added, and those to go that an earlier push left."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    files, there = parcel.files(), files_at(api, repo, parcel.kind, commit)
    audit = None
    if parcel.kind == "dataset" and AUDIT in there:
        with contextlib.suppress(ValueError):
            audit = json.loads(Path(fetch(api, repo, parcel.kind, AUDIT, commit)).read_text(encoding="utf-8"))
    stale = [path for path in there if path not in files and parcel.goes(path, audit)]
    additions = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=path) for name, path in files.items()]
    return additions, [CommitOperationDelete(path_in_repo=path) for path in stale]


def _made(api: "HfApi", repo: str, parcel: Parcel, remote: Remote, options: PushOptions) -> str:
    """Makes the repository where there is none, and the branch; gives the branch's commit."""
    sdk = str(metadata_of(parcel.folder / CARD).get("sdk", "gradio")) if parcel.kind == "space" else None
    visible = "private" if remote.private else "public"
    if remote.commit is None:
        patiently(
            lambda: api.create_repo(repo, repo_type=parcel.kind, visibility=visible, space_sdk=sdk, exist_ok=True), repo
        )
    branch = options.revision
    if branch is not None and branch != MAIN:
        patiently(lambda: api.create_branch(repo, branch=branch, repo_type=parcel.kind, exist_ok=True), repo)
    return patiently(lambda: head_of(api, repo, parcel.kind, options.revision), repo)
