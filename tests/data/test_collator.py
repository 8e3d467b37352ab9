import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
from datasets import Dataset
from torch.utils.data import DataLoader
from transformers import Wav2Vec2FeatureExtractor

from hf_speech.audio import read_audio
from hf_speech.data.augment import Augmentation, augmented
from hf_speech.data.checks import check_rows
from hf_speech.data.chunks import chunk_rows
from hf_speech.data.collator import BatchOrigin, SpeechCollator
from hf_speech.data.drawing import EFFECTS
from hf_speech.data.readers import load_rows
from hf_speech.data.speeds import change_speed
from hf_speech.errors import InputError
from tests.sounds import voice_like

Writer = Callable[..., Path]


@pytest.fixture
def plain() -> Wav2Vec2FeatureExtractor:
    return Wav2Vec2FeatureExtractor(do_normalize=False)


@pytest.fixture
def ramp(tmp_path: Path) -> Path:
    """2 s in which every sample is its own index / 32,768, so that a crop shows where it was cut."""
    path = tmp_path / "ramp.wav"
    sf.write(path, np.arange(32_000, dtype=np.int16), 16_000)
    return path


def row(path: Path, **more: object) -> dict:
    return {"audio": {"bytes": None, "path": str(path)}, **more}


def test_a_batch_holds_each_waveform_and_its_mask(speech: Path, plain: Wav2Vec2FeatureExtractor) -> None:
    rows = [load_rows(speech / "emotion")["train"][i] for i in range(3)]
    batch = SpeechCollator(plain)(rows)
    waveforms = [read_audio(r["audio"]) for r in rows]
    assert batch["input_values"].shape == batch["attention_mask"].shape == (3, max(map(len, waveforms)))
    assert batch["input_values"].dtype == torch.float32 and "labels" not in batch
    for values, mask, waveform in zip(batch["input_values"], batch["attention_mask"], waveforms, strict=True):
        assert mask.sum() == len(waveform) and mask[: len(waveform)].all()
        np.testing.assert_array_equal(values[: len(waveform)], waveform)
        assert not values[len(waveform) :].any()


def test_normalisation_is_over_real_samples_and_so_the_same_in_any_batch(speech: Path) -> None:
    rows = [load_rows(speech / "emotion")["train"][i] for i in (0, 1)]
    collate = SpeechCollator(Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=False))
    together, alone = collate(rows), collate(rows[1:])
    short = alone["input_values"].shape[1]
    assert together["input_values"].shape[1] > short
    torch.testing.assert_close(together["input_values"][1, :short], alone["input_values"][0])
    assert alone["input_values"].mean().abs() < 1e-5 and abs(alone["input_values"].std() - 1) < 1e-3


@pytest.mark.parametrize("settings", [{}, {"padding_value": 0.5}, {"padding_side": "left"}])
@pytest.mark.parametrize("normalize", [True, False])
def test_a_batch_is_what_the_feature_extractor_makes_of_it(speech: Path, normalize: bool, settings: dict) -> None:
    extractor = Wav2Vec2FeatureExtractor(do_normalize=normalize, **settings)
    rows = [load_rows(speech / "emotion")["train"][i] for i in range(4)]
    expected = extractor(
        [read_audio(one["audio"]) for one in rows],
        sampling_rate=16_000,
        padding=True,
        return_attention_mask=True,
        return_tensors="pt",
    )
    batch = SpeechCollator(extractor)(rows)
    assert {name: values.dtype for name, values in batch.items()} == {
        "input_values": torch.float32,
        "attention_mask": torch.int64,
    }
    assert torch.equal(batch["input_values"], expected["input_values"])
    assert torch.equal(batch["attention_mask"], expected["attention_mask"].long())


def test_a_batch_is_the_same_on_any_number_of_threads(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    sf.write(path, voice_like(10.0), 16_000)
    collate, threads = SpeechCollator(Wav2Vec2FeatureExtractor(do_normalize=True)), torch.get_num_threads()
    try:
        found = []
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            found.append(collate([row(path)])["input_values"])
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])


def test_a_feature_extractor_of_its_own_kind_is_asked(speech: Path) -> None:
    class Louder(Wav2Vec2FeatureExtractor):
        def __call__(self, *args, **kwargs):
            features = super().__call__(*args, **kwargs)
            features["input_values"] = features["input_values"] * 2
            return features

    rows = [load_rows(speech / "emotion")["train"][i] for i in range(2)]
    louder, plain = (SpeechCollator(kind(do_normalize=False))(rows) for kind in (Louder, Wav2Vec2FeatureExtractor))
    assert torch.equal(louder["input_values"], 2 * plain["input_values"])


