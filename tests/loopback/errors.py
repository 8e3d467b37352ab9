"""What the Hub says when it refuses: a status, a line for people, and a code that its client goes by."""


class HubError(Exception):
    """A refusal: HTTP status, one line, the code for `X-Error-Code`, further headers and fields of the body."""

    def __init__(self, status: int, message: str, code: str | None = None):
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.headers: dict[str, str] = {}
        self.body: dict[str, str] = {}


def bad_token() -> HubError:
    """A token that nobody has; the client knows it by this very message."""
    return HubError(401, "Invalid credentials in Authorization header")


def anonymous(code: str | None = None) -> HubError:
    """No token where one is needed."""
    return HubError(401, "Invalid username or password.", code)


def no_repository() -> HubError:
    """Neither there nor visible: the Hub does not tell which."""
    return HubError(404, "Repository not found", "RepoNotFound")


def no_revision(revision: str) -> HubError:
    """A branch, tag or commit that the repository does not have."""
    return HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")


def no_entry(message: str, commit: str) -> HubError:
    """A path that the commit does not have; with the commit, so that the client can remember it."""
    problem = HubError(404, message, "EntryNotFound")
    problem.headers["X-Repo-Commit"] = commit
    return problem


def forbidden(message: str) -> HubError:
    """A known user without the right."""
    return HubError(403, message)


def bad_request(message: str) -> HubError:
    """A request that makes no sense."""
    return HubError(400, message)


def conflict(message: str) -> HubError:
    """What is to be made is there already, or in the way."""
    return HubError(409, message)
