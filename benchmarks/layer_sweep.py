"""What features of all twelve layers cost: the pass of `hf-speech layer-sweep` against the passes that it spares.

    python -m benchmarks.layer_sweep --speech ../shared/data/speech      # some minutes

An encoder of base size (12 x 768) with random weights, which don't change the cost, in float32; drawn recordings of
the speaker pack, forty seconds together. The pass of the sweep is the command's own: files are read, the encoder is run
once, means and deviations of all layers are taken and written to the disk. Against it stand, over the same files in the
same batches, read as well, and pooled:

    one pass         of the encoder whole
    twelve passes    of it, which is twelve times that time: what a run a layer costs that builds all layers
    k layers built   by twelve encoders, of 1 to 12 layers, one pass each: what a run a layer costs here

The sweep's pass and one pass run by turns, A B A B, and a ratio is the median of the pairs' ratios, so that other work
on the machine falls on both. Each of the twelve encoders runs beside a pass of the sweep, and their shares of that are
added up. The difference is the largest of any number between the sweep's features and those of the model with k layers.
"""

import argparse
import csv
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from datasets import Dataset
from numpy.typing import NDArray
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

from hf_speech.audio import SAMPLE_RATE
from hf_speech.data.checks import check_rows
from hf_speech.data.chunks import Chunk
from hf_speech.data.pieces import Pieces
from hf_speech.data.recordings import rows_of_files
from hf_speech.files import replacing
from hf_speech.layers.encoders import LayeredEncoder, load_layers
from hf_speech.layers.kept import kept_features
from hf_speech.models.frames import length_batches
from hf_speech.models.modeling import HfSpeechModel
from hf_speech.outcome import padded_seconds
from hf_speech.results import run_facts

from .limits import hold
from .real_speech import ROOT, SPEECH

OUTPUT = ROOT / "benchmarks" / "results" / "layer_sweep.json"
SECONDS, SEED = 40.0, 0
PAIRS = 5
LIMITS = {
    "over one pass": 1.3,
    "over twelve passes": 1 / 8,
    "over k layers built": 1 / 6,
    "difference": 1e-5,
}


def drawn_rows(speech: Path) -> Dataset:
    """Recordings, drawn until they are long enough together."""
    root = speech / "speaker"
    with (root / "metadata.csv").open(encoding="utf-8", newline="") as file:
        paths = sorted((row["path"], float(row["duration"])) for row in csv.DictReader(file))
    chosen, seconds = [], 0.0
    for place in np.random.default_rng(SEED).permutation(len(paths)):
        if seconds < SECONDS:
            chosen.append(root / paths[place][0])
            seconds += paths[place][1]
    return check_rows(rows_of_files(chosen))[0]


def swept(encoder: LayeredEncoder, rows: Dataset) -> tuple[float, NDArray]:
    """Seconds of the sweep's pass into an empty folder, and its features."""
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        features = kept_features(encoder, rows, Path(folder))
        return time.perf_counter() - begun, features


@torch.inference_mode()
def passed(model: HfSpeechModel, extractor: Any, rows: Dataset) -> tuple[float, NDArray]:
    """Seconds of a pass of a model, and what it pools."""
    lengths = list(rows["length"])
    begun = time.perf_counter()
    pieces = Pieces([(rows, Chunk(i, None, None, length)) for i, length in enumerate(lengths)])
    batches = length_batches(lengths, padded_seconds(None, model.device) * SAMPLE_RATE)
    loader = pieces.batches(batches, extractor, channel="mean", min_samples=model.encoder.min_samples)
    pooled = np.empty((len(rows), model.output_size), np.float32)
    for batch, tensors in zip(batches, loader, strict=True):
        pooled[batch] = model(**tensors).embeddings.numpy()
    return time.perf_counter() - begun, pooled


def measure(checkpoint: str, rows: Dataset) -> dict[str, Any]:
    """All times and ratios."""
    encoder = load_layers(checkpoint)
    whole = HfSpeechModel.from_backbone(checkpoint, pooling="mean+std").eval()
    swept(encoder, rows), passed(whole, encoder.extractor, rows)  # the first passes allocate
    pairs = []
    for pair in range(PAIRS):
        ways = [lambda: swept(encoder, rows), lambda: passed(whole, encoder.extractor, rows)]
        times = [way()[0] for way in (ways if pair % 2 == 0 else ways[::-1])]
        pairs.append(times if pair % 2 == 0 else times[::-1])
    beside, built, difference = [], [], 0.0
    for layer in encoder.layers:
        model = HfSpeechModel.from_backbone(checkpoint, layer=layer, pooling="mean+std").eval()
        passed(model, encoder.extractor, rows.select([0]))
        seconds, features = swept(encoder, rows)
        beside.append(seconds)
        seconds, pooled = passed(model, encoder.extractor, rows)
        built.append(seconds)
        difference = max(difference, float(np.abs(features[:, layer - 1] - pooled).max()))
        print(f"layer {layer}: {seconds:.2f} s built up to it, {beside[-1]:.2f} s for all", flush=True)
    ratios = sorted(sweep / one for sweep, one in pairs)
    return {
        "audio_seconds": float(sum(rows["duration"])),
        "recordings": len(rows),
        "median_seconds": {
            "sweep": statistics.median(sweep for sweep, _ in pairs),
            "one pass": statistics.median(one for _, one in pairs),
        },
        "over_one_pass": {"median": statistics.median(ratios), "smallest": ratios[0], "largest": ratios[-1]},
        "over_twelve_passes": statistics.median(ratios) / len(encoder.layers),
        "seconds_with_k_layers_built": built,
        "seconds_of_the_sweep_beside": beside,
        "over_k_layers_built": 1 / sum(one / sweep for one, sweep in zip(built, beside, strict=True)),
        "difference": difference,
        "largest_number": float(np.abs(features).max()),
        "pairs": PAIRS,
    }


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", type=Path, default=SPEECH, help="folder with speaker/ (%(default)s)")
    transformers.logging.set_verbosity_error()  # what is left out of a checkpoint is left out on purpose
    begun = time.perf_counter()
    rows = drawn_rows(parser.parse_args().speech)
    torch.manual_seed(SEED)
    with tempfile.TemporaryDirectory() as checkpoint:
        Wav2Vec2Model(Wav2Vec2Config()).save_pretrained(checkpoint)
        Wav2Vec2FeatureExtractor(do_normalize=False).save_pretrained(checkpoint)
        content = measure(checkpoint, rows)
    content["run"] = run_facts(SEED, device="cpu", wall_seconds=time.perf_counter() - begun)
    OUTPUT.parent.mkdir(exist_ok=True)
    with replacing(OUTPUT) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    print(f"written to {OUTPUT}")
    figures = {name: content[name.replace(" ", "_")] for name in LIMITS}
    hold({**figures, "over one pass": content["over_one_pass"]["median"]}, LIMITS)


if __name__ == "__main__":
    main()
