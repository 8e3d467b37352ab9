"""VoxCeleb: validation splits and subsets, on made-up corpora and on the names of the published subsets."""

import gzip
from collections import Counter

import pytest

from hf_speech.data.problems import Problems
from hf_speech.errors import InputError

from .voxceleb import SUBSETS, build, by_session, ids, listing_of


@pytest.fixture(scope="module")
def published(voxceleb_lists) -> dict[str, list[str]]:
    """The ids of the three published subsets."""
    found = {}
    for config in SUBSETS:
        text = gzip.decompress((voxceleb_lists / f"{config}_utterance_list.csv.gz").read_bytes()).decode()
        found[config] = [line.split(";")[0] for line in text.splitlines()[1:]]
    return found


def test_the_seed_changes_the_draw(fake):
    assert ids(build(fake, seed=1)) != ids(build(fake, seed=2))


@pytest.mark.parametrize("share", [0.01, 0.3, 0.99])
def test_equal_holds_out_sessions_of_every_speaker_beyond_the_share(fake, members, share):
    corpus = ids(build(fake, validation_share=share))
    train, held, whole = (by_session(names) for names in (corpus["train"], corpus["validation"], members["vox2_dev"]))
    assert set(train) == set(held) == set(whole)
    for speaker, sessions in whole.items():
        assert not set(train[speaker]) & set(held[speaker])
        assert train[speaker] | held[speaker] == sessions
        count, total = held[speaker].total(), sessions.total()
        assert count > share * total or len(train[speaker]) == 1
        # The last one that was held out was wanted: without it the share was not exceeded.
        assert count - max(held[speaker].values()) <= share * total


def test_of_three_sessions_the_smallest_is_held_out(tmp_path):
    """With three sessions all are drawn; after the first the share of 1 % is exceeded."""
    names = [f"id0{k:04d}/video{s}/{u}" for k in range(100, 120) for s, n in enumerate((3, 2, 5)) for u in range(n)]
    held = by_session(ids(build(tmp_path, listing=listing_of(names)))["validation"])
    assert len(held) == 20 and all(sessions == {"video1": 2} for sessions in held.values())


def test_a_speaker_is_divided_the_same_whoever_else_is_there(fake, members):
    half = [name for name in members["vox2_dev"] if int(name[2:7]) % 2 == 0]
    options = {"listing": listing_of(half), "validation_trials": "0"}
    whole = set(ids(build(fake))["validation"])
    assert ids(build(fake, **options))["validation"] == sorted(whole & set(half))


def test_a_speaker_with_one_session_is_a_problem_and_left_out(tmp_path):
    names = ["id00100/a/1", "id00100/a/2", "id00200/a/1", "id00200/b/1"]
    problems = Problems("skip")
    corpus = ids(build(tmp_path, problems=problems, listing=listing_of(names)))
    assert sorted(corpus["train"] + corpus["validation"]) == names[2:]
    assert [(p.kind, p.file) for p in problems] == [("too few sessions", "/data/vox2_dev_aac.zip/dev/aac/id00100")]
    assert ids(build(tmp_path, validation="none", listing=listing_of(names))) == {"train": names}


def test_different_holds_out_the_last_speakers(fake, members):
    speakers = sorted({name[:7] for name in members["vox2_dev"]})
    corpus = ids(build(fake, validation="different", validation_speakers=3))
    assert corpus["validation"] == [name for name in members["vox2_dev"] if name[:7] in speakers[-3:]]
    assert corpus["train"] == [name for name in members["vox2_dev"] if name[:7] not in speakers[-3:]]
    with pytest.raises(InputError, match="16 speakers can't be held out of 16; lower --validation-speakers"):
        build(fake, validation="different", validation_speakers=16)


