"""`hf-speech pretrain`: an encoder learns of speech before it is fine-tuned."""

import argparse

from ..errors import EXIT_OK
from ..flags import check_fields
from .parser import Commands, add_command
from .training import run_to_its_end


def add_pretrain(commands: Commands) -> None:
    """Puts `pretrain` into the parser."""
    pretrain = add_command(commands, "pretrain", _pretrain, "adapt an encoder to your speech, before it is fine-tuned",
                        "hf-speech pretrain --backbone facebook/wav2vec2-base --dataset recordings/ "
                        "--validation 0.05 --max-steps 20000 --output-dir runs/adapted\n"
                        "hf-speech train train.yaml --backbone runs/adapted --output-dir runs/emotion\n"
                        "hf-speech pretrain wav2vec2-sre-pretraining --dataset data/wav_path --output-dir runs/sre\n"
                        "hf-speech pretrain pretrain.yaml --dataset data/wav.scp --batch-seconds 80 --bf16 true "
                        "--output-dir runs/adapted\n"
                        "accelerate launch --num_processes 4 -m hf_speech.cli pretrain pretrain.yaml "
                        "--output-dir runs/adapted")  # fmt: skip
    pretrain.add_argument(
        "config",
        metavar="CONFIG.yaml",
        nargs="?",
        help="fields of the run, or the name of a recipe; flags stand above them",
    )
    pretrain.add_argument("--fields", action="store_true", help="list the fields that have a part in it")


def _pretrain(options: argparse.Namespace, fields: list[str]) -> int:
    from ..fields import parse_flags

    if options.fields:
        from ..pretraining.fields import WITHOUT_PART
        from ..training.describe import describe_fields

        print(describe_fields(WITHOUT_PART))
        return EXIT_OK
    from ..pretraining.fields import check_pretraining
    from ..pretraining.run import PRETRAINING
    from ..ranks import first_speaks
    from ..training.arguments import read_config

    with first_speaks():
        given = parse_flags(fields)
        check_fields("pretrain", given)
        config = read_config(options.config, given, check_pretraining)
    return run_to_its_end(config, PRETRAINING)