def test_segments_are_read_where_they_lie(ramp: Path, plain: Wav2Vec2FeatureExtractor) -> None:
    batch = SpeechCollator(plain)([row(ramp, start=0.5, end=0.75), row(ramp, start=1.5, end=None)])
    torch.testing.assert_close(batch["input_values"][0, :4000] * 32_768, torch.arange(8_000.0, 12_000))
    torch.testing.assert_close(batch["input_values"][1] * 32_768, torch.arange(24_000.0, 32_000))


@pytest.mark.parametrize("more", [{}, {"length": 8_000, "duration": 2.0}, {"start": 0.25, "end": 1.75}])
def test_crops_lie_anywhere_inside_and_follow_torch_s_seed(
    ramp: Path, plain: Wav2Vec2FeatureExtractor, more: dict
) -> None:
    collate = SpeechCollator(plain, crop_seconds=0.5)
    torch.manual_seed(0)
    values = collate([row(ramp, **more)] * 200)["input_values"] * 32_768
    assert values.shape == (200, 8_000)
    assert (values.diff(dim=1) == 1).all()
    first, last = int(more.get("start", 0) * 16_000), int(more.get("end", 2) * 16_000) - 8_000
    begins = values[:, 0]
    assert begins.min() >= first and begins.max() <= last
    # Uniform draws: the mean of 200 lies within 4 standard errors of the middle.
    assert abs(begins.mean() - (first + last) / 2) < 4 * (last - first) / 12**0.5 / 200**0.5
    torch.manual_seed(0)
    assert torch.equal(collate([row(ramp, **more)] * 200)["input_values"] * 32_768, values)


def test_clips_up_to_the_crop_are_read_whole(ramp: Path, plain: Wav2Vec2FeatureExtractor) -> None:
    values = SpeechCollator(plain, crop_seconds=2.0)([row(ramp)])["input_values"]
    torch.testing.assert_close(values[0] * 32_768, torch.arange(32_000.0))


def test_the_rate_is_the_extractor_s(write_tone: Writer) -> None:
    extractor = Wav2Vec2FeatureExtractor(sampling_rate=8_000, do_normalize=False)
    rows = [row(write_tone("a.wav", 44_100, 44_100), length=16_000)]
    assert SpeechCollator(extractor)(rows)["input_values"].shape == (1, 8_000)
    assert SpeechCollator(extractor, crop_seconds=0.25)(rows)["input_values"].shape == (1, 2_000)


def test_a_channel_is_read(tmp_path: Path, plain: Wav2Vec2FeatureExtractor) -> None:
    sf.write(tmp_path / "two.wav", np.tile([[0.25, -0.5]], (1000, 1)), 16_000)
    for channel, level in ((0, 0.25), (1, -0.5), ("mean", -0.125)):
        values = SpeechCollator(plain, channel=channel)([row(tmp_path / "two.wav")])["input_values"]
        torch.testing.assert_close(values, torch.full((1, 1000), level))


def test_a_row_s_own_channel_stands_above_the_run_s(tmp_path: Path, plain: Wav2Vec2FeatureExtractor) -> None:
    sf.write(tmp_path / "two.wav", np.tile([[0.25, -0.5]], (1000, 1)), 16_000)
    own = [1, None, 0, "1", 1.0]  # a table may hold it as text, or as a float beside empty cells
    rows = [row(tmp_path / "two.wav", channel=channel) for channel in own]
    for run, level in ((0, 0.25), ("mean", -0.125)):
        values = SpeechCollator(plain, channel=run)(rows)["input_values"]
        torch.testing.assert_close(values[:, 0], torch.tensor([-0.5, level, 0.25, -0.5, -0.5]))
    with pytest.raises(InputError, match="two.wav: no channel 2, it has 2"):
        SpeechCollator(plain)([row(tmp_path / "two.wav", channel=2)])


def test_labels_keep_their_kind(ramp: Path, plain: Wav2Vec2FeatureExtractor) -> None:
    def labels(*values: object) -> torch.Tensor:
        return SpeechCollator(plain)([row(ramp, labels=value) for value in values])["labels"]

    assert labels(1, 0).dtype == torch.int64 and labels(1, 0).tolist() == [1, 0]
    assert labels(31.5, 20.0).dtype == torch.float32 and labels(31.5, 20.0).tolist() == [31.5, 20.0]
    assert labels([1, 0], [0, 1]).dtype == torch.float32 and labels([1, 0], [0, 1]).shape == (2, 2)
    with pytest.raises(InputError, match="ramp.wav: no label, though others"):
        labels(1, None)


