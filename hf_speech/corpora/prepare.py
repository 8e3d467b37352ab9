"""`hf-speech prepare`: a corpus on disk -> a folder of Parquet shards with a card and an audit, whole or resumable.

The work is done in `<output>/.prepare/`: the rows with their lengths first (`rows-<split>.arrow`, `plan.json`), then
the shards, then card and audit; only then everything is moved to its place, audit.json last. A run that was cut short
goes on where it stopped if it is given the same options.
"""

import hashlib
import importlib.metadata
import io
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Features
from filelock import FileLock, Timeout
from tqdm.auto import tqdm

from ..data.audit import audit as audit_of
from ..data.problems import Problems
from ..errors import InputError, list_some
from ..files import replacing
from .builder import CorpusBuilder
from .card import render_data_card
from .examples import PRIVATE, features_of
from .lengths import measure
from .shards import Shard, plan_shards, write_shards

logger = logging.getLogger(__name__)

WORK, OUT = ".prepare", "out"
PLAN = "plan.json"
AUDIT = "audit.json"
CARD = "README.md"


@dataclass(frozen=True)
class Plan:
    """What is to be written, as found before anything is.

    Attributes:
        key: what was asked for; a plan holds for the same request only.
        features: of the rows, as `Features.to_dict` gives them.
        shards: split -> its shards.
        parts: part -> the splits that it has; empty where shards are not kept apart.
        files: further text files.
        facts: further entries of audit.json.
        problems: what was found so far, as `Problems.to_dict` gives it.
    """

    key: dict[str, Any]
    features: dict[str, Any]
    shards: dict[str, list[Shard]]
    parts: dict[str, list[str]]
    files: dict[str, str]
    facts: dict[str, Any]
    problems: dict[str, Any]


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


def find(builder: CorpusBuilder, problems: Problems, workers: int | None = None) -> tuple[dict[str, pa.Table], Any]:
    """The rows of each split with their lengths, every problem of names, metadata and headers noted; and the corpus."""
    corpus = builder.find_rows(problems)
    tables = _without_twins(corpus.splits, problems)
    rows = {split: measure(table, problems, workers) for split, table in tables.items() if len(table)}
    return {split: table for split, table in rows.items() if len(table)}, corpus


