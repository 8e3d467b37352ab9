"""The card of a prepared data set: the corpus's own words, with the counts of this copy and the Hub's metadata."""

import re
from collections.abc import Mapping
from typing import Any

import yaml
from datasets import Features
from datasets.utils.metadata import MetadataConfigs
from huggingface_hub import DatasetCardData

from ..data.audit import describe

_FRONT = re.compile(r"\A---\n(.*?)^---\n", re.DOTALL | re.MULTILINE)
MAX_LISTED = 20
# The Hub's bands of size, by rows.
_SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"))


def render_data_card(
    audit: Mapping[str, Any], features: Features, parts: Mapping[str, list[str]], source: str | None
) -> str:
    """The card as Markdown with the Hub's YAML in front.

    Args:
        audit: what audit.json will say.
        features: of the rows.
        parts: part -> its splits, each a configuration beside the one that holds all.
        source: the card of the corpus; None: a plain one.
    """
    metadata, body = _parsed(source or _plain(audit))
    rows = {split: facts["rows"] for split, facts in audit["splits"].items()}
    metadata.pop("configs", None)
    metadata["size_categories"] = [next((name for most, name in _SIZES if sum(rows.values()) < most), "n>10M")]
    data = DatasetCardData(ignore_metadata_errors=True, **metadata)
    configs = _configs(audit["config_name"], list(rows), parts)
    for config in configs.values():
        # `datasets` caches a local folder by its name and its card alone: other rows need another card.
        config["description"] = f"content {audit['fingerprint']}"
    MetadataConfigs(configs).to_dataset_card_data(data)
    head, _, rest = body.partition("\n## ")
    sections = [head.rstrip(), _this_copy(audit, features)] + ([f"## {rest.rstrip()}"] if rest else [])
    return f"---\n{data.to_yaml()}\n---\n" + "\n\n".join(sections) + "\n"


def _parsed(card: str) -> tuple[dict[str, Any], str]:
    match = _FRONT.match(card)
    if match is None:
        return {}, "\n" + card
    return yaml.safe_load(match[1]) or {}, card[match.end() :]


def _configs(name: str, splits: list[str], parts: Mapping[str, list[str]]) -> dict[str, dict[str, Any]]:
    """Configuration -> what `load_dataset` reads for it."""

    def files(names: list[str], rest: str) -> list[dict[str, str]]:
        return [{"split": split, "path": f"{split}-{rest}.parquet"} for split in names]

    # Question marks, since the name of a part may begin with that of another.
    own = {part: {"data_files": files(names, f"{part}-?????-of-?????")} for part, names in parts.items()}
    return {name: {"data_files": files(splits, "*"), "default": True}, **own}


def _this_copy(audit: Mapping[str, Any], features: Features) -> str:
    said = ", ".join(f"`{name}: {value}`" for name, value in audit["given"].items())
    lines = [
        "## This copy",
        "",
        f"Written by `hf-speech prepare {audit['corpus']}` (hf_speech {audit['hf_speech']}), configuration "
        f"`{audit['config_name']}`, {f'with {said}' if said else 'with the default options'}.",
        "",
        "| split | rows | hours | speakers | sessions | audio, MB |",
        "|---|---|---|---|---|---|",
    ]
    for split, facts in audit["splits"].items():
        size = (
            round(audit["audio_bytes"].get(split, 0) / 1e6, 1) if audit["options"].get("embed_audio", True) else "paths"
        )
        speakers, sessions = (_or_dash(facts.get(name)) for name in ("speakers", "sessions"))
        lines.append(f"| {split} | {facts['rows']:,} | {facts['hours'] or 0:.2f} | {speakers} | {sessions} | {size} |")
    lines += ["", f"Columns: {', '.join(f'`{name}`' for name in features)}.", ""]
    lines += [f"- {line}" for line in describe(audit)]
    if audit["options"]["embed_audio"]:
        lines.append(
            '- `datasets` decodes the audio with torchcodec; without it, `rows.cast_column("audio", '
            "datasets.Audio(decode=False))` gives the bytes as they are stored."
        )
    else:
        lines.append("- Rows hold paths of the machine where they were written, and not the audio.")
    problems = audit["problems"]
    if problems["count"]:
        kinds = ", ".join(f"{kind}: {count}" for kind, count in problems["kinds"].items())
        lines.append(f"- Left out or put right while preparing: {kinds} (`audit.json` names them).")
    return "\n".join(lines)


def _or_dash(value: Any) -> str:
    return "-" if value is None else f"{value:,}"


def _plain(audit: Mapping[str, Any]) -> str:
    front = "---\npretty_name: Recordings\ntask_categories:\n- audio-classification\n---\n"
    return f"{front}\n# Recordings\n\nA data set of speech, read as `{audit['corpus']}`.\n"
