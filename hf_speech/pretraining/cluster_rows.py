"""Recordings -> cluster labels of their frames: `hf-speech cluster MODEL DATASET`.

Centroids are fitted on the rows of one split, and no other row is heard before they stand. The frames that are fitted
on lie in a file in the output folder meanwhile: to read them again, for every epoch, costs far less than to run the
encoder again. Where all frames were drawn, the labels of these rows are made of them too; else, and for other rows, the
encoder is run once more.
"""

import json
import logging
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray

from ..data.checks import BadAudio
from ..data.heard import contents
from ..data.schema import Splits, item_ids
from ..data.splits import only_rows
from ..errors import InputError, list_some, unknown_name
from ..files import sha256_of
from ..fingerprint import fingerprint
from ..layers.encoders import LayeredEncoder, load_layers
from ..layers.passes import frames_of_rows, require_numbers
from ..results import run_facts
from ..store import require_room
from ..training.rows import check_audio_of, found, load_any
from .cluster_folder import require_free, workplace
from .cluster_options import COUNTS, ClusterOptions
from .clusters import CODEBOOK, FACTS, Codebook, fit_codebook, load_codebook, require_frames
from .frame_labels import (
    LABELS,
    LabelJson,
    LabelWriter,
    fitted_on,
    require_json_names,
    write_fitted_on,
)
from .rows import refuse_tested
from .spool import FrameSpool, drawn_frames

logger = logging.getLogger(__name__)

ALL = "all"
_FEW_FRAMES = 40  # a cluster; of fewer, clusters are rather those of single recordings
# Of an encoder's identity, what has to be that of the codebook: the rest changes with the libraries and settings too.
_LASTING = ("layers", "class_token", "sampling_rate", "do_normalize", "weights")


@dataclass(frozen=True)
class Recordings:
    """The rows of a split, sorted by their ids.

    Attributes:
        rows: with `audio`, `length` and `duration`.
        ids: of the rows.
        frames: of each, as its length tells.
        bad: those that were left out.
    """

    rows: Dataset
    ids: list[str]
    frames: list[int]
    bad: list[BadAudio]

    def facts(self) -> dict[str, Any]:
        """Which they are, and how many."""
        return {
            "rows": len(self.ids),
            "seconds": float(np.sum(self.rows["duration"])),
            "fingerprint": fingerprint(self.ids),
            "left_out": [{"file": bad.file, "reason": bad.reason} for bad in self.bad],
        }


def cluster(
    model: str, dataset: str, folder: str | Path, options: ClusterOptions, *, loaded: Splits | None = None
) -> dict[str, Any]:
    """Fits centroids, or takes those of a codebook, labels frames by them, and writes all into a folder.

    Written are codebook.safetensors where something was fitted, fitted_on.parquet (the speech that it was fitted on),
    labels.parquet, with `--format json` the files of FT-w2v2-ser, and clusters.json, which comes last. Until all are
    made, nothing of them is there.

    Args:
        model: folder or Hub name of an encoder.
        dataset: a folder, a table, a list, or a name on the Hub.
        folder: where to write; it is made if need be.
        options: all else.
        loaded: rows in the place of those that lie there, by split.

    Returns:
        What clusters.json holds.

    Raises:
        InputError: something that was given can't be used.
    """
    started, place, fit = time.monotonic(), Path(folder), options.fit
    require_free(place, fit.overwrite)
    codebook, spans = (None, []) if fit.codebook is None else _given(fit.codebook, place, fit.counts)
    encoder = _encoder(model, codebook, options)
    parts = read_recordings(dataset, encoder, options, loaded)
    drawn = 0 if codebook else _frames_to_fit(parts[options.recordings.split], options)
    labelled = {name: parts[name] for name in _asked(options, list(parts))}
    _require_distinct([name for part in labelled.values() for name in part.ids], fit.format)
    with workplace(place, fit.overwrite) as partial, ExitStack() as stack:
        spool = None
        if codebook is None:
            require_room(partial, 4 * encoder.size * drawn, "--output-dir")
            spool = stack.enter_context(FrameSpool(partial / "frames.f32", encoder.size))
            codebook = _fitted(spool, encoder, parts[options.recordings.split], options)
            codebook.save(partial / CODEBOOK)
            source = {"model": model, "layer": fit.layer, "encoder": _lasting(encoder), "dataset": dataset}
            codebook.facts.update(source, sha256=sha256_of(partial / CODEBOOK))
            spans = [span for span, _ in contents(parts[options.recordings.split].rows)]
        write_fitted_on(partial, spans, codebook.facts["sha256"])
        frames = _label(partial, encoder, codebook, labelled, spool, options)
        facts = {
            "codebook": codebook.facts,
            "labels": {
                "dataset": dataset,
                "only": options.recordings.only,
                "counts": list(codebook.centroids),
                "splits": {name: {**part.facts(), "frames": frames[name]} for name, part in labelled.items()},
            },
            "run": run_facts(fit.seed, device=str(encoder.device), wall_seconds=round(time.monotonic() - started, 1)),
        }
        (partial / FACTS).write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return facts


