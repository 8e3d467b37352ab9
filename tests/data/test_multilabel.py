import pytest
import torch
from datasets import Dataset
from transformers import Wav2Vec2FeatureExtractor

from hf_speech.data.collator import SpeechCollator
from hf_speech.data.multilabel import encode_multi_label
from hf_speech.data.schema import Splits
from hf_speech.errors import InputError
from tests.sounds import voice_like


def rows(values: list, name: str = "emotion") -> Dataset:
    return Dataset.from_dict({"audio": [{"bytes": None, "path": f"{i}.wav"} for i in range(len(values))], name: values})


def test_texts_and_lists_become_ones_and_zeros() -> None:
    """An empty cell is left out; a lone semicolon, or an empty list, has no class."""
    texts = {"train": rows(["fear; anger", None, "joy", ";", "", "joy;joy;"]), "test": rows(["anger"])}
    lists = {
        "train": rows([["fear", "anger"], None, ["joy"], [], None, ["joy", "joy"]]),
        "test": rows([["anger"]]),
    }
    for source in (texts, lists):
        splits, names, unlabelled = encode_multi_label(source, "emotion")
        assert names == ["anger", "fear", "joy"] and unlabelled == 2
        assert splits["train"]["labels"] == [[1, 1, 0], [0, 0, 1], [0, 0, 0], [0, 0, 1]]
        assert splits["test"]["labels"] == [[1, 0, 0]]
        assert [audio["path"] for audio in splits["train"]["audio"]] == ["0.wav", "2.wav", "3.wav", "5.wav"]
        assert splits["train"].features["labels"].feature.dtype == "float32"


def test_the_order_is_the_given_one_then_the_data_set_s() -> None:
    source = Splits({"train": rows(["a;b", "c"])}, {"emotion": ["c", "unused", "a", "b"]})
    splits, names, _ = encode_multi_label(source, "emotion")
    assert names == ["c", "a", "b"] and splits["train"]["labels"] == [[0, 1, 1], [1, 0, 0]]
    splits, names, _ = encode_multi_label(source, "emotion", labels=["b", "c", "a"])
    assert names == ["b", "c", "a"] and splits["train"]["labels"] == [[1, 0, 1], [0, 1, 0]]
    assert splits.class_names == source.class_names


def test_a_batch_has_float_vectors() -> None:
    encoded = encode_multi_label({"train": rows(["a;b", "b"])}, "emotion")[0]["train"]
    sound = {"array": voice_like(0.1), "sampling_rate": 16_000}
    batch = SpeechCollator(Wav2Vec2FeatureExtractor())([{**row, "audio": sound} for row in encoded])
    torch.testing.assert_close(batch["labels"], torch.tensor([[1.0, 1.0], [0.0, 1.0]]))


@pytest.mark.parametrize(
    ("source", "labels", "message"),
    [
        ({"train": ["a;b"], "test": ["a", "b;x"]}, None, r"^test, row 1 \(1.wav\): emotion 'x' is not a class.*a; b"),
        ({"train": ["a;b;c"]}, ["a", "b"], r"^train, row 0 \(0.wav\): emotion 'c' is not a class"),
        ({"train": ["a;b"]}, ["a", "b", "z"], "no training row has emotion z; training rows have: a; b"),
        ({"train": ["a;b"]}, ["a", "a"], "'a' is named twice"),
        ({"train": ["a", "a;"]}, None, r"'emotion' has fewer than two classes \(a\)"),
        ({"train": [";"]}, None, r"fewer than two classes \(none\)"),
        ({"train": ["a;b"], "test": [None, ""]}, None, "^test: not one of the 2 rows has a value in 'emotion'"),
        ({"test": ["a;b"]}, None, "no split 'train'"),
    ],
)
def test_what_can_t_be_learned_is_named(source: dict, labels: list | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        encode_multi_label({split: rows(values) for split, values in source.items()}, "emotion", labels=labels)


def test_a_missing_column_is_named() -> None:
    with pytest.raises(InputError, match="target in train: there is no column 'feelings'"):
        encode_multi_label({"train": rows(["a;b"])}, "feelings")
