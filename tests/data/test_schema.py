from pathlib import Path

import pytest
from datasets import Audio, Dataset

from hf_speech.data.schema import COLUMNS, add_columns, as_text, audio_paths, channel_of, near_miss, require_column
from hf_speech.errors import InputError


@pytest.mark.parametrize(
    ("name", "meant"),
    [("SPEAKER_ID", "speaker_id"), ("sex", "gender"), ("lenght", None), ("durations", "duration"), ("page", None)],
)
def test_near_misses_are_named(name: str, meant: str | None) -> None:
    assert near_miss(name) == meant


def test_no_column_is_its_own_near_miss() -> None:
    assert all(near_miss(name) is None for name in COLUMNS)


def test_a_missing_column_is_refused_with_the_likeliest_one() -> None:
    rows = Dataset.from_dict({"speaker": ["a"], "other": ["b"]})
    with pytest.raises(InputError, match="there is no column 'speaker_id' .is it 'speaker'.*columns: speaker, other"):
        require_column(rows, "speaker_id", "test")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("emotoin", "did you mean 'emotion'?"),
        ("modd", "did you mean 'mood'?"),
        ("Emotion", "it is called emotion here, mapped or not: write emotion"),
    ],
)
def test_a_typing_error_is_told_from_another_name(name: str, hint: str) -> None:
    rows = Dataset.from_dict({"emotion": ["a"], "mood": ["b"]})
    with pytest.raises(InputError) as caught:
        require_column(rows, name, "target")
    assert str(caught.value) == f"target: there is no column {name!r} ({hint}); columns: emotion, mood"


def test_added_columns_follow_the_selection_and_leave_the_table_alone() -> None:
    rows = Dataset.from_dict({"x": [10, 11, 12, 13, 14]}).select([4, 0, 2])
    added = add_columns(rows, {"y": [4, 0, 2]})
    assert added["x"] == [14, 10, 12] and added["y"] == [4, 0, 2]
    assert len(added.data) == 5  # nothing was written out
    assert added.select([2, 0])["y"] == [2, 4]
    assert add_columns(added, {"y": ["a", "b", "c"]})["y"] == ["a", "b", "c"]


def test_added_columns_for_repeated_rows() -> None:
    rows = Dataset.from_dict({"x": [10, 11]}).select([1, 1, 0])
    added = add_columns(rows, {"y": [1, 2, 3]})
    assert added["x"] == [11, 11, 10] and added["y"] == [1, 2, 3]


def test_added_columns_change_the_fingerprint_by_their_values() -> None:
    rows = Dataset.from_dict({"x": [1, 2]})
    prints = {add_columns(rows, {"y": values})._fingerprint for values in ([1, 2], [1, 3], [1, 2])}
    assert len(prints) == 2


def test_added_columns_must_fit() -> None:
    with pytest.raises(InputError, match="'y' has 1 values for 2 rows"):
        add_columns(Dataset.from_dict({"x": [1, 2]}), {"y": [1]})


def test_audio_paths_of_selected_embedded_rows(embedded: Dataset) -> None:
    rows = embedded.rename_column("clip", "audio").cast_column("audio", Audio(decode=False)).select([3, 1])
    assert audio_paths(rows) == ["speaker00_003.wav", "speaker00_001.wav"]


def test_cells_as_text() -> None:
    assert [as_text(v) for v in (1.5, float("nan"), True, Path("a"))] == ["1.5", None, "True", "a"]


@pytest.mark.parametrize(
    ("cell", "channel"),
    [(1, 1), (0, 0), (None, "mean"), ("", "mean"), ("1", 1), (1.0, 1), (float("nan"), "mean"), ("left", "left")],
)
def test_the_channel_of_a_row(cell: object, channel: int | str) -> None:
    assert channel_of({"channel": cell}, "mean") == channel
