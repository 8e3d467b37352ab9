"""`hf-speech push`: a model, a data set or a Space to the Hub in one commit, and the proof that it arrived whole.

The order is that nothing is sent before everything that can be known beforehand is known, and that the branch moves
once, at the end, by one commit of what was proven: large files go into the Hub's store first, where those that are
there already are not sent again, then one commit on a branch of its own names them all, and is loaded back. A push that
is cut short, or whose proof fails, has changed nothing that anybody sees; the same command goes on.
"""

import logging
import re
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from ..errors import InputError, list_some, one_line
from ..results import Results
from . import proof
from .benchmarks import benchmark_files
from .connection import check_may_write, full_name, in_our_words, log_in, patiently, shortened
from .delivery import PushOptions, deliver
from .edits import Merged, merged, read_card
from .parcel import CARD, Parcel, kind_of, pack
from .remote import MAIN, Remote, check_tree, fetch, files_at, head_of
from .tokens import token_in
from .words import is_on_hub

if TYPE_CHECKING:
    from huggingface_hub import HfApi

__all__ = ["PushOptions", "Pushed", "check_push", "push"]

logger = logging.getLogger(__name__)


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
    if options.revision is not None and not re.fullmatch(r"[\w][\w./-]*", options.revision):
        raise InputError(f"--revision {options.revision!r} is no name of a branch; give letters, digits, - _ . /")
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
        url, commit = deliver(
            api, repo, parcel, remote, options, lambda at: lines.append(_proven(api, repo, parcel, at, here))
        )
        if commit == remote.commit:
            also = ", and there is nothing to offer" if options.create_pr else ""
            lines.append(f"nothing to send: all of it is there already{also}")
        lines.append("private: only who may see it does" if remote.private else "public: everybody can see it")
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


def _look(api: "HfApi", repo: str, parcel: Parcel, options: PushOptions) -> Remote:
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
            return Remote(hidden)
        if hidden and not info.private:
            if options.private:
                mend = "--private does not hide what is there: do so in its settings on the Hub, or give another name"
                raise InputError(f"{repo}: everybody can see this repository already; {mend}")
            mend = "give --public, or a repository that is private"
            raise InputError(f"{repo}: everybody can see this repository, and data are pushed to private ones; {mend}")
        if options.private is False and info.private:
            logger.warning("%s: is private on the Hub and stays so; its settings there make it public", repo)
        commit, there = info.sha, True
        if options.revision is not None:
            try:
                commit = patiently(lambda: head_of(api, repo, parcel.kind, options.revision), repo)
            except RevisionNotFoundError:
                there = False
        return Remote(bool(info.private), commit, files_at(api, repo, parcel.kind, commit), there)


def _add_benchmarks(api: "HfApi", repo: str, parcel: Parcel) -> None:
    """Puts a model's numbers on benchmarks of the Hub beside its card, where it has some."""
    if parcel.kind != "model":
        return
    results = Results.read(parcel.folder)
    config = results.run["arguments"].get("dataset_config")
    content = asdict(results)
    files = benchmark_files(
        api, results.metrics, config, f"{api.endpoint}/{repo}", on_hub=lambda name: is_on_hub(content, name)
    )
    for name, text in files.items():
        parcel.write(name, text)


def _around_edits(api: "HfApi", repo: str, parcel: Parcel, remote: Remote, options: PushOptions) -> list[str]:
    """Lays the parcel's card around what was edited in the one on the Hub; gives what to tell of it."""
    if remote.commit is None or CARD not in remote.files or options.overwrite_card:
        return []
    parcel.seal()  # whose weights are compared
    with in_our_words(repo):
        there = read_card(fetch(api, repo, parcel.kind, CARD, remote.commit))
    result: Merged = merged(parcel.made, there, mine=parcel.card, same_weights=_same_weights(parcel, remote))
    parcel.write(CARD, result.text)
    if not result.kept:
        return []
    what = ", ".join(result.kept) if result.made_by_us else "all of it, as it was not made by hf_speech"
    return [f"README.md was edited on the Hub; kept as it is there: {what} (--overwrite-card makes it anew)"]


def _same_weights(parcel: Parcel, remote: Remote) -> bool:
    ours = [name for name in parcel.files() if name.endswith(".safetensors")]
    return all(name in remote.files and parcel.is_same(name, remote.files[name]) for name in ours)


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


def _proven(api: "HfApi", repo: str, parcel: Parcel, commit: str, here: Any) -> str:
    """Loads what came to the Hub, in a fresh process, and says how it compares.

    Raises:
        InputError: it is not what lies here.
    """
    check_tree(api, repo, parcel, commit)
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