def told(facts: Mapping[str, Any], folder: Path) -> str:
    """What was done, in lines."""
    lines = [
        f"{count} clusters: {use['used']} used, perplexity {use['perplexity']:.1f}, inertia {use['inertia']:.4g}"
        for count, use in facts["codebook"]["use"].items()
        if int(count) in facts["labels"]["counts"]
    ]
    splits = facts["labels"]["splits"]
    rows, seconds, frames = (sum(part[name] for part in splits.values()) for name in ("rows", "seconds", "frames"))
    rate = seconds / max(facts["run"]["wall_seconds"], 0.1)
    lines.append(
        f"labels of {frames} frames of {rows} recordings ({', '.join(splits)}), {seconds:.0f} s: {folder / LABELS}; "
        f"{rate:.0f} s of audio a second"
    )
    return "\n".join(lines)


# --- what is given ----------------------------------------------------------------------------------------------------


def _given(folder: str, place: Path, counts: list[int]) -> tuple[Codebook, list[tuple[str, float, float]]]:
    """A codebook that was fitted before, and the speech that it was fitted on.

    Raises:
        InputError: it can't be used, or lies where is to be written.
    """
    if Path(folder).absolute() == place.absolute():
        raise InputError(f"{place}: the codebook lies there, and would be lost; give another --output-dir")
    codebook = load_codebook(folder)
    spans = fitted_on(folder, codebook.facts["sha256"])
    return codebook.only(counts) if counts else codebook, spans


def _encoder(model: str, codebook: Codebook | None, options: ClusterOptions) -> LayeredEncoder:
    """The encoder up to the layer.

    Raises:
        InputError: no such layer, or another encoder or layer than the codebook was fitted on.
    """
    layer = options.fit.layer
    if codebook is not None:
        fitted = codebook.facts["layer"]
        if layer not in (None, fitted):
            raise InputError(f"--layer is {layer}, and the codebook was fitted on layer {fitted}; leave --layer out")
        layer = fitted
    encoder = load_layers(model, [int(str(layer))], revision=options.passing.revision, dtype=options.passing.dtype)
    if codebook is not None and (_lasting(encoder), encoder.size) != (codebook.facts["encoder"], codebook.size):
        there, here = codebook.facts["encoder"], _lasting(encoder)
        differ = [name for name in _LASTING if there.get(name) != here[name]] or ["numbers in a frame"]
        raise InputError(
            f"{model}: is not the encoder that the codebook was fitted on, {codebook.facts['model']}: they differ by "
            f"{', '.join(differ)}; give that one, or fit another codebook"
        )
    return encoder


def _lasting(encoder: LayeredEncoder) -> dict[str, Any]:
    identity = encoder.identity()
    return {name: identity[name] for name in _LASTING}


def read_recordings(
    dataset: str, encoder: LayeredEncoder, options: ClusterOptions, loaded: Splits | None = None
) -> dict[str, Recordings]:
    """The rows that are fitted on or labelled, by split, each looked at.

    Raises:
        InputError: there is no such data set or split, it has no rows, files that can't be used, or speech to fit on
            that is tested on as well.
    """
    fit, only = options.fit, options.recordings.only
    arguments = found(options.recordings.arguments(dataset))
    splits = load_any(arguments) if loaded is None else loaded
    splits = splits if only is None else only_rows(splits, only)
    fitted = [] if fit.codebook is not None else [options.recordings.split]
    wanted = {*fitted, *_asked(options, list(splits))}
    for name in sorted(wanted):
        if name not in splits:
            raise unknown_name(name, splits, f"split of {dataset}")
    if not any(len(splits[name]) for name in wanted):
        raise InputError(f"{dataset}: has no rows; give recordings")
    for name in fitted:
        if "test" in splits and name != "test":
            refuse_tested(splits[name], splits["test"], name)
    used = {name: rows for name, rows in splits.items() if name in wanted}
    checked, bad = check_audio_of(used, arguments, encoder.min_samples / encoder.rate)
    return {name: _sorted(rows, bad[name], str(arguments.dataset), encoder) for name, rows in checked.items()}


