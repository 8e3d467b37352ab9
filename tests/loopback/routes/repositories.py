"""Who am I; repositories made, deleted, looked at."""

from ..attributes import GITATTRIBUTES
from ..blobs import regular_blob
from ..errors import anonymous, bad_request
from ..exchange import Request, Response, as_json
from ..facts import facts
from ..repository import KINDS, MAIN, Author, Kind
from ..site import Site
from ..vocabulary import SDKS

VISIBILITIES = {"public": False, "private": True, "protected": True}


def whoami(site: Site, request: Request) -> Response:
    """The user of the token, with their organizations."""
    if request.user is None:
        raise anonymous()
    member_of = [name for name, members in site.accounts.organizations.items() if request.user in members]
    return as_json(
        {
            "type": "user",
            "id": request.user,
            "name": request.user,
            "fullname": request.user.title(),
            "orgs": [{"type": "org", "name": name, "fullname": name, "roleInOrg": "write"} for name in member_of],
            "auth": {"type": "access_token", "accessToken": {"displayName": "loopback", "role": "write"}},
        }
    )


def _kind(content: dict) -> Kind:
    kind = KINDS.get(content.get("type") or "model")
    if kind is None:
        raise bad_request(f'"type" must be one of [{", ".join(KINDS)}]')
    return kind


def _private(content: dict) -> bool:
    visibility = content.get("visibility") or ("private" if content.get("private") else "public")
    if visibility not in VISIBILITIES:
        raise bad_request(f'"visibility" must be one of [{", ".join(VISIBILITIES)}]')
    return VISIBILITIES[visibility]


def create(site: Site, request: Request) -> Response:
    """A new repository with its first commit, as the Hub makes it."""
    content = request.json()
    kind, sdk = _kind(content), content.get("sdk")
    repo_id = site.own_name(request, str(content.get("name", "")), content.get("organization"), "create")
    files = {".gitattributes": regular_blob(GITATTRIBUTES.encode())}
    if kind.name == "space":
        if sdk not in SDKS:
            raise bad_request(f'"sdk" must be one of [{", ".join(SDKS)}]')
        title = repo_id.partition("/")[2]
        readme = f"---\ntitle: {title}\nemoji: 🔊\ncolorFrom: blue\ncolorTo: gray\nsdk: {sdk}\napp_file: app.py\n---\n"
        files["README.md"] = regular_blob(readme.encode())
    made = site.create(kind, repo_id, _private(content), sdk)
    made.heads[MAIN] = made.write(None, files, Author(str(request.user), "initial commit")).oid
    return as_json({"url": site.endpoint + made.address, "name": made.id, "id": made.id})


def delete(site: Site, request: Request) -> Response:
    """The repository is gone."""
    content = request.json()
    repo_id = site.own_name(request, str(content.get("name", "")), content.get("organization"), "delete")
    site.delete(_kind(content), repo_id)
    return as_json({})


def settings(site: Site, request: Request) -> Response:
    """Makes a repository private or public."""
    repository, content = site.repository(request, write=True), request.json()
    if unknown := content.keys() - {"visibility", "private"}:
        raise bad_request(f'"{min(unknown)}" is not a setting that this Hub has')
    repository.private = _private(content)
    return as_json({"private": repository.private})


def may_read(site: Site, request: Request) -> Response:
    """Nothing, when the user may read the repository."""
    site.repository(request)
    return as_json({})


def may_write(site: Site, request: Request) -> Response:
    """Nothing, when the user may write to it."""
    site.repository(request, write=True)
    return as_json({})


def info(site: Site, request: Request) -> Response:
    """What is known about a repository at a revision."""
    repository = site.repository(request)
    known = facts(repository, repository.find(request.names.get("revision", MAIN)), blobs=request.flag("blobs"))
    expand = request.query.get("expand", []) + request.query.get("expand[]", [])
    if not expand:
        return as_json({key: value for key, value in known.items() if key != "evalResults"})
    if unknown := [name for name in expand if name not in known]:
        raise bad_request(f'"expand" must be one of [{", ".join(known)}], not {unknown[0]}')
    return as_json({key: known[key] for key in ("_id", "id", *expand)})


ROUTES = {
    ("GET", "/api/whoami-v2"): whoami,
    ("POST", "/api/repos/create"): create,
    ("DELETE", "/api/repos/delete"): delete,
    ("PUT", "/api/{plural}/{id}/settings"): settings,
    ("GET", "/api/{plural}/{id}/auth-check"): may_read,
    ("GET", "/api/{plural}/{id}/auth-check/write"): may_write,
    ("GET", "/api/{plural}/{id}"): info,
    ("GET", "/api/{plural}/{id}/revision/{revision}"): info,
}
