"""How much memory `hf-speech cluster` takes, by how much speech there is.

    python -m benchmarks.cluster_memory --speech ../shared/data/speech      # some minutes

10 to 60 minutes of real speech, 64, 512 and 4096 clusters, by a small wav2vec 2.0 with random weights (256 dimensions),
each in a process of its own. The same recordings come again under other names where there are too few, as files of
their own. Told is the most memory that the process held (its largest resident set) from start to end, and how long it
took. The frames that are fitted on lie on the disk meanwhile, so what grows with the speech is a line for each
recording.
"""

import argparse
import csv
import json
import tempfile
import time
from itertools import cycle
from pathlib import Path
from typing import Any

from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

from hf_speech.audio import SAMPLE_RATE, read_audio, write_audio
from hf_speech.files import replacing
from hf_speech.ranks import local_device
from hf_speech.results import run_facts

from .commands import cost_of
from .limits import hold
from .real_speech import ROOT, SPEECH

OUTPUT = ROOT / "benchmarks" / "results" / "cluster_memory.json"
MINUTES = (10, 20, 40, 60)
SIZE = 256
LIMITS = {"memory of 60 minutes over that of 10": 1.05}


def write_speech(folder: Path, sources: list[Path], minutes: float) -> int:
    """Writes so many minutes of speech as wav files, in one class folder -> how many files."""
    folder = folder / "speech"
    folder.mkdir(parents=True)
    left, number = round(minutes * 60 * SAMPLE_RATE), 0
    for source in cycle(sources):
        waveform = read_audio(source)[:left]
        if len(waveform) < SAMPLE_RATE // 10:
            return number
        write_audio(folder / f"{number:05d}.wav", waveform)
        left, number = left - len(waveform), number + 1
    raise AssertionError("there is no speech")


def write_model(folder: Path) -> None:
    config = Wav2Vec2Config(
        hidden_size=SIZE,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=512,
        conv_dim=(64,) * 7,
        num_conv_pos_embeddings=32,
    )
    Wav2Vec2Model(config).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=False).save_pretrained(folder)


def measure(minutes: float, model: Path, sources: list[Path], folder: Path) -> dict[str, Any]:
    speech, output = folder / f"speech{minutes}", folder / f"clusters{minutes}"
    files = write_speech(speech, sources, minutes)
    cost = cost_of("cluster", model, speech, "--layer", "2", "--output-dir", output)
    facts = json.loads((output / "clusters.json").read_text(encoding="utf-8"))
    frames = facts["codebook"]["frames"]
    return {
        "minutes": minutes,
        "recordings": files,
        "frames": frames,
        "bytes_of_frames": 4 * SIZE * frames,
        "bytes": cost.bytes,
        "seconds": cost.seconds,
        "use": facts["codebook"]["use"],
    }


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", type=Path, default=SPEECH, help="folder with speaker/ (%(default)s)")
    options = parser.parse_args()
    begun, root = time.perf_counter(), options.speech / "speaker"
    with (root / "metadata.csv").open(encoding="utf-8", newline="") as file:
        sources = [root / row["path"] for row in csv.DictReader(file)]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        write_model(Path(folder) / "model")
        for minutes in MINUTES:
            row = measure(minutes, Path(folder) / "model", sources, Path(folder))
            rows.append(row)
            print(
                f"{minutes} minutes, {row['recordings']} recordings, {row['frames']} frames: "
                f"{row['bytes'] / 1e6:.0f} MB, {row['seconds']:.0f} s",
                flush=True,
            )
    content = {
        "counts": [64, 512, 4096],
        "dimensions": SIZE,
        "clusters": rows,
        "run": run_facts(0, device=local_device().type, wall_seconds=time.perf_counter() - begun),
    }
    with replacing(OUTPUT) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    hold({"memory of 60 minutes over that of 10": rows[-1]["bytes"] / rows[0]["bytes"]}, LIMITS)


if __name__ == "__main__":
    main()
