"""The one exception for bad input, and the exit statuses of the command line.

`InputError` and `lookup` are defined beside the models, since that folder travels to the Hub without this package.
"""

from collections.abc import Sequence

from .models.registry import InputError, lookup, one_line, unknown_name

__all__ = ["EXIT_FAULT", "EXIT_INPUT", "EXIT_OK", "InputError", "list_some", "lookup", "one_line", "unknown_name"]

EXIT_OK = 0
EXIT_FAULT = 1  # a fault of ours: the traceback is shown
EXIT_INPUT = 2  # the input is at fault: one line on stderr, no traceback


def list_some(items: Sequence[object], limit: int = 20) -> str:
    """The items joined by "; ", at most `limit` of them, with the count of those left out."""
    shown = "; ".join(str(item) for item in items[:limit])
    return shown if len(items) <= limit else f"{shown}; and {len(items) - limit} more"
