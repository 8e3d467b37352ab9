"""Repositories as a browser shows them: the card with its metadata, the files, a discussion."""

import mimetypes
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

from .blobs import Blob
from .discussions import Discussion
from .facts import facts
from .markdown import rendered
from .metadata import front_matter
from .repository import Commit, Repository

STYLE = (Path(__file__).parent / "page.css").read_text()
NAMED = {
    "pipeline_tag": "Task",
    "task_categories": "Task",
    "sdk": "SDK",
    "library_name": "Library",
    "language": "Language",
    "license": "License",
    "base_model": "Base model",
    "datasets": "Datasets",
    "metrics": "Metrics",
    "size_categories": "Size",
    "tags": "Tags",
}
TABS = (("", "card"), ("/tree/main", "Files and versions"), ("/discussions", "Community"))
TEXT_LIMIT = 200_000  # bytes of a file that a page shows


def _page(repository: Repository, here: str, content: str) -> str:
    """The frame: name, tabs, content."""
    word = repository.kind.name.title()
    tabs = "".join(
        f'<a href="{repository.address}{end}"{" class=here" if name == here else ""}>'
        f"{f'{word} card' if name == 'card' else name}</a>"
        for end, name in TABS
    )
    private = ' <span class="chip badge">private</span>' if repository.private else ""
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(repository.id)}</title>'
        f"<style>{STYLE}</style></head><body><header><h1>"
        f'<span class="kind">{word}s /</span> {escape(repository.id)}{private}</h1><nav>{tabs}</nav></header>'
        f"<main>{content}</main></body></html>\n"
    )


def card_page(repository: Repository, commit: Commit) -> str:
    """The README below its metadata; results and files beside it."""
    readme = commit.files.get("README.md")
    text = readme.read().decode(errors="replace") if readme else ""
    card, body = front_matter(text)
    shown = rendered(body, repository.address, "main") if readme else f"<p>No {repository.kind.name} card</p>"
    known = facts(repository, commit, blobs=False)
    listed = f"<h2>Files</h2>{_table(repository, commit, 'main')}"
    beside = _results(known.get("model-index") or []) + _metadata(card or {}) + listed
    return _page(
        repository,
        "card",
        f"<section>{_facts(known | (card or {}))}<article>{shown}</article></section><aside>{beside}</aside>",
    )


def _facts(card: dict[str, Any]) -> str:
    rows = []
    for key, name in NAMED.items():
        values = card.get(key)
        if values:
            chips = "".join(
                f'<span class="chip">{escape(str(value))}</span>'
                for value in (values if isinstance(values, list) else [values])
            )
            rows.append(f"<tr><th>{name}</th><td>{chips}</td></tr>")
    return f'<table class="facts">{"".join(rows)}</table>' if rows else ""


def _results(index: list[dict[str, Any]]) -> str:
    """The scores of the metadata's model-index."""
    rows = [
        f"<tr><td>{escape(str(metric.get('name') or metric['type']))}</td>"
        f"<td>{escape(str(result['dataset']['name']))}</td><td>{escape(str(metric['value']))}</td></tr>"
        for model in index
        for result in model["results"]
        for metric in result["metrics"]
    ]
    head = "<tr><th>Metric</th><th>Data</th><th>Value</th></tr>"
    return f"<h2>Evaluation results</h2><table>{head}{''.join(rows)}</table>" if rows else ""


def _metadata(card: dict[str, Any]) -> str:
    if not card:
        return ""
    text = escape(yaml.safe_dump(card, sort_keys=False, allow_unicode=True))
    return f"<details><summary>All metadata</summary><pre>{text}</pre></details>"


def _table(repository: Repository, commit: Commit, revision: str) -> str:
    rows = [
        f'<tr><td><a href="{repository.address}/blob/{quote(revision, safe="")}/{quote(path)}">{escape(path)}</a></td>'
        f"<td>{blob.size:,}</td>{'<td>LFS</td>' if blob.sha256 else '<td></td>'}</tr>"
        for path, blob in sorted(commit.files.items())
    ]
    return f"<table><tr><th>File</th><th>Bytes</th><th></th></tr>{''.join(rows)}</table>"


def files_page(repository: Repository, commit: Commit, revision: str) -> str:
    """The files of a revision, and the commits that led to it."""
    history = "".join(
        f"<li><code>{one.oid[:7]}</code> {escape(one.author.title)} ({escape(one.author.user)}, {one.date})</li>"
        for one in repository.history(commit)
    )
    content = f"<section>{_table(repository, commit, revision)}<article><h2>History</h2><ul>{history}</ul></article>"
    return _page(repository, "Files and versions", f"{content}</section>")


def file_page(repository: Repository, path: str, blob: Blob, revision: str) -> str:
    """One file: text, image or sound, or only its address."""
    source = f"{repository.address}/resolve/{quote(revision, safe='')}/{quote(path)}"
    kind = (mimetypes.guess_type(path)[0] or "").partition("/")[0]
    if kind == "image":
        shown = f'<img src="{source}" alt="">'
    elif kind == "audio":
        shown = f'<audio controls src="{source}"></audio>'
    elif blob.sha256 or blob.size > TEXT_LIMIT:
        shown = "<p>This file is not shown.</p>"
    else:
        shown = f"<pre><code>{escape(blob.read().decode(errors='replace'))}</code></pre>"
    link = f'<p><a href="{source}">{escape(path)}</a>, {blob.size:,} bytes</p>'
    return _page(repository, "Files and versions", f"<section><article>{link}{shown}</article></section>")


def discussions_page(repository: Repository) -> str:
    """All discussions and pull requests."""
    listed = "".join(
        f'<li><a href="{repository.address}/discussions/{one.number}">#{one.number} {escape(one.title)}</a>'
        f" {one.status}</li>"
        for one in repository.discussions.values()
    )
    content = f"<ul>{listed}</ul>" if listed else "<p>Nothing yet</p>"
    return _page(repository, "Community", f"<section><article>{content}</article></section>")


def discussion_page(repository: Repository, one: Discussion, difference: str) -> str:
    """One discussion: what was said and done, and what the pull request changes."""
    events = []
    for event in one.events:
        data, who = event["data"], f"<b>{escape(event['author']['name'])}</b>"
        if event["type"] == "comment":
            events.append(f"<p>{who}:</p>{rendered(data['latest']['raw'], repository.address, 'main')}<hr>")
        else:
            said = ", ".join(f"{key} {value}" for key, value in data.items())
            events.append(f"<p>{who} {escape(event['type'])}: {escape(said)}</p><hr>")
    title = f"<h1>{escape(one.title)} #{one.number}</h1><p><span class=chip>{one.status}</span></p>"
    shown = f"<pre><code>{escape(difference)}</code></pre>" if difference else ""
    return _page(repository, "Community", f"<section><article>{title}{''.join(events)}{shown}</article></section>")
