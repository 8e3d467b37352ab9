"""`hf-speech layer-sweep`: which layer of an encoder tells most."""

import argparse
import os
from pathlib import Path

from ..errors import EXIT_OK, InputError
from ..flags import check_fields
from .parser import Commands, add_command

EXAMPLES = """\
hf-speech layer-sweep train.yaml --folds speaker_id --output-dir sweeps/emotion
hf-speech layer-sweep --backbone facebook/wav2vec2-base --dataset my-recordings/ --target emotion --validation 0.1 \
--test 0.2 --output-dir sweeps/mine
hf-speech layer-sweep --backbone facebook/wav2vec2-base --dataset ages.csv --target age --loss mse --unit years \
--folds speaker_id/5 --layers 6,7,8,9 --output-dir sweeps/age
hf-speech layer-sweep train.yaml --probe both --validation 0.1 --test 0.2 --output-dir sweeps/both"""


def add_layer_sweep(commands: Commands) -> None:
    """Puts `layer-sweep` into the parser."""
    sweep = add_command(
        commands, "layer-sweep", _layer_sweep, "one pass over the data: a probe for every layer of an encoder", EXAMPLES
    )
    sweep.add_argument(
        "config",
        metavar="CONFIG.yaml",
        nargs="?",
        help="fields of a run, or the name of a recipe; flags stand above them",
    )
    sweep.add_argument("--folds", help="what is held out in turn: COLUMN, COLUMN/5, or label files one.json,two.json; "
                       "none: as --validation and --test, or the data set itself, say")  # fmt: skip
    sweep.add_argument("--layers", default="all", help="all, or numbers such as 3,6,9; layer 7 is the output of the "
                       "seventh transformer layer, hidden_states[7] of transformers (%(default)s)")  # fmt: skip
    sweep.add_argument("--probe", default="linear", choices=("linear", "transformer", "both"), help="linear, on "
                       "statistics of frames; transformer: a small one on frames, trained layer by layer, chosen by "
                       "validation rows; both: the Transformer decides (%(default)s)")  # fmt: skip
    sweep.add_argument("--parallel", type=int, default=1, help="trainings of a Transformer at a time (%(default)s)")
    sweep.add_argument("--output-dir", help="folder of the table, the plot and what the encoder says")


def _layer_sweep(options: argparse.Namespace, fields: list[str]) -> int:
    from ..experiments.layer_sweep.sweep import layer_sweep
    from ..experiments.layer_sweep.tables import told
    from ..fields import parse_flags
    from ..training.arguments import read_config

    given = parse_flags(fields)
    check_fields("layer-sweep", given)
    if options.output_dir is None:
        raise InputError("no place for the table: give --output-dir, a folder that is made")
    root = Path(options.output_dir)
    if {"RANK", "LOCAL_RANK"} & os.environ.keys():
        from ..ranks import first_speaks

        with first_speaks():
            raise InputError("a layer sweep is one process: start it without torchrun and accelerate launch")
    config = read_config(options.config, given)
    try:
        results = layer_sweep(
            config, root, folds=options.folds, layers=options.layers, probe=options.probe, parallel=options.parallel
        )
    except KeyboardInterrupt as interrupt:
        raise KeyboardInterrupt(str(interrupt) or "by Ctrl-C; the same command goes on from there") from None
    print(told(results, root))
    return EXIT_OK
