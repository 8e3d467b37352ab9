"""The one exception for bad input, and the exit statuses of the command line.

`InputError` and `lookup` are defined beside the models, since that folder travels to the Hub without this package.
"""

from collections.abc import Sequence

from .models.registry import InputError, lookup, one_line, unknown_name

__all__ = ["EXIT_FAULT", "EXIT_INPUT", "EXIT_INTERRUPTED", "EXIT_OK", "EXIT_PIPE", "EXIT_STOPPED"]
__all__ += ["BrokenRunError", "InputError", "StoppedError", "list_some", "lookup", "one_line", "unknown_name"]

EXIT_OK = 0
EXIT_FAULT = 1  # a fault of ours: the traceback is shown
EXIT_INPUT = 2  # the input is at fault: one line on stderr, no traceback
EXIT_INTERRUPTED = 130  # ended by Ctrl-C, as shells count it (128 + 2)
EXIT_PIPE = 141  # nobody reads the output any more (128 + 13)
EXIT_STOPPED = 143  # ended by SIGTERM, as shells and schedulers count it (128 + 15); what was done is saved


class BrokenRunError(Exception):
    """Something that was not given to us ended the work, such as another process; what was done is kept.

    The message is one line, and the exit status 1.
    """


class StoppedError(Exception):
    """A run was told to end, and has saved; the message says where."""


def list_some(items: Sequence[object], limit: int = 20) -> str:
    """The items joined by "; ", at most `limit` of them, with the count of those left out."""
    shown = "; ".join(str(item) for item in items[:limit])
    return shown if len(items) <= limit else f"{shown}; and {len(items) - limit} more"
