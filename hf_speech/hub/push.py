"""`hf-speech push`: a model, a data set or a Space to the Hub in one commit, and the proof that it arrived whole.

The order is that nothing is sent before everything that can be known beforehand is known, and that the branch moves
once, at the end, by one commit of what was proven: large files go into the Hub's store first, where those that are
there already are not sent again, then one commit on a branch of its own names them all, and is loaded back. A push that
is cut short, or whose proof fails, has changed nothing that anybody sees; the same command goes on.
"""

import contextlib
import json
import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from ..errors import InputError, list_some, one_line
from ..results import Results
from . import proof
from .benchmarks import benchmark_files
from .connection import check_may_write, full_name, in_our_words, log_in, patiently, shortened
from .edits import Merged, merged, read_card
from .parcel import AUDIT, CARD, Parcel, kind_of, metadata_of, pack
from .tokens import token_in

if TYPE_CHECKING:
    from huggingface_hub import CommitInfo, HfApi

logger = logging.getLogger(__name__)

MAIN = "main"
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


@dataclass(frozen=True)
class Pushed:
    """What became of a push.

    Attributes:
        url: of the repository, or of the pull request.
        commit: its hexadecimal digits.
        lines: what to tell.
    """

    url: str
    commit: str
    lines: list[str]


@dataclass(frozen=True)
class _Remote:
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


def push(folder: str | Path, repo: str, options: PushOptions | None = None, *, kind: str | None = None) -> Pushed:
    """Pushes what lies in a folder, and loads it back.

    Args:
        folder: of a finished model, a prepared data set or a Space.
        repo: OWNER/NAME, or NAME under one's own.
        options: how.
        kind: "model", "dataset" or "space"; None: what the folder holds.

    Raises:
        InputError: it can't be pushed: no token, no right, a folder that is not whole, a card that the Hub refuses, a
            Hub that does not answer. Or what came to the Hub is not, when loaded back, what lies here: then the branch
            is as it was.
    """
    options, folder = options or PushOptions(), Path(folder)
    kind = kind or kind_of(folder)
    if options.create_pr and options.revision not in (None, MAIN):
        raise InputError("--create-pr and --revision: a pull request is to main; give one of them")
    if token_in(options.message or ""):
        raise InputError("--message: there is a token of the Hub in it; take it out, and make a new token")
    with tempfile.TemporaryDirectory(prefix="hf_speech-") as name:
        room = Path(name) / "parcel"
        room.mkdir()
        api = log_in()
        repo = full_name(api, repo)
        if not options.create_pr:
            check_may_write(api, repo)
        parcel = pack(kind, folder, repo, room)
        remote = _look(api, repo, parcel, options)
        _add_benchmarks(api, repo, parcel)
        lines = [*parcel.notes, *_around_edits(api, repo, parcel, remote, options)]
        check_card(api, repo, kind, parcel.card)
        parcel.seal()
        here = _said_here(folder, parcel)
        url, commit = _deliver(
            api, repo, parcel, remote, options, lambda at: lines.append(_proven(api, repo, parcel, at, here))
        )
        if commit == remote.commit:
            lines.append("nothing to send: all of it is there already")
        if parcel.left_out:
            lines.append(f"left here: {list_some(parcel.left_out, 8)}")
    return Pushed(url, commit, lines)


def check_push(kind: str, repo: str, options: PushOptions, metadata: Mapping[str, Any]) -> None:
    """Finds out beforehand, as far as that can be, whether something could be pushed that is yet to be made.

    Args:
        kind: "model", "dataset" or "space".
        repo: OWNER/NAME, or NAME under one's own.
        options: how.
        metadata: of the card, as far as they are known.

    Raises:
        InputError: no token, no right, a repository that others can see, metadata that the Hub refuses.
    """
    api = log_in()
    repo = full_name(api, repo)
    check_may_write(api, repo)
    _look(api, repo, Parcel(kind, Path(), [], []), options)
    check_card(api, repo, kind, f"---\n{yaml.safe_dump(dict(metadata))}---\n")


