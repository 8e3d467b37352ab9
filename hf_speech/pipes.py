"""Output that nobody reads to its end: `hf-speech train --fields | head` ends quietly."""

import os
import select
import sys
from collections.abc import Callable
from typing import IO

from .errors import EXIT_PIPE


def until_closed(run: Callable[[], int]) -> int:
    """Runs what prints -> its exit status, or that of a closed pipe.

    Raises:
        BrokenPipeError: of another pipe than the output's, such as that of a worker.
    """
    try:
        try:
            return run()
        finally:
            sys.stdout.flush()  # here, where a closed pipe can be told of, and not when Python ends
    except BrokenPipeError:
        closed = [stream for stream in (sys.stdout, sys.stderr) if is_closed(stream)]
        if not closed:
            raise
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in closed:  # what is left in their buffers has to go somewhere
            os.dup2(nowhere, stream.fileno())
        return EXIT_PIPE


def is_closed(stream: IO[str]) -> bool:
    """Whether nobody reads any more what is written to a pipe."""
    poll = select.poll()
    try:
        poll.register(stream.fileno(), 0)
    except (OSError, ValueError):  # no file at all, as in a notebook
        return False
    return any(event & select.POLLERR for _, event in poll.poll(0))
