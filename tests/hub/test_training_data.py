"""The data on the card: what the audit has looked at, and who is in the splits."""

from typing import Any

import pytest

from hf_speech.hub.training_data import training_data

from ..test_results import example
from .examples import full

SHARED = {"between": ["train", "test"], "what": "session_id", "count": 2, "of": [9, 3], "examples": ["a", "b"]}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (
            {"overlaps": [], "compared": ["speaker_id", "recording_id", "file"]},
            "no speaker, recording or file is in two splits (speakers, recordings and files were compared); sessions "
            "are not known of every row.",
        ),
        (
            {"overlaps": [], "compared": ["speaker_id", "session_id", "recording_id", "file", "content"]},
            "no speaker, session, recording, file or clip is in two splits (speakers, sessions, recordings, files and "
            "clips were compared).",
        ),
        (
            {"overlaps": [SHARED], "compared": ["session_id"]},
            "sessions were compared; speakers, recordings and files are not known of every row.\n\n| Splits | What |",
        ),
        (
            {"overlaps": [], "compared": []},
            "speakers, sessions, recordings and files are not known of every row.",
        ),
        (
            {"overlaps": [], "compared": ["file"], "target": "speaker_id"},
            "no file is in two splits (files were compared); sessions and recordings are not known of every row; "
            "speakers are what it learns to name, and so are in all splits.",
        ),
        ({"overlaps": []}, "nothing was found in two splits. By what is not recorded."),
        ({"overlaps": [SHARED]}, "the splits have this in common. What else they were compared by is not recorded."),
    ],
)
def test_the_audit_says_what_was_looked_at(data: dict[str, Any], said: str) -> None:
    content = example()
    del content["data"]["overlaps"]
    content["data"] |= data
    assert f"Split audit: {said}" in training_data(content)


def test_what_splits_share_stands_in_a_table() -> None:
    content = full()
    assert "| train and test | sessions | 2 | 9 in train; 3 in test |" in training_data(content)


def test_without_an_audit_there_is_none() -> None:
    content = example()
    for overlaps in (None, ...):
        content["data"].pop("overlaps", None)
        content["data"] |= {} if overlaps is ... else {"overlaps": overlaps}
        assert "Split audit" not in training_data(content)
    content["data"] |= {"overlaps": [], "compared": [], "splits": {"train": content["data"]["splits"]["train"]}}
    assert "Split audit" not in training_data(content)  # one split has nothing to be apart from


def test_groups_of_speakers_are_counted_split_by_split() -> None:
    content = full()
    content["data"]["splits"]["test"]["groups"]["age"] = {"under 20": 4, "60 and over": 3}
    content["data"]["splits"]["train"]["groups"]["age"] = {"under 20": 1, "20-39": 200, "60 and over": 7}
    table = training_data(content).partition("Utterances by what is known of the speakers:\n\n")[2].partition("\n\n")[0]
    assert table.splitlines()[2:] == [
        "| gender female | 220 | 20 | 21 |", "| gender male | 90 | 20 | 12 |", "| gender other | 2 | 0 | 4 |",
        "| age under 20 | 1 | 0 | 4 |", "| age 20-39 | 200 | 0 | 0 |", "| age 60 and over | 7 | 0 | 3 |",
    ]  # fmt: skip
    assert "what is known of the speakers" not in training_data(example())
