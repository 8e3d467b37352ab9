"""`python -m hf_speech.cli`, as launchers of several processes want it."""

import sys

from .entry import main

if __name__ == "__main__":
    sys.exit(main())