def test_tiny_few_takes_the_speakers_with_the_most_training_rows(fake):
    meta = (fake / "meta" / "vox2_meta.csv").read_text().splitlines()[1:]
    genders = {line.split()[0]: line.split(",")[2].strip() for line in meta}
    full, few = ids(build(fake)), ids(build(fake, "tiny_few", speakers_per_gender=3))
    counts = Counter(name[:7] for name in full["train"])
    chosen = set()
    for gender in "fm":
        ranked = sorted((-count, speaker) for speaker, count in counts.items() if genders[speaker] == gender)
        chosen |= {speaker for _, speaker in ranked[:3]}
    for split in ("train", "validation"):
        assert few[split] == [name for name in full[split] if name[:7] in chosen]
    with pytest.raises(InputError, match="9 female speakers are wanted, there are 8"):
        build(fake, "tiny_few", speakers_per_gender=9)


def test_tiny_few_without_metadata_is_refused(tmp_path):
    names = [f"id0010{k}/{s}/1" for k in range(3) for s in "ab"]
    with pytest.raises(InputError, match=r"tiny_few needs vox2_meta\.csv; put it there or in meta/"):
        build(tmp_path, "tiny_few", listing=listing_of(names))


def test_many_takes_the_fullest_sessions_first(tmp_path):
    """One speaker with sessions of 1, 4, 2 and 3 utterances, and 6 wanted."""
    sizes = {"a": 1, "b": 4, "c": 2, "d": 3}
    names = [f"id00100/{session}/{k}" for session, size in sizes.items() for k in range(size)]
    options = {"listing": listing_of(names), "validation": "none", "utterances_per_speaker": 6}
    low = by_session(ids(build(tmp_path, "tiny_many_low", **options))["train"])["id00100"]
    high = by_session(ids(build(tmp_path, "tiny_many_high", **options))["train"])["id00100"]
    assert low == {"b": 4, "d": 2}
    assert high == {"b": 2, "d": 2, "c": 1, "a": 1}  # one of each, and round again from the fullest
    problems = Problems("skip")
    assert not build(tmp_path, "tiny_many_low", problems, **options | {"utterances_per_speaker": 11}).splits
    assert problems.counts == {"too few utterances": 1}


@pytest.mark.parametrize(
    ("config", "train", "validation"),
    [("tiny_few", 49_400, 599), ("tiny_many_low", 47_952, 22_717), ("tiny_many_high", 47_952, 22_717)],
)
def test_the_published_subsets(published, voxceleb_lists, tmp_path, config, train, validation):
    path = voxceleb_lists / f"{config}_utterance_list.csv.gz"
    listing = listing_of(sorted(set().union(*published.values())))
    corpus = build(tmp_path, config, listing=listing, utterance_list=str(path))
    assert {split: len(rows) for split, rows in corpus.splits.items()} == {"train": train, "validation": validation}
    lines = [line.split(";") for line in gzip.decompress(path.read_bytes()).decode().splitlines()[1:]]
    for split, name in (("train", "train"), ("validation", "val")):
        assert ids(corpus)[split] == sorted(key for key, _, part in lines if part == name)


def test_the_rules_on_the_published_names(published, tmp_path):
    """163,584 real names: every speaker gives 8, from one session or from as many sessions as it has, up to 8."""
    names = sorted(set().union(*published.values()))
    options = {"listing": listing_of(names), "utterances_per_speaker": 8, "validation_trials": "0"}
    full = ids(build(tmp_path, **options))
    left = by_session(full["train"])
    assert len(left) == 5_994
    high = by_session(ids(build(tmp_path, "tiny_many_high", **options))["train"])
    low = by_session(ids(build(tmp_path, "tiny_many_low", **options))["train"])
    for speaker, sessions in left.items():
        assert high[speaker].total() == low[speaker].total() == 8
        assert len(high[speaker]) == min(8, len(sessions))
        sizes = sorted(sessions.values(), reverse=True)
        needed = next(n for n in range(1, 9) if sum(sizes[:n]) >= 8)
        assert len(low[speaker]) == needed
        assert sorted((sessions[s] for s in low[speaker]), reverse=True) == sizes[:needed]
