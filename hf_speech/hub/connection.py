"""Talking with the Hub: who we are there, patience with an overloaded Hub, and its errors in one line of ours."""

import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import InputError, one_line
from .tokens import without_tokens

if TYPE_CHECKING:
    from huggingface_hub import HfApi

logger = logging.getLogger(__name__)

T = TypeVar("T")
NO_TOKEN = "no token for the Hub: log in with `hf auth login`, or set HF_TOKEN to one that may write"
# Statuses that pass; the client waits these out where it reads and where it sends large files, and nowhere else.
_PASSING = frozenset({408, 429, 500, 502, 503, 504})
LONGEST_WAIT = 60.0  # seconds that the Hub may ask for
WAITS = (1.0, 2.0, 4.0, 8.0, 8.0)  # seconds before each further try, those of huggingface_hub
_REPO_PART = r"[A-Za-z0-9](?:[\w.-]*[A-Za-z0-9_])?"


def log_in() -> "HfApi":
    """The Hub's client, with a token that the Hub knows.

    Raises:
        InputError: there is none, the Hub does not know it, or the Hub can't be asked.
    """
    from huggingface_hub import HfApi, get_token

    token = get_token()
    if not token:
        raise InputError(NO_TOKEN)
    if not token.isascii() or any(letter.isspace() for letter in token):
        raise InputError("HF_TOKEN is no token: it has other signs than letters and digits; copy it anew")
    api = HfApi()
    _bound_waits()
    with in_our_words("logging in"):
        str(patiently(lambda: api.whoami(cache=True), "the Hub")["name"])  # nobody has none
    return api


def full_name(api: "HfApi", repo: str) -> str:
    """The repository's name with its owner, who is the token's where none is given.

    Raises:
        InputError: it is no name of a repository.
    """
    owner, slash, name = repo.rpartition("/")
    if not slash:
        owner = api.whoami(cache=True)["name"]
    whole = f"{owner}/{name}"
    if len(whole) > 96 or ".." in whole or "--" in whole or not re.fullmatch(f"{_REPO_PART}/{_REPO_PART}", whole):
        raise InputError(f"{repo!r} is no name of a repository; give NAME or OWNER/NAME, of letters, digits, - _ .")
    return whole


def check_may_write(api: "HfApi", repo: str) -> None:
    """Refuses to push where this token can't, as far as the Hub tells what it may.

    Raises:
        InputError: the repository is somebody else's, or the token may only read.
    """
    with in_our_words("logging in"):
        who = patiently(lambda: api.whoami(cache=True), "the Hub")
    owner, mine = repo.partition("/")[0], [who["name"], *(group["name"] for group in who.get("orgs") or [])]
    if owner not in mine:
        mend = f"give one of {', '.join(mine)} as its owner, or offer it to a repository that is there with --create-pr"
        raise InputError(f"{repo}: {who['name']} may not write to {owner}'s repositories; {mend}")
    if (who.get("auth", {}).get("accessToken") or {}).get("role") == "read":
        raise InputError(f"{repo}: this token may only read; log in with `hf auth login` and one that may write")


def patiently(call: Callable[[], T], what: str, *, may_have_happened: bool = True) -> T:
    """What a call gives, which is made again while the Hub is overloaded or can't be reached.

    Args:
        call: asks the Hub for something; it may be asked twice.
        what: is asked for, for the log.
        may_have_happened: whether a lost answer is asked for again; False: then it may have been done already, and
            would be done twice.
    """
    for wait in (*WAITS, None):
        try:
            return call()
        except _errors() as error:
            status = _status(error)
            passes = status in _PASSING if status is not None else may_have_happened and _is_lost(error)
            if wait is None or not passes:
                raise
            said = f"the Hub answers {status}" if status is not None else f"no answer ({one_line(error)})"
            wait = _asked_to_wait(error) or wait
            logger.warning("%s: %s; trying again in %g s", what, said, wait)
            time.sleep(wait)
    raise AssertionError("the last try returns or raises")