def test_a_clip_that_is_too_short_or_broken_is_named(
    write_tone: Writer, tmp_path: Path, plain: Wav2Vec2FeatureExtractor, caplog: pytest.LogCaptureFixture
) -> None:
    short, good = write_tone("short.wav", 399), write_tone("good.wav", 400)
    with pytest.raises(InputError, match=f"^{short}: 399 samples at 0 s, the model needs 400"):
        SpeechCollator(plain)([row(good), row(short)])
    with pytest.raises(InputError, match=f"^{tmp_path}/gone.wav: "):
        SpeechCollator(plain)([row(tmp_path / "gone.wav")])
    with pytest.raises(InputError, match=f"^{good}: start 1 s is not before end 0.5 s"):
        SpeechCollator(plain)([row(good, start=1.0, end=0.5)])
    skipping = SpeechCollator(plain, on_bad="skip")
    batch = skipping([row(short, labels=0), row(good, labels=1)])
    assert (
        batch["labels"].tolist() == [1] and f"left out: {short}" in caplog.text and [*skipping.skipped] == [str(short)]
    )
    with pytest.raises(InputError, match=f"no clip of a batch can be used: {short}"):
        skipping([row(short)])
    with pytest.raises(InputError, match="crop_seconds 0.02 is under 400 samples"):
        SpeechCollator(plain, crop_seconds=0.02)


def test_workers_draw_different_crops(ramp: Path, plain: Wav2Vec2FeatureExtractor) -> None:
    collate = pickle.loads(pickle.dumps(SpeechCollator(plain, crop_seconds=0.5)))
    rows = Dataset.from_list([row(ramp)] * 8)
    torch.manual_seed(3)
    begins = [batch["input_values"][:, 0] for batch in DataLoader(rows, 2, collate_fn=collate, num_workers=2)]
    assert len(torch.cat(begins).unique()) == 8


def test_chunks_cover_each_row_once_in_nearly_equal_parts(write_tone: Writer, plain: Wav2Vec2FeatureExtractor) -> None:
    files = [write_tone("a.wav", 16_000), write_tone("b.wav", 40_001), write_tone("c.wav", 48_000)]
    audio = [{"bytes": None, "path": str(file)} for file in files]
    spans = {"start": [None, None, 0.5], "end": [None, None, 2.75]}
    rows, _ = check_rows(Dataset.from_dict({"audio": audio, "label": ["x", "y", "z"], **spans}))
    chunks = chunk_rows(rows, 1.0)
    assert [chunk.row for chunk in chunks] == [0, 1, 1, 1, 2, 2, 2]
    assert [chunk.length for chunk in chunks] == [16_000, 13_334, 13_333, 13_334, 12_000, 12_000, 12_000]
    assert chunks[0].start is None and chunks[0].end is None
    collate = SpeechCollator(plain)
    for number in range(3):
        parts = [collate.waveform(chunk.of(rows[number])) for chunk in chunks if chunk.row == number]
        np.testing.assert_array_equal(np.concatenate(parts), collate.waveform(rows[number]))


def test_rows_that_are_short_enough_pass(corpus: Path) -> None:
    rows, _ = check_rows(load_rows(corpus)["train"])
    chunks = chunk_rows(rows, 10.0)
    assert [chunk.row for chunk in chunks] == list(range(len(rows)))
    assert [chunk.length for chunk in chunks] == rows["length"]


def test_chunks_need_lengths_and_a_sensible_limit(corpus: Path) -> None:
    rows = load_rows(corpus)["train"]
    with pytest.raises(InputError, match="check_rows notes: there is no column 'length'"):
        chunk_rows(rows, 1.0)
    with pytest.raises(InputError, match="chunks of 0.03 s are too short; give at least 0.05 s"):
        chunk_rows(check_rows(rows)[0], 0.03)


@pytest.mark.parametrize("crop", [None, 0.5])
def test_a_clip_that_a_speed_would_make_too_short_keeps_its_speed_and_its_label(
    write_tone: Writer, plain: Wav2Vec2FeatureExtractor, crop: float | None
) -> None:
    """At twice the speed 799 samples are 400, and 798 are 399, one too few."""
    faster = Augmentation(speeds=[2.0], gain={"probability": 1.0, "db": [-6.0, -6.0]})
    collate = SpeechCollator(plain, augmentation=faster, num_speakers=10, crop_seconds=crop)
    short, enough = write_tone("short.wav", 798), write_tone("enough.wav", 799)
    batch = collate([row(short, labels=3), row(enough, labels=3)])
    assert batch["labels"].tolist() == [3, 13]
    assert batch["attention_mask"].sum(1).tolist() == [798, 400]
    # The gain came to both.
    softer = 10 ** (-6 / 20)
    waves = [read_audio(row(path)["audio"]) for path in (short, enough)]
    wanted = [waves[0] * softer, change_speed(waves[1], 2.0) * softer]
    for values, wave in zip(batch["input_values"].numpy(), wanted, strict=True):
        np.testing.assert_allclose(values[: len(wave)], wave, atol=1e-6)


