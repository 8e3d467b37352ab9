"""The command `hf-speech`: parse, call, print. What a command needs is imported when it runs, so help comes at once."""

from .entry import main

__all__ = ["main"]
