from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from hf_speech.data.batching import Draw, SpeechBatchSampler, padding_share, random_batches
from hf_speech.errors import InputError

RATE = 16_000
Epoch = list[list[Draw]]


def seconds(*lengths: float) -> np.ndarray:
    return np.array([round(RATE * length) for length in lengths])


def epoch_of(sampler: SpeechBatchSampler, epoch: int) -> Epoch:
    sampler.set_epoch(epoch)
    return list(sampler)


def ranks(lengths: np.ndarray, num_ranks: int, **options: Any) -> list[SpeechBatchSampler]:
    return [SpeechBatchSampler(lengths, rank=rank, num_ranks=num_ranks, **options) for rank in range(num_ranks)]


KINDS = ("uniform", "equal", "few values", "long tail")


def cases(count: int) -> Iterator[tuple[np.ndarray, int, dict[str, Any]]]:
    """Random lengths of every kind with random settings: lengths, ranks, options."""
    for seed in range(count):
        rng = np.random.default_rng(seed)
        rows = int(rng.integers(4, 60))
        lengths = {
            "uniform": rng.integers(8_000, 128_000, rows),
            "equal": np.full(rows, 32_000),
            "few values": rng.choice([16_000, 24_000, 80_000], rows),
            "long tail": (8_000 * (1 + rng.pareto(2.0, rows))).astype(int),
        }[KINDS[seed % len(KINDS)]]
        options: dict[str, Any] = {
            "seed": seed,
            "min_rows": int(rng.integers(1, 4)),
            "buckets": int(rng.choice([1, 3, 50])),
        }
        if rng.random() < 0.6:
            # Sometimes just what the longest rows need, so that no batch has a row to spare.
            options["batch_seconds"] = rng.choice([1, 3]) * options["min_rows"] * int(lengths.max()) / RATE
        else:
            options["batch_size"] = int(rng.integers(options["min_rows"], 10))
        yield lengths, int(rng.integers(1, 5)), options


def check_limits(epochs: list[list[Epoch]], lengths: np.ndarray, options: dict[str, Any], samplers: list[Any]) -> None:
    """What holds of every batch, of every rank, in every epoch."""
    for number, of_ranks in enumerate(epochs):
        for sampler, batches in zip(samplers, of_ranks, strict=True):
            assert len(batches) == len(sampler) == len(samplers[0])
            for batch in batches:
                assert len(batch) >= options["min_rows"]
                assert {draw.epoch for draw in batch} == {number}
                longest = max(lengths[draw.index] for draw in batch)
                if "batch_size" in options:
                    assert len(batch) <= options["batch_size"]
                else:
                    assert len(batch) * longest <= options["batch_seconds"] * RATE + 0.5
        turns: dict[int, list[int]] = {}
        for draw in (draw for batches in of_ranks for batch in batches for draw in batch):
            turns.setdefault(draw.index, []).append(draw.turn)
        assert all(sorted(found) == list(range(len(found))) for found in turns.values())


def test_every_row_comes_once_and_no_batch_is_over_its_limit() -> None:
    repeats = left_out = 0
    for lengths, num_ranks, options in cases(200):
        samplers = ranks(lengths, num_ranks, **options)
        epochs = [[epoch_of(sampler, epoch) for sampler in samplers] for epoch in range(3)]
        check_limits(epochs, lengths, options, samplers)
        for of_ranks in epochs:
            batches = [batch for batches in of_ranks for batch in batches]
            once = [draw.index for batch in batches for draw in batch if draw.turn == 0]
            missing = len(lengths) - len(once)
            assert len(set(once)) == len(once)
            # Rows are left out only where another batch can't be had of all rows.
            distinct = len({tuple(sorted(draw.index for draw in batch)) for batch in batches})
            assert missing == 0 or (
                missing < options["min_rows"] and len(lengths) < (distinct + 1) * options["min_rows"]
            )
            twice = [batch for batch in batches if any(draw.turn for draw in batch)]
            assert len(batches) - distinct < num_ranks
            repeats, left_out = repeats + len(twice), left_out + missing
    assert repeats > 50 and left_out > 50  # both were met


