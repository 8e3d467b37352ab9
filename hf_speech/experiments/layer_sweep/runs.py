"""A small Transformer on the frames of a layer, trained by an ordinary run: the regression head of age from speech.

One pass over the recordings fills the caches of all layers: each run finds there what its frozen encoder says, and
runs none.
"""

import csv
import logging
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray

from ...audio import SAMPLE_RATE
from ...data.chunks import Chunk, chunk_rows
from ...data.frozen import entry_names
from ...data.schema import add_columns, file_name
from ...errors import InputError
from ...layers.encoders import LayeredEncoder
from ...layers.passes import frames_of_rows, require_numbers
from ...models.modeling import HfSpeechModel
from ...predictions import FILE_NAME
from ...store import ENTRY_BYTES, Store
from ...training.config import RunConfig
from ...training.frozen_model import identity
from ...training.start import is_finished
from ..frozen import with_cache
from ..local import LocalLauncher
from ..members import Ended, Member, folder_name, member_config, run_members
from ..tables import dead_or_done
from .parts import Part, SweepRows

if TYPE_CHECKING:
    from .sweep import Probed, Question

logger = logging.getLogger(__name__)

NECK = {"layers": 2, "size": 256, "heads": 4, "feedforward": 1024}  # of six layers and 2,048 in the original


def check_encoder(backbone: str) -> None:
    """Refuses a finished model of ours: a run that starts from one takes its neck and pooling, and these are others.

    Raises:
        InputError: it is one.
    """
    if is_finished(backbone):
        raise InputError(
            f"--probe transformer puts a neck of its own on the encoder, and backbone {backbone} is a finished model, "
            "which a run takes with the neck that it has; give --probe linear, or the checkpoint of an encoder"
        )


def check_choosing(rows: SweepRows) -> None:
    """Refuses a sweep of trained probes without validation rows: they choose the weights, and the layer.

    Raises:
        InputError: so.
    """
    if not all(part.chooses for part in rows.parts):
        raise InputError(
            "--probe transformer chooses by validation rows, of which there are none: give --validation 0.1"
        )


def neck_fields(config: RunConfig) -> dict[str, Any]:
    """The fields of a run by which it has the Transformer: those of its own neck, where it has one."""
    if config.model.neck not in (None, "none"):
        return {"neck": config.model.neck, "neck_config": config.model.neck_config}
    return {"neck": "transformer", "neck_config": dict(NECK)}


def transformer_sweep(
    config: RunConfig,
    root: Path,
    encoder: LayeredEncoder,
    rows: SweepRows,
    question: "Question",
    pooling: str,
    parallel: int,
) -> "list[Probed]":
    """Trains the Transformer on every layer, part by part.

    Args:
        config: fields of a run; those of the learning and of the neck hold here.
        root: folder of the sweep, in which each run has one of its own.
        encoder: of the layers.
        rows: what is learnt from and tested.
        question: what is asked.
        pooling: behind the Transformer.
        parallel: runs beside each other.

    Raises:
        InputError: fields that don't fit together, or runs that were given something wrong.
        BrokenRunError: some runs died.
    """
    from .sweep import TRANSFORMER, Probed

    members = [
        Member(_name(layer, part), _member(config, root, layer, part, pooling), {"layer": layer, "fold": part.name})
        for layer in encoder.layers
        for part in rows.parts
    ]
    fill_caches(members, encoder, rows, config.batches.max_seconds)
    ended = {one.member.name: one for one in run_members(root, members, LocalLauncher(parallel))}
    dead_or_done(list(ended.values()), root, "jobs")
    found = []
    for layer in encoder.layers:
        said, scores = np.full(len(rows.labels), np.nan), []
        for part in rows.parts:
            one = ended[_name(layer, part)]
            said[part.places[part.tested]] = _predictions(root, one, part, rows)
            scores.append(_score(one, question.metric))
        found.append(Probed(TRANSFORMER, layer, said, scores))
    return found


def _name(layer: int, part: Part) -> str:
    return folder_name(f"layer{layer}{f'-{part.name}' if part.name else ''}")


def _member(config: RunConfig, root: Path, layer: int, part: Part, pooling: str) -> RunConfig:
    """The fields of one run."""
    changes = {**part.fields, "layer": layer, "freeze": "backbone", "pooling": pooling, **neck_fields(config)}
    return with_cache(member_config(config, changes, f"layer {layer}"), root)


