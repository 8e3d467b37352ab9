"""Speaker verification: lists of trials, read, checked and made; embeddings scored."""

from .audio_files import AudioFiles, find_audio
from .backend import NORMS, Backend, cohort_overlap
from .calibration import Calibration, pair_qualities
from .enrolment import Enrolment, averaged, complete, read_enrolment, spoken
from .trials import (
    check_trials,
    count_trials,
    fingerprint,
    make_trials,
    read_trials,
    speakers_of,
    trial_lines,
    utterances_of,
    write_trials,
)

__all__ = [
    "NORMS",
    "AudioFiles",
    "Backend",
    "Calibration",
    "Enrolment",
    "averaged",
    "check_trials",
    "cohort_overlap",
    "complete",
    "count_trials",
    "find_audio",
    "fingerprint",
    "make_trials",
    "pair_qualities",
    "read_enrolment",
    "read_trials",
    "speakers_of",
    "spoken",
    "trial_lines",
    "utterances_of",
    "write_trials",
]
