"""`hf-speech crossval` and `hf-speech sweep`: their words on the command line, and what they print."""

import argparse
import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import EXIT_OK, InputError
from ..flags import add_flags, check_fields, given_flags
from .options import SlurmOptions

if TYPE_CHECKING:
    from ..training.config import RunConfig

CROSSVAL = "hf-speech crossval train.yaml --folds speaker_id --runs 3 --output-dir runs/folds --parallel 2\n"
CROSSVAL += "hf-speech crossval wav2vec2-iemocap-vft --dataset iemocap --folds session_id --runs 5 "
CROSSVAL += "--output-dir runs/iemocap\n"
CROSSVAL += "hf-speech crossval wav2vec2-iemocap-vft wav2vec2-iemocap-tapt wav2vec2-iemocap-ptapt --dataset iemocap "
CROSSVAL += "--folds session_id --runs 5 --output-dir runs/iemocap\n"
CROSSVAL += "hf-speech crossval wav2vec2-iemocap-vft --folds label_1.json,label_2.json --audio-root wav "
CROSSVAL += "--output-dir runs/labels\n"
CROSSVAL += "hf-speech crossval wav2vec2-aishell4-meeting --dataset-config all --within recording_id "
CROSSVAL += "--output-dir runs/meetings"
SWEEP = "hf-speech sweep train.yaml --validation 0.1 --grid learning_rate=1e-5,1e-4,1e-3 --seeds 1,2,3 "
SWEEP += "--output-dir runs/rates\n"
SWEEP += "hf-speech sweep train.yaml --validation 0.1 --grid layer=3,6,9 --grid pooling=mean,attentive "
SWEEP += "--output-dir runs/layers\n"
SWEEP += "hf-speech sweep few-samples-rates --launcher slurm --partition gpu --gpus 1 --output-dir runs/rates"


def add_flags_of_crossval(parser: argparse.ArgumentParser) -> None:
    """Puts the flags of `crossval` into its parser."""
    parser.add_argument("config", metavar="CONFIG.yaml", help="fields of the runs, or the name of a recipe")
    parser.add_argument("others", metavar="CONFIG.yaml", nargs="*", help="further ones, by the same folds: one table "
                        "of all side by side, and their differences to the first")  # fmt: skip
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
    add_flags(parser, SlurmOptions, "on a cluster")


def own_flags(name: str) -> set[str]:
    """The flags of a command that are no fields of a run: those that its parser has."""
    parser = argparse.ArgumentParser(add_help=False)
    (add_flags_of_crossval if name == "crossval" else add_flags_of_sweep)(parser)
    return {flag for action in parser._actions for flag in action.option_strings}


def launcher_of(options: argparse.Namespace, root: Path) -> Any:
    """The launcher that the flags name.

    Raises:
        InputError: flags of a cluster without one, values that can't be, or no Slurm.
    """
    given = given_flags(SlurmOptions, options)
    if options.launcher == "local":
        if given:
            raise InputError(f"--{next(iter(given)).replace('_', '-')} is for a cluster: give --launcher slurm too")
        from .local import LocalLauncher

        return LocalLauncher(1 if options.parallel is None else options.parallel)
    from .slurm import SlurmLauncher

    return SlurmLauncher(root / "slurm", options.parallel, SlurmOptions(**given))


def run_crossval(options: argparse.Namespace, fields: Mapping[str, Any]) -> int:
    """`hf-speech crossval` with its flags, and fields of the runs."""
    from .beside_page import told as told_beside
    from .crossval import crossval
    from .side_by_side import names_of, side_by_side
    from .tables import told

    with _experiment():
        check_fields("crossval", fields)
        root = _root(options)
        launcher = launcher_of(options, root)
        folds = {"folds": options.folds, "within": options.within, "runs": options.runs}
        if options.others:
            names = names_of([options.config, *options.others])
            configs = {name: _config(config, options, fields, root) for name, config in names.items()}
            said = told_beside(side_by_side(configs, root, launcher, **folds), root)
        else:
            said = told(crossval(_config(options.config, options, fields, root), root, launcher, **folds), root)
    print(said)
    return EXIT_OK


def _config(name: str, options: argparse.Namespace, fields: Mapping[str, Any], root: Path) -> "RunConfig":
    """The fields of the runs of one recipe, with places for what all runs share."""
    from ..pretraining.stages import shared, stages_of
    from ..training.arguments import read_config
    from .frozen import with_cache

    config = with_cache(read_config(name, fields), root, not options.no_frozen_cache)
    if config.learning.adaptation:
        stages_of(config)
    return shared(config, root)


def run_sweep(options: argparse.Namespace, fields: Mapping[str, Any]) -> int:
    """`hf-speech sweep` with its flags, and fields of the runs."""
    from .grid import read_sweep
    from .sweep import sweep, told

    with _experiment():
        check_fields("sweep", fields)
        root = _root(options)
        launcher = launcher_of(options, root)
        plan = read_sweep(options.config, options.grid, options.seeds, options.metric, fields)
        best = sweep(plan, root, launcher, cached=not options.no_frozen_cache)
    print(told(best, root))
    return EXIT_OK


@contextlib.contextmanager
def _experiment() -> Iterator[None]:
    """Within, an experiment is run: by one process, and a Ctrl-C says how it goes on.

    Raises:
        InputError: this is one of several processes, each of which would start the same runs in the same folder.
    """
    if {"RANK", "LOCAL_RANK"} & os.environ.keys():
        from ..ranks import first_speaks

        with first_speaks():
            raise InputError(
                "an experiment starts the processes of its runs by itself: start it without torchrun and accelerate "
                "launch; --launcher slurm has --processes, of one run"
            )
    try:
        yield
    except KeyboardInterrupt as interrupt:
        raise KeyboardInterrupt(str(interrupt) or "by Ctrl-C; the same command goes on from there") from None


def _root(options: argparse.Namespace) -> Path:
    if options.output_dir is None:
        raise InputError("no place for the runs: give --output-dir, a folder that is made")
    return Path(options.output_dir)