@pytest.fixture
def voices(tmp_path: Path) -> list[dict]:
    """Rows of 8 voices of 0.4 to 0.75 s."""
    for i in range(8):
        sf.write(tmp_path / f"voice{i}.wav", voice_like(0.4 + 0.05 * i, seed=i), 16_000)
    return [row(tmp_path / f"voice{i}.wav", labels=i) for i in range(8)]


@pytest.fixture
def everything(tmp_path: Path) -> Augmentation:
    """All effects, none of which hangs on the other rows."""
    for kind in ("noises", "talk", "rooms"):
        (tmp_path / kind).mkdir()
        for i in range(3):
            sf.write(
                tmp_path / kind / f"{i}.wav", 0.2 * np.random.default_rng(i).standard_normal(4000 * (i + 1)), 16_000
            )
    tables = {name: {"probability": 0.6} for name in EFFECTS}
    for name, folder in (("noise", "noises"), ("babble", "talk"), ("reverb", "rooms")):
        tables[name]["folder"] = str(tmp_path / folder)
    return Augmentation(speeds=[0.9, 1.0, 1.1], **tables)


def keyed(rows: list[dict], seed: int = 1, epoch: int = 0) -> list[dict]:
    return [{**each, "draw": (seed, epoch, each["labels"], 0)} for each in rows]


def by_label(batches: list[dict]) -> dict[int, np.ndarray]:
    """Label -> the real samples."""
    heard = {}
    for batch in batches:
        for values, mask, label in zip(batch["input_values"], batch["attention_mask"], batch["labels"], strict=True):
            heard[int(label)] = values[mask.bool()].numpy()
    return heard


@pytest.mark.parametrize("later", [False, True])
def test_the_draw_of_a_row_decides_whoever_is_beside_it(
    voices: list[dict], everything: Augmentation, plain: Wav2Vec2FeatureExtractor, later: bool
) -> None:
    """Another order, other batches, alone, and torch's seed: the same speeds, crops and sounds."""

    def heard(*batches: list[dict]) -> dict[int, np.ndarray]:
        made = [augmented(collate(rows)) if later else collate(rows) for rows in batches]
        return by_label(made)

    collate = SpeechCollator(plain, crop_seconds=0.5, augmentation=everything, augment_later=later)
    rows = keyed(voices)
    wanted = heard(rows)
    torch.manual_seed(99)
    for other in (heard(rows[::-1]), heard(rows[3:], rows[:3]), heard(*([each] for each in rows))):
        assert other.keys() == wanted.keys()
        for label, values in wanted.items():
            assert len(values) == len(other[label])
            # but for the few samples that rounding carries over the edge of a step of mu-law
            assert np.mean(np.abs(values - other[label]) > 1e-6) < 2e-3
    for changed in (heard(keyed(voices, seed=2)), heard(keyed(voices, epoch=1))):
        assert sum(np.array_equal(values, changed[label]) for label, values in wanted.items()) < 4


def test_the_draw_decides_whichever_worker_makes_the_batch(
    voices: list[dict], everything: Augmentation, plain: Wav2Vec2FeatureExtractor
) -> None:
    collate = SpeechCollator(plain, crop_seconds=0.3, augmentation=everything)
    found = []
    for workers in (0, 1, 2):
        torch.manual_seed(workers)
        found.append(list(DataLoader(keyed(voices), 2, collate_fn=collate, num_workers=workers)))
    for other in found[1:]:
        assert all(torch.equal(a["input_values"], b["input_values"]) for a, b in zip(found[0], other, strict=True))


