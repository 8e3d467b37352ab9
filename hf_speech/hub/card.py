"""results.json to the model's card, README.md: every fact and number in it is one of results.json.

The sections are functions from the facts to Markdown, in the order in which the card shows them.
"""

import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import replacing
from ..plots import plot_name
from ..results import Results, validate
from . import encoder_card
from .caveats import limits_section
from .edits import merged, read_card, signed
from .loading import how_to_load
from .making import costs_section, provenance_section, recipe_section
from .markdown import markdown_table
from .measured import measured
from .metadata import metadata
from .opening import opening
from .training_data import training_data
from .uses import uses
from .words import tasks_of

__all__ = ["CAPTIONS", "markdown_table", "provenance_section", "recipe_section", "render_card", "write_card"]

Facts = Mapping[str, Any]

# Of what was measured, and of how it was trained.
_OF_RESULTS = {
    "numbers": "The numbers with their 95 % intervals",
    "confusion": "Confusion matrix: rows are labels, columns predictions; colour is the share of the row",
    "regression": "Predictions against labels",
    "det": "Detection error trade-off of the trials: pairs of one speaker refused, pairs of two accepted",
    "map": "Embeddings in the plane: what is near sounds alike to the model; larger distances mean nothing",
}
_OF_TRAINING = {
    "curves": "Loss and validation metrics during training",
    "layers": "Learned sum of layers: the share of each",
}
CAPTIONS = {**_OF_RESULTS, **_OF_TRAINING}


def render_card(results: Facts, files: Collection[str] = frozenset()) -> str:
    """The card as Markdown with the Hub's YAML in front, and the mark of `edits` at its end.

    Args:
        results: the content of results.json.
        files: names of the files beside it; pictures are shown if they are there.

    Raises:
        InputError: the content does not have the form of results.json.
    """
    validate(results)
    of_encoder = encoder_card.is_encoder(results)
    curves = plot_name("curves") if plot_name("curves") in files else ""
    sections = encoder_card.sections(results, curves) if of_encoder else _sections(results, files)
    return signed(f"---\n{metadata(results)}\n---\n\n" + "\n\n".join(sections) + "\n")


def _sections(results: Facts, files: Collection[str]) -> list[str]:
    return [
        opening(results),
        how_to_load(results),
        *uses(results),
        measured(results),
        *_pictures(results, files, _OF_RESULTS),
        training_data(results),
        recipe_section(results),
        *_pictures(results, files, _OF_TRAINING),
        costs_section(results),
        limits_section(results),
        provenance_section(results),
    ]


def _pictures(results: Facts, files: Collection[str], captions: Mapping[str, str]) -> Iterator[str]:
    """Those that are there: each kind of all tasks, then of each one."""
    for kind, caption in captions.items():
        endings = {"": "", **{f"-{task['name']}": f" of `{task['name']}`" for task in tasks_of(results)}}
        for ending, of_task in endings.items():
            if plot_name(kind, ending) in files:
                title, colon, rest = caption.partition(":")
                caption_of_task = f"{title}{of_task}{colon}{rest}"
                yield f"![{title}{of_task}]({plot_name(kind, ending)})\n\n*{caption_of_task}*"


def write_card(folder: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
    """Writes README.md from the results.json in a folder, around what was edited in it, and gives its path.

    Args:
        folder: of a model.
        overwrite: whether what was edited may be lost.

    Raises:
        InputError: there is no results.json, or it does not have the form; or there is a README.md that was not made
            here.
    """
    folder = Path(folder)
    path = folder / "README.md"
    card = render_card(asdict(Results.read(folder)), {file.name for file in folder.iterdir()})
    if path.is_file() and not overwrite:
        around = merged(card, read_card(path))
        if not around.made_by_us:
            raise InputError(f"{path}: has no mark of hf_speech, which did not make it; --overwrite-card replaces it")
        card = around.text
    with replacing(path) as temporary:
        temporary.write_text(card, encoding="utf-8")
    return path
