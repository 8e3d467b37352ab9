import numpy as np
import pytest
from datasets import Dataset
from sklearn.utils.class_weight import compute_class_weight

from hf_speech.data.schema import Splits
from hf_speech.data.targets import class_weights, encode_stream, encode_target, target_statistics
from hf_speech.errors import InputError


def rows(values: list, name: str = "emotion") -> Dataset:
    return Dataset.from_dict({"audio": [{"bytes": None, "path": f"{i}.wav"} for i in range(len(values))], name: values})


def test_classes_are_sorted_and_empty_rows_are_counted() -> None:
    source = {"train": rows(["sad", None, "glad", "sad"]), "test": rows(["", "glad"])}
    splits, names, unlabelled = encode_target(source, "emotion")
    assert names == ["glad", "sad"] and unlabelled == 2
    assert splits["train"]["labels"] == [1, 0, 1] and splits["test"]["labels"] == [0]
    assert splits["train"]["audio"][1]["path"] == "2.wav"
    assert splits["train"].features["labels"].dtype == "int64"


def test_the_order_is_the_given_one_then_the_data_set_s() -> None:
    source = Splits({"train": rows(["a", "b", "c"])}, {"emotion": ["c", "unused", "a", "b"]})
    assert encode_target(source, "emotion")[1] == ["c", "a", "b"]
    splits, names, _ = encode_target(source, "emotion", labels=["b", "c", "a"])
    assert names == ["b", "c", "a"] and splits["train"]["labels"] == [2, 0, 1]
    assert splits.class_names == source.class_names


def test_number_classes_are_sorted_as_numbers() -> None:
    splits, names, _ = encode_target({"train": rows([10, 9, 2])}, "emotion")
    assert names == ["2", "9", "10"] and splits["train"]["labels"] == [2, 1, 0]


def test_regression_keeps_the_numbers() -> None:
    splits, names, unlabelled = encode_target({"train": rows(["31", None, "20.5"], "age")}, "age", regression=True)
    assert names is None and unlabelled == 1
    assert splits["train"]["labels"] == [31.0, 20.5]
    assert splits["train"].features["labels"].dtype == "float32"


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ({"train": ["a", "b"], "test": ["a", "x"]}, {}, r"^test, row 1 \(1.wav\): emotion 'x' is not a class.*a; b"),
        ({"train": ["a", "b", "c"]}, {"labels": ["a", "b"]}, r"^train, row 2 \(2.wav\): emotion 'c'.*classes: a; b"),
        ({"train": ["a", "b"]}, {"labels": ["a", "b", "z"]}, "no training row has emotion z; training rows have: a; b"),
        ({"train": ["a", "b"]}, {"labels": ["a", "a"]}, "'a' is named twice"),
        ({"train": ["a", "a"]}, {}, "'emotion' has one class .a. in the training rows"),
        (
            {"train": ["a", "b"], "test": [None, ""]},
            {},
            "^test: not one of the 2 rows has a value in 'emotion'; .*--only",
        ),
        (
            {"train": ["1", "old"]},
            {"regression": True},
            r"^train, row 1 \(1.wav\): emotion must be a number, not 'old'",
        ),
        ({"train": ["1", "inf"]}, {"regression": True}, "must be a number, not 'inf'"),
        ({"test": ["a", "b"]}, {}, "no split 'train'"),
    ],
)
def test_targets_at_fault_are_named(source: dict, options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        encode_target({split: rows(values) for split, values in source.items()}, "emotion", **options)
    assert "\n" not in str(caught.value)


def test_a_missing_target_column_is_named() -> None:
    with pytest.raises(InputError, match="target in train: there is no column 'emotion'.*columns: audio, emotions"):
        encode_target({"train": rows(["a"], "emotions")}, "emotion")


def test_streams_take_their_classes_from_the_labels_or_the_data_set() -> None:
    stream = rows(["b", None, "a", "b"]).to_iterable_dataset()
    encode, names = encode_stream({"train": stream}, "emotion", labels=["b", "a"])
    assert names == ["b", "a"] and [row["labels"] for row in encode(stream)] == [0, 1, 0]
    encode, names = encode_stream(Splits({"train": stream}, {"emotion": ["a", "b"]}), "emotion")
    assert names == ["a", "b"] and [row["labels"] for row in encode(stream)] == [1, 0, 1]
    ages = rows(["31", "20.5"], "age").to_iterable_dataset()
    encode, names = encode_stream({"train": ages}, "age", regression=True)
    assert names is None and [row["labels"] for row in encode(ages)] == [31.0, 20.5]


def test_streams_at_fault_are_named() -> None:
    stream = rows(["b", "x", "nan"]).to_iterable_dataset()
    with pytest.raises(InputError, match="which classes of 'emotion' there are"):
        encode_stream({"train": stream}, "emotion")
    with pytest.raises(InputError, match="target in train: there is no column 'mood'"):
        encode_stream({"train": stream}, "mood", labels=["a", "b"])
    with pytest.raises(InputError, match="^1.wav: emotion 'x' is not one of a, b"):
        list(encode_stream({"train": stream}, "emotion", labels=["a", "b"])[0](stream))
    with pytest.raises(InputError, match="^0.wav: emotion 'b' is not a number"):
        list(encode_stream({"train": stream}, "emotion", regression=True)[0](stream))


def test_class_weights_by_hand_and_as_scikit_learn() -> None:
    labels = [0] * 6 + [1] * 3 + [2]
    assert class_weights(labels, 3) == pytest.approx([10 / 18, 10 / 9, 10 / 3])
    assert class_weights(labels, 3) == pytest.approx(
        compute_class_weight("balanced", classes=np.arange(3), y=np.array(labels))
    )
    with pytest.raises(InputError, match="classes 3 have no training row"):
        class_weights(labels, 4)


def test_target_statistics_as_numpy() -> None:
    values = np.random.default_rng(0).normal(40, 12, 1000)
    assert target_statistics(values) == pytest.approx((values.mean(), values.std()), rel=1e-12)
    with pytest.raises(InputError, match="all 2 training targets are 3"):
        target_statistics([3, 3])
    with pytest.raises(InputError, match="no training targets"):
        target_statistics([])
