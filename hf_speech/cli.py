"""The command `hf-speech`: parse, call, print. What a command needs is imported when it runs, so help comes at once."""

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from .errors import (
    EXIT_FAULT,
    EXIT_INPUT,
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_STOPPED,
    BrokenRunError,
    InputError,
    StoppedError,
)
from .flags import check_fields, take_fields, takes_fields
from .pipes import until_closed

DESCRIPTION = """\
Speech classifiers: who speaks, emotion, age. Train, measure, use.

  hf-speech quickstart --output-dir quickstart-model     the whole way, in minutes, on a CPU
  hf-speech train train.yaml --dataset my-recordings/    your own recordings, a folder a class
  hf-speech predict my-model speech.wav                  labels and scores
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Returns:
        0: done; 2: the input is at fault, one line on stderr says how; 1: a fault of ours, with its traceback; 130, 141
        and 143: ended by Ctrl-C, by a pipe that was closed (`| head`) and by SIGTERM.
    """
    return until_closed(lambda: _main(argv))


def _main(argv: Sequence[str] | None) -> int:
    words, fields = take_fields(list(sys.argv[1:] if argv is None else argv))
    options = _parser().parse_args(words)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    if os.environ.get("RANK", "0") != "0":  # of several processes one speaks, except of what any one does for all
        logging.getLogger().setLevel(logging.WARNING)
        logging.getLogger("hf_speech.training.frozen").setLevel(logging.INFO)
    # Gradients, bars and logs: what transformers says beyond warnings is for people who debug transformers.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    try:
        return options.run(options, fields)
    except InputError as error:
        # The worker of a data loader hands a whole traceback on, which ends with the message.
        message = str(error).rpartition("InputError: ")[2]
        print(f"hf-speech {options.command}: {' '.join(message.split())}", file=sys.stderr)
        return EXIT_INPUT
    except BrokenRunError as error:
        print(f"hf-speech {options.command}: {' '.join(str(error).split())}", file=sys.stderr)
        return EXIT_FAULT
    except StoppedError as stopped:
        print(f"hf-speech {options.command}: {stopped}; the same command goes on from there", file=sys.stderr)
        return EXIT_STOPPED
    except KeyboardInterrupt as interrupt:
        print(f"hf-speech {options.command}: interrupted {interrupt}".rstrip(), file=sys.stderr)
        return EXIT_INTERRUPTED
    except (ImportError, OSError) as error:
        if "libcudart" in str(error) or "torchaudio" in str(error) or "torchcodec" in str(error):
            print(f"hf-speech {options.command}: {error}; see `hf-speech doctor`", file=sys.stderr)
            return EXIT_FAULT
        raise


