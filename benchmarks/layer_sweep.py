"""What features of all twelve layers cost: the pass of `hf-speech layer-sweep` against the runs that it spares.

    python -m benchmarks layer_sweep        # three minutes

An encoder of base size (12 x 768) with random weights, in float32, over some of the sample. The pass of the sweep is
the command's own: files are read, the encoder is run once, means and deviations of all layers are taken and written to
the disk. Against it stand, reading the same files and pooling too:

    twelve stock runs    of transformers' encoder, one for each layer that is probed, file by file; one is timed in each
                         turn, and twelve are computed from it
    all stock layers     one such run that gives the frames of all layers at once, which its users have to ask for
    k layers built       twelve encoders of ours, of 1 to 12 layers, one pass each: what a run a layer costs here
    one pass             of our encoder whole

Each of the twelve encoders runs beside a pass of the sweep, and their shares of that are added up. The features of
every layer are those of the model with k layers.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

from hf_speech.audio import SAMPLE_RATE
from hf_speech.data.checks import check_rows
from hf_speech.data.chunks import Chunk
from hf_speech.data.pieces import Pieces
from hf_speech.data.recordings import rows_of_files
from hf_speech.layers.encoders import LayeredEncoder, load_layers
from hf_speech.layers.kept import kept_features
from hf_speech.memory import kept_memory
from hf_speech.models.frames import length_batches
from hf_speech.models.modeling import HfSpeechModel
from hf_speech.outcome import padded_seconds

from .encoder import read
from .rows import Row
from .sample import Sample
from .turns import Ratio, by_turns, ratio, seconds_of

SECONDS, ROUNDS, EXACT, AS_STOCK = 60.0, 5, 1e-5, 1e-4
AT_LEAST = {"stock": 8.0, "stock, all layers": 0.8, "built": 6.0, "one pass": 1 / 1.3}


def swept(encoder: LayeredEncoder, rows: Dataset) -> NDArray:
    """The features of the sweep's pass, into an empty folder."""
    with tempfile.TemporaryDirectory() as folder:
        return kept_features(encoder, rows, Path(folder))


@torch.inference_mode()
def passed(model: HfSpeechModel, extractor: Any, rows: Dataset) -> NDArray:
    """What a model of ours pools, in batches as the sweep has them."""
    lengths = list(rows["length"])
    pieces = Pieces([(rows, Chunk(i, None, None, length)) for i, length in enumerate(lengths)])
    batches = length_batches(lengths, padded_seconds(None, model.device) * SAMPLE_RATE)
    loader = pieces.batches(
        batches, extractor, channel="mean", min_samples=model.encoder.min_samples, device=model.device
    )
    pooled = np.empty((len(rows), model.output_size), np.float32)
    with kept_memory(model.device):
        for batch, tensors in zip(batches, loader, strict=True):
            pooled[batch] = model(**tensors).embeddings.numpy()
    return pooled


@torch.inference_mode()
def stock_pass(model: Any, sample: Sample, every: bool = False) -> NDArray:
    """A run of transformers' encoder, file by file -> means and deviations of the last layer, or of every one."""
    found = []
    for wave in read(sample.files):
        said = model(torch.from_numpy(wave)[None], output_hidden_states=every)
        layers = torch.stack(said.hidden_states[1:] if every else [said.last_hidden_state], dim=1)[0]
        found.append(torch.cat([layers.mean(1), layers.std(1, correction=0)], dim=-1).numpy())
    return np.stack(found)


def built(folder: str, encoder: LayeredEncoder, rows: Dataset, features: NDArray) -> tuple[float, float]:
    """A pass of an encoder of ours with each number of layers.

    Returns:
        How far what they pool is from the features of the sweep; their times, each as a share of that of the sweep
        beside it, added up.
    """
    apart, total = 0.0, 0.0
    for layer in encoder.layers:
        model = HfSpeechModel.from_backbone(folder, layer=layer, pooling="mean+std").eval()
        pooled = passed(model, encoder.extractor, rows)
        apart = max(apart, float(np.abs(features[:, layer - 1] - pooled).max()))
        beside = seconds_of(lambda: swept(encoder, rows))
        total += seconds_of(lambda model=model: passed(model, encoder.extractor, rows)) / beside
    return apart, total


def rows(sample: Sample, rounds: int = ROUNDS, config: Wav2Vec2Config | None = None) -> list[Row]:
    """All rows of this file; arguments as in `encoder.rows`."""
    sample = sample.first(SECONDS)
    heard, _ = check_rows(rows_of_files(sample.files))
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        stock = Wav2Vec2Model(config or Wav2Vec2Config()).eval()
        stock.save_pretrained(folder)
        Wav2Vec2FeatureExtractor(do_normalize=False).save_pretrained(folder)
        encoder = load_layers(folder)
        whole = HfSpeechModel.from_backbone(folder, pooling="mean+std").eval()
        ways = {
            "sweep": lambda: swept(encoder, heard),
            "stock": lambda: stock_pass(stock, sample),
            "stock, all layers": lambda: stock_pass(stock, sample, every=True),
            "one pass": lambda: passed(whole, encoder.extractor, heard),
        }
        times = by_turns(ways, rounds)
        features = swept(encoder, heard)
        of_stock = float(np.abs(features - stock_pass(stock, sample, every=True)).max())
        apart, total = built(folder, encoder, heard, features)
    if apart > EXACT or of_stock > AS_STOCK:
        raise SystemExit(
            f"features differ by {apart:.1e} from those of k layers, by {of_stock:.1e} from the stock ones"
        )
    depth = len(encoder.layers)
    work = f"layer sweep, wav2vec2 of base size: features of all {depth} layers of {sample.total:.0f} s of speech"
    same = f"features within {apart:.1e} of those of k layers, {of_stock:.1e} of the stock ones"
    against = {
        "stock": (f"{depth} runs of transformers' encoder, file by file", ratio(times["sweep"], times["stock"], depth)),
        "stock, all layers": (
            "one run of transformers' encoder that is asked for all layers, file by file",
            ratio(times["sweep"], times["stock, all layers"]),
        ),
        "built": (f"encoders of 1 to {depth} layers, ours", Ratio(total, total, total, 1)),
        "one pass": ("one pass of the encoder, ours", ratio(times["sweep"], times["one pass"])),
    }
    return [
        Row(
            f"layer sweep, {name}",
            work,
            words,
            found,
            AT_LEAST[name],
            computed=name == "stock",
            same=same,
            facts={"seconds": times},
        )
        for name, (words, found) in against.items()
    ]
