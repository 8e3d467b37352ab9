"""Embedding files with an ECAPA-TDNN of 1,024 channels, against SpeechBrain's `encode_batch` with the same weights.

    python -m benchmarks ecapa        # five minutes

SpeechBrain's classifier is put together from its own parts, with random weights whose norms have seen speech. It gets
waveforms read with soundfile, one at a time and in batches of like length, as many as BATCHES says; what it is compared
by is the fastest of them. Ours is that model, converted, and gets the files; in float32 and in bfloat16. Numbers are
the same for each utterance alone. In its batches SpeechBrain's differ from them, as its convolutions reflect at the end
of the padding; that is written down.
"""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hf_speech.models.conversion_foreign import from_speechbrain
from hf_speech.verification.embeddings import embed_files

from .encoder import lowest_cosine, read
from .rows import Row, audio_facts
from .sample import Sample
from .turns import by_turns, fastest, ratio

ROUNDS, CHANNELS, BATCHES = 5, (1024, 1024, 1024, 1024, 3072), (1, 4, 16)
AT_LEAST = {"float32": 1.2, "bfloat16": 2.5}
APART, COSINE = 1e-3, 0.999


def speechbrain_s(waves: Sequence[NDArray], channels: Sequence[int] = CHANNELS) -> Any:
    """An `EncoderClassifier`; its batch norms have seen some waveforms, else all embeddings were alike."""
    from speechbrain.inference.classifiers import EncoderClassifier
    from speechbrain.lobes.features import Fbank
    from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN, Classifier
    from speechbrain.processing.features import InputNormalization

    torch.manual_seed(0)
    modules = {
        "compute_features": Fbank(n_mels=80),
        "mean_var_norm": InputNormalization(norm_type="sentence", std_norm=False),
        "embedding_model": ECAPA_TDNN(80, channels=list(channels), lin_neurons=192),
        "classifier": Classifier(192, out_neurons=8),
    }
    found = EncoderClassifier(modules, {"label_encoder": SimpleNamespace()}, run_opts={"device": "cpu"})
    found.mods.train()
    with torch.no_grad():
        for wave in waves:
            found.encode_batch(torch.from_numpy(wave).tile(2, 1))
    return found.eval()


@torch.inference_mode()
def encoded(classifier: Any, waves: Sequence[NDArray], size: int) -> NDArray:
    """The embeddings of all, in batches of like length."""
    order = sorted(range(len(waves)), key=lambda i: -len(waves[i]))
    found: list[Any] = [None] * len(waves)
    for start in range(0, len(order), size):
        places = order[start : start + size]
        lengths = [len(waves[i]) for i in places]
        batch = torch.zeros(len(places), max(lengths))
        for row, i in enumerate(places):
            batch[row, : len(waves[i])] = torch.from_numpy(waves[i])
        vectors = classifier.encode_batch(batch, torch.tensor(lengths) / max(lengths))[:, 0]
        for i, vector in zip(places, vectors.numpy(), strict=True):
            found[i] = vector
    return np.stack(found)


def rows(sample: Sample, rounds: int = ROUNDS, channels: Sequence[int] = CHANNELS) -> list[Row]:
    """All rows of this file.

    Args:
        sample: the recordings.
        rounds: how often each way is timed.
        channels: of the network's blocks.
    """
    stock = speechbrain_s(read(sample.files[:4]), channels)
    ours = from_speechbrain(stock.mods.embedding_model)
    extractor, files = ours.make_feature_extractor(), {str(path): path for path in sample.files}
    found: dict[str, NDArray] = {}

    def by_stock(size: int) -> None:
        found[f"batches of {size}"] = encoded(stock, read(sample.files), size)

    def by_us(dtype: str) -> None:
        found[dtype] = embed_files(ours, extractor, files, dtype=dtype).vectors

    ways = {f"batches of {size}": lambda size=size: by_stock(size) for size in BATCHES}
    ways |= {dtype: lambda dtype=dtype: by_us(dtype) for dtype in AT_LEAST}
    times = by_turns(ways, rounds)
    best = fastest(times, "batches")
    alone = found["batches of 1"]
    size = float(np.abs(alone).max())
    apart = {name: float(np.abs(vectors - alone).max()) / size for name, vectors in found.items()}
    cosine = {name: lowest_cosine(vectors, alone) for name, vectors in found.items()}
    if apart["float32"] > APART or cosine["bfloat16"] < COSINE:
        raise SystemExit(f"the numbers differ: {apart}, cosines {cosine}")
    return [
        Row(
            f"ECAPA-TDNN, {dtype}",
            f"embedding {sample.total:.0f} s of speech, ECAPA-TDNN of {channels[0]:,} channels, {dtype}",
            f"SpeechBrain's `encode_batch`, float32, same weights, {best}",
            ratio(times[dtype], times[best]),
            target,
            same=f"of the largest number {apart[dtype]:.1e}, cosine {cosine[dtype]:.5f}",
            facts={
                **audio_facts(times[dtype], {name: times[name] for name in ways if name not in AT_LEAST}, sample.total),
                "difference_of_each_from_one_at_a_time": apart,
                "lowest_cosine_of_each": cosine,
            },
        )
        for dtype, target in AT_LEAST.items()
    ]
