"""`hf-speech embed`: what a model makes of recordings, before any label."""

import argparse
from pathlib import Path

from ..errors import EXIT_OK
from ..flags import add_flags, given_flags
from ..layers.options import EmbedOptions, FeatureOptions, RecordingOptions
from ..verification.options import EmbeddingOptions
from .parser import Commands, add_command

_PARTS = {
    "features": (FeatureOptions, "features"),
    "recordings": (RecordingOptions, "recordings"),
    "embedding": (EmbeddingOptions, "how they are heard"),
}
_NUMBERS = (
    "Layers are numbered from 1: layer 7 is the output of the seventh transformer layer, before any final norm: "
    "hidden_states[7] of transformers, as iscap-age's README counts. Of wav2vec 1.0 there is layer 1, its output."
)


def add_embed(commands: Commands) -> None:
    """Puts `embed` into the parser."""
    embed = add_command(commands, "embed", _embed, "embeddings, or frames of any layer, of many recordings",
                        "hf-speech embed my-model recordings/ --output-dir embedded\n"
                        "hf-speech embed facebook/wav2vec2-base recordings/ --layer 7 --output-dir frames\n"
                        "hf-speech embed facebook/wav2vec2-base data/train --layer 7,9 --format kaldi "
                        "--output-dir kaldi\n"
                        "hf-speech embed facebook/wav2vec2-base metadata.csv --layer all --pooling mean+std "
                        "--output-dir pooled\n"
                        "accelerate launch --num_processes 4 -m hf_speech.cli embed facebook/wav2vec2-base data/train "
                        "--layer 7 --output-dir frames")  # fmt: skip
    embed.description = f"{embed.description} {_NUMBERS}"
    embed.formatter_class = _Paragraph
    embed.add_argument("model", metavar="MODEL", help="a model's folder, or its name on the Hub; with --layer also a "
                       "checkpoint of a self-supervised encoder")  # fmt: skip
    embed.add_argument("files", metavar="DATA", nargs="+", help="a data set (folder, csv, wav.scp, Hub name), or audio "
                       "files and folders of them")  # fmt: skip
    embed.add_argument("--output-dir", required=True, help="folder of the features; one that was begun is gone on with")
    for kind, title in _PARTS.values():
        add_flags(embed, kind, title)


class _Paragraph(argparse.RawDescriptionHelpFormatter):
    """Fills the description, and leaves the examples as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if text.startswith("examples:"):
            return super()._fill_text(text, width, indent)
        return argparse.HelpFormatter._fill_text(self, text, width, indent)


def _embed(options: argparse.Namespace, fields: list[str]) -> int:
    chosen = EmbedOptions(**{part: kind(**given_flags(kind, options)) for part, (kind, _) in _PARTS.items()})
    from ..layers.embed import embed
    from ..ranks import first_speaks, join_ranks, leave_process_group

    try:
        with first_speaks():
            facts = embed(options.model, options.files, options.output_dir, chosen)
            first = join_ranks()[0] == 0
    finally:
        leave_process_group()
    if first:
        print(f"{facts['rows']} recordings, {facts['seconds']:.1f} s: {Path(options.output_dir) / 'features.json'}")
    return EXIT_OK
