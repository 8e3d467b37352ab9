"""Cells as `datasets` holds them: audio by path, the schema's numbers as numbers, the rest as text."""

from pathlib import Path
from typing import Any

import pytest
from datasets import Audio, Value

from hf_speech.data.stored import AUDIO_EXTENSIONS, is_number, rows_of, stored_rows


def test_kinds_of_columns() -> None:
    rows = stored_rows(
        {
            "audio": ["a.wav", "b.wav"],
            "age": [31, None],
            "start": ["0.5", 1],
            "duration": [2.5, 3],
            "speaker_id": [7, "x"],
            "label": ["low", None],
            "votes": [{"sad": 2}, {"happy": 1, "sad": 1.5}],
        }
    )
    assert rows[:] == {
        "audio": [{"bytes": None, "path": "a.wav"}, {"bytes": None, "path": "b.wav"}],
        "age": [31.0, None],
        "start": [0.5, 1.0],
        "duration": [2.5, 3.0],
        "speaker_id": ["7", "x"],
        "label": ["low", None],
        "votes": [{"happy": 0.0, "sad": 2.0}, {"happy": 1.0, "sad": 1.5}],
    }
    assert isinstance(rows.features["audio"], Audio) and rows.features["age"] == Value("float64")
    assert list(rows.features["votes"]) == ["happy", "sad"]


def test_a_row_without_votes_has_none() -> None:
    rows = stored_rows({"audio": ["a", "b"], "votes": [None, {"sad": 1}]})
    assert rows["votes"][:] in ([None, {"sad": 1.0}], [{"sad": None}, {"sad": 1.0}])


@pytest.mark.parametrize("name", ["age", "start", "end", "duration"])
def test_numbers_of_the_schema(name: str) -> None:
    assert is_number(name)
    assert stored_rows({"audio": [], name: []}).features[name] == Value("float64")


@pytest.mark.parametrize("name", ["speaker_id", "fold", "emotion", "my_column", "audio", "id"])
def test_what_is_no_number(name: str) -> None:
    assert not is_number(name)


def test_records_need_not_be_of_one_shape() -> None:
    records: list[dict[str, Any]] = [{"audio": "a", "age": 3}, {"audio": "b", "label": "x"}, {"audio": "c"}]
    rows = rows_of(records)
    assert rows.column_names == ["audio", "age", "label"]
    assert rows["age"][:] == [3.0, None, None] and rows["label"][:] == [None, "x", None]
    assert rows_of([]).num_rows == 0


def test_extensions_are_those_that_can_be_read(tmp_path: Path) -> None:
    from hf_speech.audio import check_audio

    from ..sounds import write_every_format

    made = {path.suffix for path in write_every_format(tmp_path).values()}
    assert AUDIO_EXTENSIONS <= made | {".mp3"}
    for path in tmp_path.iterdir():
        assert check_audio(path).duration == pytest.approx(20.3, abs=0.15)
