"""What is answered to which request: (method, pattern of the path) -> function of the site and the request."""

import re
from collections.abc import Callable

from ..errors import HubError
from ..exchange import Request, Response, as_error, unquoted
from ..site import Site
from . import browser, commits, discussions, files, large_files, references, repositories, uploads

Handler = Callable[[Site, Request], Response]

# "%2F" is kept apart from "/" until the parts are known, since revisions like refs/pr/1 arrive quoted.
PARTS = {
    "{plural}": r"(?P<plural>models|datasets|spaces)",
    "{prefix}": r"(?P<prefix>datasets/|spaces/)?",
    "{id}": r"(?P<id>(?!api/)[^/]+/[^/]+?|[^/]+?)",
    "{revision}": r"(?P<revision>refs(?:/|%2F)(?:pr|heads|tags)(?:/|%2F)[^/]+|[^/]+)",
    "{path}": r"(?P<path>.+)",
    "{number}": r"(?P<number>\d+)",
    "{name}": r"(?P<name>[^/]+)",
}


def _compiled(pattern: str) -> re.Pattern[str]:
    for part, expression in PARTS.items():
        pattern = pattern.replace(part, expression)
    return re.compile(pattern)


ROUTES: list[tuple[str, re.Pattern[str], Handler]] = [
    (method, _compiled(pattern), handler)
    for module in (repositories, references, uploads, large_files, commits, discussions, files, browser)
    for (method, pattern), handler in module.ROUTES.items()
]


def answer(site: Site, request: Request) -> Response:
    """The answer to a request whose token, path and body are looked at in this order."""
    try:
        request.user = site.accounts.user_of(request.token)
        method = "GET" if request.method == "HEAD" else request.method
        for wanted, pattern, handler in ROUTES:
            found = pattern.fullmatch(request.path) if wanted == method else None
            if found:
                request.names = unquoted(found.groupdict())
                with site.lock:
                    return handler(site, request)
        raise HubError(404, f"Sorry, we can't find what you are looking for: {method} {request.path}")
    except HubError as refused:
        return as_error(refused)
