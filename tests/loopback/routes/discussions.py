"""Discussions and pull requests: opened, talked about, merged."""

import difflib

from ..blobs import Blob
from ..discussions import Discussion
from ..errors import HubError, anonymous, bad_request, conflict, forbidden
from ..exchange import Request, Response, as_json
from ..repository import MAIN, Author, Commit, Repository, merged, now
from ..site import Site

PAGE = 10
STATUSES = {"open": ("open", "draft"), "closed": ("closed", "merged")}


def _overview(repository: Repository, one: Discussion) -> dict:
    return {
        "num": one.number,
        "title": one.title,
        "author": {"name": one.author, "type": "user"},
        "createdAt": one.created,
        "status": one.status,
        "repo": {"name": repository.id, "type": repository.kind.name},
        "isPullRequest": one.head is not None,
        "numComments": sum(event["type"] == "comment" for event in one.events),
    }


def listing(site: Site, request: Request) -> Response:
    """Discussions, the newest first, chosen by kind, status and author."""
    repository, query = site.repository(request), {key: values[0] for key, values in request.query.items()}
    kind, status, author = query.get("type", "all"), query.get("status", "all"), query.get("author")
    chosen = [
        one
        for one in reversed(repository.discussions.values())
        if kind in ("all", "pull_request" if one.head else "discussion")
        and (status == "all" or one.status in STATUSES.get(status, ()))
        and author in (None, one.author)
    ]
    number = query.get("p", "0")
    if not number.isdigit():
        raise bad_request('"p" must be a number')
    start = int(number) * PAGE
    shown = [_overview(repository, one) for one in chosen[start : start + PAGE]]
    return as_json({"discussions": shown, "count": len(chosen), "start": start})


def _signed_in(request: Request) -> str:
    if request.user is None:
        raise anonymous("RepoNotFound")
    return request.user


def numbered(repository: Repository, request: Request) -> Discussion:
    """The discussion whose number is in the path.

    Raises:
        HubError: 404.
    """
    found = repository.discussions.get(int(request.names["number"]))
    if found is None:
        raise HubError(404, "Discussion not found")
    return found


def create(site: Site, request: Request) -> Response:
    """A new discussion, or the draft of a pull request at main."""
    repository, user, content = site.repository(request), _signed_in(request), request.json()
    title = str(content.get("title") or "").strip()
    if not 3 <= len(title) <= 200:
        raise bad_request('"title" must have 3 to 200 characters')
    opened = repository.open_discussion(title, user, repository.find(MAIN).oid if content.get("pullRequest") else None)
    opened.status = "draft" if opened.head else "open"
    opened.comment(user, opened.created, str(content.get("description") or ""))
    return as_json({"num": opened.number, "url": f"{site.endpoint}{repository.address}/discussions/{opened.number}"})


def details(site: Site, request: Request) -> Response:
    """One discussion with all that happened; of a pull request, what it would change."""
    repository = site.repository(request)
    one = numbered(repository, request)
    found = _overview(repository, one) | {"events": one.events}
    if one.head and one.base:
        base, head, main = repository.commits[one.base], repository.commits[one.head], repository.find(MAIN)
        conflicts = [] if one.merged_as else merged(base, main, head)[1]
        found |= {"changes": {"base": MAIN, "mergeCommitId": one.merged_as}, "filesWithConflicts": conflicts}
        if request.flag("diff"):
            found["diff"] = difference(base, head)
    return as_json(found)


def difference(base: Commit, head: Commit) -> str:
    """What changed between two commits, as `diff -u` writes it; of what is not text, only that it did."""
    lines = []
    for path in sorted(base.files.keys() | head.files.keys()):
        old, new = base.files.get(path), head.files.get(path)
        if (old and old.etag) == (new and new.etag):
            continue
        lines.append(f"diff --git a/{path} b/{path}\n")
        before, after = _lines(old), _lines(new)
        if before is None or after is None:
            lines.append(f"Binary files a/{path} and b/{path} differ\n")
        else:
            lines += difflib.unified_diff(before, after, f"a/{path}", f"b/{path}")
    return "".join(lines)


def _lines(blob: Blob | None) -> list[str] | None:
    """The lines of a text; none where there is no file, None where it is no text."""
    if blob is None:
        return []
    if blob.sha256:
        return None
    try:
        return [line if line.endswith("\n") else f"{line}\n" for line in blob.read().decode().splitlines(True)]
    except UnicodeDecodeError:
        return None


def comment(site: Site, request: Request) -> Response:
    """Something said."""
    one, user = numbered(site.repository(request), request), _signed_in(request)
    return as_json({"newMessage": one.comment(user, now(), str(request.json().get("comment") or ""))})


def _may_change(site: Site, request: Request) -> tuple[Repository, Discussion, str]:
    """The discussion and the user, when it is theirs or in their repository."""
    repository, user = site.repository(request), _signed_in(request)
    one = numbered(repository, request)
    if user != one.author and not site.accounts.may_write(user, repository.namespace):
        raise forbidden("You may not change this discussion")
    return repository, one, user


def rename(site: Site, request: Request) -> Response:
    """Another title."""
    _, one, user = _may_change(site, request)
    old, one.title = one.title, str(request.json().get("title") or one.title)
    return as_json({"newTitle": one.add("title-change", user, now(), {"from": old, "to": one.title})})


def change_status(site: Site, request: Request) -> Response:
    """Opened or closed."""
    _, one, user = _may_change(site, request)
    content = request.json()
    if content.get("status") not in ("open", "closed") or one.status == "merged":
        raise bad_request('"status" must be one of [open, closed], and not be changed once merged')
    one.status = content["status"]
    if text := content.get("comment"):
        one.comment(user, now(), text)
    return as_json({"newStatus": one.add("status-change", user, now(), {"status": one.status})})


def merge(site: Site, request: Request) -> Response:
    """A pull request becomes one commit on main."""
    repository, content = site.repository(request, write=True), request.json()
    one, user = numbered(repository, request), _signed_in(request)
    if not (one.head and one.base and one.status == "open"):
        raise bad_request(f"Only open pull requests can be merged; this one is {one.status if one.head else 'none'}")
    base, head, main = repository.commits[one.base], repository.commits[one.head], repository.find(MAIN)
    files, conflicts = merged(base, main, head)
    if conflicts:
        raise conflict(f"This pull request has conflicts: {', '.join(conflicts)}")
    if text := content.get("comment"):
        one.comment(user, now(), text)
    listed = "".join(
        f"- {each['data']['subject']} ({each['data']['oid']})\n" for each in one.events if each["type"] == "commit"
    )
    made = repository.write(main, files, Author(user, f"{one.title} (#{one.number})", f"\n\n{listed}"))
    repository.move(MAIN, made.oid)
    one.status, one.merged_as = "merged", made.oid
    one.add("status-change", user, made.date, {"status": "merged"})
    return as_json({"commitOid": made.oid})


ROUTES = {
    ("GET", "/api/{plural}/{id}/discussions"): listing,
    ("POST", "/api/{plural}/{id}/discussions"): create,
    ("GET", "/api/{plural}/{id}/discussions/{number}"): details,
    ("POST", "/api/{plural}/{id}/discussions/{number}/comment"): comment,
    ("POST", "/api/{plural}/{id}/discussions/{number}/title"): rename,
    ("POST", "/api/{plural}/{id}/discussions/{number}/status"): change_status,
    ("POST", "/api/{plural}/{id}/discussions/{number}/merge"): merge,
}
