"""What the Hub finds out about a repository from its files."""

import json
from typing import Any

import yaml

from .blobs import Blob
from .metadata import front_matter
from .repository import Commit, Repository

# The ends of architecture names that tell the task of a speech model whose card does not.
TASKS = {
    "ForAudioClassification": "audio-classification",
    "ForSequenceClassification": "audio-classification",
    "ForCTC": "automatic-speech-recognition",
    "Model": "feature-extraction",
}
CARD_TAGS = {"license": "license:", "base_model": "base_model:", "datasets": "dataset:", "language": "", "tags": ""}
DATA_TAGS = ("task_categories", "task_ids", "language", "license", "size_categories")


def lfs_facts(blob: Blob, name: str) -> dict[str, Any]:
    """Of a file that came through LFS; listings call its SHA-256 `oid`, overviews `sha256`."""
    return {name: blob.sha256, "size": blob.size, "pointerSize": blob.pointer_size}


def card_data(commit: Commit) -> dict[str, Any]:
    """The metadata of the README; a commit with one that can't be read was refused."""
    readme = commit.files.get("README.md")
    return (front_matter(readme.read().decode(errors="replace"))[0] if readme else None) or {}


def _json(commit: Commit, path: str) -> dict[str, Any]:
    try:
        content = json.loads(commit.files[path].read())
    except (KeyError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _many(value: Any) -> list[str]:
    return [str(item) for item in (value if isinstance(value, list) else [value])] if value else []


def eval_results(commit: Commit) -> list[dict[str, Any]]:
    """The entries of .eval_results/*.yaml; of a file that does not hold any, what is wrong."""
    found: list[dict[str, Any]] = []
    for path, blob in sorted(commit.files.items()):
        if path.startswith(".eval_results/") and path.endswith((".yaml", ".yml")):
            try:
                entries = yaml.safe_load(blob.read())
                for number, entry in enumerate(entries):
                    if not {"id", "task_id"} <= entry["dataset"].keys() or "value" not in entry:
                        raise ValueError(f"entry {number} needs dataset.id, dataset.task_id and value")
                found += [{"filename": path, "verified": False, "data": entry} for entry in entries]
            except (yaml.YAMLError, ValueError, TypeError, KeyError, AttributeError) as problem:
                found.append({"filename": path, "error": str(problem)})
    return found


def _model(commit: Commit, card: dict[str, Any]) -> dict[str, Any]:
    """What only models have."""
    config = _json(commit, "config.json")
    architectures = _many(config.get("architectures"))
    guesses = [task for end, task in TASKS.items() for name in architectures if name.endswith(end)]
    library = card.get("library_name") or ("transformers" if architectures else None)
    task = card.get("pipeline_tag") or next(iter(guesses), None)
    tags = [tag for tag in (library, task) if tag]
    for key, start in CARD_TAGS.items():
        tags += [f"{start}{value}" for value in _many(card.get(key))]
    tags += ["safetensors"] if any(path.endswith(".safetensors") for path in commit.files) else []
    tags += ["model-index"] if card.get("model-index") else []
    return {
        "pipeline_tag": task,
        "library_name": library,
        "tags": list(dict.fromkeys(tags)),
        "config": {key: config[key] for key in ("architectures", "model_type", "auto_map") if key in config},
        "model-index": card.get("model-index"),
        "evalResults": eval_results(commit),
    }


def _dataset(commit: Commit, card: dict[str, Any]) -> dict[str, Any]:
    tags = [f"{key}:{value}" for key in DATA_TAGS for value in _many(card.get(key))] + _many(card.get("tags"))
    tags += ["format:parquet"] if any(path.endswith(".parquet") for path in commit.files) else []
    return {"tags": tags, "description": card.get("pretty_name") or ""}


def _space(commit: Commit, card: dict[str, Any]) -> dict[str, Any]:
    return {"tags": _many(card.get("sdk")) + _many(card.get("tags")), "sdk": card.get("sdk")}


OF_KIND = {"model": _model, "dataset": _dataset, "space": _space}


def siblings(commit: Commit, blobs: bool) -> list[dict[str, Any]]:
    """The files, with sizes and names of their contents when asked for."""
    listed = []
    for path, blob in sorted(commit.files.items()):
        entry: dict[str, Any] = {"rfilename": path}
        if blobs:
            entry |= {"size": blob.size, "blobId": blob.oid}
            entry |= {"lfs": lfs_facts(blob, "sha256")} if blob.sha256 else {}
        listed.append(entry)
    return listed


def facts(repository: Repository, commit: Commit, blobs: bool) -> dict[str, Any]:
    """All that the API tells about a repository at a commit; keys as the API names them."""
    card = card_data(commit)
    return {
        "_id": f"{id(repository):024x}",
        "id": repository.id,
        "author": repository.namespace,
        "sha": commit.oid,
        "lastModified": commit.date,
        "createdAt": repository.created,
        "private": repository.private,
        "gated": False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "usedStorage": sum({blob.etag: blob.size for blob in commit.files.values()}.values()),
        "cardData": card,
        "siblings": siblings(commit, blobs),
        **OF_KIND[repository.kind.name](commit, card),
    }