def _look(api: "HfApi", repo: str, parcel: Parcel, options: PushOptions) -> _Remote:
    """What is there already, whether it may be pushed to.

    Raises:
        InputError: it is open to all, and what is pushed is not to be; or there is nothing to make a pull request to.
    """
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    hidden = options.private if options.private is not None else parcel.kind == "dataset"
    with in_our_words(repo):
        try:
            info = patiently(lambda: api.repo_info(repo, repo_type=parcel.kind), repo)
        except RepositoryNotFoundError:
            if options.create_pr:
                raise InputError(f"{repo}: is not on the Hub, so there is nothing to offer a change to") from None
            return _Remote(hidden)
        if hidden and not info.private:
            mend = "make it private in its settings there, or give --public"
            raise InputError(f"{repo}: everybody can see this repository, and this {parcel.kind} is private; {mend}")
        if options.private is False and info.private:
            logger.warning("%s: is private on the Hub and stays so; its settings there make it public", repo)
        commit, there = info.sha, True
        if options.revision is not None:
            try:
                commit = patiently(lambda: _head(api, repo, parcel.kind, options.revision), repo)
            except RevisionNotFoundError:
                there = False
        return _Remote(bool(info.private), commit, _files_at(api, repo, parcel.kind, commit), there)


def _files_at(api: "HfApi", repo: str, kind: str, commit: str) -> dict[str, Any]:
    from huggingface_hub.hf_api import RepoFile

    def listed() -> list[Any]:
        return list(api.list_repo_tree(repo, repo_type=kind, revision=commit, recursive=True))

    return {item.path: item for item in patiently(listed, repo) if isinstance(item, RepoFile)}


def _add_benchmarks(api: "HfApi", repo: str, parcel: Parcel) -> None:
    """Puts a model's numbers on benchmarks of the Hub beside its card, where it has some."""
    if parcel.kind != "model":
        return
    results = Results.read(parcel.folder)
    config = results.run["arguments"].get("dataset_config")
    for name, text in benchmark_files(api, results.metrics, config, f"{api.endpoint}/{repo}").items():
        parcel.write(name, text)


def _around_edits(api: "HfApi", repo: str, parcel: Parcel, remote: _Remote, options: PushOptions) -> list[str]:
    """Lays the parcel's card around what was edited in the one on the Hub; gives what to tell of it."""
    if remote.commit is None or CARD not in remote.files or options.overwrite_card:
        return []
    parcel.seal()  # whose weights are compared
    with in_our_words(repo):
        there = read_card(_fetch(api, repo, parcel.kind, CARD, remote.commit))
    result: Merged = merged(parcel.made, there, mine=parcel.card, same_weights=_same_weights(parcel, remote))
    parcel.write(CARD, result.text)
    if not result.kept:
        return []
    what = ", ".join(result.kept) if result.made_by_us else "all of it, as it was not made by hf_speech"
    return [f"README.md was edited on the Hub; kept as it is there: {what} (--overwrite-card makes it anew)"]


def _same_weights(parcel: Parcel, remote: _Remote) -> bool:
    ours = [name for name in parcel.files() if name.endswith(".safetensors")]
    return all(name in remote.files and parcel.is_same(name, remote.files[name]) for name in ours)


def _fetch(api: "HfApi", repo: str, kind: str, name: str, commit: str) -> str:
    return patiently(lambda: api.hf_hub_download(repo, name, repo_type=kind, revision=commit), repo)


def check_card(api: "HfApi", repo: str, kind: str, text: str) -> None:
    """Has the Hub look at a card's metadata.

    Raises:
        InputError: it refuses them.
    """
    from huggingface_hub import RepoCard

    with in_our_words(repo):
        try:
            card = RepoCard(text, ignore_metadata_errors=True)
            patiently(lambda: card.validate(repo_type=kind), repo)
        except (ValueError, yaml.YAMLError) as error:
            if not isinstance(error, yaml.YAMLError) and type(error) is not ValueError:
                raise
            said = shortened(one_line(error))
            raise InputError(f"{repo}: the metadata of {CARD} are refused: {said}; mend them") from error