def test_balanced_epochs_draw_every_class_equally_often_and_rows_equally_up_to_one() -> None:
    several = 0
    for seed, (lengths, _, options) in enumerate(cases(120)):
        rng = np.random.default_rng(1_000 + seed)
        groups = rng.choice([-3, 0, 7, 8], len(lengths), p=[0.6, 0.2, 0.1, 0.1])
        classes = np.unique(groups)
        options["min_rows"] = 1
        sampler = SpeechBatchSampler(lengths, groups=groups, **options)
        epochs = [epoch_of(sampler, epoch) for epoch in range(12)]
        check_limits([[epoch] for epoch in epochs], lengths, options, [sampler])
        for epoch in epochs:
            drawn = Counter(draw.index for batch in epoch for draw in batch)
            each = round(len(lengths) / len(classes))
            for number in classes:
                counts = [drawn[row] for row in np.flatnonzero(groups == number)]
                assert sum(counts) == each and max(counts) - min(counts) <= 1
        several += len(classes) > 1
    assert several > 100


def test_balanced_ranks_with_a_least_size_keep_all_limits() -> None:
    for seed, (lengths, num_ranks, options) in enumerate(cases(80)):
        groups = np.random.default_rng(seed).integers(0, 3, len(lengths))
        samplers = ranks(lengths, num_ranks, groups=groups, **options)
        epochs = [[epoch_of(sampler, epoch) for sampler in samplers] for epoch in range(10)]
        check_limits(epochs, lengths, options, samplers)


