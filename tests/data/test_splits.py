import logging
import zlib
from collections import Counter
from typing import Any

import pytest
from datasets import Dataset, concatenate_datasets

from hf_speech.data.schema import Splits
from hf_speech.data.splits import RULES, split_rows
from hf_speech.errors import InputError


def make_rows(speakers: int = 10, per_speaker: int = 4, **more: Any) -> Dataset:
    names = [f"s{i}" for i in range(speakers) for _ in range(per_speaker)]
    paths = [f"/data/corpus/{name}/{i}.wav" for i, name in enumerate(names)]
    cells = {"audio": [{"bytes": None, "path": path} for path in paths], "speaker_id": names}
    return Dataset.from_dict({**cells, **more})


def paths(rows: Dataset) -> set[str]:
    return {audio["path"] for audio in rows["audio"]}


def speakers(rows: Dataset) -> set[str]:
    return set(rows["speaker_id"])


def test_named_values_are_held_out_and_nothing_is_lost() -> None:
    rows = make_rows()
    splits = split_rows({"train": rows}, test="speaker_id=s3, s7", validation="speaker_id=s0")
    assert list(splits) == ["train", "validation", "test"]
    assert speakers(splits["test"]) == {"s3", "s7"} and speakers(splits["validation"]) == {"s0"}
    assert sum(map(len, splits.values())) == len(rows)
    assert set.union(*map(paths, splits.values())) == paths(rows)


def test_values_of_a_number_column_are_written_as_people_write_them() -> None:
    rows = make_rows(2, 2, age=[31.0, 31.0, 40.5, None])
    assert len(split_rows({"train": rows}, test="age=31")["test"]) == 2
    assert len(split_rows({"train": rows}, test="age=40.5")["test"]) == 1


def test_crc32_takes_the_rows_that_leave_the_remainder() -> None:
    # 0xCBF43926 is the published check value of CRC-32 for "123456789"; it leaves 2 when divided by 5.
    rows = concatenate_datasets([make_rows(20, 1), Dataset.from_dict({"speaker_id": ["123456789"], "audio": [None]})])
    splits = split_rows({"train": rows}, test="crc32(speaker_id)%5==2")
    expected = {f"s{i}" for i in range(20) if zlib.crc32(f"s{i}".encode()) % 5 == 2}
    assert speakers(splits["test"]) == expected | {"123456789"}


def test_a_remainder_that_no_value_leaves_is_named() -> None:
    # crc32 of s0, s1, s2 is 1662126182, 336935152, 2367449418: 2, 2 and 3 when divided by 5.
    with pytest.raises(InputError, match="no speaker_id leaves 1; remainders: s0: 2; s1: 2; s2: 3"):
        split_rows({"train": make_rows(3)}, test="crc32(speaker_id)%5==1")


def test_a_share_keeps_speakers_whole_and_does_not_depend_on_the_row_order() -> None:
    rows = make_rows(20, 3)
    splits = split_rows({"train": rows}, test="0.25", validation="0.1", seed=1)
    sides = [speakers(part) for part in splits.values()]
    assert [len(side) for side in sides] == [13, 2, 5]  # 20 -> 5 for the test, 15 -> round(1.5) = 2, 13
    assert sum(len(side) for side in sides) == len(set.union(*sides))
    shuffled = split_rows({"train": rows.shuffle(seed=9)}, test="0.25", validation="0.1", seed=1)
    assert [speakers(part) for part in shuffled.values()] == sides
    others = {frozenset(speakers(split_rows({"train": rows}, test="0.25", seed=seed)["test"])) for seed in range(8)}
    assert len(others) > 5


def test_a_share_of_few_speakers_takes_at_least_one_and_leaves_one() -> None:
    assert len(speakers(split_rows({"train": make_rows(2)}, test="0.01")["test"])) == 1
    assert len(speakers(split_rows({"train": make_rows(2)}, test="0.99")["train"])) == 1


def test_rows_without_speakers_are_stratified_by_class(caplog: pytest.LogCaptureFixture) -> None:
    labels = ["a"] * 20 + ["b"] * 10 + ["c"]
    rows = make_rows(31, 1, label=labels).remove_columns("speaker_id")
    splits = split_rows({"train": rows}, test="0.2", target="label")
    assert Counter(splits["test"]["label"]) == {"a": 4, "b": 2}
    assert "a speaker may be on both sides" in caplog.text
    shuffled = split_rows({"train": rows.shuffle(seed=2)}, test="0.2", target="label")
    assert paths(shuffled["test"]) == paths(splits["test"])