def test_the_order_of_the_draws_is_speed_crop_effects(ramp: Path, plain: Wav2Vec2FeatureExtractor) -> None:
    """As the class says: whoever knows the key of a row can say what came of it."""
    augmentation = Augmentation(speeds=[0.5, 1.0, 2.0], gain={"probability": 0.5, "db": [-20, -10]})
    collate = SpeechCollator(plain, crop_seconds=0.25, augmentation=augmentation)
    for index in range(12):
        generator = np.random.default_rng((3, 1, index, 0))
        speed = (0.5, 1.0, 2.0)[generator.integers(3)]
        wanted = {0.5: 2_000, 1.0: 4_000, 2.0: 7_999}[speed]
        start = generator.integers(32_000 - wanted + 1)
        happens = [generator.random() < effect.probability for effect in augmentation.effects.values()]
        gain = 10 ** (generator.uniform(-20, -10) / 20) if happens[-1] else 1.0
        values = collate([row(ramp, draw=(3, 1, index, 0))])["input_values"][0].numpy()
        source = (np.arange(start, start + wanted) / 32_768).astype(np.float32)
        np.testing.assert_allclose(values, change_speed(source, speed)[:4_000] * gain, atol=1e-6)
    with_draw, without = (row(ramp, **more) for more in ({"draw": (0, 0, 1, 0)}, {}))
    torch.manual_seed(0)
    first = SpeechCollator(plain, crop_seconds=0.5)([with_draw, without])["input_values"]
    second = SpeechCollator(plain, crop_seconds=0.5)([with_draw, without])["input_values"]
    assert torch.equal(first[0], second[0]) and not torch.equal(first[1], second[1])


def test_without_anything_random_torch_s_generator_is_left_alone(ramp: Path, plain: Wav2Vec2FeatureExtractor) -> None:
    state = torch.get_rng_state()
    SpeechCollator(plain)([row(ramp)])
    SpeechCollator(plain, crop_seconds=0.5, augmentation=Augmentation())([row(ramp, draw=(0, 0, 0, 0))])
    assert torch.equal(torch.get_rng_state(), state)


def test_babble_of_other_rows_takes_who_is_in_the_batch(voices: list[dict], plain: Wav2Vec2FeatureExtractor) -> None:
    collate = SpeechCollator(plain, augmentation=Augmentation(babble={"probability": 1, "snr": [0, 0]}))
    together, fewer, alone = (by_label([collate(keyed(rows))])[0] for rows in (voices, voices[:3], voices[:1]))
    assert np.abs(together - fewer).max() > 0.01
    np.testing.assert_array_equal(alone, read_audio(voices[0]["audio"]))  # there is nobody to hear


@pytest.mark.parametrize("normalize", [False, True])
def test_augmented_later_or_here_a_batch_is_the_same(
    voices: list[dict], everything: Augmentation, normalize: bool
) -> None:
    """With nothing drawn, what `augmented` normalises is what the feature extractor makes."""
    extractor = Wav2Vec2FeatureExtractor(do_normalize=normalize)
    for augmentation in (everything, Augmentation()):
        here, later = (
            SpeechCollator(extractor, augmentation=augmentation, augment_later=after)(keyed(voices))
            for after in (False, True)
        )
        assert later.keys() == {*here, "augmentation"} == {"input_values", "attention_mask", "labels", "augmentation"}
        assert ("normalize" in later["augmentation"]) == normalize
        made = augmented(later)
        assert made.keys() == here.keys() and all(torch.equal(made[name], here[name]) for name in here)
    wanted = SpeechCollator(extractor)(voices)
    assert wanted.keys() == here.keys() and torch.equal(wanted["attention_mask"], here["attention_mask"])
    torch.testing.assert_close(here["input_values"], wanted["input_values"], atol=1e-5, rtol=0)
    assert here["input_values"].dtype == wanted["input_values"].dtype == torch.float32
    plain_later = SpeechCollator(extractor, augment_later=True)(voices)
    assert all(torch.equal(plain_later[name], wanted[name]) for name in wanted) and len(plain_later) == 3


def test_a_broken_noise_is_named_and_no_row_is_left_out_for_it(
    voices: list[dict], tmp_path: Path, plain: Wav2Vec2FeatureExtractor
) -> None:
    (tmp_path / "bad").mkdir()
    sf.write(tmp_path / "bad" / "nan.wav", np.full(100, np.nan), 16_000, subtype="FLOAT")
    noisy = Augmentation(noise={"probability": 1, "folder": str(tmp_path / "bad")})
    with pytest.raises(InputError, match=f"^{tmp_path}/bad/nan.wav: NaN"):
        SpeechCollator(plain, augmentation=noisy, on_bad="skip")(voices)


def test_a_batch_tells_where_it_is_from(ramp: Path, write_tone: Writer, plain: Wav2Vec2FeatureExtractor) -> None:
    rows = [row(ramp), row(write_tone("a.wav", 8_000))]
    for augmentation in (None, Augmentation(speeds=[1.0])):
        batch = SpeechCollator(plain, with_origin=True, augmentation=augmentation)(rows)
        assert batch["origin"] == BatchOrigin((str(ramp), rows[1]["audio"]["path"]), 40_000, 64_000)
