"""`hf-speech quickstart`, `train`, `crossval`, `sweep` and `augment`: what makes models."""

import argparse
from pathlib import Path
from typing import Any

from ..errors import EXIT_OK, InputError
from ..experiments import command
from ..flags import check_fields
from .parser import Commands, add_command


def add_quickstart(commands: Commands) -> None:
    """Puts `quickstart` into the parser."""
    quickstart = add_command(commands, "quickstart", _quickstart, "train, measure and try a small model in minutes",
                          "hf-speech quickstart --output-dir quickstart-model\n"
                          "hf-speech quickstart --output-dir mine --data-dir my-recordings/")  # fmt: skip
    quickstart.add_argument("--output-dir", default="quickstart-model", help="folder of the model (%(default)s)")
    quickstart.add_argument("--data-dir", help="a folder with a sub-folder a class, or a csv; none: the shipped voices")
    quickstart.add_argument("--overwrite", action="store_true", help="replace a finished model")


def add_train(commands: Commands) -> None:
    """Puts `train` into the parser."""
    train = add_command(commands, "train", _train, "train a model as a YAML file says",
                     "hf-speech train train.yaml --output-dir runs/emotion\n"
                     "hf-speech train train.yaml --output-dir runs/slow --learning-rate 1e-4 --layer 9\n"
                     "hf-speech train wav2vec2-iemocap-vft --data-dir prepared/ --output-dir runs/vft\n"
                     "hf-speech train train.yaml --dataset user/data --target emotion "
                     "--backbone facebook/wav2vec2-base\n"
                     "hf-speech train --backbone ecapa-512 --dataset voices/ --target speaker_id --crop-seconds 2 "
                     "--output-dir runs/ecapa\n"
                     "hf-speech train train.yaml --tasks '{emotion: {head: mlp}, age: {loss: ccc, weight: 0.5}}'"
                     )  # fmt: skip
    train.add_argument(
        "config",
        metavar="CONFIG.yaml",
        nargs="?",
        help="fields of the run, or the name of a recipe; flags stand above them",
    )
    train.add_argument(
        "--plot-schedule", action="store_true", help="draw the learning rate into schedule.png, and stop"
    )
    train.add_argument(
        "--fields", action="store_true", help="list all fields, and all parts of models with their options"
    )


def add_experiments(commands: Commands) -> None:
    """Puts `crossval` and `sweep` into the parser."""
    does = "folds x runs of a recipe, or of several side by side, and one table"
    crossval = add_command(commands, "crossval", _crossval, does, command.CROSSVAL)
    command.add_flags_of_crossval(crossval)
    sweep = add_command(commands, "sweep", _sweep, "a grid x seeds, and the best by validation", command.SWEEP)
    command.add_flags_of_sweep(sweep)


def add_augment(commands: Commands) -> None:
    """Puts `augment` into the parser."""
    augment = add_command(commands, "augment", _augment, "write what an augmentation does to a recording, to listen to",
                       "hf-speech augment speech.wav --output-dir listen              one file of each kind\n"
                       "hf-speech augment speech.wav --output-dir listen --noise.probability 1 --noise.snr '[5, 5]'\n"
                       "hf-speech augment speech.wav --output-dir listen --recipe train.yaml --count 10")  # fmt: skip
    augment.add_argument("file", metavar="FILE", help="a recording")
    augment.add_argument("--output-dir", required=True, help="folder of the wav files")
    augment.add_argument("--recipe", help="a YAML file or a recipe, whose field augment is shown; flags stand above it")
    augment.add_argument("--count", type=int, default=1, help="draws, or of each kind so many (%(default)s)")
    augment.add_argument("--seed", type=int, default=0, help="of the draws (%(default)s)")


def _quickstart(options: argparse.Namespace, fields: list[str]) -> int:
    from ..fields import parse_flags
    from ..training.quickstart import quickstart

    print(quickstart(options.output_dir, options.data_dir, parse_flags(fields), overwrite=options.overwrite))
    return EXIT_OK


def _train(options: argparse.Namespace, fields: list[str]) -> int:
    from ..fields import parse_flags

    if options.fields:
        from ..training.describe import describe_fields, describe_parts

        print(f"{describe_fields()}\n\n{describe_parts()}")
        return EXIT_OK
    from ..ranks import first_speaks
    from ..training.arguments import read_config
    from ..training.classifier import CLASSIFIER

    work = CLASSIFIER
    with first_speaks():
        given = parse_flags(fields)
        check_fields("train", given)
        config = read_config(options.config, given)
        if config.learning.adaptation:
            from ..pretraining.stages import ADAPTED, stages_of

            stages_of(config)
            work = ADAPTED
    if options.plot_schedule:
        from ..training.preview import plot_learning

        print(plot_learning(config, Path(config.run.output_dir or ".")))
        return EXIT_OK
    return run_to_its_end(config, work)


def run_to_its_end(config: Any, work: Any) -> int:
    """Trains as a config says, and prints what came of it.

    Args:
        config: a `RunConfig`.
        work: what is trained, see `training.work.Work`.
    """
    from ..ranks import first_speaks, leave_process_group
    from ..training.run import summary, train

    try:
        with first_speaks():
            results = train(config, work)
    finally:
        leave_process_group()
    if results.model:  # other processes of a distributed run have nothing to say
        print(summary(results, Path(str(config.run.output_dir))))
    return EXIT_OK


def _crossval(options: argparse.Namespace, fields: list[str]) -> int:
    from ..experiments.command import run_crossval
    from ..fields import parse_flags

    return run_crossval(options, parse_flags(fields))


def _sweep(options: argparse.Namespace, fields: list[str]) -> int:
    from ..experiments.command import run_sweep
    from ..fields import parse_flags

    return run_sweep(options, parse_flags(fields))


def _augment(options: argparse.Namespace, fields: list[str]) -> int:
    from ..data.augment import augmentation
    from ..data.listening import not_shown, write_examples
    from ..fields import lay, parse_flags

    table: dict[str, Any] = {}
    if options.recipe is not None:
        from ..training.arguments import read_config

        table = dict(read_config(options.recipe).batches.augment)
        table.pop("speed_classes", None)
        if not table and not fields:
            raise InputError(f"--recipe {options.recipe}: it has no augment; leave --recipe out, or give another")
    for name, value in parse_flags(fields).items():
        lay(table, name, value)
    settings = augmentation(table)
    for example in write_examples(options.file, options.output_dir, settings, options.count, options.seed):
        print(f"{example.path}: {example.told}")
    if not_shown(settings):
        print(not_shown(settings))
    return EXIT_OK
