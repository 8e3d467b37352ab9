"""The plan of a `prepare`: the rows with their lengths, and which go into which shard; made before anything is written.

It holds as long as the same is asked for, the same rows are found and no source has changed: names and metadata are
read again at every start, which is quick, and only headers that were read are not read again.
"""

import hashlib
import io
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ..data.problems import Problems
from ..errors import InputError
from ..files import replacing
from .builder import Corpus, CorpusBuilder, can_be_part, measured, without_twins
from .examples import features_of
from .places import sources_state
from .publish import PLAN, clear
from .shards import Shard, plan_shards

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """What is to be written.

    Attributes:
        key: what was asked for.
        stamp: a digest of what was found by names and metadata.
        sources: a digest of the sizes and times of the files that the rows' audio lies in.
        rows: a digest of the rows with their lengths.
        features: of the rows, as `Features.to_dict` gives them.
        shards: split -> its shards.
        parts: part -> the splits that it has; empty where shards are not kept apart.
        files: further text files.
        facts: further entries of audit.json.
        problems: what was found so far, as `Problems.to_dict` gives it.
        is_corpus: whether the card of the corpus's script tells of it.
    """

    key: dict[str, Any]
    stamp: str
    sources: str
    rows: str
    features: dict[str, Any]
    shards: dict[str, list[Shard]]
    parts: dict[str, list[str]]
    files: dict[str, str]
    facts: dict[str, Any]
    problems: dict[str, Any]
    is_corpus: bool


def make_plan(
    builder: CorpusBuilder, work: Path, key: dict[str, Any], shard_size: int, workers: int | None = None
) -> Plan:
    """The plan of the unfinished run in the work folder where it still holds, else a new one, written there.

    Raises:
        InputError: rows that can't be used and `on_bad_row` "raise" (all are listed), no rows, or rows that can't be
            written as asked for.
    """
    problems = Problems(builder.config.on_bad_row)
    corpus = builder.find_rows(problems)
    tables = without_twins(corpus.splits, problems)
    stamp = digest_of(tables, corpus.files, corpus.facts, problems.to_dict())
    sources = " ".join(sources_state(table) for table in tables.values())
    old = _read(work)
    same = old is not None and (old.key, old.stamp) == (key, stamp)
    if old is not None and same and old.sources == sources:
        logger.info("going on with what an earlier run has written to %s", work)
        return old
    rows = measured(tables, problems, workers)
    problems.settle(key["corpus"])
    _require_writable(builder, rows, corpus)
    if old is not None and same and old.rows == digest_of(rows):
        logger.info("files have changed since an earlier run: their shards are written again, the others are kept")
    else:
        if old is not None:
            logger.info("an earlier run was asked for something else, or found other rows: beginning anew")
        clear(work)
    columns = builder.COLUMNS if corpus.columns is None else corpus.columns
    plan = Plan(
        key=key,
        stamp=stamp,
        sources=sources,
        rows=digest_of(rows),
        features=features_of(columns, builder.config.embed_audio).to_dict(),
        shards={split: plan_shards(split, t, builder.config, corpus.parts, shard_size) for split, t in rows.items()},
        parts=_parts(rows, corpus.parts),
        files=corpus.files,
        facts=corpus.facts,
        problems=problems.to_dict(),
        is_corpus=corpus.is_corpus,
    )
    _keep(work, plan, rows)
    return plan


def _keep(work: Path, plan: Plan, rows: Mapping[str, pa.Table]) -> None:
    for split, table in rows.items():
        with replacing(rows_file(work, split)) as temporary, pa.ipc.new_file(temporary, table.schema) as writer:
            writer.write_table(table, max_chunksize=10_000)
    with replacing(work / PLAN) as temporary:
        temporary.write_text(json.dumps(asdict(plan)), encoding="utf-8")


def rows_file(work: Path, split: str) -> Path:
    """Where the rows of a split are kept until they are written."""
    return work / f"rows-{split}.arrow"


def planned_rows(work: Path, split: str) -> pa.Table:
    """The rows of a split, mapped and not read."""
    return pa.ipc.open_file(pa.memory_map(str(rows_file(work, split)))).read_all()


def digest_of(tables: Mapping[str, pa.Table], *others: object) -> str:
    """Sixteen hexadecimal digits of every cell, and of the text of the other things."""
    digest = hashlib.sha256(repr(others).encode())
    for name, table in tables.items():
        digest.update(name.encode())
        with pa.output_stream(_Digesting(digest)) as sink, pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table.unify_dictionaries().combine_chunks(), max_chunksize=10_000)
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


def _read(work: Path) -> Plan | None:
    try:
        facts = json.loads((work / PLAN).read_text(encoding="utf-8"))
        shards = {split: [Shard(**shard) for shard in found] for split, found in facts.pop("shards").items()}
        return Plan(**facts, shards=shards)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _require_writable(builder: CorpusBuilder, rows: Mapping[str, pa.Table], corpus: Corpus) -> None:
    if not rows:
        raise InputError(f"{builder.config.data_dir}: there are no rows to write; check --data-dir")
    for table in rows.values():
        inside = len(table) - table["archive"].null_count if "archive" in table.column_names else 0
        if inside and not builder.config.embed_audio:
            what = f"{inside} of the rows lie in zip archives, where no path leads"
            raise InputError(f"--embed-audio no: {what}; unpack the archives, or leave the option out")
    for part in _parts(rows, corpus.parts):
        if not can_be_part(part, builder.config.name):
            what = f"{corpus.parts} {part!r} can't be the name of a configuration"
            raise InputError(f"{what}; rename it with letters, digits, '-', '_' and '.'")


def _parts(rows: Mapping[str, pa.Table], column: str | None) -> dict[str, list[str]]:
    """Part -> the splits that it has."""
    parts: dict[str, list[str]] = {}
    for split, table in rows.items():
        for part in pc.unique(table[column]).to_pylist() if column else []:
            parts.setdefault(part, []).append(split)
    return dict(sorted(parts.items()))