@contextmanager
def in_our_words(what: str, *, mend: str = "") -> Iterator[None]:
    """Turns what the Hub's client raises into one line.

    Args:
        what: is at stake, such as "ada/model".
        mend: what to do where a right is missing.

    Raises:
        InputError: the Hub refused, could not be reached, or answered nonsense; no token is in it.
    """
    try:
        yield
    except InputError:
        raise
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        if isinstance(error, _errors()):
            raise InputError(without_tokens(f"{what}: {_in_words(error, mend)}")) from None
        said = without_tokens(shortened(one_line(error)))
        raise InputError(f"{what}: the Hub answers what makes no sense ({said}); is HF_ENDPOINT right?") from error
    except _errors() as error:
        raise InputError(without_tokens(f"{what}: {_in_words(error, mend)}")) from None


def _errors() -> tuple[type[Exception], ...]:
    """What the client raises where the Hub is at fault, the network, or what it was asked for."""
    from huggingface_hub.errors import EntryNotFoundError, HFValidationError, HTTPError, LocalTokenNotFoundError

    return (HTTPError, EntryNotFoundError, HFValidationError, LocalTokenNotFoundError, ConnectionError, TimeoutError)


def _status(error: Exception) -> int | None:
    response = getattr(error, "response", None)
    return None if response is None else response.status_code


def _is_lost(error: Exception) -> bool:
    from huggingface_hub.errors import (
        EntryNotFoundError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
    )

    if isinstance(error, LocalEntryNotFoundError):  # the client has looked into its cache, as nobody answered
        return True
    return not isinstance(error, OfflineModeIsEnabled | HFValidationError | EntryNotFoundError)


def _asked_to_wait(error: Exception) -> float | None:
    """The seconds that the Hub asks for, at most two minutes."""
    response = getattr(error, "response", None)
    said = response.headers.get("Retry-After", "") if response is not None else ""
    return min(float(said), LONGEST_WAIT) if re.fullmatch(r"[0-9]{1,9}", said) else None


def _bound_waits() -> None:
    """Has the client, which sleeps as long as it is told to, hear of no pause that is longer than ours."""
    from huggingface_hub.utils import get_session

    session = get_session()
    hooks = session.event_hooks
    if _shorten_wait not in hooks["response"]:
        session.event_hooks = {**hooks, "response": [*hooks["response"], _shorten_wait]}


def _shorten_wait(response: Any) -> None:
    said = response.headers.get("Retry-After", "")
    if re.fullmatch(r"[0-9]{1,9}", said) and int(said) > LONGEST_WAIT:
        response.headers["Retry-After"] = f"{LONGEST_WAIT:.0f}"


def shortened(text: str) -> str:
    """Somebody else's words for a line of ours: no page of HTML, and no more than 200 letters."""
    if "<html" in text.lower() or "<!doctype" in text.lower():
        return "a page of HTML"
    return text if len(text) <= 200 else f"{text[:200]}..."


def _in_words(error: Exception, mend: str) -> str:
    from huggingface_hub.errors import (
        EntryNotFoundError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    said = shortened(getattr(error, "server_message", None) or one_line(error))
    status = _status(error)
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set, so the Hub is not asked; unset it"
    if isinstance(error, RevisionNotFoundError):
        return "there is no such revision on the Hub; give the name of a branch, a tag or a commit"
    if isinstance(error, RepositoryNotFoundError):
        return "there is no such repository on the Hub, or this token may not see it; give its name as OWNER/NAME"
    if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
        return f"{said}; look at the repository's files"
    if status == 401:
        return "the Hub does not know this token; log in with `hf auth login`, or set HF_TOKEN to a new one"
    if status == 403:
        return f"this token may not write there ({said}); {mend or 'give a repository of your own'}"
    if status in (409, 412):
        return f"it was changed on the Hub meanwhile ({said}); give the same command again"
    if status in _PASSING:
        return f"the Hub still answers {status} ({said}); give the same command again later: what is sent stays sent"
    if status is not None:
        return f"the Hub refuses with {status}: {said}"
    return f"the Hub can't be reached, or broke off ({said}); give the same command again: what is sent stays sent"
