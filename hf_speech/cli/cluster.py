"""`hf-speech cluster`: k-means on frames."""

import argparse
import os
from pathlib import Path

from ..errors import EXIT_OK, InputError
from ..flags import add_flags, given_flags
from ..pretraining.cluster_options import ClusterOptions, FitOptions, PassOptions, RecordingOptions
from .parser import Commands, add_command

_PARTS = {
    "fit": (FitOptions, "clusters"),
    "recordings": (RecordingOptions, "recordings"),
    "passing": (PassOptions, "encoder"),
}


def add_cluster(commands: Commands) -> None:
    """Puts `cluster` into the parser."""
    cluster = add_command(commands, "cluster", _cluster, "k-means on frames of a layer, and the label of each frame",
                          "hf-speech cluster facebook/wav2vec2-base my-recordings/ --layer 6 --counts 64,512 "
                          "--output-dir clusters\n"
                          "hf-speech cluster facebook/wav2vec2-base iemocap/fold1 --layer 6 --sample-ratio 0.2 "
                          "--format json --output-dir clusters\n"
                          "hf-speech cluster facebook/wav2vec2-base iemocap/fold1 --codebook clusters --apply test "
                          "--output-dir test-clusters")  # fmt: skip
    cluster.add_argument("model", metavar="MODEL", help="folder or Hub name of an encoder, or of a model with one")
    cluster.add_argument("dataset", metavar="DATASET", help="a folder, a csv, a list, or a name on the Hub")
    cluster.add_argument("--output-dir", required=True, help="folder of codebook, labels and clusters.json")
    for kind, title in _PARTS.values():
        add_flags(cluster, kind, title)


def _cluster(options: argparse.Namespace, fields: list[str]) -> int:
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        from ..ranks import first_speaks

        with first_speaks():
            raise InputError("cluster runs in one process: leave `accelerate launch` or torchrun out")
    if options.counts is not None:
        words = [word.strip() for word in options.counts.split(",")]
        options.counts = [int(word) if word.isdecimal() else word for word in words]
    chosen = ClusterOptions(**{part: kind(**given_flags(kind, options)) for part, (kind, _) in _PARTS.items()})
    from ..pretraining.cluster_rows import cluster, told

    folder = Path(options.output_dir)
    print(told(cluster(options.model, options.dataset, folder, chosen), folder))
    return EXIT_OK