def _without_twins(splits: Mapping[str, pa.Table], problems: Problems) -> dict[str, pa.Table]:
    """The rows without those whose id an earlier row has."""
    ids = pa.chunked_array([chunk for table in splits.values() for chunk in table["id"].chunks], type=pa.string())
    if pc.count_distinct(ids).as_py() == len(ids):
        return dict(splits)
    counted = pc.value_counts(ids)
    twice = counted.field("values").filter(pc.greater(counted.field("counts"), 1))
    first: dict[str, str] = {}
    kept = {}
    for split, table in splits.items():
        keep = np.ones(len(table), bool)
        for i in np.flatnonzero(pc.is_in(table["id"], value_set=twice).to_numpy()):
            name, path = table["id"][i].as_py(), table["path"][i].as_py()
            if name in first:
                keep[i] = False
                problems.add("duplicate id", path, f"{name} is also the id of {first[name]}; keep one of them")
            first.setdefault(name, path)
        kept[split] = table.filter(pa.array(keep))
    return kept


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
        InputError: nothing there, rows that can't be used (all are listed), an output folder that is in use.
    """
    output = Path(output_dir).absolute()
    work = output / WORK
    with open_builder(kind, data_dir, config_name, dict(options or {})) as builder:
        key = _key(name, builder, shard_size)
        with _claimed(output, key, overwrite):
            if not (work / OUT / AUDIT).is_file():
                plan = _plan(builder, work, key, shard_size, workers)
                _write(work, plan, builder, name, card)
            return _publish(work, output)


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
        rows, corpus = find(builder, problems, workers)
        problems.settle(name)
        public = {split: _public(table) for split, table in rows.items()}
        return {"corpus": name, **corpus.facts, **audit_of(public, None), "problems": problems.to_dict()}


def _key(name: str, builder: CorpusBuilder, shard_size: int) -> dict[str, Any]:
    """Everything that decides what is written: an unfinished run is taken up for the same key only."""
    given = {f.name: getattr(builder.config, f.name) for f in fields(builder.config)}
    config = {name: value for name, value in given.items() if name not in ("version", "data_files", "description")}
    return {
        "corpus": name,
        "hf_speech": _version(),
        "shard_size": shard_size,
        "config": json.loads(json.dumps(config)),
    }


@contextmanager
def _claimed(output: Path, key: dict[str, Any], overwrite: bool) -> Iterator[None]:
    """The output folder, for this run alone.

    Raises:
        InputError: another run is at it, or it holds something that may not be replaced.
    """
    work = output / WORK
    there = {path.name for path in output.iterdir()} - {WORK} if output.is_dir() else set()
    unfinished = _key_of(work)
    if unfinished is None or unfinished != key:
        if AUDIT in there and not overwrite:
            raise InputError(f"{output}: holds a prepared corpus already; give another --output-dir, or --overwrite")
        if there and AUDIT not in there and not (unfinished and overwrite):
            raise InputError(f"{output}: holds other files ({list_some(sorted(there), 3)}); give a new --output-dir")
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{output}: can't be made ({error.strerror}); give another --output-dir") from error
    try:
        with FileLock(work / "lock", timeout=0):
            if unfinished is not None and unfinished != key:
                _clear(work)
            yield
    except Timeout:
        raise InputError(f"{output}: another run is writing there; wait for it, or give another --output-dir") from None


def _version() -> str:
    return importlib.metadata.version("hf_speech")


def _key_of(work: Path) -> dict[str, Any] | None:
    """What the unfinished run in a folder was asked for."""
    try:
        found: dict[str, Any] = json.loads((work / PLAN).read_text(encoding="utf-8"))["key"]
    except (OSError, ValueError, KeyError):
        return None
    return found


def _clear(work: Path) -> None:
    for path in work.iterdir():
        if path.name != "lock":
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _plan(builder: CorpusBuilder, work: Path, key: dict[str, Any], shard_size: int, workers: int | None) -> Plan:
    """The plan of an unfinished run, or a new one."""
    if (work / PLAN).is_file():
        logger.info("going on with what an earlier run has written to %s", work)
        facts = json.loads((work / PLAN).read_text(encoding="utf-8"))
        facts["shards"] = {split: [Shard(**shard) for shard in shards] for split, shards in facts["shards"].items()}
        return Plan(**facts)
    _clear(work)
    problems = Problems(builder.config.on_bad_row)
    rows, corpus = find(builder, problems, workers)
    problems.settle(key["corpus"])
    if not rows:
        raise InputError(f"{builder.config.data_dir}: no rows of {key['corpus']} found; check --data-dir")
    shards = {}
    for split, table in rows.items():
        shards[split] = plan_shards(split, table, builder.config, corpus.parts, shard_size)
        with replacing(work / f"rows-{split}.arrow") as temporary, pa.ipc.new_file(temporary, table.schema) as writer:
            writer.write_table(table, max_chunksize=10_000)
    features = (
        builder.info.features if corpus.columns is None else features_of(corpus.columns, builder.config.embed_audio)
    )
    plan = Plan(
        key=key,
        features=features.to_dict(),
        shards=shards,
        parts=_parts(rows, corpus.parts),
        files=corpus.files,
        facts=corpus.facts,
        problems=problems.to_dict(),
    )
    with replacing(work / PLAN) as temporary:
        temporary.write_text(json.dumps(asdict(plan)), encoding="utf-8")
    return plan


def _parts(rows: Mapping[str, pa.Table], column: str | None) -> dict[str, list[str]]:
    """Part -> the splits that it has."""
    parts: dict[str, list[str]] = {}
    for split, table in rows.items():
        for part in pc.unique(table[column]).to_pylist() if column else []:
            parts.setdefault(part, []).append(split)
    return dict(sorted(parts.items()))


def _write(work: Path, plan: Plan, builder: CorpusBuilder, name: str, card: str | None) -> None:
    """Shards, card and audit, beneath the work folder; the audit comes last."""
    out = work / OUT
    out.mkdir(exist_ok=True)
    problems = Problems.from_dict(plan.problems, builder.config.on_bad_row)
    before = len(problems)
    features = Features.from_dict(plan.features)
    rows = {split: _rows(work, split) for split in plan.shards}
    content: dict[str, np.ndarray] = {}
    written: dict[str, int] = {}
    with tqdm(total=sum(map(len, rows.values())), desc="writing", unit="row", disable=None) as bar:
        for split, shards in plan.shards.items():
            found = write_shards(out, shards, rows[split], features, builder.config, problems, bar)
            rows[split] = rows[split].filter(pa.array(found.kept)) if not found.kept.all() else rows[split]
            content[split], written[split] = found.hashes, found.bytes
    if len(problems) > before:
        problems.settle(name)
    public = {split: _public(table) for split, table in rows.items()}
    audit = {
        "corpus": name,
        "config_name": builder.config.name,
        "hf_speech": _version(),
        "fingerprint": _fingerprint(rows, content, builder.config.embed_audio),
        "options": {key: value for key, value in plan.key["config"].items() if key not in ("name", "data_dir")},
        "given": _given(builder),
        **plan.facts,
        **audit_of(public, content if builder.config.embed_audio else None),
        "problems": problems.to_dict(),
        "audio_bytes": written,
        "files": sorted([*plan.files, CARD, AUDIT, *(s.name for shards in plan.shards.values() for s in shards)]),
    }
    for file, text in plan.files.items():
        path = out / file
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    with replacing(out / CARD) as temporary:
        temporary.write_text(render_data_card(audit, features, plan.parts, card), encoding="utf-8")
    with replacing(out / AUDIT) as temporary:
        temporary.write_text(json.dumps(audit, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _rows(work: Path, split: str) -> pa.Table:
    """The rows of a split, mapped and not read."""
    return pa.ipc.open_file(pa.memory_map(str(work / f"rows-{split}.arrow"))).read_all()


def _public(rows: pa.Table) -> pa.Table:
    return rows.drop_columns([name for name in rows.column_names if name in PRIVATE])


def _given(builder: CorpusBuilder) -> dict[str, Any]:
    """The options that are not at their default; local files by their last name."""
    given = {}
    for item in fields(builder.config):
        value = getattr(builder.config, item.name)
        default = item.default_factory() if callable(item.default_factory) else item.default
        if value != default and item.name not in ("name", "version", "data_dir", "data_files", "description"):
            given[item.name] = Path(value).name if isinstance(value, str) and Path(value).exists() else value
    return given


def _fingerprint(rows: Mapping[str, pa.Table], content: Mapping[str, np.ndarray], embedded: bool) -> str:
    """A digest of every cell, the audio (or its paths) among them."""
    digest = hashlib.sha256()
    for split, table in rows.items():
        cells = _public(table) if embedded else _public(table).append_column("path", table["path"])
        digest.update(split.encode() + content[split].tobytes())
        with pa.output_stream(_Digesting(digest)) as sink, pa.ipc.new_stream(sink, cells.schema) as writer:
            writer.write_table(cells, max_chunksize=10_000)
    return digest.hexdigest()[:16]


class _Digesting(io.RawIOBase):
    """A file that goes into a digest."""

    def __init__(self, digest: Any) -> None:
        self._digest = digest

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        self._digest.update(content)
        return len(content)


def _publish(work: Path, output: Path) -> dict[str, Any]:
    """Everything to its place: first what was there goes, the audit comes last."""
    out = work / OUT
    audit: dict[str, Any] = json.loads((out / AUDIT).read_text(encoding="utf-8"))
    if (output / AUDIT).is_file():
        old = json.loads((output / AUDIT).read_text(encoding="utf-8")).get("files", [])
        for path in [output / name for name in [AUDIT, *old]]:
            if path.resolve().is_relative_to(output.resolve()):  # the file may be anybody's
                path.unlink(missing_ok=True)
    for name in [*audit["files"], AUDIT]:
        if (out / name).is_file() and name != AUDIT:
            (output / name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(out / name, output / name)
    os.replace(out / AUDIT, output / AUDIT)
    shutil.rmtree(work)
    return audit
