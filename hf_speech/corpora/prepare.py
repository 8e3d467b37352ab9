"""`hf-speech prepare`: a corpus on disk -> a folder of Parquet shards with a card and an audit, whole or resumable.

The work is done in `<output>/.prepare/`: the plan and the rows with their lengths first (see plan.py), then the shards,
then card and audit; only then everything is moved to its place (see publish.py). A run that was cut short goes on where
it stopped if the same is asked for and nothing it was made from has changed.
"""

import importlib.metadata
import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from errno import EACCES, EDQUOT, EFBIG, ENOSPC, EPERM, EROFS
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import Features
from tqdm.auto import tqdm

from ..data.audit import audit as audit_of
from ..data.problems import Problems
from ..errors import InputError
from ..files import replacing
from ..public import without_places
from .builder import CorpusBuilder, measured, without_twins
from .card import render_data_card
from .examples import PRIVATE
from .plan import Plan, digest_of, make_plan, planned_rows
from .publish import AUDIT, OUT, claimed, finish_publishing, publish, require_room
from .shards import write_shards

CARD = "README.md"
_NO_ROOM = frozenset({EACCES, EDQUOT, EFBIG, ENOSPC, EPERM, EROFS})
_NOT_ASKED = frozenset({"name", "version", "data_dir", "data_files", "description"})  # of a builder's config


@contextmanager
def open_builder(
    kind: type[CorpusBuilder], data_dir: str | Path, config_name: str | None, options: Mapping[str, Any]
) -> Iterator[CorpusBuilder]:
    """A builder of that kind; what `datasets` writes beside it goes when it is closed."""
    names = [config.name for config in kind.BUILDER_CONFIGS]
    if config_name is not None and config_name not in names:  # datasets would make one of that name
        valid = f"there are: {', '.join(names)}" if names else "there are none; leave it out"
        raise InputError(f"--config-name {config_name}: there is no such configuration; {valid}")
    with tempfile.TemporaryDirectory(prefix="hf_speech-") as cache:
        yield kind(cache_dir=cache, config_name=config_name, data_dir=str(Path(data_dir).absolute()), **options)


def prepare(
    kind: type[CorpusBuilder],
    name: str,
    data_dir: str | Path,
    output_dir: str | Path,
    options: Mapping[str, Any] | None = None,
    *,
    config_name: str | None = None,
    shard_size: int = 500 * 10**6,
    overwrite: bool = False,
    workers: int | None = None,
    card: str | None = None,
) -> dict[str, Any]:
    """Write a corpus as Parquet.

    Args:
        kind: the builder of the corpus.
        name: what the corpus is called.
        data_dir: where it lies.
        output_dir: where to write.
        options: fields of the builder's config.
        config_name: which configuration; None: the builder's default.
        shard_size: bytes that no shard exceeds.
        overwrite: whether an earlier result may be replaced.
        workers: processes; None: one a core, at most 8.
        card: Markdown of the corpus's card, which gets the counts; None: a plain card.

    Returns:
        The content of audit.json.

    Raises:
        InputError: nothing there, rows that can't be used (all are listed), an output folder that is in use or full.
    """
    output = Path(output_dir).absolute()
    with open_builder(kind, data_dir, config_name, dict(options or {})) as builder, claimed(output) as work:
        key = _key(name, builder, shard_size)
        try:
            if finish_publishing(work) != key:
                require_room(output, overwrite)
                plan = make_plan(builder, work, key, shard_size, workers)
                publish(work, _write(work, plan, builder, name, card), key)
            audit: dict[str, Any] = json.loads((output / AUDIT).read_text(encoding="utf-8"))
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            where = f"{output}: can't be written ({os.strerror(error.errno)})"
            raise InputError(f"{where}; make room, then give the same command: it goes on where it stopped") from error
    return audit


def look(
    kind: type[CorpusBuilder],
    name: str,
    data_dir: str | Path,
    options: Mapping[str, Any] | None = None,
    *,
    config_name: str | None = None,
    workers: int | None = None,
) -> dict[str, Any]:
    """What `prepare` would write: the audit of the rows without that of their audio's content; nothing is written.

    Raises:
        InputError: as `prepare`.
    """
    with open_builder(kind, data_dir, config_name, dict(options or {})) as builder:
        problems = Problems(builder.config.on_bad_row)
        corpus = builder.find_rows(problems)
        rows = measured(without_twins(corpus.splits, problems), problems, workers)
        problems.settle(name)
        public = {split: _public(table) for split, table in rows.items()}
        return {"corpus": name, **corpus.facts, **audit_of(public, None), "problems": problems.to_dict()}


