"""What the site knows: its users and repositories, and who may do what."""

import re
import secrets
import threading
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from .blobs import BlobStore
from .errors import anonymous, bad_request, bad_token, conflict, forbidden, no_repository
from .exchange import Request
from .repository import KINDS, Kind, Repository

NAME = re.compile(r"(?!.*(--|\.\.))[A-Za-z0-9_](?:[\w.-]{0,94}[A-Za-z0-9_])?", re.ASCII)


@dataclass(frozen=True)
class Accounts:
    """Who there is.

    Attributes:
        users: Names with their tokens.
        organizations: Names with their members, who may all write.
    """

    users: dict[str, str]
    organizations: dict[str, list[str]]

    def user_of(self, token: str | None) -> str | None:
        """The user whose token it is; nobody without one.

        Raises:
            HubError: 401, for a token that nobody has.
        """
        if token is None:
            return None
        for name, known in self.users.items():
            if secrets.compare_digest(token.encode(), known.encode()):
                return name
        raise bad_token()

    def may_write(self, user: str | None, namespace: str) -> bool:
        """Whether it is the user's own name, or an organization that they belong to."""
        return user is not None and (user == namespace or user in self.organizations.get(namespace, []))


@dataclass
class Site:
    """The state of the Hub; held by one request at a time (`lock`).

    Attributes:
        endpoint: Its address, without a slash at the end.
        folder: Where large files go.
        page_size: Entries of a listing that are given at once.
        corrupted: (id, path) of the files that are sent with a wrong bit.
        signature: What upload addresses carry instead of a token.
    """

    accounts: Accounts
    endpoint: str
    folder: Path
    page_size: int = 1000
    repositories: dict[tuple[str, str], Repository] = field(default_factory=dict)
    corrupted: set[tuple[str, str]] = field(default_factory=set)
    signature: str = field(default_factory=lambda: secrets.token_hex(16))
    lock: threading.RLock = field(default_factory=threading.RLock)
    _stores: "count[int]" = field(default_factory=lambda: count(1))

    def repository(self, request: Request, write: bool = False) -> Repository:
        """The repository that the path of the request names, when the user may see it (and, with `write`, change it).

        Raises:
            HubError: 401 or 404 (RepoNotFound) when there is none for them; 401 or 403 when they may not write.
        """
        kind = kind_called(request.names)
        found = self.repositories.get((kind.name, request.names["id"]))
        allowed = found is not None and self.accounts.may_write(request.user, found.namespace)
        if found is None or (found.private and not allowed):
            raise no_repository() if request.user else anonymous("RepoNotFound")
        if write and not allowed:
            # The client takes any 401 of an https address like this for a missing repository; the code says so here.
            raise (
                anonymous("RepoNotFound")
                if request.user is None
                else forbidden(
                    f"Forbidden: {request.user} may not write to {found.id}; pass `create_pr=1` as a query parameter to"
                    " create a Pull Request"
                )
            )
        return found

    def writable(self, request: Request, revision: str) -> Repository:
        """The repository, when the user may commit to the revision: a pull request is its author's as well.

        Raises:
            HubError: As `repository`.
        """
        found = self.repository(request)
        pull_request = found.pull_request(revision)
        if pull_request and pull_request.author == request.user:
            return found
        return self.repository(request, write=True)

    def own_name(self, request: Request, name: str, organization: str | None, verb: str) -> str:
        """The id of a repository that the user wants to make or delete (`verb`).

        Raises:
            HubError: 401 without a user, 400 for a name that is none, 403 in somebody else's namespace.
        """
        if request.user is None:
            raise anonymous()
        namespace = organization or request.user
        if not NAME.fullmatch(name):
            raise bad_request(f'Invalid repository name "{name}": letters, digits, "-", "_" and "." are allowed')
        if not self.accounts.may_write(request.user, namespace):
            raise forbidden(f'You don\'t have the rights to {verb} a repository under the namespace "{namespace}"')
        return f"{namespace}/{name}"

    def create(self, kind: Kind, repo_id: str, private: bool, sdk: str | None) -> Repository:
        """A new, empty repository without a branch.

        Raises:
            HubError: 409, with the address of the one that exists.
        """
        if existing := self.repositories.get((kind.name, repo_id)):
            problem = conflict(f"You already created this {kind.name} repo")
            problem.body["url"] = self.endpoint + existing.address
            raise problem
        store = BlobStore(self.folder / f"repository-{next(self._stores)}")
        made = self.repositories[kind.name, repo_id] = Repository(kind, repo_id, private, store, sdk)
        return made

    def delete(self, kind: Kind, repo_id: str) -> None:
        """Deletes a repository with its large files.

        Raises:
            HubError: 404, RepoNotFound.
        """
        gone = self.repositories.pop((kind.name, repo_id), None)
        if gone is None:
            raise no_repository()
        gone.lfs.clear()


def kind_called(names: dict[str, str]) -> Kind:
    """The kind of repository that an address means: "models" in the API, "datasets/" before the id on pages."""
    called = names.get("plural") or names.get("prefix", "").rstrip("/") or "models"
    return next(kind for kind in KINDS.values() if kind.plural == called)
