"""Where a model looked: the shares of the frames, in time."""

from pathlib import Path

import numpy as np
import pytest

from hf_speech.audio import read_audio
from hf_speech.demo.models import Loaded, Models
from hf_speech.demo.pictures import BARS, waveform
from hf_speech.evidence import Evidence, evidence, has_evidence
from hf_speech.samples import sample_files

RATE = 16_000


@pytest.fixture(scope="session")
def loaded(voices: Path) -> Loaded:
    return Models([str(voices)]).get()


def test_it_is_what_the_pooling_gave(loaded: Loaded) -> None:
    import torch

    (path,) = sample_files(1)
    samples = read_audio(path)
    found = evidence(loaded.model, loaded.extractor, samples)
    assert found is not None
    inputs = loaded.extractor(samples, sampling_rate=RATE, return_tensors="pt", return_attention_mask=True)
    with torch.no_grad():
        wanted = loaded.model(**inputs, output_frame_weights=True).frame_weights[0].numpy()
    assert np.abs(found.weights - wanted).max() < 1e-6
    assert found.weights.sum() == pytest.approx(1, abs=1e-5) and np.ptp(found.weights) > 0
    assert (np.diff(found.times) > 0).all() and found.times[-1] <= len(samples) / RATE + 0.05


def test_a_long_recording_is_weighed_in_pieces(loaded: Loaded) -> None:
    (path,) = sample_files(1)
    samples = np.tile(read_audio(path), 3)
    seconds = len(samples) / RATE
    found = evidence(loaded.model, loaded.extractor, samples, max_seconds=seconds / 3 + 0.01)
    assert found is not None and found.weights.sum() == pytest.approx(1, abs=1e-5)
    shares = found.shares(3)
    assert shares == pytest.approx([1 / 3] * 3, abs=0.02)  # three equal pieces
    assert (np.diff(found.times) > 0).all()


def test_shares_follow_time_and_sum_to_one() -> None:
    found = Evidence(np.arange(0.05, 2.0, 0.1), np.r_[np.zeros(10), np.full(10, 0.1)], 2.0)
    shares = found.shares(4)
    assert shares == pytest.approx([0, 0, 0.5, 0.5])
    assert Evidence(np.array([0.3]), np.array([1.0]), 0.6).shares(7) == pytest.approx([1 / 7] * 7)
    first, last = found.densest(0.5)
    assert last - first == pytest.approx(0.5) and first >= 1.0 - 1e-9  # any five of the ten frames
    assert found.densest(1.0) == pytest.approx((1.0, 2.0))


def test_the_picture_is_strongest_where_the_evidence_is() -> None:
    found = Evidence(np.arange(0.05, 1.0, 0.1), np.array([0.0] * 7 + [0.9, 0.1, 0.0]), 1.0)
    page = waveform(np.sin(np.arange(RATE)).astype(np.float32), found)
    opacities = [float(part.split('"')[0]) for part in page.split('opacity="')[1:]]
    assert len(opacities) == BARS
    strongest = np.argmax(opacities) / BARS
    assert 0.7 <= strongest < 0.8 and max(opacities) == 1.0 and min(opacities) == 0.15
    plain = waveform(np.sin(np.arange(RATE)).astype(np.float32))
    assert 'opacity="0' not in plain


def test_models_without_attention_have_none() -> None:
    from hf_speech import HfSpeechForSequenceClassification
    from hf_speech.testing import tiny_backbone_config

    plain = HfSpeechForSequenceClassification.from_backbone(
        tiny_backbone_config("wav2vec2"), labels=["a", "b"], pooling="mean"
    )
    assert not has_evidence(plain)
    assert evidence(plain, None, np.zeros(RATE, np.float32)) is None  # type: ignore[arg-type]
