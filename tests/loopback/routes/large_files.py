"""LFS: what has to be sent, where to, and whether it arrived. The addresses to send to carry a signature, no token."""

import re

from ..errors import HubError, anonymous, bad_request, forbidden
from ..exchange import Request, Response, as_json
from ..repository import KINDS, Repository
from ..site import Site

SHA256 = re.compile(r"[0-9a-f]{64}")
GIT_LFS = {"Content-Type": "application/vnd.git-lfs+json"}


def batch(site: Site, request: Request) -> Response:
    """For each object that is not stored yet: where it goes to. Whoever may see a repository may offer it files."""
    repository = site.repository(request)
    if request.user is None:
        raise anonymous("RepoNotFound")
    content = request.json()
    if content.get("operation") != "upload":
        raise bad_request('"operation" must be one of [upload]')
    if revision := (content.get("ref") or {}).get("name"):
        site.writable(request, revision)
    objects = [_actions(site, repository, one) for one in content.get("objects") or []]
    return as_json({"transfer": "basic", "objects": objects}, headers=GIT_LFS)


def _actions(site: Site, repository: Repository, wanted: dict) -> dict:
    oid, size = str(wanted.get("oid")), wanted.get("size")
    if not SHA256.fullmatch(oid):
        return {"oid": oid, "size": size, "error": {"code": 422, "message": f"{oid} is not a SHA-256"}}
    if repository.lfs.get(oid):
        return {"oid": oid, "size": size}
    kind = repository.kind.name
    upload = f"{site.endpoint}/lfs/{kind}/{repository.id}/{oid}?signature={site.signature}"
    verify = f"{site.endpoint}/api/lfs-verify/{kind}/{repository.id}/{oid}"
    actions = {"upload": {"href": upload, "header": {}}, "verify": {"href": verify, "header": {}}}
    return {"oid": oid, "size": size, "authenticated": True, "actions": actions}


def _repository(site: Site, request: Request) -> Repository:
    names = request.names
    return site.repositories[KINDS[names["kind"]].name, names["id"]]


def upload(site: Site, request: Request) -> Response:
    """Keeps an object that was sent whole."""
    if request.headers.get("Authorization"):
        raise bad_request("InvalidArgument: Only one auth mechanism allowed")
    if request.query.get("signature") != [site.signature]:
        raise forbidden("SignatureDoesNotMatch")
    if not _repository(site, request).lfs.add(request.names["oid"], request.body):
        raise HubError(400, "XAmzContentSHA256Mismatch: what was sent is not what its name says")
    return Response(200, {"ETag": f'"{request.names["oid"]}"'})


def verify(site: Site, request: Request) -> Response:
    """Whether an object arrived with the size that it should have."""
    if request.user is None:
        raise anonymous()
    blob = _repository(site, request).lfs.get(request.names["oid"])
    if blob is None or blob.size != request.json().get("size"):
        raise HubError(404, "The object is not there")
    return as_json({})


ROUTES = {
    ("POST", r"/{prefix}{id}\.git/info/lfs/objects/batch"): batch,
    ("PUT", "/lfs/(?P<kind>model|dataset|space)/{id}/(?P<oid>[0-9a-f]{64})"): upload,
    ("POST", "/api/lfs-verify/(?P<kind>model|dataset|space)/{id}/(?P<oid>[0-9a-f]{64})"): verify,
}
