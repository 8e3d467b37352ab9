"""What the tests of VoxCeleb share: rows without audio, and names in the form of a listing."""

from collections import Counter, defaultdict
from pathlib import Path

import pyarrow as pa

from hf_speech.corpora.builder import Corpus
from hf_speech.corpora.places import PLACE
from hf_speech.corpora.scripts import load_builder
from hf_speech.data.problems import Problems

SUBSETS = ("tiny_few", "tiny_many_low", "tiny_many_high")
SMALL = {"speakers_per_gender": 2, "utterances_per_speaker": 4}


def build(folder: Path, config: str = "full", problems: Problems | None = None, listing=None, **options) -> Corpus:
    """The rows of a configuration; without `problems`, any problem is an error."""
    kept = Problems("raise") if problems is None else problems
    builder = load_builder("voxceleb")(
        config_name=config, data_dir=str(folder), cache_dir=str(folder / "cache"), **SMALL | options
    )
    corpus = builder.find_rows(kept) if listing is None else builder.select_rows(listing, kept)
    if problems is None:
        kept.settle("VoxCeleb")
    return corpus


def ids(corpus: Corpus) -> dict[str, list[str]]:
    return {split: rows["id"].to_pylist() for split, rows in corpus.splits.items()}


def by_session(names: list[str]) -> dict[str, Counter[str]]:
    """Speaker -> session -> utterances."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for name in names:
        speaker, session, _ = name.split("/")
        found[speaker][session] += 1
    return found


def listing_of(names: list[str]) -> pa.Table:
    """What `list_audio` makes of an archive with members of these names."""
    archive = "/data/vox2_dev_aac.zip"
    columns = {
        "name": pa.array([f"dev/aac/{name}.m4a" for name in names]),
        "path": pa.array([f"{archive}/dev/aac/{name}.m4a" for name in names]),
        "archive": pa.array([archive] * len(names)).dictionary_encode(),
    }
    rest = {field.name: pa.nulls(len(names), field.type) for field in PLACE if field.name not in columns}
    return pa.table(columns | rest)
