"""Long listings, a page at a time: the address of the next page is in the `Link` header."""

from typing import Any
from urllib.parse import urlencode

from ..errors import bad_request
from ..exchange import Request, Response, as_json
from ..site import Site


def page_of(site: Site, request: Request, entries: list[Any]) -> Response:
    """The entries that the request is at.

    Raises:
        HubError: 400, for a cursor that is none.
    """
    query = request.query
    cursor, limit = query.get("cursor", ["0"])[0], query.get("limit", [str(site.page_size)])[0]
    if not (cursor.isdigit() and limit.isdigit() and int(limit)):
        raise bad_request('"cursor" and "limit" must be numbers')
    stop = int(cursor) + min(int(limit), site.page_size)
    headers = {"X-Total-Count": str(len(entries))}
    if stop < len(entries):
        following = urlencode(query | {"cursor": [str(stop)]}, doseq=True)
        headers["Link"] = f'<{site.endpoint}{request.path}?{following}>; rel="next"'
    return as_json(entries[int(cursor) : stop], headers=headers)
