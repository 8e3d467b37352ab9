"""Branches, tags and the heads of pull requests."""

from ..errors import forbidden, no_revision
from ..exchange import Request, Response, as_json
from ..repository import MAIN, require_absent
from ..site import Site


def listing(site: Site, request: Request) -> Response:
    """All references, pull requests when asked for."""
    repository = site.repository(request)
    found = {
        "branches": [_reference(name, f"refs/heads/{name}", oid) for name, oid in repository.heads.items()],
        "tags": [_reference(name, f"refs/tags/{name}", oid) for name, oid in repository.tags.items()],
        "converts": [],
    }
    if request.flag("include_prs"):
        found["pullRequests"] = [
            _reference(str(number), f"refs/pr/{number}", one.head)
            for number, one in repository.discussions.items()
            if one.head
        ]
    return as_json(found)


def _reference(name: str, reference: str, oid: str | None) -> dict:
    return {"name": name, "ref": reference, "targetCommit": oid}


def create_branch(site: Site, request: Request) -> Response:
    """A branch at a revision, or at main."""
    repository, name = site.repository(request, write=True), request.names["name"]
    start = repository.find(request.json().get("startingPoint") or MAIN)
    require_absent(repository.heads, name)
    repository.heads[name] = start.oid
    return as_json({})


def delete_branch(site: Site, request: Request) -> Response:
    """The branch is gone; its commits stay."""
    repository, name = site.repository(request, write=True), request.names["name"]
    if name == MAIN:
        raise forbidden(f"Cannot delete branch: {MAIN}")
    if repository.heads.pop(name, None) is None:
        raise no_revision(name)
    return as_json({})


def create_tag(site: Site, request: Request) -> Response:
    """A tag at a revision."""
    repository, name = site.repository(request, write=True), str(request.json().get("tag", ""))
    at = repository.find(request.names["revision"])
    require_absent(repository.tags, name)
    repository.tags[name] = at.oid
    return as_json({})


def delete_tag(site: Site, request: Request) -> Response:
    """The tag is gone."""
    repository, name = site.repository(request, write=True), request.names["revision"]
    if repository.tags.pop(name, None) is None:
        raise no_revision(name)
    return as_json({})


ROUTES = {
    ("GET", "/api/{plural}/{id}/refs"): listing,
    ("POST", "/api/{plural}/{id}/branch/{name}"): create_branch,
    ("DELETE", "/api/{plural}/{id}/branch/{name}"): delete_branch,
    ("POST", "/api/{plural}/{id}/tag/{revision}"): create_tag,
    ("DELETE", "/api/{plural}/{id}/tag/{revision}"): delete_tag,
}
