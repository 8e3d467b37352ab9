"""`hf-speech prepare`: a corpus becomes a data set."""

import argparse
from pathlib import Path
from typing import Any

from ..errors import EXIT_OK, InputError
from .hub import add_flags_of_data, push_data
from .parser import Commands, add_command


def add_prepare(commands: Commands) -> None:
    """Puts `prepare` into the parser."""
    prepare = add_command(commands, "prepare", _prepare, "write a corpus as Parquet that load_dataset reads",
                       "hf-speech prepare voxceleb --data-dir VoxCeleb --output-dir vox2-tiny --config-name tiny_few\n"
                       "hf-speech prepare iemocap --data-dir IEMOCAP_full_release --output-dir iemocap --fold 1\n"
                       "hf-speech prepare aishell4 --data-dir AISHELL-4 --output-dir meetings --overlap drop\n"
                       "hf-speech prepare kaldi --data-dir data/train --output-dir mine --test 0.1\n"
                       "hf-speech prepare folder --data-dir recordings --output-dir mine --push-to-hub my-recordings\n"
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
    prepare.add_argument("--push-to-hub", metavar="REPO", help="push it then: OWNER/NAME, or NAME under your own; "
                         "private, if not --public")  # fmt: skip
    add_flags_of_data(prepare)
    prepare.add_argument("--fields", action="store_true", help="list the configurations and options of the corpus")


def _prepare(options: argparse.Namespace, fields: list[str]) -> int:
    from ..corpora.options import builder_of, describe_options, fit_options
    from ..corpora.prepare import look, prepare
    from ..corpora.shards import parse_size
    from ..data.audit import describe
    from ..fields import parse_flags

    if options.fields:
        print(describe_options(options.corpus))
        return EXIT_OK
    kind, card = builder_of(options.corpus)
    given = fit_options(kind, parse_flags(fields))
    if options.push_to_hub is None and (options.public or options.i_may_redistribute):
        raise InputError("--public and --i-may-redistribute are about --push-to-hub; give it too")
    if options.data_dir is None:
        raise InputError("give --data-dir, the folder where the corpus lies")
    how: dict[str, Any] = {"config_name": options.config_name, "workers": options.num_workers}
    if options.dry_run:
        audit = look(kind, options.corpus, options.data_dir, given, **how)
    elif options.output_dir is None:
        raise InputError("give --output-dir, the folder to write to, or --dry-run")
    else:
        if options.push_to_hub is not None:
            _check_push(options)
        how |= {"shard_size": parse_size(options.shard_size), "overwrite": options.overwrite, "card": card}
        audit = prepare(kind, options.corpus, options.data_dir, options.output_dir, given, **how)
        print(f"{options.output_dir}:")
    print("\n".join(f"  {line}" for line in describe(audit)))
    if options.push_to_hub is not None and not options.dry_run:
        return push_data(Path(options.output_dir), options.push_to_hub, public=options.public)
    return EXIT_OK


def _check_push(options: argparse.Namespace) -> None:
    """Finds out before a corpus is read whether it could be pushed afterwards."""
    from ..hub.push import PushOptions, check_push
    from ..hub.rights import check_rights

    check_rights(options.corpus, public=options.public, may_redistribute=options.i_may_redistribute)
    check_push("dataset", options.push_to_hub, PushOptions(private=False if options.public else None), {})
