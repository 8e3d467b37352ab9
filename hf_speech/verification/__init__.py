"""Speaker verification: lists of trials, read, checked and made; embeddings scored."""

from .backend import Backend
from .trials import (
    check_trials,
    count_trials,
    fingerprint,
    make_trials,
    read_trials,
    speakers_of,
    trial_lines,
    write_trials,
)

__all__ = [
    "Backend",
    "check_trials",
    "count_trials",
    "fingerprint",
    "make_trials",
    "read_trials",
    "speakers_of",
    "trial_lines",
    "write_trials",
]
