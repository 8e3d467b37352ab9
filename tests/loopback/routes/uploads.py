"""What comes before a commit: is the card valid, and which files go through LFS."""

import base64
import binascii

from ..attributes import is_ignored, is_lfs
from ..errors import bad_request
from ..exchange import Request, Response, as_json
from ..metadata import check
from ..repository import KINDS, Commit
from ..site import Site


def validate_yaml(site: Site, request: Request) -> Response:
    """Errors and warnings about the metadata of a README."""
    content = request.json()
    kind = content.get("repoType") or "model"
    if kind not in KINDS or not isinstance(content.get("content"), str):
        raise bad_request('"content" must be a string and "repoType" one of [' + ", ".join(KINDS) + "]")
    errors, warnings = check(content["content"], kind)
    found = {
        "errors": [{"message": message} for message in errors],
        "warnings": [{"message": message} for message in warnings],
    }
    return as_json(found | ({"error": errors} if errors else {}), 400 if errors else 200)


def preupload(site: Site, request: Request) -> Response:
    """For each file: regular or LFS, whether .gitignore names it, and what the repository has there already."""
    revision = request.names["revision"]
    repository = site.repository(request) if request.flag("create_pr") else site.writable(request, revision)
    commit, content = repository.find(revision), request.json()
    attributes, ignore = _text(commit, ".gitattributes"), content.get("gitIgnore") or _text(commit, ".gitignore")
    answers = []
    for file in content.get("files") or []:
        try:
            path, size, sample = file["path"], int(file["size"]), base64.b64decode(file["sample"])
        except (KeyError, TypeError, ValueError, binascii.Error) as problem:
            raise bad_request(f"A file needs path, size and sample: {problem!r}") from None
        mode = "lfs" if is_lfs(path, size, sample, attributes) else "regular"
        answer = {"path": path, "uploadMode": mode, "shouldIgnore": is_ignored(path, ignore)}
        if here := commit.files.get(path):
            answer["oid"] = here.etag
        answers.append(answer)
    return as_json({"files": answers, "commitOid": commit.oid})


def _text(commit: Commit, path: str) -> str:
    blob = commit.files.get(path)
    return blob.read().decode(errors="replace") if blob else ""


ROUTES = {
    ("POST", "/api/validate-yaml"): validate_yaml,
    ("POST", "/api/{plural}/{id}/preupload/{revision}"): preupload,
}
