"""Pages for people: the card, the files, the discussions."""

from ..errors import no_entry
from ..exchange import Request, Response, as_page
from ..pages import card_page, discussion_page, discussions_page, file_page, files_page
from ..repository import MAIN
from ..site import Site
from .discussions import difference, numbered


def card(site: Site, request: Request) -> Response:
    """The README with its metadata."""
    repository = site.repository(request)
    return as_page(card_page(repository, repository.find(MAIN)))


def files(site: Site, request: Request) -> Response:
    """The files of a revision."""
    repository, revision = site.repository(request), request.names["revision"]
    return as_page(files_page(repository, repository.find(revision), revision))


def file(site: Site, request: Request) -> Response:
    """One file of a revision."""
    repository, revision, path = site.repository(request), request.names["revision"], request.names["path"]
    commit = repository.find(revision)
    if path not in commit.files:
        raise no_entry("Entry not found", commit.oid)
    return as_page(file_page(repository, path, commit.files[path], revision))


def discussions(site: Site, request: Request) -> Response:
    """All discussions."""
    return as_page(discussions_page(site.repository(request)))


def discussion(site: Site, request: Request) -> Response:
    """One discussion."""
    repository = site.repository(request)
    one = numbered(repository, request)
    commits = repository.commits
    return as_page(
        discussion_page(
            repository, one, difference(commits[one.base], commits[one.head]) if one.base and one.head else ""
        )
    )


def icon(site: Site, request: Request) -> Response:
    """None; browsers ask for it."""
    return Response(204)


ROUTES = {
    ("GET", "/favicon.ico"): icon,
    ("GET", "/{prefix}{id}"): card,
    ("GET", "/{prefix}{id}/tree/{revision}"): files,
    ("GET", "/{prefix}{id}/blob/{revision}/{path}"): file,
    ("GET", "/{prefix}{id}/discussions"): discussions,
    ("GET", "/{prefix}{id}/discussions/{number}"): discussion,
}