def test_the_draw_of_single_rows_holds_on_another_machine() -> None:
    rows = make_rows().remove_columns("speaker_id")
    moved = rows.map(lambda row: {"audio": {"bytes": None, "path": "/mnt/x" + row["audio"]["path"]}})
    here, there = (split_rows({"train": r}, test="0.2")["test"] for r in (rows, moved))
    assert {f"/mnt/x{path}" for path in paths(here)} == paths(there)


def test_segments_of_one_file_are_rows_of_their_own() -> None:
    one_file = {"audio": [{"bytes": None, "path": "/a.wav"}] * 10, "start": [float(i) for i in range(10)]}
    assert len(split_rows({"train": Dataset.from_dict(one_file)}, test="0.3", group_by=None)["test"]) == 3


@pytest.mark.parametrize("own", ["validation", "dev", "valid", "val", "eval"])
def test_own_splits_are_used_where_there_is_no_rule(own: str) -> None:
    rows = make_rows(3)
    source = Splits({"train": rows, own: rows.select([0]), "test": rows.select([1, 2])}, {"label": ["b", "a"]})
    splits = split_rows(source)
    assert {name: len(part) for name, part in splits.items()} == {"train": 12, "validation": 1, "test": 2}
    assert splits.class_names == {"label": ["b", "a"]}
    assert list(split_rows(source, validation="none", test="none")) == ["train"]


def test_a_split_can_be_asked_for_by_name_and_is_not_used_twice(caplog: pytest.LogCaptureFixture) -> None:
    rows = make_rows(3)
    source = {"train": rows, "test": rows.select([1, 2]), "other": rows.select([3])}
    with caplog.at_level(logging.INFO):
        splits = split_rows(source, validation="test")
    assert list(splits) == ["train", "validation"] and len(splits["validation"]) == 2
    assert "splits of the data set that are not used: other" in caplog.text
    with pytest.raises(InputError, match="'test' can't be both"):
        split_rows(source, validation="test", test="test")


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("speaker_id=s1,zz", "no speaker_id is zz; there are: s0; s1; s2"),
        ("speaker=s1", "no column 'speaker' .it is called speaker_id here, mapped or not: write speaker_id.; columns:"),
        ("crc32(speaker)%3==0", "no column 'speaker' .it is called speaker_id here, mapped or not: write speaker_id"),
        ("crc32(age)%5==0", "no column 'age'; columns: audio, speaker_id"),
        ("crc32(speaker_id)%3==3", "the remainder below it"),
        ("0", "a share lies between 0 and 1"),
        ("1.5", "a share lies between 0 and 1"),
        ("tset", "can't be read; write none, a split .train., or crc32.*speaker_id=f01,m03.*0.1"),
        ("", "can't be read"),
        ("speaker_id=", "can't be read"),
        ("speaker_id==s1", "can't be read"),
        ("train", "training rows can't be held out as well"),
        ("speaker_id=s0,s1,s2", "takes all 12 rows"),
    ],
)
def test_rules_at_fault_are_named(rule: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        split_rows({"train": make_rows(3)}, test=rule)
    assert str(caught.value).startswith("test rule") and "\n" not in str(caught.value)


def test_a_share_needs_groups() -> None:
    with pytest.raises(InputError, match="there is but one speaker_id"):
        split_rows({"train": make_rows(1)}, test="0.5")
    with pytest.raises(InputError, match=r"2 rows have no speaker_id \(the first is row 12\)"):
        nameless = Dataset.from_dict({"speaker_id": [None, ""], "audio": [{"bytes": None, "path": "x"}] * 2})
        split_rows({"train": concatenate_datasets([make_rows(3), nameless])}, test="0.5")
    with pytest.raises(InputError, match="groups of a split: there is no column 'session_id'"):
        split_rows({"train": make_rows(3)}, test="0.5", group_by="session_id")


def test_training_rows_are_needed() -> None:
    with pytest.raises(InputError, match="no split 'train' to learn from; splits: test"):
        split_rows({"test": make_rows(2)})


def test_each_form_s_example_matches_it_alone() -> None:
    for rule in RULES.values():
        assert [other for other in RULES.values() if other.pattern.fullmatch(rule.example)] == [rule]


def test_real_speakers_stay_whole(speech: Any) -> None:
    from hf_speech.data.readers import load_rows

    rows = load_rows(speech / "speaker", columns={"speaker_id": "speaker"})
    splits = split_rows(rows, test="0.1", validation="crc32(speaker_id)%10==0")
    sides = [speakers(part) for part in splits.values()]
    assert len(sides[2]) == 15  # of 153 speakers
    assert sum(map(len, sides)) == len(set.union(*sides)) == 153