class _Parser(argparse.ArgumentParser):
    """A parser whose complaint is one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_INPUT, f"{self.prog}: {message}; see {self.prog} --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="hf-speech", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", action=_Version)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    quickstart = _command(commands, "quickstart", _quickstart, "train, measure and try a small model in minutes",
                          "hf-speech quickstart --output-dir quickstart-model\n"
                          "hf-speech quickstart --output-dir mine --data-dir my-recordings/")  # fmt: skip
    quickstart.add_argument("--output-dir", default="quickstart-model", help="folder of the model (%(default)s)")
    quickstart.add_argument("--data-dir", help="a folder with a sub-folder a class, or a csv; none: the shipped voices")
    quickstart.add_argument("--overwrite", action="store_true", help="replace a finished model")

    _add_prepare(commands)
    _add_train(commands)
    _add_experiments(commands)
    _add_evaluate(commands)
    _add_predict(commands)
    _add_augment(commands)

    card = _command(commands, "card", _card, "write README.md anew from results.json", "hf-speech card my-model")
    card.add_argument("folder", metavar="DIR", help="a model's folder")

    doctor = _command(commands, "doctor", _doctor, "what is installed, what works, what is known to be broken",
                      "hf-speech doctor\nhf-speech doctor --fix")  # fmt: skip
    doctor.add_argument("--fix", action="store_true", help="mend a torchaudio that was built for another torch")
    doctor.add_argument("--json", action="store_true", help="the report as JSON")
    return parser


def _add_train(commands: "argparse._SubParsersAction[_Parser]") -> None:
    train = _command(commands, "train", _train, "train a model as a YAML file says",
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


def _add_experiments(commands: "argparse._SubParsersAction[_Parser]") -> None:
    from .experiments import command

    crossval = _command(commands, "crossval", _crossval, "folds x runs of one recipe, and one table", command.CROSSVAL)
    command.add_flags_of_crossval(crossval)
    sweep = _command(commands, "sweep", _sweep, "a grid x seeds, and the best by validation", command.SWEEP)
    command.add_flags_of_sweep(sweep)


def _add_evaluate(commands: "argparse._SubParsersAction[_Parser]") -> None:
    evaluate = _command(commands, "evaluate", _evaluate, "measure a model on labelled data",
                        "hf-speech evaluate my-model my-recordings/test\n"
                        "hf-speech evaluate user/model user/data --split test --target emotion")  # fmt: skip
    evaluate.add_argument("model", metavar="MODEL", help="a model's folder, or its name on the Hub")
    evaluate.add_argument("dataset", metavar="DATASET", help="a folder, a csv, or a name on the Hub")
    evaluate.add_argument("--split", help="split to measure on (test if there is one, else all there is)")
    evaluate.add_argument("--output-dir", help="folder for results.json and plots (evaluation-MODEL)")
    evaluate.add_argument("--overwrite", action="store_true", help="replace the results of an earlier evaluation")


def _add_predict(commands: "argparse._SubParsersAction[_Parser]") -> None:
    predict = _command(commands, "predict", _predict, "labels and scores of audio files",
                       "hf-speech predict my-model speech.wav\n"
                       "hf-speech predict my-model recordings/ --json > predictions.json")  # fmt: skip
    predict.add_argument("model", metavar="MODEL", help="a model's folder, or its name on the Hub")
    predict.add_argument("files", metavar="FILE", nargs="+", help="audio files, or folders of them")
    predict.add_argument(
        "--json", action="store_true", help="an array of {file, label, score, scores}, {file, value}, or with tasks"
    )
    predict.add_argument("--channel", default="mean", help="channel of multi-channel files: an index from 0, or mean")
    predict.add_argument("--on-bad-audio", choices=("raise", "skip"), default="raise", help="stop, or leave them out")


def _add_augment(commands: "argparse._SubParsersAction[_Parser]") -> None:
    augment = _command(commands, "augment", _augment, "write what an augmentation does to a recording, to listen to",
                       "hf-speech augment speech.wav --output-dir listen              one file of each kind\n"
                       "hf-speech augment speech.wav --output-dir listen --noise.probability 1 --noise.snr '[5, 5]'\n"
                       "hf-speech augment speech.wav --output-dir listen --recipe train.yaml --count 10")  # fmt: skip
    augment.add_argument("file", metavar="FILE", help="a recording")
    augment.add_argument("--output-dir", required=True, help="folder of the wav files")
    augment.add_argument("--recipe", help="a YAML file or a recipe, whose field augment is shown; flags stand above it")
    augment.add_argument("--count", type=int, default=1, help="draws, or of each kind so many (%(default)s)")
    augment.add_argument("--seed", type=int, default=0, help="of the draws (%(default)s)")


def _add_prepare(commands: "argparse._SubParsersAction[_Parser]") -> None:
    prepare = _command(commands, "prepare", _prepare, "write a corpus as Parquet that load_dataset reads",
                       "hf-speech prepare voxceleb --data-dir VoxCeleb --output-dir vox2-tiny --config-name tiny_few\n"
                       "hf-speech prepare iemocap --data-dir IEMOCAP_full_release --output-dir iemocap --fold 1\n"
                       "hf-speech prepare aishell4 --data-dir AISHELL-4 --output-dir meetings --overlap drop\n"
                       "hf-speech prepare kaldi --data-dir data/train --output-dir mine --test 0.1\n"
                       "hf-speech prepare iemocap --fields")  # fmt: skip
    prepare.add_argument("corpus", metavar="CORPUS", help="voxceleb, iemocap, aishell4, folder, csv, kaldi, "
                         "label-list or labels-json")  # fmt: skip
    prepare.add_argument("--data-dir", help="where the corpus lies")
    prepare.add_argument("--output-dir", help="folder of the Parquet files, README.md and audit.json")
    prepare.add_argument("--config-name", help="which configuration of the corpus")
    prepare.add_argument("--shard-size", default="500MB", help="size that no Parquet file exceeds (%(default)s)")
    prepare.add_argument("--num-workers", type=int, help="processes that read headers (one a core, at most 8)")
    prepare.add_argument("--overwrite", action="store_true", help="replace an earlier result")
    prepare.add_argument("--dry-run", action="store_true", help="look at everything, say what would be written, stop")
    prepare.add_argument("--fields", action="store_true", help="list the configurations and options of the corpus")


def _command(
    commands: "argparse._SubParsersAction[_Parser]",
    name: str,
    run: Callable[[argparse.Namespace, list[str]], int],
    does: str,
    examples: str,
) -> argparse.ArgumentParser:
    """A sub-command with its words of help."""
    shown = "\n".join(f"  {line}" for line in examples.splitlines())
    note = ""
    if name == "prepare":
        note = "\nEach corpus has options of its own: `hf-speech prepare CORPUS --fields` lists them."
    elif name == "augment":
        note = "\nEvery field of `augment` is a flag: `hf-speech train --fields` lists them."
    elif takes_fields(name):
        note = "\nEvery field of a run is a flag too: `hf-speech train --fields` lists them."
    command = commands.add_parser(
        name,
        help=does,
        description=does[0].upper() + does[1:] + ".",
        epilog=f"examples:\n{shown}\n{note}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    command.set_defaults(run=run)
    return command


class _Version(argparse.Action):
    def __init__(self, option_strings: Sequence[str], dest: str) -> None:
        super().__init__(option_strings, dest, nargs=0, help="print the version")

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from . import __version__

        print(f"hf_speech {__version__}")
        parser.exit()


def _quickstart(options: argparse.Namespace, fields: list[str]) -> int:
    from .fields import parse_flags
    from .training.quickstart import quickstart

    print(quickstart(options.output_dir, options.data_dir, parse_flags(fields), overwrite=options.overwrite))
    return EXIT_OK


def _prepare(options: argparse.Namespace, fields: list[str]) -> int:
    from .corpora.options import builder_of, describe_options, fit_options
    from .corpora.prepare import look, prepare
    from .corpora.shards import parse_size
    from .data.audit import describe
    from .fields import parse_flags

    if options.fields:
        print(describe_options(options.corpus))
        return EXIT_OK
    kind, card = builder_of(options.corpus)
    given = fit_options(kind, parse_flags(fields))
    if options.data_dir is None:
        raise InputError("give --data-dir, the folder where the corpus lies")
    how: dict[str, Any] = {"config_name": options.config_name, "workers": options.num_workers}
    if options.dry_run:
        audit = look(kind, options.corpus, options.data_dir, given, **how)
    elif options.output_dir is None:
        raise InputError("give --output-dir, the folder to write to, or --dry-run")
    else:
        how |= {"shard_size": parse_size(options.shard_size), "overwrite": options.overwrite, "card": card}
        audit = prepare(kind, options.corpus, options.data_dir, options.output_dir, given, **how)
        print(f"{options.output_dir}:")
    print("\n".join(f"  {line}" for line in describe(audit)))
    return EXIT_OK


def _train(options: argparse.Namespace, fields: list[str]) -> int:
    from .fields import parse_flags

    if options.fields:
        from .training.describe import describe_fields, describe_parts

        print(f"{describe_fields()}\n\n{describe_parts()}")
        return EXIT_OK
    from .training.arguments import read_config
    from .training.ranks import first_speaks
    from .training.run import leave_process_group, summary, train

    with first_speaks():
        given = parse_flags(fields)
        check_fields("train", given)
        config = read_config(options.config, given)
    if options.plot_schedule:
        from .training.preview import plot_learning

        print(plot_learning(config, Path(config.run.output_dir or ".")))
        return EXIT_OK
    try:
        with first_speaks():
            results = train(config)
    finally:
        leave_process_group()
    if results.model:  # other processes of a distributed run have nothing to say
        print(summary(results, Path(str(config.run.output_dir))))
    return EXIT_OK


def _crossval(options: argparse.Namespace, fields: list[str]) -> int:
    from .experiments.command import run_crossval
    from .fields import parse_flags

    return run_crossval(options, parse_flags(fields))


def _sweep(options: argparse.Namespace, fields: list[str]) -> int:
    from .experiments.command import run_sweep
    from .fields import parse_flags

    return run_sweep(options, parse_flags(fields))


def _evaluate(options: argparse.Namespace, fields: list[str]) -> int:
    from .fields import parse_flags
    from .training.measure import measure
    from .training.run import summary

    folder = Path(options.output_dir or f"evaluation-{Path(options.model).name}")
    results = measure(
        options.model, options.dataset, folder, parse_flags(fields), split=options.split, overwrite=options.overwrite
    )
    print(summary(results, folder))
    return EXIT_OK


def _predict(options: argparse.Namespace, fields: list[str]) -> int:
    import json

    from .inference import in_words, load_model, predict

    channel = int(options.channel) if options.channel.isdigit() else options.channel
    model, extractor = load_model(options.model)
    predictions = predict(model, extractor, options.files, channel=channel, on_bad=options.on_bad_audio)
    if options.json:
        print(json.dumps(predictions, indent=2, ensure_ascii=False))
        return EXIT_OK
    width = max(len(row["file"]) for row in predictions)
    for row in predictions:
        print(f"{row['file']:{width}}  {in_words(row)}")
    return EXIT_OK


def _augment(options: argparse.Namespace, fields: list[str]) -> int:
    from .data.augment import augmentation
    from .data.listening import not_shown, write_examples
    from .fields import lay, parse_flags

    table: dict[str, Any] = {}
    if options.recipe is not None:
        from .training.arguments import read_config

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


def _card(options: argparse.Namespace, fields: list[str]) -> int:
    from .hub.card import write_card
    from .hub.recipe_card import is_recipe, write_recipe_card
    from .training.folder import experiment_in

    folder = Path(options.folder)
    kind = experiment_in(folder)
    if kind is not None:
        raise InputError(f"{folder}: holds a {kind}, which writes its page itself; give the folder of a run in it")
    print(write_recipe_card(folder) if is_recipe(folder) else write_card(folder))
    return EXIT_OK


def _doctor(options: argparse.Namespace, fields: list[str]) -> int:
    from . import doctor

    return doctor.main([flag for flag, given in (("--fix", options.fix), ("--json", options.json)) if given])


if __name__ == "__main__":
    sys.exit(main())
