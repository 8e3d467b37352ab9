"""Speaker verification: from lists of trials to scores, calibrated probabilities and numbers with intervals.

How to read this folder, in the order a trial travels through it:

    formats, trials    a list in any form -> a table; checked, counted, made
    enrolment          several utterances that stand for one speaker
    audio_files        names of a list -> files
    recordings, utterances, embedder, embeddings    files -> embeddings, each computed once
    scoring, plda, backend    embeddings -> scores: centring, LDA, whitening, PLDA, score normalisation
    qualities, calibration    scores -> log-likelihood ratios, probabilities, thresholds
    breakdown, maps    numbers of groups of trials; embeddings in two dimensions
    options, trial_sets, heard, systems, verify, report    all of it: `hf-speech verify`
    kept, pairs, gallery, identification, everyday    what stays with a model; two files; many speakers
    written, compare   scores that were written; two systems on the same trials

Importing it is light: names come when they are asked for.
"""

from .._lazy import lazy

_HOMES = {
    "AudioFiles": "audio_files",
    "find_audio": "audio_files",
    "NORMS": "backend",
    "Backend": "backend",
    "cohort_overlap": "backend",
    "Calibration": "calibration",
    "pair_qualities": "calibration",
    "Enrolment": "enrolment",
    "averaged": "enrolment",
    "complete": "enrolment",
    "read_enrolment": "enrolment",
    "spoken": "enrolment",
    "check_trials": "trials",
    "count_trials": "trials",
    "fingerprint": "trials",
    "make_trials": "trials",
    "read_trials": "trials",
    "speakers_of": "trials",
    "trial_lines": "trials",
    "utterances_of": "trials",
    "write_trials": "trials",
}

__all__ = list(_HOMES)

__getattr__, __dir__ = lazy(__name__, _HOMES)