def _asked(options: ClusterOptions, splits: list[str]) -> list[str]:
    """The splits whose rows get labels."""
    fit = options.fit
    if ALL in fit.apply or (not fit.apply and fit.codebook is not None):
        return splits
    return fit.apply or [options.recordings.split]


def _sorted(rows: Dataset, bad: list[BadAudio], root: str, encoder: LayeredEncoder) -> Recordings:
    ids = item_ids(rows, root)
    order = sorted(range(len(ids)), key=ids.__getitem__)
    rows = rows.select(order)
    frames = [encoder.row_frames(length) for length in rows["length"]]
    return Recordings(rows, [ids[i] for i in order], frames, bad)


def _require_distinct(ids: list[str], form: str) -> None:
    """Refuses two recordings with one id: their labels could not be told apart."""
    twice = [name for name, times in Counter(ids).items() if times > 1]
    if twice:
        raise InputError(
            f"{len(twice)} ids are those of several recordings, such as {list_some(twice, 3)}; give each row an id "
            "of its own in a column id, or leave it out"
        )
    if form == "json":
        require_json_names(ids)


def _frames_to_fit(part: Recordings, options: ClusterOptions) -> int:
    """How many frames will be drawn; there have to be as many as clusters."""
    drawn = sum(len(_drawn(name, frames, options)) for name, frames in zip(part.ids, part.frames, strict=True))
    most = max(options.fit.counts or COUNTS)
    require_frames(drawn, [most])
    if drawn < _FEW_FRAMES * most:
        told = "%d clusters of %d frames: %.2g a cluster, which is few; give smaller --counts"
        logger.warning(told, most, drawn, drawn / most)
    return drawn


# --- what is done -----------------------------------------------------------------------------------------------------


def _drawn(name: str, frames: int, options: ClusterOptions) -> NDArray:
    """The frames of a recording that are fitted on."""
    return drawn_frames(name, frames, options.fit.sample_ratio, options.fit.seed)


def _fitted(spool: FrameSpool, encoder: LayeredEncoder, part: Recordings, options: ClusterOptions) -> Codebook:
    """A codebook of the frames that are drawn of the rows, which the spool then has."""
    for row, frames in _heard(encoder, part, options, "fitting"):
        spool.add(row, frames[_drawn(part.ids[row], len(frames), options)])
    fit = options.fit
    codebook = fit_codebook(spool, fit.counts or COUNTS, seed=fit.seed, epochs=fit.epochs)
    fitted_on = {"split": options.recordings.split, "only": options.recordings.only, **part.facts()}
    codebook.facts.update(sample_ratio=fit.sample_ratio, fitted_on=fitted_on)
    return codebook


def _heard(
    encoder: LayeredEncoder, part: Recordings, options: ClusterOptions, description: str
) -> Iterator[tuple[int, NDArray]]:
    """Each row's number and frames, (F, D).

    Raises:
        InputError: frames that are no numbers, or audio that can't be used.
    """
    said = options.passing
    for row, layers in frames_of_rows(
        encoder,
        part.rows,
        max_seconds=said.chunk_seconds,
        batch_seconds=said.batch_seconds,
        channel=options.recordings.channel_number,
        workers=said.num_workers,
        description=description,
    ):
        require_numbers(encoder, layers, part.ids[row])
        yield row, layers[0]


def _times(encoder: LayeredEncoder) -> dict[str, float]:
    """The middle of the first frame of a recording, and how far it is to the next, seconds."""
    return {"first": encoder.first_centre, "hop": encoder.hop / encoder.rate}


def _label(
    folder: Path,
    encoder: LayeredEncoder,
    codebook: Codebook,
    parts: Mapping[str, Recordings],
    spool: FrameSpool | None,
    options: ClusterOptions,
) -> dict[str, int]:
    """Writes the labels of all rows; those of rows all of whose frames lie in the spool are made of these.

    Returns:
        Split -> frames.
    """
    counts, written = list(codebook.centroids), dict.fromkeys(parts, 0)
    with ExitStack() as stack:
        digest = codebook.facts["sha256"]
        table = stack.enter_context(LabelWriter(folder / LABELS, counts, codebook=digest, **_times(encoder)))
        texts = stack.enter_context(LabelJson(folder, counts)) if options.fit.format == "json" else None
        for split, part in parts.items():
            seconds = part.rows["duration"]
            if spool is not None and split == options.recordings.split and options.fit.sample_ratio == 1.0:
                heard = spool.of_recordings()
            else:
                heard = _heard(encoder, part, options, f"labelling {split}")
            for row, frames in heard:
                labels = codebook.nearest(frames)
                table.add(part.ids[row], split, seconds[row], labels)
                written[split] += len(frames)
                if texts is not None:
                    texts.add(part.ids[row], labels)
    return written
