"""The seven convolutions of a wav2vec2 of base size, as products of matrices, against transformers' own layers.

    python -m benchmarks convolutions        # half a minute

Noise, as what is heard does not matter: batches of five waveforms of 4 s, some in a row, as in a pass on a CPU. No
gradient is recorded on either side, and both have the same weights. Ours keeps freed memory, as passes do; how much of
the distance that is, is told beside. The whole encoder is in `benchmarks/encoder.py`.
"""

import copy
from collections.abc import Callable

import torch
from torch import Tensor
from transformers import Wav2Vec2Config, Wav2Vec2Model

from hf_speech.memory import kept_memory
from hf_speech.models.padding import MaskedFeatureEncoder
from hf_speech.precision import computed_in

from .rows import Row, audio_facts
from .sample import Sample
from .turns import by_turns, ratio

ROUNDS, IN_A_ROW, BATCH, SECONDS, RATE = 7, 4, 5, 4.0, 16_000
AT_LEAST, APART = {"float32": 1.2, "bfloat16": 3.0}, {"float32": 1e-4, "bfloat16": 0.05}


def rows(sample: Sample, rounds: int = ROUNDS, config: Wav2Vec2Config | None = None) -> list[Row]:
    """All rows of this file; arguments as in `encoder.rows`, but that the sample has no part in it."""
    torch.manual_seed(0)
    config = config or Wav2Vec2Config()
    layers = Wav2Vec2Model(config).feature_extractor.eval()
    ours = MaskedFeatureEncoder(copy.deepcopy(layers), config.conv_kernel, config.conv_stride).eval()
    waveforms, device, made = torch.randn(BATCH, round(SECONDS * RATE)), torch.device("cpu"), []
    for dtype, target in AT_LEAST.items():

        def run(encoder: torch.nn.Module, dtype: str = dtype) -> Tensor:
            with torch.no_grad(), computed_in(device, getattr(torch, dtype)):
                for _ in range(IN_A_ROW):
                    features = encoder(waveforms)
            return features

        def kept(encoder: torch.nn.Module, run: Callable[[torch.nn.Module], Tensor] = run) -> None:
            with kept_memory(device):
                run(encoder)

        apart = float((run(ours) - run(layers)).abs().max() / run(layers).abs().max())
        if apart > APART[dtype]:
            raise SystemExit(f"the features differ by {apart:.1e} of the largest in {dtype}")
        ways = {
            "ours": lambda kept=kept: kept(ours),
            "layers": lambda run=run: run(layers),
            "layers, memory kept": lambda kept=kept: kept(layers),
        }
        times = by_turns(ways, rounds)
        made.append(
            Row(
                f"convolutions, {dtype}",
                f"the seven convolutions of wav2vec2 of base size, {dtype}, batches of {BATCH} x {SECONDS:g} s",
                "transformers' layers, one after the other, in the same precision",
                ratio(times["ours"], times["layers"]),
                target,
                same=f"of the largest number {apart:.1e}",
                facts={
                    **audio_facts(times["ours"], times["layers"], IN_A_ROW * BATCH * SECONDS),
                    "against_layers_with_memory_kept": ratio(times["ours"], times["layers, memory kept"]).median,
                },
            )
        )
    return made