def _predictions(root: Path, one: Ended, part: Part, rows: SweepRows) -> NDArray:
    """(n,) what a run said of its tested rows, in their order.

    Raises:
        InputError: predictions.csv is not there, or of other rows.
    """
    path = root / one.member.name / FILE_NAME
    try:
        with path.open(newline="", encoding="utf-8") as file:
            said = [row["predicted"] for row in csv.DictReader(file)]
    except (OSError, KeyError) as error:
        raise InputError(f"{path}: can't be read; delete the folder {path.parent}, and it is run again") from error
    if len(said) != len(part.places[part.tested]):
        raise InputError(f"{path}: is of other rows; delete the folder {path.parent}, and it is run again")
    names = rows.rows.names
    return np.array([float(one) for one in said] if names is None else [names.index(one) for one in said], float)


def _score(one: Ended, metric: str) -> float:
    """The number of a run's validation rows that decides."""
    metrics = one.results.metrics if one.results else []
    values = [number["value"] for number in metrics if number["name"] == metric and number["split"] == "validation"]
    return float("nan") if not values or values[0] is None else float(values[0])


def fill_caches(members: Sequence[Member], encoder: LayeredEncoder, rows: SweepRows, max_seconds: float) -> None:
    """Fills the frozen caches of all runs by one pass of the encoder.

    Args:
        members: the runs; those without a cache run their encoder by themselves.
        encoder: of all their layers.
        rows: that they learn from and are tested on.
        max_seconds: of the pieces in which rows that are not learnt from are heard.

    Raises:
        InputError: no room on the disk.
    """
    caches = {
        member.config.model.layer: (member.config.batches.frozen_cache, member.config)
        for member in members
        if member.config.batches.frozen_cache is not None
    }
    if set(caches) != set(encoder.layers):
        return
    stores = {layer: _store(config, int(layer), encoder, str(cache)) for layer, (cache, config) in caches.items()}
    pieces = _pieces(rows, max_seconds)
    channel = members[0].config.data.channel
    names = entry_names(rows.all, pieces, channel)
    there = [set(store.places(set(names))) for store in stores.values()]
    kept = set.intersection(*there)
    missing = list({name: i for i, name in enumerate(names) if name not in kept}.values())
    if not missing:
        return
    seconds = sum(pieces[i].length for i in missing) / SAMPLE_RATE
    logger.info("one pass gives the frames of %d layers, of %.0f s of audio", len(stores), seconds)
    store = next(iter(stores.values()))
    frames = sum(encoder.row_frames(pieces[i].length) for i in missing)
    store.require_room(len(stores) * (4 * frames * encoder.size + ENTRY_BYTES * len(missing)))
    heard = _as_rows(rows.all, [pieces[i] for i in missing])
    with ExitStack() as stack:
        keep = {layer: stack.enter_context(store.adding()) for layer, store in stores.items()}
        said = frames_of_rows(
            encoder, heard, max_seconds=2 + max(heard["length"]) / SAMPLE_RATE, channel=channel, description="frames"
        )
        for row, layers in said:
            require_numbers(encoder, layers, file_name(heard[row]["audio"]))
            for layer, values in zip(encoder.layers, layers, strict=True):
                keep[layer]({names[missing[row]]: torch.from_numpy(values)})


def _pieces(rows: SweepRows, max_seconds: float) -> list[Chunk]:
    """What the runs hear: rows whole where they are learnt from, in pieces where they are not."""
    table = rows.all
    learnt = set(np.concatenate([part.places["train"] for part in rows.parts]).tolist())
    held_out = [places for part in rows.parts for split, places in part.places.items() if split != "train"]
    other = set(np.concatenate(held_out).tolist())
    whole = chunk_rows(table, max(table["length"]) / SAMPLE_RATE + 1.0)
    return [piece for piece in whole if piece.row in learnt] + [
        piece for piece in chunk_rows(table, max_seconds) if piece.row in other
    ]


def _as_rows(table: Dataset, pieces: Sequence[Chunk]) -> Dataset:
    """Pieces as rows of their own."""
    cuts = {name: [getattr(piece, name) for piece in pieces] for name in ("start", "end", "length")}
    return add_columns(table.select([piece.row for piece in pieces]), cuts)


def _store(config: RunConfig, layer: int, encoder: LayeredEncoder, cache: str) -> Store:
    """The cache in which a run with a layer looks for its frames."""
    speech = HfSpeechModel.from_backbone(
        str(config.model.backbone),
        layer=layer,
        pooling="mean",
        sampling_rate=encoder.extractor.sampling_rate,
        do_normalize=bool(encoder.extractor.do_normalize),
        attn_implementation=config.model.attn_implementation,
    )
    return Store(Path(cache), identity(speech, encoder.extractor, "frames"), option="frozen_cache")
