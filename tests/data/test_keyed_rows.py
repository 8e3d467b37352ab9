from pathlib import Path
from typing import Any

import numpy as np
import pytest
from accelerate.data_loader import prepare_data_loader, skip_first_batches
from datasets import Dataset
from torch.utils.data import DataLoader

from hf_speech.data.batching import Draw, KeyedRows, SpeechBatchSampler
from hf_speech.data.readers import load_rows


def test_keyed_rows_are_the_rows_with_their_keys(speech: Path) -> None:
    rows = load_rows(speech / "emotion")["train"]
    keyed = KeyedRows(rows, seed=5)
    draws = [Draw(2, 7, 0), Draw(2, 0, 0), Draw(2, 7, 1)]
    assert len(keyed) == len(rows)
    assert keyed.__getitems__(draws) == [keyed[draw] for draw in draws]
    assert keyed[draws[2]] == {**rows[7], "draw": (5, 2, 7, 1)}


def numbers(count: int) -> Dataset:
    return Dataset.from_dict({"value": list(range(count))})


def keys(batch: list[dict[str, Any]]) -> list[tuple[int, ...]]:
    assert all(row["value"] == row["draw"][2] for row in batch)
    return [row["draw"] for row in batch]


def keys_of(sampler: SpeechBatchSampler, epoch: int) -> list[list[tuple[int, ...]]]:
    sampler.set_epoch(epoch)
    return [[(sampler.seed, *draw) for draw in batch] for batch in sampler]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_prepared_loader_gives_the_epoch_that_was_set_and_goes_on_after_a_skip(workers: int) -> None:
    lengths = np.random.default_rng(0).integers(8_000, 128_000, 60)
    sampler = SpeechBatchSampler(lengths, batch_seconds=20, seed=9)
    loader = DataLoader(KeyedRows(numbers(60), 9), batch_sampler=sampler, collate_fn=keys, num_workers=workers)
    prepared = prepare_data_loader(loader, num_processes=1, process_index=0)
    for epoch in (3, 1):
        expected = keys_of(sampler, epoch)
        sampler.set_epoch(99)
        prepared.set_epoch(epoch)
        assert list(prepared) == expected
        sampler.set_epoch(99)
        rest = skip_first_batches(prepared, 4)
        rest.set_epoch(epoch)
        rest.batch_sampler.batch_sampler.set_epoch(epoch)  # as the Trainer reaches it
        assert list(rest) == expected[4:]


@pytest.mark.parametrize("even_batches", [False, True])
def test_accelerate_s_shards_pass_every_batch_on_once_they_are_neutralised(even_batches: bool) -> None:
    lengths = np.random.default_rng(0).integers(8_000, 128_000, 60)
    seen = []
    for rank in range(2):
        sampler = SpeechBatchSampler(lengths, batch_seconds=20, rank=rank, num_ranks=2)
        loader = DataLoader(KeyedRows(numbers(60), 0), batch_sampler=sampler, collate_fn=keys)
        prepared = prepare_data_loader(loader, num_processes=2, process_index=rank, even_batches=even_batches)
        shard = prepared.batch_sampler
        shard.num_processes, shard.process_index, shard.set_epoch = 1, 0, sampler.set_epoch
        prepared.set_epoch(1)
        batches = list(prepared)
        assert batches == keys_of(sampler, 1)
        assert len(batches) == len(prepared) == len(sampler)
        seen += [key[2] for batch in batches for key in batch if key[3] == 0]
    assert sorted(seen) == list(range(60))
