"""Files of a revision: listed, described, sent."""

import mimetypes
import re
from urllib.parse import quote

from ..blobs import Blob
from ..errors import HubError, no_entry
from ..exchange import Request, Response, as_json
from ..facts import lfs_facts
from ..repository import MAIN, Commit, Repository, folders, tree_oid
from ..site import Site
from .paging import page_of

RANGE = re.compile(r"bytes=(\d*)-(\d*)")


def _described(repository: Repository, commit: Commit, path: str, expand: bool) -> dict:
    """A file or a folder as the API lists it."""
    blob = commit.files.get(path)
    if blob:
        entry = {"type": "file", "oid": blob.oid, "size": blob.size, "path": path}
        if blob.sha256:
            entry["lfs"] = lfs_facts(blob, "oid")
    else:
        entry = {"type": "directory", "oid": tree_oid(commit.files, f"{path}/"), "size": 0, "path": path}
    if expand:
        last = repository.last_change(commit, path)
        entry["lastCommit"] = {"id": last.oid, "title": last.author.title, "date": last.date}
    return entry


def tree(site: Site, request: Request) -> Response:
    """What is in a folder, and in those below it when asked for."""
    repository = site.repository(request)
    commit, folder = repository.find(request.names["revision"]), request.names.get("path", "").strip("/")
    start = f"{folder}/" if folder else ""
    below = [path for path in commit.files if path.startswith(start)]
    if folder and not below:
        raise no_entry(f"{folder} does not exist on {request.names['revision']!r}", commit.oid)
    paths = {*below, *(path for path in folders(below) if path.startswith(start))}
    if not request.flag("recursive"):
        paths = {path for path in paths if "/" not in path[len(start) :]}
    expand = request.flag("expand")
    return page_of(site, request, [_described(repository, commit, path, expand) for path in sorted(paths)])


def paths_info(site: Site, request: Request) -> Response:
    """The files and folders that are asked for, without those that do not exist."""
    repository, form = site.repository(request), request.form()
    commit, expand = (
        repository.find(request.names["revision"]),
        str(form.get("expand", [""])[0]).lower() in {"1", "true"},
    )
    if len(form.get("paths", [])) > site.page_size:
        raise HubError(413, "too many parameters")
    known = commit.files.keys() | folders(commit.files)
    asked = [path.strip("/") for path in form.get("paths", [])]
    return as_json([_described(repository, commit, path, expand) for path in asked if path in known])


def resolve(site: Site, request: Request) -> Response:
    """The content of a file, or the part of it that is asked for."""
    repository, path = site.repository(request), request.names["path"]
    commit = repository.find(request.names.get("revision", MAIN))
    blob = commit.files.get(path)
    if blob is None:
        raise no_entry("Entry not found", commit.oid)
    part = _range(request.headers.get("Range"), blob)
    first, stop = part or (0, blob.size)
    name = path.rpartition("/")[2]
    headers = {
        "Content-Type": mimetypes.guess_type(path)[0] or "application/octet-stream",
        "Content-Disposition": f"inline; filename*=UTF-8''{quote(name)}; filename=\"{quote(name)}\";",
        "ETag": f'"{blob.etag}"',
        "X-Repo-Commit": commit.oid,
        "Accept-Ranges": "bytes",
    }
    if blob.sha256:
        headers |= {"X-Linked-Size": str(blob.size), "X-Linked-ETag": f'"{blob.etag}"'}
    if part:
        headers["Content-Range"] = f"bytes {first}-{stop - 1}/{blob.size}"
    wrong = blob.size - 1 if (repository.id, path) in site.corrupted else None
    return Response(206 if part else 200, headers, blob=blob, first=first, stop=stop, flipped=wrong)


def _range(header: str | None, blob: Blob) -> tuple[int, int] | None:
    """The first byte and the one after the last; None for all of it, which is the answer to several ranges as well.

    Raises:
        HubError: 416.
    """
    found = RANGE.fullmatch(header or "")
    if not found or found.groups() == ("", ""):
        return None
    if found[1]:
        first, stop = int(found[1]), min(int(found[2]) + 1, blob.size) if found[2] else blob.size
    else:
        first, stop = max(0, blob.size - int(found[2])), blob.size
    if first >= stop:
        problem = HubError(416, f"The file has {blob.size} bytes")
        problem.headers["Content-Range"] = f"bytes */{blob.size}"
        raise problem
    return first, stop


ROUTES = {
    ("GET", "/api/{plural}/{id}/tree/{revision}"): tree,
    ("GET", "/api/{plural}/{id}/tree/{revision}/{path}"): tree,
    ("POST", "/api/{plural}/{id}/paths-info/{revision}"): paths_info,
    ("GET", "/{prefix}{id}/resolve/{revision}/{path}"): resolve,
}
