"""The command `hf-speech`: its sub-commands, what they share, and what becomes of errors."""

import argparse
import atexit
import gc
import logging
import os
import sys
from collections.abc import Sequence

from ..errors import (
    EXIT_FAULT,
    EXIT_INPUT,
    EXIT_INTERRUPTED,
    EXIT_STOPPED,
    BrokenRunError,
    InputError,
    StoppedError,
)
from ..flags import take_fields
from ..memory import keep_few_plans
from ..pipes import until_closed
from .cluster import add_cluster
from .corpora import add_prepare
from .demo import add_demo
from .features import add_embed
from .hub import add_push
from .layers import add_layer_sweep
from .models import add_card, add_evaluate, add_predict
from .parser import Commands, Parser, add_command
from .pretrain import add_pretrain
from .serving import add_export
from .training import add_augment, add_experiments, add_quickstart, add_train
from .verification import add_compare, add_gallery, add_verify

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
    keep_few_plans()
    if argv is None:
        _spare_the_collector()
    return until_closed(lambda: _main(argv))


def _spare_the_collector() -> None:
    """Lets a process of its own come and go in two thirds of the time: the libraries make a million objects that stay.

    To look for garbage among them takes a second while they are imported, and as long again when Python ends. It holds
    for every command, since each imports them, and all along: cycles are still found, after ten thousand new objects in
    place of Python's own number, and what no cycle holds, tensors for one, goes at once as ever.
    """
    gc.set_threshold(10_000)
    atexit.register(gc.freeze)


def _main(argv: Sequence[str] | None) -> int:
    words, fields = take_fields(list(sys.argv[1:] if argv is None else argv))
    options = parse(words)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    for library in ("httpx", "httpx2"):
        logging.getLogger(library).setLevel(logging.WARNING)
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


def parse(words: list[str]) -> argparse.Namespace:
    """What the words of a command line say; files may stand before and after flags, which argparse alone refuses."""
    whole = parser()
    options, further = whole.parse_known_args(words)
    if further and (not hasattr(options, "files") or any(word.startswith("-") for word in further)):
        options.parser.refuse(further)
    if further:
        options.files = [*options.files, *further]
    return options


def parser() -> Parser:
    """The parser of all commands, in the order in which the help lists them."""
    parser = Parser(prog="hf-speech", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", action=_Version)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for add in (
        add_quickstart,
        add_prepare,
        add_train,
        add_pretrain,
        add_experiments,
        add_layer_sweep,
        add_cluster,
        add_evaluate,
        add_predict,
        add_verify,
        add_gallery,
        add_embed,
        add_compare,
        add_augment,
        add_card,
        add_push,
        add_export,
        add_demo,
        _add_doctor,
    ):
        add(commands)
    return parser


def _add_doctor(commands: Commands) -> None:
    doctor = add_command(commands, "doctor", _doctor, "what is installed, what works, what is known to be broken",
                      "hf-speech doctor\nhf-speech doctor --fix")  # fmt: skip
    doctor.add_argument("--fix", action="store_true", help="mend a torchaudio that was built for another torch")
    doctor.add_argument("--json", action="store_true", help="the report as JSON")


class _Version(argparse.Action):
    def __init__(self, option_strings: Sequence[str], dest: str) -> None:
        super().__init__(option_strings, dest, nargs=0, help="print the version")

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from .. import __version__

        print(f"hf_speech {__version__}")
        parser.exit()


def _doctor(options: argparse.Namespace, fields: list[str]) -> int:
    from .. import doctor

    return doctor.main([flag for flag, given in (("--fix", options.fix), ("--json", options.json)) if given])