def _said_here(folder: Path, parcel: Parcel) -> Any:
    """What the loaded-back one will be held against; a model's parcel is first loaded as a stranger would load it.

    Raises:
        InputError: the parcel can't be loaded, or says something else than the folder.
    """
    if parcel.kind == "model":
        here = proof.said_here(folder)
        logger.info("loading what will be pushed in a fresh process")
        proof.said_there(parcel.folder, here)
        return here
    return proof.rows_here(parcel.folder) if parcel.kind == "dataset" else None


def _deliver(
    api: "HfApi",
    repo: str,
    parcel: Parcel,
    remote: _Remote,
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
        if options.create_pr:
            offer = _send(api, repo, parcel, parent, message, revision=None, create_pr=True)
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
        _check_tree(api, repo, parcel, commit.oid)
        return str(commit.repo_url), commit.oid


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
            head = _head(api, repo, parcel.kind, revision)
            operations = list(chain(*_operations(api, repo, parcel, head)))
        return api.create_commit(repo, operations, commit_message=message, parent_commit=parent, **where)

    return patiently(commit, repo, may_have_happened=not create_pr)


def _operations(api: "HfApi", repo: str, parcel: Parcel, commit: str) -> tuple[list[Any], list[Any]]:
    """What makes the parcel of what is at a commit: files to be added, and those to go that an earlier push left."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    files, there = parcel.files(), _files_at(api, repo, parcel.kind, commit)
    audit = None
    if parcel.kind == "dataset" and AUDIT in there:
        with contextlib.suppress(ValueError):
            audit = json.loads(Path(_fetch(api, repo, parcel.kind, AUDIT, commit)).read_text(encoding="utf-8"))
    stale = [path for path in there if path not in files and parcel.goes(path, audit)]
    additions = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=path) for name, path in files.items()]
    return additions, [CommitOperationDelete(path_in_repo=path) for path in stale]


def _made(api: "HfApi", repo: str, parcel: Parcel, remote: _Remote, options: PushOptions) -> str:
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
    return patiently(lambda: _head(api, repo, parcel.kind, options.revision), repo)


def _head(api: "HfApi", repo: str, kind: str, revision: str | None) -> str:
    """The last commit of a branch; None: of main."""
    return str(api.repo_info(repo, repo_type=kind, revision=revision or MAIN).sha)


def _check_tree(api: "HfApi", repo: str, parcel: Parcel, commit: str) -> None:
    """Holds size and digest of every file on the Hub against those here.

    Raises:
        InputError: one is not there, or another one.
    """
    with in_our_words(repo):
        there = _files_at(api, repo, parcel.kind, commit)
    wrong = [name for name in parcel.seals if name not in there or not parcel.is_same(name, there[name])]
    if wrong:
        raise InputError(f"{repo}: at commit {commit} {list_some(wrong, 3)} is not what was sent; push again")


def _proven(api: "HfApi", repo: str, parcel: Parcel, commit: str, here: Any) -> str:
    """Loads what came to the Hub, in a fresh process, and says how it compares.

    Raises:
        InputError: it is not what lies here.
    """
    _check_tree(api, repo, parcel, commit)
    count = len(parcel.seals)
    if parcel.kind == "space":
        return f"all {count} files are on the Hub as they are here"
    logger.info("loading it back from the Hub in a fresh process")
    if parcel.kind == "dataset":
        proof.rows_there(repo, commit, here)
        return f"all {count} files are there, and load_dataset streams {', '.join(here)} from them"
    with tempfile.TemporaryDirectory(prefix="hf_speech-") as cache:
        with in_our_words(repo):
            patiently(lambda: api.snapshot_download(repo, revision=commit, cache_dir=cache), repo)
        difference = proof.said_there(repo, here, revision=commit, cache=Path(cache))
    return f"loaded back in a fresh process: its logits differ from those here by at most {difference:.1e}"