def _key(name: str, builder: CorpusBuilder, shard_size: int) -> dict[str, Any]:
    """Everything that decides what is written, but for what lies in the folder of the corpus."""
    options = {item.name: getattr(builder.config, item.name) for item in _options(builder)}
    place = {"data_dir": builder.config.data_dir, "config_name": builder.config.name, "shard_size": shard_size}
    # By way of JSON, since that is what a plan is kept in.
    return json.loads(json.dumps({"corpus": name, "hf_speech": _version(), **place, "options": options}))


def _options(builder: CorpusBuilder) -> list[Any]:
    return [item for item in fields(builder.config) if item.name not in _NOT_ASKED]


def _version() -> str:
    return importlib.metadata.version("hf_speech")


def _write(work: Path, plan: Plan, builder: CorpusBuilder, name: str, card: str | None) -> list[str]:
    """Shards, further files, card and audit, in the work folder; gives their names."""
    out = work / OUT
    out.mkdir(exist_ok=True)
    problems = Problems.from_dict(plan.problems, builder.config.on_bad_row)
    features = Features.from_dict(plan.features)
    rows, content, size = _write_rows(work, plan, builder, features, problems)
    public = {split: _public(table) for split, table in rows.items()}
    # Of rows without audio, where it lies says what they are.
    cells = public if builder.config.embed_audio else rows
    shards = [shard.name for split in rows for shard in plan.shards[split]]
    audit = {
        "corpus": name,
        "config_name": builder.config.name,
        "hf_speech": _version(),
        "fingerprint": digest_of(cells, *(found.tobytes() for found in content.values())),
        "options": {item.name: without_places(getattr(builder.config, item.name)) for item in _options(builder)},
        "given": _given(builder),
        **plan.facts,
        **audit_of(public, content if builder.config.embed_audio else None),
        "problems": _public_problems(problems, builder),
        "audio_bytes": size,
        "files": sorted([*plan.files, CARD, AUDIT, *shards]),
    }
    texts = {**plan.files, CARD: render_data_card(audit, features, plan.parts, card if plan.is_corpus else None)}
    texts[AUDIT] = json.dumps(audit, indent=1, ensure_ascii=False) + "\n"
    for file, text in texts.items():
        (out / file).parent.mkdir(parents=True, exist_ok=True)
        with replacing(out / file) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return list(audit["files"])


def _write_rows(
    work: Path, plan: Plan, builder: CorpusBuilder, features: Features, problems: Problems
) -> tuple[dict[str, pa.Table], dict[str, np.ndarray], dict[str, int]]:
    """Writes the shards; of each split that has rows, these, the hashes of their audio, and its bytes."""
    before = len(problems)
    rows: dict[str, pa.Table] = {}
    content: dict[str, np.ndarray] = {}
    size: dict[str, int] = {}
    planned = {split: planned_rows(work, split) for split in plan.shards}
    with tqdm(total=sum(map(len, planned.values())), desc="writing", unit="row", disable=None) as bar:
        for split, table in planned.items():
            found = write_shards(work / OUT, plan.shards[split], table, features, builder.config, problems, bar)
            if found.kept.any():
                rows[split] = table if found.kept.all() else table.filter(pa.array(found.kept))
                content[split], size[split] = found.hashes, found.bytes
    if len(problems) > before:
        problems.settle(plan.key["corpus"])
    if not rows:
        raise InputError(f"{builder.config.data_dir}: not one row can be read; get the corpus again")
    return rows, content, size


def _public(rows: pa.Table) -> pa.Table:
    return rows.drop_columns([name for name in rows.column_names if name in PRIVATE])


def _given(builder: CorpusBuilder) -> dict[str, Any]:
    """The options that are not at their default."""
    given = {}
    for item in _options(builder):
        value = getattr(builder.config, item.name)
        default = item.default_factory() if callable(item.default_factory) else item.default
        if value != default:
            given[item.name] = without_places(value)
    return given


def _public_problems(problems: Problems, builder: CorpusBuilder) -> dict[str, Any]:
    """What was left out, with files as they lie in the folder of the corpus."""
    facts = problems.to_dict()
    root = str(builder.data_dir.absolute()) + os.sep
    for row in facts["rows"]:
        row["file"] = row["file"].removeprefix(root)
        row["reason"] = re.sub(r"(?<![\w.])/(?:[^\s/;:,'\"]+/)+", "", row["reason"].replace(root, ""))
        if os.path.isabs(row["file"]):
            row["file"] = Path(row["file"]).name
    return facts
