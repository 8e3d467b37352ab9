"""`hf-speech crossval` and `hf-speech sweep`: their words on the command line, and what they print."""

import argparse
import dataclasses
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import EXIT_OK, InputError
from ..fields import fit, kinds
from .options import SlurmOptions

CROSSVAL = "hf-speech crossval train.yaml --folds speaker_id --runs 3 --output-dir runs/folds --parallel 2\n"
CROSSVAL += "hf-speech crossval wav2vec2-iemocap-vft --folds session_id --runs 5 --output-dir runs/iemocap\n"
CROSSVAL += "hf-speech crossval wav2vec2-iemocap-vft --folds label_1.json,label_2.json --output-dir runs/labels\n"
CROSSVAL += "hf-speech crossval wav2vec2-aishell4-meeting --within recording_id --output-dir runs/meetings"
SWEEP = "hf-speech sweep train.yaml --grid learning_rate=1e-5,1e-4,1e-3 --seeds 1,2,3 --output-dir runs/rates\n"
SWEEP += "hf-speech sweep train.yaml --grid layer=3,6,9 --grid pooling=mean,attentive --output-dir runs/layers\n"
SWEEP += "hf-speech sweep few-samples-rates --launcher slurm --partition gpu --gpus 1 --output-dir runs/rates"


def add_flags_of_crossval(parser: argparse.ArgumentParser) -> None:
    """Puts the flags of `crossval` into its parser."""
    parser.add_argument("config", metavar="CONFIG.yaml", help="fields of the runs, or the name of a recipe")
    parser.add_argument("--folds", help="what is held out in turn: COLUMN, COLUMN/5, or label files one.json,two.json")
    parser.add_argument("--within", metavar="COLUMN", help="a model of its own for each value, such as each meeting")
    parser.add_argument("--runs", type=int, default=1, help="runs of each fold, each with the next seed (%(default)s)")
    _add_flags(parser)


def add_flags_of_sweep(parser: argparse.ArgumentParser) -> None:
    """Puts the flags of `sweep` into its parser."""
    parser.add_argument("config", metavar="CONFIG.yaml", help="fields of the runs, a recipe, or a sweep file (config:, "
                        "grid:, settings:, seeds:, metric:, fields:)")  # fmt: skip
    parser.add_argument("--grid", action="append", default=[], metavar="NAME=V1,V2", help="a field and its values; "
                        "several flags: every combination")  # fmt: skip
    parser.add_argument("--seeds", help="seeds of the runs of each point, such as 1,2,3")
    parser.add_argument("--metric", help="what decides, on validation rows (that of the run's checkpoints)")
    _add_flags(parser)


def _add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output-dir", help="folder of the runs and of the table")
    parser.add_argument("--no-frozen-cache", action="store_true", help="run a frozen encoder every time")
    parser.add_argument("--launcher", choices=("local", "slurm"), default="local", help="here, or on a cluster")
    parser.add_argument("--parallel", type=int, help="runs at a time (1 here; on a cluster as many as it lets)")
    group = parser.add_argument_group("on a cluster")
    for item in dataclasses.fields(SlurmOptions):
        group.add_argument(f"--{item.name.replace('_', '-')}", help=item.metadata["help"])


def own_flags(name: str) -> set[str]:
    """The flags of a command that are no fields of a run."""
    shared = {"--output-dir", "--no-frozen-cache", "--launcher", "--parallel"}
    shared |= {f"--{item.name.replace('_', '-')}" for item in dataclasses.fields(SlurmOptions)}
    return shared | ({"--folds", "--within", "--runs"} if name == "crossval" else {"--grid", "--seeds", "--metric"})


def launcher_of(options: argparse.Namespace, root: Path) -> Any:
    """The launcher that the flags name.

    Raises:
        InputError: flags of a cluster without one, or values that can't be.
    """
    given = {item.name: getattr(options, item.name) for item in dataclasses.fields(SlurmOptions)}
    given = {name: value for name, value in given.items() if value is not None}
    if options.launcher == "local":
        if given:
            raise InputError(f"--{next(iter(given)).replace('_', '-')} is for a cluster: give --launcher slurm too")
        from .local import LocalLauncher

        return LocalLauncher(1 if options.parallel is None else options.parallel)
    from .slurm import SlurmLauncher

    return SlurmLauncher(root / "slurm", options.parallel, SlurmOptions(**_fitted(given)))


def _fitted(given: Mapping[str, str]) -> dict[str, Any]:
    hints = typing.get_type_hints(SlurmOptions)
    fitted = {}
    for name, value in given.items():
        whole = int in kinds(hints[name])
        if whole and not value.lstrip("-").isdigit():
            raise InputError(f"--{name.replace('_', '-')} {value}: give a whole number")
        fitted[name] = int(value) if whole else fit(value, hints[name], f"--{name.replace('_', '-')}")
    return fitted


def run_crossval(options: argparse.Namespace, fields: Mapping[str, Any]) -> int:
    """`hf-speech crossval` with its flags, and fields of the runs."""
    from ..training.arguments import read_config
    from .crossval import crossval
    from .frozen import with_cache
    from .tables import told

    root = _root(options)
    launcher = launcher_of(options, root)
    config = with_cache(read_config(options.config, fields), root, not options.no_frozen_cache)
    results = crossval(config, root, launcher, folds=options.folds, within=options.within, runs=options.runs)
    print(told(results, root))
    return EXIT_OK


def run_sweep(options: argparse.Namespace, fields: Mapping[str, Any]) -> int:
    """`hf-speech sweep` with its flags, and fields of the runs."""
    from .grid import read_sweep
    from .sweep import sweep, told

    root = _root(options)
    launcher = launcher_of(options, root)
    plan = read_sweep(options.config, options.grid, options.seeds, options.metric, fields)
    print(told(sweep(plan, root, launcher, cached=not options.no_frozen_cache), root))
    return EXIT_OK


def _root(options: argparse.Namespace) -> Path:
    if options.output_dir is None:
        raise InputError("no place for the runs: give --output-dir, a folder that is made")
    return Path(options.output_dir)
