"""A repository: commits, each with all its files, and the branches, tags and pull requests that point at them."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import NamedTuple

from .blobs import Blob, BlobStore, git_oid
from .discussions import Discussion
from .errors import bad_request, conflict, no_entry, no_revision

MAIN = "main"
PULL_REQUEST = re.compile(r"refs/pr/(\d+)")


class Kind(NamedTuple):
    """A kind of repository: its name in the API, and what stands before the id in addresses."""

    name: str
    plural: str
    prefix: str


KINDS = {
    "model": Kind("model", "models", ""),
    "dataset": Kind("dataset", "datasets", "datasets/"),
    "space": Kind("space", "spaces", "spaces/"),
}


class Change(NamedTuple):
    """What a commit does to a path: a new content, or none, which deletes the file, or the folder with all in it."""

    path: str
    blob: Blob | None
    folder: bool = False


class Author(NamedTuple):
    """Who commits, and what they say: the title, and the rest of the message."""

    user: str
    title: str
    message: str = ""


@dataclass(frozen=True)
class Commit:
    """All files at one time, by path, and where they came from."""

    oid: str
    parent: str | None
    files: Mapping[str, Blob] = field(repr=False)
    author: Author
    date: str


def now() -> str:
    """The time as the Hub writes it: UTC, milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def tree_oid(files: Mapping[str, Blob], folder: str = "") -> str:
    """A name for a folder that changes with anything in it."""
    listing = "".join(f"{path}\0{blob.oid}\n" for path, blob in sorted(files.items()) if path.startswith(folder))
    return git_oid("tree", listing.encode())


def folders(paths: Iterable[str]) -> set[str]:
    """All folders that some path lies in."""
    return {path[:at] for path in paths for at, letter in enumerate(path) if letter == "/"}


def check_path(path: str) -> str:
    """The path, when a repository can hold it.

    Raises:
        HubError: 400.
    """
    parts = path.split("/")
    if not path or {"", ".", "..", ".git"} & set(parts) or "\\" in path or "\0" in path:
        raise bad_request(f"Invalid path: {path!r}")
    return path


@dataclass
class Repository:
    """One repository; `kind`, `id` as "namespace/name", and what was done to it.

    Attributes:
        heads: Branches by name, each with the commit it is at.
        tags: By name, with their commits.
        lfs: The large files that were sent, committed or not.
        discussions: With pull requests, by number.
    """

    kind: Kind
    id: str
    private: bool
    lfs: BlobStore
    sdk: str | None = None
    created: str = field(default_factory=now)
    commits: dict[str, Commit] = field(default_factory=dict)
    heads: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    discussions: dict[int, Discussion] = field(default_factory=dict)

    @property
    def namespace(self) -> str:
        """The user or organization it belongs to."""
        return self.id.partition("/")[0]

    @property
    def address(self) -> str:
        """Its page, from the root of the site."""
        return f"/{self.kind.prefix}{self.id}"

    def pull_request(self, revision: str) -> Discussion | None:
        """The pull request that the revision is the head of."""
        found = PULL_REQUEST.fullmatch(revision)
        discussion = self.discussions.get(int(found[1])) if found else None
        return discussion if discussion and discussion.head else None

    def find(self, revision: str) -> Commit:
        """The commit that a branch, a tag, a pull request's reference or a (shortened) commit name means.

        Raises:
            HubError: 404, RevisionNotFound.
        """
        pull_request = self.pull_request(revision)
        if pull_request and pull_request.head:
            return self.commits[pull_request.head]
        for names, prefix in ((self.heads, "refs/heads/"), (self.tags, "refs/tags/")):
            if oid := names.get(revision.removeprefix(prefix)):
                return self.commits[oid]
        matches = [oid for oid in self.commits if oid.startswith(revision)] if len(revision) >= 7 else []
        if len(matches) != 1:
            raise no_revision(revision)
        return self.commits[matches[0]]

    def history(self, commit: Commit) -> Iterator[Commit]:
        """The commit and those before it, the newest first."""
        at: Commit | None = commit
        while at:
            yield at
            at = self.commits[at.parent] if at.parent else None

    def require_branch(self, revision: str) -> None:
        """The revision is a branch or a pull request, which a commit can be added to.

        Raises:
            HubError: 404, RevisionNotFound.
        """
        if not self.pull_request(revision) and revision.removeprefix("refs/heads/") not in self.heads:
            raise no_revision(revision)

    def move(self, revision: str, oid: str) -> None:
        """Sets a branch, or the head of a pull request, to a commit."""
        pull_request = self.pull_request(revision)
        if pull_request:
            pull_request.head = oid
        else:
            self.heads[revision.removeprefix("refs/heads/")] = oid

    def write(self, parent: Commit | None, files: Mapping[str, Blob], author: Author) -> Commit:
        """A new commit that nothing points at yet."""
        date, before = now(), parent.oid if parent else None
        text = f"tree {tree_oid(files)}\nparent {before}\nauthor {author} {date} {len(self.commits)}\n"
        commit = Commit(git_oid("commit", text.encode()), before, dict(files), author, date)
        self.commits[commit.oid] = commit
        return commit

    def last_change(self, commit: Commit, path: str) -> Commit:
        """The commit that last changed a file, or anything in a folder."""

        def state(at: Commit) -> object:
            return at.files[path].etag if path in at.files else tree_oid(at.files, f"{path}/")

        wanted, last = state(commit), commit
        for at in self.history(commit):
            if state(at) != wanted:
                break
            last = at
        return last

    def open_discussion(self, discussion_title: str, author: str, head: str | None) -> Discussion:
        """A new discussion, numbered after the last; a pull request when it has a head."""
        number = next(n for n in count(1) if n not in self.discussions)
        discussion = Discussion(number, discussion_title, author, now(), head=head, base=head)
        self.discussions[number] = discussion
        return discussion


def changed(commit: Commit, changes: Iterable[Change]) -> dict[str, Blob]:
    """The files of a commit after the changes, in their order.

    Raises:
        HubError: 404 for a path to delete that is not there; 400 for a path that is a file and a folder.
    """
    files = dict(commit.files)
    for path, blob, folder in changes:
        if blob:
            files[check_path(path)] = blob
            continue
        gone = [name for name in files if name.startswith(f"{path}/")] if folder else [path] if path in files else []
        if not gone:
            raise no_entry(f"A {'folder' if folder else 'file'} with this name doesn't exist: {path}", commit.oid)
        for name in gone:
            del files[name]
    if both := folders(files) & files.keys():
        raise bad_request(f"{min(both)} is a file and a folder")
    return files


def merged(base: Commit, ours: Commit, theirs: Commit) -> tuple[dict[str, Blob], list[str]]:
    """The files of `ours` with what `theirs` changed since `base`, and the paths that both changed differently."""
    files, conflicts = dict(ours.files), []
    for path in base.files.keys() | theirs.files.keys():
        before, after, here = (commit.files.get(path) for commit in (base, theirs, ours))
        if _same(before, after) or _same(after, here):
            continue
        if not _same(before, here):
            conflicts.append(path)
        elif after:
            files[path] = after
        else:
            del files[path]
    return files, sorted(conflicts)


def _same(one: Blob | None, other: Blob | None) -> bool:
    return (one and one.etag) == (other and other.etag)


def require_absent(names: Mapping[str, str], name: str) -> None:
    """Nothing has the name yet.

    Raises:
        HubError: 409.
    """
    if name in names:
        raise conflict(f"Reference already exists: {name}")
