"""Runs a Hub by hand until Ctrl-C: `python -m tests.loopback --port 8765 --folder /tmp/hub`."""

import argparse
import threading
from pathlib import Path

from .server import Hub


def main() -> None:
    """Prints what to export, and every request once it is answered."""
    parser = argparse.ArgumentParser(prog="python -m tests.loopback", description="A Hub on this machine.")
    parser.add_argument("--port", type=int, default=8765, help="0 for any that is free (default 8765)")
    parser.add_argument("--folder", type=Path, required=True, help="where large files go, and the client's cache")
    options = parser.parse_args()
    with Hub(port=options.port, folder=options.folder / "blobs") as hub:
        for name, value in sorted(hub.environment(options.folder / "home", hub.token("ada")).items()):
            if name.startswith("HF_"):
                print(f"export {name}={value}")
        print(
            "# users and their tokens: " + ", ".join(f"{user} {token}" for user, token in hub.users.items()), flush=True
        )
        shown = 0
        while not threading.Event().wait(0.2):
            for asked in hub.requests[shown:]:
                print(f"{asked.status} {asked.method} {asked.path}", flush=True)
                shown += 1


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
