"""Commits: a header and one line for each change, carried out all together or not at all; and the history."""

import base64
import binascii
import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

from ..attributes import LARGEST_REGULAR
from ..blobs import Blob, regular_blob
from ..errors import HubError, anonymous, bad_request
from ..exchange import Request, Response, as_json
from ..metadata import check
from ..repository import MAIN, Author, Change, Commit, Repository, changed
from ..site import Site
from .paging import page_of

Value = dict[str, Any]


def _rows(request: Request) -> Iterator[tuple[str, Value]]:
    """The lines of the body: what each is, and its content."""
    for number, line in enumerate(request.body.read().splitlines(), 1):
        try:
            row = json.loads(line)
            yield row["key"], dict(row["value"])
        except (ValueError, KeyError, TypeError) as problem:
            raise bad_request(f"Line {number} of the commit can't be read: {problem!r}") from None


def _regular(repository: Repository, value: Value) -> Change:
    try:
        data = base64.b64decode(value["content"], validate=True)
    except binascii.Error as problem:
        raise bad_request(f"{value['path']}: {problem}") from None
    if len(data) > LARGEST_REGULAR:
        raise bad_request(f"{value['path']} is larger than 10 MiB: files like this go through LFS")
    return Change(value["path"], regular_blob(data))


def _large(repository: Repository, value: Value) -> Change:
    blob = repository.lfs.get(value["oid"])
    if blob is None:
        raise bad_request(f"Your push was rejected because the LFS object {value['oid']} ({value['path']}) is not here")
    if value.get("size", blob.size) != blob.size:
        raise bad_request(f"{value['path']}: the LFS object has {blob.size} bytes, not {value['size']}")
    return Change(value["path"], blob)


def _delete_file(repository: Repository, value: Value) -> Change:
    return Change(value["path"], None)


def _delete_folder(repository: Repository, value: Value) -> Change:
    return Change(value["path"].rstrip("/"), None, folder=True)


def _copy(repository: Repository, value: Value) -> Change:
    source = repository.find(value.get("srcRevision") or MAIN)
    blob = source.files.get(value["srcPath"])
    if blob is None:
        raise bad_request(f"{value['srcPath']} is not in {source.oid}")
    return Change(value["path"], blob)


# What a line can be: how it is understood, and the texts that it needs.
CHANGES: dict[str, tuple[Callable[[Repository, Value], Change], tuple[str, ...]]] = {
    "file": (_regular, ("path", "content")),
    "lfsFile": (_large, ("path", "oid")),
    "deletedFile": (_delete_file, ("path",)),
    "deletedFolder": (_delete_folder, ("path",)),
    "copyFile": (_copy, ("path", "srcPath")),
}


def _read(repository: Repository, request: Request) -> tuple[Value, list[Change]]:
    """The header and the changes.

    Raises:
        HubError: 400.
    """
    rows = list(_rows(request))
    if not rows or rows[0][0] != "header":
        raise bad_request("The commit does not start with a header")
    header = rows[0][1]
    if not str(header.get("summary") or "").strip():
        raise bad_request('"summary" is not allowed to be empty')
    changes = []
    for key, value in rows[1:]:
        if key not in CHANGES:
            raise bad_request(f'"key" must be one of [{", ".join(CHANGES)}], not {key}')
        understood, needed = CHANGES[key]
        for name in needed:
            if not isinstance(value.get(name), str):
                raise bad_request(f'"{key}.{name}" must be a string')
        changes.append(understood(repository, value))
    return header, changes


def _check_card(repository: Repository, files: dict[str, Blob], changes: list[Change]) -> None:
    if not any(change.path == "README.md" and change.blob for change in changes):
        return
    errors, _ = check(files["README.md"].read().decode(errors="replace"), repository.kind.name)
    if errors:
        raise bad_request("Your push was rejected during YAML metadata verification: " + "; ".join(errors))


def _start(repository: Repository, revision: str, header: Value, any_parent: bool) -> Commit:
    """The commit to build on: the revision's, which has to be the one that the header expects, if it does."""
    head, wanted = repository.find(revision), header.get("parentCommit")
    if wanted and any_parent:
        return repository.find(wanted)
    if wanted and not head.oid.startswith(wanted):
        raise HubError(412, "A commit has happened since. Please refresh and try again.")
    return head


def commit(site: Site, request: Request) -> Response:
    """A commit on a branch or a pull request, or, with `create_pr`, a new pull request."""
    revision, proposed = request.names["revision"], request.flag("create_pr")
    repository = site.repository(request) if proposed else site.writable(request, revision)
    if request.user is None:
        raise anonymous("RepoNotFound")
    if not proposed:
        repository.require_branch(revision)
    header, changes = _read(repository, request)
    start = _start(repository, revision, header, any_parent=proposed)
    files = changed(start, changes)
    _check_card(repository, files, changes)
    author = Author(request.user, header["summary"], header.get("description") or "")
    made = repository.write(start, files, author)
    answer = {
        "success": True,
        "commitOid": made.oid,
        "commitUrl": f"{site.endpoint}{repository.address}/commit/{made.oid}",
        "hookOutput": "",
    }
    if proposed:
        opened = repository.open_discussion(author.title, author.user, head=start.oid)
        opened.comment(author.user, made.date, author.message)
        revision = f"refs/pr/{opened.number}"
        answer["pullRequestUrl"] = f"{site.endpoint}{repository.address}/discussions/{opened.number}"
    repository.move(revision, made.oid)
    if on := repository.pull_request(revision):
        on.add("commit", author.user, made.date, {"subject": author.title, "oid": made.oid})
    return as_json(answer)


def history(site: Site, request: Request) -> Response:
    """The commits up to a revision, the newest first."""
    repository = site.repository(request)
    entries = [
        {
            "id": one.oid,
            "title": one.author.title,
            "message": one.author.message,
            "date": one.date,
            "authors": [{"user": one.author.user}],
            "formatted": {"title": one.author.title, "message": one.author.message},
        }
        for one in repository.history(repository.find(request.names["revision"]))
    ]
    return page_of(site, request, entries)


def page(site: Site, request: Request) -> Response:
    """Leads from the address of a commit to the files of it."""
    repository = site.repository(request)
    made = repository.find(request.names["name"])
    return Response(302, {"Location": f"{site.endpoint}{repository.address}/tree/{quote(made.oid)}"})


ROUTES = {
    ("POST", "/api/{plural}/{id}/commit/{revision}"): commit,
    ("GET", "/api/{plural}/{id}/commits/{revision}"): history,
    ("GET", "/{prefix}{id}/commit/{name}"): page,
}
