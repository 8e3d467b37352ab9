"""A Hub on this machine: tests push, pull and load against it with the real client, without the internet.

server      `Hub`: the server, its faults and its log
fixtures    `hub`, for pytest
routes/     what is answered to which request
site        users, rights, repositories
repository  commits, branches, tags; blobs: the bytes
discussions pull requests
metadata    the rules for the top of a README; vocabulary: the ids it may use
facts       what the Hub finds out about a repository from its files
pages       the card as a browser shows it; markdown: its text
asking      bare requests, for the tests of the Hub itself

By hand: `python -m tests.loopback --port 8765 --folder /tmp/hub`
"""

from .server import Asked, Hub

__all__ = ["Asked", "Hub"]