def test_balanced_batches_mix_the_classes() -> None:
    sampler = SpeechBatchSampler(np.full(90, 32_000), groups=np.arange(90) // 30, batch_size=10)
    shares = [np.mean([draw.index < 30 for draw in batch]) for epoch in range(20) for batch in epoch_of(sampler, epoch)]
    # 10 of 90 rows, of which a third is of the class: a deviation of 0.14.
    assert np.std(shares) == pytest.approx(np.sqrt(1 / 3 * 2 / 3 / 10 * 80 / 89), rel=0.2)


def test_balanced_batches_that_can_not_be_halved_come_twice_instead() -> None:
    # Two rows of 4 s or three of 2.6 s are a batch; which rows of the first class come decides how many batches.
    lengths = np.concatenate([np.tile(seconds(4, 2.6), 20), seconds(4, 2.6)])
    groups = [0] * 40 + [1] * 2
    sampler = SpeechBatchSampler(lengths, batch_seconds=8, min_rows=2, groups=groups)
    epochs = [epoch_of(sampler, epoch) for epoch in range(40)]
    check_limits([[epoch] for epoch in epochs], lengths, {"batch_seconds": 8, "min_rows": 2}, [sampler])
    # 21 draws a class; more where a batch came again.
    draws = Counter(sum(len(batch) for batch in epoch) for epoch in epochs)
    assert min(draws) >= 41 and max(draws) > 42


def test_the_first_balanced_epochs_are_not_bent_towards_short_rows() -> None:
    lengths = np.random.default_rng(0).integers(8_000, 128_000, 41)
    own = lengths[:40]
    # 20 of 40 rows without replacement, and the one row of the other class 20 times.
    deviation = np.sqrt(20 * own.var(ddof=1) * (1 - 20 / 40))
    scores = []
    for seed in range(60):
        sampler = SpeechBatchSampler(lengths, batch_seconds=16, groups=[0] * 40 + [1], seed=seed)
        for epoch in range(8):
            drawn = sum(int(lengths[d.index]) for batch in epoch_of(sampler, epoch) for d in batch if d.index < 40)
            scores.append((drawn - 20 * own.mean()) / deviation)
    assert abs(np.mean(scores)) < 4 / np.sqrt(len(scores))
    assert np.std(scores) == pytest.approx(1, abs=0.15)


def test_rows_of_a_class_that_are_drawn_once_more_change_from_epoch_to_epoch() -> None:
    groups = [0] * 90 + [1] * 10  # 50 draws each
    sampler = SpeechBatchSampler(np.arange(16_000, 16_100), groups=groups, batch_size=10)
    drawn = Counter(draw.index for epoch in range(40) for batch in epoch_of(sampler, epoch) for draw in batch)
    assert [drawn[row] for row in range(90, 100)] == [200] * 10
    # 40 epochs at 5 / 9: 22.2 with a deviation of 3.1.
    assert all(8 <= drawn[row] <= 36 for row in range(90))
    assert {draw.turn for batch in epoch_of(sampler, 0) for draw in batch if draw.index == 95} == {0, 1, 2, 3, 4}


def test_by_hand() -> None:
    lengths = seconds(2, 8, 4, 2, 4, 2, 8, 4, 2)
    sampler = SpeechBatchSampler(lengths, batch_seconds=16, buckets=3)
    batches = {tuple(sorted(lengths[draw.index] // RATE for draw in batch)) for batch in sampler}
    assert len(sampler) == 3
    assert batches == {(8, 8), (2, 4, 4, 4), (2, 2, 2)}
    assert sampler.padding_share() == pytest.approx(2 / 38)
    # With one bucket every row may be as long as the longest: two a batch.
    assert [len(batch) for batch in SpeechBatchSampler(lengths, batch_seconds=16, buckets=1)].count(2) == 4


@pytest.mark.parametrize(
    ("options", "sizes"),
    [
        ({"batch_size": 4}, [1, 4, 4]),
        ({"batch_size": 4, "min_rows": 2}, [2, 3, 4]),
        ({"batch_size": 2, "min_rows": 2}, [2, 2, 2, 2]),  # one row is left out
        ({"batch_size": 20}, [9]),
        ({"batch_seconds": 8.0}, [1, 4, 4]),
        ({"batch_seconds": 9.9}, [1, 4, 4]),
    ],
)
def test_sizes_of_nine_rows_of_two_seconds(options: dict[str, Any], sizes: list[int]) -> None:
    sampler = SpeechBatchSampler(np.full(9, 32_000), **options)
    for epoch in range(3):
        assert sorted(len(batch) for batch in epoch_of(sampler, epoch)) == sizes


def test_who_is_left_out_changes() -> None:
    sampler = SpeechBatchSampler(np.full(9, 32_000), batch_size=2, min_rows=2)
    present = [{draw.index for batch in epoch_of(sampler, epoch) for draw in batch} for epoch in range(60)]
    assert all(len(rows) == 8 for rows in present)
    assert set().union(*({*range(9)} - rows for rows in present)) == {*range(9)}


def test_same_seed_same_batches_and_another_epoch_others() -> None:
    lengths = np.random.default_rng(0).integers(8_000, 128_000, 200)
    for options in ({"batch_seconds": 40}, {"batch_size": 8}, {"batch_size": 8, "groups": lengths % 5}):
        sampler = SpeechBatchSampler(lengths, seed=3, **options)
        again = SpeechBatchSampler(lengths, seed=3, **options)
        epochs = [epoch_of(sampler, epoch) for epoch in (0, 1, 2)]
        assert [epoch_of(again, epoch) for epoch in (2, 1, 0)] == epochs[::-1]
        rows = [[[draw.index for draw in batch] for batch in epoch] for epoch in epochs]
        assert rows[0] != rows[1] != rows[2] != rows[0]
        other = SpeechBatchSampler(lengths, seed=4, **options)
        assert [[draw.index for draw in batch] for batch in epoch_of(other, 1)] != rows[1]


@pytest.mark.parametrize("options", [{"batch_size": 5}, {"batch_seconds": 10, "buckets": 32}])
def test_rows_of_one_length_are_wholly_mixed(options: dict[str, Any]) -> None:
    sampler = SpeechBatchSampler(np.full(20, 32_000), **options)
    together, where, epochs = np.zeros((20, 20)), np.zeros((20, 4)), 600
    for epoch in range(epochs):
        for place, batch in enumerate(epoch_of(sampler, epoch)):
            rows = [draw.index for draw in batch]
            together[np.ix_(rows, rows)] += 1
            where[rows, place] += 1
    # Any two rows share a batch in 4 of 19 epochs, and any row is as often in one batch as in another.
    for counts, share in ((together[np.triu_indices(20, 1)], 4 / 19), (where.ravel(), 1 / 4)):
        deviation = np.sqrt(epochs * share * (1 - share))
        assert abs(counts.mean() - epochs * share) < 1e-9
        assert np.abs(counts - epochs * share).max() < 4.5 * deviation
        assert np.std(counts) == pytest.approx(deviation, rel=0.35)


def test_rows_of_a_bucket_meet_each_other_and_not_those_of_distant_buckets() -> None:
    lengths = np.random.default_rng(0).permutation(np.arange(8_000, 128_000, 1_000))  # 120 rows, 12 a bucket
    sampler = SpeechBatchSampler(lengths, batch_size=4, buckets=10)
    bucket = (lengths - 8_000) // 12_000
    met: set[tuple[int, int]] = set()
    for epoch in range(80):
        for batch in epoch_of(sampler, epoch):
            rows = [draw.index for draw in batch]
            met |= {(a, b) for a in rows for b in rows}
    assert {(bucket[a], bucket[b]) for a, b in met} == {(k, k) for k in range(10)}  # 12 is 3 batches of 4
    assert len(met) == 10 * 12 * 12


def test_lengths_of_one_value_are_in_one_bucket_whatever_the_row_numbers() -> None:
    # 90 crops of 2 s and 10 shorter clips: the crops are one bucket, so early and late rows meet.
    lengths = np.concatenate([np.full(90, 32_000), np.arange(16_000, 26_000, 1_000)])
    sampler = SpeechBatchSampler(lengths, batch_seconds=20, buckets=11)
    for epoch in range(5):
        whole = [batch for batch in epoch_of(sampler, epoch) if max(draw.index for draw in batch) < 90]
        assert len(whole) == 9
        spreads = [np.ptp([draw.index for draw in batch]) for batch in whole]
        assert np.mean(spreads) > 50  # 10 of 90 at random: 74
    # The ten distinct lengths have a bucket each, few as their rows are.
    pairs = {
        tuple(sorted(draw.index for draw in batch)) for batch in SpeechBatchSampler(lengths, batch_size=2, buckets=11)
    }
    assert {pair for pair in pairs if pair[1] >= 90} == {(90, 91), (92, 93), (94, 95), (96, 97), (98, 99)}


def test_waste_is_under_five_per_cent_from_half_a_second_to_eight() -> None:
    lengths = np.random.default_rng(0).integers(8_000, 128_000, 2_000)
    for options in ({"batch_seconds": 64}, {"batch_size": 16, "buckets": 32}):
        sampler = SpeechBatchSampler(lengths, **options)
        assert 0.005 < sampler.padding_share(1) < 0.05
        # 15 uniform draws from 0.5 to 8 s: the mean is 4.25, the largest 7.5.
        assert 0.35 < sampler.random_padding_share(1) < 0.5


def test_the_share_of_padding_by_hand() -> None:
    assert padding_share([[4, 2], [3, 3, 3]]) == pytest.approx(2 / 17)
    assert padding_share([[5], [5, 5]]) == 0
    batches = random_batches([1, 2, 3, 4, 5, 6, 7], 3, seed=0)
    assert sorted(len(batch) for batch in batches) == [2, 2, 3]
    assert sorted(np.concatenate(batches)) == [1, 2, 3, 4, 5, 6, 7]


def test_padding_share_is_that_of_the_batches_that_come() -> None:
    lengths = np.random.default_rng(1).integers(8_000, 128_000, 150)
    samplers = ranks(lengths, 2, batch_seconds=30, buckets=6)
    batches = [[lengths[draw.index] for draw in batch] for sampler in samplers for batch in epoch_of(sampler, 2)]
    padded = sum(max(batch) * len(batch) for batch in batches)
    assert samplers[0].padding_share(2) == pytest.approx(1 - sum(map(sum, batches)) / padded)


def test_batches_of_a_step_cost_alike_on_all_ranks() -> None:
    lengths = np.random.default_rng(0).integers(8_000, 128_000, 960)
    for options in ({"batch_size": 8}, {"batch_size": 8, "buckets": 20}, {"batch_seconds": 64}):
        samplers = ranks(lengths, 4, **options)
        costs = np.array(
            [[len(b) * max(lengths[d.index] for d in b) for b in epoch_of(sampler, 1)] for sampler in samplers]
        )
        idle = 1 - costs.mean() / costs.max(axis=0).mean()
        assert idle < 0.02, options
        # No rank has always the dearest, and steps are not sorted.
        assert len(set(costs.argmax(axis=0).tolist())) == 4
        assert abs(np.corrcoef(costs.mean(axis=0), np.arange(costs.shape[1]))[0, 1]) < 0.6


def test_where_ranks_do_not_divide_the_batches_some_come_twice_as_other_examples() -> None:
    doubled = set()
    for epoch in range(60):
        samplers = ranks(np.arange(32_000, 47_000, 1_000), 3, batch_size=3, buckets=5)  # 5 batches, 3 ranks
        batches = [batch for sampler in samplers for batch in epoch_of(sampler, epoch)]
        assert len(batches) == 6
        again = [draw.index for batch in batches for draw in batch if draw.turn == 1]
        assert len(again) == 3 and len({draw for batch in batches for draw in batch}) == 18
        doubled |= set(again)
    assert len(doubled) == 15  # of all buckets
    lonely = ranks(np.full(2, 32_000), 4, batch_size=2)  # one batch, four ranks
    assert sorted(draw.turn for sampler in lonely for batch in sampler for draw in batch) == [0, 0, 1, 1, 2, 2, 3, 3]


def test_the_costliest_batch_comes_first_in_epoch_0_alone() -> None:
    lengths = np.random.default_rng(0).integers(8_000, 128_000, 300)
    sampler = SpeechBatchSampler(lengths, batch_size=6)
    costs = [[max(lengths[draw.index] for draw in batch) for batch in epoch_of(sampler, epoch)] for epoch in range(6)]
    assert costs[0][0] == max(costs[0])
    assert sum(cost[0] == max(cost) for cost in costs[1:]) < 3


def test_describe_says_what_the_plan_is() -> None:
    lengths = seconds(2, 8, 4, 2, 4, 2, 8, 4, 2)
    line = SpeechBatchSampler(lengths, batch_seconds=16, buckets=3).describe()
    assert line.startswith("3 batches an epoch, 2 to 4 rows and 6 to 16 s each with padding; padding 5.3 %, in random")
    assert "random batches of 3.0 rows" in line and "\n" not in line
    assert "2 batches an epoch on each of 2 ranks" in ranks(lengths, 2, batch_seconds=16, buckets=3)[0].describe()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "either batch_size"),
        ({"batch_size": 2, "batch_seconds": 3.0}, "not both"),
        ({"batch_size": 0}, "batch_size 0: give 1 or more"),
        ({"batch_size": 1, "min_rows": 2}, "batch_size 1 is under 2"),
        ({"batch_seconds": 0.0}, "batch_seconds 0: give a number of seconds above 0"),
        ({"batch_seconds": float("nan")}, "batch_seconds nan"),
        (
            {"batch_seconds": 3.0},
            "row 2 is 4 s: over batch_seconds 3; give crop_seconds of at most 3, or batch_seconds",
        ),
        ({"batch_seconds": 7.0, "min_rows": 2}, "needs 2: over batch_seconds 7; give crop_seconds of at most 3.5, or"),
        ({"batch_seconds": 7.0, "min_rows": 2}, "batch_seconds of at least 8"),
        ({"batch_size": 2, "buckets": 0}, "buckets 0"),
        ({"batch_size": 9, "min_rows": 4}, "3 rows are too few for a batch of 4"),
        ({"batch_size": 9, "min_rows": 3, "groups": [0, 1], "lengths": [1, 2]}, "2 rows are too few for a batch of 3"),
        ({"batch_size": 9, "min_rows": 5, "groups": [0, 0, 0, 0, 1], "lengths": [1] * 5}, "4 balanced draws"),
        ({"batch_size": 2, "num_ranks": 2, "rank": 2}, "rank 2 of 2: ranks are 0 to 1"),
        ({"batch_size": 2, "seed": -1}, "seed -1"),
        ({"batch_size": 2, "groups": [0, 1]}, "2 classes for 3 rows"),
        ({"batch_size": 2, "groups": [0.5, 1, 1]}, "groups: float64"),
        ({"batch_size": 2, "lengths": [1, 0, 3]}, "row 1 has a length of 0"),
        ({"batch_size": 2, "lengths": []}, "0 rows are too few"),
        ({"batch_size": 2, "lengths": [1.5]}, "lengths: float64"),
    ],
)
def test_what_can_not_be_is_refused(options: dict[str, Any], words: str) -> None:
    lengths = options.pop("lengths", seconds(1, 2, 4))
    with pytest.raises(InputError) as error:
        SpeechBatchSampler(lengths, **options)
    assert words in str(error.value) and "\n" not in str(error.value)
